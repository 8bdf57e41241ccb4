from __future__ import annotations

import base64
import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.errors import MalformedSource
from hashhub.hashes import parse
from hashhub.hygiene import inspect
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, Flags, Record, Reject
from hashhub.testing.connectors import Trickle
from hashhub_connectors import vics
from hashhub_connectors.source import JSONReader
from hashhub_connectors.vics import VICS
from tests.examples import examples

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
V20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
V13 = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"


def read(data: bytes) -> list[Record | Reject]:
    return list(VICS().read(io.BytesIO(data), {}))


def document(value: object, context: str = V20) -> bytes:
    key = "@odata.context" if "VICSDATAMODEL" in context else "odata.metadata"
    return json.dumps({key: context, "value": value}).encode()


def one(**media: Any) -> Record:
    (item,) = read(document([{"MD5": MD5, **media}]))
    assert isinstance(item, Record)
    return item


def until_error(items: Iterator[Record | Reject]) -> tuple[list[Record | Reject], MalformedSource | None]:
    results: list[Record | Reject] = []
    try:
        for item in items:
            results.append(item)  # noqa: PERF402 - what came before the error counts
    except MalformedSource as e:
        return results, e
    return results, None


def refused(data: bytes) -> MalformedSource:
    with pytest.raises(MalformedSource) as caught:
        read(data)
    return caught.value


@pytest.mark.parametrize("version", ["1.1", "1.2", "1.3"])
@pytest.mark.parametrize("root", ["Media", "Cases"])
def test_reads_the_first_generation(version: str, root: str) -> None:
    context = f"http://github.com/ICMEC/ProjectVic/DataModels/{version}.xml#{root}"
    (item,) = read(document([{"MD5": MD5}], context))
    assert (item.position, isinstance(item, Record) and item.region) == ("value[0]", "")


@pytest.mark.parametrize("region", ["Default", "US", "UK", "CUSTOM", "UNKNOWN"])
def test_keeps_the_region_of_the_second_generation(region: str) -> None:
    (item,) = read(document([{"MD5": MD5}], V20.replace("US", region)))
    assert isinstance(item, Record)
    assert item.region == region


@pytest.mark.parametrize(
    ("key", "context"),
    [
        ("odata.metadata", V13.replace("1.3", "1.4")),
        ("odata.metadata", V13.replace("1.3", "1.0")),
        ("odata.metadata", V20),
        ("@odata.context", V13),
        ("@odata.context", V20.replace("2.0", "2.1")),
        ("@odata.context", V20.replace("/US", "")),
        ("@odata.context", V20.replace("VICSDATAMODEL", "SOMEBODY")),
        ("@odata.context", V20 + "x"),
        ("@odata.context", V20.replace("#Media", "#Alerts")),
        ("@odata.context", ""),
        ("@odata.context", None),
        ("@odata.context", 7),
    ],
)
def test_refuses_an_unknown_context(key: str, context: object) -> None:
    error = refused(json.dumps({key: context, "value": [{"MD5": MD5}]}).encode())
    assert "expected odata.metadata of" in error.message
    assert "2.0.xml/REGION" in error.message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"value":[{"MD5":""}]}', "the context is missing"),
        (b'{"VictimListVersion":"2.1","HashSets":[]}', "no value"),
        (b"[1", "cut off"),
        (b"[1]x", "more text follows"),
        (b"7", "expected an object"),
        (document([]) + b"{}", "more text follows"),
        (document({"MD5": MD5}), "value is not an array"),
        (document("x"), "value is not an array"),
        (f'{{"@odata.context":"{V20}","@odata.context":"{V20}","value":[]}}'.encode(), "context is given twice"),
        (f'{{"@odata.context":"{V20}","value":[],"value":[]}}'.encode(), "value is given twice"),
        (f'{{"@odata.context":"{V20}"}}'.encode(), "no value"),
        (f'{{"@odata.context":"{V20}","value":[,]}}'.encode(), "not JSON"),
        (f'{{"@odata.context":"{V20}","value":[] "x":1}}'.encode(), "a comma or }"),
        (f'{{"@odata.context":"{V20}",value:[]}}'.encode(), "a key in double quotes"),
        (b"", "is empty"),
        (b" \n ", "is empty"),
    ],
)
def test_refuses_other_envelopes_with_what_was_expected(data: bytes, message: str) -> None:
    assert message in refused(data).message


