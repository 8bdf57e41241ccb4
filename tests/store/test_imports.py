from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import numpy as np
import pytest
import sqlalchemy as sa

from hashhub import item
from hashhub.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, Reason, Unavailable
from hashhub.model import (
    SYSTEM,
    Classification,
    Counts,
    Disposition,
    EntryState,
    Finding,
    Flags,
    Import,
    ImportState,
    Record,
    ReviewKind,
    SchemeStatus,
    number_of,
)
from hashhub.store import FindingRun, Store, TransitionCommand, comparison, entries, leases
from hashhub.store import schema as s
from hashhub.store import stage as module
from hashhub.store.database import Database
from hashhub.store.entry_codec import pack_hashes
from tests.rows import EntryRow, pack_entries
from tests.store.conftest import entries_by_digests


def test_an_import_goes_from_open_to_committed(filled: Store, fill: Any) -> None:
    opened = filled.imports.create_import(fill.new())
    assert opened.state is ImportState.OPEN
    assert filled.imports.put_batch(opened.id, 0, b"one").batch_count == 1
    assert filled.imports.put_batch(opened.id, 1, b"two").batch_count == 2
    assert list(filled.imports.batches(opened.id)) == [b"one", b"two"]
    assert filled.commits.begin_commit(opened.id).state is ImportState.COMMITTING
    before = filled.revision()
    counts = Counts(items=1, accepted=1)
    fill.stage(filled, opened.id, [1])
    done = filled.commits.finish_commit(opened.id, counts=counts)
    assert (done.state, done.counts, done.revision) == (ImportState.COMMITTED, counts, filled.revision())
    assert done.revision > before
    assert done.commit_time is not None
    assert abs((datetime.now(UTC) - done.commit_time).total_seconds()) < 60
    assert list(filled.imports.batches(opened.id)) == []
    assert filled.imports.get_import(opened.id) == done == filled.commits.begin_commit(opened.id)


def test_every_field_of_an_entry_comes_back(filled: Store, fill: Any) -> None:
    classification = Classification(
        scheme="vic-us", version="1", region="US", value="1", status=SchemeStatus.DRAFT, dimensions={"act": ("a", "b")}
    )
    ids = filled.stage.classification_ids([classification, classification])
    assert ids == filled.stage.classification_ids([classification]) * 2
    import_id = fill.begin(filled)
    first = filled.stage.allocate_entries(import_id, 2)
    record = Record(
        position="value[3]",
        hashes=fill.hashes(1),
        external_id="their-id",
        flags=Flags(victim_identified=True, suspected=False),
        member="member",
        media_type="image/jpeg",
        media_size=123_456_789_012,
        series="series",
        tags=("t1", "t2"),
        quality=17,
        source_time="2024-01-01",
        extra='{"PrecategorizationSource":"x"}',
        expire_time=datetime(2031, 1, 2, tzinfo=UTC),
    )
    full = EntryRow(
        first,
        EntryState.QUARANTINED,
        record,
        ids[0],
        ("LOW_QUALITY",),
    )
    bare = Record(position="", hashes=fill.hashes(2))
    filled.stage.stage_entries(import_id, pack_entries([full, EntryRow(first + 1, EntryState.ACTIVE, bare)]))
    done = filled.commits.finish_commit(import_id, counts=Counts())
    entry = filled.entries.get_entry("alpha", "list", first)
    assert entry.name == f"alpha/list/{number_of(first)}"
    assert (entry.state, entry.hashes) == (full.state, record.hashes)
    assert (entry.classification, entry.reasons) == (classification, full.reasons)
    for field in item.KEPT:
        if field.entry_path == field.name:
            stated = getattr(record, field.name)
            assert stated != field.default, f"{field.name}: the test must state every field"
            assert getattr(entry, field.name) == stated
    assert (entry.create_revision, entry.update_revision) == (done.revision, done.revision)
    p = entry.provenance
    assert (p.import_id, p.connector, p.connector_version) == (done.id, done.connector, done.connector_version)
    assert (p.source_digest, p.position, p.member) == (done.source_digest, "value[3]", "member")
    plain = filled.entries.get_entry("alpha", "list", first + 1)
    assert (plain.classification, plain.flags, plain.external_id, plain.tags) == (None, Flags(), "", ())
    with pytest.raises(NotFound):
        filled.entries.get_entry("alpha", "other", first)


