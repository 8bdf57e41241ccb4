"""What public sources establish about lists as they are in the world, one rule a test: first what holds across formats,
then what is dirty in VICS files.

Conflicting categories of one item become quarantine in the hub: tests/hub/test_intake.py.
"""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest

from hashhub import schemes
from hashhub.connector import Connector, recognise
from hashhub.errors import HashHubError, MalformedSource
from hashhub.hashes import parse
from hashhub.hygiene import inspect
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    Action,
    Flags,
    HashSet,
    Marking,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
)
from hashhub.testing.lists import list_file, random_items
from hashhub_connectors import items
from hashhub_connectors.csv_mapping import MappedCSV
from hashhub_connectors.hash_lines import HashLines
from hashhub_connectors.icse_csv import ICSECSV
from hashhub_connectors.ncmec_xml import NCMECXML
from hashhub_connectors.vics import VICS

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
RAMP = bytes((i * 7 + 3) % 256 for i in range(144))
V20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{}/$metadata#Media"
V12 = "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media"
NCMEC = '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">{}</queryResult>'


def read(connector: Connector, data: str | bytes, **options: str) -> list[Record | Reject]:
    return list(connector.read(io.BytesIO(data if isinstance(data, bytes) else data.encode()), options))


def vics(*media: object, region: str = "US") -> list[Record | Reject]:
    return read(VICS(), json.dumps({"@odata.context": V20.format(region), "value": media}))


def one(region: str = "US", **media: Any) -> Record:
    (item,) = vics({"MD5": MD5, **media}, region=region)
    assert isinstance(item, Record)
    return item


def record(connector: Connector, data: str, **options: str) -> Record:
    (item,) = read(connector, data, **options)
    assert isinstance(item, Record)
    return item


