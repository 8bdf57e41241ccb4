"""EventEffects what a token did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.config import Config
from hashhub.errors import Conflict, InvalidArgument, PermissionDenied
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    EntryState,
    EventKind,
    Group,
    HashSet,
    Marking,
    Principal,
    Retention,
    RevertedEvent,
    ReviewKind,
    Role,
    now,
    number_of,
)
from hashhub.store import IdSet
from hashhub.store.entry_transitions import EntryTransitions
from hashhub.store.event_effects import EntryStates, EventEffects
from hashhub.store.withdrawal_requests import WithdrawalRequests
from tests.hub.conftest import AUDITOR, OPERATOR, Desk, Stock, item
from tests.hub.test_entries import ALPHA, BETA, entry_of, fill, restore, withdraw
from tests.hub.test_record import history, kinds

THIEF = Principal(name="thief", role=Role.CONTRIBUTOR, contributor="alpha")
MOLE = Principal(name="mole", role=Role.OPERATOR, contributor="operator")


@pytest.fixture
def listed(any_stock: Stock) -> Desk:
    return any_stock(fill)


def revert(desk: Desk, actor: str, since: Any, **options: Any) -> list[RevertedEvent]:
    preview = desk.hub.history.revert(OPERATOR, actor, since, validate_only=True)
    before = desk.hub.revision()
    assert desk.hub.history.revert(OPERATOR, actor, since, validate_only=True) == preview
    assert desk.hub.revision() == before
    done = list(desk.hub.history.revert(OPERATOR, actor, since, comment="a stolen token", **options))
    if not options:
        assert [(x.event, x.outcome, x.reverted, x.entry_count) for x in done] == [
            (x.event, x.outcome, x.reverted, x.entry_count) for x in preview
        ]
    return done


def revert_untold(desk: Desk, actor: str, since: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo everything, by a run that is killed before it tells of it."""

    def note(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventEffects, "note", note)
        with pytest.raises(KeyboardInterrupt):
            desk.hub.history.revert(OPERATOR, actor, since, comment="x")
    assert "ACTOR_REVERTED" not in kinds(history(desk))


