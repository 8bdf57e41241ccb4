"""Walks towards listed digests: whoever asks about many near variants of one picture can work out what is listed.

Of each token and each entry that it was told of and may not list, the first digest by which it was hit is kept, and
which bits the later ones varied. That bounds what their distances tell. Variants that miss tell as much, without any
distance: of what goes round, however often it is encoded again, few do; of a walk along the edge, every other one.
"""

from __future__ import annotations

import logging
import threading
import time
from heapq import nlargest
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from hashhub.errors import LimitExceeded, Reason
from hashhub.hashes import ALGORITHMS, Metric
from hashhub.hub import access
from hashhub.hub.access import DisclosureChannel
from hashhub.model import MatchResult, ReasonLine, Verdict
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.config import Config
    from hashhub.model import MatchOptions, Principal, Query
    from hashhub.store import Store

_log = logging.getLogger("hashhub.access")
MOST_ENTRIES: Final = 256  # of a token that are watched
MOST_TOKENS: Final = 1_024  # some 300 bytes an entry, and of those asked about often some 100 KB
_DISTINCT: Final = 1_024  # digests near an entry that are told apart
_VARIED: Final = 8  # a bit in so many: when more were varied, distances are not told
_FEW: Final = 2  # hits after which it is looked for misses beside
_OFTEN: Final = 32  # entries of a token beside which it is looked for misses: 10 µs of a miss
_RATIO: Final = 4  # hits for each miss, of what is no walk
_MANY: Final = 4  # times as many misses as raise the alarm make a walk, whatever was hit
_DAY: Final = 86_400
HitBy: TypeAlias = tuple[str, str, int, bytes]
"""An entry's name, and the algorithm, the distance and the query's digest by which it was hit."""
_BITS: Final = {name: of.bits for name, of in ALGORITHMS.items() if of.metric is Metric.HAMMING}
_USUAL: Final = {name: ALGORITHMS[name].default_max_distance or 0 for name in _BITS}
# Two pictures near one entry are within twice the distance. No others are by PDQ; of 64 bits, too many would be.
_NEAR: Final = _USUAL | {"PDQ": 2 * _USUAL["PDQ"]}


class _Watched:
    """What a token asked near one entry: the first and the last digest that hit it, and which bits varied."""

    def __init__(self, entry: str, algorithm: str, digest: bytes) -> None:
        self.entry, self.algorithm = entry, algorithm
        self.first = self.last = int.from_bytes(digest)
        self.varied = 0
        self.hits: set[int] = set()
        self.misses: set[int] = set()

    def is_walk(self, alarm: int) -> bool:
        count = len(self.misses)
        return count >= alarm and (count * _RATIO >= len(self.hits) or count >= alarm * _MANY)

    def is_near(self, algorithm: str, number: int) -> bool:
        apart = min((number ^ self.first).bit_count(), (number ^ self.last).bit_count())
        return algorithm == self.algorithm and apart <= _NEAR[algorithm]


