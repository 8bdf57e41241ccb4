from __future__ import annotations

import base64
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import Record, Reject
from hashhub_connectors.hash_lines import HashLines

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
DEEP = "%%%% HASHDEEP-1.0\n%%%% size,md5,sha256,filename\n"


def read(text: str | bytes, **options: str) -> list[Record | Reject]:
    return list(HashLines().read(io.BytesIO(text if isinstance(text, bytes) else text.encode()), options))


def found(text: str | bytes, **options: str) -> list[tuple[str, str]]:
    """Return (position, what): the algorithms of a record, or the reason of a reject."""
    return [
        (f.position, "+".join(h.algorithm for h in f.hashes) if isinstance(f, Record) else f.reason)
        for f in read(text, **options)
    ]


@pytest.mark.parametrize(
    ("line", "algorithm"),
    [
        (f"{MD5}  a.jpg", "MD5"),
        (f"{MD5} *a b.jpg", "MD5"),
        (f"\\{MD5}  a\\nb.jpg", "MD5"),
        (f"{MD5.upper()}\ta.jpg", "MD5"),
        (f"{MD5} a.jpg", "MD5"),
        (f"{SHA1}  a  b.jpg  ", "SHA1"),
        (f"{SHA256} */x/{MD5}", "SHA256"),
        (f"MD5 (a (1).jpg) = {MD5}", "MD5"),
        (f"SHA1 (a = b) = {SHA1}", "SHA1"),
        (f"\\SHA256 (a\\nb) = {SHA256}", "SHA256"),
        (f"MD5(a.jpg)= {MD5}", "MD5"),
        (f"SHA2-256(a.jpg)= {SHA256}", "SHA256"),
        (f"SHA512 (a) = {SHA256}{SHA256}", "UNSUPPORTED_ALGORITHM"),
        (f"{SHA256}{SHA256}  a.jpg", "UNSUPPORTED_ALGORITHM"),
        (f"{SHA256[:56]} *a.jpg", "UNSUPPORTED_ALGORITHM"),
        (f"{SHA256}{SHA256[:32]}  a.jpg", "UNSUPPORTED_ALGORITHM"),
        (f"{MD5}   begins with a space.jpg", "MD5"),
        (f"{MD5}  a\0{SHA1}  b\0", "UNPARSABLE_LINE"),
        (f"{MD5}  a\r{SHA1}  b", "UNPARSABLE_LINE"),
        (f"# remark\r{MD5}  a", "UNPARSABLE_LINE"),
        (f"{MD5[:-1]}  a.jpg", "DIGEST_WRONG_LENGTH"),
        (f"MD5 (a) = {SHA1}", "DIGEST_WRONG_LENGTH"),
        ("some words", "UNPARSABLE_LINE"),
        (f"name  {MD5}", "UNPARSABLE_LINE"),
    ],
)
def test_each_layout_of_the_sum_tools(line: str, algorithm: str) -> None:
    assert found(f"{MD5}  first\r\n# remark\r\n\r\n{line}\r\n") == [("line 1", "MD5"), ("line 4", algorithm)]


def test_file_names_are_neither_kept_nor_told() -> None:
    lines = read(
        f"{MD5}  SECRET\nMD5 (SECRET) = {MD5}\n{MD5[1:]}  SECRET\nSECRET\n" + DEEP + f"1,{MD5},,SECRET\n1,SECRET\n"
    )
    assert len(lines) == 6
    assert "SECRET" not in str(lines)


@pytest.mark.parametrize("line", [MD5, SHA1, SHA256, base64.b64encode(bytes(32)).decode(), "ab" * 144])
def test_a_bare_digest_is_never_guessed(line: str) -> None:
    with pytest.raises(InvalidArgument, match=r"options\.algorithm: is needed: line 3") as caught:
        read(f"# plain\n\n{line}\n")
    assert not isinstance(caught.value, MalformedSource)
    assert found(f"{MD5}  named\n{line}\n")[1] == ("line 2", "UNPARSABLE_LINE")


@pytest.mark.parametrize(
    ("algorithm", "line", "what"),
    [
        ("MD5", MD5, "MD5"),
        ("sha-1", SHA1.upper(), "SHA1"),
        ("SHA256", SHA256, "SHA256"),
        ("PDQ", SHA256, "PDQ"),
        ("pdq", base64.b64encode(bytes(range(32))).decode(), "PDQ"),
        ("PHASH", "0123456789abcdef", "PHASH"),
        ("PHOTODNA", ",".join(map(str, range(144))), "PHOTODNA"),
        ("PDQ", f"{SHA256}  a.jpg", "PDQ"),
        ("MD5", SHA1, "DIGEST_WRONG_LENGTH"),
        ("MD5", "g" * 32, "DIGEST_NOT_ENCODED"),
        ("MD5", f"SHA1 (a) = {SHA1}", "SHA1"),
    ],
)
def test_a_declared_algorithm_decides(algorithm: str, line: str, what: str) -> None:
    assert found(f"\ufeff{line}\r\n", algorithm=algorithm) == [("line 1", what)]


@pytest.mark.parametrize("name", ["MD5", "md5", "SHA-1", "SHA-256", "PDQ"])
def test_a_first_line_may_declare_the_algorithm(name: str) -> None:
    digest = {"MD5": MD5, "md5": MD5, "SHA-1": SHA1}.get(name, SHA256)
    what = name.upper().replace("-", "")
    assert found(f"\ufeff{name}\r\n{digest}\r\n{digest}") == [("line 2", what), ("line 3", what)]
    assert found(f"{name}\n{digest}\n", algorithm=name) == [("line 2", what)]
    assert found(f"{name}\n{digest}\n{name}\n")[1][0] == "line 3"
    with pytest.raises(InvalidArgument, match="but line 1 of the file says"):
        read(f"{name}\n{digest}\n", algorithm="DHASH")


