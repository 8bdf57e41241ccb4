"""Out and in again: whatever a hub may hold comes back as it was, minus exactly what the losses name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import schemes
from hashhub.connector import Connector, Exported, Writer
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Classification, Entry, EntryState, Flags, HashSet, Provenance, Purpose, VideoFrame
from hashhub.testing.writers import TIME, check_round_trip, known_schemes
from hashhub_connectors.misp import MISP, MISPWriter
from hashhub_connectors.stix import STIX, STIXWriter
from hashhub_connectors.stopncii import StopNCII, StopNCIIWriter
from hashhub_connectors.threatexchange import ThreatExchange, ThreatExchangeCSVWriter, ThreatExchangeWriter
from tests.examples import examples

KNOWN = known_schemes()
REGISTRY = schemes.load()
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
VALUES: list[Classification | None] = [
    scheme.resolve(value) for scheme in REGISTRY.list() for value in scheme.values if scheme.name in
    {"vic-us@2.0", "ncmec-industry@2022", "threatexchange@1.0", "copine@2001", "interpol-baseline@1.0"}
]  # fmt: skip
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - the next line gives the zone
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000, tzinfo=UTC)
)


@st.composite
def entries(draw: st.DrawFn, connector: str) -> list[Entry]:
    many = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        names = draw(st.lists(st.sampled_from(sorted(ALGORITHMS)), min_size=1, max_size=5))
        hashes = []
        for index, name in enumerate(names):
            width = ALGORITHMS[name].digest_bytes
            hashes.append(Hash(name, (bytes([number, index]) + draw(st.binary(min_size=6, max_size=6)) * 24)[:width]))
        times = sorted(draw(st.lists(st.integers(0, 10**8), max_size=2)))
        frames = tuple(
            VideoFrame(t, draw(st.integers(0, 100)), bytes([number, 99, i]) + b"f" * 29) for i, t in enumerate(times)
        )
        hashes = draw(st.sampled_from([hashes, []])) if frames else hashes
        classification = draw(st.sampled_from([None, *VALUES]))
        is_undecided = classification is None and draw(st.booleans())
        many.append(
            Entry(
                id=number,
                contributor="hotline",
                hash_set="known",
                hashes=tuple(dict.fromkeys(hashes)),
                state=draw(st.sampled_from([EntryState.ACTIVE] * 5 + [EntryState.QUARANTINED])),
                provenance=Provenance(
                    import_id="1",
                    connector=draw(st.sampled_from([connector, "other"])),
                    connector_version="1",
                    source_digest="",
                    position="1",
                    member=draw(TEXTS),
                ),
                classification=classification,
                reasons=("UNCLASSIFIED",) if is_undecided else (),
                flags=Flags(**{n: draw(st.sampled_from([None, True, False])) for n in Flags.__struct_fields__}),
                external_id=draw(TEXTS | st.integers(0, 10**21).map(str)),
                media_type=draw(st.sampled_from(["", "video", "video/mp4", "Video/MP4", "image/png"]) | TEXTS),
                media_size=draw(st.none() | st.integers(0, 2**63 - 1)),
                series=draw(TEXTS),
                tags=tuple(dict.fromkeys(draw(st.lists(TEXTS.filter(bool), max_size=4)))),
                quality=draw(st.none() | st.integers(0, 100)),
                source_time=draw(TEXTS | st.integers(0, 10**19).map(str)),
                extra=draw(st.sampled_from(["", '{"a":1}', "no JSON", '{"CSPFeedbacks":[{"x":1}]}'])),
                expire_time=draw(st.none() | TIMES),
                frame_count=len(frames),
                frames=frames,
            )
        )
    return many


PAIRS: list[tuple[Writer, Connector]] = [
    (ThreatExchangeWriter(), ThreatExchange()),
    (ThreatExchangeCSVWriter(), ThreatExchange()),
    (StopNCIIWriter(), StopNCII()),
    (STIXWriter(), STIX()),
    (MISPWriter(), MISP()),
]


# STIX and MISP say a purpose other than the first as a tag: see their own tests.
@pytest.mark.parametrize(
    ("writer", "connector", "purpose"),
    [*((w, c, Purpose.CSAM) for w, c in PAIRS), *((w, c, Purpose.EXPLOITATIVE) for w, c in PAIRS[:3])],
    ids=lambda one: str(getattr(one, "name", one)),
)
@given(data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_what_is_written_reads_back_minus_exactly_the_losses(
    data: st.DataObject, writer: Writer, connector: Connector, purpose: Purpose
) -> None:
    hash_set = HashSet(contributor="hotline", id="known", scheme="vic-us@2.0", purpose=purpose)
    many: list[Any] = data.draw(entries(connector.name))
    check_round_trip(writer, connector, many, Exported({hash_set.name: hash_set}, KNOWN, TIME), {})
