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
    """The unit of comparison."""

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
    """Krippendorff's alpha of a dimension, with 95 % bounds by bootstrap, from items that two or more stated it of;
    None where nobody differed, or there are no such items. `metric`: nominal or ordinal.
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
    """How often a contributor states what the others' consensus is; `period`: 2026-Q3, or empty for all.
    `by_one_other`: items of the share where the consensus is one's word, or that of several with one source.
    """

    contributor: str
    dimension: str
    share: Proportion
    period: str = ""
    by_one_other: int = 0


class SuggestedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row for a crosswalk: of items that carry `value` and any value of `other_scheme`, how many carry `other_value`.
    `relation`: what the tables say, or empty. `examples`: pairs of entries. `contributors`: on whose statements.
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
    """An item that partners hold and a jurisdiction lacks. `entries`: the first thousand, by hash set and number, of
    `entry_count`.
    """

    entries: tuple[str, ...]
    jurisdictions: tuple[str, ...]
    contributors: tuple[str, ...]
    verdicts: tuple[str, ...]
    entry_count: int = 0


class Gaps(msgspec.Struct, frozen=True, kw_only=True):
    """What a jurisdiction lacks: items in all, by each contributor that holds them, and by each verdict stated.
    `max_distances`: within which a near hash of its own fills a gap, by algorithm.
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
