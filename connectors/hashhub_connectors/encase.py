"""EnCase hash sets (`.hash`): binary, a header of 1,152 bytes, then 18 bytes for each MD5.

The header's number of hashes tells a file that is cut off; 0 there is no number. Name and category of the set in the
header are counted and not kept: they are of the case in which it was made. Layout: The Sleuth Kit,
tsk/hashdb/encase.cpp; md5deep, files.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final

from hashhub.connector import Certainty, Guess, Items, LeftOut, Option, check_options
from hashhub.errors import MalformedSource
from hashhub.hashes import Hash
from hashhub.model import Record
from hashhub_connectors.source import UnclassifiedFormat, read_block

MAGIC: Final = b"HASH\r\n\xff\x00"
_HEADER: Final = 1152
_COUNT: Final = slice(16, 20)  # little-endian
_TEXTS: Final = slice(20, _HEADER)  # from byte 1032 on in UTF-16: the name of the set, then its category
_RECORD: Final = 18
_MD5: Final = 16
_RECORDS_READ: Final = 4096  # at a time


class EnCase(UnclassifiedFormat):
    """Reads EnCase hash sets. Positions are `record 12`."""

    name = "encase"
    version = "1"
    summary = "EnCase hash sets (.hash), MD5"
    options: tuple[Option, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the first eight bytes."""
        if head.startswith(MAGIC):
            return Guess(Certainty.CERTAIN, "it begins as EnCase's hash sets do: HASH and the bytes 0d 0a ff 00")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record for each hash.

        Raises MalformedSource for another beginning, a record that is cut off, and fewer hashes than the header states.
        """
        check_options(self, options)
        header = read_block(source, _HEADER)
        if not header.startswith(MAGIC):
            what = "the file is empty" if not header else "the file is no EnCase hash set"
            raise MalformedSource(
                f"{what}; expected it to begin with HASH and the bytes 0d 0a ff 00", position="byte 0"
            )
        if len(header) < _HEADER:
            raise MalformedSource(
                f"the header ends too early; expected {_HEADER} bytes; the file is cut off",
                position=f"byte {len(header)}",
            )
        stated = int.from_bytes(header[_COUNT], "little")
        left_out = LeftOut()
        left_out.see("name and category in the header", any(header[_TEXTS]))
        number = 0
        while block := read_block(source, _RECORD * _RECORDS_READ):
            end = len(block) - len(block) % _RECORD
            for at in range(0, end, _RECORD):
                number += 1
                yield Record(position=f"record {number}", hashes=(Hash("MD5", block[at : at + _MD5]),))
            if end < len(block):
                raise MalformedSource(
                    f"the record has {len(block) - end} bytes; expected {_RECORD}; the file is cut off",
                    position=f"record {number + 1}",
                )
        if number < stated:
            raise MalformedSource(
                f"the header states {stated} hashes, and the file has {number}; it is cut off",
                position=f"record {number + 1}",
            )
        return left_out