class TestReverting:
    def test_how_long_entries_are_kept_and_holds(self, any_desk: Desk) -> None:
        desk = any_desk
        for name in ("alpha/list", "alpha/other", "alpha/erased", "alpha/held"):
            desk.hash_set(name)
        keep = desk.hub.retention
        keep.update(OPERATOR, "alpha", "list", days=365, hold=True, comment="court order")
        keep.update(OPERATOR, "alpha", "other", days=30)
        since = now()
        keep.update(MOLE, "alpha", "held", days=1, hold=True)
        keep.update(MOLE, "alpha", "list", hold=False)
        keep.update(MOLE, "alpha", "list", days=1)
        keep.update(MOLE, "alpha", "list", days=2)
        keep.update(MOLE, "alpha", "other", days=0)
        keep.update(OPERATOR, "alpha", "other", days=90)
        keep.update(MOLE, "alpha", "erased", hold=True)
        [erased] = desk.hub.store.history.list_events(actor="mole", limit=1)
        desk.hub.history.redact(OPERATOR, erased.revision)
        done = revert(desk, "mole", since)
        assert [(x.event.subject.rpartition("/")[2], x.reverted) for x in done] == [
            ("erased", False), ("other", False), ("list", True), ("list", True), ("list", True),
            ("held", True),
        ]  # fmt: skip
        assert "is not on record" in done[0].outcome
        assert done[1].outcome == "left as it is: days was changed since"
        # Days were lengthened, shortened, began to count, and were given to what was held.
        assert ["expired meanwhile" in x.outcome for x in done[2:]] == [False, True, True, False]
        assert keep.get(OPERATOR, "alpha", "list") == Retention(days=365, hold=True)
        assert keep.get(OPERATOR, "alpha", "other") == Retention(days=90)
        assert keep.get(OPERATOR, "alpha", "erased") == Retention(hold=True)

    def test_a_stolen_token_of_a_contributor(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hash_set("alpha/list")
        desk.hash_set("beta/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 61)))
        desk.contribute("beta/list", item(100))
        since = now()
        states = {e.id: (e.state, e.reasons) for e in desk.entries("alpha/list")}
        withdraw(desk, 1, THIEF, "REQUESTED_BY_PERSON_SHOWN")
        for number in (2, 3, 4, 5, 6):
            withdraw(desk, number, THIEF)
        theirs = entry_of(desk, 100, "beta/list")
        desk.hub.reviews.create(THIEF, "beta", "list", theirs.id, ReviewKind.FALSE_POSITIVE)
        opened = desk.hub.contribute.open(THIEF, desk.open("alpha/list", replace=True))
        desk.hub.contribute.add(THIEF, opened.id, opened.batch_count, [item(10, tags=("evil",)), item(200)], [])
        desk.hub.contribute.commit(THIEF, opened.id, batch_count=1, allow_shrinking=True)
        assert desk.known(1, 2, 10, 50, 200) == [10, 200]
        with pytest.raises(PermissionDenied):
            desk.hub.history.revert(ALPHA, "thief", since, comment="x")
        with pytest.raises(InvalidArgument, match="why"):
            desk.hub.history.revert(OPERATOR, "thief", since)
        done = revert(desk, "thief", since)
        assert all(x.reverted for x in done), [(x.event.kind, x.outcome) for x in done]
        assert {e.id: (e.state, e.reasons) for e in desk.entries("alpha/list") if e.id in states} == states
        assert desk.known(1, 2, 6, 10, 50, 200) == [1, 2, 6, 10, 50]
        reviews = desk.hub.reviews.list(AUDITOR, "beta", "list", theirs.id, 10, 0)[0]
        assert [r.kind for r in reviews] == [ReviewKind.FALSE_POSITIVE, ReviewKind.SET_ASIDE]
        assert kinds(history(desk))[0] == "ACTOR_REVERTED"
        before = desk.hub.revision()
        again = desk.hub.history.revert(OPERATOR, "thief", since, comment="again")
        assert not any(x.reverted for x in again)
        assert desk.hub.revision() == before
        assert desk.contribute("alpha/list", item(1, tags=("t",))).counts.accepted == 1  # nothing holds it any more

    def test_only_withdrawals(self, listed: Desk) -> None:
        since = now()
        withdraw(listed, 1, THIEF)
        withdraw(listed, 2, ALPHA, "REQUESTED_BY_PERSON_SHOWN")
        done = listed.hub.history.revert(OPERATOR, "thief", since, withdrawals_only=True, comment="x")
        assert [x.entry_count for x in done] == [1]
        assert listed.known(1, 2) == [1]

    def test_what_others_changed_since_stays_and_is_told(self, listed: Desk) -> None:
        since = now()
        done = withdraw(listed, 1, THIEF)
        withdraw(listed, 2, THIEF, "REQUESTED_BY_PERSON_SHOWN")
        restore(listed, done)
        withdraw(listed, 1, ALPHA, "FALSE_POSITIVE", "it is one, though")
        (newest, oldest) = revert(listed, "thief", since)
        assert newest.reverted
        assert not oldest.reverted
        assert oldest.outcome == "1 entry changed by others since"
        assert listed.known(1, 2) == [2]

    def test_what_stands_replaced_is_not_restored_beside_what_took_its_place(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, external_id="one"))
        since = now()
        opened = desk.hub.contribute.open(THIEF, desk.open("alpha/list"))
        desk.hub.contribute.add(THIEF, opened.id, 0, [item(1, external_id="one", tags=("evil",))], [])
        desk.hub.contribute.commit(THIEF, opened.id, batch_count=1)
        before, after = (number_of(e.id) for e in desk.entries("alpha/list"))
        desk.hub.entries.quarantine(OPERATOR, "alpha", "list", after)
        desk.hub.entries.release(OPERATOR, "alpha", "list", after)  # looked at, and found to be right
        desk.hub.history.revert(OPERATOR, "thief", since, comment="a stolen token")
        states = {number_of(e.id): e.state for e in desk.entries("alpha/list")}
        assert states == {before: EntryState.WITHDRAWN, after: EntryState.ACTIVE}

    def test_what_was_replaced_in_two_steps_is_not_restored_beside_the_last(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, external_id="one"))
        since = now()
        opened = desk.hub.contribute.open(THIEF, desk.open("alpha/list"))
        desk.hub.contribute.add(THIEF, opened.id, 0, [item(1, external_id="one", tags=("evil",))], [])
        desk.hub.contribute.commit(THIEF, opened.id, batch_count=1)
        desk.contribute("alpha/list", item(1, external_id="one", tags=("mended",)))
        desk.hub.history.revert(OPERATOR, "thief", since, comment="a stolen token")
        entries = desk.entries("alpha/list")
        assert [e.tags for e in entries if e.state is EntryState.ACTIVE] == [("mended",)]
        assert len(entries) == 3

    def test_whom_certificates_prove_is_put_back(self, any_desk: Desk) -> None:
        desk, named = any_desk, "DNS:nl.example"
        since = now()
        desk.contributor("nl")
        for name, identities in (("machine", (named,)), ("other", ()), ("grace", ())):
            made = Principal(name=name, role=Role.CONTRIBUTOR, contributor="nl", identities=identities)
            desk.hub.tokens.create(OPERATOR, made)

        def proved(identity: str) -> list[str]:
            return [token.name for _, token in desk.hub.store.tokens.find_identities([identity])]

        for name, identity in (("machine", "DNS:thief.example"), ("other", named)):
            changed = Principal(name=name, role=Role.CONTRIBUTOR, identities=(identity,))
            desk.hub.tokens.update(MOLE, changed, ["identities"])
        assert (proved("DNS:thief.example"), proved(named)) == (["machine"], ["other"])
        assert all(line.reverted for line in revert(desk, "mole", since))
        assert (proved("DNS:thief.example"), proved(named)) == ([], ["machine"])
        stolen = Principal(name="machine", role=Role.CONTRIBUTOR)
        desk.hub.tokens.update(MOLE, stolen, ["identities"])
        desk.hub.tokens.update(
            OPERATOR, msgspec.structs.replace(stolen, name="grace", identities=(named,)), ["identities"]
        )
        [line] = desk.hub.history.revert(OPERATOR, "mole", now() - timedelta(seconds=1), comment="again")[:1]
        assert (line.reverted, proved(named)) == (False, ["grace"])
        assert "grace" in line.outcome

    def test_an_operators_stolen_token(self, desk: Desk) -> None:
        assert desk.hub.tokens.bootstrap()
        desk.hash_set("alpha/list", marking=Marking(tlp=TLP.AMBER))
        desk.contribute("alpha/list", *(item(n) for n in range(1, 6)))
        desk.hub.groups.create(OPERATOR, Group(id="allies", members=("alpha",)))
        quarantined = desk.hub.entries.quarantine(OPERATOR, "alpha", "list", entry_of(desk, 1).id)
        withdrawn = withdraw(desk, 2, OPERATOR)
        objected = entry_of(desk, 4)
        desk.contributor("beta")
        objection = desk.hub.reviews.create(BETA, "alpha", "list", objected.id, ReviewKind.FALSE_POSITIVE)
        terms = desk.hub.hash_sets.get(OPERATOR, "alpha", "list")
        since = now()
        hub = desk.hub
        hub.entries.release(MOLE, "alpha", "list", quarantined.id)
        restore(desk, withdrawn, MOLE)
        hub.entries.quarantine(MOLE, "alpha", "list", entry_of(desk, 3).id)
        hub.reviews.set_aside(MOLE, "alpha", "list", objected.id, number_of(objection.id), "hush")
        for tlp in (TLP.GREEN, TLP.CLEAR):
            hub.hash_sets.update(MOLE, HashSet(contributor="alpha", id="list", marking=Marking(tlp=tlp)), ["marking"])
        hub.groups.update(MOLE, Group(id="allies"), ["members"])
        hub.contributors.create(
            MOLE, Contributor(id="fake", display_name="F", kind=ContributorKind.NGO, jurisdiction="GB")
        )
        hub.tokens.create(MOLE, Principal(name="spare", role=Role.OPERATOR, contributor="operator"))
        hub.entries.erase(MOLE, "alpha", "list", entry_of(desk, 5).id)
        done = revert(desk, "mole", since)
        left = [(x.event.kind, x.outcome) for x in done if not x.reverted]
        assert [kind for kind, _ in left][:1] == [EventKind.ENTRY_ERASED]
        assert {kind for kind, _ in left} <= {EventKind.ENTRY_ERASED, EventKind.ENTRIES_WITHDRAWN}, left
        assert hub.hash_sets.get(OPERATOR, "alpha", "list") == terms
        assert hub.groups.get(OPERATOR, "allies").members == ("alpha",)
        assert hub.contributors.get(OPERATOR, "fake").retire_time is not None
        assert "spare" not in [t.name for t in hub.tokens.list(OPERATOR)]
        assert desk.known(1, 2, 3) == [3]
        assert entry_of(desk, 1).state is EntryState.QUARANTINED
        with pytest.raises(PermissionDenied):
            restore(desk, entry_of(desk, 2))
        aside = [r for r in hub.reviews.list(AUDITOR, "alpha", "list", objected.id, 10, 0)[0] if r.sets_aside]
        assert aside[1].sets_aside == aside[0].id

    def test_it_goes_on_where_it_was_cut_off(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 61)))
        since = now()
        for number in (1, 2, 3):
            withdraw(desk, number, THIEF)
        real = EntryTransitions.restore
        left = [1]

        def restore_once(self: EntryTransitions, *args: Any, **options: Any) -> Any:
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return real(self, *args, **options)

        monkeypatch.setattr(EntryTransitions, "restore", restore_once)
        with pytest.raises(KeyboardInterrupt):
            desk.hub.history.revert(OPERATOR, "thief", since, comment="x")
        monkeypatch.undo()
        assert desk.known(1, 2, 3) == [3]
        desk.hub.history.revert(OPERATOR, "thief", since, comment="x")
        assert desk.known(1, 2, 3) == [1, 2, 3]

    @pytest.mark.parametrize("is_cut_off", [False, True])
    def test_what_was_undone_is_not_undone_again(
        self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch, *, is_cut_off: bool
    ) -> None:
        """What a newer list of the token had replaced does not stand again, not even for a moment, nor do terms that
        come back.
        """
        desk = any_desk
        desk.hash_set("alpha/list", marking=Marking(tlp=TLP.CLEAR))
        since = now()
        desk.contribute("alpha/list", *(item(n) for n in range(1, 31)))
        desk.contribute("alpha/list", *(item(n, tags=("new",)) for n in range(1, 31)))
        for tlp in (TLP.GREEN, TLP.CLEAR):
            desk.hub.hash_sets.update(
                ALPHA, HashSet(contributor="alpha", id="list", marking=Marking(tlp=tlp)), ["marking"]
            )
        if is_cut_off:
            revert_untold(desk, "alpha-desk", since, monkeypatch)
        else:
            revert(desk, "alpha-desk", since)
        before = desk.hub.revision()
        preview = desk.hub.history.revert(OPERATOR, "alpha-desk", since, validate_only=True)
        again = desk.hub.history.revert(OPERATOR, "alpha-desk", since, comment="again")
        assert again == preview
        assert not any(x.reverted for x in again), again
        assert desk.hub.revision() == before + is_cut_off
        (told,) = [e for e in history(desk) if e.kind is EventKind.ACTOR_REVERTED]
        assert (told.facts["events"], told.facts["entries"]) == (4, 90)
        assert desk.known(*range(1, 31)) == []

    @pytest.mark.parametrize("is_cut_off", [False, True])
    def test_what_was_undone_can_be_undone_again_once_that_was_undone(
        self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch, *, is_cut_off: bool
    ) -> None:
        desk = any_desk
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 4)))
        since = now()
        withdraw(desk, 1, THIEF)
        if is_cut_off:
            revert_untold(desk, "thief", since, monkeypatch)
        else:
            revert(desk, "thief", since)
        assert desk.known(1, 2) == [1, 2]
        revert(desk, "operator", since)
        assert desk.known(1, 2) == [2]
        (done,) = revert(desk, "thief", since)
        assert done.reverted
        assert desk.known(1, 2) == [1, 2]
        told = next(e for e in history(desk) if e.kind is EventKind.ACTOR_REVERTED and e.subject == "tokens/thief")
        assert (told.facts["events"], told.facts["entries"]) == (1, 1)


