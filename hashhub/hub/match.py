"""The match path: who knows this item, what do they say it is, and does that satisfy the policy?

`Match.hashes` is the path's one function; its numbered steps are those of ARCHITECTURE.md.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hashhub import trust
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable, Violation
from hashhub.hashes import ALGORITHMS, Metric
from hashhub.hashing import Limits, MediaHashes, hash_media
from hashhub.hub import access
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.model import (
    Entry,
    EntryMatch,
    HashSet,
    MatchOptions,
    MatchResult,
    MediaResult,
    Principal,
    Query,
    ReasonLine,
    Review,
    Role,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashhub.config import Config
    from hashhub.hub.follow import Follower
    from hashhub.matcher import Matcher
    from hashhub.schemes import Registry, Scheme
    from hashhub.store import Store
    from hashhub.trust import Policy

MAX_QUERIES: Final = 1000  # in one call
MAX_MEDIA: Final = 100  # files in one call
MEDIA_SECONDS: Final = 30.0  # of hashing in one call; a single file takes a few at most
MAX_MATCHES: Final = 1000  # entries in one answer
_MATCHES: Final = 100  # entries in one answer, unless the caller says otherwise
_DIGESTS_CONSIDERED: Final = 1000  # nearest digests per hash of a query; more sets `truncated`


class _Hit:
    """What a query found in one entry: the nearest digest counts."""

    __slots__ = ("algorithm", "distance", "entry", "query_digest")

    def __init__(self, entry: Entry, algorithm: str, distance: int, query_digest: bytes) -> None:
        self.entry, self.algorithm, self.distance, self.query_digest = entry, algorithm, distance, query_digest

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Exact digests first, then by distance, then by entry: the order of an answer never depends on chance."""
        return ALGORITHMS[self.algorithm].is_perceptual, self.distance, self.entry.id


