"""The change feed: complete, in order, at any page size, and only what the reader may have."""

from __future__ import annotations

import pytest

from hashhub.errors import PermissionDenied
from hashhub.model import ChangedEntry, ChangeKind, EntryState, Marking, Principal, WithdrawalReason
from hashhub.store import LAST_ENTRY
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, item, writer


def read(
    desk: Desk, who: Principal = AUDITOR, *, page_size: int = 100, cursor: tuple[int, int] = (0, LAST_ENTRY)
) -> list[ChangedEntry]:
    """All lines behind the cursor."""
    found: list[ChangedEntry] = []
    while True:
        lines, following = desk.hub.changes.list(who, *cursor, page_size)
        if following == cursor:
            assert lines == []
            return found
        assert following > cursor
        found += lines
        cursor = following


def told(lines: list[ChangedEntry]) -> list[tuple[str, str]]:
    return [(line.kind, line.entry.provenance.position) for line in lines]


@pytest.fixture
def eventful(any_desk: Desk) -> Desk:
    """Seven files; one withdrawn, one set aside and taken back, one set aside, one suspect from the beginning."""
    desk = any_desk
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n) for n in range(1, 7)), item(7, algorithms=("MD5", "PDQ"), quality=1))
    ids = {e.provenance.position: e.id for e in desk.entries("alpha/list")}
    desk.hub.entries.withdraw(OPERATOR, "alpha", "list", ids["line 2"], WithdrawalReason.ERROR)
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", ids["line 3"])
    desk.hub.entries.release(OPERATOR, "alpha", "list", ids["line 3"])
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", ids["line 4"])
    return desk


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_pages_add_up_to_the_whole(eventful: Desk, page_size: int) -> None:
    upsert, withdraw = ChangeKind.UPSERT, ChangeKind.WITHDRAW
    lines = read(eventful, page_size=page_size)
    assert told(lines) == [
        (upsert, "line 1"), (upsert, "line 3"), (upsert, "line 5"), (upsert, "line 6"),
        (withdraw, "line 2"), (upsert, "line 3"), (withdraw, "line 4"),
    ]  # fmt: skip
    assert [line.revision for line in lines] == sorted(line.revision for line in lines)


def test_a_reader_goes_on_behind_a_revision(eventful: Desk) -> None:
    revision = eventful.hub.revision()
    eventful.contribute("alpha/list", item(8), item(9))
    assert told(read(eventful, cursor=(revision, LAST_ENTRY))) == [("UPSERT", "line 8"), ("UPSERT", "line 9")]
    assert read(eventful, cursor=(eventful.hub.revision(), LAST_ENTRY)) == []


def test_a_replacing_list_withdraws_in_the_feed(any_desk: Desk) -> None:
    any_desk.hash_set("alpha/list")
    any_desk.contribute("alpha/list", item(1), item(2))
    revision = any_desk.hub.revision()
    any_desk.contribute("alpha/list", item(2), item(3), replace=True)
    lines = read(any_desk, cursor=(revision, LAST_ENTRY))
    assert told(lines) == [("WITHDRAW", "line 1"), ("UPSERT", "line 3")]
    assert lines[0].entry.state is EntryState.WITHDRAWN
    assert lines[0].entry.reasons == ("ABSENT_FROM_LIST",)


def test_terms_decide_who_reads_what(any_desk: Desk) -> None:
    marking = Marking(recipients=("beta",), legal_basis="synthetic")
    any_desk.hash_set("alpha/shared", marking=marking)
    any_desk.hash_set("alpha/purpose", marking=Marking(permitted_purposes=("research",)))
    any_desk.contribute("alpha/shared", *(item(n) for n in range(1, 5)))
    any_desk.contribute("alpha/purpose", item(5))
    any_desk.contributor("beta")
    any_desk.contributor("gamma")
    all_of_it = {f"line {n}" for n in range(1, 6)}
    researcher = Principal(name="r", role=writer("gamma").role, contributor="gamma", purposes=("research",))
    for who, seen in (
        (OPERATOR, all_of_it),
        (AUDITOR, all_of_it),
        (writer("alpha"), all_of_it),
        (writer("beta"), all_of_it - {"line 5"}),
        (researcher, {"line 5"}),
        (writer("gamma"), set[str]()),
    ):
        for page_size in (1, 3, 100):
            assert {position for _, position in told(read(any_desk, who, page_size=page_size))} == seen
    assert read(any_desk, writer("beta"))[0].marking == marking
    with pytest.raises(PermissionDenied):
        read(any_desk, PLATFORM)


def test_a_page_looks_at_no_more_entries_than_its_size(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hash_set("alpha/hidden", marking=Marking(recipients=("beta",)))
    for n in range(6):
        desk.contribute("alpha/hidden", *(item(10 * n + i) for i in range(10)))
    desk.contributor("gamma")
    looked_at: list[int] = []
    real = desk.hub._store.get_entries

    def counting(ids: range) -> object:
        looked_at.extend(ids)
        return real(ids)

    monkeypatch.setattr(desk.hub._store, "get_entries", counting)
    lines, (_, last) = desk.hub.changes.list(writer("gamma"), 0, LAST_ENTRY, 25)
    assert (lines, len(looked_at), last) == ([], 25, looked_at[-1])
