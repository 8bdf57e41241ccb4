from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hashhub.model import (
    SYSTEM,
    Actor,
    Contributor,
    ContributorKind,
    Definition,
    DefinitionKind,
    Entry,
    EntryState,
    EventKind,
    Group,
    HashSet,
    Principal,
    Review,
    ReviewKind,
    Role,
    Withdrawal,
    WithdrawalReason,
    now,
)
from hashhub.store import IdempotentRequest, Origin, Store, TransitionCommand, WithdrawalByHand


def contributor(name: str, **fields: Any) -> Contributor:
    return Contributor(id=name, display_name=name, kind=ContributorKind.NGO, jurisdiction="GB", **fields)


def test_contributors_are_kept_as_given(store: Store) -> None:
    created = store.resources.create_contributor(contributor("alpha", takes_from=("beta",)))
    assert created.create_time is not None
    assert store.resources.get_contributor("alpha") == created == store.resources.contributors()["alpha"]
    with pytest.raises(AlreadyExists, match="alpha"):
        store.resources.create_contributor(contributor("alpha"))
    with pytest.raises(NotFound, match="beta"):
        store.resources.get_contributor("beta")


def test_an_update_replaces_fields_but_not_the_create_time(store: Store) -> None:
    created = store.resources.create_contributor(contributor("alpha"))
    before = store.resources.contributors()
    updated = store.resources.update_contributor("alpha", {"takes_from": ("beta",)}, print)
    assert updated == msgspec.structs.replace(created, takes_from=("beta",))
    assert store.resources.contributors() == {"alpha": updated}
    assert before == {"alpha": created}
    with pytest.raises(NotFound):
        store.resources.update_contributor("beta", {}, print)


def test_two_updates_at_once_keep_each_others_fields(store: Store) -> None:
    store.resources.create_contributor(contributor("alpha"))
    seen: list[Contributor] = []

    def second() -> None:
        store.resources.update_contributor("alpha", {"takes_from": ("beta",)}, seen.append)

    other = threading.Thread(target=second)
    # The second begins when the first has read what there is, and has to wait for it.
    store.resources.update_contributor("alpha", {"display_name": "New"}, lambda _: other.start())
    other.join()
    assert store.resources.get_contributor("alpha").display_name == "New"
    assert store.resources.get_contributor("alpha").takes_from == ("beta",)
    assert [c.display_name for c in seen] == ["New"]


def test_an_update_that_is_repeated_by_its_request_id_undoes_nothing(store: Store) -> None:
    store.resources.create_contributor(contributor("alpha"))
    store.resources.create_hash_set(HashSet(contributor="alpha", id="list"))
    first = store.resources.update_contributor("alpha", {"display_name": "A"}, print, request_id="r1")
    first_set = store.resources.update_hash_set("alpha", "list", {"display_name": "A"}, request_id="r2")
    store.resources.update_contributor("alpha", {"display_name": "B"}, print)
    store.resources.update_hash_set("alpha", "list", {"display_name": "B"})
    assert store.resources.update_contributor("alpha", {"display_name": "A"}, print, request_id="r1") == first
    assert store.resources.update_hash_set("alpha", "list", {"display_name": "A"}, request_id="r2") == first_set
    assert (
        store.resources.get_contributor("alpha").display_name
        == store.resources.get_hash_set("alpha", "list").display_name
        == "B"
    )
    with pytest.raises(AlreadyExists, match="request_id"):
        store.resources.update_contributor("alpha", {"display_name": "C"}, print, request_id="r1")


def test_what_a_check_refuses_is_not_written(store: Store) -> None:
    created = store.resources.create_contributor(contributor("alpha"))

    def refuse(_: Contributor) -> None:
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument):
        store.resources.update_contributor("alpha", {"display_name": "A"}, refuse)
    assert store.resources.get_contributor("alpha") == created


def test_the_registry_is_read_again_after_another_process_changes_it(database: str) -> None:
    one, other = Store.open(database), Store.open(database)
    assert one.resources.contributors() == {}
    other.resources.create_contributor(contributor("alpha"))
    assert list(one.resources.contributors()) == ["alpha"]
    other.resources.create_hash_set(HashSet(contributor="alpha", id="list"))
    assert list(one.resources.hash_sets()) == ["alpha/list"]
    other.resources.update_hash_set("alpha", "list", {"display_name": "New"})
    assert one.resources.hash_sets()["alpha/list"].display_name == "New"
    assert one.resources.hash_sets() is one.resources.hash_sets()
    one.close()
    other.close()


