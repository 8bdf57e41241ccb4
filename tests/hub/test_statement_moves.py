"""What entries state, as digests in pages, and what they are known by there, after entries were moved between lists in
every way: a list means the same by pages as by rows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest

from hashhub.errors import HashHubError
from hashhub.hashes import Hash
from hashhub.hub import contribute
from hashhub.hub.selections import BulkOrder
from hashhub.model import (
    Action,
    EntryAction,
    EntryState,
    Principal,
    Record,
    Role,
    Selection,
    Unclassified,
    WithdrawalReason,
)
from hashhub.store import DailyLimit
from tests.hub.conftest import OPERATOR, Desk, digest, item, seeds, writer
from tests.hub.test_statement_pages import (
    SETS,
    Chance,
    DecidedTwice,
    _everything_is_large,  # noqa: F401 - a fixture that is used by itself
    check_places,
    places,
)

_FILES = 9  # so few that most lists are about what was moved
COLLEAGUE = Principal(name="alpha-night", role=Role.CONTRIBUTOR, contributor="alpha")


def alike(algorithm: str, number: int) -> Hash:
    """A digest that begins as those of half of the other files do."""
    own = digest(algorithm, number)
    return Hash(algorithm, digest(algorithm, 1000 + number % 2).digest[:8] + own.digest[8:])


class Moves(Chance):
    """Lists whose items change their names and hashes, and moves of one entry, of many, and by two persons."""

    def _record(self, number: int) -> Record:
        record = super()._record(number)
        changed: dict[str, Any] = {}
        if self.random.random() < 0.4:  # the name of a file may be that of another one
            changed["external_id"] = f"x{number + self.random.choice((0, 1))}"
        hashes = list(record.hashes)
        if hashes and self.random.random() < 0.3:
            hashes.append(alike(self.random.choice(("MD5", "SHA1", "SHA256")), number))
        if hashes and self.random.random() < 0.1:  # contradicts what others say of the file
            hashes.append(digest("SHA256", number + self.random.choice((0, 1))))
        self.random.shuffle(hashes)
        return msgspec.structs.replace(record, hashes=tuple(dict.fromkeys(hashes)), **changed)

    def new_list(self, name: str) -> list[Record]:
        records = super().new_list(name)
        # Some files twice, so that what is said of them becomes one entry.
        again = [n for n in range(_FILES) if self.random.random() < 0.15]
        return records + [self._record(n) for n in again]

    def delete(self) -> None:
        external_id = self.random.choice(("", f"x{self.random.randrange(_FILES)}"))
        record = item(self.random.randrange(_FILES), action=Action.WITHDRAW, external_id=external_id)
        more = [self._record(n) for n in range(_FILES) if self.random.random() < 0.2]
        self.desk.contribute(self.random.choice(SETS), record, *more, has_classifications=True)

    def many(self) -> None:
        contributor = "alpha"
        action = self.random.choice(list(EntryAction))
        who = self.random.choice((OPERATOR, writer(contributor), COLLEAGUE))
        criteria: dict[str, Any] = {"hash_set": self.random.choice(SETS)}
        chosen = self.random.randrange(3)
        if chosen == 0:
            criteria["hashes"] = tuple(digest("MD5", n) for n in self.random.sample(range(_FILES), 3))
        elif chosen == 1:
            criteria["external_ids"] = tuple(f"x{n}" for n in self.random.sample(range(_FILES), 3))
        else:
            criteria["states"] = (self.random.choice(list(EntryState)),)
        reason = WithdrawalReason.ERROR if action is EntryAction.WITHDRAW else None
        order = BulkOrder(action, reason, limit=self.random.choice((0, 3)))
        self.desk.hub.selections.change(who, Selection(**criteria), order)

    def wish(self) -> None:
        name = self.random.choice(SETS)
        entries = self.desk.entries(name)
        if entries:
            contributor, _, own = name.partition("/")
            entry = self.random.choice(entries).id
            who = self.random.choice((writer(contributor), COLLEAGUE, OPERATOR))
            reason = self.random.choice((WithdrawalReason.ERROR, WithdrawalReason.REQUESTED_BY_PERSON_SHOWN))
            self.desk.hub.entries.withdraw(who, contributor, own, entry, reason, "wrong")

    def step(self) -> None:
        chosen: Callable[[], object] = self.random.choices(
            (self.send, self.delete, self.one, self.many, self.wish, self.revert, self.expire, self.tidy, self.bury),
            (10, 2, 4, 5, 3, 1, 1, 2, 1),
        )[0]
        with suppress(HashHubError):  # what is refused changes nothing
            chosen()


@seeds(2, 1)
def test_a_list_means_the_same_by_pages_and_by_rows_whatever_was_moved(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(contribute, "Intake", DecidedTwice)
    monkeypatch.setattr(any_desk.hub.contribute.tidying, "wake", lambda: None)
    monkeypatch.setattr("hashhub.hub.entries.WITHDRAWALS_A_DAY", DailyLimit(entries=2, share=0.5))
    if seed % 2:
        monkeypatch.setattr("hashhub.store.entry_transitions.now", lambda: datetime(2200, 1, 1, 13, tzinfo=UTC))
    any_desk.hash_set(SETS[0], scheme="vic-us", unclassified=Unclassified.LISTED)
    any_desk.hash_set(SETS[1])
    chance = Moves(any_desk, Random(seed))
    before = DecidedTwice.times
    store = any_desk.hub.store
    for _ in range(50):
        chance.step()
        check_places(store)
    assert DecidedTwice.times > before + 5
    assert places(store)
