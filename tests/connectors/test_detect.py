"""What a file is taken for, and how sure that is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import pytest

from hashhub import connector as connectors
from hashhub.connector import HEAD_BYTES, Certainty, Detector, Guess, choose, recognise
from hashhub.errors import InvalidArgument, Reason
from hashhub.model import Record, Reject
from hashhub.testing import lists
from hashhub.testing.lists import list_file, random_items
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.ncmec_xml import NCMECXML
from hashhub_connectors.vics import VICS

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
V20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
V13 = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"
NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
OURS = (VICS(), NCMECXML(), ICSECSV(), HashLines())
SURE, LIKELY, POSSIBLE = Certainty.CERTAIN, Certainty.LIKELY, Certainty.POSSIBLE


def guess(connector: Detector, text: str | bytes, name: str = "") -> tuple[Certainty, dict[str, str]] | None:
    made = connector.detect((text if isinstance(text, bytes) else text.encode())[:HEAD_BYTES], name)
    return None if made is None else (made.certainty, dict(made.options))


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        (f'{{"@odata.context":"{V20}","value":[', SURE),
        (f'\ufeff\r\n{{\r\n  "odata.metadata" : "{V13}"', SURE),
        (f'{{"@odata.context":"{V20}"}}'.replace("/", "\\/"), SURE),
        (f'{{"value":[{{"MD5":"{MD5}"}}],"@odata.context":"{V20}"}}', SURE),
        (f'{{"@odata.context":"{V20}"}}'.replace("2.0", "3.0"), SURE),  # which is then told to be unknown
        (f'{{"@odata.context":"{V20}"}}'.encode("utf-16"), SURE),
        (f'[{{"MediaID":1,"MD5":"{MD5}"}}]', LIKELY),
        (f'{{"note":"x","value":[{{"Category":1,"MD5":"{MD5}"}}', LIKELY),
        ('{"@odata.context":"https://example.invalid/$metadata#Things","value":[{"MD5":"","Category":1}]}', None),
        (f'[{{"md5":"{MD5}","category":1}}]', None),
        ('{"VictimListVersion":"2.1","HashSets":[{"Hashes":[]}]}', None),
        ('{"hashRecords":[]}', None),
        ("{", None),
        ("[1]", None),
        ("", None),
    ],
)
def test_vics(text: str | bytes, certainty: Certainty | None) -> None:
    assert guess(VICS(), text) == (None if certainty is None else (certainty, {}))


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        (f'<?xml version="1.0"?>\n<!-- <a> -->\n<queryResult xmlns="{NAMESPACE}">', SURE),
        (f"\ufeff<x:queryResult xmlns:x='{NAMESPACE}'", None),  # cut inside its tag
        (f"<x:queryResult a='1' xmlns:x='{NAMESPACE}'><x:images>", SURE),
        ('<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v3">', LIKELY),
        ("<html><queryResult>", None),
        ("<", None),
        (MD5, None),
    ],
)
def test_ncmec_xml(text: str, certainty: Certainty | None) -> None:
    assert guess(NCMECXML(), text) == (None if certainty is None else (certainty, {}))


def test_icse_csv() -> None:
    header = list_file("icse-csv", []).data.decode()
    assert guess(ICSECSV(), header) == (SURE, {})
    assert guess(ICSECSV(), "\ufeff" + '"' + header.strip().upper().replace(";", '";"') + '"\r\n') == (SURE, {})
    assert guess(ICSECSV(), header.replace("Baseline", "Level")) is None


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("%%%% HASHDEEP-1.0\n%%%% size,md5,filename\n", "", (SURE, {})),
        (f"{'0' * 41}|md5sum\n", "", (SURE, {})),
        (f"{MD5}  a.jpg\n{SHA1} *b\n", "", (LIKELY, {})),
        (f"# remark\r\n\r\n{MD5}\r\n{SHA1}", "", (LIKELY, {})),
        (f"\ufeff{MD5.upper()}\r\n", "", (LIKELY, {})),
        (f"MD5\n{MD5}\n", "", (LIKELY, {})),
        (f"PDQ\n{SHA256}\n", "", (LIKELY, {})),
        (f"MD5 (a) = {MD5}\n", "", (LIKELY, {})),
        (f"PDQ:{SHA256}  a\nMD5:{MD5}\n", "", (LIKELY, {})),
        (f"{SHA256},97,a.jpg\n", "", (LIKELY, {})),
        (f"frame,quality,hash,timestamp\n0,97,{SHA256},0.000\n", "", (LIKELY, {})),
        (f'["{SHA256},100,0.000", "{SHA256},73,1234.567"]', "", (LIKELY, {})),
        (f"{MD5}  a\0{MD5}  b\0", "", (LIKELY, {})),
        (f"  12345  {MD5}  a\n", "", (LIKELY, {})),
        (f"{MD5}\n".encode("utf-16"), "", (LIKELY, {"encoding": "utf-16"})),
        (f"{SHA256}\n{SHA256}\n", "", (POSSIBLE, {})),
        (f"{SHA256}\n", "SHA256SUMS", (POSSIBLE, {})),  # bare digits may be PDQ whatever the list is called
        (f"{SHA256}  a.jpg\n", "", (POSSIBLE, {})),
        (f"{SHA256}  a.jpg\n", "SHA256SUMS", (LIKELY, {"algorithm": "SHA256"})),
        (f"{SHA256}  a.jpg\n{MD5}  b\n", "/x/list.sha-256.txt", (LIKELY, {"algorithm": "SHA256,MD5"})),
        (f"{SHA256}  a.jpg\n", "mysha256list", (POSSIBLE, {})),
        (f"{MD5}\n{SHA256}\n", "", (POSSIBLE, {})),
        ("ab" * 144 + "\n", "", (POSSIBLE, {})),
        ("ab" * 64 + "\n", "", (POSSIBLE, {})),
        (f"name,md5\na.jpg,{MD5}\n", "", None),
        (f'"{MD5}";"a.jpg"\n', "", None),
        ("Some words that end in a digest\nonce " + MD5 + "\nand then not\n", "", None),
        ("\n\n# nothing\n", "", None),
        (bytes(range(256)) * 9, "", None),
        ("", "SHA256SUMS", None),
    ],
)
def test_hash_lines(text: str | bytes, name: str, expected: tuple[Certainty, dict[str, str]] | None) -> None:
    assert guess(HashLines(), text, name) == expected


def test_a_line_that_the_head_cuts_is_not_looked_at() -> None:
    long = f"{MD5}  {'n' * 3000}\n".encode() * 40
    assert guess(HashLines(), long) == (LIKELY, {})


@pytest.mark.parametrize("variant", [v for v in lists.VARIANTS if v != "csv"])
@pytest.mark.parametrize("dirty", [False, True])
def test_every_list_that_we_write_is_recognised_by_what_reads_it(variant: str, dirty: bool) -> None:
    algorithms = ("MD5", "SHA1", "SHA256", "PDQ", "PHOTODNA")
    file = list_file(variant, random_items(40, seed=3, algorithms=algorithms), dirty=dirty)
    name, best = recognise(file.data, file.file_name)[0]
    assert name == file.connector
    if "algorithm" in file.options and variant != "plain-md5":
        told = dict(best.options).get("algorithm", "")
        assert (best.certainty, told) in {(POSSIBLE, ""), (LIKELY, file.options["algorithm"])}
    else:
        assert best.certainty >= LIKELY


@pytest.mark.parametrize("connector", OURS, ids=lambda c: c.name)
def test_nothing_makes_a_detector_fail(connector: Detector) -> None:
    chance = random.Random("detect")
    pieces = (
        b"{", b"[", b'"value":', f'"@odata.context":"{V20}"'.encode(), MD5.encode(), b"\n", b"\0", b"\xff\xfe", b"<",
        b"<!--", b"queryResult", b"%%%% HASHDEEP-1.0", b"MD5", b",97,", b"\\", b"\xef\xbb\xbf", b";", b"\xed\xa0\x80",
    )  # fmt: skip
    for _ in range(3000):
        head = b"".join(chance.choices(pieces, k=chance.randint(0, 12)))
        assert isinstance(connector.detect(head, chance.choice(("", "\udcff", "SHA256"))), Guess | None)
    for piece in pieces:
        connector.detect((piece * HEAD_BYTES)[:HEAD_BYTES], "")


class Odd:
    """A connector of somebody else's, whose detector does as told."""

    version = "1"
    summary = "odd"
    options = ()

    def __init__(self, name: str, answer: object) -> None:
        self.name = name
        self._answer = answer

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        return False

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        yield Reject("line 1", "NO_HASH", "odd")

    def detect(self, head: bytes, name: str) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def install(monkeypatch: pytest.MonkeyPatch, *installed: object) -> None:
    monkeypatch.setattr(connectors, "discover", lambda: {c.name: c for c in installed})  # type: ignore[attr-defined]