class Match:
    """Matching by hashes and by media, and what an answer refers to: policies and schemes."""

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        registry: Registry,
        policies: Mapping[str, Policy],
        follower: Follower,
        config: Config,
    ) -> None:
        """Keep the parts."""
        self._store = store
        self._matcher = matcher
        self._registry = registry
        self._policies = policies
        self._follower = follower
        self._limits = Limits(max_bytes=config.max_media_bytes, max_pixels=config.max_media_pixels)
        self._hashing = threading.BoundedSemaphore(os.cpu_count() or 1)  # more at a time take memory and gain nothing

    def hashes(
        self, principal: Principal, queries: Sequence[Query], options: MatchOptions
    ) -> tuple[list[MatchResult], int]:
        """Answer each query, in order, and return the revision that the answers are true of.

        (1) Authorise; pick the policy.
        (2) Per hash algorithm, search all queries at once: exact digests and near hashes, in snapshot + tail - withdrawn.
        (3) Fetch the entries hit; a query without a hit touches no database. The store decides what is active *now*, so that a
            withdrawn entry is gone the moment it is withdrawn, in every process.
        (4) Drop what the caller's terms do not let it see, keeping "something exists" only where terms allow.
        (5) Evaluate the policy over entries and reviews.
        (6) Answer with verdict, reasons, matches, revision.

        Raises InvalidArgument (unknown policy, no hashes, PHOTODNA without a distance), LimitExceeded (more than MAX_QUERIES),
        PermissionDenied, Unavailable while the matcher has not caught up.
        """
        access.allow(principal, Role.OPERATOR, Role.CONSUMER, Role.CONTRIBUTOR)  # (1)
        policy = self._policy(options.policy)
        if len(queries) > MAX_QUERIES:
            raise LimitExceeded(
                f"a call takes at most {MAX_QUERIES} queries, got {len(queries)}; send several", reason=Reason.TOO_LARGE
            )
        _check(queries, options)
        self._follower.require_ready()
        revision = self._matcher.revision
        found, truncated, tripped = self._search(queries, options)  # (2)
        hits = self._fetch(found)  # (3)
        if not hits and not tripped:
            return [_nothing(query) for query in queries], revision
        reviews = self._store.reviews_of(sorted({h.entry.id for per in hits.values() for h in per.values()}))
        # After the entries: whatever an entry belongs to is there.
        registry = self._store.registry()
        contributors = registry.contributors
        sight = access.sight(principal, registry, access.WayOut.ANSWER)
        answers: list[MatchResult] = []
        for i, query in enumerate(queries):
            if i not in hits and i not in tripped:
                answers.append(_nothing(query))
                continue
            seen, withheld = _visible(sight, list(hits[i].values()) if i in hits else [], registry.hash_sets)  # (4)
            statements = [
                trust.Statement(
                    hit.entry, contributors[hit.entry.contributor], terms, tuple(reviews.get(hit.entry.id, ()))
                )
                for hit, terms in seen
            ]
            judgement = trust.evaluate(policy, statements, contributors)  # (5)
            answers.append(  # (6)
                _answer(
                    query,
                    judgement,
                    seen,
                    reviews,
                    options.match_limit,
                    truncated=i in truncated,
                    tripped=i in tripped,
                    withheld=withheld,
                )
            )
        return answers, revision

    def media(
        self, principal: Principal, media: Sequence[tuple[str, bytes]], options: MatchOptions, *, single: bool = False
    ) -> tuple[list[MediaResult], int]:
        """Hash files and match them. The bytes are dropped on return.

        Hashing ends MEDIA_SECONDS after it began: files that were not begun by then get the verdict UNAVAILABLE (DEADLINE_EXCEEDED).
        With `single`, a file that cannot be read raises InvalidArgument (UNREADABLE_MEDIA) or LimitExceeded (MEDIA_TOO_LARGE); in a
        batch it gets the verdict UNAVAILABLE with that reason, never NO_MATCH. Otherwise as `hashes`.
        """
        access.allow(principal, Role.OPERATOR, Role.CONSUMER, Role.CONTRIBUTOR)
        self._policy(options.policy)
        if len(media) > MAX_MEDIA:
            raise LimitExceeded(
                f"a call takes at most {MAX_MEDIA} files, got {len(media)}; send several", reason=Reason.TOO_LARGE
            )
        queries: list[Query] = []
        results: list[MediaResult | None] = []
        about: list[MediaHashes] = []
        until = time.monotonic() + MEDIA_SECONDS
        for label, content in media:
            try:
                if time.monotonic() > until:
                    raise Unavailable(
                        f"hashing the files before this one took {MEDIA_SECONDS:g} s; send it again, in a smaller batch",
                        reason=Reason.DEADLINE_EXCEEDED,
                    )
                with self._hashing:
                    hashed = hash_media(content, dihedral=options.dihedral, limits=self._limits)
            except HashHubError as e:
                if single:
                    raise
                unreadable = ReasonLine(code=e.reason, text=e.message)
                results.append(
                    MediaResult(result=MatchResult(verdict=Verdict.UNAVAILABLE, reasons=(unreadable,), label=label))
                )
                continue
            queries.append(Query(hashes=hashed.hashes, label=label))
            about.append(hashed)
            results.append(None)
        answers, revision = self.hashes(principal, queries, options) if queries else ([], self._matcher.revision)
        matched = iter(zip(answers, about, strict=True))
        done: list[MediaResult] = []
        for waiting in results:
            if waiting is not None:
                done.append(waiting)
                continue
            answer, hashed = next(matched)
            quality = max((f.quality for f in hashed.frames if f.quality is not None), default=None)
            done.append(
                MediaResult(
                    result=_remark(answer, quality, hashed.not_perceptual),
                    hashes=hashed.hashes,
                    quality=quality,
                    media_type=hashed.media_type if hashed.frames else "",
                )
            )
        return done, revision

    def policies(self, principal: Principal) -> list[tuple[str, str, str]]:
        """Return (name, title, explanation) of each policy, by name."""
        access.allow(principal, *Role)
        return [(p.name, p.title, trust.explain(p)) for _, p in sorted(self._policies.items())]

    def schemes(self, principal: Principal) -> Sequence[Scheme]:
        """Return the classification schemes."""
        access.allow(principal, *Role)
        return self._registry.list()

    def _policy(self, name: str) -> Policy:
        if name not in self._policies:
            known = ", ".join(sorted(self._policies))
            wrong = (
                "is required: which statements suffice is a safety decision"
                if not name
                else f"there is no policy {name[:40]!r}"
            )
            raise InvalidArgument.field(
                "options.policy", f"{wrong}; choose one of {known}", "REQUIRED" if not name else "UNKNOWN"
            )
        return self._policies[name]

    def _search(
        self, queries: Sequence[Query], options: MatchOptions
    ) -> tuple[dict[str, dict[bytes, list[tuple[int, int, bytes]]]], set[int], set[int]]:
        """Return what was found: by algorithm and digest, the (query, distance, query's digest) that found it; the queries whose hits were
        cut short; and those that hit a digest whose circuit breaker has tripped, which is not looked up.
        """
        wanted: dict[str, tuple[list[bytes], list[int]]] = {}  # digests, and beside each the query that it is of
        for i, query in enumerate(queries):
            for h in query.hashes:
                if (column := wanted.get(h.algorithm)) is None:
                    column = wanted[h.algorithm] = ([], [])
                column[0].append(h.digest)
                column[1].append(i)
        found: dict[str, dict[bytes, list[tuple[int, int, bytes]]]] = {}
        truncated: set[int] = set()
        tripped: set[int] = set()
        for name, (digests, askers) in wanted.items():
            algorithm = ALGORITHMS[name]
            rows = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), algorithm.digest_bytes)
            max_distance = options.max_distances.get(name, algorithm.default_max_distance)
            assert max_distance is not None, name  # noqa: S101 - `_check` refused it
            matches = self._matcher.search(name, rows, max_distance=max_distance, limit=_DIGESTS_CONSIDERED)
            if not len(matches):
                continue
            by_digest: dict[bytes, list[tuple[int, int, bytes]]] = defaultdict(list)
            for r in np.flatnonzero(np.diff(matches.lims)).tolist():
                if matches.truncated[r]:
                    truncated.add(askers[r])
                for k in range(int(matches.lims[r]), int(matches.lims[r + 1])):
                    if matches.tripped[k]:
                        tripped.add(askers[r])
                        continue
                    hit = (askers[r], int(matches.distances[k]), digests[r])
                    by_digest[matches.digests[k].tobytes()].append(hit)
            if by_digest:
                found[name] = by_digest
        return found, truncated, tripped

    def _fetch(self, found: Mapping[str, Mapping[bytes, list[tuple[int, int, bytes]]]]) -> dict[int, dict[int, _Hit]]:
        """Return the hits by query and entry id."""
        hits: dict[int, dict[int, _Hit]] = defaultdict(dict)
        for name, by_digest in found.items():
            for digest, entries in self._store.entries_by_digests(name, list(by_digest)).items():
                for i, distance, query_digest in by_digest[digest]:
                    for entry in entries:
                        hit = _Hit(entry, name, distance, query_digest)
                        known = hits[i].get(entry.id)
                        if known is None or hit.rank < known.rank:
                            hits[i][entry.id] = hit
        return hits


