"""hashdeep's list of known files: a header, then `size,md5,…,filename`, as its own audit reads it.

hashdeep takes a missing size for another size than the file's, and reports a collision instead of a match; a missing
digest makes it refuse the line. So an entry without one of them is left out, and named. The file name is the entry's
name: the hub keeps no names of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final

from hashhub import hashes
from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.errors import InvalidArgument
from hashhub.model import Entry
from hashhub_connectors import outgoing
from hashhub_connectors.outgoing import NoPlace, Output, PurposeCheck, Speller

_WHAT: Final = "hashdeep's list"
_COLUMNS: Final = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256"}


class HashdeepWriter:
    """Writes hashdeep's list of known files."""

    name = "hashdeep"
    version = "1"
    summary = "hashdeep's list of known files: size, digests, and the entry's name as file name"
    options: tuple[Option, ...] = (
        Option("algorithms", "digests to write, such as md5,sha256; md5 unless given; entries without one are lost"),
    )
    reads_back = "hash-lines"
    has_withdrawals = False
    suffix = ".txt"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the list. Raises InvalidArgument for other algorithms, and hash sets of several purposes."""
        check_options(self, options)
        columns = _columns(options.get("algorithms", ""))
        wanted = [_COLUMNS[c] for c in columns]
        listing, values = PurposeCheck(exported, _WHAT), Speller(_WHAT, "", exported)
        output = Output(target)
        yield from outgoing.about_the_file(exported, _WHAT, listed=True)
        output.put(f"%%%% HASHDEEP-1.0\n%%%% size,{','.join(columns)},filename\n")
        for entry in entries:
            refused = outgoing.withheld(entry, exported, has_withdrawals=False) or listing.refuses(entry)
            first: dict[str, hashes.Hash] = {}
            for value in entry.hashes:
                first.setdefault(value.algorithm, value)
            if refused is None and (missing := [a for a in wanted if a not in first]):
                refused = Loss(entry.name, "entry", "NO_HASH", f"the entry has no {' and no '.join(missing)} digest")
            if refused is None and entry.media_size is None:
                refused = Loss(
                    entry.name,
                    "entry",
                    "NO_SIZE",
                    "hashdeep compares sizes, and that of the entry's media is not known",
                )
            if refused is not None:
                yield refused
                continue
            digests = ",".join([first[a].digest.hex() for a in wanted])
            output.put(f"{entry.media_size},{digests},{entry.name}\n")
            if len(first) < len(entry.hashes) or len(wanted) < len(first):
                yield from outgoing.no_place_for_hash(entry, "the list", sorted(first.keys() - set(wanted)))
                more = [h.algorithm for h in entry.hashes if first[h.algorithm] != h and h.algorithm in wanted]
                yield from outgoing.only_one_hash(entry, "the list", more)
            said = values.of(entry)
            if said.reason:
                yield Loss(entry.name, "value", said.reason, said.detail)
            yield from _NO_PLACE.losses(entry)
        output.flush()


_NO_PLACE: Final = NoPlace(
    _WHAT,
    *("external_id", "flags", "media_type", "series", "tags", "quality", "source_time", "expire_time", "member"),
    "extra",
)


def _columns(given: str) -> list[str]:
    columns = [c.strip().lower() for c in given.split(",")] if given else ["md5"]
    if not set(columns) <= _COLUMNS.keys() or len(set(columns)) < len(columns):
        raise InvalidArgument.field(
            "options.algorithms", f"is {given[:40]!r}; expected distinct ones of {', '.join(_COLUMNS)}", "WORD"
        )
    return columns