class WalkGuard:
    """Notices walks, of one process and by day (UTC), and says what answers tell then. Thread-safe."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._alarm = config.near_variants_alarm
        self._lock = threading.Lock()
        self._day = 0
        self._tokens: dict[str, dict[str, _Watched]] = {}
        self._often: dict[str, list[_Watched]] = {}  # of these, what is hit often
        self._walking: dict[str, str] = {}  # tokens, and an entry that each walked towards

    def beside(self, principal: Principal, query: Query) -> list[tuple[_Watched, int]]:
        """Return what the token asks about often that a query is near, with the query's digest. Never waits."""
        often = self._often.get(principal.name)
        if not often:
            return []
        hashes = (*query.hashes, *(h for variant in query.variants for h in variant.hashes))
        asked = [(h.algorithm, int.from_bytes(h.digest)) for h in hashes if h.algorithm in _BITS]
        return [(one, number) for one in often for name, number in asked if one.is_near(name, number)]

    def note(self, principal: Principal, query: Query, hits: Sequence[HitBy]) -> tuple[frozenset[str], bool]:
        """Take in how a query hit entries. Return of which no distance is told, and whether it is a step of a walk.

        What hits another entry is no miss: several list the same picture, each as they have it.
        """
        near = [hit for hit in hits if hit[1] in _BITS and hit[2]]
        if not self._alarm or not (near or principal.name in self._often):
            return frozenset(), False
        closed = access.sight(principal, self._store.resources.held, DisclosureChannel.ANSWER).closed
        with self._lock:
            if (today := int(time.time()) // _DAY) != self._day:
                self._day, self._tokens, self._often, self._walking = today, {}, {}, {}
            beside = self.beside(principal, query)
            own = self._tokens.pop(principal.name, {})
            untold = set()
            for name, algorithm, _, digest in near:
                if name.rpartition("/")[0] not in closed:
                    continue
                watched = own.setdefault(name, _Watched(name, algorithm, digest))
                if watched.algorithm == algorithm:
                    watched.last = int.from_bytes(digest)
                    watched.varied |= watched.last ^ watched.first
                    if len(watched.hits) < _DISTINCT:
                        watched.hits.add(watched.last)
                if watched.varied.bit_count() * _VARIED > _BITS[watched.algorithm]:
                    untold.add(name)
            for watched, number in () if hits else beside:
                if len(watched.misses) < _DISTINCT:
                    watched.misses.add(number)
            walks = [watched for watched, _ in beside if watched.is_walk(self._alarm)]
            self._keep(principal.name, own)
            if walks and principal.name not in self._walking:
                self._walking[principal.name] = walks[0].entry
                _log.warning("token %s asks about near variants of one picture (near_variants_alarm)", principal.name)
        return frozenset(untold), bool(walks)

    def _keep(self, token: str, own: dict[str, _Watched]) -> None:
        while len(own) > MOST_ENTRIES:
            del own[min(own, key=lambda name: len(own[name].hits))]
        if own:
            self._tokens[token] = own  # the last one asked is the last to go
        often = (watched for watched in own.values() if len(watched.hits) >= _FEW)
        if most := nlargest(_OFTEN, often, key=lambda watched: len(watched.hits)):
            self._often[token] = most
        while len(self._tokens) > MOST_TOKENS:
            gone = next(iter(self._tokens))
            del self._tokens[gone]
            self._often.pop(gone, None)

    def told(
        self, principal: Principal, queries: Sequence[Query], results: Sequence[MatchResult], options: MatchOptions
    ) -> list[MatchResult]:
        """Return of answers what the token is told: of a step of a walk REVIEW and nothing else, unless the very file
        or the very digest is listed.
        """
        return [self._told(principal, *pair, options) for pair in zip(queries, results, strict=True)]

    def _told(self, principal: Principal, query: Query, result: MatchResult, options: MatchOptions) -> MatchResult:
        if any(line.code == ReasonCode.CIRCUIT_BREAKER for line in result.reasons):
            return result  # what it hit is not told already
        hits = [(m.entry.name, m.algorithm, m.distance, m.query_digest) for m in result.matches]
        untold, is_walk = self.note(principal, query, hits)
        if is_walk and all(m.distance and m.algorithm in _BITS for m in result.matches):
            return msgspec.structs.replace(_ON_A_WALK, label=result.label)
        return _without_distances(result, untold, options) if untold else result

    def check(self, principal: Principal, query: Query, hits: Sequence[HitBy]) -> None:
        """Raise LimitExceeded (SHARE_EXCEEDED) where `told` would leave something out."""
        if any(self.note(principal, query, hits)):
            raise LimitExceeded(
                "this token asked about many near variants of one picture today: match it, or ask again tomorrow (UTC)",
                reason=Reason.SHARE_EXCEEDED,
                metadata={"share": "near variants", "most": str(self._alarm)},
            )

    def walking(self) -> dict[str, str]:
        """Return the tokens that walked today, and an entry that each walked towards."""
        return dict(self._walking) if self._day == int(time.time()) // _DAY else {}

    def warnings(self) -> list[str]:
        """Return what is to be said of them."""
        return [
            f"token {token} asks about near variants of one picture, as if to learn a digest of {entry} "
            f"(near_variants_alarm): ask its holder, and see `hashhub token update {token} --expires now`"
            for token, entry in sorted(self.walking().items())
        ]


_TEXT: Final = "this token asked about so many near variants of one picture that of further ones nothing is told"
_ON_A_WALK: Final = MatchResult(
    verdict=Verdict.REVIEW,
    reasons=(ReasonLine(code=ReasonCode.NEAR_VARIANTS, text=_TEXT),),
    withheld=True,
    truncated=True,
)


def _without_distances(result: MatchResult, untold: frozenset[str], options: MatchOptions) -> MatchResult:
    """Return an answer with the largest distance that was searched in place of those that are not told."""
    most = _USUAL | options.max_distances
    matches = tuple(
        msgspec.structs.replace(m, distance=most[m.algorithm])
        if m.entry.name in untold and m.distance and m.algorithm in _BITS
        else m
        for m in result.matches
    )
    text = "how near these entries are is not told: this token asked about many near variants of one picture"
    line = ReasonLine(code=ReasonCode.DISTANCE_WITHHELD, text=text, entries=tuple(sorted(untold)))
    return msgspec.structs.replace(result, matches=matches, reasons=(*result.reasons, line))
