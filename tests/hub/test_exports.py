"""What leaves in a file: for whom, of which revision, on whose record."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest

from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Reason
from hashhub.hub import access
from hashhub.hub.access import DisclosureChannel, may_export, permits
from hashhub.hub.exports import ExportSelection, StartedExport
from hashhub.model import (
    TLP,
    Action,
    Entry,
    EntryState,
    Event,
    EventKind,
    Group,
    HashSet,
    Marking,
    Principal,
    Purpose,
    ReviewKind,
    Role,
    WithdrawalReason,
    now,
)
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, item, writer

AT: Final = now()
OPEN: Final = Marking(tlp=TLP.CLEAR, bulk=True)
GROUPS: Final = {"allies": Group(id="allies", members=("beta",))}


def taken(export: StartedExport, who: Principal = OPERATOR) -> list[Entry]:
    return [e for piece in export.pieces(lambda: who) for e in piece]


def begin(desk: Desk, who: Principal = OPERATOR, *sets: str, **more: Any) -> StartedExport:
    given = {k: more.pop(k) for k in ("policy", "position") if k in more}
    return desk.hub.exports.begin(who, ExportSelection(hash_sets=sets, **given), **more)


def positions(entries: list[Entry]) -> list[str]:
    return [e.provenance.position for e in entries]


def events(desk: Desk) -> list[Event]:
    listed = desk.hub.history.list(OPERATOR, "", "", None, 100, 0)[0]
    return [e for e in listed if e.kind is EventKind.ENTRIES_EXPORTED]


class TestTerms:
    def test_the_whole_table(self) -> None:
        """Whoever hands it on, the terms decide as to somebody outside; only its own contributor may always."""
        combinations = itertools.product(
            TLP, (False, True), (False, True), ((), ("contributors/beta",), ("groups/allies",), ("tokens/app",)),
            ((), ("x",)), (None, AT - timedelta(days=1)),
        )  # fmt: skip
        outcomes: set[bool] = set()
        for label, bulk, redistribution, recipients, purposes, expires in combinations:
            if label is TLP.RED and not recipients:
                continue
            marking = Marking(
                tlp=label, bulk=bulk, redistribution=redistribution, recipients=recipients, permitted_purposes=purposes,
                expire_time=expires,
            )  # fmt: skip
            hash_set = HashSet(contributor="alpha", id="list", marking=marking)
            leaves = (
                bulk
                and not purposes
                and not recipients
                and expires is None
                and (label is TLP.CLEAR or (redistribution and label in {TLP.GREEN, TLP.AMBER}))
            )
            for role in (Role.OPERATOR, Role.AUDITOR, Role.CONSUMER):
                who = Principal(name="o", role=role, contributor="operator")
                assert may_export(who, hash_set, GROUPS, AT) is leaves, (role, marking)
            for role in Role:
                assert may_export(Principal(name="a", role=role, contributor="alpha"), hash_set, GROUPS, AT)
            # For a member: what one of its tokens may list by itself, whatever the operator may see.
            operator = Principal(name="o", role=Role.OPERATOR, contributor="operator")
            app = Principal(name="app", role=Role.CONSUMER, contributor="beta", purposes=("x",))
            expected = permits(app, hash_set, GROUPS, DisclosureChannel.LIST, AT)
            assert may_export(operator, hash_set, GROUPS, AT, member="beta", receivers=(app,)) is expected
            boss = msgspec.structs.replace(app, role=Role.OPERATOR, purposes=())
            unpowered = permits(
                msgspec.structs.replace(boss, role=Role.CONSUMER), hash_set, GROUPS, DisclosureChannel.LIST, AT
            )
            assert may_export(operator, hash_set, GROUPS, AT, member="beta", receivers=(boss,)) is unpowered
            assert not may_export(operator, hash_set, GROUPS, AT, member="beta", receivers=())
            assert may_export(operator, hash_set, GROUPS, AT, member="alpha", receivers=())
            # Somebody who is neither: only what it may export itself, and the member may list.
            stranger = Principal(name="s", role=Role.CONTRIBUTOR, contributor="gamma")
            both = expected and permits(stranger, hash_set, GROUPS, DisclosureChannel.EXPORT, AT)
            assert may_export(stranger, hash_set, GROUPS, AT, member="beta", receivers=(app,)) is both
            outcomes |= {leaves, expected, both}
        assert outcomes == {False, True}

    def test_an_operator_cannot_let_amber_leave(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=Marking(tlp=TLP.AMBER, bulk=True))
        desk.contribute("alpha/list", item(1))
        with pytest.raises(
            PermissionDenied, match="let nothing leave by this token for somebody outside; say whom"
        ) as no:
            begin(desk, OPERATOR, "alpha/list")
        assert no.value.reason is Reason.EXPORT_NOT_ALLOWED
        with pytest.raises(PermissionDenied, match="for Politie; have it exported by its contributor's own token"):
            begin(desk, OPERATOR, "alpha/list", recipient="Politie")
        assert not events(desk)
        assert positions(taken(begin(desk, writer("alpha"), "alpha/list"), writer("alpha"))) == ["line 1"]

    @pytest.mark.parametrize("who", [PLATFORM, writer("beta")])
    def test_what_the_caller_may_not_see_is_as_if_it_did_not_exist(self, desk: Desk, who: Principal) -> None:
        desk.contributor("beta")
        desk.hash_set("alpha/secret", marking=Marking(tlp=TLP.GREEN, redistribution=True))  # not in bulk
        desk.contribute("alpha/secret", item(1))
        errors = []
        for name in ("alpha/secret", "alpha/nothing", "nobody/nothing"):
            with pytest.raises(NotFound) as refused:
                begin(desk, who, name)
            errors.append(refused.value.message.replace(name, ""))
        assert len(set(errors)) == 1
        assert not events(desk)

    def test_tells_only_of_what_the_caller_may_see(self, desk: Desk) -> None:
        desk.contributor("beta")
        desk.hash_set("alpha/open", marking=OPEN)
        desk.hash_set("alpha/shown", marking=Marking(tlp=TLP.GREEN, bulk=True))
        desk.hash_set("alpha/secret", marking=Marking(tlp=TLP.RED, recipients=("contributors/gamma",), bulk=True))
        for n, name in enumerate(("alpha/open", "alpha/shown", "alpha/secret")):
            desk.contribute(name, item(n + 1), item(n + 11))
        for_beta = begin(desk, writer("beta"), policy="any")
        assert [s.name for s in for_beta.hash_sets] == ["alpha/open"]
        assert for_beta.left_out == (("alpha/shown", 2),)
        assert begin(desk, AUDITOR, policy="any").left_out == (("alpha/secret", 2), ("alpha/shown", 2))

    def test_a_member_gets_what_it_may_list_and_is_asked_for_by_name(self, desk: Desk) -> None:
        desk.contributor("beta")
        desk.hash_set("alpha/list", marking=Marking(tlp=TLP.AMBER, bulk=True))
        desk.contribute("alpha/list", item(1))
        with pytest.raises(PermissionDenied):  # beta has no token that could take it
            begin(desk, OPERATOR, "alpha/list", recipient="contributors/beta")
        desk.hub.tokens.create(OPERATOR, Principal(name="beta-app", role=Role.CONSUMER, contributor="beta"))
        assert len(taken(begin(desk, OPERATOR, "alpha/list", recipient="contributors/beta"))) == 1
        with pytest.raises(NotFound, match="no contributor 'unknown'"):
            begin(desk, OPERATOR, "alpha/list", recipient="contributors/unknown")
        desk.hub.contributors.retire(OPERATOR, "beta", withdraw_entries=False)
        with pytest.raises(FailedPrecondition, match="retired"):
            begin(desk, OPERATOR, "alpha/list", recipient="contributors/beta")

    def test_terms_that_change_meanwhile_end_it(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=OPEN)
        desk.contribute("alpha/list", *(item(n) for n in range(2_500)))
        pieces = begin(desk, OPERATOR, "alpha/list").pieces(lambda: OPERATOR)
        assert len(next(pieces)) == 2_000
        closed = HashSet(contributor="alpha", id="list", marking=Marking(tlp=TLP.AMBER, bulk=True))
        desk.hub.hash_sets.update(writer("alpha"), closed, ["marking.tlp"])
        with pytest.raises(PermissionDenied, match="changed meanwhile") as no:
            next(pieces)
        assert no.value.reason is Reason.EXPORT_NOT_ALLOWED

    def test_a_token_that_ends_meanwhile_ends_it(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=OPEN)
        desk.contribute("alpha/list", item(1))

        def ended() -> Principal:
            raise PermissionDenied("the token has ended")

        with pytest.raises(PermissionDenied, match="has ended"):
            next(begin(desk, OPERATOR, "alpha/list").pieces(ended))


class TestRecord:
    def test_an_event_for_each_hash_set_before_anything_leaves(self, desk: Desk) -> None:
        for name in ("alpha/one", "alpha/two", "beta/three"):
            desk.hash_set(name, marking=OPEN)
            desk.contribute(name, item(len(name)), item(100 + len(name)))
        export = begin(desk, OPERATOR, "alpha/one", "beta/three", file_format="vics", recipient="the prosecutor")
        recorded = events(desk)
        assert {e.subject for e in recorded} == {"hash-sets/alpha/one", "hash-sets/beta/three"}
        for event in recorded:
            assert event.actor.name == OPERATOR.name
            assert event.facts == {"format": "vics", "revision": export.revision, "entries": 2}
            assert event.details == {"recipient": "the prosecutor"}
        # Whose entries they are reads it, without the token's name; nobody else does.
        theirs = desk.hub.history.list(writer("beta"), "", "", None, 100, 0)[0]
        (told,) = [e for e in theirs if e.kind is EventKind.ENTRIES_EXPORTED]
        assert (told.subject, told.actor.name) == ("hash-sets/beta/three", "")
        assert len(taken(export)) == 4

    def test_what_left_cannot_be_called_back(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=OPEN)
        desk.contribute("alpha/list", item(1))
        begin(desk, writer("alpha"), "alpha/list")
        outcomes = list(desk.hub.history.revert(OPERATOR, "alpha-desk", AT - timedelta(days=1), validate_only=True))
        assert [o.outcome for o in outcomes if o.event.kind is EventKind.ENTRIES_EXPORTED] == [
            "what has left the hub cannot be called back; tell whoever has the file"
        ]


class TestRevision:
    def test_what_stands_and_nothing_else(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hash_set("alpha/list", scheme="vic-us", marking=OPEN)
        desk.contribute("alpha/list", *(item(n, value="1") for n in range(1, 5)), item(5))  # 5 has no value
        first, second = desk.entries("alpha/list", EntryState.ACTIVE)[:2]
        desk.hub.entries.withdraw(writer("alpha"), "alpha", "list", first.id, WithdrawalReason.ERROR)
        desk.hub.entries.quarantine(OPERATOR, "alpha", "list", second.id)
        desk.contribute("alpha/list", item(3, value="2"))  # takes the place of what was said of 3
        export = begin(desk, OPERATOR, "alpha/list")
        entries = taken(export)
        assert sorted((e.provenance.position, e.classification.value) for e in entries if e.classification) == [
            ("line 3", "2"),
            ("line 4", "1"),
        ]
        assert export.entry_count == len(entries) == 2

    def test_an_import_in_the_middle_is_not_in_it_and_loses_nothing(self, any_desk: Desk) -> None:
        """What a newer list replaces while a file is written is still in the file: it was listed all the time."""
        desk = any_desk
        desk.hash_set("alpha/list", scheme="vic-us", marking=OPEN, unclassified="LISTED")  # type: ignore[arg-type]
        old = [item(n, value="1") for n in range(2_499)]
        desk.contribute("alpha/list", *old, item(2_499), has_classifications=True)
        export = begin(desk, OPERATOR, "alpha/list")
        pieces = export.pieces(lambda: OPERATOR)
        entries = next(pieces)
        desk.contribute(
            "alpha/list", *(item(n, value="2") for n in range(2_600)), replace=True, has_classifications=True
        )
        entries += [e for piece in pieces for e in piece]
        assert len(entries) == 2_500
        assert {e.classification.value for e in entries if e.classification} == {"1"}
        assert {e.state for e in entries} == {EntryState.ACTIVE}
        assert [e.reasons for e in entries if e.classification is None] == [("UNCLASSIFIED",)]
        later = begin(desk, OPERATOR, position=export.position)
        changed = taken(later)
        assert len([e for e in changed if e.state is EntryState.WITHDRAWN]) == 2_500
        assert len([e for e in changed if e.state is EntryState.ACTIVE]) == 2_600

    def test_a_withdrawal_in_the_middle_is_out_at_once(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hash_set("alpha/list", marking=OPEN)
        desk.contribute("alpha/list", *(item(n, external_id=f"x{n}") for n in range(2_500)))
        export = begin(desk, OPERATOR, "alpha/list")
        pieces = export.pieces(lambda: OPERATOR)
        entries = next(pieces)
        last = desk.hub.entries.list(AUDITOR, "alpha", "list", (), 1000, entries[-1].id)[0]
        by_hand, quarantined, by_source = last[10:13]
        desk.hub.entries.withdraw(writer("alpha"), "alpha", "list", by_hand.id, WithdrawalReason.ERROR)
        desk.hub.entries.quarantine(OPERATOR, "alpha", "list", quarantined.id)
        desk.contribute("alpha/list", item(9_999, action=Action.WITHDRAW, external_id=by_source.external_id, hashes=()))
        entries += [e for piece in pieces for e in piece]
        gone = {by_hand.id, quarantined.id, by_source.id}
        assert len(entries) == 2_497
        assert not gone & {e.id for e in entries}
        changed = taken(begin(desk, OPERATOR, position=export.position))
        assert {e.id: e.state for e in changed} == dict.fromkeys(gone, EntryState.WITHDRAWN)

    def test_changes_add_up_to_the_full_list(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=OPEN)
        held: dict[int, Entry] = {}
        position = ""

        def take(export: StartedExport) -> None:
            nonlocal position
            for e in taken(export):
                held.pop(e.id, None) if e.state is EntryState.WITHDRAWN else held.update({e.id: e})
            position = export.position

        desk.contribute("alpha/list", *(item(n) for n in range(10)))
        take(begin(desk, OPERATOR, "alpha/list"))
        steps: list[Callable[[], object]] = [
            lambda: desk.contribute("alpha/list", *(item(n) for n in range(5, 20)), replace=True),
            lambda: desk.hub.entries.withdraw(
                writer("alpha"), "alpha", "list", min(held), WithdrawalReason.FALSE_POSITIVE
            ),
            lambda: desk.hub.entries.quarantine(OPERATOR, "alpha", "list", max(held)),
            lambda: desk.contribute("alpha/list", item(7, series="other")),
            lambda: None,
        ]
        for step in steps:
            step()
            take(begin(desk, OPERATOR, position=position))
            assert held.keys() == {e.id for e in desk.entries("alpha/list", EntryState.ACTIVE)}
        assert not taken(begin(desk, OPERATOR, position=position))

    def test_a_position_is_of_its_token_and_of_whole_feeds_only(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=OPEN)
        desk.contribute("alpha/list", *(item(n) for n in range(20)))
        mirror = Principal(name="m", role=Role.CONSUMER, may_mirror=True)
        partly = desk.hub.changes.page(mirror, page_size=5)
        with pytest.raises(InvalidArgument, match="midst of the feed"):
            begin(desk, mirror, position=partly.position)
        whole = desk.hub.changes.page(mirror)
        assert whole.is_complete
        assert taken(begin(desk, mirror, position=whole.position), mirror) == []
        for wrong in ("nonsense", begin(desk, OPERATOR, "alpha/list").position):
            with pytest.raises(InvalidArgument, match="damaged, or was given to another token"):
                begin(desk, mirror, position=wrong)

    def test_what_outsiders_are_not_told_is_in_no_file(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=OPEN)
        desk.contribute("alpha/list", item(1), item(2))
        export = begin(desk, writer("alpha"), "alpha/list")
        for entry, reason in zip(
            desk.entries("alpha/list"),
            (WithdrawalReason.REQUESTED_BY_PERSON_SHOWN, WithdrawalReason.ERROR),
            strict=True,
        ):
            desk.hub.entries.withdraw(writer("alpha"), "alpha", "list", entry.id, reason, "said on the phone")
        changed = taken(begin(desk, writer("alpha"), position=export.position), writer("alpha"))
        assert [e.withdrawal and (e.withdrawal.reason, e.withdrawal.comment, e.withdrawal.actor) for e in changed] == [
            None,
            (WithdrawalReason.ERROR, "", ""),
        ]


class TestPolicy:
    def test_takes_what_satisfies_it_by_itself(self, desk: Desk) -> None:
        desk.contributor("alpha", reliability="A")
        for name, purpose in (("alpha/csam", Purpose.CSAM), ("alpha/test", Purpose.TEST), ("alpha/ok", Purpose.BENIGN)):
            desk.hash_set(name, purpose=purpose, scheme="vic-us" if purpose is Purpose.CSAM else "", marking=OPEN)
        values = ("0", "1", "2", "4", "1")
        desk.contribute("alpha/csam", *(item(n, value=value) for n, value in enumerate(values)))
        desk.contribute("alpha/test", item(20))
        desk.contribute("alpha/ok", item(1), item(30))
        export = begin(desk, OPERATOR, policy="block")
        assert not export.position
        assert positions(taken(export)) == ["line 1", "line 2", "line 4"]
        # Doubt about an entry speaks against it here as it does in an answer.
        desk.contributor("beta", reliability="B")
        (doubted,) = [e for e in taken(begin(desk, OPERATOR, policy="block")) if e.provenance.position == "line 4"]
        desk.hub.reviews.create(writer("beta"), "alpha", "csam", doubted.id, ReviewKind.FALSE_POSITIVE)
        assert positions(taken(begin(desk, OPERATOR, policy="block"))) == ["line 1", "line 2"]

    def test_refuses_what_chooses_nothing_or_twice(self, desk: Desk) -> None:
        desk.hash_set("alpha/list", marking=OPEN)
        with pytest.raises(InvalidArgument, match="exactly one"):
            begin(desk, OPERATOR)
        with pytest.raises(InvalidArgument, match="exactly one"):
            begin(desk, OPERATOR, "alpha/list", policy="any")
        with pytest.raises(InvalidArgument, match="each hash set once"):
            begin(desk, OPERATOR, "alpha/list", "alpha/list")
        with pytest.raises(InvalidArgument, match="no policy 'none'"):
            begin(desk, OPERATOR, policy="none")


def test_expired_entries_stay_behind(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hash_set("alpha/list", marking=OPEN)
    soon = now() + timedelta(hours=1)
    desk.contribute("alpha/list", item(1, expire_time=soon), item(2))
    monkeypatch.setattr("hashhub.hub.exports.now", lambda: soon + timedelta(seconds=1))
    assert positions(taken(begin(desk, OPERATOR, "alpha/list"))) == ["line 2"]


def test_sight_of_lists_is_what_a_caller_is_told_of(desk: Desk) -> None:
    """The narrower way out never shows more than the wider one."""
    desk.hash_set("alpha/list", marking=OPEN)
    registry = desk.hub.hash_sets.list(OPERATOR, None, 10, "")[0]
    for marking in (OPEN, Marking(tlp=TLP.GREEN, bulk=True), Marking(tlp=TLP.AMBER, redistribution=True)):
        for hash_set in registry:
            marked = msgspec.structs.replace(hash_set, marking=marking)
            may_leave = permits(PLATFORM, marked, {}, access.DisclosureChannel.EXPORT, AT)
            assert not may_leave or permits(PLATFORM, marked, {}, access.DisclosureChannel.LIST, AT)
