from __future__ import annotations

import gzip
import io
import random
import tracemalloc
import zipfile
from typing import Any

import pytest

from hashhub.client.sources import UnpackedList, UnpackLimits, describe, is_container, unpack
from hashhub.errors import InvalidArgument, MalformedSource

LIST = b"".join(b"%032x  a.jpg\n" % i for i in range(1000))


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    out.seek(0)
    return out


def opened(source: io.BytesIO, name: str = "", **limits: Any) -> UnpackedList:
    unpacked = unpack(source, name, UnpackLimits(**limits))
    assert unpacked is not None
    return unpacked


def refused(source: io.BytesIO, **limits: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        opened(source, **limits).stream.read()
    return caught.value.message


def encrypted() -> io.BytesIO:
    data = bytearray(zipped(("list.txt", LIST)).getvalue())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    return io.BytesIO(bytes(data))


def test_a_gzip_file_gives_its_list_again_and_again() -> None:
    unpacked = opened(io.BytesIO(gzip.compress(LIST)), "list.txt.gz")
    assert (unpacked.name, unpacked.container) == ("list.txt", "a gzip file")
    assert unpacked.stream.seekable()
    assert unpacked.stream.read() == LIST
    assert unpacked.stream.seek(0) == 0
    assert b"".join(unpacked.stream) == LIST
    several = io.BytesIO(gzip.compress(LIST[:5000]) + gzip.compress(LIST[5000:]))
    assert opened(several).stream.read() == LIST


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_archive_with_one_list_gives_it(method: int) -> None:
    litter = [("__MACOSX/._list.txt", b"x"), (".DS_Store", b"x"), ("out/", b""), ("out/Thumbs.db", b"x")]
    unpacked = opened(zipped(("out/list.txt", LIST), *litter, method=method))
    assert (unpacked.name, unpacked.container) == ("list.txt", "a ZIP archive")
    assert unpacked.stream.read(7) == LIST[:7]
    unpacked.stream.seek(0)
    assert unpacked.stream.read() == LIST


def test_an_excel_workbook_and_what_is_no_container_are_left_alone() -> None:
    workbook = zipped(("[Content_Types].xml", b"<x/>"), ("xl/workbook.xml", b"<x/>"))
    assert unpack(workbook, "a.xlsx") is None
    assert workbook.tell() == 0
    assert unpack(io.BytesIO(LIST), "list.txt") is None
    assert unpack(io.BytesIO(b""), "") is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (zipped(("a", b"1"), ("b", b"2"), ("c", b"3")), "a ZIP archive with 3 files: unpack it and import each"),
        (zipped(), "a ZIP archive without a file"),
        (zipped(("out/", b"")), "a ZIP archive without a file"),
        (encrypted(), "encrypted: unpack it with its password"),
        (zipped(("a", LIST), method=zipfile.ZIP_BZIP2), "another method than deflate"),
        (zipped(("a", LIST), method=zipfile.ZIP_LZMA), "another method than deflate"),
        (zipped(("[Content_Types].xml", b""), ("word/document.xml", b"")), "a Word document"),
        (zipped(("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", b"")), "OpenDocument"),
        (zipped(("a.zip", zipped(("b", LIST)).getvalue())), "a ZIP archive that holds a ZIP archive"),
        (zipped(("a.jpg", b"\xff\xd8\xff\xe0")), "a ZIP archive that holds a picture (JPEG)"),
        (io.BytesIO(gzip.compress(gzip.compress(LIST))), "a gzip file that holds a gzip file"),
        (io.BytesIO(gzip.compress(b"SQLite format 3\0")), "a gzip file that holds a SQLite database"),
        (io.BytesIO(gzip.compress(bytes(257) + b"ustar")), "a gzip file that holds a tar archive"),
    ],
)
def test_a_container_of_anything_else_is_named(source: io.BytesIO, message: str) -> None:
    assert message in refused(source)


