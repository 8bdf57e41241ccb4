"""Sources of an import: what a file is, the list in a gzip file or ZIP archive, the connector that reads it, and the
parts of a release, which become visible together or not at all.

A list is unpacked as it is read, not on disk or whole in memory. Bounded are the size of what comes out, its ratio to
what goes in, and a ZIP archive's directory, which is held whole. Containers in containers are not opened.

The parts of a release (CAID's gold disk, NSRL) are read in the order given. Their positions begin with the part's name
(`part2.json: value[3]`), and their digest is that of the lines that `sha256sum PART1 PART2` prints.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from hashhub import connector as connectors
from hashhub.connector import HEAD_BYTES, Certainty, Connector, Detector, Guess, HasTerms, each
from hashhub.errors import InvalidArgument, MalformedSource, Violation
from hashhub.model import HashSet, Record, Reject

_READ: Final = 1 << 18  # bytes asked of the unpacker at a time
_HEAD: Final = 4096  # bytes of what is inside, to name it
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\x03\x04", b"PK00PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")  # PK00: 8.5.4, in one piece after all
_END: Final = b"PK\x05\x06"  # of a ZIP archive's directory: APPNOTE.TXT 4.3.16
_END_BYTES: Final = 22
_LOCATOR: Final = b"PK\x06\x07"  # of the record that follows it for large archives: 4.3.15
_LOCATOR_BYTES: Final = 20
_END_64: Final = b"PK\x06\x06"  # 4.3.14
_MAX_COMMENT: Final = 0xFFFF
_ENCRYPTED: Final = 0x1  # bit of a ZIP entry's flags
# Folders and files that systems add to archives by themselves.
_LITTER: Final = re.compile(r"(?:^|/)(?:__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
# Lists that no connector reads.
_BY_TEXT: Final = (
    (
        re.compile(rb"(?:<[?!][^>]{0,400}>\s*){0,8}<dfxml[\s>]"),
        "DFXML, which lists the files of a disk; write their digests with hashdeep, or as CSV for a mapping",
    ),
    (
        re.compile(rb"[\[{][^\0]{0,4000}?\"hash_digest\"\s*:"),
        "Tech Against Terrorism's hash list (JSON); write hash_digest and algorithm as CSV, and import it by a mapping",
    ),
    (
        re.compile(rb"\{[^\n]{0,60000}?\"(?:MD5|SHA1|MediaID)\"\s*:[^\n]{0,60000}\}\r?\n\s*\{"),
        "JSON lines of Media; put them into one array, between [ and ] and with commas, for the format vics",
    ),
    (
        re.compile(rb"[\t\x20-\xff]{1,4000}\r[\t\r\x20-\xff]*\Z"),
        "a text whose lines end in CR alone; save it with line ends LF or CR LF",
    ),
)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class UnpackLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may come out of a container. `free_bytes`: up to there no ratio is looked at."""

    expanded_bytes: int = 32 << 30
    ratio: int = 200  # repetitive JSON around one MD5 an item stays below 60
    free_bytes: int = 16 << 20
    zip_entries: int = 10_000
    zip_directory_bytes: int = 8 << 20


class UnpackedList(NamedTuple):
    """The list in a container: a seekable stream, its name, and the kind of container, for people."""

    stream: BinaryIO
    name: str
    container: str


def is_empty(head: bytes) -> bool:
    """Whether a file that begins like this holds no text: nothing, white space, or a byte order mark."""
    return not _text(head)


def _text(head: bytes) -> bytes:
    """Return the text after a byte order mark and white space."""
    text = head.decode("utf-16", "replace").encode() if head.startswith(_UTF16) else head.removeprefix(b"\xef\xbb\xbf")
    return text.lstrip()


