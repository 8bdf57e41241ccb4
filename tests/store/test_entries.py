from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashhub.errors import NotFound
from hashhub.model import SYSTEM, ChangeKind, Counts, EntryState, Selection
from hashhub.store import IdSet, Scope, Store, TransitionCommand
from hashhub.store import entries as entries_module
from hashhub.store import stage as module
from hashhub.store.holds import HeldItem, Origin
from tests.store.conftest import entries_by_digests
from tests.store.test_history_since import counted


def test_digests_are_found_with_all_their_entries(filled: Store, fill: Any) -> None:
    numbers = [i % 300 for i in range(1000)]
    ids = fill.contribute(filled, numbers)
    digests = [fill.digest(n) for n in range(400)]
    entries_by_digest = entries_by_digests(filled, "PDQ", digests)
    assert entries_by_digest.keys() == {fill.digest(n) for n in range(300)}
    assert [e.id for e in entries_by_digest[fill.digest(7)]] == [i for i, n in zip(ids, numbers, strict=True) if n == 7]


def test_entries_are_found_in_the_asked_states_only(filled: Store, fill: Any) -> None:
    import_id = fill.begin(filled)
    [active, withdrawn] = fill.stage(filled, import_id, [1, 1])
    [quarantined] = fill.stage(filled, import_id, [1], state=EntryState.QUARANTINED)
    filled.commits.finish_commit(import_id, counts=Counts())
    filled.transitions.withdraw([withdrawn], "X")
    by_state = {EntryState.ACTIVE: active, EntryState.QUARANTINED: quarantined, EntryState.WITHDRAWN: withdrawn}
    for state, entry_id in by_state.items():
        assert filled.entries.entry_count("alpha", "list", state) == 1
        assert filled.entries.active_ids("alpha", "list", states=[state]).tolist() == [entry_id]
        assert [e.id for e in filled.entries.list_entries("alpha", "list", [state])] == [entry_id]
    assert fill.found(filled, 1) == [active]


