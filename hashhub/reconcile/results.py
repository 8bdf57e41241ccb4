"""What reconciliation finds: counts and names of entries, never a digest.

An **item** is one media file as far as an extract shows: an entry counts once, whatever number of digests it has.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

Progress = Callable[[int, int, str], None]
"""Told now and then how many steps of how many are done, and what is being done. It may raise: whoever asked has
gone.
"""


class By(StrEnum):
    """What is compared with each other."""

    HASH_SET = "HASH_SET"
    CONTRIBUTOR = "CONTRIBUTOR"
    JURISDICTION = "JURISDICTION"


class Backend(StrEnum):
    """What computes it. Both give equal results."""

    DUCKDB = "DUCKDB"
    RAY = "RAY"


class Omission(msgspec.Struct, frozen=True, kw_only=True):
    """A contributor that was not looked at: others were asked for (`by_choice`), or its reliability is too low."""

    contributor: str
    reliability: str
    by_choice: bool = False


class OverlapCell(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries of `left` `right` holds, too: by an exact digest, and further ones by a near hash only."""

    left: str
    right: str
    exact: int
    near: int = 0


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """What they share. `cells` has both directions of each pair, for the counts of one are not those of the other.

    `entries`: how many each has. `alone`: how many of those nobody else holds. `max_distances`: by perceptual hash
    algorithm, inclusive; empty where near hashes were not looked at.
    """

    by: By
    revision: int
    names: tuple[str, ...]
    entries: dict[str, int]
    alone: dict[str, int]
    cells: tuple[OverlapCell, ...]
    max_distances: dict[str, int] = {}
    left_out: tuple[Omission, ...] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Two entries about the same media, by name: by an equal exact digest (`is_exact`), or, apart from that and weaker,
    by a perceptual hash that is near. `why` says it in a sentence, without a digest.
    """

    left: str
    right: str
    algorithm: str
    distance: int
    is_exact: bool
    why: str


class Proportion(msgspec.Struct, frozen=True, kw_only=True):
    """`count` of `items`, and the bounds of the 95 % interval of the share (Wilson's)."""

    count: int
    items: int
    low: float
    high: float


class DimensionAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Krippendorff's alpha of one dimension, from items that at least two contributors stated it of.

    `alpha` is None where it is not defined: nobody ever differed in what could be compared, or there are no such
    items. `low` and `high`: 95 % by bootstrap over items. `metric`: nominal or ordinal.
    """

    dimension: str
    items: int
    contributors: int
    metric: str
    alpha: float | None
    low: float | None
    high: float | None


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """How often a contributor states `stated` where the consensus is `consensus`."""

    contributor: str
    dimension: str
    consensus: str
    stated: str
    share: Proportion


class ContributorAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """How often a contributor states what the consensus of the others is, by dimension; `period` (2026-Q3) where it is
    about what was stated in that quarter only, empty for all. `by_one_other`: of the items of the share, those of which
    only one other states anything, or several that share a source, so that the consensus is one's word.
    """

    contributor: str
    dimension: str
    share: Proportion
    period: str = ""
    by_one_other: int = 0


class SuggestedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row for a crosswalk that data suggests: of items that carry `value` of `scheme` and any value of
    `other_scheme`, how many carry `other_value`.

    `relation` is what the schemes' tables say of the two values (`schemes.crosswalk.Relation`), empty where a table is
    not there. `examples`: names of entries, in pairs, as evidence. `contributors`: on whose statements it rests.
    """

    scheme: str
    value: str
    other_scheme: str
    other_value: str
    share: Proportion
    relation: str
    examples: tuple[tuple[str, str], ...] = ()
    contributors: tuple[str, ...] = ()


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far contributors agree. It suggests, and changes nothing."""

    revision: int
    items: int
    dimensions: tuple[DimensionAgreement, ...]
    contributors: tuple[ContributorAgreement, ...]
    confusions: tuple[Confusion, ...]
    drift: tuple[ContributorAgreement, ...]
    suggestions: tuple[SuggestedRow, ...]
    left_out: tuple[Omission, ...] = ()


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """An item that partners hold and a jurisdiction lacks: the entries by name, who holds it, what they state.

    `entries` has the first thousand at most, by hash set and number; `entry_count` says how many there are.
    """

    entries: tuple[str, ...]
    jurisdictions: tuple[str, ...]
    contributors: tuple[str, ...]
    verdicts: tuple[str, ...]
    entry_count: int = 0


class Gaps(msgspec.Struct, frozen=True, kw_only=True):
    """What a jurisdiction lacks: how many items in all, by the contributor that holds them, and by verdict.

    An item that several hold, or state different verdicts of, counts for each of these. `max_distances`: by perceptual
    hash algorithm, inclusive, where an item does not count as lacking that the jurisdiction holds by a near hash only.
    """

    jurisdiction: str
    revision: int
    items: int
    by_contributor: dict[str, int]
    by_verdict: dict[str, int]
    max_distances: dict[str, int] = {}
    left_out: tuple[Omission, ...] = ()


class PairConflicts(msgspec.Struct, frozen=True, kw_only=True):
    """How many conflicts of one kind and severity stand between two contributors; `left` comes first by name."""

    kind: str
    severity: str
    left: str
    right: str
    count: int


class ConflictTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Conflicts that are not resolved, counted."""

    revision: int
    counts: tuple[PairConflicts, ...]