_NOTHING: Final = MatchResult(
    verdict=Verdict.NO_MATCH,
    reasons=(ReasonLine(code=trust.ReasonCode.NOTHING_KNOWN, text="no entry within the searched distances"),),
)


def _nothing(query: Query) -> MatchResult:
    return msgspec.structs.replace(_NOTHING, label=query.label) if query.label else _NOTHING


def _visible(
    sight: access.Sight, hits: Sequence[_Hit], sets: Mapping[str, HashSet]
) -> tuple[list[tuple[_Hit, HashSet]], bool]:
    """Return the hits that the caller may see, nearest first, with their sets; and whether it may know that there are others."""
    seen: list[tuple[_Hit, HashSet]] = []
    withheld = False
    for hit in sorted(hits, key=lambda h: h.rank):
        name = f"{hit.entry.contributor}/{hit.entry.hash_set}"
        if name in sight.visible:
            seen.append((hit, sets[name]))
        else:
            withheld |= name in sight.disclosed
    return seen, withheld


def _answer(
    query: Query,
    judgement: trust.Judgement,
    seen: Sequence[tuple[_Hit, HashSet]],
    reviews: Mapping[int, Sequence[Review]],
    match_limit: int,
    *,
    truncated: bool,
    tripped: bool,
    withheld: bool,
) -> MatchResult:
    """Put the answer together. What was left out of the judgement is never read as clean: it makes REVIEW of NO_MATCH and BENIGN."""
    reasons = list(judgement.reasons)
    if tripped:
        # Such a digest is more likely a blank picture or a placeholder than known material, but only a person can tell.
        text = "it is near a digest that matches an outlandish share of all queries"
        reasons.append(ReasonLine(code=trust.ReasonCode.CIRCUIT_BREAKER, text=text))
    if withheld:
        text = "something is known that the contributor's terms do not let this caller see"
        reasons.append(ReasonLine(code=trust.ReasonCode.WITHHELD, text=text))
    verdict = judgement.verdict
    if (tripped or withheld) and verdict in {Verdict.NO_MATCH, Verdict.BENIGN}:
        verdict = Verdict.REVIEW
    limit = min(match_limit or _MATCHES, MAX_MATCHES)
    return MatchResult(
        verdict=verdict,
        reasons=tuple(reasons),
        matches=tuple(
            EntryMatch(
                entry=hit.entry,
                algorithm=hit.algorithm,
                distance=hit.distance,
                query_digest=hit.query_digest,
                reviews=dict(Counter(r.kind for r in reviews.get(hit.entry.id, ()))),
                marking=hash_set.marking,
            )
            for hit, hash_set in seen[:limit]
        ),
        label=query.label,
        truncated=truncated or len(seen) > limit,
        withheld=withheld,
    )