@pytest.mark.parametrize("replace", [False, True])
def test_the_same_source_is_one_import(filled: Store, fill: Any, replace: bool) -> None:
    new = fill.new(source_digest="same", replace=replace)
    opened = filled.imports.create_import(new)
    assert filled.imports.create_import(new) == opened
    assert filled.imports.create_import(fill.new(source_digest="same", replace=not replace)).id != opened.id
    filled.commits.begin_commit(opened.id)
    filled.commits.finish_commit(opened.id, counts=Counts())
    assert filled.imports.create_import(new).state is ImportState.COMMITTED
    cancelled = filled.imports.create_import(fill.new(source_digest="cancelled"))
    filled.imports.cancel_import(cancelled.id)
    assert filled.imports.create_import(fill.new(source_digest="cancelled")).id != cancelled.id


def test_replacing_by_an_earlier_list_again_is_a_new_import(filled: Store, fill: Any) -> None:
    def replace_by(source: str) -> Import:
        opened = filled.imports.create_import(fill.new(source_digest=source, replace=True))
        if opened.state is ImportState.OPEN:
            filled.commits.begin_commit(opened.id)
            filled.commits.finish_commit(opened.id, counts=Counts())
        return opened

    first = replace_by("a")
    assert replace_by("a").id == first.id
    replace_by("b")
    assert replace_by("a").id != first.id


def test_batches_are_stored_in_order_and_once(filled: Store, fill: Any) -> None:
    opened = filled.imports.create_import(fill.new())
    with pytest.raises(FailedPrecondition) as e:
        filled.imports.put_batch(opened.id, 1, b"two")
    assert (e.value.reason, e.value.metadata) == (Reason.IMPORT_INCOMPLETE, {"nextBatch": "0"})
    filled.imports.put_batch(opened.id, 0, b"one")
    assert filled.imports.put_batch(opened.id, 0, b"one").batch_count == 1
    with pytest.raises(Conflict):
        filled.imports.put_batch(opened.id, 0, b"other")
    filled.commits.begin_commit(opened.id)
    with pytest.raises(FailedPrecondition) as e:
        filled.imports.put_batch(opened.id, 1, b"two")
    assert e.value.reason is Reason.IMPORT_CLOSED
    with pytest.raises(NotFound):
        filled.imports.put_batch("imp-none", 0, b"")


