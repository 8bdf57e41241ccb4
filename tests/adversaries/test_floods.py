"""Adversaries who do one allowed thing a thousand times."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

import pytest

from hashhub.errors import PermissionDenied
from hashhub.hashes import Hash
from hashhub.hub.selections import BulkOrder
from hashhub.model import (
    EntryAction,
    EntryChanges,
    Principal,
    Purpose,
    ReviewKind,
    Role,
    Selection,
    Verdict,
    WithdrawalReason,
)
from tests.adversaries.scene import OPERATOR, Item, World, near, record, writer

DAILY: Final = 100  # objections, or harmless verdicts against others' entries, of one contributor
MORE: Final = 120
PENDING: Final = "WITHDRAWAL_PENDING"
CONSUMER: Final = Principal(name="platform", role=Role.CONSUMER, contributor="platform")


@pytest.fixture
def world() -> Iterator[World]:
    """A hub with a reliable hotline, a hostile contributor whose word counts, one whose word does not, and a
    platform.
    """
    with World() as opened:
        for name, reliability in (("hotline", "A"), ("hostile", "C"), ("stranger", "F"), ("platform", "F")):
            opened.contributor(name, reliability)
        for name in ("hotline/list", "hostile/list", "stranger/list"):
            opened.hash_set(name, scheme="vic-us")
        yield opened


def listed(world: World, count: int) -> list[Item]:
    """Let the hotline list items."""
    items = [Item(f"flood {i}") for i in range(count)]
    world.lists(
        "hotline/list", [record(f"line {i}", t.hashes, value="1", external_id=f"{i}") for i, t in enumerate(items)]
    )
    return items


def verdicts(world: World, items: list[Item], policy: str = "block") -> list[Verdict]:
    return [answer.verdict for answer in world.ask([[t.md5] for t in items], policy, by=CONSUMER)]


def test_objections_beyond_the_daily_number_wait_for_the_operator(world: World) -> None:
    items = listed(world, MORE)
    entries = [e.name for e in world.entries("hotline/list")]
    Random(1).shuffle(entries)
    for entry in entries:
        world.review(entry, ReviewKind.FALSE_POSITIVE, by=writer("hostile"))
        world.review(entry, ReviewKind.FALSE_POSITIVE, by=writer("stranger"))
    after = verdicts(world, items)
    assert (after.count(Verdict.REVIEW), after.count(Verdict.MATCH)) == (DAILY, MORE - DAILY)
    assert set(verdicts(world, items, "any")) == {Verdict.MATCH}
    world.hub.contributors.accept_objections(OPERATOR, "hostile", world.hub.revision())
    assert set(verdicts(world, items)) == {Verdict.REVIEW}


def test_harmless_verdicts_beyond_the_daily_number_wait_for_the_operator(world: World) -> None:
    items = listed(world, MORE)
    for who in ("hostile", "stranger"):
        world.lists(f"{who}/list", [record(f"line {i}", t.hashes, value="0") for i, t in enumerate(items)])
    after = verdicts(world, items)
    assert (after.count(Verdict.REVIEW), after.count(Verdict.MATCH)) == (DAILY, MORE - DAILY)
    # Nor can the rest be slipped in by stating it once more.
    world.lists("hostile/list", [record(f"line {i}", t.hashes, value="0", series="x") for i, t in enumerate(items)])
    assert verdicts(world, items).count(Verdict.MATCH) >= MORE - DAILY
    world.accept("hostile/list")
    assert set(verdicts(world, items)) == {Verdict.REVIEW}


def test_harmless_verdicts_stated_before_anybody_lists_the_items_count_too(world: World) -> None:
    for name in ("hostile/early", "hostile/later"):
        world.hash_set(name, scheme="vic-us")
    coming = [Item(f"flood {i}") for i in range(MORE)]
    half = MORE // 2
    for name, part in (("hostile/early", coming[:half]), ("hostile/later", coming[half:])):
        world.lists(name, [record(f"line {i}", t.hashes, value="0") for i, t in enumerate(part)])
    items = listed(world, MORE)
    after = verdicts(world, items)
    assert (after.count(Verdict.REVIEW), after.count(Verdict.MATCH)) == (DAILY, MORE - DAILY)


def crossed(items: list[Item]) -> list[list[Hash]]:
    """Bind the MD5 of one item, the SHA1 of the next and the PDQ of the one after it, of three at a time."""
    return [
        [first.md5, second.sha1, third.pdq]
        for first, second, third in zip(items[::3], items[1::3], items[2::3], strict=True)
    ]


def probed(world: World, items: list[Item]) -> list[Verdict]:
    """Ask for each item by the digest of it that `crossed` binds."""
    hashes = [(t.md5, t.sha1, t.pdq)[i % 3] for i, t in enumerate(items)]
    return [answer.verdict for answer in world.ask([[h] for h in hashes], "block", by=CONSUMER)]


@pytest.mark.parametrize("is_whole", [True, False], ids=["items", "single digests"])
def test_a_harmless_verdict_counts_for_each_item_whose_digest_it_binds(world: World, is_whole: bool) -> None:
    items = [Item(f"flood {i}") for i in range(MORE)]
    for name in ("hotline/list", "stranger/list"):
        listed_hashes = [t.hashes if is_whole else [(t.md5, t.sha1, t.pdq)[i % 3]] for i, t in enumerate(items)]
        world.lists(name, [record(f"line {i}", h, value="1") for i, h in enumerate(listed_hashes)])
    bound = [record(f"line {i}", h, value="0") for i, h in enumerate(crossed(items))]
    for part in (bound[:20], bound[20:]):
        world.lists("hostile/list", part)
    assert probed(world, items).count(Verdict.REVIEW) == DAILY // 3 * 3
    world.accept("hostile/list")
    assert set(probed(world, items)) == {Verdict.REVIEW}


def test_who_binds_all_of_it_in_one_entry_makes_it_no_cheaper(world: World) -> None:
    items = listed(world, MORE)
    world.contributor("accomplice", "C")
    world.hash_set("accomplice/list", scheme="vic-us")
    world.lists("accomplice/list", [record(f"line {i}", h, value="1") for i, h in enumerate(crossed(items))])
    world.lists("hostile/list", [record(f"line {i}", h, value="0") for i, h in enumerate(crossed(items))])
    assert probed(world, items).count(Verdict.REVIEW) == DAILY // 3 * 3


def test_an_objection_to_an_entry_that_binds_many_items_counts_for_each(world: World) -> None:
    items = listed(world, MORE)
    world.contributor("accomplice", "C")
    world.hash_set("accomplice/list", scheme="vic-us")
    world.lists("accomplice/list", [record(f"line {i}", h, value="1") for i, h in enumerate(crossed(items))])
    for entry in world.entries("accomplice/list"):
        world.review(entry.name, ReviewKind.FALSE_POSITIVE, by=writer("hostile"))
    assert probed(world, items).count(Verdict.REVIEW) == DAILY // 3 * 3


def test_nobody_unreliable_makes_an_honest_verdict_cost_more(world: World) -> None:
    items = listed(world, MORE)
    pieces = [h for t in items for h in t.hashes]
    world.lists("stranger/list", [record(f"line {i}", [h], value="1") for i, h in enumerate(pieces)])
    world.lists("hostile/list", [record(f"line {i}", t.hashes, value="0") for i, t in enumerate(items)])
    assert verdicts(world, items).count(Verdict.REVIEW) == DAILY


def test_a_benign_set_says_nothing_until_it_is_accepted_and_then_nothing_new(world: World) -> None:
    items = listed(world, 4)
    world.hash_set("hostile/benign", purpose=Purpose.BENIGN)
    world.lists("hostile/benign", [record("line 1", items[0].hashes), record("line 2", items[1].hashes)])
    assert set(verdicts(world, items)) == {Verdict.MATCH}
    world.accept("hostile/benign")
    world.lists("hostile/benign", [record("line 3", items[2].hashes)])
    for policy in ("any", "block"):
        assert verdicts(world, items, policy) == [Verdict.REVIEW] * 2 + [Verdict.MATCH] * 2


@pytest.mark.parametrize("purpose", [Purpose.CSAM, Purpose.BENIGN])
def test_a_flood_of_nearer_digests_drowns_no_entry(world: World, purpose: Purpose) -> None:
    (item,) = listed(world, 1)
    closer = {near(item.near_pdq, 2 + i % 12, i).digest for i in range(5_000)} - {item.pdq.digest}
    world.hash_set("stranger/flood", purpose=purpose)
    world.lists("stranger/flood", [record(f"line {i}", [Hash("PDQ", d)]) for i, d in enumerate(sorted(closer))])
    for policy in ("any", "block"):
        (answer,) = world.ask([[item.near_pdq]], policy, by=CONSUMER)
        assert answer.verdict is Verdict.MATCH
        assert answer.truncated
        assert any(entry.startswith("hotline/") for reason in answer.reasons for entry in reason.entries)


def test_queries_near_an_entry_dim_it_for_nobody_else(world: World) -> None:
    """What somebody asks, however often, is no statement: it must not weaken what others are answered."""
    (item,) = listed(world, 1)
    for turn in range(3):
        queries = [[near(item.pdq, 3 + i % 25, (turn, i))] for i in range(1_000)]
        world.ask(queries, "any", by=writer("stranger"))
    for policy in ("any", "block"):
        (answer,) = world.ask([[item.near_pdq]], policy, by=CONSUMER)
        assert answer.verdict is Verdict.MATCH


def withdraw_all(world: World, by: Principal, **criteria: object) -> EntryChanges:
    wanted = BulkOrder(EntryAction.WITHDRAW, WithdrawalReason.ERROR)
    return world.hub.selections.change(by, Selection(**criteria), wanted)  # type: ignore[arg-type]


def test_a_stolen_token_withdraws_no_list_in_one_call(world: World) -> None:
    items = listed(world, MORE)
    thief = writer("hotline")
    names = tuple(e.name for e in world.entries("hotline/list"))
    done = withdraw_all(world, thief, hash_set="hotline/list")
    assert (done.changed, done.pending) == (0, MORE)
    # Nor in several, by other criteria, or by agreeing to what it asked for itself.
    for criteria in ({"names": names[:60]}, {"names": names[60:]}, {"hash_set": "hotline/list", "reasons": (PENDING,)}):
        done = withdraw_all(world, thief, **criteria)
        assert (done.changed, done.pending) == (0, 0)
    assert set(verdicts(world, items)) == {Verdict.MATCH}


def test_somebody_elses_entries_are_neither_reached_nor_told(world: World) -> None:
    items = listed(world, MORE)
    hashes = tuple(t.md5 for t in items)
    nothing = tuple(Item(f"nobody lists {i}").md5 for i in range(MORE))
    for name in ("hostile", "stranger"):
        told = [withdraw_all(world, writer(name), hashes=given) for given in (hashes, nothing)]
        assert [(d.selected, d.changed, d.unmatched, d.skipped) for d in told] == [(0, 0, MORE, ())] * 2
        assert not world.hub.selections.search(writer(name), Selection(hashes=hashes), 100, 0).entries
        assert not world.hub.queue.list(writer(name))
        with pytest.raises(PermissionDenied):
            withdraw_all(world, writer(name), hash_set="hotline/list")
    with pytest.raises(PermissionDenied):
        world.hub.selections.search(CONSUMER, Selection(hashes=hashes), 100, 0)
    assert set(verdicts(world, items)) == {Verdict.MATCH}
