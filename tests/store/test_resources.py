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
    Entry,
    EntryState,
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
from hashhub.store import Origin, Store


def contributor(name: str, **fields: Any) -> Contributor:
    return Contributor(id=name, display_name=name, kind=ContributorKind.NGO, jurisdiction="GB", **fields)


def test_contributors_are_kept_as_given(store: Store) -> None:
    created = store.create_contributor(contributor("alpha", takes_from=("beta",)))
    assert created.create_time is not None
    assert store.get_contributor("alpha") == created == store.contributors()["alpha"]
    with pytest.raises(AlreadyExists, match="alpha"):
        store.create_contributor(contributor("alpha"))
    with pytest.raises(NotFound, match="beta"):
        store.get_contributor("beta")


def test_an_update_replaces_fields_but_not_the_create_time(store: Store) -> None:
    created = store.create_contributor(contributor("alpha"))
    before = store.contributors()
    updated = store.update_contributor("alpha", {"takes_from": ("beta",)}, print)
    assert updated == msgspec.structs.replace(created, takes_from=("beta",))
    assert store.contributors() == {"alpha": updated}
    assert before == {"alpha": created}
    with pytest.raises(NotFound):
        store.update_contributor("beta", {}, print)


def test_two_updates_at_once_keep_each_others_fields(store: Store) -> None:
    store.create_contributor(contributor("alpha"))
    seen: list[Contributor] = []

    def second() -> None:
        store.update_contributor("alpha", {"takes_from": ("beta",)}, seen.append)

    other = threading.Thread(target=second)
    # The second begins when the first has read what there is, and has to wait for it.
    store.update_contributor("alpha", {"display_name": "New"}, lambda _: other.start())
    other.join()
    assert store.get_contributor("alpha").display_name == "New"
    assert store.get_contributor("alpha").takes_from == ("beta",)
    assert [c.display_name for c in seen] == ["New"]


def test_an_update_that_is_repeated_by_its_request_id_undoes_nothing(store: Store) -> None:
    store.create_contributor(contributor("alpha"))
    store.create_hash_set(HashSet(contributor="alpha", id="list"))
    first = store.update_contributor("alpha", {"display_name": "A"}, print, request_id="r1")
    first_set = store.update_hash_set("alpha", "list", {"display_name": "A"}, request_id="r2")
    store.update_contributor("alpha", {"display_name": "B"}, print)
    store.update_hash_set("alpha", "list", {"display_name": "B"})
    assert store.update_contributor("alpha", {"display_name": "A"}, print, request_id="r1") == first
    assert store.update_hash_set("alpha", "list", {"display_name": "A"}, request_id="r2") == first_set
    assert store.get_contributor("alpha").display_name == store.get_hash_set("alpha", "list").display_name == "B"
    with pytest.raises(AlreadyExists, match="request_id"):
        store.update_contributor("alpha", {"display_name": "C"}, print, request_id="r1")


def test_what_a_check_refuses_is_not_written(store: Store) -> None:
    created = store.create_contributor(contributor("alpha"))

    def refuse(_: Contributor) -> None:
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument):
        store.update_contributor("alpha", {"display_name": "A"}, refuse)
    assert store.get_contributor("alpha") == created


def test_the_registry_is_read_again_after_another_process_changes_it(database: str) -> None:
    one, other = Store.open(database), Store.open(database)
    assert one.contributors() == {}
    other.create_contributor(contributor("alpha"))
    assert list(one.contributors()) == ["alpha"]
    other.create_hash_set(HashSet(contributor="alpha", id="list"))
    assert list(one.hash_sets()) == ["alpha/list"]
    other.update_hash_set("alpha", "list", {"display_name": "New"})
    assert one.hash_sets()["alpha/list"].display_name == "New"
    assert one.hash_sets() is one.hash_sets()
    one.close()
    other.close()


def test_hash_sets_belong_to_contributors(store: Store) -> None:
    with pytest.raises(NotFound, match="alpha"):
        store.create_hash_set(HashSet(contributor="alpha", id="list"))
    store.create_contributor(contributor("alpha"))
    created = store.create_hash_set(HashSet(contributor="alpha", id="list"))
    assert store.get_hash_set("alpha", "list") == created
    with pytest.raises(AlreadyExists):
        store.create_hash_set(HashSet(contributor="alpha", id="list"))
    with pytest.raises(NotFound):
        store.update_hash_set("alpha", "other", {})


