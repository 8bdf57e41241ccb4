"""VICS as people have it: the context anywhere, no context at all, other encodings, and fields that the hub has none
for.
"""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import MalformedSource
from hashhub.hygiene import inspect
from hashhub.model import MAX_TEXT, Disposition, Record, Reject
from hashhub.testing.connectors import Trickle
from hashhub_connectors.vics import VICS

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
V20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{}/$metadata#Media"
V13 = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"


def read(data: bytes | str) -> list[Record | Reject]:
    return list(VICS().read(io.BytesIO(data if isinstance(data, bytes) else data.encode()), {}))


def one(**media: Any) -> Record:
    (item,) = read(json.dumps({"@odata.context": V20.format("US"), "value": [{"MD5": MD5, **media}]}))
    assert isinstance(item, Record)
    return item


def late(context: str = V20.format("UK"), key: str = "@odata.context", **more: Any) -> str:
    return json.dumps({"note": 1, "value": [{"MD5": MD5, "Category": 1}, 7], key: context, **more})


def refused(data: bytes | str) -> str:
    with pytest.raises(MalformedSource) as caught:
        read(data)
    return caught.value.message


class TestContextAnywhere:
    def test_a_context_behind_value_counts_as_one_before_it(self) -> None:
        item, rejected = read(late())
        assert isinstance(item, Record)
        assert (item.position, item.region, item.scheme, item.value) == ("value[0]", "UK", "uk-caid", "1")
        assert rejected.position == "value[1]"
        (item, _) = read(late(V13, "odata.metadata"))
        assert isinstance(item, Record)
        assert (item.region, item.scheme) == ("", "")

    def test_it_is_read_from_where_the_source_stands(self) -> None:
        source = io.BytesIO(b"something else" + late().encode())
        source.seek(14)
        assert len(list(VICS().read(source, {}))) == 2

    def test_a_next_link_is_told_once(self) -> None:
        items = read(late(**{"@odata.nextLink": "https://example.invalid/2"}))
        assert [i.reason for i in items if isinstance(i, Reject)] == ["NOT_AN_OBJECT", "PARTIAL_SOURCE"]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (late("https://example.invalid/$metadata#Media"), "unknown context"),
            (late()[:-1] + f',"@odata.context":"{V20.format("US")}"}}', "context is given twice"),
            (late()[:-1] + f',"odata.metadata":"{V13}"}}', "context is given twice"),
            (late()[:-1] + ',"value":[]}', "value is given twice"),
            (late()[:-1], "cut off"),
            (late()[:60], "cut off"),
            (late() + "x", "more text follows"),
            ('{"value":[{"MD5":"' + MD5 + '"}]}', "the context is missing"),
            ('{"value":{"MD5":1},"@odata.context":"' + V20.format("US") + '"}', "value is not an array"),
            ('{"@odata.context":"' + V20.format("US") + '","value":[],"odata.metadata":"' + V13 + '"}', "given twice"),
        ],
    )
    def test_what_is_refused_before_value_is_refused_behind_it(self, data: str, message: str) -> None:
        assert message in refused(data)

    def test_a_stream_that_is_read_once_says_what_to_do(self) -> None:
        source: Any = Trickle(late().encode(), 100)
        with pytest.raises(MalformedSource, match="cannot be read twice to look behind it; give a file"):
            list(VICS().read(source, {}))

    def test_memory_does_not_grow_with_what_stands_before_the_context(self) -> None:
        items = b",".join(b'{"MD5":"%032x","RelativeFilePath":"%s"}' % (i, b"x" * 300) for i in range(20_000))
        source = io.BytesIO(b'{"value":[' + items + b'],"@odata.context":"' + V20.format("US").encode() + b'"}')
        tracemalloc.start()
        count = sum(1 for _ in VICS().read(source, {}))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 20_000
        assert used < 12 << 20