def describe(head: bytes) -> str:
    """Return the kind of a file that is no list, by its first bytes, with advice; empty where it may be a list."""
    for begin, what in _BY_BEGINNING:
        if head.startswith(begin):
            return what
    for at, mark, what in _BY_MARK:
        if head[at : at + len(mark)] == mark:
            return what
    if head.startswith(_ZIP):
        return _zip_kind(head)
    if head.startswith(_GZIP):
        return "a gzip file"
    if head[4:8] == b"ftyp":
        return "a picture (HEIF or AVIF)" if head[8:12] in _HEIF_BRANDS else "a video (MP4 or QuickTime)"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "a picture (BMP)"
    text = _text(head)
    for pattern, what in _BY_TEXT:
        if pattern.match(text):
            return what
    if _PAGE.match(text[:64]):
        return "a web page (HTML); save what it shows as CSV"
    return ""


def is_container(head: bytes) -> bool:
    """Whether a file with these first bytes is one that `unpack` looks into."""
    return head.startswith((_GZIP, *_ZIP))


def unpack(
    source: BinaryIO,
    name: str,
    limits: UnpackLimits = UnpackLimits(),  # noqa: B008 - frozen
) -> UnpackedList | None:
    """Return the one list in a gzip or ZIP file; None for other files, and for Excel workbooks, which connectors read.
    Raises InvalidArgument for anything else inside, MalformedSource for damage; the stream raises them too.
    """
    source.seek(0)
    head = source.read(_HEAD)
    source.seek(0)
    if not is_container(head):
        return None
    unpacked = _from_gzip(source, name, limits) if head.startswith(_GZIP) else _from_zip(source, limits)
    if unpacked is None:
        source.seek(0)
        return None
    inside = unpacked.stream.read(_HEAD)
    unpacked.stream.seek(0)
    if what := describe(inside):
        raise _refused(f"{unpacked.container} that holds {what}; unpack it, and import the list")
    return unpacked


def _from_gzip(source: BinaryIO, name: str, limits: UnpackLimits) -> UnpackedList:
    stream = _BoundedStream(gzip.GzipFile(fileobj=source, mode="rb"), source, "gzip file", limits)
    return UnpackedList(
        io.BufferedReader(stream, _READ), re.sub(r"\.gz(?:ip)?$", "", name, flags=re.IGNORECASE), "a gzip file"
    )


def _from_zip(source: BinaryIO, limits: UnpackLimits) -> UnpackedList | None:
    _check_directory(source, limits)
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise _damaged("ZIP archive", 0) from e
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if "[Content_Types].xml" in names and any(n.startswith("xl/") for n in names):
        return None
    files = [e for e in entries if not e.is_dir() and not _LITTER.search(e.filename)]
    if len(files) != 1:
        if (what := _office(names)) is not None:
            raise _refused(what)
        if not files:
            raise _refused("a ZIP archive without a file in it; expected one list")
        raise _refused(f"a ZIP archive with {len(files)} files: unpack it and import each")
    (entry,) = files
    if entry.flag_bits & _ENCRYPTED:
        raise _refused("a ZIP archive whose file is encrypted: unpack it with its password, and import the file")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _refused("a ZIP archive packed by another method than deflate: unpack it, and import the file")
    if entry.file_size > limits.expanded_bytes:
        raise _too_large("ZIP archive", limits)
    if entry.file_size > limits.free_bytes and entry.file_size > limits.ratio * max(entry.compress_size, 1):
        raise _too_dense("ZIP archive", limits)
    try:
        member = archive.open(entry)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as e:
        raise _damaged("ZIP archive", 0) from e
    stream = _BoundedStream(member, source, "ZIP archive", limits)
    return UnpackedList(io.BufferedReader(stream, _READ), entry.filename.rpartition("/")[2], "a ZIP archive")


