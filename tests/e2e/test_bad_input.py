"""Damaged and hostile files against a real hub: refused with their place, nothing visible, the hub unmoved."""

from __future__ import annotations

import re
import struct
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.errors import HashHubError, MalformedSource, Reason
from hashhub.model import MatchOptions, Verdict, WithdrawalReason
from hashhub.testing.lists import list_file, random_items

if TYPE_CHECKING:
    from tests.e2e.conftest import Desk

REFUSED = 1
VICS = (
    '{"@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media", "value": ['
)


def said(error: HashHubError) -> str:
    """Return the message, having checked that a person can use it."""
    assert error.reason is not Reason.INTERNAL
    assert len(error.message) < 600, "a message is not a copy of the file"
    for leak in ("Traceback", "/tmp", "SELECT", "sqlite3", ".py"):  # noqa: S108 - looked for, not used
        assert leak not in error.message
    return error.message


def refused(desk: Desk, source: Path, hash_set: str, format_: str, **options: str) -> MalformedSource:
    with desk.client() as hub, pytest.raises(MalformedSource) as e:
        hub.import_source(source, connector=format_, hash_set=hash_set, options=options)
    said(e.value)
    return e.value


@pytest.mark.parametrize("variant", ["vics-2.0", "vics-1.3-case", "ncmec-xml"])
def test_a_cut_off_file_is_refused_wherever_it_was_cut(desk: Desk, new_set: str, variant: str) -> None:
    items = random_items(12, seed=1, values=("1", "2") if variant.startswith("vics") else ("A1", "B2"))
    if variant == "ncmec-xml":
        new_set = desk.hash_set(new_set + "x", scheme="ncmec-industry")
    whole = list_file(variant, items)
    sound = whole.data.rstrip()
    cuts = {0, 1, 2, *range(3, len(sound) - 12, len(sound) // 25), *range(len(sound) - 12, len(sound))}
    for cut in sorted(cuts):
        source = desk.file("cut", sound[:cut])
        with desk.client() as hub, pytest.raises(MalformedSource) as e:
            hub.import_source(source, connector=whole.connector, hash_set=new_set, options=whole.options)
        assert e.value.position, said(e.value)
    assert set(desk.states(new_set)) == {"CANCELLED"}
    assert desk.visible(new_set) == 0
    assert desk.verdict(items[0]) == Verdict.NO_MATCH


def test_the_command_names_the_place_and_ends_with_1(desk: Desk, new_set: str) -> None:
    whole = list_file("vics-2.0", random_items(12, seed=2, values=("1",))).data
    source = desk.file("cut.json", whole[: len(whole) // 2])
    done = desk.run("import", source, "--format", "vics", "--hash-set", new_set)
    assert done.exit_code == REFUSED
    assert "value[" in done.stderr
    assert "nothing of cut.json is visible" in done.stderr
    assert "Traceback" not in done.output + done.stderr


@pytest.mark.parametrize(
    "document_type",
    [
        b'<!DOCTYPE q [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        b'<!DOCTYPE q [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
        b'<!DOCTYPE q [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p.dtd"> %p;]>',
        b'<!DOCTYPE q SYSTEM "http://127.0.0.1:9/q.dtd">',
    ],
    ids=["bomb", "file", "parameter", "external"],
)
def test_xml_with_a_document_type_is_refused(desk: Desk, new_set: str, document_type: bytes) -> None:
    whole = list_file("ncmec-xml", random_items(3, seed=3, values=("A1",)))
    head, end, rest = whole.data.partition(b"?>")
    source = desk.file("entities.xml", head + end + document_type + rest.replace(b"<id>", b"<id>&a;", 1))
    error = refused(desk, source, new_set, "ncmec-xml", **whole.options)
    assert "DOCTYPE" in error.message or "document type" in error.message
    assert error.position.startswith("line 1")
    assert desk.visible(new_set) == 0


MEGABYTES = 10 * 1024 * 1024


def test_a_json_string_of_ten_megabytes(desk: Desk, new_set: str) -> None:
    item = '{"MediaID": 1, "Category": 1, "MD5": "%s"}' % ("ab" * 16)
    endless = '{{"MediaID": 2, "Category": 1, "MD5": "{}", "Series": "{}"}}'.format("cd" * 16, "x" * MEGABYTES)
    source = desk.file("long.json", f"{VICS}{item},{endless}]}}".encode())
    started = time.monotonic()
    with desk.client() as hub:
        try:
            report = hub.import_source(source, connector="vics", hash_set=new_set)
        except MalformedSource as e:
            assert e.position.startswith("value[1]"), said(e)
            assert desk.visible(new_set) == 0
        else:
            # The item alone is refused, and says why.
            assert (report.source.counts.accepted, report.source.counts.rejected) == (1, 1)
            assert report.groups[0].positions == ("value[1]",)
            assert len(report.groups[0].detail) < 600
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("format_", "data", "options"),
    [
        (
            "hash-lines",
            b"ab" * 16 + b"\n" + b"cd" * (MEGABYTES // 2) + b"\n" + b"ef" * 16 + b"\n",
            {"algorithm": "MD5"},
        ),
        ("hash-lines", b"ab" * 16 + b"  a.jpg\n" + b"cd" * 16 + b"  " + b"n" * MEGABYTES + b".jpg\n", {}),
        ("csv", b"md5,series\n" + b"ab" * 16 + b",x\n" + b"cd" * 16 + b"," + b"y" * MEGABYTES + b"\n", "mapping"),
        ("csv", b"md5,series\n" + b"ab" * 16 + b',"' + b"y\n" * (MEGABYTES // 2) + b'"\n', "mapping"),
        ("icse-csv", b"MD5;" * (MEGABYTES // 4) + b"\n", {}),
    ],
    ids=["digest", "name", "cell", "open-quote", "header"],
)
def test_a_line_of_ten_megabytes(
    desk: Desk, new_set: str, format_: str, data: bytes, options: dict[str, str] | str
) -> None:
    if isinstance(options, str):
        options = {"mapping": '[columns]\nmd5 = "md5"\nseries = "series"\n'}
    error = refused(desk, desk.file("long", data), new_set, format_, **options)
    assert error.position.startswith("line "), error.position
    assert desk.visible(new_set) == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "utf-7"])
@pytest.mark.parametrize("variant", ["vics-2.0", "ncmec-xml", "icse-csv", "csv", "md5sum"])
def test_a_wrong_encoding_is_named_or_read(desk: Desk, new_set: str, variant: str, encoding: str) -> None:
    """Nothing is read as something else: the file is refused, or all of it came through, or each item says what is
    wrong.
    """
    # Its own items: what an operator withdraws stays withdrawn in all sets of the contributor.
    items = random_items(5, seed=zlib.crc32(f"{variant} {encoding}".encode()), values=("1",))
    whole = list_file(variant, items)
    text = whole.data.decode().replace("SYNTHETIC", "S\N{LATIN SMALL LETTER U WITH DIAERESIS}NTHETIC")
    source = desk.file("encoded", text.encode(encoding))
    with desk.client() as hub:
        try:
            report = hub.import_source(source, connector=whole.connector, hash_set=new_set, options=whole.options)
        except HashHubError as e:
            assert said(e)
            assert desk.visible(new_set) == 0
        else:
            counts = report.source.counts
            assert counts.items == counts.accepted + counts.rejected + counts.quarantined
            if counts.accepted:
                assert desk.verdict(items[0]) == Verdict.MATCH
    with desk.client() as hub:
        for entry in hub.list_entries(new_set):
            hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
        assert desk.verdict(items[0]) == Verdict.NO_MATCH


def test_random_bytes_of_every_format(desk: Desk, new_set: str) -> None:
    """Noise, and sound files with noise in the middle."""
    from random import Random

    random = Random(5)
    for variant in ("vics-2.0", "ncmec-xml", "icse-csv", "csv", "md5sum", "hashdeep"):
        whole = list_file(variant, random_items(5, seed=6, algorithms=("MD5", "SHA1", "SHA256")))
        middle = len(whole.data) // 2
        for data in (
            random.randbytes(2_000),
            whole.data[:middle] + random.randbytes(200) + whole.data[middle:],
            b"\0" * 999,
        ):
            with desk.client() as hub:
                try:
                    hub.import_source(
                        desk.file("noise", data),
                        connector=whole.connector,
                        hash_set=new_set,
                        options=whole.options,
                        validate_only=True,
                    )
                except HashHubError as e:
                    assert said(e)
    assert desk.visible(new_set) == 0


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds one byte of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def most_memory(pid: int) -> int:
    """Return the most memory that a process ever had, in MiB."""
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    assert peak
    return int(peak[1]) // 1024


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_a_gigapixel_picture_is_refused_from_its_header(desk: Desk, width: int, height: int) -> None:
    bomb = png(width, height)
    before = most_memory(desk.hub.pid)
    with desk.client() as hub:
        (answer,) = hub.match_media([("bomb.png", bomb)], MatchOptions(policy="any"))
    assert most_memory(desk.hub.pid) - before < 256, "its pixels were not made room for"
    result = answer.media.result
    assert result.verdict is Verdict.UNAVAILABLE
    assert result.reasons[0].code in {Reason.MEDIA_TOO_LARGE, Reason.UNREADABLE_MEDIA}
    assert "pixels" in result.reasons[0].text or "read" in result.reasons[0].text


def test_damaged_pictures_are_never_clean(desk: Desk) -> None:
    whole = png(64, 64)
    damaged = [
        whole[:20],
        whole[:40],
        whole,
        b"GIF89a" + b"\xff" * 50,
        b"RIFF\0\0\0\0WEBP",
        b"\xff\xd8\xff\xe0" + b"\0" * 50,
    ]
    with desk.client() as hub:
        answers = list(hub.match_media([(str(i), d) for i, d in enumerate(damaged)], MatchOptions(policy="any")))
    assert [a.media.result.verdict for a in answers] == [Verdict.UNAVAILABLE] * len(damaged)
    assert all(a.media.result.reasons[0].code == Reason.UNREADABLE_MEDIA for a in answers)