def test_lists_are_paged_in_the_order_of_code_points(store: Store) -> None:
    # '-' is before the digits, and those before the letters; a database's own collation may disagree.
    names = ["a", "a-b", "a0", "ab", "b"]
    for name in reversed(names):
        store.create_contributor(contributor(name))
        for hash_set in ("x-1", "x"):
            store.create_hash_set(HashSet(contributor=name, id=hash_set))
    pages, after = [], ""
    while page := store.list_contributors(2, after):
        pages += [c.id for c in page]
        after = page[-1].id
    assert pages == names
    sets, after = [], ""
    while hash_sets := store.list_hash_sets(None, 3, after):
        sets += [h.name for h in hash_sets]
        after = hash_sets[-1].name
    assert sets == [f"{name}/{hash_set}" for name in names for hash_set in ("x", "x-1")]
    assert [h.id for h in store.list_hash_sets("a0", 10)] == ["x", "x-1"]


def test_a_repeated_request_returns_the_first_result(store: Store) -> None:
    first = store.create_contributor(contributor("alpha"), request_id="r1")
    assert store.create_contributor(contributor("alpha"), request_id="r1") == first
    revision = store.revision()
    with pytest.raises(AlreadyExists, match="request_id"):
        store.create_contributor(contributor("beta"), request_id="r1")
    with pytest.raises(AlreadyExists, match="request_id"):
        store.create_hash_set(HashSet(contributor="alpha", id="list"), request_id="r1")
    assert store.revision() == revision
    assert list(store.contributors()) == ["alpha"]


def test_one_id_of_two_actors_is_two_requests(store: Store) -> None:
    one, other = (Actor(name, "operator", Role.OPERATOR) for name in ("one", "other"))
    store.create_contributor(contributor("alpha"), by=one, request_id="r")
    assert store.create_contributor(contributor("beta"), by=other, request_id="r").id == "beta"
    assert store.create_contributor(contributor("alpha"), by=one, request_id="r").id == "alpha"
    with pytest.raises(AlreadyExists, match="alpha"):
        store.create_contributor(contributor("alpha"), by=other, request_id="s")


def test_the_registry_is_of_one_moment(store: Store) -> None:
    store.create_contributor(contributor("beta"))
    store.create_contributor(contributor("alpha"))
    store.create_group(Group(id="allies", members=("beta",)))
    store.create_hash_set(HashSet(contributor="beta", id="x"))
    store.create_hash_set(HashSet(contributor="alpha", id="x-1"))
    store.create_hash_set(HashSet(contributor="alpha", id="x"))
    registry = store.registry()
    assert registry.revision == store.revision()
    assert list(registry.contributors) == ["alpha", "beta"]
    assert list(registry.hash_sets) == ["alpha/x", "alpha/x-1", "beta/x"]
    assert registry.groups == {"allies": store.get_group("allies")}
    assert store.registry() is registry


def test_groups(store: Store) -> None:
    store.create_contributor(contributor("alpha"))
    for members in (("nobody",), ("alpha", "nobody")):
        with pytest.raises(InvalidArgument, match="nobody"):
            store.create_group(Group(id="allies", members=members))
    made = store.create_group(Group(id="allies", members=("alpha",)), request_id="r")
    assert store.create_group(Group(id="allies", members=("alpha",)), request_id="r") == made
    assert store.get_group("allies") == made
    with pytest.raises(InvalidArgument, match=r"members\[0\]"):
        store.update_group("allies", {"members": ("nobody",)})
    assert store.update_group("allies", {"members": ()}).members == ()
    assert store.update_group("allies", {"display_name": "Allies"}).display_name == "Allies"
    store.create_group(Group(id="b"))
    assert [g.id for g in store.list_groups(1)] == ["allies"]
    assert [g.id for g in store.list_groups(9, "allies")] == ["b"]
    store.delete_group("allies")
    with pytest.raises(NotFound, match="allies"):
        store.get_group("allies")
    with pytest.raises(NotFound, match="allies"):
        store.update_group("allies", {})
    with pytest.raises(NotFound):
        store.delete_group("allies")


