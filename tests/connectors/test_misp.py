from __future__ import annotations

import io
import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.connector import Exported
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import parse
from hashhub.model import (
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
from hashhub_connectors import misp
from hashhub_connectors.misp import MISP, TEMPLATE, MISPWriter
from tests.examples import examples

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
PDQ = "ffff0000" * 8
UUID = "6f1ba4d9-1a0b-4a6e-8c55-8d3d6b1f5f0a"


def read(document: object, **options: str) -> list[Record | Reject]:
    return list(MISP().read(io.BytesIO(json.dumps(document).encode()), options))


def one(event: dict[str, Any], **options: str) -> Record:
    (item,) = read({"Event": event}, **options)
    assert isinstance(item, Record), item
    return item


def attribute(kind: str = "md5", value: Any = MD5, relation: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "value": value, "uuid": "u", **({"object_relation": relation} if relation else {}), **more}


def file(*attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Object": [{"name": "file", "uuid": "o", "Attribute": [*attributes], **more}]}


class TestAttributes:
    @pytest.mark.parametrize(
        ("kind", "value", "algorithm", "digest"),
        [
            ("md5", MD5.upper(), "MD5", MD5),
            ("sha1", SHA1, "SHA1", SHA1),
            ("sha256", SHA256, "SHA256", SHA256),
            ("filename|md5", f"a|b.png|{MD5}", "MD5", MD5),
            ("filename|sha256", f"case.png|{SHA256}", "SHA256", SHA256),
        ],
    )
    def test_digests_are_items(self, kind: str, value: str, algorithm: str, digest: str) -> None:
        record = one({"Attribute": [attribute(kind, value)]})
        assert (record.hashes, record.external_id) == ((parse(algorithm, digest),), "u")
        assert ".png" not in repr(record)

    @pytest.mark.parametrize(
        "kind", ["ip-dst", "domain", "imphash", "x509-fingerprint-sha1", "ja3-fingerprint-md5", "", None]
    )
    def test_anything_else_is_refused_by_name(self, kind: Any) -> None:
        (item,) = read({"Event": {"Attribute": [attribute(kind)]}})
        assert isinstance(item, Reject)
        assert item.reason == "NO_HASH"

    @pytest.mark.parametrize(
        ("kind", "value"), [("sha512", "ab" * 64), ("tlsh", "0" * 70), ("md5", "7b47"), ("md5", 7)]
    )
    def test_digests_that_are_none_of_ours_are_refused(self, kind: str, value: object) -> None:
        (item,) = read({"Event": {"Attribute": [attribute(kind, value)]}})
        assert isinstance(item, Reject)

    @pytest.mark.parametrize("deleted", [True, 1, "true"])
    def test_deleted_is_withdrawn(self, deleted: object) -> None:
        record = one({"Attribute": [attribute(deleted=deleted)]})
        assert (record.action, record.external_id) == (Action.WITHDRAW, "u")

    def test_a_word_that_says_neither_withdraws_nothing_and_is_told(self) -> None:
        record = one({"Attribute": [attribute(deleted="perhaps")]})
        assert (record.action, [f.algorithm for f in record.faults]) == (Action.CONTRIBUTE, ["deleted"])


class TestObjects:
    def test_a_file_object_is_one_item(self) -> None:
        record = one(
            file(
                attribute("md5", MD5, "md5"),
                attribute("text", PDQ, "pdq"),
                attribute("other", SHA256, "sha-256"),
                attribute("size-in-bytes", "12", "size-in-bytes"),
                attribute("mime-type", "image/PNG", "mimetype"),
                attribute("filename", "case.png", "filename"),
                attribute("text", "whatever", "text"),
            )
        )
        assert record.hashes == (parse("MD5", MD5), parse("PDQ", PDQ), parse("SHA256", SHA256))
        assert (record.media_size, record.media_type, record.external_id) == (12, "image/png", "o")
        assert "case.png" not in repr(record)

    def test_a_deleted_one_is_withdrawn_and_so_is_one_without_another_digest(self) -> None:
        for event in (file(attribute(), deleted=True), file(attribute(deleted=True))):
            record = one(event)
            assert (record.action, record.hashes) == (Action.WITHDRAW, (parse("MD5", MD5),))

    def test_a_deleted_digest_beside_another_is_left_out_and_told(self) -> None:
        record = one(file(attribute(deleted=True), attribute("sha1", SHA1)))
        assert (record.action, record.hashes) == (Action.CONTRIBUTE, (parse("SHA1", SHA1),))
        assert record.faults

    @pytest.mark.parametrize("attributes", [None, [], {}, [7], [{"type": "url", "value": "x"}]])
    def test_one_without_a_digest_is_refused(self, attributes: object) -> None:
        (item,) = read({"Event": {"Object": [{"name": "url", "Attribute": attributes}]}})
        assert isinstance(item, Reject)


class TestTags:
    def test_those_of_the_event_hold_for_its_items_wherever_they_stand(self) -> None:
        tags = [{"name": "tlp:amber"}, {"name": "copine-scale:level-7"}]
        for event in ({"Tag": tags, "Attribute": [attribute()]}, {"Attribute": [attribute()], "Tag": tags}):
            record = one(event)
            assert record.tags == ("tlp:amber", "copine-scale:level-7")
            assert [f.reason for f in record.faults] == ["TERMS_STATED"]

    def test_and_not_for_those_of_another_event(self) -> None:
        events = [{"Event": {"Attribute": [attribute()], "Tag": [{"name": n}]}} for n in ("a", "b")]
        for document in (events, {"response": events}):
            assert [item.tags for item in read(document) if isinstance(item, Record)] == [("a",), ("b",)]

    def test_one_of_ours_gives_the_value_and_two_give_none(self) -> None:
        tags = [{"name": f'hashhub:classification="vic-us@2.0={v}"'} for v in ("1", "2")]
        record = one({"Attribute": [attribute(Tag=tags[:1])]})
        assert (record.value, record.scheme, record.tags) == ("1", "vic-us@2.0", ())
        record = one({"Attribute": [attribute(Tag=tags)]})
        assert (record.value, len(record.tags)) == ("", 2)

    def test_a_taxonomy_is_a_tag_and_no_value(self) -> None:
        assert one({"Attribute": [attribute(Tag=[{"name": "copine-scale:level-7"}])]}).value == ""

    def test_a_value_is_refused_where_being_listed_is_the_statement(self) -> None:
        assert not MISP().has_classifications({"classified": "no"})
        for name in ('hashhub:classification="vic-us@2.0=0"', "hashhub:undecided"):
            (item,) = read({"Event": {"Attribute": [attribute(Tag=[{"name": name}])]}}, classified="no")
            assert isinstance(item, Reject)
        assert one({"Attribute": [attribute()]}, classified="no").hashes

    def test_a_wrong_option_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="yes or no"):
            read({}, classified="perhaps")


class TestSightings:
    def test_a_false_positive_is_a_review_and_nobody_ends_the_item(self) -> None:
        sightings = [
            {"type": "1", "Organisation": {"name": "Other"}},
            {"type": 1, "source": "Third"},
            {"type": "1"},
            {"type": "0"},
            {"type": 0},
            {"type": "2", "date_sighting": "1735787045"},
        ]
        record = one({"Attribute": [attribute(Sighting=sightings)]})
        assert record.reviews == tuple(
            RecordReview(ReviewKind.FALSE_POSITIVE, author, "sighting")
            for author in ("misp-org:Other", "misp-org:Third", "")
        )
        assert json.loads(record.extra) == {"sightings": 2, "expirations": 1}
        assert (record.action, record.expire_time) == (Action.CONTRIBUTE, None)


class TestShapes:
    @pytest.mark.parametrize(
        ("wrap", "position"),
        [
            (lambda e: {"Event": e}, "Event.Attribute[0]"),
            (lambda e: [{"Event": e}], "[0].Event.Attribute[0]"),
            (lambda e: {"response": [{"Event": e}]}, "response[0].Event.Attribute[0]"),
            (lambda e: {"response": e}, "response.Attribute[0]"),
            (lambda e: e, "Attribute[0]"),
            (lambda e: [e], "[0].Attribute[0]"),
        ],
    )
    def test_events_come_wrapped_in_many_ways(self, wrap: Any, position: str) -> None:
        (item,) = read(wrap({"info": "x", "Attribute": [attribute()]}))
        assert item.position == position

    def test_an_event_without_items(self) -> None:
        assert read({"Event": {"info": "x", "uuid": UUID}}) == []
        assert read({"response": []}) == []
        assert read([]) == []

    @pytest.mark.parametrize("wrap", [lambda a: [a], lambda a: {"response": [a]}, lambda a: {"Event": a}], ids="lre")
    def test_what_is_no_event_is_not_passed_over(self, wrap: Any) -> None:
        (item,) = read(wrap(attribute()))
        assert isinstance(item, Reject)

    def test_a_manifest_is_named(self) -> None:
        manifest = {UUID: {"info": "x", "timestamp": "1", "Orgc": {"name": "y"}, "Tag": []}}
        with pytest.raises(MalformedSource, match=r"manifest\.json"):
            read(manifest)

    def test_a_list_of_a_feeds_digests_is_named(self) -> None:
        with pytest.raises(MalformedSource, match=r"hashes\.csv"):
            list(MISP().read(io.BytesIO(f"{MD5},{UUID}\n".encode()), {}))

    @pytest.mark.parametrize("text", ["", "7", "{}", '{"x": 1}', '{"Event": {"Attribute": [', "[" * 2000])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(MalformedSource):
            list(MISP().read(io.BytesIO(text.encode()), {}))

    @pytest.mark.parametrize("key", ["Event", "response", "Attribute", "Object"])
    @pytest.mark.parametrize("value", [None, "", 7])
    def test_what_should_hold_items_and_does_not_is_refused(self, key: str, value: object) -> None:
        with pytest.raises(MalformedSource, match=key):
            read({key: value})

    def test_events_within_events_are_refused(self) -> None:
        document: dict[str, Any] = {"Attribute": [attribute()]}
        for _ in range(20):
            document = {"Event": document}
        with pytest.raises(MalformedSource, match="nested"):
            read(document)

    def test_a_large_event_is_read_in_bounded_memory(self) -> None:
        attributes = ",".join(json.dumps(attribute(value=f"{n:032x}", uuid=f"u-{n}")) for n in range(20_000))
        data = f'{{"Event": {{"info": "x", "Attribute": [{attributes}], "Tag": [{{"name": "t"}}]}}}}'.encode()
        source = io.BytesIO(data)
        tracemalloc.start()
        tags = {item.tags for item in MISP().read(source, {}) if isinstance(item, Record)}
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tags == {("t",)}
        assert peak < 4 << 20  # all of them take 11 MB


# --- Writing ----------------------------------------------------------------------------------------------------------

TIME = datetime(2026, 1, 2, tzinfo=UTC)
REGISTRY = schemes.load()


def entry(number: int = 1, hash_set: str = "b", **fields: Any) -> Entry:
    provenance = Provenance(import_id="1", connector="x", connector_version="1", source_digest="", position="1")
    whole = {"hashes": (parse("MD5", MD5),), "state": EntryState.ACTIVE, "provenance": provenance, **fields}
    return Entry(id=number, contributor="a", hash_set=hash_set, **whole)


def events(*entries: Entry, is_delta: bool = False, **hash_set: Any) -> list[dict[str, Any]]:
    target = io.BytesIO()
    hash_sets = {f"a/{c}": HashSet(contributor="a", id=c, **hash_set) for c in ("b", "c")}
    list(MISPWriter().write(entries, target, Exported(hash_sets, {}, TIME, is_delta), {}))
    return [e["Event"] for e in json.loads(target.getvalue())["response"]]


def test_only_what_claims_abuse_is_called_so_and_makes_misp_act() -> None:
    abuse, harmless = REGISTRY.get("vic-us").resolve("1"), REGISTRY.get("vic-us").resolve("0")
    exploitative = REGISTRY.get("vic-us").resolve("2")
    for fields, name, acts in (
        ({"classification": abuse}, "csam-hash", True),
        ({}, "csam-hash", True),
        ({"classification": exploitative}, "media-hash", True),
        ({"classification": harmless}, "media-hash", False),
        ({"reasons": ("UNCLASSIFIED",)}, "media-hash", False),
    ):
        (event,) = events(entry(**fields))
        (written,) = event["Object"]
        assert (written["name"], written["Attribute"][0]["to_ids"]) == (name, acts)


def test_what_a_hash_set_of_another_purpose_holds_says_so_when_it_is_read() -> None:
    (event,) = events(entry(), purpose=Purpose.BENIGN)
    assert event["Object"][0]["Attribute"][0]["to_ids"] is False
    assert one(event).tags == ("purpose:benign",)


def test_an_event_for_each_hash_set_and_so_many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misp, "EVENT_SIZE", 2)
    written = events(*(entry(n) for n in range(3)), entry(4, "c"))
    assert [(e["info"], len(e["Object"])) for e in written] == [
        ("hash set a/b", 2), ("hash set a/b", 1), ("hash set a/c", 1),
    ]  # fmt: skip
    assert len({e["uuid"] for e in written}) == 3


