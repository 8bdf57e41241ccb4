"""A clause of a policy, as data."""

from __future__ import annotations

import msgspec

from hashhub.model import Reliability


class Clause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to reach MATCH: `contributors` pairwise independent contributors, each with an entry that fulfils all the
    rest.

    `verdicts`: every verdict that the entry leaves possible is one of these; `unclassified` takes entries that leave
    open whether they claim harm. `reliability`: the contributor's is one of these; empty
    means any. `verified_scheme`: the entry is classified, verdict included, in a scheme whose table was verified.
    `drafts`: entries classified in a draft scheme count too. `min_review_depth`: so many people looked at each item of
    the hash set. `jurisdictions`: the contributor's is one of these; empty means any. `dimensions`: all that the entry
    leaves possible in each is among the values (`schemes.dimensions.is_within`). `legal_status`: the same of
    JURISDICTION:STATUS. `stated_within_days`: it was stated, or confirmed by its contributor or an operator, so lately;
    0 means ever. `algorithms`: it was hit by one of these; empty means any. `max_distance`: of a hit by the algorithm,
    inclusive. `variants`: it was hit by one of these variants of the upload, NO_VARIANT being the upload as it was
    sent; empty means as sent. One hit must be what all three of these ask.
    """

    id: str
    title: str
    contributors: int
    verdicts: tuple[str, ...]
    reliability: tuple[Reliability, ...] = ()
    verified_scheme: bool = False
    drafts: bool = False
    min_review_depth: int = 0
    jurisdictions: tuple[str, ...] = ()
    dimensions: dict[str, tuple[str, ...]] = {}
    legal_status: tuple[str, ...] = ()
    stated_within_days: int = 0
    algorithms: tuple[str, ...] = ()
    max_distance: dict[str, int] = {}
    variants: tuple[str, ...] = ()
