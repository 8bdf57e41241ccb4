"""Bounds and counts what tokens learn by asking of hash sets that they see in answers and may not list.

A distance that takes in the whole list would give all of it, so what is beyond a bound is refused. How many entries a
token was told of is counted: each process keeps the smallest SHA-256 of their names (a sketch: exact below 1,024 names,
within some percent beyond), and adds them every few seconds to the token's day in the database.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hashhub.background import Background
from hashhub.errors import HashHubError, PermissionDenied, Reason
from hashhub.hashes import SEARCHED
from hashhub.hub import access

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hashhub.config import Config
    from hashhub.model import MatchResult, Principal
    from hashhub.store import Store

_log = logging.getLogger("hashhub.access")
_SECONDS: Final = 10.0
_DAY: Final = 86_400
_SHOWN: Final = 1_000  # tokens in metrics
MOST: Final = 65_536  # SHA-256 of one token that wait to be written


class DisclosureCounter:
    """Bounds and counts what tokens are told of closed hash sets."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._photodna = config.max_photodna_distance
        self._alarm = config.learned_alarm
        self._lock = threading.Lock()
        self._names: dict[str, set[int]] = {}
        self._counts: tuple[int, Mapping[str, int]] = (0, {})
        self._told: set[tuple[str, int]] = set()
        self.thread = Background(
            "learned", self.write, complaint="what tokens learn of closed hash sets is not counted", pause=_SECONDS
        )

    def check(self, principal: Principal, max_distances: Mapping[str, int]) -> None:
        """Raise PermissionDenied (DISTANCE_NOT_ALLOWED) for a distance beyond what closed sets' terms allow."""
        usual = {name: of.default_max_distance for name, of in SEARCHED.items()}
        wide = {n: d for n, d in max_distances.items() if d > (usual[n] or 0)}
        if not wide:
            return
        registry = self._store.resources.registry()
        closed = access.sight(principal, registry, access.DisclosureChannel.ANSWER).closed
        for name, distance in wide.items():
            own = usual[name]
            least = self._photodna if own is None else own
            granted = [registry.hash_sets[x].marking.max_distances.get(name, 0) for x in closed]
            most = max(least, min(granted, default=distance))
            if distance > most:
                raise PermissionDenied(
                    f"options.max_distances[{name}] must be at most {most} for this token, got {distance}: there are "
                    "hash sets that it may see in answers and not list, and a wider question would give them away; ask "
                    "with at most that, or have the operator or their contributors allow more in their terms"
                    + (" (for all: setting max_photodna_distance)" if own is None else ""),
                    reason=Reason.DISTANCE_NOT_ALLOWED,
                    metadata={"algorithm": name, "maxDistance": str(most)},
                )

    def note_answers(self, principal: Principal, results: Sequence[MatchResult]) -> None:
        """Count what answers tell: the entries that matched, and those that reasons name."""
        names = {m.entry.name for r in results for m in r.matches}
        self.note(principal, names.union(*(line.entries for r in results for line in r.reasons)))

    def note(self, principal: Principal, names: Iterable[str]) -> None:
        """Count those of the entries (`CONTRIBUTOR/SET/ID`) that are of closed hash sets."""
        closed = access.sight(principal, self._store.resources.held, access.DisclosureChannel.ANSWER).closed
        learned = {_number(name) for name in names if name.rpartition("/")[0] in closed}
        if not learned:
            return
        with self._lock:
            own = self._names.setdefault(principal.name, set())
            if len(own) < MOST:
                own |= learned
        with suppress(RuntimeError):  # no thread can be made: the next answer tries again
            self.thread.start(at_once=False)

    def counts(self) -> Mapping[str, int]:
        """Return of how many entries tokens learned today: the _SHOWN highest that this process has written."""
        day, counts = self._counts
        return counts if day == _today() else {}

    def warnings(self) -> list[str]:
        """Return what is to be said of tokens that learned more than the settings say, today or yesterday."""
        if not self._alarm:
            return []
        return [
            f"token {token} was told of {count:,} entries within a day of hash sets that it may not list "
            f"(learned_alarm {self._alarm:,}): ask its holder, and see `hashhub token update {token} --expires now`"
            for token, count in sorted(self._store.tokens.learned(since=_today() - 1).items())
            if count >= self._alarm
        ]

    def write(self) -> None:
        """Add what was counted to what all processes did, and warn in the log of tokens that learned much."""
        with self._lock:
            names, self._names = self._names, {}
        day = _today()
        try:
            counts = self._store.tokens.note_learned(day, names) if names else {}
        except BaseException:
            with self._lock:
                for token, own in names.items():
                    self._names.setdefault(token, set()).update(own)
            raise
        known = {**(self._counts[1] if self._counts[0] == day else {}), **counts}
        self._counts = (day, dict(sorted(known.items(), key=lambda x: -x[1])[:_SHOWN]))
        for token, count in counts.items():
            if self._alarm and count >= self._alarm and (token, day) not in self._told:
                self._told = {told for told in self._told if told[1] == day} | {(token, day)}
                _log.warning(
                    "token %s was told of %d entries today of hash sets that it may not list (learned_alarm)",
                    token,
                    count,
                )

    def close(self) -> None:
        """Write down what was counted last."""
        self.thread.close()
        try:
            self.write()
        except HashHubError as e:
            _log.warning("what tokens learned last could not be written: %s", e.message)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def _today() -> int:
    return int(time.time()) // _DAY
