"""What is grave takes two persons, where the deployment demands it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.field_mask_pb2 import FieldMask
from msgspec.structs import replace

from hashhub import v1, wire
from hashhub.client import Client
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Reason
from hashhub.hub.approvals import Approvals
from hashhub.model import (
    ConflictAction,
    ConflictFilter,
    ConflictKind,
    ConflictOrder,
    ConflictReason,
    Contributor,
    ContributorKind,
    EventKind,
    HashSet,
    Marking,
    Principal,
    QueueKind,
    Reliability,
    Role,
    SigningKey,
    now,
)
from hashhub.signing.envelope import public_text
from tests.server.conftest import Serve, Served
from tests.server.test_policies import MINE


@pytest.fixture
def demanding(serve_hub: Serve) -> Served:
    served = serve_hub(second_person=True)
    with Client(served.doors.grpc_address, served.tokens["OPERATOR"]) as first:
        for name, person in (("ada", "Ada"), ("ada-2", "ada"), ("grace", "Grace"), ("machine", "")):
            served.tokens[name] = first.create_token(Principal(name=name, role=Role.OPERATOR, person=person))
    return served


PUBLIC_KEY = public_text(Ed25519PrivateKey.generate().public_key())


@pytest.fixture
def of(demanding: Served) -> Callable[[str], Client]:
    return lambda name: Client(demanding.doors.grpc_address, demanding.tokens[name])


def waits(call: Callable[[], object]) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        call()
    assert refused.value.reason is Reason.SECOND_PERSON_NEEDED


def test_the_second_person_makes_the_same_call(demanding: Served, of: Callable[[str], Client]) -> None:
    text = MINE
    with of("ada") as ada, of("ada-2") as again, of("grace") as grace, of("machine") as machine:
        waits(lambda: machine.put_policy(text))
        assert (ada.caller().person, ada.caller().second_person) == ("Ada", True)
        assert [item for item in ada.list_queue() if item.kind is QueueKind.APPROVAL] == []
        waits(lambda: ada.put_policy(text))
        for other in (ada, again, machine):
            waits(lambda other=other: other.put_policy(text))  # type: ignore[misc]
        waits(lambda: grace.put_policy(f"{text}\n# otherwise"))
        [first, second] = [item for item in grace.list_queue() if item.kind is QueueKind.APPROVAL]
        assert (first.reason, first.actor, second.actor) == ("PolicyService/PutPolicy", "ada", "grace")
        assert [e.actor.person for e in grace.list_events(f"approvals/{first.name}")] == ["Ada"]
        made = grace.put_policy(text, "another comment")
        events = list(grace.list_events())
        assert [e.kind for e in grace.list_events(events[1].subject)] == ["APPROVAL_GIVEN", "APPROVAL_ASKED"]
        event = next(e for e in events if e.kind == "POLICY_PUT")
        assert (event.actor.name, event.actor.person, event.actor.second_person) == ("grace", "Grace", "Ada")
        assert made.name == "mine@1"
        waits(lambda: grace.retire_policy("mine@1"))  # what was agreed to was that one call


def test_many_conflicts_are_closed_by_two(of: Callable[[str], Client]) -> None:
    wanted = ConflictFilter(kinds=(ConflictKind.VERDICT,))
    order = ConflictOrder(
        action=ConflictAction.RESOLVE, reason=ConflictReason.OTHER, comment="looked at", expected_count=0
    )
    with of("ada") as ada, of("grace") as grace:
        list(ada.change_conflicts(wanted, order, validate_only=True))
        waits(lambda: list(ada.change_conflicts(wanted, order)))
        agreed = grace.change_conflicts(wanted, replace(order, comment="agreed"), request_id="all of it")
        assert [done.selected for done in agreed] == [0]
        # What goes on after the first page was agreed to with that.
        assert agreed.page(2).items[0].selected == 0
        waits(lambda: list(ada.change_conflicts(wanted, ConflictOrder(action=ConflictAction.REOPEN, comment="again"))))
        list(ada.change_conflicts(wanted, ConflictOrder(action=ConflictAction.ASSIGN, assignee="Ann")))


def test_what_is_grave_and_what_is_not(of: Callable[[str], Client]) -> None:
    with of("ada") as ada:
        new = Contributor(id="nl", display_name="NL", kind=ContributorKind.HOTLINE, jurisdiction="NL")
        waits(lambda: ada.create_contributor(replace(new, reliability=Reliability.A)))
        ada.create_contributor(new)
        waits(lambda: ada.update_contributor(replace(new, reliability=Reliability.B), ["reliability"]))
        ada.update_contributor(replace(new, reliability=Reliability.B, display_name="Hotline"), ["display_name"])
        plain = HashSet(contributor="nl", id="list", scheme="vic-us")
        waits(lambda: ada.create_hash_set(replace(plain, marking=Marking(bulk=True))))
        ada.create_hash_set(plain)
        waits(lambda: ada.update_hash_set(replace(plain, marking=Marking(bulk=True)), ["marking"]))
        ada.update_hash_set(replace(plain, require_signature=True), ["require_signature"])
        for mask in (["require_signature"], ["*"]):
            waits(lambda mask=mask: ada.update_hash_set(plain, mask))  # type: ignore[misc]
        waits(lambda: ada.add_signing_key("nl", SigningKey(id="desk", public_key=PUBLIC_KEY)))
        waits(lambda: ada.retire_contributor("nl", withdraw_entries=True))
        ada.retire_contributor("nl", withdraw_entries=False)


def test_a_mask_of_all_fields_and_a_grade_that_is_taken_away_are_grave(
    demanding: Served, of: Callable[[str], Client]
) -> None:
    with of("ada") as ada:
        new = Contributor(id="nl", display_name="NL", kind=ContributorKind.HOTLINE, jurisdiction="NL")
        made = ada.create_contributor(new)
        plain = ada.create_hash_set(HashSet(contributor="nl", id="list", scheme="vic-us"))
        grade = wire.CONTRIBUTOR.to_pb(replace(made, reliability=Reliability.A))
        opened = wire.HASH_SET.to_pb(replace(plain, marking=Marking(bulk=True)))
        none = v1.Contributor(name=grade.name, reliability=v1.Reliability.RELIABILITY_F)
    changes = [
        v1.UpdateHashSetRequest(hash_set=opened, update_mask=FieldMask(paths=["*"])),
        v1.UpdateContributorRequest(contributor=grade, update_mask=FieldMask(paths=["*"])),
        v1.UpdateContributorRequest(contributor=none),
        v1.UpdateContributorRequest(contributor=none, update_mask=FieldMask(paths=["reliability"])),
        v1.UpdateContributorRequest(
            contributor=v1.Contributor(name=grade.name), update_mask=FieldMask(paths=["reliability"])
        ),
    ]
    for request in changes:
        kind = v1.HashSet if isinstance(request, v1.UpdateHashSetRequest) else v1.Contributor
        call = functools.partial(demanding.call, f"ContributorService/Update{kind.DESCRIPTOR.name}", request, kind)
        waits(functools.partial(call, who="ada"))


def test_an_agreed_call_that_is_repeated_is_answered_as_before_and_asks_nobody(
    demanding: Served, of: Callable[[str], Client]
) -> None:
    """As a client repeats what it had no answer to. Another call, or the same by somebody else, is no repetition."""

    def put(who: str, request_id: str, text: str = MINE) -> str:
        request = v1.PutPolicyRequest(text=text, request_id=request_id)
        return str(demanding.call("PolicyService/PutPolicy", request, v1.Policy, who=who).name)

    def grade(who: str, request_id: str) -> str:
        contributor = v1.Contributor(name="contributors/nl", reliability=v1.Reliability.RELIABILITY_A)
        request = v1.UpdateContributorRequest(contributor=contributor, request_id=request_id)
        return str(demanding.call("ContributorService/UpdateContributor", request, v1.Contributor, who=who).name)

    demanding.new_contributor("nl")
    for call, own in ((put, "of-put"), (grade, "of-grade")):
        waits(functools.partial(call, "ada", "of-ada"))
        assert call("grace", own) == call("grace", own)
    with of("grace") as grace:
        assert [item for item in grace.list_queue() if item.kind is QueueKind.APPROVAL] == []
        assert [e.kind for e in grace.list_events()].count(EventKind.POLICY_PUT) == 1
    waits(functools.partial(grade, "ada-2", "of-grade"))
    assert grade("grace", "another")  # to which it agrees, with what is asked for now
    waits(functools.partial(grade, "grace", "a third"))
    waits(functools.partial(put, "grace", "a fourth", f"{MINE}\n# otherwise"))


def test_what_was_asked_before_people_logged_in_counts_for_nothing_afterwards(
    demanding: Served, of: Callable[[str], Client]
) -> None:
    """Whose a token is was its maker's word then."""
    store = demanding.hub.store
    before, after = (Approvals(store, demanded=True, by_login=by_login) for by_login in (False, True))
    ada = Principal(name="ada", role=Role.OPERATOR, person="Ada")
    grace = Principal(name="grace", role=Role.OPERATOR, person="Grace <2>", identity="OIDC:operators")
    linus = replace(grace, person="Linus <3>")
    waits(lambda: before.agreed(ada, "PolicyService/PutPolicy", b"text"))
    waits(lambda: after.agreed(grace, "PolicyService/PutPolicy", b"text"))
    assert after.agreed(linus, "PolicyService/PutPolicy", b"text").second_person == "Grace <2>"


