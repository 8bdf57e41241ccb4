"""By which connector a source is read, and what of it."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from hashhub import connector as connectors
from hashhub.client import Client, ImportPhase, ImportProgress
from hashhub.client.sources import look, name_of, ready
from hashhub.connector import HEAD_BYTES, Certainty, Guess, Option
from hashhub.errors import InvalidArgument, Reason
from hashhub.model import Record, Reject
from hashhub.testing.lists import list_file, random_items

VICS = list_file("vics-2.0", random_items(5, seed=1, values=("1",))).data
SQLITE = b"SQLite format 3\0" + bytes(100)


class Plain:
    """A connector from before there was detection."""

    name = "plain"
    version = "1"
    summary = "anything"
    options: tuple[Option, ...] = ()

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        return False

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        raise InvalidArgument.field("source", "is not mine")


class Archives(Plain):
    """A connector that reads archives itself."""

    name = "archives"

    def detect(self, head: bytes, name: str) -> Guess | None:
        return Guess(Certainty.LIKELY, "it is an archive of ours") if head[:2] in {b"PK", b"\x1f\x8b"} else None


class Failing(Plain):
    """A connector whose detector does not keep its promise."""

    name = "failing"

    def detect(self, head: bytes, name: str) -> Guess | None:
        raise RuntimeError(name)


def workbook() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "x" * 5000)
        archive.writestr("xl/workbook.xml", "")
    return out.getvalue()


def test_a_told_connector_wins_whatever_the_file_says() -> None:
    source = io.BytesIO(VICS)
    given = ready(source, VICS, "list.json", connectors.get("hash-lines"), {"algorithm": "MD5"})
    assert (given.connector.name, given.options, given.guess) == ("hash-lines", {"algorithm": "MD5"}, None)
    assert given.stream is source


def test_a_connector_that_claims_a_container_gets_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(VICS)
    source = io.BytesIO(packed)
    assert ready(source, packed, "", Archives(), {}).stream is source
    installed = {"archives": Archives(), "vics": connectors.get("vics")}
    monkeypatch.setattr(connectors, "discover", lambda: installed)
    given = ready(source, packed, "", None, {})
    assert (given.connector.name, given.stream is source, given.container) == ("archives", True, "")


def test_a_connector_that_cannot_tell_its_files_gets_what_is_no_list_as_it_is() -> None:
    for data in (SQLITE, workbook()):
        source = io.BytesIO(data)
        assert ready(source, data[:HEAD_BYTES], "", Plain(), {}).stream is source
    packed = gzip.compress(VICS)
    unpacked = ready(io.BytesIO(packed), packed, "", Plain(), {})
    assert (unpacked.stream.read(), unpacked.container) == (VICS, "a gzip file")


@pytest.mark.parametrize(("data", "what"), [(SQLITE, "a SQLite database"), (workbook(), "an Excel workbook")])
def test_one_that_can_tell_them_is_not_given_what_it_does_not_claim(data: bytes, what: str) -> None:
    for connector in (connectors.get("vics"), Failing()):
        with pytest.raises(InvalidArgument, match=f"this is {what}.*{connector.name} does not read it"):
            ready(io.BytesIO(data), data, "", connector, {})
    assert what in look(io.BytesIO(data), data, "").what


def test_what_a_list_says_of_itself_gives_way_to_what_is_told() -> None:
    sums = list_file("sha256sum", random_items(3, seed=1, algorithms=("SHA256",))).data
    assert ready(io.BytesIO(sums), sums, "SHA256SUMS", None, {}).options == {"algorithm": "SHA256"}
    assert ready(io.BytesIO(sums), sums, "SHA256SUMS", None, {"algorithm": "PDQ"}).options == {"algorithm": "PDQ"}
    packed = gzip.compress(sums)
    assert ready(io.BytesIO(packed), packed, "sha256sums.gz", None, {}).options == {"algorithm": "SHA256"}
    with pytest.raises(InvalidArgument) as caught:
        ready(io.BytesIO(sums), sums, "list.txt", None, {})
    assert caught.value.reason is Reason.UNKNOWN_FORMAT


def test_a_stream_has_the_name_of_its_file_or_none(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(b"")
    with (tmp_path / "SHA256SUMS").open("rb") as file:
        assert name_of(file) == "SHA256SUMS"
    with tempfile.TemporaryFile() as numbered:
        assert name_of(numbered) == ""
    assert name_of(io.BytesIO()) == ""


def test_progress_and_report_of_a_packed_list(operator: Client, hash_set: str, tmp_path: Path) -> None:
    path = tmp_path / "list.json.gz"
    path.write_bytes(gzip.compress(list_file("vics-2.0", random_items(5000, seed=2, values=("1",))).data))
    steps: list[ImportProgress] = []
    report = operator.import_source(path, hash_set=hash_set, progress=steps.append)
    assert (report.source.connector, report.source.counts.items) == ("vics", 5000)
    assert {p.total for p in steps} == {path.stat().st_size}
    sending = [p.done for p in steps if p.phase is ImportPhase.SENDING]
    assert sending == sorted(sending)
    assert 0 == sending[0] < sending[1] <= sending[-1] == path.stat().st_size
    assert operator.import_source(path, hash_set=hash_set).repeated


def test_a_file_that_is_no_list_leaves_no_import(operator: Client, hash_set: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    for connector in (None, "vics"):
        with pytest.raises(InvalidArgument, match=r"this is a picture \(JPEG\)"):
            operator.import_source(path, hash_set=hash_set, connector=connector)
    assert list(operator.list_imports(hash_set)) == []