@pytest.mark.parametrize("cut", [1, 8, 9, 100, 2000])
def test_a_cut_gzip_file_says_where(cut: int) -> None:
    with pytest.raises(MalformedSource) as caught:
        opened(io.BytesIO(gzip.compress(random.Random(1).randbytes(4000))[:-cut])).stream.read()
    assert caught.value.position.endswith("of what is unpacked")


def test_damaged_containers_are_refused_without_a_foreign_exception() -> None:
    chance = random.Random("damage")
    for sound in (gzip.compress(LIST), zipped(("a", LIST)).getvalue()):
        for _ in range(400):
            data = bytearray(sound)
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(2, len(data))
                data[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
            try:
                unpacked = unpack(io.BytesIO(bytes(data)), "")
                if unpacked is not None:
                    unpacked.stream.read()
            except InvalidArgument as e:
                assert e.message  # most are refused, a changed date is not


def test_what_was_changed_inside_a_zip_archive_is_noticed() -> None:
    data = zipped(("a", LIST), method=zipfile.ZIP_STORED).getvalue().replace(LIST[:32], LIST[33:65])
    with pytest.raises(MalformedSource):
        opened(io.BytesIO(data)).stream.read()


def test_a_bomb_is_refused_before_it_costs_anything() -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    packed = zipped(("a", bytes(64 << 20)))
    tracemalloc.start()
    assert "200 times its size" in refused(io.BytesIO(bomb))
    assert "200 times its size" in refused(packed)
    assert "holds more than 1 MiB" in refused(io.BytesIO(gzip.compress(bytes(2 << 20))), expanded_bytes=1 << 20)
    assert "holds more than 1 MiB" in refused(zipped(("a", bytes(2 << 20))), expanded_bytes=1 << 20)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 80 << 20  # what `read` had gathered of the first, up to where no ratio is looked at, and the buffers


def test_a_long_list_is_unpacked_in_constant_memory() -> None:
    chance = random.Random(1)
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb") as packed:
        for _ in range(8):
            packed.write(chance.randbytes(1 << 20).hex().encode())
    out.seek(0)
    tracemalloc.start()
    stream = opened(out).stream
    total = 0
    while block := stream.read(1 << 18):
        total += len(block)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 16 << 20
    assert used < 4 << 20


def test_the_directory_of_an_archive_is_bounded_before_it_is_read() -> None:
    many = zipped(*((f"{i}.txt", b"") for i in range(300)))
    assert "300 files" in refused(many, zip_entries=200)
    assert "300 files" in refused(many, zip_directory_bytes=1000)
    assert "300 files" in refused(many)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"SQLite format 3\0more", "a SQLite database"),
        (b"\xff\xd8\xff\xe0", "a picture (JPEG)"),
        (b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a picture (WebP)"),
        (b"\0\0\0\x18ftypheic", "a picture (HEIF or AVIF)"),
        (b"\0\0\0\x18ftypisom", "a video (MP4 or QuickTime)"),
        (b"%PDF-1.7", "a PDF"),
        (b"7z\xbc\xaf\x27\x1c\0", "a 7z archive"),
        (b"Rar!\x1a\x07\x01", "a RAR archive"),
        (b"BZh91AY&SY", "a bzip2 file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xls"),
        (b"BM\x36\0\0\0\0\0\0\0\x36", "a picture (BMP)"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML><html>", "a web page (HTML)"),
        (zipped(("[Content_Types].xml", b""), ("xl/workbook.xml", b"")).getvalue(), "an Excel workbook"),
    ],
)
def test_what_is_no_list_is_named(head: bytes, what: str) -> None:
    assert what in describe(head)


@pytest.mark.parametrize(
    "head",
    [b"", LIST, b"BM of a list\n", b"MD5\n", b"{}", b"<?xml version='1.0'?>", b"\xff\xfem\0d\0", b"HASH\r\n\xff\0"],
)
def test_what_may_be_a_list_is_not_named(head: bytes) -> None:
    assert describe(head) == ""
    assert not is_container(head)
