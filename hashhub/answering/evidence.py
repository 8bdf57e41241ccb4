"""What queries hit, as the statements that a policy judges: search, look up, read.

Matching, explaining a verdict and trying a policy out begin with it, so that all three judge the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hashhub.answering.lookup import Hit, QueryHits, SearchedBefore, look_up
from hashhub.trust import HitPath, Statement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from hashhub.answering.lists import Lists, PlayedVideo
    from hashhub.matcher import Matcher
    from hashhub.model import Contributor, Entry, MatchOptions, Query, Review


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
    """Return what the queries hit among what the caller may see. One that hits nothing touches no database.

    `caller`, `among_frames`, `played`, `searched`: as in `look_up`.
    """
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
