"""What the columns decide, compared with the rules said for one record after the other."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hashhub.errors import FailedPrecondition, Reason
from hashhub.hashes import Hash
from hashhub.hub.intake import Batch, Intake, Stager
from hashhub.hub.intake.identity import HeldItems
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    Action,
    Disposition,
    EntryState,
    Flags,
    HashFault,
    Record,
    RecordReview,
    ReviewKind,
    Unclassified,
    WithdrawalReason,
)
from hashhub.schemes import load
from hashhub.store import FindingRun, trace_of
from hashhub.store.comparison import Keys
from hashhub.store.entry_codec import pack_hashes, unpack_hashes, unpack_reasons
from hashhub.store.schema import ENTRY_STATES, to_millis
from tests.examples import examples
from tests.hub.conftest import OPERATOR, Desk, Open, digest, item, near, writer
from tests.hub.record_by_record import Model

_numbers = count()
_desks: dict[int, Desk] = {}
_ALGORITHMS = [("MD5",), ("SHA1",), ("MD5", "SHA1"), ("SHA1", "MD5"), ("PDQ",), ("PDQ", "PHASH"), ("MD5", "PDQ")]


@st.composite
def _records(draw: st.DrawFn) -> Record:
    number = draw(st.integers(0, 3))
    hashes = [digest(name, number) for name in draw(st.sampled_from(_ALGORITHMS))]
    if draw(st.integers(0, 5)) == 0:
        hashes.append(digest(draw(st.sampled_from(["MD5", "SHA1", "PDQ"])), draw(st.integers(0, 3))))
    external_id = draw(st.sampled_from(["", "", f"id-{number}", "id-0"]))
    if draw(st.integers(0, 8)) == 0:
        return Record(
            position="",
            action=Action.WITHDRAW,
            external_id=external_id,
            hashes=tuple(hashes) if not external_id else (),
        )
    return Record(
        position="",
        hashes=tuple(hashes) if draw(st.integers(0, 9)) else (),
        external_id=external_id,
        value=draw(st.sampled_from(["1", "1", "1", "2", "", "9", "nonsense"])),
        member=draw(st.sampled_from(["", "", "one"])),
        quality=draw(st.sampled_from([None, None, 80, 10])),
        series=draw(st.sampled_from(["", "", "s"])),
        tags=draw(st.sampled_from([(), (), ("a",), ("a", "b")])),
        flags=draw(st.sampled_from([Flags(), Flags(distributed=True)])),
        source_time=draw(st.sampled_from(["", "2025-01-01"])),
        expire_time=draw(st.sampled_from([None, None, datetime(2040, 1, 1, tzinfo=UTC)])),
        region=draw(st.sampled_from(["", "", "US", "UK"])),
        faults=draw(st.sampled_from([(), (), (HashFault("x", "DIGEST_EMPTY", "none"),)])),
    )


_LISTS = st.lists(_records(), max_size=9)


def _placed(records: Iterable[Record]) -> list[Record]:
    return [
        Record(**{f: getattr(r, f) for f in Record.__struct_fields__} | {"position": f"line {i}"})
        for i, r in enumerate(records)
    ]


def _desk(open_hub: Open) -> Desk:
    """One hub for all examples of a test: each has a hash set of its own."""
    if id(open_hub) not in _desks:
        _desks.clear()
        _desks[id(open_hub)] = Desk(open_hub())
    return _desks[id(open_hub)]


def staged(records: Iterable[Record], size: int) -> list[Batch]:
    records = list(records)
    batches = []
    for start in range(0, len(records), size):
        stager = Stager()
        for record in records[start : start + size]:
            stager.add(record)
        batches.append(Batch.read(stager.staged([])))
    return batches


def compare(desk: Desk, name: str, records: list[Record], *, replace: bool, has: bool | None, size: int) -> None:
    """Decide both ways about a list, and compare all that there is to say."""
    store = desk.hub.store
    contributor, _, set_id = name.partition("/")
    hash_set = store.resources.get_hash_set(contributor, set_id)
    scheme = load().get(hash_set.scheme) if hash_set.scheme else None
    holds = HeldItems(store.holds.of_set(contributor, set_id), partial(trace_of, store.secret))
    entries = store.entries.list_entries(contributor, set_id)
    reviews = store.entries.reviews_of([e.id for e in entries])
    model = Model(hash_set, scheme, holds, entries, reviews, replace=replace, has_classifications=has)
    model.decide(records)
    batches = staged(records, size)

    def hold_by_key(keys: Iterable[Keys] | None) -> HeldItems:
        chosen = (
            store.holds.of_set(contributor, set_id)
            if keys is None
            else store.comparison.holds_about(contributor, set_id, keys)
        )
        return HeldItems(chosen, partial(trace_of, store.secret))

    intake = Intake(store, hash_set, scheme, hold_by_key, replace=replace, has_classifications=has)
    intake.decide(lambda: batches)
    first = 1_000_000
    assert intake.counts == model.counts()
    reported = intake.findings(batches, first)
    lines = [x for line in reported for x in (line.findings() if isinstance(line, FindingRun) else (line,))]
    assert lines == model.findings(first)
    assert intake.compared.superseded.tolist() == sorted(model.superseded)
    assert intake.compared.absent.tolist() == sorted(model.absent)
    assert intake.compared.withdrawn.tolist() == sorted(model.withdrawn)
    assert {(a, b) for a, b in intake.restated(first).tolist()} == model.restated(first)
    states = {code: state for state, code in ENTRY_STATES.items()}
    written = [
        (position, states[state], frozenset(unpack_hashes(hashes)), unpack_reasons(reasons))
        for new in intake.entries(batches, first)
        for position, state, hashes, reasons in zip(
            new.columns.positions, new.columns.states, new.columns.hashes, new.columns.reasons, strict=True
        )
    ]
    assert written == model.new_entries()


@settings(max_examples=examples(75), phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    lists=st.lists(st.tuples(_LISTS, st.booleans(), st.sampled_from([True, False, None])), min_size=1, max_size=3),
    scheme=st.sampled_from(["vic-us", "vic-us", ""]),
    unclassified=st.sampled_from(Unclassified),
    size=st.integers(1, 5),
    share=st.sampled_from([8, -1]),
    deed=st.tuples(st.sampled_from(["", "withdraw", "quarantine", "review", "release"]), st.integers(0, 5)),
)
def test_the_columns_decide_what_the_rules_say_of_each_record(
    open_hub: Open,
    lists: list[tuple[list[Record], bool, bool | None]],
    scheme: str,
    unclassified: Unclassified,
    size: int,
    share: int,
    deed: tuple[str, int],
) -> None:
    desk = _desk(open_hub)
    name = desk.hash_set(f"alpha/set-{next(_numbers)}", scheme=scheme, unclassified=unclassified)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hashhub.hub.intake.source.STREAMED_SHARE", share)
        for records, is_full, has in lists:
            placed = _placed(records)
            replace = is_full and all(r.action is Action.CONTRIBUTE for r in placed)
            compare(desk, name, placed, replace=replace, has=has, size=size)
            desk.contribute(name, *placed, replace=replace, allow_shrinking=True, has_classifications=has, batch=size)
            _do(desk, name, *deed)
            compare(desk, name, placed, replace=replace, has=has, size=size)


def _do(desk: Desk, name: str, deed: str, number: int) -> None:
    """Let somebody do something to an entry, as between two lists."""
    wanted = EntryState.QUARANTINED if deed == "release" else EntryState.ACTIVE
    entries = desk.entries(name, wanted)
    if not entries or not deed:
        return
    entry = entries[number % len(entries)]
    own = ("alpha", entry.hash_set, entry.id)
    if deed == "withdraw":
        desk.hub.reviews.create(OPERATOR, *own, ReviewKind.CONFIRMED)
        desk.hub.entries.withdraw(writer("alpha"), *own, WithdrawalReason.ERROR)
    elif deed == "review":
        desk.hub.reviews.create(OPERATOR, *own, ReviewKind.CONFIRMED)
    else:
        getattr(desk.hub.entries, deed)(OPERATOR, *own)


def test_what_a_list_was_decided_by_is_not_held_while_it_is_written(open_hub: Open) -> None:
    """Its exact digests, 68 bytes an item here, would be: a third of what an import holds beyond the index."""
    desk = Desk(open_hub())
    store = desk.hub.store
    desk.hash_set("one/list")
    hash_set = store.resources.get_hash_set("one", "list")
    algorithms = ("MD5", "SHA1", "SHA256")
    batches = staged((item(i, algorithms=algorithms) for i in range(20_000)), 5_000)
    tracemalloc.start()
    try:
        none = HeldItems((), partial(trace_of, store.secret))
        intake = Intake(store, hash_set, None, lambda _: none, replace=False, has_classifications=None)
        intake.decide(lambda: batches)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert intake.counts.accepted == 20_000
    assert held / 20_000 < 160, "with the digests it was 260"


ODD: dict[str, dict[str, Any]] = {
    "useless digest": {"hashes": (Hash("MD5", bytes(16)), digest("SHA1", 1))},
    "only useless digests": {"hashes": (Hash("MD5", bytes(16)),)},
    "what looks useless across two digests": {
        "hashes": (Hash("MD5", b"\x01" + bytes(15)), Hash("SHA1", bytes(19) + b"\x01")),
    },
    "blank picture": {"hashes": (digest("MD5", 1), Hash("PDQ", bytes([1, *bytes(31)])))},
    "low quality": {"algorithms": ("PDQ",), "quality": 10},
    "low quality without PDQ": {"quality": 10},
    "two digests": {"hashes": (digest("MD5", 1), digest("MD5", 2))},
    "one hash twice": {"hashes": (digest("PDQ", 1), digest("PDQ", 1))},
    "NUL": {"series": "a\0b"},
    "NUL in an id": {"external_id": "a\0b"},
    "endless": {"source_time": "t" * 1025},
    "not ASCII": {"series": "é😀", "external_id": "ß", "source_time": "ā"},
    "a review": {"reviews": (RecordReview(ReviewKind.FALSE_POSITIVE, ""),)},
    "a naive time": {"expire_time": datetime(2040, 1, 1)},  # noqa: DTZ001 - the case
    "microseconds": {"expire_time": datetime(2040, 1, 1, 0, 0, 0, 1999, tzinfo=UTC)},
    "too large": {"media_size": 1 << 70},
    "a withdrawal": {"action": Action.WITHDRAW},
}


@pytest.mark.parametrize("odd", [name for name in ODD if "useless" not in name])
def test_what_was_staged_is_read_back_of_any_items(odd: str) -> None:
    records = [item(1), item(2, **ODD[odd]), item(3), item(4, **ODD[odd]), item(5)]
    stager = Stager()
    for record in records:
        stager.add(record)
    batch = Batch.read(stager.staged([]))
    assert batch.positions.of(np.arange(5)) == [r.position for r in records]
    assert [batch.record(i).position for i in range(5)] == [r.position for r in records]
    assert [pack_hashes(batch.record(i).hashes) for i in range(5)] == batch.hashes.of(np.arange(5))
    for chosen in (np.array([], np.int64), np.array([3]), np.array([1, 2]), np.array([4, 1, 0])):
        for values in (batch.positions, batch.external_ids, batch.details, batch.hashes):
            assert values.of(chosen) == [values[i] for i in chosen.tolist()]
        assert batch.expire_times_of(chosen) == [
            None if (time := batch.record(i).expire_time) is None else to_millis(time) for i in chosen.tolist()
        ]
    assert [r.series for r in map(batch.record, (0, 2, 4))] == [r.series for r in (records[0], records[2], records[4])]


def test_a_batch_that_another_version_staged_is_refused_with_what_to_do() -> None:
    stager = Stager()
    stager.add(item(1))
    form, *columns = msgspec.msgpack.decode(stager.staged([]))
    for staged_bytes in (msgspec.msgpack.encode([form - 1, *columns]), msgspec.msgpack.encode([form]), b"\xc1"):
        with pytest.raises(FailedPrecondition, match="cancel it and import the source again") as caught:
            Batch.read(staged_bytes)
        assert caught.value.reason is Reason.IMPORT_INCOMPLETE


class TestManyOnOneItem:
    def test_an_entry_never_grows_beyond_its_limit_and_nothing_is_lost(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        hashes = [(digest("MD5", 0), *(near(digest("PDQ", n), i) for i in range(40))) for n in range(4)]
        items = [item(n, hashes=h) for n, h in enumerate(hashes)]
        done = desk.contribute("alpha/list", *items)
        entries = desk.entries("alpha/list")
        assert {h for e in entries for h in e.hashes} == {h for some in hashes for h in some}
        assert max(len(e.hashes) for e in entries) <= MAX_HASHES_PER_ENTRY
        assert (done.counts.accepted, done.counts.duplicate, done.counts.noted) == (4, 0, 3)
        assert {f.reason for f in desk.report(done)} == {"TOO_MANY_HASHES"}
        again = desk.contribute("alpha/list", *items)
        assert (again.counts.unchanged, again.counts.accepted) == (4, 0)

    def test_what_fits_is_merged(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        items = [item(n, hashes=(digest("MD5", 0), near(digest("PDQ", n // 50), n % 50))) for n in range(100)]
        done = desk.contribute("alpha/list", *items)
        assert [len(e.hashes) for e in desk.entries("alpha/list")] == [64, 38]
        assert (done.counts.accepted, done.counts.duplicate, done.counts.noted) == (2, 98, 1)

    def test_thousands_that_contradict_each_other_cost_no_more_than_they_are(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each shares its MD5 with all others, in the list and in the hash set: no pair of them is looked at."""
        desk.hash_set("alpha/list")
        many = 1_000
        items = [item(n, hashes=(digest("MD5", 0), digest("SHA1", n))) for n in range(many)]
        pairs: list[int] = []
        from hashhub.hub.intake import hash_set

        real = hash_set.common_pairs

        def counted(*links: Any) -> Any:
            pairs.append(len(made := real(*links)))
            return made

        monkeypatch.setattr(hash_set, "common_pairs", counted)
        assert desk.contribute("alpha/list", *items).counts.quarantined == many
        changed = [item(n, hashes=i.hashes, series="new") for n, i in enumerate(items)]
        done = desk.contribute("alpha/list", *changed)
        assert (done.counts.quarantined, done.counts.superseded) == (many, many)
        assert sum(pairs) <= 65 * many
        gone = desk.contribute("alpha/list", item(0, algorithms=("MD5",), action=Action.WITHDRAW, position="gone"))
        (line,) = desk.report(gone)
        assert line.disposition is Disposition.WITHDRAWN
        assert line.detail.endswith(f" and {many - 10} more")
        assert len(line.detail) < 300