def test_an_error_names_the_item_and_the_byte() -> None:
    good = document([{"MD5": MD5}, {"MD5": MD5}])
    cut = good[: good.rindex(b'"MD5"') + 3]
    items, error = until_error(VICS().read(io.BytesIO(cut), {}))
    assert error is not None
    assert len(items) == 1
    assert error.position == f"value[1], byte {len(cut)}"
    assert "cut off" in error.message
    broken = good.replace(b'}, {"MD5": ', b'}, {"MD5"= ')
    assert refused(b"\xef\xbb\xbf" + broken).position == f"value[1], byte {broken.index(b'=') + 3}"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (document([{"MD5": MD5}]).decode().encode("utf-16-le"), "UTF-16"),
        (document([{"MD5": MD5}]).decode().encode("utf-16-be"), "UTF-16"),
        (document([{"MD5": MD5, "Series": "X"}]).replace(b'"X"', b'"\xe9"'), "is not UTF-8"),
        (document([{"MD5": MD5, "Series": "X"}]).replace(b'"X"', b'"\xed\xa0\x80"'), "is not UTF-8"),
        (document([{"MD5": MD5}])[:-1] + b"\xc3", "middle of a character"),
    ],
)
def test_refuses_other_encodings(data: bytes, word: str) -> None:
    error = refused(data)
    assert word in error.message
    assert "byte" in error.position


def test_flags_are_tri_state_and_may_be_texts() -> None:
    item = one(
        VictimIdentified="true", OffenderIdentified="FALSE", IsDistributed=True, IsSuspected=None, SelfGenerated="0"
    )
    assert item.flags == Flags(
        victim_identified=True, offender_identified=False, distributed=True, suspected=None, self_generated=False
    )
    assert one().flags == Flags()
    unread = one(VictimIdentified="maybe", IsSuspected=[True], SelfGenerated={}, IsDistributed=" ")
    assert unread.flags == Flags()
    assert [f.algorithm for f in unread.faults] == ["VictimIdentified", "IsSuspected", "SelfGenerated"]
    assert one(VictimIdentified=1).flags.victim_identified is True
    assert one(VictimIdentified=1.0).flags == one(VictimIdentified=1.5).flags == Flags()  # 1.0 == 1, but is no flag


@pytest.mark.parametrize(
    ("category", "value"),
    [(0, "0"), (1, "1"), ("3", "3"), (" 4 ", "4"), (None, ""), ("", ""), (255, "255"), (2.0, "2"), ("A1", "A1")],
)
def test_category_is_kept_raw_and_0_is_a_category(category: object, value: str) -> None:
    assert one(Category=category).value == value


@pytest.mark.parametrize("category", [True, 1.5, [], {}, ["1"], float("nan"), "1" * (MAX_TEXT + 1)])
def test_another_category_is_refused_not_guessed(category: object) -> None:
    (item,) = read(document([{"MD5": MD5, "Category": category}]))
    assert isinstance(item, Reject)
    assert item.reason == "BAD_FIELD"
    assert "Category" in item.detail


def test_hashes_stand_in_three_places() -> None:
    ramp = bytes(range(144))
    photodna = base64.b64encode(ramp).decode()
    item = one(
        SHA1=SHA1.upper(),
        PhotoDNA=photodna,
        AlternativeHashes=[
            {"MD5": MD5, "HashName": "PhotoDNA", "HashValue": photodna},
            {"HashName": " sha-256 ", "HashValue": "ab" * 32},
            {"HashName": "PDQ", "HashValue": "0f" * 32},
            {"HashName": "EDK", "HashValue": "ab" * 16},
            {"HashName": "SHA1", "HashValue": None},
            {"HashName": None, "HashValue": "ab"},
            {"HashName": ["x"], "HashValue": 7},
            "no object",
            {},
        ],
    )
    assert [h.algorithm for h in item.hashes] == ["MD5", "SHA1", "PHOTODNA", "SHA256", "PDQ"]
    assert [(f.algorithm, f.reason) for f in item.faults] == [
        ("AlternativeHashes[5]", "BAD_FIELD"),
        ("AlternativeHashes[6]", "BAD_FIELD"),
        ("AlternativeHashes[7]", "BAD_FIELD"),
        ("EDK", "UNSUPPORTED_ALGORITHM"),
    ]


