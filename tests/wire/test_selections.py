"""What a selection, a change of many entries and a queue say, to messages and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import v1, wire
from hashhub.errors import InvalidArgument
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import (
    EntryAction,
    EntryChanges,
    EntryState,
    QueueItem,
    QueueKind,
    Selection,
    SkippedEntries,
)

SLUGS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
SETS = st.builds("{}/{}".format, SLUGS, SLUGS)
ENTRIES = st.builds("{}/{}".format, SETS, st.integers(1, 2**32 - 1))
IMPORTS = st.builds("{}/imp-{}".format, SETS, st.from_regex("[0-9a-f]{16}", fullmatch=True))
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40)
HASHES = st.sampled_from(sorted(ALGORITHMS)).flatmap(
    lambda name: st.binary(min_size=ALGORITHMS[name].digest_bytes, max_size=ALGORITHMS[name].digest_bytes).map(
        lambda digest: Hash(name, digest)
    )
)
PLACES: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    SLUGS.map(lambda x: {"contributor": x}),
    SETS.map(lambda x: {"hash_set": x}),
)


def several(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


SELECTIONS = st.builds(
    lambda place, **criteria: Selection(**place, **criteria),
    PLACES,
    names=several(ENTRIES),
    hashes=several(HASHES),
    external_ids=several(TEXTS),
    imports=several(IMPORTS),
    states=several(st.sampled_from(EntryState)),
    reasons=several(TEXTS),
    dimensions=st.dictionaries(SLUGS, several(TEXTS), max_size=2),
    tags=several(TEXTS),
    series=several(TEXTS),
    text=st.one_of(st.just(""), TEXTS),
)
COUNTS = st.integers(0, 2**40)


@given(SELECTIONS)
def test_a_selection_comes_back_as_it_was(selection: Selection) -> None:
    assert wire.selection_from_pb(wire.selection_to_pb(selection)) == selection


@given(
    st.builds(
        EntryChanges,
        action=st.sampled_from(EntryAction),
        selected=COUNTS,
        changed=COUNTS,
        pending=COUNTS,
        also=COUNTS,
        skipped=several(st.builds(SkippedEntries, reason=TEXTS, count=COUNTS, examples=several(ENTRIES))),
        examples=several(ENTRIES),
        unmatched=COUNTS,
        unmatched_examples=several(TEXTS),
        revision=COUNTS,
        validate_only=st.booleans(),
    )
)
def test_what_was_done_comes_back_as_it_was(done: EntryChanges) -> None:
    pb = wire.ENTRY_CHANGES.to_pb(done)
    assert wire.ENTRY_CHANGES.from_pb(pb, action=done.action, validate_only=done.validate_only) == done


@pytest.mark.parametrize("kind", list(QueueKind))
def test_what_waits_comes_back_as_it_was(kind: QueueKind) -> None:
    names = {QueueKind.OPEN_IMPORT: "alpha/list/imp-0123456789abcdef", QueueKind.OVERDUE: "alpha/list"}
    names |= {QueueKind.WEBHOOK_FAILING: "alpha/desk", QueueKind.DELETION_PENDING: "alpha/list"}
    item = QueueItem(
        kind=kind,
        hash_set="alpha/list",
        contributor="alpha",
        reason="UNCLASSIFIED",
        count=7,
        is_capped=True,
        name=names.get(kind, "alpha/list/12"),
        actor="desk",
    )
    assert wire.QUEUE_ITEM.from_pb(wire.QUEUE_ITEM.to_pb(item)) == item
    of_all = QueueItem(kind=kind, contributor="alpha", name="alpha")
    assert wire.QUEUE_ITEM.from_pb(wire.QUEUE_ITEM.to_pb(of_all)) == of_all


def test_all_that_is_wrong_is_told_at_once() -> None:
    pb = v1.EntrySelection(
        parent="contributors/alpha/lists/x",
        names=["contributors/alpha/hashSets/list/entries/x"],
        hashes=[v1.Hash(algorithm="MD5", digest=b"short"), v1.Hash(algorithm="CRC32", digest=b"")],
        external_ids=["", "a\0b"],
        imports=["latest"],
        states=[99],  # type: ignore[list-item]  # no such state
        reasons=["x" * 2000],
        dimensions=[v1.DimensionCriterion(dimension="act"), v1.DimensionCriterion(dimension="act")],
    )
    with pytest.raises(InvalidArgument) as refused:
        wire.selection_from_pb(pb)
    assert {v.field for v in refused.value.violations} == {
        "selection.parent", "selection.names[0]", "selection.hashes[0].digest", "selection.hashes[1].algorithm",
        "selection.external_ids[0]", "selection.external_ids[1]", "selection.imports[0]", "selection.states[0]",
        "selection.reasons[0]", "selection.dimensions[1].dimension",
    }  # fmt: skip


def test_an_action_must_be_stated() -> None:
    with pytest.raises(InvalidArgument):
        wire.ENTRY_ACTION.read(0, "action")