def test_hash_sets_belong_to_contributors(store: Store) -> None:
    with pytest.raises(NotFound, match="alpha"):
        store.resources.create_hash_set(HashSet(contributor="alpha", id="list"))
    store.resources.create_contributor(contributor("alpha"))
    created = store.resources.create_hash_set(HashSet(contributor="alpha", id="list"))
    assert store.resources.get_hash_set("alpha", "list") == created
    with pytest.raises(AlreadyExists):
        store.resources.create_hash_set(HashSet(contributor="alpha", id="list"))
    with pytest.raises(NotFound):
        store.resources.update_hash_set("alpha", "other", {})


def test_lists_are_paged_in_the_order_of_code_points(store: Store) -> None:
    # '-' is before the digits, and those before the letters; a database's own collation may disagree.
    names = ["a", "a-b", "a0", "ab", "b"]
    for name in reversed(names):
        store.resources.create_contributor(contributor(name))
        for hash_set in ("x-1", "x"):
            store.resources.create_hash_set(HashSet(contributor=name, id=hash_set))
    pages, after = [], ""
    while page := store.resources.list_contributors(2, after):
        pages += [c.id for c in page]
        after = page[-1].id
    assert pages == names
    sets, after = [], ""
    while hash_sets := store.resources.list_hash_sets(None, 3, after):
        sets += [h.name for h in hash_sets]
        after = hash_sets[-1].name
    assert sets == [f"{name}/{hash_set}" for name in names for hash_set in ("x", "x-1")]
    assert [h.id for h in store.resources.list_hash_sets("a0", 10)] == ["x", "x-1"]


def test_a_repeated_request_returns_the_first_result(store: Store) -> None:
    first = store.resources.create_contributor(contributor("alpha"), request_id="r1")
    assert store.resources.create_contributor(contributor("alpha"), request_id="r1") == first
    revision = store.revision()
    with pytest.raises(AlreadyExists, match="request_id"):
        store.resources.create_contributor(contributor("beta"), request_id="r1")
    with pytest.raises(AlreadyExists, match="request_id"):
        store.resources.create_hash_set(HashSet(contributor="alpha", id="list"), request_id="r1")
    assert store.revision() == revision
    assert list(store.resources.contributors()) == ["alpha"]


def test_one_id_of_two_actors_is_two_requests(store: Store) -> None:
    one, other = (Actor(name, "operator", Role.OPERATOR) for name in ("one", "other"))
    store.resources.create_contributor(contributor("alpha"), by=one, request_id="r")
    assert store.resources.create_contributor(contributor("beta"), by=other, request_id="r").id == "beta"
    assert store.resources.create_contributor(contributor("alpha"), by=one, request_id="r").id == "alpha"
    with pytest.raises(AlreadyExists, match="alpha"):
        store.resources.create_contributor(contributor("alpha"), by=other, request_id="s")


def test_the_registry_is_of_one_moment(store: Store) -> None:
    store.resources.create_contributor(contributor("beta"))
    store.resources.create_contributor(contributor("alpha"))
    store.resources.create_group(Group(id="allies", members=("beta",)))
    store.resources.create_hash_set(HashSet(contributor="beta", id="x"))
    store.resources.create_hash_set(HashSet(contributor="alpha", id="x-1"))
    store.resources.create_hash_set(HashSet(contributor="alpha", id="x"))
    registry = store.resources.registry()
    assert registry.revision == store.revision()
    assert list(registry.contributors) == ["alpha", "beta"]
    assert list(registry.hash_sets) == ["alpha/x", "alpha/x-1", "beta/x"]
    assert registry.groups == {"allies": store.resources.get_group("allies")}
    assert store.resources.registry() is registry


def test_groups(store: Store) -> None:
    store.resources.create_contributor(contributor("alpha"))
    for members in (("nobody",), ("alpha", "nobody")):
        with pytest.raises(InvalidArgument, match="nobody"):
            store.resources.create_group(Group(id="allies", members=members))
    made = store.resources.create_group(Group(id="allies", members=("alpha",)), request_id="r")
    assert store.resources.create_group(Group(id="allies", members=("alpha",)), request_id="r") == made
    assert store.resources.get_group("allies") == made
    with pytest.raises(InvalidArgument, match=r"members\[0\]"):
        store.resources.update_group("allies", {"members": ("nobody",)})
    assert store.resources.update_group("allies", {"members": ()}).members == ()
    assert store.resources.update_group("allies", {"display_name": "Allies"}).display_name == "Allies"
    store.resources.create_group(Group(id="b"))
    assert [g.id for g in store.resources.list_groups(1)] == ["allies"]
    assert [g.id for g in store.resources.list_groups(9, "allies")] == ["b"]
    store.resources.delete_group("allies")
    with pytest.raises(NotFound, match="allies"):
        store.resources.get_group("allies")
    with pytest.raises(NotFound, match="allies"):
        store.resources.update_group("allies", {})
    with pytest.raises(NotFound):
        store.resources.delete_group("allies")


