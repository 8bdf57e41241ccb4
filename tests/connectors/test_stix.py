from __future__ import annotations

import io
import json
import sys
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.connector import Exported
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import Hash, parse
from hashhub.model import (
    TLP,
    Action,
    Entry,
    EntryState,
    HashSet,
    Marking,
    Provenance,
    Purpose,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
)
from hashhub_connectors import stix
from hashhub_connectors.stix import EXTENSION, STIX, STIXWriter
from tests.examples import examples

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
PDQ = "ffff0000" * 8
FILE = {"type": "file", "id": "file--a", "hashes": {"MD5": MD5}}
OPINION = {"type": "opinion", "object_refs": ["file--a"], "created_by_ref": "identity--b", "explanation": "grown"}
IDENTITY = {"type": "identity", "id": "identity--b", "name": "Somebody"}


def read(*objects: object, **options: str) -> list[Record | Reject]:
    return list(STIX().read(io.BytesIO(json.dumps({"type": "bundle", "objects": objects}).encode()), options))


def one(*objects: object, **options: str) -> Record:
    (item,) = read(*objects, **options)
    assert isinstance(item, Record), item
    return item


def indicator(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "indicator", "id": "indicator--a", "pattern": pattern, "pattern_type": "stix", **more}


class TestFiles:
    def test_names_of_algorithms_and_case_vary(self) -> None:
        names = {"MD5": MD5.upper(), "SHA-1": SHA1, "SHA256": SHA256, "pdq": PDQ}
        record = one({"type": "file", "hashes": names, "size": 12, "mime_type": "image/PNG", "name": "case.png"})
        assert record.hashes == (parse("MD5", MD5), parse("SHA1", SHA1), parse("SHA256", SHA256), parse("PDQ", PDQ))
        assert (record.media_size, record.media_type) == (12, "image/png")
        assert "case.png" not in repr(record)

    def test_others_digests_are_told(self) -> None:
        record = one({"type": "file", "hashes": {"MD5": MD5, "TLSH": "0" * 70, "SHA3-256": "ab" * 32}})
        assert [f.reason for f in record.faults] == ["UNSUPPORTED_ALGORITHM"] * 2

    @pytest.mark.parametrize("hashes", [None, {}, {"MD5": None}, [], {"SSDEEP": "3:a:b"}, {"MD5": "7b47"}])
    def test_one_without_a_digest_is_refused(self, hashes: object) -> None:
        (item,) = read({"type": "file", "hashes": hashes})
        assert isinstance(item, Reject)

    def test_an_object_longer_than_the_window_is_refused_and_the_next_is_read(self) -> None:
        long = {**FILE, "name": "x" * 900_000, "x_more": ["y" * 900_000]}
        report = {"type": "report", "object_refs": ["file--a" * 10] * 30_000}
        first, second = read(long, report, FILE)
        assert isinstance(first, Reject)
        assert (first.position, second.position) == ("objects[0]", "objects[2]")

    def test_hashes_in_an_object_that_nobody_knows_are_not_passed_over(self) -> None:
        for kind in ("x-picture", "", None):
            (item,) = read({"type": kind, "hashes": {"MD5": MD5}})
            assert isinstance(item, Reject)
        assert read({"type": "x509-certificate", "hashes": {"MD5": MD5}}, {"type": "identity", "name": "x"}) == []

    def test_nothing_says_what_a_file_of_somebody_else_is(self) -> None:
        assert one(FILE).value == ""
        assert STIX().has_classifications({})

    def test_being_listed_is_the_statement_if_the_reader_says_so(self) -> None:
        assert not STIX().has_classifications({"classified": "no"})
        assert one(FILE, classified="no").hashes == (parse("MD5", MD5),)
        for stated in ({"classification": {"scheme": "vic-us", "value": "0"}}, {"undecided": True}):
            (item,) = read({**FILE, "extensions": {EXTENSION: stated}}, classified="no")
            assert isinstance(item, Reject)
        (item,) = read(indicator(f"[file:hashes.MD5 = '{MD5}']", indicator_types=["benign"]), classified="no")
        assert isinstance(item, Reject)

    def test_a_wrong_option_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="yes or no"):
            read(classified="perhaps")