def _check(queries: Sequence[Query], options: MatchOptions) -> None:
    """Raise InvalidArgument with every violation of the request."""
    wrong = [
        Violation(f"queries[{i}].hashes", "needs at least one hash", "REQUIRED")
        for i, query in enumerate(queries)
        if not query.hashes
    ]
    used = {h.algorithm for query in queries for h in query.hashes}
    if options.match_limit < 0:
        wrong.append(Violation("options.match_limit", "must not be negative", "OUT_OF_RANGE"))
    for name, value in options.max_distances.items():
        algorithm = ALGORITHMS.get(name)
        if algorithm is None:
            wrong.append(
                Violation(
                    f"options.max_distances[{name[:20]}]",
                    f"must be one of {', '.join(ALGORITHMS)}",
                    "UNKNOWN_ALGORITHM",
                )
            )
            continue
        most = {
            Metric.EXACT: 0,
            Metric.HAMMING: algorithm.bits,
            Metric.SQUARED_EUCLIDEAN: 255 * 255 * algorithm.digest_bytes,
        }
        if not 0 <= value <= most[algorithm.metric]:
            wrong.append(
                Violation(
                    f"options.max_distances[{name}]",
                    f"must be 0 to {most[algorithm.metric]}, got {value}",
                    "OUT_OF_RANGE",
                )
            )
    missing = [n for n in sorted(used) if ALGORITHMS[n].default_max_distance is None and n not in options.max_distances]
    wrong += [
        Violation(
            f"options.max_distances[{n}]", f"is required for {n}: {ALGORITHMS[n].source}", Reason.DISTANCE_REQUIRED
        )
        for n in missing
    ]
    if wrong:
        raise InvalidArgument(
            "; ".join(f"{v.field} {v.description}" for v in wrong[:5]),
            violations=tuple(wrong),
            reason=Reason.DISTANCE_REQUIRED if missing else Reason.INVALID_FIELD,
        )


def _remark(answer: MatchResult, quality: int | None, not_perceptual: str | None) -> MatchResult:
    """Add what the file itself says about how much the answer is worth."""
    reasons = list(answer.reasons)
    if quality is not None and quality < MIN_PDQ_QUALITY:
        text = f"PDQ quality {quality} is below {MIN_PDQ_QUALITY}: a blank or nearly blank picture; near matches say little about it"
        reasons.append(ReasonLine(code=trust.ReasonCode.LOW_QUALITY, text=text))
    if not_perceptual:
        reasons.append(
            ReasonLine(code=trust.ReasonCode.EXACT_ONLY, text=f"only identical files were looked for: {not_perceptual}")
        )
    return msgspec.structs.replace(answer, reasons=tuple(reasons))
