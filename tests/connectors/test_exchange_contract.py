"""The exchange formats keep both contracts: what comes in is accounted for, and what goes out comes back minus what the
losses name.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar

import msgspec
import pytest

from hashhub.connector import NCII_TAG, Exported
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Classification, Entry, HashSet, Marking, SchemeStatus
from hashhub.schemes import Scheme, SchemeValue
from hashhub.testing import writers
from hashhub.testing.connectors import ConnectorContract
from hashhub.testing.writers import TIME, WriterContract, known_schemes
from hashhub_connectors.misp import MISP, MISPWriter
from hashhub_connectors.stix import EXTENSION, STIX, STIXWriter
from hashhub_connectors.stopncii import StopNCII, StopNCIIWriter
from hashhub_connectors.threatexchange import ThreatExchange, ThreatExchangeCSVWriter, ThreatExchangeWriter

# Digests of the text "hashhub-synthetic-0001", and a ramp for PhotoDNA.
MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
PDQ = "ffff0000" * 8
PHOTODNA = base64.b64encode(bytes((i * 7 + 3) % 256 for i in range(144))).decode()

TE_PAGE = json.dumps(
    {
        "data": [
            {
                "id": "1", "indicator": PDQ, "type": "HASH_PDQ", "last_updated": 1735787045, "should_delete": False,
                "descriptors": {
                    "data": [
                        {"id": "2", "owner": {"id": "99"}, "status": "MALICIOUS",
                         "tags": {"data": [{"id": "3", "text": "synthetic é"}]},
                         "reactions": [{"key": "HELPFUL", "value": "100,101"}]},
                        {"id": "4", "owner": {"id": "98"}, "status": "NON_MALICIOUS"},
                    ]
                },
            },
            {"id": "5", "indicator": MD5, "type": "HASH_VIDEO_MD5", "should_delete": True},
            {"id": "6", "indicator": SHA256, "type": "HASH_SHA256", "descriptors": {"data": []}},
            {"id": "7", "indicator": "https://example.invalid/", "type": "URI", "descriptors": {"data": []}},
            "no object",
        ],
        "paging": {"next": "https://example.invalid/next"},
    },
    ensure_ascii=False,
)  # fmt: skip
TE_CSV = (
    f"signal_type,signal_str,collab,category,tags\r\npdq,{PDQ},group,POSITIVE_CLASS,a b\r\n"
    f'video_md5,{MD5},"a, group",DISPUTED,\r\nurl,https://example.invalid/,group,POSITIVE_CLASS,\r\n'
)
TE_TEXT = f"pdq {PDQ} 'a group' POSITIVE_CLASS one,two\nvideo_md5 {MD5}\nnonsense\n"
NCII = json.dumps(
    {
        "count": 3, "nextSetTimestamp": 1735787045, "nextPageToken": None, "hasMoreRecords": False,
        "hashRecords": [
            {"lastModtimestamp": 1735787045, "signalType": "ImagePDQ", "hashValue": PDQ, "hashStatus": "Withdrawn"},
            {"lastModtimestamp": 1735787045, "signalType": "VideoMD5", "hashValue": MD5, "hashStatus": "Unheard",
             "CSPFeedbacks": [{"source": "CSP", "feedbackValue": "Undefined", "tags": ["t"]},
                              {"source": "CSP", "feedbackValue": "Blocked"}], "hashRegions": ["UK"]},
            {"signalType": "VideoTMK", "hashValue": "x", "hashStatus": "Active"},
        ],
    }
)  # fmt: skip
FILE_ID = "file--7dbd8dae-2e8b-5b8b-9b0a-3a5a4f2a1a11"
BUNDLE = json.dumps(
    {
        "type": "bundle", "id": "bundle--6f1ba4d9-1a0b-4a6e-8c55-8d3d6b1f5f0a",
        "objects": [
            {"type": "opinion", "spec_version": "2.1", "id": "opinion--a", "opinion": "disagree",
             "explanation": "an adult", "object_refs": [FILE_ID], "created_by_ref": "identity--b"},
            {"type": "file", "spec_version": "2.1", "id": FILE_ID, "size": 12, "mime_type": "image/png",
             "name": "case.png", "hashes": {"MD5": MD5.upper(), "SHA-1": SHA1, "PDQ": PDQ, "SSDEEP": "3:a:b"},
             "object_marking_refs": ["marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"]},
            {"type": "file", "name": "no digest"},
            {"type": "indicator", "id": "indicator--c", "pattern_type": "stix",
             "pattern": f"[file:hashes.'SHA-256' = '{SHA256}']", "revoked": True, "valid_from": "2025-01-01T00:00:00Z"},
            {"type": "indicator", "id": "indicator--d", "pattern_type": "stix",
             "pattern": "[domain-name:value = 'example.invalid']", "valid_from": "2025-01-01T00:00:00Z"},
            {"type": "observed-data", "id": "observed-data--e",
             "objects": {"0": {"type": "file", "hashes": {"MD5": MD5}}}},
            {"type": "file", "id": "file--f", "hashes": {"MD5": MD5}, "extensions": {EXTENSION: {
                "extension_type": "property-extension", "classification": {"scheme": "vic-us@2.0", "value": "1"}}}},
            {"type": "identity", "id": "identity--b", "name": "Somebody"},
            "no object",
        ],
    }
)  # fmt: skip
EVENT = json.dumps(
    {
        "Event": {
            "info": "synthetic", "uuid": "6f1ba4d9-1a0b-4a6e-8c55-8d3d6b1f5f0a", "Orgc": {"name": "Somebody"},
            "Attribute": [
                {"type": "md5", "uuid": "u-1", "value": MD5, "to_ids": True, "Tag": [{"name": "copine-scale:level-7"}],
                 "Sighting": [{"type": "1", "Organisation": {"name": "Other"}}, {"type": "0"}, {"type": "2"}]},
                {"type": "filename|sha1", "uuid": "u-2", "value": f"case.png|{SHA1}", "deleted": True},
                {"type": "ip-dst", "uuid": "u-3", "value": "192.0.2.1"},
                {"type": "sha512", "uuid": "u-4", "value": "ab" * 64},
            ],
            "Object": [
                {"name": "file", "uuid": "o-1", "timestamp": "1735787045", "Attribute": [
                    {"type": "sha256", "object_relation": "sha256", "value": SHA256.upper(),
                     "Tag": [{"name": 'hashhub:classification="vic-us@2.0=1"'}]},
                    {"type": "text", "object_relation": "pdq", "value": PDQ},
                    {"type": "size-in-bytes", "object_relation": "size-in-bytes", "value": "12"},
                    {"type": "filename", "object_relation": "filename", "value": "case.png"}]},
                {"name": "url", "uuid": "o-2", "Attribute": [{"type": "url", "value": "https://example.invalid/"}]},
                7,
            ],
            "Tag": [{"name": "tlp:amber"}],
        }
    }
)  # fmt: skip


class TestThreatExchangeJSON(ConnectorContract):
    connector = ThreatExchange()
    sample = TE_PAGE.encode()
    items = 6
    self_delimiting = True
    truncation_step = 3


class TestThreatExchangeOfOneOwner(TestThreatExchangeJSON):
    options: ClassVar[Mapping[str, str]] = {"owner": "98"}
    truncation_step = 29


class TestThreatExchangeCSV(ConnectorContract):
    connector = ThreatExchange()
    sample = TE_CSV.encode()
    items = 3


class TestThreatExchangeText(ConnectorContract):
    connector = ThreatExchange()
    sample = TE_TEXT.encode()
    items = 3


class TestThreatExchangeCache(ConnectorContract):
    connector = ThreatExchange()
    sample = f"{MD5},12,2020-07-01T18:31:15+0000,one two\r\n,13,,\r\n".encode()
    items = 2
    options: ClassVar[Mapping[str, str]] = {"type": "HASH_VIDEO_MD5"}


class TestStopNCII(ConnectorContract):
    connector = StopNCII()
    sample = NCII.encode()
    items = 3
    self_delimiting = True


class TestSTIX(ConnectorContract):
    connector = STIX()
    sample = BUNDLE.encode()
    items = 7
    self_delimiting = True
    truncation_step = 5


class TestSTIXAsAList(TestSTIX):
    options: ClassVar[Mapping[str, str]] = {"classified": "no"}
    truncation_step = 29


class TestMISP(ConnectorContract):
    connector = MISP()
    sample = EVENT.encode()
    items = 7
    self_delimiting = True
    truncation_step = 3


class TestMISPAsAList(TestMISP):
    options: ClassVar[Mapping[str, str]] = {"classified": "no"}
    truncation_step = 29


def with_a_hash_of(entry: Entry, *names: str) -> Entry:
    """Return the entry with one hash of each of these algorithms besides those that it has."""
    digest = entry.id.to_bytes(4) + bytes(140)
    more = (Hash(name, digest[: ALGORITHMS[name].digest_bytes]) for name in names)
    others = tuple(h for h in entry.hashes if h.algorithm not in names)
    return msgspec.structs.replace(entry, hashes=(*more, *others))


class TestThreatExchangeWriter(WriterContract):
    writer = ThreatExchangeWriter()
    connector = ThreatExchange()

    def entry(self, random: Random, number: int) -> Entry:
        return with_a_hash_of(super().entry(random, number), "PDQ")


class TestThreatExchangeWriterOfOneOwner(TestThreatExchangeWriter):
    options: ClassVar[Mapping[str, str]] = {"owner": "1234"}
    hash_set = HashSet(contributor="hotline", id="known", scheme="threatexchange@1.0")


class TestThreatExchangeCSVWriter(WriterContract):
    writer = ThreatExchangeCSVWriter()
    connector = ThreatExchange()

    def entry(self, random: Random, number: int) -> Entry:
        return with_a_hash_of(super().entry(random, number), "PDQ")


class TestThreatExchangeCSVWriterOfItsOwnScheme(TestThreatExchangeCSVWriter):
    hash_set = HashSet(contributor="hotline", id="known", scheme="threatexchange@1.0")


class TestSTIXWriter(WriterContract):
    writer = STIXWriter()
    connector = STIX()
    hash_set = HashSet(
        contributor="hotline",
        id="known",
        scheme="vic-us@2.0",
        marking=Marking(permitted_purposes=("blocking",), legal_basis="a contract"),
    )
    rounds = 30


class TestMISPWriter(WriterContract):
    writer = MISPWriter()
    connector = MISP()
    hash_set = HashSet(contributor="hotline", id="known", scheme="ncmec-industry@2022", marking=Marking())
    rounds = 30


def ncii_scheme() -> Scheme:
    """Return what an operator would write who wants StopNCII's statuses explained: nothing of abuse."""
    dimensions: dict[str, tuple[str, ...]] = {"age_band": ("18+",)}
    values = {v: SchemeValue(value=v, title=v, dimensions=dimensions) for v in ("Active", "Received", "Unheard of")}
    by_text = {
        v: Classification(
            scheme="stopncii", version="1", region="ZZ", value=v, status=SchemeStatus.DRAFT, dimensions=dimensions
        )
        for v in values
    }
    plain = known_schemes()["copine"]
    return dataclasses.replace(plain, id="stopncii", version="1", values=values, source_names=(), _by_text=by_text)


