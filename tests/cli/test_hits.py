"""How a hit is told to people."""

from __future__ import annotations

import pytest

from hashhub.hits import clock, how, where
from hashhub.model import Entry, EntryMatch, EntryState, Provenance, TimeRange, VideoMatch

ENTRY = Entry(
    contributor="nl",
    hash_set="known",
    id=1,
    hashes=(),
    state=EntryState.ACTIVE,
    provenance=Provenance(import_id="", connector="", connector_version="", source_digest="", position=""),
)


def hit(algorithm: str, video: VideoMatch | None, variant: str = "", distance: int = 0) -> EntryMatch:
    return EntryMatch(
        entry=ENTRY, algorithm=algorithm, distance=distance, query_digest=b"", video=video, variant=variant
    )


def test_a_listed_video_is_told_with_the_times_of_both() -> None:
    part = VideoMatch(
        query_share=53.8, entry_share=100.0, ranges=(TimeRange(12_000, 47_900, 62_000, 97_000), TimeRange(0, 0, 9, 9))
    )
    match = hit("VPDQ", part, "frame", 4)
    assert how(match) == "VPDQ of its variant frame, at distance 4"
    assert where(match) == [
        "54 % of the video's frames, 100 % of the entry's",
        "0:12-0:47 is its 1:02-1:37",
        "0:00 is its 0:00",
    ]


def test_a_listed_picture_is_told_with_the_times_at_which_it_is_shown() -> None:
    shown = VideoMatch(query_share=3.4, entry_share=100.0, ranges=(TimeRange(3_600_000, 3_605_000, 0, 0),))
    assert where(hit("PDQ", shown)) == ["3 % of the video's frames", "1:00:00-1:00:05 shows it"]


def test_of_many_stretches_three_are_told_and_how_many_more() -> None:
    ranges = tuple(TimeRange(n * 10_000, n * 10_000, 0, 0) for n in range(16))
    _, *stretches = where(hit("PDQ", VideoMatch(query_share=10, entry_share=100, ranges=ranges)))
    assert stretches == ["0:00 shows it", "0:10 shows it", "0:20 shows it", "… and 13 more"]


def test_where_no_video_was_asked_about_there_is_no_time() -> None:
    assert where(hit("PDQ", None, "as-stored")) == []
    assert how(hit("PDQ", None, "as-stored")) == "PDQ of its reading as-stored, exactly"


@pytest.mark.parametrize(("ms", "shown"), [(0, "0:00"), (999, "0:00"), (59_999, "0:59"), (86_400_000, "24:00:00")])
def test_times_are_full_seconds(ms: int, shown: str) -> None:
    assert clock(ms) == shown
