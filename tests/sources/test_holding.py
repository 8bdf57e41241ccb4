"""What drops much of a hash set, or comes after an unusual silence, waits for a person."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.errors import Cancelled, Conflict, FailedPrecondition, MalformedSource
from hashhub.model import SourceStatus, now
from hashhub.sources.fetch import apply, fetch, opened
from hashhub.sources.state import SourceState
from tests.sources.conftest import AddSource, digests_of
from tests.sources.partners import PARTNERS, MISPPartner, MockPartner, NCMECPartner, StopNCIIPartner

SetClock = Callable[[timedelta], None]


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Set the clock by which a source is judged so much further."""
    ahead = timedelta(0)

    def later() -> datetime:
        return now() + ahead

    def set_further(more: timedelta) -> None:
        nonlocal ahead
        ahead += more

    monkeypatch.setattr("hashhub.sources.fetch.now", later)
    return set_further


@pytest.mark.parametrize("kind", PARTNERS, ids=lambda kind: kind.protocol)
def test_a_tenth_less_is_held_and_applied_when_told(
    kind: type[MockPartner], hub: Client, add_source: AddSource, tmp_path: Path
) -> None:
    rng = random.Random(11)
    with kind().serving() as partner:
        hash_set = add_source(partner, drop=0.1)
        items = [partner.add(rng) for _ in range(33)]
        fetch(tmp_path, "partner", hub)
        before = digests_of(hub, hash_set)
        for item in items[:3]:
            partner.remove(item)
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK  # 3 of 33
        assert digests_of(hub, hash_set) == partner.digests() != before
        before = digests_of(hub, hash_set)
        for item in items[3:6]:
            partner.remove(item)
        added = partner.add(rng)
        held = fetch(tmp_path, "partner", hub)
        assert held.status is SourceStatus.HELD  # 3 of 30
        assert held.next_time is None
        assert "3 entries" in held.detail
        assert held.would is not None
        assert held.would.absent + held.would.withdrawn >= 3
        assert digests_of(hub, hash_set) == before
        partner.remove(added)  # what is applied is what was told
        done = apply(tmp_path, "partner", hub)
        assert done.status is SourceStatus.OK
        expected = partner.digests() | {bytes.fromhex(d) for d in added.digests.values()}
        assert digests_of(hub, hash_set) == expected
        fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == partner.digests()
        with pytest.raises(FailedPrecondition, match="nothing of 'partner' is held"):
            apply(tmp_path, "partner", hub)