class TestBareArrays:
    def test_their_region_is_unknown(self) -> None:
        items = read(json.dumps([{"MD5": MD5, "Category": 1}, "x", {"Media": [{"SHA1": SHA1}]}]))
        assert [i.position for i in items] == ["[0]", "[1]", "[2].Media[0]"]
        assert isinstance(items[0], Record)
        assert (items[0].value, items[0].region, items[0].scheme) == ("1", "", "")
        assert read("[]") == []

    @pytest.mark.parametrize("data", ["[", '[{"MD5":"', "[1,]", "[1]]", "[1] {}"])
    def test_they_are_whole_or_refused(self, data: str) -> None:
        assert refused(data)

    @pytest.mark.parametrize("data", ["7", '"x"', "null", "", "\ufeff"])
    def test_other_values_are_no_list(self, data: str) -> None:
        assert "expected an object with a context and a value, or an array of Media" in refused(data)


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
    @pytest.mark.parametrize("context_first", [True, False])
    def test_a_byte_order_mark_tells(self, encoding: str, context_first: bool) -> None:
        text = (
            late() if not context_first else json.dumps({"@odata.context": V20.format("UK"), "value": [{"MD5": MD5}]})
        )
        text = text.replace('"MD5"', '"Series":"Größe \U0001f600","MD5"').replace(", ", ",\r\n")
        mark = "" if encoding in {"utf-8-sig", "utf-16"} else "\ufeff"
        item = read((mark + text).encode(encoding))[0]
        assert isinstance(item, Record)
        assert (item.series, item.region) == ("Größe \U0001f600", "UK")

    def test_an_error_in_utf_16_knows_its_byte(self) -> None:
        text = json.dumps({"@odata.context": V20.format("US"), "value": [{"Series": "ß", "MD5": MD5}, 1]})
        broken = text.replace(", 1]", "; 1]")
        with pytest.raises(MalformedSource) as caught:
            read(b"\xff\xfe" + broken.encode("utf-16-le"))
        assert caught.value.position == f"value[0], byte {2 + 2 * broken.index(';')}"

    def test_utf_16_that_ends_inside_a_character_is_cut_off(self) -> None:
        assert "middle of a character" in refused(late().encode("utf-16")[:-1])


class TestExtra:
    def test_what_the_hub_has_no_field_for_is_kept_in_one_form(self) -> None:
        segments = [{"MD5": MD5, "SegmentIndex": 1, "Start": 0.5, "End": "00:00:07", "Category": 2}]
        item = one(Segments=segments, PrecategorizationSource="Project é", IsPrecategorized="true")
        expected = (
            '{"IsPrecategorized":"true","PrecategorizationSource":"Project \\u00e9",'
            f'"Segments":[{{"Category":2,"End":"00:00:07","MD5":"{MD5}","SegmentIndex":1,"Start":0.5}}]}}'
        )
        assert (item.extra, item.faults) == (expected, ())
        assert inspect(item).disposition is Disposition.ACCEPTED

    def test_true_and_one_are_not_mixed_up(self) -> None:
        assert [one(IsPrecategorized=v).extra for v in (1, True, 1.0, "1")] == [
            f'{{"IsPrecategorized":{v}}}' for v in ("1", "true", "1.0", '"1"')
        ]

    @pytest.mark.parametrize("nothing", [None, "", [], {}])
    def test_what_says_nothing_is_not_kept(self, nothing: object) -> None:
        assert one(PrecategorizationSource=nothing, Segments=[nothing], X=nothing).extra == ""

    @pytest.mark.parametrize(
        "key",
        [
            "MediaFiles", "Exifs", "MediaMetadata", "Identifiers", "Cases", "Comments", "comments", "RelativeFilePath",
            "Repositories", "CaseNumber", "ContactName", "ContactEmail", "FileName", "FILEPATH", "ParentFileName",
            "odata.id", "AlternativeHashes@odata.navigationLinkUrl", "MediaID", "ExifData", "Created", "VictimName",
        ],
    )  # fmt: skip
    def test_what_is_not_known_is_never_kept(self, key: str) -> None:
        item = one(**{key: "SYNTHETIC PERSON", "Segments": [{key: "SYNTHETIC PERSON", "Start": 1}]})
        assert "SYNTHETIC" not in str(item)
        assert item.extra == '{"Segments":[{"Start":1}]}'

    def test_what_does_not_fit_is_left_out_whole_and_noted(self) -> None:
        item = one(Segments=[{"Start": "x" * 600}, {"Start": "y" * 600}], IsPrecategorized=True)
        assert item.extra == '{"IsPrecategorized":true}'
        (fault,) = item.faults
        assert (fault.algorithm, fault.reason) == ("extra", "BAD_FIELD")
        assert "'Segments'" in fault.detail
        exact = one(PrecategorizationSource="x" * (MAX_TEXT - len('{"PrecategorizationSource":""}')))
        assert (len(exact.extra), exact.faults) == (MAX_TEXT, ())

    @pytest.mark.parametrize("text", ["NaN", "Infinity", "9" * 6000, "[" * 50 + "]" * 50, '"\\ud800"', '"\\u0000"'])
    def test_odd_values_are_left_out(self, text: str) -> None:
        document = json.dumps({"@odata.context": V20.format("US"), "value": [{"MD5": MD5, "IsPrecategorized": "ODD"}]})
        (item,) = read(document.replace('"ODD"', text))
        assert isinstance(item, Record)
        assert item.extra == ""
        assert inspect(item).disposition is Disposition.ACCEPTED

    def test_an_item_larger_than_the_window_keeps_the_same(self) -> None:
        small = {"IsPrecategorized": 1, "Segments": [{"Start": 1, "Who": "SYNTHETIC"}], "Big": "b" * 2000}
        padding = {f"Comments{i}@x": "c" * 300_000 for i in range(5)}
        large, item = one(**small, **padding), one(**small)
        assert (large.extra, large.faults) == (item.extra, item.faults)
        assert large.extra == '{"IsPrecategorized":1,"Segments":[{"Start":1}]}'
        assert one(**{f"k{i}": "v" * 400 for i in range(9000)}).extra == ""

    def test_keys_without_end_are_not_remembered(self) -> None:
        chance = random.Random(1)
        items = [{"MD5": MD5, **{chance.randbytes(30_000).hex(): 1 for _ in range(8)}} for _ in range(60)]
        data = json.dumps(items).encode()
        tracemalloc.start()
        count = sum(1 for _ in VICS().read(io.BytesIO(data), {}))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 60
        assert used < len(data) // 2