class TestIndicators:
    @pytest.mark.parametrize(
        ("pattern", "count"),
        [
            (f"[file:hashes.MD5 = '{MD5}']", 1),
            (f"[file:hashes.'SHA-256'='{SHA256}']", 1),
            (f" [ file:hashes.MD5 = '{MD5}' OR file:hashes.'SHA-1' = '{SHA1}' ] ", 2),
            (f"[file:hashes.MD5 = '{MD5}' AND artifact:hashes.'SHA-1' = '{SHA1}' AND file:hashes.PDQ = '{PDQ}']", 3),
        ],
    )
    def test_simple_patterns_are_read(self, pattern: str, count: int) -> None:
        record = one(indicator(pattern))
        assert (len(record.hashes), record.external_id) == (count, "indicator--a")

    @pytest.mark.parametrize(
        "pattern",
        [
            f"[file:hashes.MD5 != '{MD5}']",
            f"[NOT file:hashes.MD5 = '{MD5}']",
            f"[file:hashes.MD5 IN ('{MD5}')]",
            f"[file:hashes.MD5 = '{MD5}' AND file:size > 12]",
            f"[file:hashes.MD5 = '{MD5}' OR file:hashes.MD5 = '{'0d' * 16}']",
            f"[file:hashes.MD5 = '{MD5}' OR file:hashes.SHA1 = '{SHA1}' AND file:hashes.PDQ = '{PDQ}']",
            f"[file:hashes.MD5 = '{MD5}'] OR [file:hashes.MD5 = '{MD5}']",
            f"[file:hashes.MD5 = '{MD5}'] REPEATS 2 TIMES",
            f"file:hashes.MD5 = '{MD5}'",
            "[domain-name:value = 'example.invalid']",
            "[file:hashes.MD5 = '" + "' OR file:hashes.MD5 = '" * 3000,
            7,
            None,
        ],
    )
    def test_any_other_is_refused_by_name(self, pattern: Any) -> None:
        (item,) = read(indicator(pattern))
        assert isinstance(item, Reject)
        assert item.position == "objects[0]"

    def test_a_yara_rule_is_not_read(self) -> None:
        (item,) = read(indicator(f"[file:hashes.MD5 = '{MD5}']", pattern_type="yara"))
        assert isinstance(item, Reject)

    def test_revoked_is_withdrawn_and_valid_until_ends_it(self) -> None:
        pattern = f"[file:hashes.MD5 = '{MD5}']"
        record = one(indicator(pattern, revoked=True))
        assert (record.action, record.external_id) == (Action.WITHDRAW, "indicator--a")
        record = one(indicator(pattern, valid_until="2026-01-02T03:04:05.000Z", indicator_types=["benign"]))
        assert record.expire_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert record.tags == ("indicator-type:benign",)

    def test_an_end_that_cannot_be_read_is_told(self) -> None:
        record = one(indicator(f"[file:hashes.MD5 = '{MD5}']", valid_until="soon"))
        assert [f.algorithm for f in record.faults] == ["valid_until"]