def test_an_alternative_of_another_md5_is_a_second_md5_of_the_item() -> None:
    other = MD5[::-1]
    sha1 = {"HashName": "SHA1", "HashValue": SHA1}
    assert one(AlternativeHashes=[{"MD5": MD5.upper(), **sha1}]).hashes == (parse("MD5", MD5), parse("SHA1", SHA1))
    bound = one(AlternativeHashes=[{"MD5": other, **sha1}])
    assert bound.hashes == (parse("MD5", MD5), parse("MD5", other), parse("SHA1", SHA1))
    assert inspect(bound).reasons == ("CONTRADICTORY_BINDING",)
    item = one(MD5=None, AlternativeHashes=[{"MD5": MD5, **sha1}, {"MD5": 7, **sha1}])
    assert item.hashes == (parse("MD5", MD5), parse("SHA1", SHA1))


@pytest.mark.parametrize("alternatives", [None, [], "", {}, 0])
def test_empty_alternatives_are_none(alternatives: object) -> None:
    assert one(AlternativeHashes=alternatives).faults == ()


@pytest.mark.parametrize("alternatives", ["x", {"HashName": "SHA1"}, 7, True])
def test_alternatives_that_are_no_list_are_noted(alternatives: object) -> None:
    item = one(AlternativeHashes=alternatives)
    assert [(f.algorithm, f.reason) for f in item.faults] == [("AlternativeHashes", "BAD_FIELD")]
    assert len(item.hashes) == 1


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        ({"MD5": None}, "NO_HASH"),
        ({"MD5": ""}, "NO_HASH"),
        ({}, "NO_HASH"),
        ({"MD5": 7}, "NO_HASH"),
        ({"MD5": MD5[1:]}, "DIGEST_WRONG_LENGTH"),
        ({"MD5": "g" * 32}, "DIGEST_NOT_ENCODED"),
        ({"MD5": "  "}, "DIGEST_EMPTY"),
        ({"AlternativeHashes": [{"HashName": "EDK", "HashValue": "x"}]}, "UNSUPPORTED_ALGORITHM"),
        (
            {"AlternativeHashes": [{"HashName": "SHA1", "HashValue": SHA1}] * (MAX_HASHES_PER_ENTRY + 1)},
            "TOO_MANY_HASHES",
        ),
        (None, "NOT_AN_OBJECT"),
        (MD5, "NOT_AN_OBJECT"),
        ([MD5], "NOT_AN_OBJECT"),
        ({"Media": {"MD5": MD5}}, "BAD_FIELD"),
    ],
)
def test_items_without_a_usable_hash_are_refused_where_they_stand(media: object, reason: str) -> None:
    items = read(document([{"MD5": MD5}, media, {"SHA1": SHA1}]))
    assert [f.position for f in items] == ["value[0]", "value[1]", "value[2]"]
    assert isinstance(items[1], Reject)
    assert items[1].reason == reason
    assert isinstance(items[2], Record)


def test_a_refusal_names_what_is_wrong_with_the_hash_first() -> None:
    wrong = {"MediaSize": -1, "MimeType": [], "DateUpdated": {}, "Series": "x" * 2000, "IsSuspected": "maybe"}
    (item,) = read(document([{**wrong, "MD5": MD5[1:]}]))
    assert isinstance(item, Reject)
    assert item.detail.startswith("the item has no usable hash: MD5 digest must be 32")
    (item,) = read(document([{"MD5": None}]))
    assert isinstance(item, Reject)
    assert item.detail.endswith("every digest is missing, null or empty; expected at least one")


@pytest.mark.parametrize("padding", ["", "x" * 900_000], ids=["small", "large"])
def test_a_field_that_is_given_twice_is_refused_in_items_of_any_size(padding: str) -> None:
    def items_of(text: str) -> list[Record | Reject]:
        more = ",".join([f'"Comments":"{padding}"'] * 3)  # more together than the reader holds, but not one by one
        return read(document(["ODD", {"MD5": MD5}]).replace(b'"ODD"', f"{{{text},{more}}}".encode()))

    twice, again = items_of(f'"MD5":"{MD5}","MD5":"{MD5[::-1]}"')
    assert isinstance(twice, Reject)
    assert (twice.position, twice.reason, twice.detail[-5:]) == ("value[0]", "BAD_FIELD", ": MD5")
    assert isinstance(again, Record)
    assert all(isinstance(f, Record) for f in items_of(f'"MD5":"{MD5}","MediaFiles":[{{"x":1,"x":2}}]'))
    with pytest.raises(MalformedSource, match="Media is given twice"):
        items_of(f'"Media":[{{"MD5":"{MD5}"}}],"Media":[{{"SHA1":"{SHA1}"}}]')
    item = items_of(f'"MD5":"{MD5}","AlternativeHashes":[{{"HashName":"SHA1","HashValue":"{SHA1}","HashValue":""}}]')[0]
    assert isinstance(item, Record)
    assert [f.reason for f in item.faults] == ["BAD_FIELD"]


