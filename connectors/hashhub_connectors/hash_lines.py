"""One hash a line, as sum tools, hashdeep, PDQ's tool, The Sleuth Kit, PowerShell and plain lists write it; items may
end in NUL (md5sum -z).

The algorithm is never guessed: it comes from the line, a header or the option `algorithm`. Otherwise 32 hexadecimal
digits are MD5, 40 SHA-1, and 64 are refused. A last line without its end may be cut off; it is refused unless all items
before it look alike.

A line with all frames of a video is one item; single frames are refused (VIDEO_FRAME) unless `frames=pictures`. File
names are case data: neither kept nor named in messages.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64
from collections import Counter
from collections.abc import Mapping
from typing import BinaryIO, Final, NamedTuple

from hashhub import hashes
from hashhub.connector import HEAD_BYTES, Certainty, Guess, Items, LeftOut, Option, check_options
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import ALGORITHMS
from hashhub.hygiene import Code
from hashhub.model import HashFault, Record, Reject
from hashhub_connectors import items, vpdq
from hashhub_connectors.source import UnclassifiedFormat, ended_lines, head_encoding, head_text, text_encoding

_DIGEST: Final = r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{56}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{96}|[0-9A-Fa-f]{128}"
_LABEL: Final = r"[A-Za-z][A-Za-z0-9/-]{1,20}"
# GNU coreutils' manual, "md5sum invocation": digest, a space, a space or `*` (binary), the name, which may begin with
# spaces; a leading `\` marks an escaped name.
_USUAL: Final = re.compile(rf"\\?({_DIGEST})([ \t].+)?", re.DOTALL)
_TAGGED: Final = re.compile(rf"\\?({_LABEL}) ?\(.*\) ?= ?([0-9A-Za-z+/_-]+={{0,2}})", re.DOTALL)
_LABELLED: Final = re.compile(rf"({_LABEL}):([0-9A-Za-z+/_,-]+={{0,2}})([ \t].*)?", re.DOTALL)
# PowerShell's Get-FileHash, as a table.
_GET_FILEHASH: Final = re.compile(rf"(MD5|SHA1|SHA256|SHA384|SHA512)[ \t]+({_DIGEST})([ \t].*)?", re.DOTALL)
_GET_FILEHASH_HEADER: Final = re.compile(r"Algorithm +Hash(?: +Path)?|-{3,}(?: +-{3,}){1,2}")
_FRAME: Final = re.compile(r"([0-9]{1,9}),([0-9]{1,3}),([0-9A-Fa-f]{64})(?:,([0-9.eE+-]{1,20})?)?")
_PDQ_TOOL: Final = re.compile(r"([0-9A-Fa-f]{64}),([0-9]{1,3})(?:,(.*))?")
_FRAMES: Final = re.compile(r'\[\s*"[0-9A-Fa-f]{64},[0-9]{1,3},.*')  # vPDQ of a whole video, as a JSON array
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_TOOL_HEADER: Final = re.compile(r"(?:frame\w*,quality,\w*hash|\w*hash,quality),?\w*", re.IGNORECASE)
# tsk/hashdb: two header lines (the type of what was indexed, its name), then `DIGEST|OFFSET` in the digests' order.
_INDEX_HEADER: Final = re.compile(r"0{40}[01]\|.*")
_INDEX: Final = re.compile(r"([0-9A-Fa-f]{32}|[0-9A-Fa-f]{40})\|[0-9]{16}")
_SIZED: Final = re.compile(rf"([0-9]{{1,20}})[ \t]+({_DIGEST})[ \t]+.+", re.DOTALL)
_DIGEST_ALONE: Final = re.compile(_DIGEST)
_ODD_SUM: Final = re.compile(r"\\?([0-9A-Fa-f]{16,128})[ \t].+", re.DOTALL)
_BARE: Final = re.compile(r"[0-9A-Fa-f]{16,288}|[A-Za-z0-9+/_-]{32,192}={0,2}")
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_HIDDEN: Final = re.compile(r"[\r\n]\\?[0-9A-Fa-f]{32}")  # in an item that ends in NUL
_BY_LENGTH: Final = {32: "MD5", 40: "SHA1"}
_NAMED_LENGTHS: Final = {**_BY_LENGTH, 56: "SHA224", 96: "SHA384", 128: "SHA512"}  # beside a file's name
_AMBIGUOUS: Final = 64
_LABEL_LENGTH: Final = 21  # as in _LABEL
_MAX_QUALITY: Final = 100
_HASHDEEP: Final = "%%%% HASHDEEP-"
_HASHDEEP_DIGESTS: Final = frozenset({"md5", "sha1", "sha256", "tiger", "whirlpool"})  # hashdeep(1), option -c
_LINES_LOOKED_AT: Final = 60  # of a file, to detect
_MOST: Final = 0.9  # of them must be in a layout
_SHA256_LIST: Final = re.compile(r"(?:^|[^a-z0-9])sha-?256(?:sums?)?(?:[^a-z0-9]|$)")


class _Line(NamedTuple):
    """What a line is. `label`: its algorithm, if said. `ends`: the digest ends it. `has_name`: a name is left out."""

    layout: str
    label: str = ""
    digest: str = ""
    size: str = ""
    quality: str = ""
    extra: str = ""
    ends: bool = False
    has_name: bool = False


class HashLines(UnclassifiedFormat):
    """Reads lists of one hash a line. Positions are `line 12`."""

    name = "hash-lines"
    version = "5"
    summary = "one hash a line: md5sum and its like, hashdeep, BSD sums, PDQ tool, ALGORITHM:digest, plain lists"
    options: tuple[Option, ...] = (
        Option(
            "algorithm",
            "algorithm of digests that do not say it, such as SHA256 or PDQ; needed for 64 digits. Several, as "
            "MD5,SHA1,SHA256, for a mixed list: each line's length says which",
        ),
        Option("encoding", "encoding of the file names, which are not kept; utf-8 unless given"),
        Option("frames", "`pictures`: take each frame of vPDQ lines for a picture of its own; refused unless given"),
    )

    def detect(self, head: bytes, name: str) -> Guess | None:
        """Return a guess from the first lines; 64 digits without an algorithm are POSSIBLE at most."""
        return _detect(head, name)

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each line that is neither blank nor a comment.

        Raises InvalidArgument when the first item's algorithm is not told, or the algorithm, encoding or frames option
        is unknown; MalformedSource for another hashdeep version or header, a wrong encoding, and a line longer than
        MAX_LINE.
        """
        check_options(self, options)
        if (frames := options.get("frames", "")) not in {"", "pictures"}:
            raise InvalidArgument.field(
                "options.frames", f"is {frames[:40]!r}; expected pictures, or no such option", "UNKNOWN"
            )
        algorithms = _algorithms(options.get("algorithm", ""))
        encoding = text_encoding("options.encoding", options.get("encoding") or "utf-8")
        left_out = LeftOut()
        lines = _Lines(algorithms, left_out, takes_frames=bool(frames))
        columns: tuple[str, ...] = ()
        expect_header = False
        for number, raw, end in ended_lines(source, encoding, may_be_nul=True):
            line = raw.strip()
            position = f"line {number}"
            if "\0" in line or ("\r" in line and end != "\0") or _HIDDEN.search(line):
                yield Reject(
                    position,
                    "UNPARSABLE_LINE",
                    "the line holds a NUL, CR or LF, behind which further items would be lost; expected one item in a "
                    "line that ends in LF or CR LF, or all items to end in NUL",
                )
            elif line.startswith("%%%%"):
                expect_header, columns = _hashdeep(position, line, expect_header)
            elif expect_header:
                raise MalformedSource(
                    "the hashdeep header is incomplete; expected a line %%%% with the column names", position=position
                )
            elif not line or line.startswith("#"):
                left_out.see("comment line", bool(line))
            elif columns:
                left_out.see("file name", "filename" in columns)
                yield _hashdeep_item(position, raw.rstrip("\r"), columns)
            elif (item := lines.read(position, line, is_whole=bool(end))) is not None:
                yield item
        if expect_header:
            raise MalformedSource("the file ends after the first hashdeep line; the file is cut off", position="line 2")
        return left_out