def test_tokens(store: Store) -> None:
    desk = Principal(name="desk", role=Role.CONTRIBUTOR, contributor="alpha", purposes=("moderation",))
    with pytest.raises(NotFound, match="alpha"):
        store.tokens.put_token(b"1" * 32, desk)
    store.resources.create_contributor(contributor("alpha"))
    store.tokens.put_token(b"1" * 32, desk)
    store.tokens.put_token(b"2" * 32, Principal(name="app", role=Role.CONSUMER, contributor="alpha"))
    assert store.tokens.find_secret(b"1" * 32) == (desk, None)
    assert store.tokens.find_secret(b"3" * 32) is None
    assert [p.name for p in store.tokens.list_tokens()] == ["app", "desk"]
    with pytest.raises(AlreadyExists, match="desk"):
        store.tokens.put_token(b"4" * 32, desk)
    until = now()
    assert store.tokens.rotate_token("desk", b"5" * 32, until) == desk
    assert store.tokens.find_secret(b"1" * 32) == (desk, until)
    assert store.tokens.find_secret(b"5" * 32) == (desk, None)
    store.tokens.rotate_token("desk", b"6" * 32, until)
    assert [store.tokens.find_secret(x * 32) for x in (b"1", b"5", b"6")] == [None, (desk, until), (desk, None)]
    store.tokens.delete_token("desk")
    assert store.tokens.find_secret(b"6" * 32) is None
    with pytest.raises(NotFound, match="desk"):
        store.tokens.delete_token("desk")
    with pytest.raises(NotFound, match="desk"):
        store.tokens.update_token("desk", {})
    with pytest.raises(NotFound, match="desk"):
        store.tokens.rotate_token("desk", b"7" * 32, until)


def test_whose_identities_are_is_found_by_any_of_them(store: Store) -> None:
    store.resources.create_contributor(contributor("alpha"))
    for name, identities in (("one", ("OIDC:one", "DNS:one")), ("two", ("OIDC:two's ?%s",))):
        store.tokens.put_token(
            b"", Principal(name=name, role=Role.CONSUMER, contributor="alpha", identities=identities)
        )
    found = store.tokens.find_identities(["OIDC:none", "OIDC:two's ?%s", "DNS:one", *map(str, range(2000))])
    assert sorted((identity, token.name) for identity, token in found) == [
        ("DNS:one", "one"),
        ("OIDC:two's ?%s", "two"),
    ]
    assert store.tokens.find_identities([]) == []


def test_the_last_use_only_moves_forward(store: Store) -> None:
    store.resources.create_contributor(contributor("alpha"))
    store.tokens.put_token(b"1" * 32, Principal(name="app", role=Role.CONSUMER, contributor="alpha"))
    later = now()
    store.tokens.note_token_use({"app": later, "gone": later})
    store.tokens.note_token_use({"app": later - timedelta(minutes=5)})
    assert store.tokens.list_tokens()[0].last_use_time == later


def test_the_hubs_own_contributor_is_remembered(database: str) -> None:
    for expected in ("operator", "operator"):
        store = Store.open(database)
        assert store.resources.own_contributor() == expected
        store.close()
    store = Store.open(database)
    store.tokens.put_token(b"1" * 32, Principal(name="o", role=Role.OPERATOR, contributor="operator"))
    with pytest.raises(FailedPrecondition, match="last operator"):
        store.resources.retire_contributor("operator")
    store.resources.create_contributor(contributor("alpha"))
    store.tokens.put_token(b"2" * 32, Principal(name="p", role=Role.OPERATOR, contributor="alpha"))
    store.resources.retire_contributor("operator")
    # A retired one is nobody's any more: the operators get another.
    assert store.resources.own_contributor() == store.resources.own_contributor() == "operator-2"
    store.close()


def test_reviews_are_appended_in_order(filled: Store, fill: Any) -> None:
    first, second = fill.contribute(filled, [1, 2])
    review = Review(id=0, entry_id=first, author="beta", kind=ReviewKind.CONFIRMED, comment="seen")
    added = filled.entries.add_review(review, request_id="r")
    assert filled.entries.add_review(review, request_id="r") == added
    assert added.revision == filled.revision()
    later = [filled.entries.add_review(msgspec.structs.replace(review, comment=str(i))) for i in range(3)]
    assert filled.entries.reviews_of([second, first, 999]) == {first: [added, *later]}
    assert filled.entries.list_reviews(first, 2) == [added, later[0]]
    assert filled.entries.list_reviews(first, 9, after=later[0].id) == later[1:]
    with pytest.raises(NotFound):
        filled.entries.add_review(msgspec.structs.replace(review, entry_id=999))