def test_options_are_checked() -> None:
    with pytest.raises(InvalidArgument, match=r"options\.algorithm: is 'CRC32'; expected one of MD5"):
        read(MD5, algorithm="CRC32")
    with pytest.raises(InvalidArgument, match=r"options\.encoding"):
        read(MD5, encoding="rot13")


def test_items_that_no_line_feed_parts_are_never_lost_behind_the_first() -> None:
    zero = f"{MD5}  a\0{SHA1}  b\0"  # md5sum --zero
    assert found(zero) == [("line 1", "UNPARSABLE_LINE")]
    assert found(f"{MD5}  a\r{SHA1}  b\r\n") == [("line 1", "UNPARSABLE_LINE")]
    assert found(f"{DEEP}1,{MD5},,a\r1,{MD5},,b\n") == [("line 3", "UNPARSABLE_LINE")]


def test_hashdeep_follows_its_header() -> None:
    text = (
        DEEP
        + f"## Invoked\n12,{MD5},{SHA256},/a,b , c.jpg\n,{MD5},,d\n12,{MD5},{SHA256}\n"
        + f"12,{MD5[1:]},{SHA256},e\nx,{MD5},,f\n"
    )
    lines = read(text)
    assert [f.position for f in lines] == ["line 4", "line 5", "line 6", "line 7", "line 8"]
    first, second, third, fourth, fifth = lines
    assert isinstance(first, Record)
    assert (first.media_size, [h.algorithm for h in first.hashes]) == (12, ["MD5", "SHA256"])
    assert isinstance(second, Record)
    assert second.media_size is None
    assert isinstance(third, Reject)
    assert third.reason == "WRONG_COLUMN_COUNT"
    assert isinstance(fourth, Record)
    assert [f.reason for f in fourth.faults] == ["DIGEST_WRONG_LENGTH"]
    assert isinstance(fifth, Record)
    assert [f.algorithm for f in fifth.faults] == ["size"]


def test_hashdeep_knows_its_other_columns_and_a_second_header() -> None:
    text = f"%%%% HASHDEEP-1.0\n%%%% sha1,tiger,filename\n{SHA1},ab,x\n,ab,x\n" + DEEP + f"1,{MD5},{SHA256},y\n"
    assert found(text) == [("line 3", "SHA1"), ("line 4", "UNSUPPORTED_ALGORITHM"), ("line 7", "MD5+SHA256")]


@pytest.mark.parametrize(
    ("text", "where", "word"),
    [
        ("%%%% HASHDEEP-2.0\n", "line 1", "expected %%%% HASHDEEP-1.0"),
        ("%%%% HASHDEEP-1.0\nx\n", "line 2", "incomplete"),
        ("%%%% HASHDEEP-1.0\n", "line 2", "cut off"),
        ("%%%% HASHDEEP-1.0\n%%%% size,filename\n", "line 2", "unusable"),
        ("%%%% HASHDEEP-1.0\n%%%% size,md5,crc,filename\n", "line 2", "unusable"),
        ("%%%% HASHDEEP-1.0\n%%%% md5,md5,filename\n", "line 2", "unusable"),
        ("%%%% HASHDEEP-1.0\n%%%% filename,md5\n", "line 2", "not the last"),
        ("", "line 1", "empty"),
        (f"{MD5}\r{MD5}\r", "line 1", "CR alone"),
        (f"{MD5}  a\n{MD5}  é\n".encode("latin-1"), "line 2, byte 70", "is not UTF-8"),
        (f"{MD5}  a\n".encode("utf-16"), "line 1, byte 0", "UTF-16"),
        (f"{MD5}  a\n".encode("utf-16-le"), "line 1, byte 0", "UTF-16"),
        (f"{MD5}  a\n{'x' * (10 << 20)}\n", "line 2", "longer than"),
        (f"{'x' * ((1 << 20) + 9)}\n{MD5}  a\n", "line 1", "longer than"),
        (b"\0" * (10 << 20), "line 1, byte 0", "UTF-16"),
        (b"ab" + b"x" * (10 << 20), "line 1", "longer than"),
    ],
)
def test_a_source_that_cannot_be_read_on_says_where_and_why(text: str | bytes, where: str, word: str) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    tracemalloc.start()
    with pytest.raises(MalformedSource) as caught:
        read(data)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.position == where
    assert word in caught.value.message
    assert used < 16 << 20


def test_other_encodings_of_names_can_be_declared() -> None:
    assert found(f"{MD5}  é\n".encode("latin-1"), encoding="latin-1") == [("line 1", "MD5")]
    assert found(f"{MD5}  é\n".encode("utf-16"), encoding="utf-16") == [("line 1", "MD5")]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=60), max_size=8))
def test_every_line_is_an_item_or_a_remark(lines: list[str]) -> None:
    try:
        got = read("\n".join([f"{MD5}  x", *lines]))
    except MalformedSource:
        assert any(line.strip().startswith("%%%%") for line in lines)
        return
    items = [n for n, line in enumerate(lines, 2) if line.strip() and not line.strip().startswith("#")]
    assert [f.position for f in got] == ["line 1", *(f"line {n}" for n in items)]