def _check_directory(source: BinaryIO, limits: UnpackLimits) -> None:
    """Refuse a directory that would fill memory, before it is read."""
    size = source.seek(0, os.SEEK_END)
    begin = max(0, size - _END_BYTES - _MAX_COMMENT - _LOCATOR_BYTES)
    source.seek(begin)
    tail = source.read(size - begin)
    source.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        raise _damaged("ZIP archive", 0)
    entries, length = _number(tail, at + 10, 2), _number(tail, at + 12, 4)
    locator = tail[max(0, at - _LOCATOR_BYTES) : at]
    if locator.startswith(_LOCATOR):
        source.seek(min(_number(locator, 8, 8), size))
        record = source.read(56)
        source.seek(0)
        if record.startswith(_END_64):
            entries, length = max(entries, _number(record, 32, 8)), max(length, _number(record, 40, 8))
    # Without it, the fields' own maxima would stand for numbers that they cannot hold.
    elif length == 0xFFFFFFFF:  # noqa: PLR2004 - see above
        raise _damaged("ZIP archive", 0)
    if entries > limits.zip_entries or length > limits.zip_directory_bytes:
        raise _refused(f"a ZIP archive with {entries} files: unpack it and import each")


def _number(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")


class _BoundedStream(io.RawIOBase):
    """What an unpacker gives, within limits, and its errors as ours."""

    def __init__(self, stream: Any, source: BinaryIO, kind: str, limits: UnpackLimits) -> None:
        super().__init__()
        self._stream = stream
        self._source = source
        self._kind = kind
        self._limits = limits

    def readable(self) -> bool:
        """Return True: it is a source."""
        return True

    def seekable(self) -> bool:
        """Return True: going back unpacks anew."""
        return True

    def tell(self) -> int:
        """Return the position in the unpacked data."""
        return int(self._stream.tell())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a position in the unpacked data."""
        return int(self._guarded(self._stream.seek, offset, whence))

    def readinto(self, buffer: Any, /) -> int:
        """Put the next bytes into `buffer` (Python 3.11 has no type for it)."""
        into = memoryview(buffer).cast("B")
        data: bytes = self._guarded(self._stream.read, min(len(into), _READ))
        into[: len(data)] = data
        expanded = self.tell()
        if expanded > self._limits.expanded_bytes:
            raise _too_large(self._kind, self._limits)
        if expanded > self._limits.free_bytes and expanded > self._limits.ratio * max(self._source.tell(), 1):
            raise _too_dense(self._kind, self._limits)
        return len(data)

    def _guarded(self, call: Any, *arguments: int) -> Any:
        at = self.tell()
        try:
            return call(*arguments)
        except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error, ValueError, RuntimeError) as e:
            raise _damaged(self._kind, at) from e


def _damaged(kind: str, at: int) -> MalformedSource:
    return MalformedSource(
        f"the {kind} is damaged or cut off; get it anew, or unpack it by a tool that says more",
        position=f"byte {at} of what is unpacked",
    )


def _refused(what: str) -> InvalidArgument:
    return InvalidArgument(f"this is {what}", violations=(Violation("source", f"is {what}", "CONTAINER"),))


def _too_large(kind: str, limits: UnpackLimits) -> InvalidArgument:
    return _refused(
        f"a {kind} that holds more than {limits.expanded_bytes >> 20:,} MiB; unpack it, and import the file"
    )


def _too_dense(kind: str, limits: UnpackLimits) -> InvalidArgument:
    return _refused(
        f"a {kind} that expands to more than {limits.ratio} times its size, as one made to exhaust its reader does; if "
        "it is a real list, unpack it, and import the file"
    )


def _zip_kind(head: bytes) -> str:
    if b"[Content_Types].xml" in head or b"_rels/.rels" in head:
        for part, what in _OFFICE_PARTS:
            if part.encode() in head:
                return what
    if b"mimetypeapplication/vnd.oasis.opendocument" in head[:128]:
        return _OPEN_DOCUMENT
    return "a ZIP archive"


def _office(names: set[str]) -> str | None:
    if "mimetype" in names and "content.xml" in names:
        return _OPEN_DOCUMENT
    if "[Content_Types].xml" in names:
        return next((what for part, what in _OFFICE_PARTS if any(n.startswith(part) for n in names)), None)
    return None


_OPEN_DOCUMENT: Final = "an OpenDocument file; save its table as .xlsx or CSV"
WORKBOOK: Final = "an Excel workbook; import it with --format csv and a mapping, or save it as CSV"
"""What `describe` calls a file in a ZIP archive's clothes that `unpack` leaves alone."""
_OFFICE_PARTS: Final = (
    ("xl/", WORKBOOK),
    ("word/", "a Word document; save its table as .xlsx or CSV"),
    ("ppt/", "a PowerPoint file; save its table as .xlsx or CSV"),
)
_PAGE: Final = re.compile(rb"<(?:!doctype html|html)", re.IGNORECASE)
_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"})
_BY_BEGINNING: Final = (
    (b"SQLite format 3\0", "a SQLite database"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (b"GIF87a", "a picture (GIF)"),
    (b"GIF89a", "a picture (GIF)"),
    (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"%PDF-", "a PDF; get the list as CSV or text"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive; unpack it, and import the list"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it, and import the list"),
    (b"\xfd7zXZ\0", "an xz file; unpack it, and import the list"),
    (b"(\xb5/\xfd", "a Zstandard file; unpack it, and import the list"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an Excel workbook of the old kind (.xls), or another old Office file; save it as .xlsx or CSV",
    ),
    (b"EVF\t\r\n\xff\0", "a disk image (E01); no list is in it as such"),
    (b"{\\rtf", "a text document (RTF); save it as plain text or CSV"),
    (b"\x7fELF", "a program"),
)
_BY_MARK: Final = (
    (4, b"1AY&SY", "a bzip2 file; unpack it, and import the list"),
    (8, b"WEBP", "a picture (WebP)"),
    (8, b"AVI LIST", "a video (AVI)"),
    (257, b"ustar", "a tar archive; unpack it, and import the list"),
)


class Detection(NamedTuple):
    """What a source may be: all guesses, best first, and where its list begins.

    `stream`: the list, at its beginning, and `container`: what it stands in, for people, such as `a gzip file`; empty
    where it is the source itself. `what`: what a file is that is no list (`a picture (JPEG)`), or nothing.
    """

    guesses: list[tuple[str, Guess]]
    stream: BinaryIO
    container: str
    what: str


class ReadySource(NamedTuple):
    """A list that can be read: the bytes for `connector`, at their beginning, and its options.

    `guess`: why this connector, where it was not told. `container`: as in Detection.
    """

    connector: Connector
    options: dict[str, str]
    stream: BinaryIO
    guess: Guess | None
    container: str


def name_of(source: BinaryIO) -> str:
    """Return the file name of a stream, empty where it has none."""
    name = getattr(source, "name", "")
    return Path(name).name if isinstance(name, str) and not name.startswith("<") else ""


def look(source: BinaryIO, head: bytes, name: str) -> Detection:
    """Return what `source`, whose first bytes are `head`, may be.

    Raises InvalidArgument for a container of other than one list, MalformedSource for a damaged one.
    """
    guesses = connectors.recognise(head, name)
    if is_container(head) and (not guesses or guesses[0][1].certainty is Certainty.POSSIBLE):
        unpacked = unpack(source, name)
        if unpacked is not None:
            inside = unpacked.stream.read(HEAD_BYTES)
            unpacked.stream.seek(0)
            return Detection(connectors.recognise(inside, unpacked.name), unpacked.stream, unpacked.container, "")
    return Detection(guesses, source, "", "an empty file" if is_empty(head) else _named(head))


def ready(
    source: BinaryIO, head: bytes, name: str, connector: Connector | None, options: Mapping[str, str]
) -> ReadySource:
    """Return how to read `source`, whose first bytes are `head`: by `connector`, or by the one that recognises it.

    Raises InvalidArgument for what is no list, not one list, or perhaps of several formats; MalformedSource if damaged.
    """
    if connector is not None:
        return _told(source, head, name, connector, options)
    seen = look(source, head, name)
    chosen, guess = connectors.choose(seen.guesses, seen.what)
    return ReadySource(connectors.get(chosen), {**guess.options, **options}, seen.stream, guess, seen.container)


def _told(source: BinaryIO, head: bytes, name: str, connector: Connector, options: Mapping[str, str]) -> ReadySource:
    """Return how to read a source by a given connector, whatever others recognise."""
    claims = isinstance(connector, Detector) and _claims(connector, head, name)
    unpacked = unpack(source, name) if is_container(head) and not claims else None
    # What a connector without `detect` reads is not known, so that it gets binary files as they are.
    if unpacked is None and not claims and isinstance(connector, Detector) and (what := _named(head)):
        raise InvalidArgument(
            f"this is {what}; {connector.name} does not read it",
            violations=(Violation("source", f"is {what}", "CONTAINER"),),
        )
    if unpacked is None:
        return ReadySource(connector, dict(options), source, None, "")
    return ReadySource(connector, dict(options), unpacked.stream, None, unpacked.container)


def _named(head: bytes) -> str:
    """Return the kind of a file that is no list and was not unpacked, or nothing."""
    return WORKBOOK if is_container(head) else describe(head)


def _claims(connector: Detector, head: bytes, name: str) -> bool:
    try:
        return connector.detect(head, name) is not None
    except Exception:  # noqa: BLE001 - anybody's code, which promises not to
        return False


_READ_BYTES: Final = 1024 * 1024
_NAME_SHOWN: Final = 255  # characters: what file systems allow


class Release:
    """Seekable sources, read one after the other. Raises InvalidArgument when there is none."""

    def __init__(self, sources: Sequence[BinaryIO]) -> None:
        if not sources:
            raise InvalidArgument.field("source", "must be one file or stream, or several; got none")
        self._sources = tuple(sources)
        self._names = _names(self._sources)
        self._sizes: list[int] = []
        self._before = 0  # bytes of the parts that are done
        self._current = self._sources[0]
        self._ready: list[ReadySource] = []
        self._heads: list[bytes] = []

    def size(self) -> int:
        """Return how many bytes all parts have."""
        self._sizes = [source.seek(0, os.SEEK_END) for source in self._sources]
        return sum(self._sizes)

    def written(self) -> list[tuple[int, int]]:
        """Return size and modification time of each part."""
        return [_written(source) for source in self._sources]

    def tell(self) -> int:
        """Return how many bytes of all parts were read."""
        return self._before + self._current.tell()

    def digest(self, progress: Callable[[int], None]) -> str:
        """Return the SHA-256 that identifies the release. `progress` is told how many bytes were read.

        Raises InvalidArgument when two parts have the same content: one was given twice, and another forgotten.
        """
        done = 0
        digests: list[str] = []
        for source in self._sources:
            sha = hashlib.sha256()
            source.seek(0)
            while block := source.read(_READ_BYTES):
                sha.update(block)
                done += len(block)
                progress(done)
            digests.append(sha.hexdigest())
        if len(digests) == 1:
            return digests[0]
        for i, digest in enumerate(digests):
            if (first := digests.index(digest)) < i:
                raise InvalidArgument.field(
                    "source",
                    f"part {i + 1} ({self._names[i]}) has the same content as part {first + 1} "
                    f"({self._names[first]}); give each part once, and all of them",
                    "DUPLICATE",
                )
        lines = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, self._names, strict=True))
        return hashlib.sha256(lines.encode()).hexdigest()

    def recognise(self, connector: Connector | None, options: Mapping[str, str]) -> tuple[Connector, Mapping[str, str]]:
        """Return what reads all parts, and with which options: `connector`, or the one that recognises them.

        Raises as `sources.ready`, and InvalidArgument when the parts are not in one format.
        """
        self._ready, self._heads = [], []
        for source, name in zip(self._sources, self._names, strict=True):
            source.seek(0)
            head = source.read(HEAD_BYTES)
            given = ready(source, head, name_of(source), connector, options)
            first = self._ready[0] if self._ready else given
            if (given.connector.name, given.options) != (first.connector.name, first.options):
                raise InvalidArgument.field(
                    "source",
                    f"{name} is another kind of list than {self._names[0]} ({given.connector.name} "
                    f"{given.options or ''}, {first.connector.name} {first.options or ''}); the parts of a release "
                    "have one format: say which, or import them one by one",
                    "AMBIGUOUS",
                )
            self._ready.append(given)
            self._heads.append(head)
        return self._ready[0].connector, self._ready[0].options

    def hash_sets(self) -> list[HashSet]:
        """Return the hash sets that the parts name; call `recognise` first. Raises the connector's errors."""
        stated: list[HashSet] = []
        for given in self._ready:
            if isinstance(given.connector, HasTerms):
                given.stream.seek(0)
                stated += given.connector.hash_sets(given.stream)
        return stated

    def read_as_own(self, hash_set: str) -> Mapping[str, str]:
        """Read the entries of this hash set as the importer's own, unless the options name one. Return the options."""
        self._ready = [given._replace(options={"hash_set": hash_set, **given.options}) for given in self._ready]
        return self._ready[0].options

    @property
    def why(self) -> str:
        """Why the first part's format was recognised, and its container; empty where the format was given."""
        first = self._ready[0]
        why = first.guess.why if first.guess else ""
        return f"in {first.container}: {why}" if first.container else why

    def described(self) -> str:
        """Return the kind of the part that was read last if it is no list (`a picture (JPEG)`), otherwise nothing."""
        return describe(self._heads[self._sources.index(self._current)])

    def read(self) -> Iterator[Record | Reject]:
        """Yield the items of each part; call `recognise` first. Raises the connector's errors, naming the part."""
        for i, (given, name) in enumerate(zip(self._ready, self._names, strict=True)):
            self._current, self._before = self._sources[i], sum(self._sizes[:i])
            given.stream.seek(0)
            items = _with_left_out(given.connector.read(given.stream, given.options))
            yield from items if len(self._sources) == 1 else _within(name, items)