def test_wrong_fields_however_many_cost_no_hash() -> None:
    item = one(Tags=[{}] * 500)
    assert [(f.algorithm, f.reason) for f in item.faults] == [("Tags", "BAD_FIELD")]


def test_a_null_md5_does_not_cost_the_other_hashes() -> None:
    (item,) = read(document([{"MD5": None, "SHA1": SHA1}]))
    assert isinstance(item, Record)
    assert [h.algorithm for h in item.hashes] == ["SHA1"]


def test_duplicates_are_items_of_their_own() -> None:
    items = read(document([{"MD5": MD5, "Category": c} for c in (1, 2, 1)]))
    assert [(f.position, isinstance(f, Record) and f.value) for f in items] == [
        ("value[0]", "1"),
        ("value[1]", "2"),
        ("value[2]", "1"),
    ]


def test_cases_are_told_by_content_and_their_people_are_dropped() -> None:
    case = {
        "CaseID": "{x}",
        "ContactName": "SYNTHETIC PERSON",
        "Media": [
            {"MD5": MD5, "MediaFiles": [{"FileName": "SYNTHETIC FILE"}], "Comments": "SYNTHETIC COMMENT"},
            {"SHA1": SHA1},
        ],
    }
    items = read(document([case, {"MD5": MD5}, {"CaseID": "y", "Media": []}, {"Media": None}]))
    assert [f.position for f in items] == ["value[0].Media[0]", "value[0].Media[1]", "value[1]"]
    assert "SYNTHETIC" not in str(items)


@pytest.mark.parametrize(
    ("size", "kept"),
    [(7, 7), ("2835", 2835), (0, 0), (None, None), ("", None), (-1, None), ("x", None), (2**63, None), ("huge", None),
     (1.5, None),
     (True, None), ([], None), (float("inf"), None)],
)  # fmt: skip
def test_media_size_may_be_text_and_a_wrong_one_is_noted(size: object, kept: int | None) -> None:
    text = "1" + "0" * 5000 if size == "huge" else json.dumps(size)
    data = document([{"MD5": MD5, "MediaSize": "SIZE"}]).replace(b'"SIZE"', text.encode())
    (item,) = read(data)
    assert isinstance(item, Record)
    assert item.media_size == kept
    assert [f.algorithm for f in item.faults] == (["MediaSize"] if kept is None and size not in (None, "") else [])


def test_texts_are_cleaned_and_cut_with_a_note() -> None:
    item = one(
        Series="x" * (MAX_TEXT - 2) + "e\u0301\u0301" + "y" * 40,
        Tags=" a ,, b\u0000c,a,\ud800",
        MimeType="Image/JPEG",
        DateUpdated="2025-01-02T03:04:05.0000Z",
    )
    assert item.series == "x" * (MAX_TEXT - 2) + "…"
    assert item.tags == ("a", "b c")
    assert item.media_type == "image/jpeg"
    assert item.source_time == "2025-01-02T03:04:05.0000Z"
    assert [(f.algorithm, f.reason) for f in item.faults] == [("Series", "BAD_FIELD"), ("Tags", "BAD_FIELD")]
    assert one(Tags=["a", "b,c", 7, None, {}], Series=["s", "t"]).tags == ("a", "b,c", "7")
    assert one(Series=["s", "t"]).series == "s, t"
    assert one(Tags={"Tag": "x"}).tags == ("x",)
    assert len(one(Tags=",".join(map(str, range(1000)))).tags) == 64