class TestStopNCIIWriter(WriterContract):
    writer = StopNCIIWriter()
    connector = StopNCII()
    hash_set = HashSet(contributor="hotline", id="known", scheme="stopncii@1")

    def exported(self, *, is_delta: bool = False) -> Exported:
        schemes = {**known_schemes(), "stopncii": ncii_scheme()}
        return Exported({self.hash_set.name: self.hash_set}, schemes, TIME, is_delta)

    def entry(self, random: Random, number: int) -> Entry:
        entry = with_a_hash_of(super().entry(random, number), "PDQ")
        extra = entry.extra and '{"CSPFeedbacks":[{"feedbackValue":"Undefined","source":"CSP","tags":["t"]}]}'
        return msgspec.structs.replace(entry, tags=(NCII_TAG, *entry.tags), extra=extra)

    def _some_value(self) -> Classification | None:
        return ncii_scheme().resolve("Active")

    def test_streams(self) -> None:
        renumbered = writers._renumbered

        def as_ncii(entry: Entry, number: int) -> Entry:
            return msgspec.structs.replace(renumbered(entry, number), tags=(NCII_TAG,))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writers, "_renumbered", as_ncii)
            super().test_streams()

    def test_withdrawn_entries_leave_as_withdrawals_of_a_delta_only(self) -> None:
        entry = self.entry

        def classified(random: Random, number: int) -> Entry:
            return msgspec.structs.replace(entry(random, number), classification=self._some_value(), reasons=())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "entry", classified)
            super().test_withdrawn_entries_leave_as_withdrawals_of_a_delta_only()