class TestMeanwhile:
    """What others write while a run is between looking at entries and moving them."""

    @pytest.fixture
    def meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Return a function that has something done right behind the next look at entries, after so many others, by
        another thread.
        """
        look = EventEffects.standings

        def have_done(act: Callable[[], object], looks_before: int = 0) -> None:
            left = [False] * looks_before + [True]

            def standings(self: EventEffects, ids: IdSet) -> Iterator[EntryStates]:
                for piece in look(self, ids):
                    if threading.current_thread() is runs_in and left and left.pop(0):
                        other = threading.Thread(target=act)
                        other.start()
                        other.join()
                    yield piece

            runs_in = threading.current_thread()
            monkeypatch.setattr(EventEffects, "standings", standings)

        return have_done

    @pytest.fixture
    def stolen(self, any_stock: Stock) -> Desk:
        return any_stock(_fill_stolen)

    def test_another_run_ends_while_one_is_at_it(self, stolen: Desk, meanwhile: Callable[..., None]) -> None:
        """It would put back what the newer list had replaced, which the other run withdrew, and leave it so."""
        since = stolen.hub.hash_sets.get(OPERATOR, "alpha", "list").create_time
        assert since is not None
        meanwhile(lambda: revert_plainly(stolen, since), looks_before=1)
        with pytest.raises(Conflict, match="another revert"):
            revert_plainly(stolen, since)
        assert stolen.known(*range(1, 31)) == []
        (told,) = [e for e in history(stolen) if e.kind is EventKind.ACTOR_REVERTED]
        assert (told.facts["events"], told.facts["entries"]) == (2, 90)
        undone = [e.facts["undoes"] for e in history(stolen) if "undoes" in e.facts]
        assert len(undone) == 3
        assert not any(x.reverted for x in revert_plainly(stolen, since))

    @pytest.mark.parametrize("looks_before", range(3))
    def test_whichever_of_two_runs_is_behind_is_told_and_each_undoing_is_counted_once(
        self, stolen: Desk, meanwhile: Callable[..., None], looks_before: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        since = stolen.hub.hash_sets.get(OPERATOR, "alpha", "list").create_time
        assert since is not None

        def cut_off() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(EventEffects, "note", lambda *_, **__: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    revert_plainly(stolen, since)

        meanwhile(cut_off, looks_before)
        with pytest.raises(Conflict, match="another revert"):
            revert_plainly(stolen, since)
        revert_plainly(stolen, since)
        assert stolen.known(*range(1, 31)) == []
        (told,) = [e for e in history(stolen) if e.kind is EventKind.ACTOR_REVERTED]
        assert (told.facts["events"], told.facts["entries"]) == (2, 90)

    def test_two_hubs_revert_at_the_same_moment(self, database: str, tmp_path: Path) -> None:
        is_url = "://" in database
        config = Config(data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "")
        start = threading.Barrier(2)
        ended: list[str] = []

        def run(hub: Hub) -> None:
            start.wait(180)
            try:
                hub.history.revert(OPERATOR, "alpha-desk", since, comment="x")
                ended.append("done")
            except Conflict:
                ended.append("told")

        with Hub.open(config) as one, Hub.open(config, publisher=False) as other:
            one.start()
            desk = Desk(one)
            since = now()
            _fill_stolen(desk)
            threads = [threading.Thread(target=run, args=(hub,)) for hub in (one, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(ended) == 2
            assert "done" in ended
            assert desk.known(*range(1, 31)) == []
            told = [e for e in history(desk) if e.kind is EventKind.ACTOR_REVERTED]
            assert [(e.facts["events"], e.facts["entries"]) for e in told] == [(2, 90)]

    def test_what_somebody_withdraws_meanwhile_stays_withdrawn(
        self, listed: Desk, meanwhile: Callable[..., None]
    ) -> None:
        since = now()
        gone = withdraw(listed, 1, THIEF)
        withdraw(listed, 2, THIEF, "REQUESTED_BY_PERSON_SHOWN")

        def withdraw_anew() -> None:
            restore(listed, gone)
            withdraw(listed, 1, ALPHA, "FALSE_POSITIVE", "it is one, though")

        meanwhile(withdraw_anew, looks_before=1)
        newest, oldest = listed.hub.history.revert(OPERATOR, "thief", since, comment="x")
        assert newest.reverted
        assert (oldest.reverted, oldest.outcome) == (False, "1 entry changed by others since")
        assert listed.known(1, 2) == [2]

    def test_what_somebody_moves_meanwhile_of_a_list_is_left_and_the_rest_is_undone(
        self, any_desk: Desk, meanwhile: Callable[..., None]
    ) -> None:
        any_desk.hash_set("alpha/list")
        since = now()
        any_desk.contribute("alpha/list", *(item(n) for n in range(1, 31)))
        meanwhile(lambda: withdraw(any_desk, 7, OPERATOR))
        (done,) = any_desk.hub.history.revert(OPERATOR, "alpha-desk", since, comment="x")
        assert done.entry_count == 29
        restored = restore(any_desk, entry_of(any_desk, 7), OPERATOR)
        assert restored.state is EntryState.ACTIVE
        assert any_desk.known(*range(1, 31)) == [7]

    def test_a_request_that_somebody_agrees_to_meanwhile(self, listed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        since = now()
        withdraw(listed, 1, ALPHA)
        asked = withdraw(listed, 2, THIEF)
        assert asked.state is EntryState.ACTIVE
        look = WithdrawalRequests.made_at
        left = [1]

        def made_at(self: WithdrawalRequests, revision: int) -> list[int]:
            requests = look(self, revision)
            while left:
                left.pop()
                other = threading.Thread(target=lambda: withdraw(listed, 2, ALPHA))
                other.start()
                other.join()
            return requests

        monkeypatch.setattr(WithdrawalRequests, "made_at", made_at)
        (done,) = listed.hub.history.revert(OPERATOR, "thief", since, comment="x")
        assert (done.reverted, done.outcome) == (False, "the request does not stand any more")
        assert listed.known(2) == []


def _fill_stolen(desk: Desk) -> None:
    """A list of the token's, and one that took its place."""
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n) for n in range(1, 31)))
    desk.contribute("alpha/list", *(item(n, tags=("new",)) for n in range(1, 31)))


def revert_plainly(desk: Desk, since: Any) -> list[RevertedEvent]:
    return list(desk.hub.history.revert(OPERATOR, "alpha-desk", since, comment="x"))