def _with_left_out(items: Iterable[Record | Reject]) -> Iterator[Record | Reject]:
    """Yield the items, then a note on the fields that were left out of them."""
    left_out = yield from each(items, lambda one: (one,))
    if left_out is not None:
        yield from left_out.told()


def _within(name: str, items: Iterable[Record | Reject]) -> Iterator[Record | Reject]:
    """Yield the items with positions that begin with the part's name."""
    try:
        for one in items:
            yield msgspec.structs.replace(one, position=f"{name}: {one.position}")
    except MalformedSource as e:
        raise MalformedSource(e.message.removeprefix(f"{e.position}: "), position=f"{name}: {e.position}") from e
    except InvalidArgument as e:
        e.add_note(f"this was said of {name}")
        raise


def _names(sources: Sequence[BinaryIO]) -> tuple[str, ...]:
    """Return the names of the parts' files, each once; `part 2` of a stream without one."""
    names: list[str] = []
    for number, source in enumerate(sources, 1):
        given = getattr(source, "name", None)
        name = Path(given).name if isinstance(given, str) else ""
        # A name need not be text, nor one line: it becomes part of every position.
        name = "".join(c for c in name.encode(errors="replace").decode() if c.isprintable())[:_NAME_SHOWN]
        name = name or f"part {number}"
        names.append(f"{name} ({number})" if name in names else name)
    return tuple(names)


def _written(source: BinaryIO) -> tuple[int, int]:
    """Return the file's size and modification time; zeros for a stream in memory."""
    try:
        status = os.fstat(source.fileno())
    except io.UnsupportedOperation:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)
