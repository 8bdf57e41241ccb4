"""Operations in the store, on each kind of database: turns, leases, limits, and what is forgotten when."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashhub.errors import Conflict, FailedPrecondition, LimitExceeded, NotFound, Reason, StatusCode
from hashhub.model import Actor, Failure, Operation, OperationState, Role, now
from hashhub.store import Store, operations

ADA = Actor("ada", "operator", Role.OPERATOR)
LATER = timedelta(days=1)


def contributor(name: str) -> Actor:
    return Actor(f"{name}-desk", name, Role.CONTRIBUTOR)


def start(store: Store, by: Actor = ADA, request: bytes = b"{}", request_id: str = "") -> Operation:
    return store.operations.create("FindLinks", request, by=by, request_id=request_id)


def finish(store: Store, operation: Operation, lease: str, size: int = 0) -> Operation:
    return store.operations.finish(operation.id, lease, response=b"{}", size=size, expire_time=now() + LATER)


def ended(store: Store, by: Actor = ADA, size: int = 0) -> Operation:
    started = start(store, by)
    claimed = store.operations.claim("lease")
    assert claimed is not None
    assert claimed.id == started.id
    return finish(store, claimed, "lease", size)


def test_one_after_the_other(store: Store) -> None:
    assert store.operations.claim("a") is None
    first, second = start(store), start(store)
    assert store.operations.has_waiting()
    claimed = store.operations.claim("a")
    assert claimed is not None
    assert (claimed.id, claimed.state) == (first.id, OperationState.RUNNING)
    assert store.operations.claim("b") is None  # one at a time for the whole hub
    store.operations.note_hash_sets(first.id, "a", ["beta/list", "alpha/list"])
    assert store.operations.renew(first.id, "a", 3, 10, "entries")
    told = store.operations.get(first.id)
    assert (told.done, told.total, told.doing, told.hash_sets) == (3, 10, "entries", ("alpha/list", "beta/list"))
    done = finish(store, first, "a", 7)
    assert (done.state, done.response, done.size) == (OperationState.SUCCEEDED, b"{}", 7)
    next_one = store.operations.claim("b")
    assert next_one is not None
    assert next_one.id == second.id
    assert not store.operations.has_waiting()


def test_turns_go_round_among_contributors(store: Store) -> None:
    many, other = contributor("alpha"), contributor("beta")
    for by in (many, many, other):
        start(store, by)
    order = []
    for _ in range(3):
        claimed = store.operations.claim("lease")
        assert claimed is not None
        order.append(claimed.actor.contributor)
        finish(store, claimed, "lease")
    assert order == ["alpha", "beta", "alpha"]


def test_nobody_fills_the_queue_for_others(store: Store) -> None:
    each = operations.MAX_WAITING_EACH
    names = [f"c{i}" for i in range(operations.MAX_WAITING_OF_CONTRIBUTORS // each)]
    for name in names:
        for _ in range(each):
            start(store, contributor(name))
        with pytest.raises(LimitExceeded) as refused:
            start(store, contributor(name))
        assert refused.value.retry_after
    with pytest.raises(LimitExceeded):
        start(store, contributor("one-more"))
    for _ in range(operations.MAX_WAITING - operations.MAX_WAITING_OF_CONTRIBUTORS):
        start(store)
    with pytest.raises(LimitExceeded):
        start(store)


def test_what_nobody_runs_any_more_has_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = start(store)
    monkeypatch.setattr(operations, "LEASE", timedelta(seconds=-1))
    store.operations.claim("dead")
    told = store.operations.get(operation.id)
    assert told.state is OperationState.FAILED
    assert told.failure is not None
    assert (told.failure.code, told.failure.reason) == (StatusCode.ABORTED, Reason.OPERATION_ABORTED)
    assert "start" in told.failure.message
    assert told.end_time is not None
    for attempt in (
        lambda: store.operations.renew(operation.id, "dead", 1, 1, ""),
        lambda: finish(store, operation, "dead"),
    ):
        with pytest.raises(Conflict):
            attempt()
    monkeypatch.undo()
    start(store)
    assert store.operations.claim("next") is not None


def test_a_server_that_is_alone_ends_what_its_predecessor_ran(store: Store) -> None:
    running, waiting = start(store), start(store)
    store.operations.claim("killed")
    store.operations.abandon()
    assert store.operations.get(running.id).state is OperationState.FAILED
    assert store.operations.get(waiting.id).state is OperationState.WAITING


def test_cancelled(store: Store) -> None:
    failure = Failure(code=StatusCode.CANCELLED, reason=Reason.OPERATION_CANCELLED, message="cancelled")
    running, waiting = start(store), start(store)
    store.operations.claim("a")
    assert store.operations.cancel(waiting.id, failure, now() + LATER).state is OperationState.CANCELLED
    assert store.operations.cancel(running.id, failure, now() + LATER).state is OperationState.RUNNING
    assert not store.operations.renew(running.id, "a", 0, 0, "")
    done = store.operations.finish(running.id, "a", failure=failure, expire_time=now() + LATER)
    assert done.state is OperationState.CANCELLED
    assert store.operations.cancel(running.id, failure, now()) == done
    assert store.operations.claim("b") is None


def test_only_what_has_ended_is_deleted(store: Store) -> None:
    operation = start(store)
    with pytest.raises(FailedPrecondition) as refused:
        store.operations.delete(operation.id)
    assert refused.value.reason is Reason.OPERATION_UNFINISHED
    claimed = store.operations.claim("a")
    assert claimed is not None
    finish(store, claimed, "a")
    store.operations.delete(operation.id)
    with pytest.raises(NotFound):
        store.operations.get(operation.id)


def test_a_repeated_start_is_one_operation(store: Store) -> None:
    first = start(store, request_id="r")
    assert start(store, request_id="r").id == first.id
    assert start(store, by=Actor("eve", "operator", Role.OPERATOR), request_id="r").id != first.id


def test_pages_and_whose(store: Store) -> None:
    own = [ended(store, contributor("alpha")).id for _ in range(5)]
    others = [ended(store, contributor("beta")).id, ended(store).id]
    overseer_of_alpha = ended(store, Actor("boss", "alpha", Role.OPERATOR)).id
    listed: list[str] = []
    before = 0
    while True:
        page, before = store.operations.list("alpha", 2, before)
        listed += [o.id for o in page]
        if not before:
            break
    assert listed == own[::-1]
    everything, _ = store.operations.list(None, 100, 0)
    assert [o.id for o in everything] == [overseer_of_alpha, *others[::-1], *own[::-1]]


def test_what_is_kept_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting_later = [ended(store, size=size).id for size in (40, 30, 20)]
    store.operations.expire(now(), 60)
    assert store.operations.ids() == set(waiting_later[1:])
    store.operations.expire(now() + LATER + LATER, 60)
    assert store.operations.ids() == set()
    monkeypatch.setattr(operations, "MAX_ENDED_EACH", 2)
    busy = [ended(store, contributor("alpha")).id for _ in range(3)]
    quiet = ended(store, contributor("beta")).id
    running = start(store)
    store.operations.expire(now(), 60)
    assert store.operations.ids() == {*busy[1:], quiet, running.id}