class TestWhatOtherObjectsSay:
    @pytest.mark.parametrize(
        ("word", "kind"),
        [
            ("strongly-disagree", ReviewKind.FALSE_POSITIVE),
            ("disagree", ReviewKind.FALSE_POSITIVE),
            ("agree", ReviewKind.CONFIRMED),
            ("strongly-agree", ReviewKind.CONFIRMED),
            ("neutral", None),
            ("new-word", None),
        ],
    )
    def test_an_opinion_is_a_review_wherever_it_stands(self, word: str, kind: ReviewKind | None) -> None:
        opinion = {**OPINION, "opinion": word}
        reviews = (RecordReview(kind, "stix:Somebody", "grown"),) if kind else ()
        for objects in ((opinion, FILE, IDENTITY), (FILE, IDENTITY, opinion)):
            assert one(*objects).reviews == reviews

    def test_a_revoked_opinion_says_nothing(self) -> None:
        assert one(FILE, {**OPINION, "opinion": "disagree", "revoked": True}).reviews == ()

    def test_doubt_of_nobody_is_not_lost(self) -> None:
        opinion = {"type": "opinion", "opinion": "disagree", "object_refs": ["file--a"]}
        assert one(FILE, opinion).reviews == (RecordReview(ReviewKind.FALSE_POSITIVE, "", ""),)

    def test_sightings_are_counted_and_confirm_nothing(self) -> None:
        sighting = {"type": "sighting", "sighting_of_ref": "file--a"}
        record = one({**sighting, "count": 3}, FILE, sighting)
        assert (json.loads(record.extra), record.reviews) == ({"sightings": 4}, ())

    @pytest.mark.parametrize("tlp", TLP)
    def test_terms_are_a_tag_and_one_finding_and_change_nothing_else(self, tlp: TLP) -> None:
        marking = stix.TLP_2[tlp]
        first, second = read({**FILE, "object_marking_refs": [marking]}, {**FILE, "object_marking_refs": [marking]})
        assert isinstance(first, Record)
        assert isinstance(second, Record)
        word = f"tlp:{tlp.lower().replace('_', '+')}"
        assert first.tags == second.tags == (word,)
        assert [f.reason for f in first.faults] == ["TERMS_STATED"]
        assert word in first.faults[0].detail
        assert second.faults == ()

    def test_statements_and_unknown_tlp_are_kept(self) -> None:
        markings = [
            {
                "type": "marking-definition",
                "id": "m1",
                "definition_type": "statement",
                "definition": {"statement": "S"},
            },
            {"type": "marking-definition", "id": "m2", "definition_type": "tlp", "definition": {"tlp": "GREEN"}},
        ]
        record = one(*markings, {**FILE, "object_marking_refs": ["m1", "m2", "m3"]})
        assert (record.tags, json.loads(record.extra)) == (("tlp:green",), {"statements": ["S"]})

    def test_sightings_of_one_object_are_one_reference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stix, "MAX_REFERENCES", 10)
        sightings = [{"type": "sighting", "sighting_of_ref": "file--a"}] * 50
        assert json.loads(one(FILE, *sightings).extra) == {"sightings": 50}

    def test_an_item_of_which_too_many_speak_is_refused(self) -> None:
        opinions = [{**OPINION, "opinion": "agree", "created_by_ref": f"identity--{n}"} for n in range(10_001)]
        (item,) = read(FILE, *opinions)
        assert isinstance(item, Reject)

    def test_too_many_of_them_are_refused_in_bounded_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stix, "MAX_REFERENCES", 10)
        opinions = [{**OPINION, "opinion": "agree", "object_refs": [f"file--{n}"]} for n in range(11)]
        with pytest.raises(MalformedSource, match="split it"):
            read(*opinions)


class TestShapes:
    def test_a_taxii_envelope_that_says_more_is_partial(self) -> None:
        text = json.dumps({"more": True, "next": "x", "objects": [FILE]})
        record, partial = STIX().read(io.BytesIO(text.encode()), {})
        assert isinstance(record, Record)
        assert isinstance(partial, Reject)
        assert partial.reason == "PARTIAL_SOURCE"

    def test_a_bare_array(self) -> None:
        (item,) = STIX().read(io.BytesIO(json.dumps([FILE]).encode()), {})
        assert item.position == "[0]"

    def test_a_list_of_bundles_is_not_passed_over(self) -> None:
        text = json.dumps([{"type": "bundle", "objects": [FILE]}] * 2)
        assert [getattr(i, "reason", "") for i in STIX().read(io.BytesIO(text.encode()), {})] == ["BAD_FIELD"] * 2

    def test_a_revoked_file_has_no_more_hashes_than_any_other(self) -> None:
        hashes = {f"MD5{'-' * n}": f"{n:032x}" for n in range(70)}
        (item,) = read({"type": "file", "hashes": hashes, "revoked": True})
        assert isinstance(item, Reject)
        assert item.reason == "TOO_MANY_HASHES"

    def test_a_bundle_without_objects_has_no_items(self) -> None:
        assert list(STIX().read(io.BytesIO(b'{"type": "bundle", "id": "bundle--x"}'), {})) == []

    @pytest.mark.parametrize("text", ['{"type": "indicator"}', "{}", "7", "", '{"objects": 7}', '{"type": "bundle"'])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(MalformedSource):
            list(STIX().read(io.BytesIO(text.encode()), {}))

    def test_a_large_bundle_is_read_in_bounded_memory_though_it_cannot_be_sought(self) -> None:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        objects = (json.dumps({**FILE, "id": f"file--{n}", "hashes": {"MD5": f"{n:032x}"}}) for n in range(20_000))
        data = ('{"type": "bundle", "objects": [' + ",".join(objects) + "]}").encode()
        source = Pipe(data)
        tracemalloc.start()
        assert sum(1 for _ in STIX().read(source, {})) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5 << 18 < len(data)