class _Lines:
    """Reads the lines of a file without hashdeep's header, in their order."""

    def __init__(self, algorithms: tuple[str, ...], left_out: LeftOut, *, takes_frames: bool) -> None:
        self._algorithms = algorithms
        self._left_out = left_out
        self._takes_frames = takes_frames
        self._begun = False
        self._kinds: set[tuple[str, int]] = set()  # (layout, length of the digest) of the items so far
        self._is_index = False

    def read(self, position: str, line: str, *, is_whole: bool) -> Record | Reject | None:
        """Return what the line is, None where it is a header. `is_whole`: it has its end."""
        layout = _layout(line)
        if not self._begun and layout is None:
            if declared := _declared(line):
                self._begun = True
                self._declare(position, declared)
                return None
            if _TOOL_HEADER.fullmatch(line):
                return None
        if layout is not None and layout.layout == "index-header":
            self._left_out.see("name of the index", layout.has_name)
            return None
        self._left_out.see("file name", layout is not None and layout.has_name)
        item = self._item(position, line, layout, is_whole=is_whole)
        self._begun = True
        self._kinds.add((layout.layout, len(layout.digest)) if layout else ("", 0))
        return item

    def _declare(self, position: str, declared: str) -> None:
        if self._algorithms and declared not in self._algorithms:
            raise InvalidArgument.field(
                "options.algorithm",
                f"is {', '.join(self._algorithms)}, but {position} of the file says {declared}",
                "CONTRADICTION",
            )
        self._algorithms = (declared,)

    def _item(self, position: str, line: str, layout: _Line | None, *, is_whole: bool) -> Record | Reject:
        if layout is None and self._algorithms:
            first = line.split(maxsplit=1)[0]  # such as base64, with or without a name behind it
            if _fitting(self._algorithms, first):
                layout = _Line("bare", digest=first, ends=first == line)
            elif len(self._algorithms) == 1:  # what it is not will be told of the whole line
                return items.finish(position, [(self._algorithms[0], line)], [])
        if layout is None:
            return Reject(
                position,
                "UNPARSABLE_LINE",
                "expected `digest  name`, `MD5 (name) = digest`, `MD5:digest`, or a plain digest with the option "
                "algorithm",
            )
        if layout.layout == "frames":  # a whole video
            frames = vpdq.read_video(position, line)
            return frames if isinstance(frames, Reject) else Record(position=position, frames=frames)
        if layout.layout == "frame":
            return self._frame(position, layout)
        faults: list[HashFault] = []
        if layout.layout == "index" and not self._is_index:
            self._is_index = True
            faults.append(HashFault("index", Code.PROVENANCE_LOST.value, Code.PROVENANCE_LOST.description))
        label = layout.label
        if layout.layout == "pdq-tool" and self._algorithms and label not in self._algorithms:
            return Reject(
                position,
                "UNPARSABLE_LINE",
                f"the line is one of PDQ's tool (digest,quality,name), but the algorithm is {self._algorithms[0]}",
            )
        if not label:
            told = self._tell(position, layout, is_whole=is_whole)
            if isinstance(told, Reject):
                return told
            label = told
        return items.finish(
            position,
            [(label, _hex_of(label, layout.digest))],
            faults,
            media_size=items.size(layout.size, "size", faults),
            quality=int(layout.quality) if layout.quality else None,
        )

    def _tell(self, position: str, layout: _Line, *, is_whole: bool) -> str | Reject:
        """Return the algorithm of a digest whose line does not say it, or the Reject where nothing does."""
        digest = layout.digest
        if len(self._algorithms) == 1:
            return self._algorithms[0]
        label = _fitting(self._algorithms, digest) if self._algorithms else _told_by_length(layout)
        if not label:
            if self._algorithms or layout.layout == "odd-sum":
                return Reject(
                    position,
                    "DIGEST_WRONG_LENGTH",
                    f"the digest has {len(digest)} characters; expected 32 (MD5), 40 (SHA1), or another length with "
                    "the option algorithm",
                )
            return self._ask(position, layout)
        if layout.ends and not is_whole and self._kinds != {(layout.layout, len(digest))}:
            return Reject(
                position,
                "UNPARSABLE_LINE",
                "the file's last line has no line end and may be cut off, so that its length does not tell its "
                "algorithm; end it with a line feed, or give the option algorithm",
            )
        return label

    def _ask(self, position: str, layout: _Line) -> Reject:
        """Refuse a digest that may be of several algorithms: the whole file, if it is the first item."""
        count = len(layout.digest)
        what = f"a digest of {count} characters {'alone' if layout.layout == 'bare' else 'with a file name'}"
        hint = " (SHA-256 and PDQ have 64 digits)" if count == _AMBIGUOUS else ""
        if not self._begun:
            raise InvalidArgument.field(
                "options.algorithm",
                f"is needed: {position} is {what}, which does not say its algorithm{hint}; give algorithm=NAME with "
                f"one of {', '.join(ALGORITHMS)}, or several for a mixed list",
                "REQUIRED",
            )
        advice = "give the option algorithm, for a mixed list as algorithm=MD5,SHA1,SHA256"
        return Reject(position, "UNPARSABLE_LINE", f"{what} does not say its algorithm{hint}; {advice}")

    def _frame(self, position: str, layout: _Line) -> Record | Reject:
        if not self._takes_frames:
            return Reject(position, Code.VIDEO_FRAME.value, Code.VIDEO_FRAME.description)
        return items.finish(
            position,
            [("PDQ", layout.digest)],
            [],
            quality=int(layout.quality),
            extra=layout.extra,
        )