class TestAcrossFormats:
    def test_1_a_category_goes_with_its_scheme_and_region_and_means_nothing_alone(self) -> None:
        assert [(i.scheme, i.region, i.value) for i in (one(Category=0), one("UK", Category=0))] == [
            ("vic-us", "US", "0"), ("uk-caid", "UK", "0"),
        ]  # fmt: skip
        for region in ("Default", "CUSTOM", "UNKNOWN"):
            assert (one(region, Category=5).scheme, one(region, Category=5).value) == ("", "5")
        bare = record(VICS(), json.dumps([{"MD5": MD5, "Category": 5}]))
        first = record(VICS(), json.dumps({"odata.metadata": V12, "value": [{"MD5": MD5, "Category": 5}]}))
        assert {(i.scheme, i.region, i.value) for i in (bare, first)} == {("", "", "5")}

    def test_2_zero_is_a_category_and_so_is_a_number_as_text(self) -> None:
        assert [one(Category=c).value for c in (0, "0", "1", 1, 2.0, None)] == ["0", "0", "1", "1", "2", ""]

    def test_3_a_flag_may_be_a_text_and_a_missing_one_is_not_false(self) -> None:
        item = one(VictimIdentified="true", OffenderIdentified="false", IsDistributed=False)
        assert item.flags == Flags(victim_identified=True, offender_identified=False, distributed=False)
        assert one().flags == Flags()

    @pytest.mark.parametrize("text", [MD5, MD5.upper(), f" {MD5}", f"{MD5}\n", f"\t{MD5.title()} "])
    def test_4_hexadecimal_digits_of_any_case_with_blanks_around_them_are_one_digest(self, text: str) -> None:
        (item,) = vics({"MD5": text})
        assert isinstance(item, Record)
        assert item.hashes == (parse("MD5", MD5),)

    @pytest.mark.parametrize(
        ("algorithm", "texts"),
        [
            ("PDQ", [SHA256, base64.b64encode(bytes.fromhex(SHA256)).decode()]),
            ("PHOTODNA", [RAMP.hex(), RAMP.hex().upper(), base64.b64encode(RAMP).decode(), ",".join(map(str, RAMP))]),
            ("SHA1", [SHA1, base64.b32encode(bytes.fromhex(SHA1)).decode()]),
        ],
    )
    def test_5_one_algorithm_has_several_encodings(self, algorithm: str, texts: list[str]) -> None:
        listed = [{"HashName": algorithm, "HashValue": text} for text in texts]
        assert len(one(AlternativeHashes=listed).hashes) == 2
        assert len({record(HashLines(), f"{text}\n", algorithm=algorithm).hashes for text in texts}) == 1

    def test_6_deletions_are_honoured_where_a_format_has_them_and_pages_are_told(self) -> None:
        member = '<member id="1">SYNTHETIC</member><id>a</id><timestamp>2025-01-01T00:00:00Z</timestamp>'
        page = NCMEC.format(
            f"<images><deletedImage>{member}</deletedImage></images><videos><deletedVideo>{member}</deletedVideo>"
            "</videos><paging><next>/v2/entries?start=1001</next></paging>"
        )
        *items, more = read(NCMECXML(), page)
        assert [i.action for i in items if isinstance(i, Record)] == [Action.WITHDRAW] * 2
        assert isinstance(more, Reject)
        assert more.reason == "PARTIAL_SOURCE"
        data = {"@odata.context": V20.format("US"), "@odata.nextLink": "https://example.invalid/", "value": []}
        assert [i.reason for i in read(VICS(), json.dumps(data)) if isinstance(i, Reject)] == ["PARTIAL_SOURCE"]

    def test_6_no_item_of_a_format_without_deletions_withdraws_anything(self) -> None:
        connectors: dict[str, Connector] = {c.name: c for c in (VICS(), ICSECSV(), MappedCSV(), HashLines())}
        for variant in ("vics-2.0", "vics-1.3", "icse-csv", "csv", "md5sum", "hashdeep"):
            file = list_file(variant, random_items(20, seed=1), dirty=True)
            items = read(connectors[file.connector], file.data, **file.options)
            assert {i.action for i in items if isinstance(i, Record)} == {Action.CONTRIBUTE}

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"MD5": "d41d8cd98f00b204e9800998ecf8427e"}, "EMPTY_FILE"),
            ({"MD5": "", "SHA1": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}, "EMPTY_FILE"),
            ({"MD5": "0" * 32}, "ALL_ZERO"),
            ({"MD5": "F" * 32}, "ALL_ONE"),
            ({"PhotoDNA": base64.b64encode(b"ab" + b"c" * 142).decode()}, "LOW_ENTROPY"),
            ({"AlternativeHashes": [{"HashName": "PDQ", "HashValue": "0" * 64}]}, "ALL_ZERO"),
            ({"AlternativeHashes": [{"HashName": "PDQ", "HashValue": "00" * 31 + "01"}]}, "BLANK_PICTURE"),
        ],
    )
    def test_7_placeholders_and_degenerate_hashes_are_told(self, fields: dict[str, Any], reason: str) -> None:
        assert reason in {code for code, _ in inspect(one(**fields)).notes}

    def test_7_a_pdq_of_low_quality_waits_in_quarantine(self) -> None:
        assert inspect(record(HashLines(), f"{SHA256},49,a.jpg\n")).reasons == ("LOW_QUALITY",)
        assert inspect(record(HashLines(), f"{SHA256},50,a.jpg\n")).reasons == ()

    def test_8_terms_have_a_legal_basis_and_purposes_and_are_narrow_by_default(self) -> None:
        assert {"legal_basis", "permitted_purposes", "redistribution"} <= set(Marking.__struct_fields__)
        marking = HashSet(contributor="a", id="b").marking
        assert (marking.bulk, marking.redistribution) == (False, False)

    @pytest.mark.parametrize(
        "data",
        [
            {"VictimListVersion": "2.1", "HashSets": [{"Hashes": [{"MD5": MD5, "Category": 1}]}]},
            {"@odata.context": V20.format("US").replace("2.0", "2.1"), "value": [{"MD5": MD5}]},
            {"@odata.context": "https://example.invalid/$metadata#Media", "value": [{"MD5": MD5}]},
        ],
    )
    def test_9_an_invented_format_is_refused(self, data: dict[str, Any]) -> None:
        with pytest.raises(MalformedSource, match=r"expected odata\.metadata of"):
            read(VICS(), json.dumps(data))