def test_an_update_and_a_withdrawal_name_the_object_that_was_sent() -> None:
    (event,) = events(entry(1, external_id="x"))
    (delta,) = events(entry(9, external_id="x", state=EntryState.WITHDRAWN), is_delta=True)
    assert event["Object"][0]["uuid"] == delta["Object"][0]["uuid"]
    assert delta["Object"][0]["deleted"] is True


def test_terms_that_an_event_has_no_place_for_are_a_loss() -> None:
    marking = Marking(legal_basis="a contract", permitted_purposes=("blocking",))
    target = io.BytesIO()
    exported = Exported({"a/b": HashSet(contributor="a", id="b", marking=marking)}, {}, TIME)
    losses = list(MISPWriter().write([entry()], target, exported, {}))
    assert [(x.entry, x.field) for x in losses] == [("", "terms")]
    (event,) = json.loads(target.getvalue())["response"]
    assert [t["name"] for t in event["Event"]["Tag"]] == ["tlp:amber", 'hashhub:permitted-purpose="blocking"']


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(["name", "type", "x"]), c, max_size=3),
    max_leaves=6,
)
RELATIONS = ["external-id", "extra", "quality", "media-size", "expire-time", "victim-identified", "pdq"]


@given(JSON, st.sampled_from(RELATIONS), st.sampled_from(["Tag", "Sighting", "deleted", "value", "uuid"]))
@settings(max_examples=examples(200), deadline=None)
def test_whatever_stands_in_our_object_is_read_or_told(value: object, relation: str, field: str) -> None:
    odd = [attribute("text", value, relation), {**attribute("md5", MD5, "md5"), field: value}]
    (item,) = read({"Event": file(*odd, template_uuid=str(TEMPLATE))})
    assert isinstance(item, Record | Reject)