@pytest.mark.parametrize(
    "text",
    [
        f'{{"MD5":"{SHA1}","MD5":"{MD5}"}}',
        f'{{"MD5":"{MD5}","Category":NaN}}',
        f'{{"MD5":"{MD5}","MediaID":{"9" * 6000}}}',
        f'{{"MD5":"{MD5}","MediaID":1e999999}}',
        f'{{"MD5":"{MD5}","Exifs":{"[" * 200}{"]" * 200}}}',
        f'{{"MD5":"{MD5}","Series":"\\ud800","Tags":"\\u0000"}}',
        f'{{"MD5":"{MD5}\\ud800"}}',
    ],
)
def test_oddities_of_json_do_not_break_the_reader(text: str) -> None:
    items = read(document(["ODD", {"MD5": MD5}]).replace(b'"ODD"', text.encode()))
    assert [f.position for f in items] == ["value[0]", "value[1]"]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_without_end_is_refused(opening: str) -> None:
    assert "nested too deeply" in refused(document(["ODD"]).replace(b'"ODD"', opening.encode() * 100_000)).message


class Endless(io.RawIOBase):
    """Gives `pieces` one after the other, so that a test can read more than it would hold."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


def peak(source: io.RawIOBase) -> tuple[int, int, MalformedSource | None]:
    """Return how many items came, the peak of memory in bytes, and the error."""
    count, error = 0, None
    tracemalloc.start()
    try:
        for _ in VICS().read(source, {}):  # type: ignore[arg-type]  # raw streams have all that is used
            count += 1
    except MalformedSource as e:
        error = e
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return count, used, error


HEAD = document([]).removesuffix(b"]}")


@pytest.mark.parametrize("case", [False, True])
def test_memory_does_not_grow_with_the_file(case: bool) -> None:
    records = 20_000
    opening, closing = (b'{"CaseID":"x","Media":[', b'],"CaseNumber":"y"}') if case else (b"", b"")

    def pieces() -> Iterator[bytes]:
        yield HEAD + opening
        for i in range(records):
            padding = b"\\\\synthetic" * 20
            yield b"," * bool(i) + b'{"MD5":"%032x","RelativeFilePath":"%s","Category":1}' % (i, padding)
        yield closing + b"]}"

    count, used, error = peak(Endless(pieces()))
    assert (count, error) == (records, None)
    assert used < 12 << 20, f"{used >> 20} MiB for {records * 300 >> 20} MiB of text"


def test_a_string_of_ten_megabytes_is_refused_without_keeping_it() -> None:
    def pieces() -> Iterator[bytes]:
        yield HEAD + b'{"MD5":"%s"},{"Series":"' % MD5.encode()
        for _ in range(160):
            yield b"x" * 65_536
        yield b'"}]}'

    count, used, error = peak(Endless(pieces()))
    assert count == 1
    assert error is not None
    assert error.position.startswith("value[1], byte ")
    assert "longer than" in error.message
    assert used < 12 << 20


@pytest.mark.parametrize("context", [V13, V20])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("link", "is_partial"), [("https://example.invalid/?$skiptoken=2", True), ("", False), (None, False)]
)
def test_a_link_to_a_next_page_is_told(context: str, first: bool, link: str | None, is_partial: bool) -> None:
    key, more = ("@odata.context", "@odata.nextLink") if context == V20 else ("odata.metadata", "odata.nextLink")
    value = {"value": [{"MD5": MD5}]}
    whole = {key: context, **({more: link} if first else value), **(value if first else {more: link})}
    record, *told = read(json.dumps(whole).encode())
    assert isinstance(record, Record)
    assert [(f.position, f.reason) for f in told if isinstance(f, Reject)] == [
        ("nextLink", "PARTIAL_SOURCE")
    ] * is_partial


@pytest.mark.parametrize("padding", ["", "x" * (2 << 20)])
def test_a_case_with_some_of_its_media_is_told(padding: str) -> None:
    media = [{"MD5": MD5, "Comments": padding[i : i + 1000]} for i in range(0, len(padding) or 1, 1000)]
    items = read(document([{"Media": media, "Media@odata.nextLink": "https://example.invalid/2"}]))
    assert len(items) == len(media) + 1
    assert [(f.position, f.reason) for f in items if isinstance(f, Reject)] == [
        ("value[0].Media.nextLink", "PARTIAL_SOURCE")
    ]
    assert not any(isinstance(f, Reject) for f in read(document([{"Media": media, "Media@odata.nextLink": ""}])))


def test_a_record_larger_than_the_window_is_read_member_by_member() -> None:
    files = [{"FileName": f"synthetic-{i}", "FilePath": "x" * 400} for i in range(4000)]
    big: dict[str, Any] = {"MediaFiles": files, "MD5": MD5, "Category": 2, "Exifs": [[files]], "SHA1": SHA1}
    items = read(
        document([{"MD5": MD5}, big, [files], {"CaseID": "x", "Media": [big, {"SHA1": SHA1}, [files]]}, {"SHA1": SHA1}])
    )
    assert [f.position for f in items] == [
        "value[0]", "value[1]", "value[2]", "value[3].Media[0]", "value[3].Media[1]", "value[3].Media[2]", "value[4]",
    ]  # fmt: skip
    for f in (items[1], items[3]):
        assert isinstance(f, Record)
        assert (f.value, len(f.hashes)) == ("2", 2)
    for f in (items[2], items[5]):
        assert isinstance(f, Reject)
        assert f.reason == "NOT_AN_OBJECT"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([MD5, SHA1, "true", "1"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text() | st.sampled_from(["HashName", "HashValue"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
media = st.dictionaries(
    st.sampled_from(
        [
            "MD5",
            "SHA1",
            "PhotoDNA",
            "AlternativeHashes",
            "Category",
            "Series",
            "Tags",
            "MediaSize",
            "MimeType",
            "Media",
            "X",
        ]
    )
    | st.text(),
    values,
    max_size=8,
)


@given(st.lists(media | values, max_size=5))
def test_any_json_gives_one_answer_for_each_item(items: list[Any]) -> None:
    results = read(document(items))
    expected = 0
    for item in items:
        is_case = isinstance(item, dict) and "Media" in item
        inside = item["Media"] if is_case else None
        expected += len(inside) if isinstance(inside, list) else 0 if is_case and inside is None else 1
    assert len(results) == expected
    assert len({f.position for f in results}) == len(results)


@settings(max_examples=examples(60))
@given(st.lists(media, max_size=6), st.integers(1, 40), st.integers(20, 400))
def test_the_window_never_shows(items: list[Any], step: int, limit: int) -> None:
    """A window of any size, even one smaller than every value, gives the same result: large values are walked
    instead.
    """
    data = document([{"CaseID": "x", "Media": items}, *items])
    whole = read(data)
    source: Any = Trickle(data, step)  # raw
    reader = JSONReader(source, "top level", limit=limit, block=step)
    results, error = until_error(vics.read_items(reader))
    if error:
        assert "longer than" in error.message  # a single text
        whole = whole[: len(results)]
    assert [(f.position, type(f)) for f in results] == [(f.position, type(f)) for f in whole]


@given(
    st.lists(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.text(max_size=8)),
    st.integers(1, 5),
)
def test_values_are_whole_wherever_the_reads_end(items: list[Any], block: int) -> None:
    """`1` at the end of what was read may go on as `12` or `1e-9`."""
    reader = JSONReader(io.BytesIO(json.dumps(items).encode()), "here", block=block)
    assert [reader.value() for _ in reader.elements()] == items
    reader.end()


def test_values_that_do_not_fit_may_not_nest_without_end() -> None:
    level = b'["' + b"x" * 30 + b'",'
    reader = JSONReader(io.BytesIO(level * 200), "here", limit=20, block=16)
    with pytest.raises(MalformedSource, match="longer than 20"):
        reader.skip()
    level = b"[" + b"1," * 30
    reader = JSONReader(io.BytesIO(level * 200), "here", limit=20, block=16)
    with pytest.raises(MalformedSource, match="nested too deeply"):
        reader.skip()


@pytest.mark.parametrize(
    ("context", "region", "scheme"),
    [
        ("US", "US", "vic-us"),
        ("UK", "UK", "uk-caid"),
        ("gb", "gb", "uk-caid"),
        ("CA", "CA", "vic-ca"),
        ("Default", "Default", ""),
        ("CUSTOM", "CUSTOM", ""),
        ("UNKNOWN", "UNKNOWN", ""),
    ],
)
def test_a_context_names_the_scheme_of_its_region(context: str, region: str, scheme: str) -> None:
    url = f"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{context}/$metadata#Media"
    text = f'{{"@odata.context":"{url}","value":[{{"MD5":"{"0a" * 16}","Category":1}}]}}'
    (item,) = VICS().read(io.BytesIO(text.encode()), {})
    assert isinstance(item, Record)
    assert (item.region, item.scheme) == (region, scheme)
