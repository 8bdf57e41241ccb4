from __future__ import annotations

import base64
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Record, Reject
from hashhub_connectors.hash_lines import HashLines

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
DEEP = "%%%% HASHDEEP-1.0\n%%%% size,md5,sha256,filename\n"


def in_base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


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
        (f"{SHA256} */x/{MD5}", "UNPARSABLE_LINE"),
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
        (f"name with blanks.jpg  {MD5}", "MD5"),
        (f"a.jpg\t{SHA1.upper()}", "SHA1"),
        (f"deadbeefdeadbeef  {MD5}", "MD5"),
        (f"name  {SHA256}", "UNPARSABLE_LINE"),
        (f"pdq {SHA256}", "PDQ"),
        (f"PDQ:{SHA256}", "PDQ"),
        (f"sha-256:{SHA256.upper()}", "SHA256"),
        (f"MD5:{MD5}  a b.jpg", "MD5"),
        (f"PHOTODNA:{base64.b64encode(bytes(range(144))).decode()}", "PHOTODNA"),
        (f"PHOTODNA:{','.join(map(str, range(144)))}", "PHOTODNA"),
        (f"sha512:{SHA256}{SHA256}", "UNSUPPORTED_ALGORITHM"),
        (f"MD5:{SHA1}", "DIGEST_WRONG_LENGTH"),
        (f"MD5 (a) = {in_base64(MD5)}", "MD5"),
        (f"SHA256 (a) = {in_base64(SHA256)}", "SHA256"),
        (f"SHA1 (a) = {in_base64(SHA1).rstrip('=')}", "SHA1"),
        (f"SHA1 (a) = {in_base64(MD5)}", "DIGEST_WRONG_LENGTH"),
        (f"{SHA256},97,a,b.jpg", "PDQ"),
        (f"{SHA256},101,a.jpg", "UNPARSABLE_LINE"),
        (f"{SHA256},97,12.500", "VIDEO_FRAME"),
        (f"{SHA256},97,1.23e+03", "VIDEO_FRAME"),
        (f"0,97,{SHA256},0.000", "VIDEO_FRAME"),
        (f"      12345  {MD5}  a.jpg", "MD5"),
        (f"{MD5.upper()}|0000000000000123", "MD5"),
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


@pytest.mark.parametrize("line", [SHA256, f"{SHA256}  a.jpg", base64.b64encode(bytes(32)).decode(), "ab" * 144])
def test_what_may_be_of_several_algorithms_is_never_guessed(line: str) -> None:
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
    assert found(f"{MD5}  a\n{MD5}  b\0{SHA1}  c\0") == [("line 1", "MD5"), ("line 2", "UNPARSABLE_LINE")]
    hidden = f"{MD5}  a\0{MD5}  b\n{SHA1}  c\0{SHA1}  d\r{MD5}  e\0"
    assert found(hidden) == [("line 1", "MD5"), ("line 2", "UNPARSABLE_LINE"), ("line 3", "UNPARSABLE_LINE")]
    assert found(f"{MD5}  a\r{SHA1}  b\r\n") == [("line 1", "UNPARSABLE_LINE")]
    assert found(f"{DEEP}1,{MD5},,a\r1,{MD5},,b\n") == [("line 3", "UNPARSABLE_LINE")]


def test_items_may_end_in_nul() -> None:  # md5sum --zero
    zero = f"{MD5}  a\0{SHA1} *b\r\nwith lines\0\0MD5 (c) = {MD5}\0{MD5}  d"
    assert found(zero) == [("line 1", "MD5"), ("line 2", "SHA1"), ("line 4", "MD5"), ("line 5", "MD5")]
    assert found(f"{MD5}\0{SHA1}\0") == [("line 1", "MD5"), ("line 2", "SHA1")]
    assert found(f"\ufeff{MD5}\0{'x' * (1 << 18)}\0{SHA1}\0")[2] == ("line 3", "SHA1")


def test_a_plain_list_is_read_by_length_where_one_algorithm_has_it() -> None:
    assert found(f"\ufeff{MD5}\r\n{MD5.upper()}") == [("line 1", "MD5"), ("line 2", "MD5")]  # Griffeye
    mixed = f"{MD5}\n{SHA1}\n{SHA256}\n"
    assert found(mixed) == [("line 1", "MD5"), ("line 2", "SHA1"), ("line 3", "UNPARSABLE_LINE")]
    told = [("line 1", "MD5"), ("line 2", "SHA1"), ("line 3", "SHA256")]
    assert found(mixed, algorithm="MD5, sha-1,SHA256") == told
    assert found(mixed, algorithm="PDQ,MD5") == [
        ("line 1", "MD5"), ("line 2", "DIGEST_WRONG_LENGTH"), ("line 3", "PDQ"),
    ]  # fmt: skip
    assert found(f"{SHA256} a\n{in_base64(MD5)}\n", algorithm="SHA256,MD5") == [("line 1", "SHA256"), ("line 2", "MD5")]
    with pytest.raises(InvalidArgument, match="SHA256 and PDQ, whose digests are equally long"):
        read(mixed, algorithm="SHA256,PDQ")


