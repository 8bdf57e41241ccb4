"""Files around a list: gzip and ZIP archives are opened within limits, and what else is no list is named.

A list is unpacked as it is read, not on disk or whole in memory. Bounded are the size of what comes out, its ratio to
what goes in, and a ZIP archive's directory, which is held whole. Containers in containers are not opened.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zipfile
import zlib
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from hashhub.errors import InvalidArgument, MalformedSource, Violation

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


class Unpacked(NamedTuple):
    """The list in a container: a seekable stream of its bytes, its name, and what it came out of, for people."""

    stream: BinaryIO
    name: str
    container: str


def is_empty(head: bytes) -> bool:
    """Whether a file that begins like this holds no text: nothing, white space, or a byte order mark."""
    return not _text(head)


def _text(head: bytes) -> bytes:
    """Return the text behind a byte order mark and white space."""
    text = head.decode("utf-16", "replace").encode() if head.startswith(_UTF16) else head.removeprefix(b"\xef\xbb\xbf")
    return text.lstrip()


def describe(head: bytes) -> str:
    """Return by its first bytes what a file is that is no list, and what to do with it; empty where it may be one."""
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


def unpack(source: BinaryIO, name: str, limits: UnpackLimits = UnpackLimits()) -> Unpacked | None:  # noqa: B008 - frozen
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


def _from_gzip(source: BinaryIO, name: str, limits: UnpackLimits) -> Unpacked:
    stream = _Bounded(gzip.GzipFile(fileobj=source, mode="rb"), source, "gzip file", limits)
    return Unpacked(
        io.BufferedReader(stream, _READ), re.sub(r"\.gz(?:ip)?$", "", name, flags=re.IGNORECASE), "a gzip file"
    )


def _from_zip(source: BinaryIO, limits: UnpackLimits) -> Unpacked | None:
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
    stream = _Bounded(member, source, "ZIP archive", limits)
    return Unpacked(io.BufferedReader(stream, _READ), entry.filename.rpartition("/")[2], "a ZIP archive")


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


class _Bounded(io.RawIOBase):
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
        """Return the place in what is unpacked."""
        return int(self._stream.tell())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place in what is unpacked."""
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