def _layout(line: str) -> _Line | None:
    """Return what a line is by its shape, None where it has none that is known."""
    if usual := _USUAL.fullmatch(line):
        digest, name = usual.groups()
        return _Line("named" if name else "bare", digest=digest, ends=not name, has_name=bool(name))
    if tagged := _TAGGED.fullmatch(line):
        return _Line("tagged", tagged[1], tagged[2], has_name=True)
    if (labelled := _LABELLED.fullmatch(line)) and (_is_known(labelled[1]) or _HEX.fullmatch(labelled[2])):
        return _Line("labelled", labelled[1], labelled[2], has_name=bool(labelled[3]))
    if table := _GET_FILEHASH.fullmatch(line):
        return _Line("labelled", table[1], table[2], has_name=bool(table[3]))
    if _GET_FILEHASH_HEADER.fullmatch(line):
        return _Line("index-header")
    if frame := _FRAME.fullmatch(line):
        number, quality, digest, time = frame.groups()
        if int(quality) <= _MAX_QUALITY:
            return _Line("frame", "PDQ", digest, quality=quality, extra=_about_frame(number, time))
    if tool := _PDQ_TOOL.fullmatch(line):
        digest, quality, name = tool.groups()
        if int(quality) <= _MAX_QUALITY:
            if name and _NUMBER.fullmatch(name):
                return _Line("frame", "PDQ", digest, quality=quality, extra=_about_frame("", name))
            return _Line("pdq-tool", "PDQ", digest, quality=quality, has_name=bool(name))
    if _FRAMES.match(line):
        return _Line("frames", "PDQ")
    if index := _INDEX.fullmatch(line):
        return _Line("index", _BY_LENGTH[len(index[1])], index[1])
    if _INDEX_HEADER.fullmatch(line):  # the second of two has the name of what was indexed
        return _Line("index-header", has_name=line[40] == "1")
    if sized := _SIZED.fullmatch(line):
        return _Line("sized", digest=sized[2], size=sized[1], has_name=True)
    name, _, digest = line.rpartition("\t" if "\t" in line and line.rfind("\t") > line.rfind(" ") else " ")
    if name.strip() and _DIGEST_ALONE.fullmatch(digest := digest.removeprefix("*")):
        label = name.strip() if _is_known(name.strip()) else ""
        return _Line("named", label, digest, ends=True, has_name=not label)
    if odd := _ODD_SUM.fullmatch(line):
        return _Line("odd-sum", digest=odd[1], has_name=True)
    if _BARE.fullmatch(line):
        return _Line("bare", digest=line, ends=True)
    return None