@pytest.mark.parametrize("kind", PARTNERS, ids=lambda kind: kind.protocol)
def test_what_is_fetched_anew_cannot_be_applied_by_half(
    kind: type[MockPartner], hub: Client, add_source: AddSource, tmp_path: Path
) -> None:
    rng = random.Random(21)
    with kind().serving() as partner:
        hash_set = add_source(partner, drop=0.1, page_items=3)
        items = [partner.add(rng) for _ in range(20)]
        fetch(tmp_path, "partner", hub)
        for item in items[:16]:
            partner.remove(item)
        before = digests_of(hub, hash_set)
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.HELD
        with pytest.raises(Cancelled):  # as a kill after its first page
            fetch(tmp_path, "partner", hub, is_cancelled=lambda: True)
        with pytest.raises(FailedPrecondition):
            apply(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == before
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.HELD
        apply(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == partner.digests()


@pytest.mark.parametrize("kind", [StopNCIIPartner, NCMECPartner, MISPPartner], ids=lambda kind: kind.protocol)
def test_a_full_list_that_is_a_tenth_shorter_is_held(
    kind: type[MockPartner], hub: Client, add_source: AddSource, tmp_path: Path
) -> None:
    rng = random.Random(12)
    with kind().serving() as partner:
        hash_set = add_source(partner, drop=0.1)
        items = [partner.add(rng) for _ in range(30)]
        fetch(tmp_path, "partner", hub)
        before = digests_of(hub, hash_set)
        for item in items[:6]:
            del partner.items[item.id]  # without a word
        assert fetch(tmp_path, "partner", hub, full=True).status is SourceStatus.HELD
        assert digests_of(hub, hash_set) == before
        partner.items |= {item.id: item for item in items[:6]}
        assert fetch(tmp_path, "partner", hub, full=True).status is SourceStatus.OK  # it was the partner's mistake
        assert digests_of(hub, hash_set) == before == partner.digests()


def test_a_partner_that_has_nothing_any_more_is_held(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    with StopNCIIPartner().serving() as partner:
        hash_set = add_source(partner, drop=1.0)
        rng = random.Random(13)
        for _ in range(5):
            partner.add(rng)
        fetch(tmp_path, "partner", hub)
        before = digests_of(hub, hash_set)
        partner.items.clear()
        assert fetch(tmp_path, "partner", hub, full=True).status is SourceStatus.HELD
        assert digests_of(hub, hash_set) == before


def test_after_a_silence_it_is_told_and_what_comes_is_held(
    hub: Client, add_source: AddSource, tmp_path: Path, advance: SetClock
) -> None:
    rng = random.Random(14)
    with NCMECPartner().serving() as partner:
        hash_set = add_source(partner, silence=10.0)
        for _ in range(5):
            partner.add(rng)
            assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK
            advance(timedelta(hours=1))
        advance(timedelta(hours=7))
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK
        advance(timedelta(hours=3))
        silent = fetch(tmp_path, "partner", hub)
        assert silent.status is SourceStatus.SILENT
        assert "nothing has changed since" in silent.detail
        before = digests_of(hub, hash_set)
        partner.add(rng)
        held = fetch(tmp_path, "partner", hub)
        assert held.status is SourceStatus.HELD
        assert "after nothing had changed since" in held.detail
        assert digests_of(hub, hash_set) == before
        assert apply(tmp_path, "partner", hub).status is SourceStatus.OK
        assert digests_of(hub, hash_set) == partner.digests()
        partner.add(rng)
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK


@pytest.mark.parametrize(
    ("kind", "days", "is_full"),
    [("threatexchange", 84, False), ("threatexchange", 86, True), ("stopncii", 31, True), ("ncmec", 300, False),
     ("taxii", 6, False), ("taxii", 8, True)],
)  # fmt: skip
def test_a_position_that_is_too_old_begins_with_the_full_list(
    kind: str, days: int, is_full: bool, hub: Client, add_source: AddSource, tmp_path: Path, advance: SetClock
) -> None:
    rng = random.Random(15)
    chosen = next(partner for partner in PARTNERS if partner.protocol == kind)
    with chosen().serving() as partner:
        hash_set = add_source(partner)
        items = [partner.add(rng) for _ in range(10)]
        fetch(tmp_path, "partner", hub)
        del partner.items[items[0].id]  # the deletion was told, and is so no more
        partner.add(rng)
        advance(timedelta(days=days))
        fetch(tmp_path, "partner", hub)
        assert (digests_of(hub, hash_set) == partner.digests()) is is_full


def test_full_days_says_when_the_next_full_list_is_due(
    hub: Client, add_source: AddSource, tmp_path: Path, advance: SetClock
) -> None:
    rng = random.Random(16)
    with NCMECPartner().serving() as partner:
        hash_set = add_source(partner, full_days=2.0)
        items = [partner.add(rng) for _ in range(10)]
        fetch(tmp_path, "partner", hub)
        del partner.items[items[0].id]
        advance(timedelta(days=1))
        fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) != partner.digests()
        advance(timedelta(days=1, minutes=1))
        fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == partner.digests()


def test_what_cannot_be_read_to_its_end_takes_nothing_away(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    """An item that the connector refuses is told; a list that it cannot read is refused."""
    with StopNCIIPartner().serving() as partner:
        hash_set = add_source(partner, drop=0.1)
        rng = random.Random(17)
        items = [partner.add(rng) for _ in range(10)]
        fetch(tmp_path, "partner", hub)
        before = digests_of(hub, hash_set)
        for item in items:
            partner.touch(item, digests={"PDQ": "no digest"})
        assert fetch(tmp_path, "partner", hub, full=True).status is SourceStatus.HELD
        partner.answer = lambda a: partner.own_answer(a)._replace(
            body=partner.own_answer(a).body.replace(b"no digest", b"\xff\xfe")
        )
        with pytest.raises(MalformedSource):
            fetch(tmp_path, "partner", hub, full=True)
        assert digests_of(hub, hash_set) == before


def test_what_was_applied_before_a_kill_is_not_held_after_it(
    hub: Client, add_source: AddSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(19)
    with NCMECPartner().serving() as partner:
        hash_set = add_source(partner, drop=0.3)
        items = [partner.add(rng) for _ in range(11)]
        fetch(tmp_path, "partner", hub)
        for item in items[:3]:  # of eleven; of the eight that stay it would be too many
            partner.remove(item)

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(SourceState, "finish", killed)
            with pytest.raises(KeyboardInterrupt):
                fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == partner.digests()
        done = fetch(tmp_path, "partner", hub)
        assert done.status is SourceStatus.OK
        assert done.last is not None
        assert done.last.withdrawn == 3


def test_what_was_written_while_it_was_read_is_not_missed(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    rng = random.Random(20)
    with NCMECPartner().serving() as partner:
        hash_set = add_source(partner)
        for _ in range(5):
            partner.add(rng)
        late = partner.add(rng)
        del partner.items[late.id]
        partner.clock += 500
        partner.add(rng)
        fetch(tmp_path, "partner", hub)
        partner.items[late.id] = late
        fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == partner.digests()


def test_one_process_fetches_a_source(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    with StopNCIIPartner().serving() as partner:
        add_source(partner)
        with opened(tmp_path, "partner") as state, state.locked(), pytest.raises(Conflict, match="another process"):
            fetch(tmp_path, "partner", hub)
        assert partner.asked == []
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK


def test_another_url_begins_anew(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    rng = random.Random(18)
    with NCMECPartner().serving() as first, NCMECPartner().serving() as second:
        hash_set = add_source(first)
        for partner in (first, second, second):
            partner.add(rng)
        fetch(tmp_path, "partner", hub)
        file = tmp_path / "partner.toml"
        file.write_text(file.read_text().replace(first.url, second.url).replace("drop = 1.0", "drop = 0.5"))
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.HELD  # all that the first one had would go
        apply(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == second.digests()
