r"""One hash a line: md5sum, sha1sum, sha256sum (GNU, BSD and OpenSSL layouts), hashdeep, and plain lists.

The algorithm is never guessed from a bare digest, since 64 hexadecimal digits may be SHA-256 or PDQ. It comes from the
line itself (`MD5 (f) = …`, `MD5:…`), from the file (hashdeep's header, or X-Ways' first line `MD5`), from the option
`algorithm`, or, for a line of digest and file name, from the length, because only the sum tools write those. File names
are case data: they are not kept, nor do they appear in messages. Lines that begin with `#` and blank ones are no items.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from hashhub import hashes
from hashhub.connector import Option, check_options
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.source import lines, text_encoding

# GNU coreutils' manual, "md5sum invocation": digest, a space, a space or `*` (binary), the name, which may begin with
# spaces; a leading `\` marks an escaped name.
_SUM: Final = re.compile(r"\\?([0-9A-Fa-f]{16,128})[ \t].+")
_TAGGED: Final = re.compile(r"\\?([A-Za-z][A-Za-z0-9/-]{1,20}) ?\(.*\) ?= ?([0-9A-Fa-f]+)")
# What hashhub itself prints.
_PAIR: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,20}):([0-9A-Za-z+/_-]+={0,2})")
_BARE: Final = re.compile(r"[0-9A-Fa-f]{16,288}|[A-Za-z0-9+/_-]{32,192}={0,2}")
_SUM_LENGTHS: Final = {32: "MD5", 40: "SHA1", 64: "SHA256", 56: "SHA224", 96: "SHA384", 128: "SHA512"}
_HASHDEEP: Final = "%%%% HASHDEEP-"
_HASHDEEP_DIGESTS: Final = frozenset({"md5", "sha1", "sha256", "tiger", "whirlpool"})  # hashdeep(1), option -c


class HashLines:
    """Reads lists of one hash a line. Positions are `line 12`."""

    name = "hash-lines"
    version = "3"
    summary = "one hash a line: md5sum, sha1sum, sha256sum, hashdeep, and plain lists with a declared algorithm"
    options: tuple[Option, ...] = (
        Option("algorithm", "algorithm of a plain list's digests, such as MD5 or PDQ; needed for plain lists only"),
        Option("encoding", "encoding of the file names, which are not kept; utf-8 unless given"),
    )

    def has_classifications(self, options: Mapping[str, str]) -> bool:  # noqa: ARG002 - the same with all options
        """Return False: a line has no place for them."""
        return False

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        """Yield one Record or Reject for each line that is neither blank nor a comment.

        Raises InvalidArgument when a plain list comes without its algorithm, or the algorithm or encoding is unknown;
        MalformedSource for another hashdeep version or header, a wrong encoding, and a line longer than MAX_LINE.
        """
        check_options(self, options)
        algorithm = _algorithm(options.get("algorithm", ""))
        encoding = text_encoding("options.encoding", options.get("encoding") or "utf-8")
        columns: tuple[str, ...] = ()
        expect_header = False
        begun = False
        for number, raw in lines(source, encoding):
            line = raw.strip()
            position = f"line {number}"
            if "\0" in line or "\r" in line:
                yield Reject(
                    position,
                    "UNPARSABLE_LINE",
                    "the line holds a NUL or a CR, behind which further items would be lost; expected one item in a "
                    "line that ends in "
                    "LF or CR LF",
                )
            elif line.startswith("%%%%"):
                expect_header, columns = _hashdeep(position, line, expect_header)
            elif expect_header:
                raise MalformedSource(
                    "the hashdeep header is incomplete; expected a line %%%% with the column names", position=position
                )
            elif not line or line.startswith("#"):
                continue
            elif columns:
                yield _hashdeep_item(position, raw.rstrip("\r"), columns)
            elif not begun and (declared := _declared(line)):
                begun = True
                if algorithm not in {"", declared}:
                    raise InvalidArgument.field(
                        "options.algorithm",
                        f"is {algorithm}, but {position} of the file says {declared}",
                        "CONTRADICTION",
                    )
                algorithm = declared
            else:
                if not begun and not algorithm and _BARE.fullmatch(line):
                    raise InvalidArgument.field(
                        "options.algorithm",
                        f"is needed: {position} is a digest of {len(line)} characters alone, which does not say its "
                        "algorithm; "
                        f"give algorithm=NAME with one of {', '.join(hashes.ALGORITHMS)}",
                        "REQUIRED",
                    )
                begun = True
                yield _item(position, line, algorithm)
        if expect_header:
            raise MalformedSource("the file ends after the first hashdeep line; the file is cut off", position="line 2")


def _hashdeep(position: str, line: str, expect_header: bool) -> tuple[bool, tuple[str, ...]]:  # noqa: FBT001 - state
    """Return the state after a `%%%%` line: whether the column header must follow, and the columns."""
    if not expect_header:
        if line != f"{_HASHDEEP}1.0":
            raise MalformedSource("unknown hashdeep header; expected %%%% HASHDEEP-1.0", position=position)
        return True, ()
    columns = tuple(c.strip().lower() for c in line.removeprefix("%%%%").split(","))
    known = {"size", "filename", *_HASHDEEP_DIGESTS}
    if not set(columns) <= known or len(set(columns)) < len(columns) or not _HASHDEEP_DIGESTS & set(columns):
        raise MalformedSource(
            f"unusable hashdeep columns; expected distinct ones of {', '.join(sorted(known))}, and a digest among them",
            position=position,
        )
    if "filename" in columns[:-1]:
        raise MalformedSource("filename is not the last hashdeep column; names may hold commas", position=position)
    return False, columns


def _hashdeep_item(position: str, line: str, columns: tuple[str, ...]) -> Record | Reject:
    cells = line.split(",", len(columns) - 1)
    if len(cells) != len(columns):
        return Reject(position, "WRONG_COLUMN_COUNT", f"expected {len(columns)} columns, found {len(cells)}")
    faults: list[HashFault] = []
    cell_of = dict(zip(columns, cells, strict=True))
    pairs = [(c, digest) for c in columns if c in _HASHDEEP_DIGESTS and (digest := cell_of[c].strip())]
    return items.finish(position, pairs, faults, media_size=items.size(cell_of.get("size"), "size", faults))


def _algorithm(given: str) -> str:
    """Return the canonical name of the option `algorithm`. Raises InvalidArgument about the option."""
    try:
        return hashes.algorithm(given).name if given else ""
    except InvalidArgument as e:
        known = ", ".join(hashes.ALGORITHMS)
        raise InvalidArgument.field(
            "options.algorithm", f"is {given[:40]!r}; expected one of {known}", "UNKNOWN_ALGORITHM"
        ) from e


def _declared(line: str) -> str:
    """Return the algorithm that a first line such as `MD5` names, or nothing."""
    try:
        return hashes.algorithm(line).name
    except InvalidArgument:
        return ""


def _item(position: str, line: str, algorithm: str) -> Record | Reject:
    if tagged := _TAGGED.fullmatch(line) or _PAIR.fullmatch(line):
        label, digest = tagged.groups()
    elif named := _SUM.fullmatch(line):
        digest = named.group(1)
        label = algorithm or _SUM_LENGTHS.get(len(digest), "")
        if not label:
            return Reject(
                position,
                "DIGEST_WRONG_LENGTH",
                "the digest before the name must be 32 (MD5), 40 (SHA1) or 64 (SHA256) hexadecimal digits; got "
                f"{len(digest)}",
            )
    elif algorithm:
        label, digest = algorithm, line
    else:
        return Reject(
            position,
            "UNPARSABLE_LINE",
            "expected `digest  name`, `MD5 (name) = digest`, `MD5:digest`, or a plain digest with the option algorithm",
        )
    return items.finish(position, [(label, digest)], [])
