"""Imports that nobody goes on with: they end, tell what they held, and have their share of the disk until then."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hashhub.errors import Conflict, FailedPrecondition, LimitExceeded, Reason
from hashhub.hygiene import Code
from hashhub.model import Counts, Disposition, EventKind, ImportState, now
from hashhub.store import Store

if TYPE_CHECKING:
    from tests.store.conftest import Filler

SOON = timedelta(seconds=5)


def test_it_expires_and_tells_what_it_held(filled: Store, fill: Filler) -> None:
    idle = filled.imports.create_import(fill.new()).id
    filled.imports.put_batch(idle, 0, b"x" * 10, items=2000)
    filled.imports.put_batch(idle, 1, b"x" * 10, items=7)
    assert filled.imports.expire_imports(now() - SOON) == []
    (expired,) = filled.imports.expire_imports(now() + SOON)
    assert (expired.source.id, expired.source.state, expired.items) == (idle, ImportState.CANCELLED, 2007)
    assert list(filled.imports.batches(idle)) == []
    ((_, finding),) = filled.imports.findings(idle, 10)
    assert (finding.disposition, finding.reason) == (Disposition.NOTED, Code.IMPORT_EXPIRED)
    assert "2007" in finding.detail
    (event,) = filled.history.list_events(kinds=[EventKind.IMPORT_EXPIRED])
    assert (event.subject, event.facts["items"], event.facts["batches"]) == (f"imports/alpha/list/{idle}", 2007, 2)
    filled.history.verify_history(filled.database_id)
    with pytest.raises(FailedPrecondition) as caught:
        filled.imports.put_batch(idle, 2, b"x", items=1)
    assert caught.value.reason is Reason.IMPORT_CLOSED
    assert filled.imports.expire_imports(now() + SOON) == []
    # The source can be sent again: it was never committed.
    again = filled.imports.create_import(fill.new(source_digest=expired.source.source_digest))
    assert again.id != idle


def test_whoever_goes_on_is_not_cut_off(filled: Store, fill: Filler) -> None:
    """However long ago it was opened."""
    opened = filled.imports.create_import(fill.new()).id
    between = now()
    while now() == between:  # both keep milliseconds
        pass
    filled.imports.put_batch(opened, 0, b"x", items=1)
    assert filled.imports.expire_imports(between) == []
    assert filled.imports.get_import(opened).state is ImportState.OPEN


def test_one_that_is_being_committed_is_left_alone(filled: Store, fill: Filler) -> None:
    opened = filled.imports.create_import(fill.new()).id
    filled.imports.put_batch(opened, 0, b"x", items=1)
    filled.commits.begin_commit(opened)
    assert filled.imports.expire_imports(now() + SOON) == []
    filled.commits.finish_commit(opened, counts=Counts())
    assert filled.imports.expire_imports(now() + 100 * SOON) == []
    assert filled.imports.get_import(opened).state is ImportState.COMMITTED


def test_two_processes_expire_it_once(filled: Store, fill: Filler) -> None:
    for _ in range(3):
        filled.imports.put_batch(filled.imports.create_import(fill.new()).id, 0, b"x", items=1)

    def expire() -> None:
        with contextlib.suppress(Conflict):  # the other one is at it
            filled.imports.expire_imports(now() + SOON)

    threads = [threading.Thread(target=expire) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expire()
    assert len(filled.history.list_events(kinds=[EventKind.IMPORT_EXPIRED])) == 3
    assert {i.state for i in filled.imports.list_imports()} == {ImportState.CANCELLED}


def test_open_imports_are_counted_by_contributor(filled: Store, fill: Filler) -> None:
    fill.register(filled, "beta")
    opened = [filled.imports.create_import(fill.new(), most_open=3) for _ in range(3)]
    with pytest.raises(LimitExceeded) as caught:
        filled.imports.create_import(fill.new(), most_open=3)
    assert (caught.value.reason, caught.value.metadata) == (
        Reason.SHARE_EXCEEDED,
        {"share": "open_imports", "most": "3"},
    )
    assert caught.value.retry_after is None  # waiting does not help
    # Going on with one is no new one, and another contributor has its own.
    assert filled.imports.create_import(fill.new(source_digest=opened[0].source_digest), most_open=3).id == opened[0].id
    filled.imports.create_import(fill.new("beta"), most_open=3)
    filled.imports.cancel_import(opened[1].id)
    filled.imports.create_import(fill.new(), most_open=3)


def test_staged_bytes_are_counted_by_contributor(filled: Store, fill: Filler) -> None:
    fill.register(filled, "beta")
    fill.register(filled, "alpha", "other")
    first, second = (
        filled.imports.create_import(fill.new()).id,
        filled.imports.create_import(fill.new("alpha", "other")).id,
    )
    filled.imports.put_batch(first, 0, b"x" * 60, items=1, most_bytes=100)
    with pytest.raises(LimitExceeded) as caught:
        filled.imports.put_batch(second, 0, b"x" * 60, items=1, most_bytes=100)
    assert caught.value.metadata == {"share": "staged_bytes", "most": "100"}
    filled.imports.put_batch(first, 0, b"x" * 60, items=1, most_bytes=100)  # sent again: it is there already
    filled.imports.put_batch(second, 0, b"x" * 40, items=1, most_bytes=100)
    filled.imports.put_batch(filled.imports.create_import(fill.new("beta")).id, 0, b"x" * 100, items=1, most_bytes=100)
    filled.imports.cancel_import(first)
    filled.imports.put_batch(second, 1, b"x" * 60, items=1, most_bytes=100)