def test_all_installed_detectors_are_asked_and_none_can_spoil_it(monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch,
        Odd("a", Guess(POSSIBLE, "a")),
        Odd("b", Guess(SURE, "b")),
        Odd("c", RuntimeError("c")),
        Odd("d", "no guess"),
        Odd("e", None),
        Odd("f", Guess(SURE, "f")),
    )
    assert [name for name, _ in recognise(b"", "")] == ["b", "f", "a"]


@pytest.mark.parametrize(
    ("certainties", "chosen"),
    [
        ([SURE], "0"),
        ([LIKELY], "0"),
        ([SURE, LIKELY, LIKELY, POSSIBLE], "0"),
        ([LIKELY, POSSIBLE], "0"),
        ([SURE, SURE], None),
        ([LIKELY, LIKELY], None),
        ([POSSIBLE], None),
    ],
)
def test_only_what_is_sure_enough_and_alone_is_taken(certainties: list[Certainty], chosen: str | None) -> None:
    guesses = [(str(i), Guess(c, f"why {i}")) for i, c in enumerate(certainties)]
    if chosen is not None:
        assert choose(guesses) == guesses[int(chosen)]
        return
    with pytest.raises(InvalidArgument) as caught:
        choose(guesses)
    assert caught.value.reason is Reason.UNKNOWN_FORMAT
    assert all(f"{name} (" in caught.value.message and g.why in caught.value.message for name, g in guesses)
    assert "--format NAME" in caught.value.message


def test_what_nobody_recognises_lists_the_formats() -> None:
    with pytest.raises(InvalidArgument, match=r"no format fits this file; formats are .*hash-lines") as caught:
        choose(recognise(b"some words", ""))
    assert caught.value.reason is Reason.UNKNOWN_FORMAT
    with pytest.raises(InvalidArgument, match="this is a SQLite database, which no installed connector reads"):
        choose([], "a SQLite database")


def test_64_digits_ask_for_their_algorithm() -> None:
    with pytest.raises(InvalidArgument, match="--option algorithm=SHA256 or --option algorithm=PDQ"):
        choose(recognise(f"{SHA256}\n".encode(), ""))