def test_samples_are_what_they_are_taken_for() -> None:
    connectors: Mapping[str, Any] = {"te": ThreatExchange(), "ncii": StopNCII(), "stix": STIX(), "misp": MISP()}
    samples = {"te": (TE_PAGE, TE_CSV, TE_TEXT), "ncii": (NCII,), "stix": (BUNDLE,), "misp": (EVENT,)}
    for kind, texts in samples.items():
        for text in texts:
            guesses = {name: c.detect(text.encode()[: 64 * 1024], "") for name, c in connectors.items()}
            assert [name for name, guess in guesses.items() if guess] == [kind], text[:40]


@pytest.mark.parametrize(
    ("writer", "connector"),
    [
        (ThreatExchangeWriter(), ThreatExchange()),
        (StopNCIIWriter(), StopNCII()),
        (STIXWriter(), STIX()),
        (MISPWriter(), MISP()),
    ],
    ids=["threatexchange", "stopncii", "stix", "misp"],
)
def test_a_file_of_changes_cannot_be_taken_for_a_list(writer: Any, connector: Any) -> None:
    hash_set = HashSet(contributor="hotline", id="known")
    for is_delta in (False, True):
        exported = Exported({hash_set.name: hash_set}, known_schemes(), TIME, is_delta)
        target = io.BytesIO()
        list(writer.write([], target, exported, {}))
        target.seek(0)
        reasons = [item.reason for item in connector.read(target, {})]
        assert reasons == (["PARTIAL_SOURCE"] if is_delta else [])