def test_withdrawing_again_changes_nothing(filled: Store, fill: Any) -> None:
    [entry_id] = fill.contribute(filled, [1])
    asked = Withdrawal(reason=WithdrawalReason.OTHER, comment="gone", actor="alice")

    def withdraw(entry_id: int, request_id: str = "") -> Entry:
        request = IdempotentRequest(request_id, "withdraw", entry_id, SYSTEM.name)
        by_hand = WithdrawalByHand(asked, Origin.CONTRIBUTOR, "GONE")
        command = TransitionCommand(SYSTEM, is_single=True, request=request)
        done = filled.transitions.withdraw_by_hand([entry_id], by_hand, command).entry
        assert done is not None
        return done

    entry = withdraw(entry_id, "r")
    assert (entry.state, entry.reasons, entry.update_revision) == (EntryState.WITHDRAWN, ("GONE",), filled.revision())
    assert entry.withdrawal == msgspec.structs.replace(asked, revision=filled.revision())
    assert filled.entries.get_entry("alpha", "list", entry_id) == entry
    assert withdraw(entry_id, "r") == entry
    filled.resources.create_contributor(contributor("beta"))
    assert withdraw(entry_id) == entry
    with pytest.raises(NotFound):
        withdraw(999)


def test_threads_share_one_store(filled: Store, fill: Any) -> None:
    ids = fill.contribute(filled, range(40))
    failures: list[Exception] = []
    revisions: list[int] = []

    def work(mine: list[int]) -> None:
        try:
            for entry_id in mine:
                revisions.append(filled.transitions.withdraw([entry_id], "TEST"))
                assert filled.entries.get_entries([entry_id])[entry_id].state is EntryState.WITHDRAWN
        except Exception as e:  # noqa: BLE001 - shown by the assertion below
            failures.append(e)

    threads = [threading.Thread(target=work, args=(ids[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(revisions)) == len(ids)


def test_definitions(store: Store) -> None:
    first = Definition(kind=DefinitionKind.POLICY, id="mine", version="1", text="a")
    before = store.resources.registry()
    assert before.definitions == ()
    tried = store.definitions.put(first, validate_only=True)
    assert (tried.text, store.resources.registry()) == ("a", before)
    made = store.definitions.put(first, reason="why", request_id="r")
    assert store.definitions.put(first, reason="why", request_id="r") == made
    assert made.create_time is not None
    with pytest.raises(AlreadyExists, match="another version"):
        store.definitions.put(msgspec.structs.replace(first, text="b"))
    scheme = store.definitions.put(msgspec.structs.replace(first, kind=DefinitionKind.SCHEME))
    assert set(store.resources.registry().definitions) == {made, scheme}

    def retire(definition: Definition) -> Definition:
        return msgspec.structs.replace(definition, text="other", retire_time=now())

    retired = store.definitions.change(DefinitionKind.POLICY, "mine@1", retire, EventKind.POLICY_RETIRED)
    assert (retired.text, retired.retire_time is None) == ("a", False)
    assert set(store.resources.registry().definitions) == {retired, scheme}
    with pytest.raises(NotFound, match="mine@2"):
        store.definitions.change(DefinitionKind.POLICY, "mine@2", retire, EventKind.POLICY_RETIRED)
    events = store.history.list_events(subjects=["policies/mine@1", "schemes/mine@1"])
    assert {(e.kind, e.subject) for e in events} == {
        (EventKind.POLICY_PUT, "policies/mine@1"),
        (EventKind.SCHEME_PUT, "schemes/mine@1"),
        (EventKind.POLICY_RETIRED, "policies/mine@1"),
    }


class TestRegistry:
    def test_a_change_of_a_token_is_none_of_it(self, store: Store) -> None:
        """Any token can get itself another secret: that let every process read all hash sets and all terms anew."""
        store.resources.create_contributor(contributor("alpha"))
        token = Principal(name="desk", role=Role.CONTRIBUTOR, contributor="alpha")
        before = store.resources.registry()
        store.tokens.put_token(b"1" * 32, token)
        store.tokens.rotate_token("desk", b"2" * 32, now())
        assert store.resources.registry() is before

    def test_what_did_not_change_is_not_decoded_again(self, store: Store) -> None:
        store.resources.create_contributor(contributor("alpha"))
        for name in ("list", "other"):
            store.resources.create_hash_set(HashSet(contributor="alpha", id=name))
        before = store.resources.registry()
        store.resources.update_hash_set("alpha", "list", {"display_name": "List"})
        after = store.resources.registry()
        assert after is not before
        assert after.hash_sets["alpha/list"].display_name == "List"
        assert after.hash_sets["alpha/other"] is before.hash_sets["alpha/other"]
        assert after.contributors["alpha"] is before.contributors["alpha"]