def test_tokens(store: Store) -> None:
    desk = Principal(name="desk", role=Role.CONTRIBUTOR, contributor="alpha", purposes=("moderation",))
    with pytest.raises(NotFound, match="alpha"):
        store.put_token(b"1" * 32, desk)
    store.create_contributor(contributor("alpha"))
    store.put_token(b"1" * 32, desk)
    store.put_token(b"2" * 32, Principal(name="app", role=Role.CONSUMER, contributor="alpha"))
    assert store.find_secret(b"1" * 32) == (desk, None)
    assert store.find_secret(b"3" * 32) is None
    assert [p.name for p in store.list_tokens()] == ["app", "desk"]
    with pytest.raises(AlreadyExists, match="desk"):
        store.put_token(b"4" * 32, desk)
    until = now()
    assert store.rotate_token("desk", b"5" * 32, until) == desk
    assert store.find_secret(b"1" * 32) == (desk, until)
    assert store.find_secret(b"5" * 32) == (desk, None)
    store.rotate_token("desk", b"6" * 32, until)
    assert [store.find_secret(x * 32) for x in (b"1", b"5", b"6")] == [None, (desk, until), (desk, None)]
    store.delete_token("desk")
    assert store.find_secret(b"6" * 32) is None
    with pytest.raises(NotFound, match="desk"):
        store.delete_token("desk")
    with pytest.raises(NotFound, match="desk"):
        store.update_token("desk", {})
    with pytest.raises(NotFound, match="desk"):
        store.rotate_token("desk", b"7" * 32, until)


def test_the_last_use_only_moves_forward(store: Store) -> None:
    store.create_contributor(contributor("alpha"))
    store.put_token(b"1" * 32, Principal(name="app", role=Role.CONSUMER, contributor="alpha"))
    later = now()
    store.note_token_use({"app": later, "gone": later})
    store.note_token_use({"app": later - timedelta(minutes=5)})
    assert store.list_tokens()[0].last_use_time == later


def test_the_hubs_own_contributor_is_remembered(database: str) -> None:
    for expected in ("operator", "operator"):
        store = Store.open(database)
        assert store.own_contributor() == expected
        store.close()
    store = Store.open(database)
    store.put_token(b"1" * 32, Principal(name="o", role=Role.OPERATOR, contributor="operator"))
    with pytest.raises(FailedPrecondition, match="last operator"):
        store.retire_contributor("operator")
    store.create_contributor(contributor("alpha"))
    store.put_token(b"2" * 32, Principal(name="p", role=Role.OPERATOR, contributor="alpha"))
    store.retire_contributor("operator")
    # A retired one is nobody's any more: the operators get another.
    assert store.own_contributor() == store.own_contributor() == "operator-2"
    store.close()


def test_reviews_are_appended_in_order(filled: Store, fill: Any) -> None:
    first, second = fill.contribute(filled, [1, 2])
    review = Review(id=0, entry_id=first, author="beta", kind=ReviewKind.CONFIRMED, comment="seen")
    added = filled.add_review(review, request_id="r")
    assert filled.add_review(review, request_id="r") == added
    assert added.revision == filled.revision()
    later = [filled.add_review(msgspec.structs.replace(review, comment=str(i))) for i in range(3)]
    assert filled.reviews_of([second, first, 999]) == {first: [added, *later]}
    assert filled.list_reviews(first, 2) == [added, later[0]]
    assert filled.list_reviews(first, 9, after=later[0].id) == later[1:]
    with pytest.raises(NotFound):
        filled.add_review(msgspec.structs.replace(review, entry_id=999))


def test_withdrawing_again_changes_nothing(filled: Store, fill: Any) -> None:
    [entry_id] = fill.contribute(filled, [1])
    asked = Withdrawal(reason=WithdrawalReason.OTHER, comment="gone", actor="alice")

    def withdraw(entry_id: int, request_id: str = "") -> Entry:
        return filled.withdraw_entry(
            entry_id, asked, origin=Origin.CONTRIBUTOR, code="GONE", limit=None, by=SYSTEM, request_id=request_id
        )

    entry = withdraw(entry_id, "r")
    assert (entry.state, entry.reasons, entry.update_revision) == (EntryState.WITHDRAWN, ("GONE",), filled.revision())
    assert entry.withdrawal == msgspec.structs.replace(asked, revision=filled.revision())
    assert filled.get_entry("alpha", "list", entry_id) == entry
    assert withdraw(entry_id, "r") == entry
    filled.create_contributor(contributor("beta"))
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
                revisions.append(filled.withdraw_entries([entry_id], "TEST"))
                assert filled.get_entries([entry_id])[entry_id].state is EntryState.WITHDRAWN
        except Exception as e:  # noqa: BLE001 - shown by the assertion below
            failures.append(e)

    threads = [threading.Thread(target=work, args=(ids[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(revisions)) == len(ids)