def _told_by_length(layout: _Line) -> str:
    """Return the algorithm that a digest's length alone tells, or nothing."""
    return (_BY_LENGTH if layout.layout == "bare" else _NAMED_LENGTHS).get(len(layout.digest), "")


def _about_frame(number: str, time: str | None) -> str:
    said = {"frame": int(number)} if number else {}
    return json.dumps({**said, **({"timestamp": time} if time else {})}, separators=(",", ":"))


def _is_known(label: str) -> bool:
    return len(label) <= _LABEL_LENGTH and bool(_declared(label))


def _hex_of(label: str, digest: str) -> str:
    """Return a base64 digest of an exact algorithm, as OpenBSD writes it, in hexadecimal; any other as it is."""
    try:
        algorithm = hashes.algorithm(label)
    except InvalidArgument:
        return digest
    digest = digest.strip()
    width = algorithm.digest_bytes
    if algorithm.is_perceptual or len(digest.rstrip("=")) != -(-8 * width // 6):
        return digest
    if _HEX.fullmatch(digest) and any(c.isdigit() for c in digest):  # a cut digest; letters alone may be base64
        return digest
    try:
        decoded = a2b_base64(digest.rstrip("=") + "=" * (-len(digest.rstrip("=")) % 4), strict_mode=True)
    except ValueError:
        return digest
    return decoded.hex() if len(decoded) == width else digest


def _fitting(algorithms: tuple[str, ...], digest: str) -> str:
    """Return the algorithm, of several of different widths, that a digest's length is of, or nothing."""
    for name in algorithms:
        if len(_hex_of(name, digest)) == 2 * ALGORITHMS[name].digest_bytes:
            return name
    for name in algorithms:
        try:
            hashes.parse(name, digest)
        except InvalidArgument:
            continue
        return name
    return ""


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


def _algorithms(given: str) -> tuple[str, ...]:
    """Return the canonical names of the option `algorithm`. Raises InvalidArgument about the option."""
    names: list[str] = []
    for part in given.split(",") if given.strip() else ():
        try:
            names.append(hashes.algorithm(part.strip()).name)
        except InvalidArgument as e:
            known = ", ".join(ALGORITHMS)
            raise InvalidArgument.field(
                "options.algorithm", f"is {part.strip()[:40]!r}; expected one of {known}", "UNKNOWN_ALGORITHM"
            ) from e
    widths: dict[int, str] = {}
    for name in dict.fromkeys(names):
        other = widths.setdefault(ALGORITHMS[name].digest_bytes, name)
        if other != name:
            raise InvalidArgument.field(
                "options.algorithm",
                f"has {other} and {name}, whose digests are equally long, so that no line tells them apart; name one",
                "CONTRADICTION",
            )
    return tuple(widths.values())


def _declared(line: str) -> str:
    """Return the algorithm that a first line such as `MD5` names, or nothing."""
    try:
        return hashes.algorithm(line).name
    except InvalidArgument:
        return ""


_WHY: Final = {
    "named": "its lines have a digest and a name",
    "bare": "its lines are digests of 32 (MD5) or 40 digits (SHA-1)",
    "tagged": "its lines read ALGORITHM (name) = digest",
    "labelled": "its lines read ALGORITHM:digest",
    "pdq-tool": "its lines read digest,quality,name as PDQ's tool writes them",
    "frame": "its lines are frames of a video as vPDQ writes them, which --format vpdq reads; here they are refused "
    "unless --option frames=pictures",
    "frames": "its lines are the frames of whole videos as vPDQ writes them",
    "index": "it is a Sleuth Kit index, in which the provenance of the hashes is lost",
    "sized": "its lines read size, digest, name as md5deep -z writes them",
}
_AMBIGUOUS_WHY: Final = (
    "its digests have 64 digits, which are SHA-256 or PDQ: give --format hash-lines with --option algorithm=SHA256 "
    "or --option algorithm=PDQ"
)


def _detect(head: bytes, name: str) -> Guess | None:
    encoding = head_encoding(head)
    text = head_text(head)
    options = {} if encoding == "utf-8" else {"encoding": "utf-16"}
    nul, feed = text.find("\0"), text.find("\n")
    is_nul = nul >= 0 and (feed < 0 or nul < feed)
    lines = text.split("\0" if is_nul else "\n")
    if len(head) >= HEAD_BYTES:
        lines.pop()  # it goes on behind the head
    looked_at = [line for raw in lines[:_LINES_LOOKED_AT] if (line := raw.strip()) and not line.startswith("#")]
    if not looked_at:
        return None
    if looked_at[0].startswith(_HASHDEEP):
        return Guess(Certainty.CERTAIN, f"its first line is {looked_at[0][:24]}", options)
    if _INDEX_HEADER.fullmatch(looked_at[0]):
        return Guess(Certainty.CERTAIN, _WHY["index"], options)
    declared = _declared(looked_at[0])
    if declared or _TOOL_HEADER.fullmatch(looked_at[0]):
        looked_at.pop(0)
    looked_at = [line for line in looked_at if not _GET_FILEHASH_HEADER.fullmatch(line)]
    layouts = [layout for line in looked_at if "\r" not in line and (layout := _layout(line))]
    if not layouts or len(layouts) < _MOST * len(looked_at):
        return None
    if declared:
        return Guess(Certainty.LIKELY, f"its first line says {declared}, and the others are digests", options)
    most_frequent = Counter(layout.layout for layout in layouts).most_common(1)[0][0]
    unsaid = [layout for layout in layouts if not (layout.label or _told_by_length(layout))]
    if any(len(layout.digest) != _AMBIGUOUS for layout in unsaid):
        return Guess(
            Certainty.POSSIBLE,
            "its lines look like digests, which do not say their algorithm: give --format hash-lines with "
            "--option algorithm=NAME",
            options,
        )
    if unsaid:
        are_named = all(layout.layout in {"named", "sized"} for layout in layouts)
        others = sorted({_told_by_length(layout) for layout in layouts} - {""})
        if are_named and _SHA256_LIST.search(name.casefold().rpartition("/")[2]) and set(others) <= set(ALGORITHMS):
            return Guess(
                Certainty.LIKELY,
                "its lines have a digest and a name, and the file's name says SHA-256",
                {**options, "algorithm": ",".join(("SHA256", *others))},
            )
        return Guess(Certainty.POSSIBLE, _AMBIGUOUS_WHY, options)
    why = _WHY.get(most_frequent, _WHY["named"]) + (", and end in NUL" if is_nul else "")
    return Guess(Certainty.LIKELY, why, options)