def test_nothing_staged_is_visible(filled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN", 1)  # hashes are written with every piece
    [old] = fill.contribute(filled, [1], external_id="x")
    import_id = fill.begin(filled)
    revision = filled.revision()
    staged = fill.stage(filled, import_id, [1, 2], external_id="x")
    filled.stage.add_findings(import_id, [Finding("line 1", Disposition.NOTED, "R", "d")])
    assert fill.found(filled, 1) == [old]
    assert fill.found(filled, 2) == []
    assert filled.entries.get_entries([old, *staged]).keys() == {old}
    assert [e.id for e in filled.entries.list_entries("alpha", "list")] == [old]
    assert filled.entries.existing_by_external_ids("alpha", "list", ["x"])["x"][-1].id == old
    assert filled.entries.active_ids("alpha", "list").tolist() == [old]
    assert filled.entries.entry_count("alpha", "list") == 1
    assert filled.feeds.changes(revision + 1) == []
    assert filled.imports.findings(import_id, 10) == []
    with pytest.raises(NotFound):
        filled.transitions.withdraw(staged, "X")
    with pytest.raises(NotFound):
        filled.transitions.quarantine(staged[:1], TransitionCommand(SYSTEM, is_single=True))
    filled.commits.finish_commit(import_id, counts=Counts())
    assert fill.found(filled, 1) == [old, staged[0]]
    assert [e.id for e in filled.entries.list_entries("alpha", "list")] == [old, *staged]
    assert filled.entries.existing_by_external_ids("alpha", "list", ["x"])["x"][-1].id == staged[1]
    assert filled.entries.entry_count("alpha", "list") == 3
    assert len(filled.imports.findings(import_id, 10)) == 1


def test_a_commit_withdraws_what_it_replaces_at_the_same_revision(filled: Store, fill: Any) -> None:
    superseded, absent, withdrawn, kept = fill.contribute(filled, [1, 2, 3, 4])
    import_id = fill.begin(filled)
    [new] = fill.stage(filled, import_id, [5])
    done = filled.commits.finish_commit(
        import_id,
        counts=Counts(),
        supersede=[superseded, withdrawn],
        absent=[absent, superseded],
        withdraw=[withdrawn],
        reviews=[(new, "beta", ReviewKind.FALSE_POSITIVE, "no"), (kept, "beta", ReviewKind.CONFIRMED, "")],
    )
    entries = filled.entries.get_entries([superseded, absent, withdrawn, kept, new])
    assert {i: e.reasons for i, e in entries.items() if e.state is EntryState.WITHDRAWN} == {
        superseded: ("SUPERSEDED",),
        absent: ("ABSENT_FROM_LIST",),
        withdrawn: ("WITHDRAWN_BY_SOURCE",),
    }
    assert {e.update_revision for e in entries.values() if e.id != kept} == {done.revision}
    reviews = filled.entries.reviews_of([new, kept])
    assert [(r.author, r.kind, r.revision) for r in reviews[new]] == [
        ("beta", ReviewKind.FALSE_POSITIVE, done.revision)
    ]
    assert len(reviews[kept]) == 1
    assert {c.revision for c in filled.feeds.changes(done.revision)} == {done.revision}


def statements_of_a_commit(store: Store, fill: Any, count: int) -> int:
    """Have so many entries, all of which a list states again, expire while it is committed; return how many statements
    make it visible.
    """
    until = datetime.now(UTC) + timedelta(milliseconds=1)
    stated = fill.contribute(store, range(count), expire_time=until)
    import_id = fill.begin(store)
    assert store.transitions.expire(until + timedelta(seconds=1)) == count
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        store.commits.finish_commit(import_id, counts=Counts(), unchanged=np.array(stated))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return len(statements)


def test_what_expires_during_a_commit_is_not_read_while_others_wait(filled: Store, fill: Any) -> None:
    few = statements_of_a_commit(filled, fill, 100)
    assert statements_of_a_commit(filled, fill, 11_000) == few


def test_a_commit_leaves_alone_what_was_withdrawn_before(filled: Store, fill: Any) -> None:
    [entry_id] = fill.contribute(filled, [1])
    revision = filled.transitions.withdraw([entry_id], "FIRST")
    import_id = fill.begin(filled)
    filled.commits.finish_commit(import_id, counts=Counts(), absent=[entry_id])
    entry = filled.entries.get_entries([entry_id])[entry_id]
    assert (entry.reasons, entry.update_revision) == (("FIRST",), revision)


def test_only_one_commit_into_a_hash_set_at_a_time(database: str, fill: Any) -> None:
    one, other = Store.open(database), Store.open(database)
    fill.register(one)
    fill.register(one, "alpha", "second")
    import_id = fill.begin(one)
    waiting = one.imports.create_import(fill.new())
    for store in (one, other):
        with pytest.raises(Conflict):
            store.commits.begin_commit(import_id)
        with pytest.raises(Conflict):
            store.commits.begin_commit(waiting.id)
    with pytest.raises(Conflict):
        other.imports.cancel_import(import_id)
    with pytest.raises(Conflict):
        other.stage.allocate_entries(import_id, 1)
    fill.begin(other, "alpha", "second")
    fill.stage(one, import_id, [1])
    one.commits.finish_commit(import_id, counts=Counts())
    other.commits.begin_commit(waiting.id)
    one.close()
    other.close()


@pytest.mark.parametrize("run", [1, 10**9])
def test_a_commit_that_is_taken_over_starts_from_nothing(
    database: str, fill: Any, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUN", run)
    one, other = Store.open(database), Store.open(database)
    fill.register(one)
    import_id = fill.begin(one)
    lost = fill.stage(one, import_id, [1, 2, 3])
    one.stage.add_findings(import_id, [Finding("line 1", Disposition.NOTED, "R", "d")])
    other.leases.expire_leases()
    other.commits.begin_commit(import_id)
    # The first one is fenced off, whatever it tries.
    with pytest.raises(Conflict):
        one.stage.add_findings(import_id, [Finding("line 2", Disposition.NOTED, "R", "d")])
    with pytest.raises(Conflict):
        one.commits.finish_commit(import_id, counts=Counts())
    [kept] = fill.stage(other, import_id, [3])
    other.commits.finish_commit(import_id, counts=Counts())
    assert kept not in lost
    assert one.entries.get_entries([*lost, kept]).keys() == {kept}
    assert one.imports.findings(import_id, 10) == []
    assert {name: len(rows) for name, rows, _ in one.feeds.all_digests()} == {"MD5": 1, "PDQ": 1}
    assert {c.kind for c in one.feeds.matcher_changes(0) if c.ids.first in lost} == set()
    one.close()
    other.close()


def test_reading_the_batches_renews_the_lease(filled: Store, fill: Any) -> None:
    def lease_until() -> int:
        until: int = filled.database.fetch('SELECT max(lease_until) FROM "import"')[0][0]
        return until

    opened = filled.imports.create_import(fill.new())
    filled.imports.put_batch(opened.id, 0, b"batch")
    filled.commits.begin_commit(opened.id)
    begun = lease_until()
    assert list(filled.imports.batches(opened.id)) == [b"batch"]
    assert lease_until() == begun
    filled.leases.commits[opened.id].renewed -= 30  # as if deciding had taken half the lease
    time.sleep(0.002)
    assert list(filled.imports.batches(opened.id)) == [b"batch"]
    assert lease_until() > begun


@pytest.mark.parametrize("run", [1, 10**9])
def test_a_commit_is_cancelled_whichever_process_makes_it(
    database: str, fill: Any, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind one address there are several: it depended on which of them was asked."""
    monkeypatch.setattr(module, "RUN", run)
    one, other = Store.open(database), Store.open(database)
    fill.register(one)
    import_id = fill.begin(one)
    staged = fill.stage(one, import_id, [1, 2, 3])
    assert other.imports.cancel_import(import_id, is_asked_for=True).state is ImportState.CANCELLED
    with pytest.raises(Conflict, match="cancelled"):
        fill.stage(one, import_id, [4])
    with pytest.raises(Conflict, match="cancelled"):
        one.commits.finish_commit(import_id, counts=Counts())
    one.leases.release_commit(import_id)
    assert one.imports.get_import(import_id).state is ImportState.CANCELLED
    assert one.entries.get_entries(staged) == {}
    assert one.database.fetch("SELECT count(*) FROM hash") == [(0,)]
    again = one.imports.create_import(fill.new())
    one.commits.begin_commit(again.id)
    assert len(fill.stage(one, again.id, [1])) == 1
    one.commits.finish_commit(again.id, counts=Counts())
    one.close()
    other.close()


def test_a_released_commit_can_begin_again_at_once(filled: Store, fill: Any) -> None:
    import_id = fill.begin(filled)
    fill.stage(filled, import_id, [1])
    filled.leases.release_commit(import_id)
    filled.leases.release_commit(import_id)
    with pytest.raises(Conflict):
        fill.stage(filled, import_id, [1])
    filled.commits.begin_commit(import_id)
    fill.stage(filled, import_id, [2])
    filled.commits.finish_commit(import_id, counts=Counts())
    assert (fill.found(filled, 1), len(fill.found(filled, 2))) == ([], 1)


@pytest.mark.parametrize("then", ["begin", "delete"])
def test_a_lease_that_could_not_be_given_up_is_in_nobodys_way_in_this_process(
    filled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    import_id = fill.begin(filled)

    def away(_: Database) -> NoReturn:
        raise Unavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", away)
        with pytest.raises(Unavailable):
            filled.leases.release_commit(import_id)
    if then == "begin":
        filled.commits.begin_commit(import_id)
    else:
        filled.deletions.delete("alpha", "list", most_alone=None, comment="", by=SYSTEM)


def test_a_cancelled_import_leaves_nothing(filled: Store, fill: Any) -> None:
    import_id = fill.begin(filled)
    ids = fill.stage(filled, import_id, range(100))
    cancelled = filled.imports.cancel_import(import_id)
    assert cancelled.state is ImportState.CANCELLED
    assert filled.imports.cancel_import(import_id) == cancelled
    assert filled.entries.get_entries(ids) == {}
    assert list(filled.feeds.all_digests()) == []
    with pytest.raises(Conflict):
        fill.stage(filled, import_id, [1])
    with pytest.raises(FailedPrecondition):
        filled.commits.begin_commit(import_id)
    done = filled.imports.get_import(fill.begin(filled))
    filled.commits.finish_commit(done.id, counts=Counts())
    with pytest.raises(FailedPrecondition):
        filled.imports.cancel_import(done.id)


def test_only_allocated_ids_can_be_staged(filled: Store, fill: Any) -> None:
    import_id = fill.begin(filled)
    first = filled.stage.allocate_entries(import_id, 2)
    with pytest.raises(InvalidArgument):
        filled.stage.stage_entries(
            import_id,
            pack_entries(
                EntryRow(first + i, EntryState.ACTIVE, Record(position="", hashes=fill.hashes(i))) for i in range(3)
            ),
        )
    assert filled.stage.allocate_entries(import_id, 1) == first + 2


def test_findings_are_paged_and_filtered(filled: Store, fill: Any) -> None:
    import_id = fill.begin(filled)
    findings = [
        Finding(f"line {i}", Disposition.REJECTED if i % 3 else Disposition.ACCEPTED, "", "", i) for i in range(10)
    ]
    filled.stage.add_findings(import_id, findings[:4])
    filled.commits.finish_commit(import_id, counts=Counts(), findings=iter(findings[4:]))
    pages, after = [], -1
    while page := filled.imports.findings(import_id, 3, after):
        pages += [f for _, f in page]
        after = page[-1][0]
    assert pages == findings
    accepted = filled.imports.findings(import_id, 100, dispositions=[Disposition.ACCEPTED])
    assert [i for i, _ in accepted] == [0, 3, 6, 9]
    with pytest.raises(NotFound):
        filled.imports.findings("imp-none", 1)


def test_runs_of_findings_are_paged_and_filtered_like_lines(filled: Store, fill: Any) -> None:
    import_id = fill.begin(filled)
    unchanged, rejected = Disposition.UNCHANGED, Disposition.REJECTED
    written: list[Finding | FindingRun] = []
    for start in range(0, 600, 30):  # many more runs than are read at a time
        positions = [f"value[{i}]" for i in range(start, start + 29)]
        written.append(FindingRun(unchanged, "R", "entry a/b/", " is it", positions, np.arange(start, start + 29)))
        written.append(Finding(f"value[{start + 29}]", rejected, "S", "s", 7))
    lines = [x for line in written for x in (line.findings() if isinstance(line, FindingRun) else (line,))]
    filled.stage.add_findings(import_id, written[:9])
    assert filled.imports.findings(import_id, 10) == [], "nobody sees a line before the commit"
    filled.commits.finish_commit(import_id, counts=Counts(), findings=iter(written[9:]))
    for size in (1000, 77, 7):
        for wanted in (None, [unchanged], [rejected], [unchanged, rejected], [Disposition.NOTED]):
            pages, after = [], -1
            while page := filled.imports.findings(import_id, size, after, wanted):
                assert len(page) <= size
                pages += page
                after = page[-1][0]
            assert pages == [(i, line) for i, line in enumerate(lines) if wanted is None or line.disposition in wanted]
    again = fill.begin(filled)
    filled.stage.add_findings(again, written)
    filled.imports.cancel_import(again)
    assert filled.imports.findings(again, 10) == []


def test_imports_are_listed_the_newest_first(filled: Store, fill: Any) -> None:
    fill.register(filled, "beta")
    made = [filled.imports.create_import(fill.new(name)).id for name in ("alpha", "beta", "alpha", "alpha")]
    assert [i.id for i in filled.imports.list_imports()] == made[::-1]
    assert [i.id for i in filled.imports.list_imports("alpha", "list", 2)] == [made[3], made[2]]
    assert [i.id for i in filled.imports.list_imports("alpha", "list", 2, made[2])] == [made[0]]


def test_reading_the_source_twice_gives_the_same_classification_ids(database: str) -> None:
    def made(value: str) -> Classification:
        return Classification(
            scheme="s", version="1", region="", value=value, status=SchemeStatus.VERIFIED, dimensions={}
        )

    one, other = Store.open(database), Store.open(database)
    ids = one.stage.classification_ids([made("1"), made("2"), made("1")])
    assert ids[0] == ids[2] != ids[1]
    assert other.stage.classification_ids([made("2"), made("3")])[0] == ids[1]
    one.close()
    other.close()


def test_a_value_of_its_own_for_each_item_holds_nobody_up_and_fills_no_memory(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(number: int) -> Classification:
        return Classification(
            scheme="s", version="1", region="", value=str(number), status=SchemeStatus.VERIFIED, dimensions={}
        )

    monkeypatch.setattr(module, "CLASSIFICATIONS_KEPT", 30)
    monkeypatch.setattr(entries, "KEPT", 30)
    locked: list[object] = []
    monkeypatch.setattr(Database, "lock", lambda *_: locked.append(_))
    statements: list[str] = []
    sa.event.listen(filled.database.writer, "before_cursor_execute", lambda *e: statements.append(e[2]))
    by_number: dict[int, int] = {}
    for start in range(0, 200, 20):
        numbers = range(start, start + 40)  # half of them are new
        ids = filled.stage.classification_ids([made(number) for number in numbers])
        assert all(by_number.setdefault(number, i) == i for number, i in zip(numbers, ids, strict=True))
        assert len(filled.stage._classification_ids) <= 30
    assert len(set(by_number.values())) == len(by_number)
    assert locked == []  # under it nobody else could commit
    assert sum(statement.startswith("INSERT") for statement in statements) == 10
    for size in (20, 50):  # less and more than is at hand
        for start in range(0, 200, size):
            some = filled.entries.classifications([by_number[number] for number in range(start, start + size)])
            assert {by_number[int(c.value)]: c for c in some.values()} == some
            assert len(some) == size
            assert filled.entries.classification(by_number[start]) == made(start)
            assert len(filled.entries._classifications) <= 30


def test_of_many_imports_few_are_at_hand(filled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "KEPT", 3)
    ids = [fill.contribute(filled, [number])[0] for number in range(1000, 1010)]
    for entry_id in ids:
        entry = filled.entries.get_entries([entry_id])[entry_id]
        assert filled.imports.get_import(entry.provenance.import_id).id == entry.provenance.import_id
        assert len(filled.entries._sources) <= 3
    assert len({entry.provenance.import_id for entry in filled.entries.get_entries(ids).values()}) == 10


def test_two_that_store_the_same_classifications_at_once_get_the_same_ids(database: str) -> None:
    def made(number: int) -> Classification:
        return Classification(
            scheme="s", version="1", region="", value=str(number), status=SchemeStatus.VERIFIED, dimensions={}
        )

    stores = [Store.open(database) for _ in range(3)]
    numbers = [list(range(first, first + 300)) for first in (0, 100, 200)]
    with ThreadPoolExecutor(3) as pool:
        stored = pool.map(
            lambda store, own: store.stage.classification_ids([made(n) for n in own[::-1]]), stores, numbers
        )
        ids = [dict(zip(own[::-1], of_store, strict=True)) for own, of_store in zip(numbers, stored, strict=True)]
    assert all(ids[0][n] == ids[1][n] for n in range(100, 300))
    assert all(ids[1][n] == ids[2][n] for n in range(200, 400))
    for store in stores:
        store.close()


@pytest.mark.parametrize("count", [1, 249, 250, 751, 2001])
def test_many_entries_are_kept_as_they_were_staged(filled: Store, fill: Any, count: int) -> None:
    """They are written some at a time, so that none may be lost, come twice or get what is another's."""
    import_id = fill.begin(filled)
    first = filled.stage.allocate_entries(import_id, count)
    rows = [
        EntryRow(
            first + i,
            EntryState.ACTIVE if i % 3 else EntryState.QUARANTINED,
            Record(
                position=f"line {i}",
                hashes=fill.hashes(i)[i % 2 :],
                external_id=f"id {i}" if i % 5 else "",
                media_size=i if i % 7 else None,
            ),
            None,
            () if i % 3 else ("LOW_QUALITY",),
        )
        for i in range(count)
    ]
    filled.stage.stage_entries(import_id, pack_entries(rows))
    filled.commits.finish_commit(import_id, counts=Counts())
    entries = filled.entries.get_entries(range(first, first + count))
    assert len(entries) == count
    for row in rows:
        entry = entries[row.id]
        assert (entry.state, entry.reasons) == (row.state, row.reasons)
        assert (entry.hashes, entry.external_id) == (row.record.hashes, row.record.external_id)
        assert (entry.provenance.position, entry.media_size) == (row.record.position, row.record.media_size)
    active = [row for row in rows if row.state is EntryState.ACTIVE]
    for algorithm in ("MD5", "PDQ"):
        having = {h.digest: row.id for row in active for h in row.record.hashes if h.algorithm == algorithm}
        found = entries_by_digests(filled, algorithm, list(having))
        assert {digest: [e.id for e in entries] for digest, entries in found.items()} == {
            digest: [entry_id] for digest, entry_id in having.items()
        }


@pytest.mark.parametrize("differing", [(), (100,), (0,), (499,)])
def test_entries_that_are_alike_but_for_some_of_them_are_kept_as_they_were_staged(
    filled: Store, fill: Any, differing: tuple[int, ...]
) -> None:
    """What all of a piece share is written once; none may get it that has something else, wherever it stands."""
    import_id = fill.begin(filled)
    first = filled.stage.allocate_entries(import_id, 500)
    usual = Record(position="line", hashes=fill.hashes(1), external_id="id", media_size=5)
    other = Record(position="other", hashes=fill.hashes(2), flags=Flags(distributed=True), media_size=6)
    rows = [
        EntryRow(first + i, EntryState.QUARANTINED, other, None, ("LOW_QUALITY",))
        if i in differing
        else EntryRow(first + i, EntryState.ACTIVE, usual)
        for i in range(500)
    ]
    filled.stage.stage_entries(import_id, pack_entries(rows))
    filled.commits.finish_commit(import_id, counts=Counts())
    entries = filled.entries.get_entries(range(first, first + 500))
    for row in rows:
        entry = entries[row.id]
        assert (entry.state, entry.reasons, entry.flags) == (row.state, row.reasons, row.record.flags)
        assert (entry.hashes, entry.external_id) == (row.record.hashes, row.record.external_id)
        assert (entry.provenance.position, entry.media_size) == (row.record.position, row.record.media_size)


def test_when_one_of_two_writers_fails_nothing_of_the_run_stays(
    filled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PIECE", 3)
    numbers = range(1000, 1020)
    import_id = fill.begin(filled)
    fill.stage(filled, import_id, numbers)
    left = itertools.count()

    def failing(write: Any) -> Any:
        def fails_once(*arguments: Any, **named: Any) -> None:
            if next(left) == 10:
                raise Unavailable("the connection broke")
            write(*arguments, **named)

        return fails_once

    monkeypatch.setattr(Database, "insert_hashes", failing(Database.insert_hashes))
    with pytest.raises(Unavailable, match="broke"):
        filled.commits.finish_commit(import_id, counts=Counts())
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("pieces")]
    before = filled.database.fetch("SELECT count(*) FROM hash")[0][0]
    assert before, "the other pieces were written"
    filled.commits.begin_commit(import_id)  # which need not wait for a lease
    ids = fill.stage(filled, import_id, numbers)
    filled.commits.finish_commit(import_id, counts=Counts())
    rows = filled.database.fetch("SELECT entry FROM hash WHERE entry >= ?", (ids[0],))
    assert sorted(row[0] for row in rows) == sorted([*ids, *ids])
    having = entries_by_digests(filled, "MD5", [fill.digest(n, 16) for n in numbers])
    assert sorted(entry.id for entries in having.values() for entry in entries) == ids


def test_a_walk_that_is_left_early_leaves_no_thread_behind(
    filled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "DIGEST_PAGES", 1)
    import_id = fill.begin(filled)
    ids = [i for first in range(1000, 1020, 2) for i in fill.stage(filled, import_id, range(first, first + 2))]
    filled.commits.finish_commit(import_id, counts=Counts())
    walk = filled.comparison.stated_entries("alpha", "list")
    assert len(next(walk).ids) == 2
    del walk
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
    read = [i for page in filled.comparison.stated_entries("alpha", "list") for i in page.ids.tolist()]
    assert len(read) == len(set(read))
    assert {*ids} <= {*read}


def test_keys_are_read_of_the_entries_that_are_there(filled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "PAGE", 2)
    ids = fill.contribute(filled, range(12), external_id="item")
    later = fill.contribute(filled, range(12, 14))
    with filled.database.write() as c:  # whole pages of nothing, before what is asked for after them
        c.execute(sa.delete(s.entry).where(s.entry.c.id.between(ids[2], ids[5])))
    asked = np.array([*ids[:8], ids[9], ids[11], *later])
    pages = list(filled.comparison.keys_of(asked))
    read = {i: name for page in pages for i, name in zip(page.ids.tolist(), page.external_ids or (), strict=True)}
    assert read == {i: "" if i in later else "item" for i in asked.tolist() if i not in ids[2:6]}
    digests = [row.tobytes() for page in pages for _, _, matrix in page.shapes for row in matrix]
    assert sorted(digests) == sorted(pack_hashes(fill.hashes(number)) for number in [0, 1, 6, 7, 9, 11, 12, 13])
    assert all(page.are_active.all() for page in pages)


def test_pairs_of_numbers_are_written_as_they_are(filled: Store) -> None:
    pairs = np.array([[1, 2**62], [256, 3], [2**40 + 7, 65_535]])
    with filled.database.write() as c:
        filled.database.insert_numbers(c, s.succession, pairs[:0])
        filled.database.insert_numbers(c, s.succession, pairs)
    rows = filled.database.fetch("SELECT earlier, later FROM succession ORDER BY earlier")
    assert [list(row) for row in rows] == pairs.tolist()