def test_a_call_waits_for_seven_days(
    demanding: Served, of: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = MINE
    with of("ada") as ada, of("grace") as grace:
        waits(lambda: ada.put_policy(text))
        monkeypatch.setattr("hashhub.hub.approvals.TIME", timedelta(0))
        waits(lambda: grace.put_policy(text))
        monkeypatch.undo()
        assert [i.actor for i in ada.list_queue() if i.kind is QueueKind.APPROVAL] == ["grace"]
        ada.put_policy(text)


def test_who_lets_a_certificate_in_as_another_is_no_second_person(
    demanding: Served, of: Callable[[str], Client]
) -> None:
    with of("ada") as ada, of("grace") as grace:
        waits(lambda: ada.put_policy(MINE))
        token = next(token for token in ada.list_tokens() if token.name == "grace")
        ada.update_token(replace(token, identities=("DNS:ada.example",)), ["identities"])
        waits(lambda: grace.put_policy(MINE))


def test_who_says_that_a_token_is_somebodys_is_no_second_person_by_it(of: Callable[[str], Client]) -> None:
    with of("ada") as ada, of("machine") as machine:
        waits(lambda: ada.put_policy(MINE))
        token = next(token for token in ada.list_tokens() if token.name == "machine")
        ada.update_token(replace(token, person="Linus"), ["person"])
        waits(lambda: machine.put_policy(MINE))


def test_nobody_alone_undoes_what_two_have_done_nor_is_kept_from_restoring_entries(of: Callable[[str], Client]) -> None:
    with of("ada") as ada, of("grace") as grace:
        since = now()
        waits(lambda: ada.put_policy(MINE))
        grace.put_policy(MINE)
        waits(lambda: ada.revert_actor("grace", since, "a trial"))
        assert any(event.reverted for event in ada.revert_actor("grace", since, "a trial", validate_only=True))
        assert ada.revert_actor("grace", since, "a trial", withdrawals_only=True) == []
        assert any(event.reverted for event in grace.revert_actor("grace", since, "a trial"))


def test_a_token_that_was_put_back_as_it_was_can_agree(demanding: Served, of: Callable[[str], Client]) -> None:
    with of("OPERATOR") as operator, of("ada") as ada, of("grace") as grace:
        token = next(token for token in ada.list_tokens() if token.name == "grace")
        since = now()
        operator.update_token(replace(token, description="x"), ["description"])
        waits(lambda: ada.revert_actor("operator", since, "a trial"))
        grace.revert_actor("operator", since, "a trial")
        waits(lambda: ada.put_policy(MINE))
        assert grace.put_policy(MINE).name == "mine@1"


def test_what_a_token_asked_for_that_has_ended_waits_no_more(of: Callable[[str], Client]) -> None:
    with of("OPERATOR") as operator, of("ada") as ada, of("grace") as grace:
        waits(lambda: ada.put_policy(MINE))
        token = next(token for token in grace.list_tokens() if token.name == "ada")
        operator.update_token(replace(token, expire_time=token.create_time), ["expire_time"])
        assert [item for item in grace.list_queue() if item.kind is QueueKind.APPROVAL] == []
        waits(lambda: grace.put_policy(MINE))
        operator.delete_token("grace")
        assert [item for item in operator.list_queue() if item.kind is QueueKind.APPROVAL] == []


def test_one_person_hides_no_others_calls_behind_many(
    of: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.hub.approvals.MOST", 2)
    with of("ada") as ada, of("grace") as grace:
        for number in range(4):
            waits(lambda number=number: ada.put_policy(f"{MINE}\n# {number}"))  # type: ignore[misc]
        waits(lambda: grace.put_policy(f"{MINE}\n# of Grace"))
        assert [i.actor for i in ada.list_queue() if i.kind is QueueKind.APPROVAL] == ["ada", "ada", "grace"]
        grace.put_policy(f"{MINE}\n# 0")
        waits(lambda: ada.put_policy(f"{MINE}\n# 4"))
        assert [i.actor for i in ada.list_queue() if i.kind is QueueKind.APPROVAL].count("ada") == 2


def test_nobody_is_asked_to_agree_to_what_is_refused(demanding: Served, of: Callable[[str], Client]) -> None:
    demanding.new_contributor("nl")
    with of("ada") as ada, of("OPERATOR") as operator:
        with pytest.raises(InvalidArgument):
            ada.put_policy("no policy")
        with pytest.raises(NotFound):
            ada.update_contributor(
                replace(ada.get_contributor("nl"), id="fr", reliability=Reliability.A), ["reliability"]
            )
        thief = Principal(name="thief", role=Role.CONTRIBUTOR, contributor="home", person="Thief")
        demanding.tokens["thief"] = operator.create_token(thief)
        with of("thief") as outsider, pytest.raises(PermissionDenied):
            outsider.create_hash_set(HashSet(contributor="nl", id="a", scheme="vic-us", marking=Marking(bulk=True)))
        assert [item for item in ada.list_queue() if item.kind is QueueKind.APPROVAL] == []


def test_without_the_demand_one_person_is_not_stopped(serve_hub: Serve) -> None:
    served = serve_hub()
    with Client(served.doors.grpc_address, served.tokens["OPERATOR"]) as operator:
        operator.put_policy(MINE)


def test_whose_a_token_is_stays(of: Callable[[str], Client]) -> None:
    with of("ada") as ada:
        tokens = {token.name: token for token in ada.list_tokens()}
        with pytest.raises(InvalidArgument):
            ada.update_token(replace(tokens["ada-2"], person="Grace"), ["person"])
        assert ada.update_token(replace(tokens["machine"], person="Linus"), ["person"]).person == "Linus"


@pytest.mark.parametrize("person", ["Ada ", "\tAda", "A\nda", "Ada\u200b", " "])
def test_one_person_does_not_look_like_two(of: Callable[[str], Client], person: str) -> None:
    with of("OPERATOR") as operator, pytest.raises(InvalidArgument):
        operator.create_token(Principal(name="ada-3", role=Role.OPERATOR, person=person))


def test_a_demand_that_nobody_can_meet_is_told(serve_hub: Serve) -> None:
    served = serve_hub(second_person=True)
    with Client(served.doors.grpc_address, served.tokens["OPERATOR"]) as operator:
        assert any("nobody can agree" in warning for warning in operator.status().warnings)
        people = [Principal(name=name, role=Role.OPERATOR, person=name) for name in ("ada", "linus", "grace")]
        with Client(served.doors.grpc_address, operator.create_token(people[0])) as ada:
            ada.create_token(people[1])
        assert any("nobody can agree" in warning for warning in operator.status().warnings)
        operator.create_token(people[2])
        assert not any("nobody can agree" in warning for warning in operator.status().warnings)
