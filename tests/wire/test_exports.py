"""Entries of an export arrive as they were sent."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from hashhub import v1, wire
from hashhub.errors import InvalidArgument
from hashhub.model import Entry, EntryState, HashSet
from hashhub.testing.writers import as_withdrawn, known_schemes, random_entry

KNOWN = known_schemes()
SETS = (HashSet(contributor="nl", id="known", scheme="vic-us@2.0"), HashSet(contributor="fr", id="other"))


def entries(seed: int) -> list[Entry]:
    random = Random(seed)
    made = [random_entry(random, n, random.choice(SETS), KNOWN, "vics") for n in range(1, random.randint(2, 40))]
    return [as_withdrawn(e) if random.random() < 0.2 else e for e in made]


@pytest.mark.parametrize("seed", range(40))
def test_there_and_back(seed: int) -> None:
    given = entries(seed)
    sent = wire.exported_to_pb(given).SerializeToString()
    assert wire.exported_from_pb(v1.ExportEntriesResponse.FromString(sent)) == given


def test_nothing_there_and_back() -> None:
    assert wire.exported_from_pb(wire.exported_to_pb([])) == []


def test_one_without_hashes_beside_others() -> None:
    given = entries(3)
    given[0] = msgspec.structs.replace(given[0], hashes=(), state=EntryState.WITHDRAWN)
    assert wire.exported_from_pb(wire.exported_to_pb(given)) == given


def test_reviews_of_an_entry_that_is_not_there_are_refused() -> None:
    pb = wire.exported_to_pb(entries(5))
    pb.reviews.add(entry_index=len(pb.entries))
    with pytest.raises(InvalidArgument, match="entry_index"):
        wire.exported_from_pb(pb)


def test_text_that_is_no_unicode_is_refused() -> None:
    given = msgspec.structs.replace(entries(5)[0], external_id="\ud800")
    with pytest.raises(InvalidArgument, match="not valid Unicode"):
        wire.exported_to_pb([given])