def test_a_line_that_may_be_cut_off_is_not_told_by_its_length() -> None:
    assert found(MD5) == [("line 1", "UNPARSABLE_LINE")]  # an MD5, or the beginning of a SHA-1
    assert found(f"{MD5}\n{SHA1}\n{SHA1[:32]}")[2] == ("line 3", "UNPARSABLE_LINE")
    assert found(f"{SHA1}  a\nname  {SHA1[:32]}")[1] == ("line 2", "UNPARSABLE_LINE")
    assert found(f"{SHA1}\n{SHA1}")[1] == ("line 2", "SHA1")
    assert found(MD5, algorithm="MD5") == [("line 1", "MD5")]


def test_the_pdq_tool_gives_quality_and_a_header() -> None:
    lines = read(f"hash,quality,filename\n{SHA256},97,SECRET\n{SHA256.upper()},0\n")
    assert [(f.position, f.quality) for f in lines if isinstance(f, Record)] == [("line 2", 97), ("line 3", 0)]
    assert "SECRET" not in str(lines)
    assert found(f"{SHA256},97,a\n", algorithm="SHA256") == [("line 1", "UNPARSABLE_LINE")]


def test_a_frame_becomes_an_item_only_where_that_is_said() -> None:
    text = f"frame,quality,hash,timestamp\n0,97,{SHA256},0.000\n25,80,{SHA256},1.5\n"
    assert found(text) == [("line 2", "VIDEO_FRAME"), ("line 3", "VIDEO_FRAME")]
    first, second = read(text, frames="pictures")
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (first.hashes[0].algorithm, first.quality, first.extra) == ("PDQ", 97, '{"frame":0,"timestamp":"0.000"}')
    assert second.extra == '{"frame":25,"timestamp":"1.5"}'
    with pytest.raises(InvalidArgument, match=r"options\.frames"):
        read(text, frames="videos")


def test_the_sizes_of_md5deep_are_kept() -> None:
    (item,) = read(f"     12345  {MD5}  SECRET 7\n")
    assert isinstance(item, Record)
    assert (item.media_size, "SECRET" in str(item)) == (12345, False)


def test_a_sleuth_kit_index_is_read_and_says_what_is_lost() -> None:
    index = f"{'0' * 41}|md5sum\n{'0' * 40}1|SECRET\n{MD5.upper()}|0000000000000000\n{'F' * 32}|0000000000000044\n"
    first, second = read(index)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert [(f.algorithm, f.reason) for f in first.faults] == [("index", "PROVENANCE_LOST")]
    assert second.faults == ()
    assert "SECRET" not in str((first, second))
    assert found(f"{'0' * 41}|nsrl-sha1\n{SHA1}|{'0' * 16}\n") == [("line 2", "SHA1")]


@pytest.mark.parametrize("piece", [" ", "\t", "a ", ") =", "(", f"{MD5} ", "0,", "MD5:", "*", "\\"])
def test_a_long_line_is_read_in_a_moment(piece: str) -> None:
    line = "x (" + piece * ((1 << 20) // len(piece) - 8)
    assert found(f"{MD5}  a\n{line}\n")[0] == ("line 1", "MD5")


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


@given(
    st.lists(
        st.sampled_from(sorted(ALGORITHMS)).flatmap(
            lambda name: st.binary(min_size=ALGORITHMS[name].digest_bytes, max_size=ALGORITHMS[name].digest_bytes).map(
                lambda digest: Hash(name, digest)
            )
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["", "  a name.jpg", "\t*x", "  SHA1 (x) = 00"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_hashhub_prints_is_read_back(printed: list[Hash], name: str, end: str) -> None:
    results = read("".join(f"{h.text}{name}{end}" for h in printed))
    assert [f.hashes for f in results if isinstance(f, Record)] == [(h,) for h in printed]


@given(st.sampled_from(["MD5", "SHA1", "SHA256"]), st.data())
def test_a_digest_in_base64_is_the_same_as_in_hexadecimal(algorithm: str, data: st.DataObject) -> None:
    width = ALGORITHMS[algorithm].digest_bytes
    digest = data.draw(st.binary(min_size=width, max_size=width))
    text = base64.b64encode(digest).decode()
    for spelling in (text, text.rstrip("=")):
        (item,) = read(f"{algorithm} (a (b) = c) = {spelling}\n")
        assert isinstance(item, Record)
        assert item.hashes == (Hash(algorithm, digest),)