@pytest.mark.parametrize("read", ["select", "list"])
def test_what_is_staged_is_passed_over_once_and_not_for_each_page(
    sqlite_directory: Path, fill: Any, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    monkeypatch.setattr("hashhub.store.entry_selector.PIECE", 10)
    with closing(Store.open(sqlite_directory)) as store:
        fill.register(store)
        ids = fill.contribute(store, range(400))
        store.transitions.withdraw(ids, "X")

        def selected() -> list[int]:
            chosen = store.selector.choose(Selection(hash_set="alpha/list"), Scope(frozenset({"alpha/list"})))
            return list(chosen.ids.tolist())

        def listed() -> list[int]:
            places = [before - 1 for before in ids[::10]]
            pages = [store.entries.list_entries("alpha", "list", page_size=10, after_id=after) for after in places]
            return [entry.id for page in pages for entry in page]

        def steps() -> int:
            with counted(store) as taken:
                assert (selected if read == "select" else listed)() == ids
            return taken()

        before = steps()
        import_id = fill.begin(store)
        fill.stage(store, import_id, range(400, 4_000))
        assert steps() < 1.5 * before
        store.commits.finish_commit(import_id, counts=Counts())
        assert len(selected()) == 4_000


@pytest.mark.parametrize("keys", [1, 3, 512])
def test_hits_are_visible_active_entries_of_the_hash_sets_asked_for(
    filled: Store, fill: Any, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries_module, "HIT_KEYS", keys)
    fill.register(filled, "beta")
    numbers = [0, 1, 1, 1, 1, 1, 1, 1, 2, 5, 5, 5, 7]
    ids = fill.contribute(filled, numbers)
    theirs = fill.contribute(filled, [1, 5], "beta")
    filled.transitions.withdraw([ids[2]], "X")
    fill.stage(filled, fill.begin(filled), [1, 5])
    own, other = (key for key, _ in sorted(filled.resources.hash_set_keys().items(), key=lambda item: item[1]))
    expected = sorted(
        [(fill.digest(n), i, "alpha/list") for n, i in zip(numbers, ids, strict=True) if n != 7 and i != ids[2]]
        + [(fill.digest(n), i, "beta/list") for n, i in zip([1, 5], theirs, strict=True)]
    )
    wanted = [(fill.digest(n), key, 9) for n in range(7) for key in (own, other)]
    hits = list(filled.entries.hits_by_digests("PDQ", wanted))
    assert sorted((h.digest, h.entry_id, h.hash_set) for h in hits) == expected
    assert [filled.entries.read_entry(h) for h in hits] == [
        filled.entries.get_entries([h.entry_id])[h.entry_id] for h in hits
    ]
    few = list(filled.entries.hits_by_digests("PDQ", [(fill.digest(1), own, 2), (fill.digest(2), other, 2)]))
    assert [h.entry_id for h in few] == [ids[1], ids[3], ids[6], ids[7], 0], "of the first two one is withdrawn"
    assert list(filled.entries.hits_by_digests("PDQ", [])) == []


def test_pages_join_to_the_whole_list_while_others_write(filled: Store, fill: Any) -> None:
    fill.register(filled, "beta")
    before = fill.contribute(filled, range(50))
    fill.contribute(filled, range(10), "beta")
    seen: list[int] = []
    after = 0
    for page_size in (1, 7, 3, 100, 2, 100, 100):
        page = filled.entries.list_entries("alpha", "list", page_size=page_size, after_id=after)
        seen += [e.id for e in page]
        after = seen[-1]
        if len(seen) < 60:
            before += fill.contribute(filled, range(5))
            filled.transitions.withdraw([before[2]], "X")
    assert seen == before
    with pytest.raises(NotFound):
        filled.entries.list_entries("alpha", "none")


def test_external_ids_are_found_in_their_hash_set(filled: Store, fill: Any) -> None:
    fill.register(filled, "beta")
    [one] = fill.contribute(filled, [1], external_id="x")
    [other] = fill.contribute(filled, [1], "beta", external_id="x")
    assert filled.entries.existing_by_external_ids("alpha", "list", ["x", "y", ""])["x"][-1].id == one
    filled.transitions.withdraw([one], "X")
    assert filled.entries.existing_by_external_ids("alpha", "list", ["x"]) == {}
    assert filled.entries.existing_by_external_ids("beta", "list", ["x"])["x"][-1].id == other


def test_withdrawing_many_is_one_change_or_none(filled: Store, fill: Any) -> None:
    ids = fill.contribute(filled, range(10))
    with pytest.raises(NotFound):
        filled.transitions.withdraw([ids[0], 999], "X")
    assert filled.entries.entry_count("alpha", "list") == 10
    revision = filled.transitions.withdraw([ids[0], ids[1], ids[2], ids[5]], "X")
    rows = [
        (c.revision, c.ordinal, c.kind, filled.feeds.change_ids(c).after(0, 9)) for c in filled.feeds.changes(revision)
    ]
    assert rows == [(revision, 0, ChangeKind.WITHDRAW, [ids[0], ids[1], ids[2], ids[5]])]
    assert filled.transitions.withdraw(ids[:3], "Y") == revision
    assert filled.entries.get_entries([ids[0]])[ids[0]].reasons == ("X",)


def test_a_withdrawal_from_several_hash_sets_is_a_row_for_each(filled: Store, fill: Any) -> None:
    fill.register(filled, "beta")
    ids = fill.contribute(filled, range(4))
    others = fill.contribute(filled, range(4, 8), contributor="beta")
    revision = filled.transitions.withdraw([ids[0], others[1], ids[2], others[3]], "X")
    keys = filled.resources.hash_set_keys()
    rows = [(keys[c.hash_set], filled.feeds.change_ids(c).after(0, 9)) for c in filled.feeds.changes(revision)]
    assert rows == [("alpha/list", [ids[0], ids[2]]), ("beta/list", [others[1], others[3]])]


def test_the_feed_goes_on_behind_any_row(filled: Store, fill: Any) -> None:
    ids = fill.contribute(filled, range(10))
    [c] = filled.feeds.changes(0)
    assert (c.kind, filled.feeds.change_ids(c).after(0, 99)) == (ChangeKind.UPSERT, ids)
    assert filled.feeds.change_ids(c).after(ids[3], 2) == ids[4:6]
    assert filled.feeds.changes(c.revision, c.ordinal) == filled.feeds.changes(c.revision) == [c]
    assert filled.feeds.changes(c.revision, c.ordinal + 1) == filled.feeds.changes(c.revision + 1) == []
    for i in ids[::2]:
        filled.transitions.withdraw([i], "X")
    walked = []
    position = (0, 0)
    while page := filled.feeds.changes(*position, limit=2):
        walked += [(x.kind, x.first) for x in page]
        position = (page[-1].revision, page[-1].ordinal + 1)
    assert walked == [(ChangeKind.UPSERT, ids[0]), *((ChangeKind.WITHDRAW, i) for i in ids[::2])]


def test_an_update_of_many_is_one_row(filled: Store, fill: Any) -> None:
    ids = fill.contribute(filled, range(3000))
    revision = filled.transitions.withdraw(ids[::2], "X")
    [c] = filled.feeds.changes(revision)
    changed = filled.feeds.change_ids(c)
    assert changed.after(0, 9999) == ids[::2]
    assert filled.feeds.revisions_about(ids[1], 0, 0, 9)[0] < revision
    assert filled.feeds.revisions_about(ids[2], 0, 0, 9)[0] == revision
    assert revision not in filled.feeds.revisions_about(ids[2], revision, 0, 9)
    for size in (7, 10_000):
        digests = [
            d.tobytes()
            for x in filled.feeds.digests_of(changed, size, states=(EntryState.WITHDRAWN,))
            for d in x["MD5"]
        ]
        assert sorted(digests) == sorted(fill.digest(n, 16) for n in range(0, 3000, 2))
    sparse = IdSet.of([ids[0], ids[-2]])
    assert sum(len(x.get("PDQ", ())) for x in filled.feeds.digests_of(sparse, 9, states=(EntryState.WITHDRAWN,))) == 2


def test_matchers_get_whole_revisions(filled: Store, fill: Any) -> None:
    ids = fill.contribute(filled, range(20))
    filled.transitions.withdraw(ids[::2], "X")
    changes = []
    revision = 0
    while page := filled.feeds.matcher_changes(revision, 1):
        changes += page
        revision = page[-1].revision
    assert [c.kind for c in changes] == ["STAGED", "UPSERT", "WITHDRAW"]
    staged, upsert = changes[:2]
    assert staged.ids.after(0, 99) == upsert.ids.after(0, 99) == ids
    assert staged.import_key == upsert.import_key != 0
    filled.transitions.quarantine([ids[1]], TransitionCommand(SYSTEM))
    filled.transitions.release([ids[1]], TransitionCommand(SYSTEM))
    last = filled.feeds.matcher_changes(revision)
    assert [(x.kind, x.ids.first, x.import_key) for x in last] == [("WITHDRAW", ids[1], 0), ("UPSERT", ids[1], 0)]


def rows(*digests: bytes) -> list[list[int]]:
    return [list(d) for d in sorted(digests)]


def test_digests_of_a_range_are_distinct_and_of_the_asked_states(filled: Store, fill: Any) -> None:
    ids = fill.contribute(filled, [1, 2, 1, 3, 4])
    filled.transitions.withdraw([ids[1]], "X")
    digests_by_algorithm = filled.feeds.digests_of_range(ids[0], ids[3])
    assert digests_by_algorithm.keys() == {"MD5", "PDQ"}
    assert digests_by_algorithm["PDQ"].tolist() == rows(fill.digest(1), fill.digest(3))
    assert digests_by_algorithm["MD5"].dtype == np.uint8
    assert digests_by_algorithm["MD5"].shape == (2, 16)
    gone = filled.feeds.digests_of_range(ids[0], ids[3], states=[EntryState.WITHDRAWN])
    assert gone["PDQ"].tolist() == rows(fill.digest(2))
    assert filled.feeds.digests_of_range(900, 901) == {}


@pytest.mark.parametrize("run", [1, 10**9])
def test_a_matcher_can_tell_what_a_withdrawal_took_from_a_staged_import(
    filled: Store, fill: Any, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It drops a digest when its last visible entry is withdrawn; a staged entry's must come back with the commit.
    monkeypatch.setattr(module, "RUN", run)
    [before, old] = fill.contribute(filled, [1, 2])
    filled.transitions.withdraw([before], "X")
    import_id = fill.begin(filled)
    revision = filled.revision()
    fill.stage(filled, import_id, [2])
    filled.transitions.withdraw([old], "X")
    filled.commits.finish_commit(import_id, counts=Counts())
    staged, withdraw, upsert = filled.feeds.matcher_changes(revision)
    assert (staged.kind, withdraw.kind, upsert.kind) == ("STAGED", "WITHDRAW", "UPSERT")
    [gone] = filled.feeds.withdrawn_while_staged(upsert.import_key, upsert.revision)
    assert gone.after(0, 9) == [old]
    assert filled.feeds.still_active("PDQ", [fill.digest(2), fill.digest(1)]).tolist() == [True, False]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_all_digests_are_those_of_active_entries_once_each(filled: Store, fill: Any, chunk: int) -> None:
    ids = fill.contribute(filled, [1, 2, 3, 1, 2, 4, 5])
    filled.transitions.withdraw([ids[0], ids[2]], "X")  # 1 has another entry, 3 has not
    filled.transitions.quarantine([ids[5]], TransitionCommand(SYSTEM))
    import_id = fill.begin(filled)
    fill.stage(filled, import_id, [6])
    filled.leases.release_commit(import_id)
    fill.contribute(filled, [7])
    import_id = fill.begin(filled)
    fill.stage(filled, import_id, [9, 8, 9, 1])  # announced, and their hashes not written
    seen: dict[str, list[list[int]]] = {}
    for algorithm, part, _ in filled.feeds.all_digests(chunk):
        assert 0 < len(part) <= chunk
        seen.setdefault(algorithm, []).extend(part.tolist())
    assert seen["PDQ"] == rows(*(fill.digest(n) for n in (1, 2, 5, 6, 7, 8, 9)))
    assert seen["MD5"] == rows(*(fill.digest(n, 16) for n in (1, 2, 5, 6, 7, 8, 9)))


def test_a_digest_is_found_through_the_index(sqlite_directory: Any, fill: Any) -> None:
    store = Store.open(sqlite_directory)
    fill.register(store)
    fill.contribute(store, range(100))
    statements: list[str] = []
    c = sqlite3.connect(sqlite_directory / "hashhub.db")
    plan = c.execute(
        "EXPLAIN QUERY PLAN SELECT e.id FROM hash h JOIN entry e ON e.id = h.entry WHERE h.algorithm = ? AND h.digest "
        "IN (?) "
        "AND e.state IN (1) ORDER BY h.digest, h.entry",
        (4, b""),
    )
    statements = [row[3] for row in plan]
    assert statements == [
        "SEARCH h USING PRIMARY KEY (algorithm=? AND digest=?)",
        "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)",
    ]
    c.close()
    store.close()


def test_an_item_is_held_without_an_entry_until_that_is_lifted(filled: Store, fill: Any) -> None:
    fill.register(filled, "beta")
    first, second, third = fill.contribute(filled, [1, 2, 3])
    everywhere = HeldItem("alpha", "", Origin.OPERATOR, frozenset({b"a" * 16, b"b" * 16}))
    in_the_list = [HeldItem("alpha", "list", o, frozenset({b"c" * 16})) for o in (Origin.CONTRIBUTOR, Origin.SOURCE)]
    for items in ([everywhere], in_the_list):
        filled.holds.hold_items(items, by=SYSTEM, reason="TOLD", facts={})
    held = filled.holds.of_set("alpha", "list")
    assert [(h.entry_id < 0, h.hash_set, h.effect, h.traces) for h in held] == [
        (True, "list", EntryState.WITHDRAWN, in_the_list[0].traces),
        (True, "list", EntryState.QUARANTINED, in_the_list[0].traces),
        (True, "", EntryState.QUARANTINED, everywhere.traces),
    ]
    assert len({h.entry_id for h in held}) == 3
    assert not any(h.is_of_erased for h in held)
    assert filled.holds.of_set("beta", "list") == []
    filled.deletions.erase(first, by=SYSTEM)
    assert len(filled.holds.erased_traces(first)) == 1
    assert filled.holds.erased_traces(second) == frozenset()
    fill.stage(filled, fill.begin(filled), [4])  # nobody sees it yet
    filled.transitions.quarantine([third], TransitionCommand(SYSTEM))
    assert {x.entry_id: x.hashes[-1].digest for x in filled.holds.live_items("alpha", "list")} == {
        second: fill.digest(2),
        third: fill.digest(3),
    }
    filled.transitions.release([third], TransitionCommand(SYSTEM), lift=[h.entry_id for h in held])
    # A release ends what kept the item in quarantine, and not what its source withdrew.
    left = filled.holds.of_set("alpha", "list")
    assert [(h.entry_id, h.effect, h.is_of_erased) for h in left] == [
        (held[0].entry_id, EntryState.WITHDRAWN, False),
        (first, EntryState.WITHDRAWN, True),
    ]