class TestItemsThatShareTheirValues:
    """What one item says is never what another with nearly the same values says."""

    ALIKE: Any = (True, 1, 1.0, "1", "true", "True", False, 0, "", None, "x" * 65, [1], {"a": 1})
    OWN: Any = (5, "5", 5.0, True, -1, None, "", " 2025", "2025-01-02", "\x00", "y" * (MAX_TEXT + 1), [])

    @given(st.data())
    def test_an_item_is_read_among_others_as_alone(self, data: st.DataObject) -> None:
        keys = data.draw(st.sets(st.sampled_from(["Category", "VictimIdentified", "Series", "Tags", "MimeType"])))
        more = data.draw(st.sets(st.sampled_from(["IsPrecategorized", "Camera", "AlternativeHashes", "MediaFiles"])))
        digests = st.sampled_from([MD5, MD5.upper(), "", None, "beef", 7])
        media = st.fixed_dictionaries(
            {"MD5": digests, "SHA1": st.sampled_from([SHA1, "", None])}
            | {key: st.sampled_from(self.ALIKE) for key in sorted(keys | more)}
            | {key: st.sampled_from(self.OWN) for key in ("MediaSize", "DateUpdated")}
        )
        several = data.draw(st.lists(media, min_size=2, max_size=8))
        several += [{**one, "MD5": MD5, "MediaSize": 7, "DateUpdated": "2025"} for one in several]
        context = {"@odata.context": V20.format("US")}
        among = read(json.dumps({**context, "value": several + several}))
        for number, one_of_them in enumerate(several + several):
            (alone,) = read(json.dumps({**context, "value": [one_of_them]}))
            assert among[number] == msgspec.structs.replace(alone, position=f"value[{number}]")

    @pytest.mark.parametrize("first", [1, True, 1.0])
    def test_equal_values_of_other_types_say_what_they_say(self, first: object) -> None:
        stated = [
            {"MD5": MD5, "Category": x, "VictimIdentified": y, "IsPrecategorized": z}
            for x in (1, True, 1.0)
            for y in (1, True, 1.0)
            for z in (1, True, 1.0)
        ]
        stated.sort(key=lambda one: type(one["Category"]) is not type(first))
        among = read(json.dumps({"@odata.context": V20.format("US"), "value": stated}))
        for number, one_of_them in enumerate(stated):
            (alone,) = read(json.dumps({"@odata.context": V20.format("US"), "value": [one_of_them]}))
            assert among[number] == msgspec.structs.replace(alone, position=f"value[{number}]")

    @pytest.mark.parametrize("odd", [0, False, 0.0, [], {}, "", None])
    def test_a_date_that_is_none_is_told_as_of_an_item_read_alone(self, odd: object) -> None:
        usual = {"MD5": MD5, "Category": 1, "Series": "s", "DateUpdated": "2026-01-01"}
        *_, among = read(json.dumps([usual, usual, {**usual, "DateUpdated": odd}]))
        (alone,) = read(json.dumps([{**usual, "DateUpdated": odd}]))
        assert msgspec.structs.replace(among, position="[0]") == alone

    def test_the_region_is_that_of_the_list(self) -> None:
        media = [{"MD5": MD5, "Category": 1, "Series": "s"}] * 2
        for region in ("US", "UK", "US"):
            listed = read(json.dumps({"@odata.context": V20.format(region), "value": media}))
            assert [item.region for item in listed if isinstance(item, Record)] == [region, region]
