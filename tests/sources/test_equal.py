"""Whatever a partner does and whenever the fetch is killed, the hash set has what the partner lists in the end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.model import SourceStatus
from hashhub.sources.fetch import fetch
from hashhub.sources.state import Progress, SourceState
from tests.sources.conftest import AddSource, digests_of
from tests.sources.partners import PARTNERS, MockPartner


class Killed(BaseException):
    """Ends a fetch as a kill does: nothing handles it."""


@pytest.mark.parametrize("kind", PARTNERS, ids=lambda kind: kind.protocol)
def test_after_two_hundred_changes_it_has_what_the_partner_has(
    kind: type[MockPartner], hub: Client, add_source: AddSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(20_261_202)
    kills = 0

    def deadly(name: str) -> None:
        own = getattr(SourceState, name)

        def call(state: SourceState, *arguments: object, **how: object) -> object:
            nonlocal kills
            before, after = rng.random() < 0.08, rng.random() < 0.08
            kills += before or after
            if before:
                raise Killed
            answer = own(state, *arguments, **how)
            if after:
                raise Killed
            return answer

        monkeypatch.setattr(SourceState, name, call)

    for name in ("begin", "stage", "save", "finish"):
        deadly(name)
    with kind().serving() as partner:
        hash_set = add_source(partner)
        changes = 0
        while changes < 200:
            count = rng.choice((1, 3, 25))
            for _ in range(count):
                partner.change(rng)
            changes += count
            while not _fetched(tmp_path, hub):
                if rng.random() < 0.3:
                    partner.change(rng)  # in the middle of a fetch
                    changes += 1
            _fetched_for_good(tmp_path, hub)
            assert digests_of(hub, hash_set) == partner.digests()
    assert kills > 5


def _fetched(place: Path, hub: Client) -> bool:
    try:
        assert fetch(place, "partner", hub).status is SourceStatus.OK
    except Killed:
        return False
    return True


def _fetched_for_good(place: Path, hub: Client) -> None:
    """Fetch once more: what changed while pages were asked for may be in none of them."""
    while not _fetched(place, hub):
        pass


@pytest.mark.parametrize("kind", PARTNERS, ids=lambda kind: kind.protocol)
def test_nothing_new_is_no_import(kind: type[MockPartner], hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    rng = random.Random(1)
    with kind().serving() as partner:
        hash_set = add_source(partner)
        for _ in range(20):
            partner.add(rng)
        first = fetch(tmp_path, "partner", hub)
        assert first.last is not None
        assert first.last.items == 20
        again = fetch(tmp_path, "partner", hub)
        assert (again.status, len(list(hub.list_imports(hash_set)))) == (SourceStatus.OK, 1)
        assert again.news_time == first.news_time
        assert digests_of(hub, hash_set) == partner.digests()


def test_what_was_withdrawn_by_hand_stays_withdrawn(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    from hashhub.model import WithdrawalReason
    from tests.sources.partners import NCMECPartner

    rng = random.Random(2)
    with NCMECPartner().serving() as partner:
        hash_set = add_source(partner)
        items = [partner.add(rng) for _ in range(12)]
        fetch(tmp_path, "partner", hub)
        name = next(e.name for e in hub.list_entries(hash_set) if e.external_id.endswith(items[0].id))
        hub.withdraw_entry(name, WithdrawalReason.ERROR)
        partner.touch(items[0], value="B2")
        done: Progress = fetch(tmp_path, "partner", hub, full=True)
        assert done.last is not None
        assert done.last.stays_withdrawn == 1
        gone = {bytes.fromhex(d) for d in items[0].digests.values()}
        assert digests_of(hub, hash_set) == partner.digests() - gone
