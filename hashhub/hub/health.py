"""How the hub is: what it can do now, what it has done since its start, which lists are overdue."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from hashhub.background import Background
from hashhub.errors import HashHubError, Reason, Unavailable
from hashhub.model import Counts, MatchResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from hashhub.matcher import Matcher
    from hashhub.store import Store

_SECONDS: Final = 1.0  # between two looks at the database
ANSWER_SECONDS: Final = 5.0  # a look that takes longer than this is no answer
STALE_SECONDS: Final = 5.0  # without a look for changes: five times what is promised, more than a busy machine's hiccup
_ONE_RENEWAL_SECONDS: Final = 600.0
_INTERVALS: Final = 10
_LEAST_INTERVALS: Final = 3
_COMMITS: Final = 100  # of a hash set, that are looked at
_LOOK_SECONDS: Final = 300.0  # between two looks at the imports
MOST_SETS: Final = 1000  # told of at a time, the most overdue first: bounds a scrape


class Need(StrEnum):
    """What a service needs to answer."""

    DATABASE = "DATABASE"  # it can be read
    ROOM = "ROOM"  # it can be written
    MATCHER = "MATCHER"  # it has caught up, and is not behind


class Readiness:
    """Whether the matcher may answer. Its follower sets `is_ready`: it has caught up since the start, and no backup was
    restored since; and `looked`: when it was last known to have everything.
    """

    def __init__(self, matcher: Matcher, poll_interval: float) -> None:
        self._matcher = matcher
        self._poll_interval = poll_interval
        self.is_ready = False
        self.looked = time.monotonic()

    def seconds_behind(self) -> float:
        """Return for how many seconds the matcher has not been known to have everything; since the start until then."""
        return time.monotonic() - self.looked

    def require(self) -> None:
        """Raise Unavailable unless the matcher has caught up: one that lacks entries must not answer NO_MATCH."""
        if self._matcher.is_damaged:
            why = "the index that answers is damaged, and is rebuilt from the database; retry in a moment"
        elif not self.is_ready:
            why = "the matcher is still reading the hub's entries; retry in a moment"
        elif time.monotonic() - self.looked > STALE_SECONDS + 2 * self._poll_interval:
            why = (
                "the hub has not been able to look for changes for some seconds, so it may not know what was just "
                "listed; retry in a moment"
            )
        else:
            return
        raise Unavailable(why, reason=Reason.MATCHER_NOT_READY, retry_after=1.0)


class Condition:
    """Which needs are met, by one small look a second: a probe is answered at once while the database hangs."""

    def __init__(self, store: Store, readiness: Readiness) -> None:
        """Until the first look was made the database counts as read: it was, a moment ago, to open it."""
        self._store = store
        self._readiness = readiness
        self._answered = time.monotonic()
        self._is_answering = True
        self._has_room = True
        self.revision = 0
        """The database's, at the last look."""
        self.thread = Background(
            "condition", self.look, complaint="the database does not answer", pause=_SECONDS, longest_pause=_SECONDS
        )

    def look(self) -> None:
        """Read one row; see whether writes would fit. Raises Unavailable when the database is away."""
        try:
            self.revision = self._store.revision()
            self._has_room = self._store.has_room()
        except BaseException:
            self._is_answering = False
            raise
        self._answered = time.monotonic()
        self._is_answering = True

    def met(self) -> frozenset[Need]:
        """Return what is there now; asks nobody."""
        needs = set()
        if self._is_answering and time.monotonic() - self._answered <= _SECONDS + ANSWER_SECONDS:
            needs.add(Need.DATABASE)
        if self._has_room:
            needs.add(Need.ROOM)
        with suppress(HashHubError):
            self._readiness.require()
            needs.add(Need.MATCHER)
        return frozenset(needs)


class Tally:
    """Counters that only grow, by what is counted and by label; all labels are from closed sets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, float]] = {
            "live": {"HASHED": 0, "UNREAD": 0, "SKIPPED": 0},
            "batches": {"": 0},
            "bytes": {"": 0},
        }
        for what in ("verdicts", "hits", "items", "seconds", "phases"):
            self._counts[what] = defaultdict(int)

    def add(self, what: str, label: str = "", number: float = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[what][label] += number

    def answered(self, answers: Iterable[MatchResult], hit_algorithms: Iterable[str]) -> None:
        """Count the verdicts of one call, and by which algorithms its entries were hit."""
        verdicts, hits = self._counts["verdicts"], self._counts["hits"]
        with self._lock:  # a loop: Counter.update takes 2 µs however little it is given
            for answer in answers:
                verdicts[answer.verdict] += 1
            for algorithm in hit_algorithms:
                hits[algorithm] += 1

    def committed(self, counts: Counts) -> None:
        """Count what became of an import's items."""
        for field in counts.__struct_fields__:
            if field != "items":
                self.add("items", field, getattr(counts, field))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add up how long the block takes, whether or not it succeeds."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add("seconds", name, time.perf_counter() - started)
            self.add("phases", name)

    def read(self) -> Mapping[str, Mapping[str, float]]:
        """Return a copy of all counts: by what is counted, by label."""
        with self._lock:
            return {what: {str(label): n for label, n in of.items()} for what, of in self._counts.items()}


class Renewal(NamedTuple):
    """How long ago a hash set was renewed, and how long that usually takes; both in seconds."""

    age: float
    usual: float

    @property
    def ratio(self) -> float:
        """The age over the usual interval: 1 when the next renewal is due."""
        return self.age / self.usual


class Renewals:
    """The renewals of all hash sets, looked up now and then.

    Commits within ten minutes of one another are one renewal. The usual interval is the median of up to ten intervals
    between a hash set's last renewals, known once there were four. A list sent again byte for byte is no renewal.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.intervals: Mapping[str, tuple[float, float]] = {}
        self._looked: float | None = None

    def look(self) -> None:
        """Look at the store's imports, if the last look is long ago."""
        if self._looked is not None and time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        intervals = {}
        for name, times in self._store.imports.last_commit_times(_COMMITS).items():
            renewed = renewals([t.timestamp() for t in times])
            if len(renewed) > _LEAST_INTERVALS:
                gaps = [later - earlier for earlier, later in itertools.pairwise(renewed)]
                intervals[name] = (times[-1].timestamp(), statistics.median(gaps[-_INTERVALS:]))
        self.intervals = intervals
        self._looked = time.monotonic()

    def at(self, time_: datetime) -> Mapping[str, Renewal]:
        """Return the renewals as of a time, by the hash set's name, the most overdue first."""
        seconds = time_.timestamp()
        all_ = {name: Renewal(max(0.0, seconds - last), usual) for name, (last, usual) in self.intervals.items()}
        most_overdue = sorted(all_.items(), key=lambda item: -item[1].ratio)
        return dict(most_overdue[:MOST_SETS])


def renewals(times: Sequence[float]) -> list[float]:
    """Return when each renewal began, given the ascending times of commits."""
    begun: list[float] = []
    before = float("-inf")
    for at in times:
        if at - before > _ONE_RENEWAL_SECONDS:
            begun.append(at)
        before = at
    return begun
