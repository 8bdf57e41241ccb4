"""Entries as columns are the same entries."""

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
    sent = wire.entry_columns_to_pb(given).SerializeToString()
    assert wire.entries_from_columns_pb(v1.EntryColumns.FromString(sent)) == given


def test_nothing_there_and_back() -> None:
    assert wire.entries_from_columns_pb(wire.entry_columns_to_pb([])) == []


def test_one_without_hashes_beside_others() -> None:
    given = entries(3)
    given[0] = msgspec.structs.replace(given[0], hashes=(), state=EntryState.WITHDRAWN)
    assert wire.entries_from_columns_pb(wire.entry_columns_to_pb(given)) == given


@pytest.mark.parametrize("field", ["entry_ids", "template_indexes", "sequence_indexes", "positions"])
def test_columns_that_do_not_fit_are_refused(field: str) -> None:
    pb = wire.entry_columns_to_pb(entries(5))
    del getattr(pb, field)[-1]
    with pytest.raises(InvalidArgument, match="do not fit together"):
        wire.entries_from_columns_pb(pb)


def test_digests_that_do_not_fit_are_refused() -> None:
    pb = wire.entry_columns_to_pb(entries(5))
    pb.digests = pb.digests[:-1]
    with pytest.raises(InvalidArgument, match="do not fit together"):
        wire.entries_from_columns_pb(pb)


def test_text_that_is_no_unicode_is_refused() -> None:
    given = msgspec.structs.replace(entries(5)[0], external_id="\ud800")
    with pytest.raises(InvalidArgument, match="not valid Unicode"):
        wire.entry_columns_to_pb([given])