class TestDirtyVICS:
    def test_precategorized_says_nothing_of_a_category(self) -> None:
        item = one(IsPrecategorized=True, Category=None)
        assert (item.value, item.flags) == ("", Flags())

    def test_the_total_of_a_case_is_not_believed(self) -> None:
        items = vics({"CaseID": "x", "TotalMediaFiles": 34731, "Media": [{"MD5": MD5}]})
        assert len(items) == 1

    def test_one_md5_in_many_media_is_as_many_items(self) -> None:
        items = vics(*({"MD5": MD5, "MediaID": 1, "Category": i % 3} for i in range(116)))
        assert len({i.position for i in items}) == 116
        assert [i.value for i in items if isinstance(i, Record)] == [str(i % 3) for i in range(116)]

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"MD5": None}, "NO_HASH"),
            ({"MD5": ""}, "NO_HASH"),
            ({"MD5": MD5[:-1]}, "DIGEST_WRONG_LENGTH"),
            ({"MD5": MD5 + "0"}, "DIGEST_WRONG_LENGTH"),
            ({"MD5": SHA1}, "DIGEST_WRONG_LENGTH"),
            ({"PhotoDNA": base64.b64encode(RAMP).decode()[:-1]}, "DIGEST_WRONG_LENGTH"),
            ({"PhotoDNA": base64.b64encode(RAMP).decode() * 2}, "DIGEST_WRONG_LENGTH"),
            ({"PhotoDNA": "%" * 192}, "DIGEST_NOT_ENCODED"),
        ],
    )
    def test_a_missing_or_wrong_hash_costs_no_other_one(self, fields: dict[str, Any], reason: str) -> None:
        alone, beside = vics(fields, {**fields, "SHA1": SHA1})
        assert isinstance(alone, Reject)
        assert alone.reason == reason
        assert isinstance(beside, Record)
        assert beside.hashes == (parse("SHA1", SHA1),)
        assert [f.reason for f in beside.faults] == ([] if reason == "NO_HASH" else [reason])

    @pytest.mark.parametrize("alternatives", [{}, {"AlternativeHashes": []}, {"AlternativeHashes": None}])
    def test_alternative_hashes_may_be_missing_or_empty(self, alternatives: dict[str, Any]) -> None:
        assert one(**alternatives).faults == ()

    def test_a_count_in_the_category_means_nothing_in_a_scheme(self) -> None:
        scheme = schemes.load().get("vic-us")
        assert one(Category=4711).value == "4711"
        assert scheme.resolve("4711") is None

    def test_a_benign_list_has_the_envelope_of_any_other_and_no_scheme_of_its_own(self) -> None:
        benign = record(VICS(), json.dumps({"odata.metadata": V12, "value": [{"MD5": MD5, "Category": 0}]}))
        assert (benign.value, benign.scheme, benign.region, benign.tags) == ("0", "", "", ())
        name, guess = recognise(json.dumps({"odata.metadata": V12}).encode())[0]
        assert name == "vics"
        assert "benign" not in guess.why

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_byte_order_marks_and_line_ends_change_nothing(self, mark: str, end: str) -> None:
        text = json.dumps({"@odata.context": V20.format("US"), "value": [{"MD5": MD5}]}, indent=1)
        assert record(VICS(), mark + text.replace("\n", end)) == one()


def test_one_character_is_no_plural() -> None:
    assert [items.kind(text) for text in ("", "x", "xy")] == [
        "a text of 0 characters",
        "a text of 1 character",
        "a text of 2 characters",
    ]
    for text in ("a", "?"):
        with pytest.raises(HashHubError, match=r"\b1 character\b"):
            parse("MD5", text)


def test_of_too_many_reviews_the_doubts_are_kept() -> None:
    """A record has as many as the hub takes; leaving a doubt out would bring the item nearer to a match."""
    confirmed = [RecordReview(ReviewKind.CONFIRMED, f"c{n}", "") for n in range(MAX_HASHES_PER_ENTRY)]
    doubts = [RecordReview(ReviewKind.FALSE_POSITIVE, f"d{n}", "") for n in range(9)]
    record = items.finish("p", [("MD5", MD5)], [], reviews=(*confirmed, *doubts))
    assert isinstance(record, Record)
    assert record.reviews == (*doubts, *confirmed[: MAX_HASHES_PER_ENTRY - 9])
    assert [(f.algorithm, f.reason) for f in record.faults] == [("reviews", "BAD_FIELD")]
    assert "of 73 reviews 64 were kept" in record.faults[0].detail
