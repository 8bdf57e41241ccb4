"""What we write, judged by the software that others read it with."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hashhub import schemes
from hashhub.connector import Exported, Writer
from hashhub.hashes import parse
from hashhub.model import TLP, Classification, Entry, EntryState, Flags, HashSet, Marking, Provenance, SchemeStatus
from hashhub_connectors.misp import MISPWriter
from hashhub_connectors.stix import STIXWriter
from hashhub_connectors.stopncii import StopNCII, StopNCIIWriter
from hashhub_connectors.threatexchange import ThreatExchangeCSVWriter, ThreatExchangeWriter

# Digests of the text "hashhub-synthetic-0001", and a ramp for PhotoDNA.
HASHES = (
    parse("MD5", "7b4747409fe1f2e64f187eac679ea0cc"),
    parse("SHA1", "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"),
    parse("SHA256", "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"),
    parse("PDQ", "0123456789abcdef" * 4),
    parse("PHOTODNA", base64.b64encode(bytes((i * 7 + 3) % 256 for i in range(144))).decode()),
    parse("PHASH", "0123456789abcdef"),
)
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SCHEMES = {s.id: s for s in schemes.load().list()}
NCII = Classification(
    scheme="stopncii", version="", region="", value="Active", status=SchemeStatus.DRAFT, dimensions={}
)


def entry(number: int, contributor: str = "nl", **fields: Any) -> Entry:
    whole: dict[str, Any] = {
        "hashes": HASHES,
        "state": EntryState.ACTIVE,
        "provenance": Provenance(
            import_id="1", connector="x", connector_version="1", source_digest="", position="1", member="9001 a member"
        ),
        "classification": SCHEMES["vic-us"].resolve("1"),
        "flags": Flags(victim_identified=True, distributed=False),
        "external_id": f"id {number}",
        "media_type": "image/jpeg",
        "media_size": 12_345,
        "series": "SYNTHETIC é",
        "tags": ("red", "with space"),
        "quality": 100,
        "source_time": "2025-01-02T03:04:05Z",
        "extra": '{"a":"b"}',
        "expire_time": TIME + timedelta(days=30),
        **fields,
    }
    return Entry(id=number, contributor=contributor, hash_set="known", **whole)


ALL = (
    entry(1),
    entry(2, "de", classification=SCHEMES["vic-us"].resolve("0"), hashes=HASHES[3:4]),
    entry(3, classification=None, reasons=("UNCLASSIFIED",), hashes=HASHES[:1], media_type="", media_size=2**63 - 1),
    entry(4, hashes=HASHES[:2], media_type="video/mp4"),
    entry(5, "de", classification=SCHEMES["threatexchange"].resolve("NON_MALICIOUS"), hashes=HASHES[3:4]),
)
GONE = entry(6, state=EntryState.WITHDRAWN)


def written(
    writer: Writer, *entries: Entry, is_delta: bool = False, contributors: tuple[str, ...] = ("nl", "de")
) -> str:
    terms = Marking(tlp=TLP.AMBER_STRICT, permitted_purposes=("blocking",), legal_basis="a contract")
    sets = {f"{c}/known": HashSet(contributor=c, id="known", review_depth=2, marking=terms) for c in contributors}
    target = io.BytesIO()
    list(writer.write(entries, target, Exported(sets, SCHEMES, TIME, is_delta), {}))
    return target.getvalue().decode()


class TestSTIX:
    @pytest.mark.parametrize("is_delta", [False, True])
    def test_bundles_are_valid(self, is_delta: bool) -> None:
        validator = pytest.importorskip("stix2validator")
        text = written(STIXWriter(), *ALL, *((GONE,) if is_delta else ()), is_delta=is_delta)
        options = validator.ValidationOptions(version="2.1", strict_types=False, silent=True)
        result = validator.validate_string(text, options)
        assert result.is_valid, [str(e) for e in result.errors]
        # It looks into each object.
        assert not validator.validate_string(text.replace(HASHES[0].digest.hex(), "no digest"), options).is_valid

    def test_the_library_reads_what_it_made(self) -> None:
        stix2 = pytest.importorskip("stix2")
        bundle = stix2.parse(written(STIXWriter(), *ALL, GONE, is_delta=True), allow_custom=True)
        files = [o for o in bundle.objects if o.type == "file"]
        assert len(files) == len(ALL)
        for one in files:  # the library makes the id anew of what it holds
            again = stix2.v21.File(allow_custom=True, **{k: v for k, v in one.items() if k != "id"})
            assert again.id == one.id


class TestMISP:
    def test_pymisp_loads_the_events(self) -> None:
        pymisp = pytest.importorskip("pymisp")
        response = json.loads(written(MISPWriter(), *ALL, GONE, is_delta=True))["response"]
        objects = []
        for one in response:
            event = pymisp.MISPEvent()
            event.from_dict(**one["Event"])
            assert not event.attributes
            objects += event.objects
            again = json.loads(event.to_json())
            assert [o["uuid"] for o in again["Object"]] == [o["uuid"] for o in one["Event"]["Object"]]
        assert len(objects) == len(ALL) + 1
        for one in objects:
            for attribute in one.attributes:
                assert attribute.category in attribute.describe_types["category_type_mappings"]
                assert attribute.type in attribute.describe_types["category_type_mappings"][attribute.category]
        assert [o.deleted for o in objects] == [False] * len(ALL) + [True]

    def test_digests_are_of_the_types_that_misp_knows(self) -> None:
        pymisp = pytest.importorskip("pymisp")
        (one,) = json.loads(written(MISPWriter(), ALL[0]))["response"]
        event = pymisp.MISPEvent()
        event.from_dict(**one["Event"])
        types = {a.object_relation: a.type for a in event.objects[0].attributes}
        assert (types["md5"], types["sha1"], types["sha256"], types["pdq"]) == ("md5", "sha1", "sha256", "text")


class TestThreatExchange:
    def test_its_package_reads_our_records(self) -> None:
        api = pytest.importorskip("threatexchange.exchanges.impl.fb_threatexchange_api")
        updates = pytest.importorskip("threatexchange.exchanges.clients.fb_threatexchange.threat_updates")
        state = pytest.importorskip("threatexchange.exchanges.fetch_state")
        changes = json.loads(written(ThreatExchangeWriter(), *ALL[:4], GONE, is_delta=True, contributors=("nl",)))
        records = changes["data"] + json.loads(written(ThreatExchangeWriter(), ALL[4], contributors=("de",)))
        category = state.SignalOpinionCategory
        seen = []
        for record in records:
            update = updates.ThreatUpdateJSON(record)
            assert update.time == int(TIME.timestamp())
            parsed = api.FBThreatExchangeIndicatorRecord.from_threatexchange_json(1, update)
            seen.append((update.threat_type, parsed and parsed.get_as_aggregate_opinion().category))
        harm = [("HASH_MD5", category.POSITIVE_CLASS), ("HASH_SHA1", category.POSITIVE_CLASS)]
        more = [("HASH_SHA256", category.POSITIVE_CLASS), ("HASH_PDQ", category.POSITIVE_CLASS)]
        video = [("HASH_VIDEO_MD5", category.POSITIVE_CLASS), ("HASH_SHA1", category.POSITIVE_CLASS)]
        gone = [("HASH_MD5", None), ("HASH_SHA1", None), ("HASH_SHA256", None), ("HASH_PDQ", None)]
        assert seen == [*harm, *more, *video, *gone, ("HASH_PDQ", category.NEGATIVE_CLASS)]

    def test_its_signal_types_accept_our_digests(self) -> None:
        pdq = pytest.importorskip("threatexchange.signal_type.pdq.signal")
        md5 = pytest.importorskip("threatexchange.signal_type.md5")
        types = {t.get_name(): t for t in (pdq.PdqSignal, md5.VideoMD5Signal)}
        text = written(ThreatExchangeCSVWriter(), *ALL, contributors=("nl",))
        rows = list(csv.DictReader(io.StringIO(text)))
        assert set(rows[0]) == {"signal_type", "signal_str", "collab", "category", "tags"}
        known = [row for row in rows if row["signal_type"] in types]
        assert {row["signal_type"] for row in known} == set(types)
        for row in known:
            assert types[row["signal_type"]].validate_signal_str(row["signal_str"]) == row["signal_str"]
        state = pytest.importorskip("threatexchange.exchanges.fetch_state")
        assert {row["category"] for row in rows} <= {c.name for c in state.SignalOpinionCategory}

    def test_we_read_what_its_command_prints(self) -> None:
        """The statuses that its records have in our reading are those that it gives them."""
        state = pytest.importorskip("threatexchange.exchanges.fetch_state")
        known = {"POSITIVE_CLASS", "NEGATIVE_CLASS", "INVESTIGATION_SEED", "DISPUTED"}
        assert {c.name for c in state.SignalOpinionCategory} | {
            state.AggregateSignalOpinionCategory.DISPUTED.name
        } == known


class TestStopNCII:
    def test_its_client_reads_our_records(self) -> None:
        api = pytest.importorskip("threatexchange.exchanges.clients.stopncii.api")
        dacite = pytest.importorskip("dacite")
        import enum

        fields: dict[str, Any] = {"classification": NCII, "tags": ("purpose:ncii",), "source_time": "1735787045"}
        entries = (entry(1, **fields), entry(2, **fields, media_type="video", hashes=HASHES[:1]))
        gone = entry(3, **fields, state=EntryState.WITHDRAWN)
        text = written(StopNCIIWriter(), *entries, gone, is_delta=True, contributors=("nl",))
        config = dacite.Config(cast=[enum.Enum, set])
        response = dacite.from_dict(data_class=api.FetchHashesResponse, data=json.loads(text), config=config)
        assert [(r.signalType.value, r.hashStatus.value) for r in response.hashRecords] == [
            ("ImagePDQ", "Active"), ("VideoMD5", "Active"), ("ImagePDQ", "Withdrawn"),
        ]  # fmt: skip
        assert response.count == 3

    def test_we_know_its_words(self) -> None:
        api = pytest.importorskip("threatexchange.exchanges.clients.stopncii.api")
        for status in api.StopNCIICaseStatus:
            record = {"signalType": "ImagePDQ", "hashValue": "0123456789abcdef" * 4, "hashStatus": status.value}
            (item,) = StopNCII().read(io.BytesIO(json.dumps([record]).encode()), {})
            is_gone = status.value in {"Withdrawn", "Deleted"}
            assert (getattr(item, "value", None), is_gone) == ("" if is_gone else status.value, is_gone)
