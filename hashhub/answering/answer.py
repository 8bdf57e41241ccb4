"""Answers: what a policy makes of what queries hit. The hub and a hook in local mode give the same ones by it."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hashhub import cancellation, trust
from hashhub.answering.lookup import Hit, QueryHits, SearchedBefore, look_up
from hashhub.answering.videos import FRAME, matching_frames, picture_in
from hashhub.errors import InvalidArgument, LimitExceeded, Reason, Violation
from hashhub.hashes import ALGORITHMS, SEARCHED
from hashhub.model import MAX_QUERIES, READINGS, TURNS, EntryMatch, MatchResult, Purpose, ReasonLine, Verdict, now
from hashhub.trust import HitPath, Statement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from hashhub.answering.lists import Lists, PlayedVideo
    from hashhub.matcher import Matcher
    from hashhub.model import Contributor, Entry, MatchOptions, Query, Review
    from hashhub.trust import Policy

MAX_MATCHES: Final = 1000  # entries in one answer
_MATCHES: Final = 100  # entries in one answer, unless the caller says otherwise
_WITHOUT_DEFAULT: Final = frozenset(n for n, of in ALGORITHMS.items() if of.default_max_distance is None)


class Evidence(NamedTuple):
    """What the caller may see of what each query hit, by the query's number; one that hit nothing is left out.

    nearest: the hits to judge, the nearest first: all of them, or of a flood the nearest of each contributor.
    stated_times: of entries, where a policy asks for them.
    """

    hits: Mapping[int, QueryHits]
    nearest: Mapping[int, Sequence[Hit]]
    entries: Mapping[int, Entry]
    reviews: Mapping[int, Sequence[Review]]
    contributors: Mapping[str, Contributor]
    stated_times: Mapping[int, datetime]

    def among(self, entries: Collection[int]) -> Evidence:
        """Return what of it is about these entries."""
        nearest = {i: [hit for hit in hits if hit.entry_id in entries] for i, hits in self.nearest.items()}
        return self._replace(nearest=nearest)

    def seen(self, query: int) -> list[tuple[Hit, Entry]]:
        """Return the hits of a query with their entries, the nearest first."""
        return [(hit, self.entries[hit.entry_id]) for hit in self.nearest.get(query, ())]

    def statements(self, query: int) -> list[Statement]:
        """Return what a policy judges about a query."""
        return [
            Statement(
                entry,
                self.contributors[entry.contributor],
                hit.hash_set,
                hit.algorithm,
                hit.distance,
                tuple(self.reviews.get(entry.id, ())),
                variant=hit.variant,
                also=tuple([HitPath(name, distance, variant) for (name, variant), distance in sorted(hit.also.items())])
                if hit.also
                else (),
                stated_time=self.stated_times.get(entry.id),
                several_frames=hit.several_frames,
            )
            for hit, entry in self.seen(query)
        ]


def gather(
    lists: Lists,
    matcher: Matcher,
    queries: Sequence[Query],
    options: MatchOptions,
    *,
    stated_times: bool,
    caller: str | None,
    among_frames: bool | None = None,
    played: Mapping[int, PlayedVideo] | None = None,
    searched: SearchedBefore | None = None,
) -> Evidence:
    """Return what the queries hit among what the caller may see. The other parameters: as in `look_up`."""
    hits, contributors = look_up(
        lists,
        matcher,
        queries,
        options,
        caller=caller,
        among_frames=among_frames,
        played=played or {},
        searched=searched or {},
    )
    if not hits:
        return Evidence({}, {}, {}, {}, contributors, {})
    nearest = {i: of_query.nearest() for i, of_query in hits.items()}
    read = [
        lists.entries.read_entry(entry_hit)
        for entry_hit in {hit.entry_id: hit.entry_hit for of_query in nearest.values() for hit in of_query}.values()
    ]
    entries = {entry.id: entry for entry in lists.entries.with_frame_counts(read)}
    return Evidence(
        hits,
        nearest,
        entries,
        lists.entries.reviews_of(entries),
        contributors,
        lists.entries.stated_times(entries.values()) if stated_times else {},
    )


class AnsweredQueries(NamedTuple):
    """One answer for each query, in order; and by which algorithms each query hit entries, by its number."""

    results: list[MatchResult]
    hit_by: Mapping[int, Sequence[str]]


def answers(
    lists: Lists,
    matcher: Matcher,
    queries: Sequence[Query],
    options: MatchOptions,
    policy: Policy,
    *,
    caller: str | None,
    among_frames: bool | None = None,
    searched: SearchedBefore | None = None,
) -> AnsweredQueries:
    """Answer queries that `check_queries` let through. `caller`, `among_frames`, `searched`: as in `look_up`."""
    evidence = gather(
        lists,
        matcher,
        queries,
        options,
        stated_times=policy.reads_statement_times,
        caller=caller,
        among_frames=among_frames,
        searched=searched,
    )
    if not evidence.hits:
        is_listed = lists.has_any()
        return AnsweredQueries([nothing(query, is_listed=is_listed) for query in queries], {})
    decided_at = now()
    results = []
    for i, query in enumerate(queries):
        hits = evidence.hits.get(i)
        if hits is None:
            results.append(nothing(query, is_listed=lists.has_any()))
            continue
        cancellation.check()
        judgement = trust.decide(
            policy,
            evidence.statements(i),
            evidence.contributors,
            time=decided_at,
            query=query.hashes,
            cut_short=hits.cut_short,
        )
        current = standing(evidence, i, decided_at)
        results.append(answer(lists, query, judgement, current, hits, evidence.reviews, options.match_limit))
    return AnsweredQueries(results, {i: [hit.algorithm for hit in hits] for i, hits in evidence.nearest.items()})


def standing(evidence: Evidence, query: int, at: datetime) -> list[tuple[Hit, Entry]]:
    """Return what a query hit without what has expired, which the judgement names and nobody gets."""
    return [(h, e) for h, e in evidence.seen(query) if e.expire_time is None or e.expire_time > at]


_NOTHING_LISTED: Final = ReasonLine(
    code=trust.ReasonCode.NOTHING_LISTED,
    text="it was compared with nothing: there is no list with an entry that this caller may see",
)
_NOTHING_KNOWN: Final = ReasonLine(code=trust.ReasonCode.NOTHING_KNOWN, text="no entry within the searched distances")
_NOTHING: Final = {  # by whether there was a list, and whether turns were looked for
    (is_listed, is_turned): MatchResult(
        verdict=Verdict.NO_MATCH,
        reasons=(
            *(() if is_listed else (_NOTHING_LISTED,)),
            _NOTHING_KNOWN,
            *(() if is_turned else (trust.AS_THEY_ARE,)),
        ),
    )
    for is_listed in (False, True)
    for is_turned in (False, True)
}


def nothing(query: Query, *, is_listed: bool) -> MatchResult:
    """Return the answer to a query that hit nothing. `is_listed`: whether there was a list to hit."""
    result = _NOTHING[is_listed, _is_turned(query)]
    return msgspec.structs.replace(result, label=query.label) if query.label else result


def _is_turned(query: Query) -> bool:
    """Whether mirrored and turned pictures were looked for as well, or there is nothing that can be turned."""
    for variant in query.variants:
        if variant.variant in TURNS:
            return True
    return not query.frames and not any(SEARCHED[h.algorithm].is_perceptual for h in query.hashes)


def answer(
    lists: Lists,
    query: Query,
    judgement: trust.Judgement,
    seen: Sequence[tuple[Hit, Entry]],
    hits: QueryHits,
    reviews: Mapping[int, Sequence[Review]],
    match_limit: int,
) -> MatchResult:
    """Put the answer together. What was left out of the judgement makes REVIEW of NO_MATCH and BENIGN."""
    reasons = [*judgement.reasons, *remarks(hits), *shown_as(seen)]
    verdict = seen_in_part(judgement.verdict, hits)
    if verdict is Verdict.NO_MATCH and not _is_turned(query):
        reasons.append(trust.AS_THEY_ARE)
    told = _shared(seen, min(match_limit or _MATCHES, MAX_MATCHES))
    asked = frozenset(chain(query.hashes, *(variant.hashes for variant in query.variants)))
    pictures = {hit.query_digest for hit, _ in told if hit.video is None and hit.variant == FRAME}
    columns = matching_frames(query) if pictures else None
    shown = {} if columns is None else {digest: picture_in(columns, digest) for digest in pictures}
    return MatchResult(
        verdict=verdict,
        reasons=tuple(map(_shortened, reasons)),
        matches=tuple(
            EntryMatch(
                entry=lists.disclosed(entry, asked),
                algorithm=hit.algorithm,
                distance=hit.distance,
                query_digest=hit.query_digest,
                reviews=dict(Counter(r.kind for r in reviews.get(entry.id, ()))),
                marking=hit.hash_set.marking,
                variant=hit.variant,
                video=hit.video or shown.get(hit.query_digest),
            )
            for hit, entry in told
        ),
        label=query.label,
        truncated=hits.cut_short or len(told) < len(seen),
        withheld=hits.withheld,
    )


def _shared(seen: Sequence[tuple[Hit, Entry]], limit: int) -> Sequence[tuple[Hit, Entry]]:
    """Return what was hit, in its order; of more than the limit the nearest ones of each contributor, in turn."""
    if len(seen) <= limit:
        return seen
    turns: Counter[str] = Counter()
    in_turn = []
    for place, (_, entry) in enumerate(seen):
        in_turn.append((turns[entry.contributor], place))
        turns[entry.contributor] += 1
    return [seen[place] for place in sorted(place for _, place in sorted(in_turn)[:limit])]


def remarks(hits: QueryHits) -> list[ReasonLine]:
    """Return what is to be said of hits that the judgement does not know of."""
    lines = []
    if hits.tripped:
        # Such a digest is more likely a blank picture or a placeholder than known material, but only a person can tell.
        text = "it is near a digest that matches an outlandish share of all queries"
        lines.append(ReasonLine(code=trust.ReasonCode.CIRCUIT_BREAKER, text=text))
    if hits.withheld:
        text = "something is known that the contributor's terms do not let this caller see"
        lines.append(ReasonLine(code=trust.ReasonCode.WITHHELD, text=text))
    return lines


_SHOWN: Final = {
    "border-removed": "a listed picture in a border",
    "content-box": "a listed picture on a screen, under a caption or beside other things",
    "turned-box": "a listed picture in a border or on a screen, mirrored or turned",
    "crop": "a picture of which a part is listed",
    "mirror-pad": "a part of a listed picture",
    **dict.fromkeys(("rotate-90", "rotate-180", "rotate-270"), "a listed picture, turned"),
    **dict.fromkeys(("flip-left-right", "flip-top-bottom"), "a listed picture, mirrored"),
    **dict.fromkeys(("transpose", "transverse"), "a listed picture, mirrored and turned"),
    FRAME: "a listed picture in a video, or a picture out of a listed video",
}


def shown_as(seen: Sequence[tuple[Hit, Entry]]) -> list[ReasonLine]:
    """Return what an upload seems to show, in words, by the variants by which it hit entries."""
    entries: dict[str, dict[str, None]] = {}
    for hit, entry in seen:
        is_guess = hit.variant and hit.variant not in READINGS
        if is_guess and hit.hash_set.purpose not in {Purpose.BENIGN, Purpose.TEST}:
            words = _SHOWN.get(hit.variant, f"a listed picture, changed ({hit.variant})")
            entries.setdefault(words, {})[entry.name] = None
    return [
        ReasonLine(code=trust.ReasonCode.HIT_BY_VARIANT, text=f"it seems to be {words}", entries=tuple(names))
        for words, names in entries.items()
    ]


def seen_in_part(verdict: Verdict, hits: QueryHits) -> Verdict:
    """Return the verdict of a judgement that did not know of some hits: never one that reads as clean."""
    if (hits.tripped or hits.withheld) and verdict in {Verdict.NO_MATCH, Verdict.BENIGN}:
        return Verdict.REVIEW
    return verdict


def _shortened(line: ReasonLine) -> ReasonLine:
    """Return the line with no more entries than an answer may have."""
    if len(line.entries) <= MAX_MATCHES:
        return line
    text = f"{line.text} (the first {MAX_MATCHES} of {len(line.entries)} entries)"
    return msgspec.structs.replace(line, text=text, entries=line.entries[:MAX_MATCHES])


def check_queries(queries: Sequence[Query], options: MatchOptions) -> None:
    """Raise LimitExceeded for more than MAX_QUERIES, InvalidArgument with every violation of the request."""
    if len(queries) > MAX_QUERIES:
        raise LimitExceeded(
            f"a call takes at most {MAX_QUERIES} queries, got {len(queries)}; send several", reason=Reason.TOO_LARGE
        )
    wrong = [
        Violation(f"queries[{i}].hashes", "needs at least one hash", "REQUIRED")
        for i, query in enumerate(queries)
        if not query.hashes and not query.frames
    ]
    used = set()
    for query in queries:
        for h in query.hashes:
            used.add(h.algorithm)
        for variant in query.variants:
            used.update([h.algorithm for h in variant.hashes])
    if options.match_limit < 0:
        wrong.append(Violation("options.match_limit", "must not be negative", "OUT_OF_RANGE"))
    for name, value in options.max_distances.items():
        algorithm = SEARCHED.get(name)
        if algorithm is None:
            wrong.append(
                Violation(
                    f"options.max_distances[{name[:20]}]",
                    f"must be one of {', '.join(SEARCHED)}",
                    "UNKNOWN_ALGORITHM",
                )
            )
            continue
        most = algorithm.max_possible_distance
        if not 0 <= value <= most:
            wrong.append(
                Violation(f"options.max_distances[{name}]", f"must be 0 to {most}, got {value}", "OUT_OF_RANGE")
            )
    missing = sorted((used & _WITHOUT_DEFAULT) - options.max_distances.keys())
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