# --- Writing ----------------------------------------------------------------------------------------------------------

TIME = datetime(2026, 1, 2, tzinfo=UTC)


def entry(number: int = 1, contributor: str = "a", **fields: Any) -> Entry:
    provenance = Provenance(import_id="1", connector="x", connector_version="1", source_digest="", position="1")
    whole = {"hashes": (parse("MD5", MD5),), "state": EntryState.ACTIVE, "provenance": provenance, **fields}
    return Entry(id=number, contributor=contributor, hash_set="b", **whole)


def bundle(*entries: Entry, is_delta: bool = False, **hash_set: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the objects of what is written, by type."""
    target = io.BytesIO()
    hash_sets = {f"{c}/b": HashSet(contributor=c, id="b", **hash_set) for c in ("a", "c")}
    list(STIXWriter().write(entries, target, Exported(hash_sets, {}, TIME, is_delta), {}))
    by_type: dict[str, list[dict[str, Any]]] = {}
    for written in json.loads(target.getvalue())["objects"]:
        by_type.setdefault(written["type"], []).append(written)
    return by_type


def test_each_contributor_states_its_own_of_one_file() -> None:
    objects = bundle(entry(1), entry(2, "c"))
    assert len({f["id"] for f in objects["file"]}) == 2
    stated_by = [f["extensions"][EXTENSION]["stated_by_ref"] for f in objects["file"]]
    names = {i["id"]: i["name"] for i in objects["identity"]}
    assert [names[ref] for ref in stated_by] == ["a", "c"]


def test_an_id_is_that_of_the_specification_and_stays_the_same() -> None:
    (first,) = bundle(entry(1))["file"]
    (second,) = bundle(entry(7, hashes=(Hash("MD5", bytes.fromhex(MD5.upper())),)))["file"]
    assert first["id"] == second["id"]
    assert first["id"] == first["id"].lower()
    assert first["id"][len("file--") + 14] == "5"


def test_terms_travel_as_tlp_2_and_a_statement() -> None:
    marking = Marking(tlp=TLP.AMBER_STRICT, permitted_purposes=("blocking", "research"), legal_basis="a contract")
    objects = bundle(entry(1), entry(2, hashes=(parse("SHA1", SHA1),)), marking=marking)
    tlp, statement = objects["marking-definition"]
    assert (tlp["name"], statement["definition"]["statement"]) == (
        "TLP:AMBER+STRICT",
        "Permitted purposes: blocking, research. Legal basis: a contract",
    )
    assert {tuple(f["object_marking_refs"]) for f in objects["file"]} == {(tlp["id"], statement["id"])}


def test_a_withdrawal_is_a_revoked_indicator() -> None:
    gone = entry(1, state=EntryState.WITHDRAWN, external_id="x", hashes=(parse("MD5", MD5), parse("SHA1", SHA1)))
    (revoked,) = bundle(gone, is_delta=True)["indicator"]
    assert revoked["revoked"] is True
    record = one(revoked)
    assert (record.action, record.external_id, set(record.hashes)) == (Action.WITHDRAW, "x", set(gone.hashes))


def test_what_a_hash_set_of_another_purpose_holds_says_so_when_it_is_read() -> None:
    (written,) = bundle(entry(1), purpose=Purpose.BENIGN)["file"]
    assert one(written).tags == ("purpose:benign",)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stix2", None)
    with pytest.raises(InvalidArgument, match=r"hashhub\[formats\]"):
        bundle()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(st.sampled_from(["scheme", "value", "victim_identified", "x"]), c, max_size=3)
        ),
        max_leaves=6,
    ),
    st.sampled_from(
        [
            "classification",
            "flags",
            "tags",
            "more_hashes",
            "quality",
            "media_size",
            "expire_time",
            "purpose",
            "external_id",
        ]
    ),
)
@settings(max_examples=examples(200), deadline=None)
def test_whatever_stands_in_our_extension_is_read_or_told(value: object, field: str) -> None:
    (item,) = read({**FILE, "extensions": {EXTENSION: {field: value}}})
    assert isinstance(item, Record | Reject)
