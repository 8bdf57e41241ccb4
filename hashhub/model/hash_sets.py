"""Hash sets, and the terms under which they may be used and kept."""

from __future__ import annotations

import re
import shlex
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.errors import Violation
from hashhub.hashes import SEARCHED
from hashhub.model.checks import SLUG, refuse, wrong_in_slug, wrong_in_text

_RECIPIENT: Final = re.compile(rf"(?:contributors|groups)/{SLUG.pattern}|tokens/[a-z0-9-]{{1,63}}")
# Of terms that are a permission, the option that takes it back.
_PERMISSIONS: Final = {
    "redistribution": "--no-redistribution",
    "disclose_existence": "--conceal-existence",
    "bulk": "--no-bulk",
}
MAX_RETENTION_DAYS: Final = 36_500  # a hundred years: catches typing errors


class Purpose(StrEnum):
    """What being in a hash set states about an item, when the entry itself says nothing more precise."""

    CSAM = "CSAM"
    EXPLOITATIVE = "EXPLOITATIVE"
    BENIGN = "BENIGN"
    TEST = "TEST"


class TLP(StrEnum):
    """Traffic Light Protocol 2.0 (FIRST, 2022)."""

    CLEAR = "CLEAR"
    GREEN = "GREEN"
    AMBER = "AMBER"
    AMBER_STRICT = "AMBER_STRICT"
    RED = "RED"


class Unclassified(StrEnum):
    """What an item without a classification becomes where its source's format carries them. QUARANTINED waits for a
    person. LISTED is active and undecided: being listed is all that is known, which is no claim of harm.
    """

    QUARANTINED = "QUARANTINED"
    LISTED = "LISTED"


class Marking(msgspec.Struct, frozen=True, kw_only=True):
    """Handling terms of a hash set. `hashhub.hub.access` enforces them at every way out; docs/terms.md tells what each
    does.

    `recipients`: `contributors/ID`, `groups/ID` or `tokens/ID`, the only ones that may see the entries; empty: everyone
    whom the TLP allows. `permitted_purposes`: a caller must have stated one of these; empty means any.
    `disclose_existence`: a caller that may not see an entry is told that something is known (verdict REVIEW) without by
    whom; otherwise it learns nothing. `bulk`: digests may leave in lists, feeds, mirrors and exports, and not only in
    answers to queries. `max_distances`: up to where who may not list the entries may ask, by algorithm, where that is
    more than the algorithm's default. `expire_time`: from then on only the contributor and the hub's operators and
    auditors see the entries.
    """

    tlp: TLP = TLP.AMBER
    permitted_purposes: tuple[str, ...] = ()
    legal_basis: str = ""
    redistribution: bool = False
    recipients: tuple[str, ...] = ()
    disclose_existence: bool = False
    bulk: bool = False
    max_distances: dict[str, int] = {}
    expire_time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument: TLP:RED without recipients would be visible to nobody or, worse, to everybody. A
        distance below an algorithm's default would refuse everybody's usual questions.
        """
        wrong = wrong_in_text("marking.legal_basis", self.legal_basis, required=False)
        for i, recipient in enumerate(self.recipients):
            if not _RECIPIENT.fullmatch(recipient):
                wrong.append(
                    Violation(
                        f"marking.recipients[{i}]", "must be contributors/ID, groups/ID or tokens/ID", "RECIPIENT"
                    )
                )
        for name, distance in self.max_distances.items():
            of = SEARCHED.get(name)
            if of is None or not (of.default_max_distance or 0) <= distance <= of.max_possible_distance:
                expected = (
                    f"must be {of.default_max_distance or 0} to {of.max_possible_distance}, got {distance}"
                    if of is not None
                    else f"must be one of {', '.join(SEARCHED)}"
                )
                wrong.append(Violation(f"marking.max_distances[{name[:20]}]", expected, "OUT_OF_RANGE"))
        if self.tlp is TLP.RED and not self.recipients:
            wrong.append(Violation("marking.recipients", "TLP:RED needs at least one named recipient", "REQUIRED"))
        refuse("marking", wrong)

    def looser_than(self, floor: Marking, owner: str) -> dict[str, str]:
        """Return the terms that let more than `floor`, with what each must be, as options of the command line. Of
        recipients here a floor allows those of the same name, and the owner of the entries.
        """
        must: dict[str, str] = {}
        levels = list(TLP)
        if levels.index(self.tlp) < levels.index(floor.tlp):
            must["tlp"] = f"--tlp {floor.tlp.lower().replace('_', '-')}"
        for term, option, also in (
            ("permitted_purposes", "--permitted-purpose", ()),
            ("recipients", "--recipient", (f"contributors/{owner}",)),
        ):
            own, allowed = getattr(self, term), (*getattr(floor, term), *also)
            if getattr(floor, term) and not (own and set(own) <= {*allowed}):
                must[term] = " ".join(f"{option} {shlex.quote(name)}" for name in dict.fromkeys(allowed))
        if floor.legal_basis.strip() not in self.legal_basis:
            both = "; ".join(filter(None, (self.legal_basis.strip(), floor.legal_basis.strip())))
            must["legal_basis"] = f"--legal-basis {shlex.quote(both)}"
        must |= {t: option for t, option in _PERMISSIONS.items() if getattr(self, t) and not getattr(floor, t)}
        wide = {
            name: floor.max_distances.get(name, SEARCHED[name].default_max_distance or 0)
            for name, distance in self.max_distances.items()
            if distance > floor.max_distances.get(name, SEARCHED[name].default_max_distance or 0)
        }
        if wide:
            must["max_distances"] = " ".join(f"--max-distance {name}={distance}" for name, distance in wide.items())
        if floor.expire_time is not None and (self.expire_time is None or self.expire_time > floor.expire_time):
            must["expire_time"] = f"--terms-expire {floor.expire_time.isoformat()}"
        return must


class HashSet(msgspec.Struct, frozen=True, kw_only=True):
    """A named collection of one contributor under one set of terms.

    `scheme` is `id@version` from the registry, or empty when the set's items carry no classification. `review_depth` is
    how many qualified people looked at each item before it was listed; 0 means not stated. `unclassified`: see there;
    LISTED needs an operator. `floors`: terms that came with lists whose entries stand in it, which its own let no more
    than; `get` tells them to its contributor, operators and auditors. `accepted_revision`: what the set says against
    harm (a benign set's entries, harmless verdicts beyond the daily number) weighs as far as an operator accepted it,
    which is up to this revision; 0: not at all.
    """

    contributor: str
    id: str
    display_name: str = ""
    scheme: str = ""
    purpose: Purpose = Purpose.CSAM
    review_depth: int = 0
    marking: Marking = Marking()
    unclassified: Unclassified = Unclassified.QUARANTINED
    floors: tuple[Marking, ...] = ()
    accepted_revision: int = 0
    create_time: datetime | None = None

    @property
    def name(self) -> str:
        """`CONTRIBUTOR/SET`, as commands and answers write it."""
        return f"{self.contributor}/{self.id}"

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation."""
        wrong = [*wrong_in_slug("contributor", self.contributor), *wrong_in_slug("id", self.id)]
        wrong += wrong_in_text("display_name", self.display_name, required=False)
        # Nobody has a hundred reviewers: catches units and typing errors.
        if not 0 <= self.review_depth <= 100:  # noqa: PLR2004 - see above
            wrong.append(Violation("review_depth", "must be between 0 and 100", "OUT_OF_RANGE"))
        refuse("hash set", wrong)


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long a hash set's entries are kept; only its contributor, operators and auditors are told.

    `days`: an entry that was not listed for so long expires; 0: never. `hold`: nothing of the hash set is deleted or
    expires by age while it is held; only operators set and lift it. `asked_by`: the token that asked for the hash set's
    deletion, which waits for a second person, and `ask_time`.
    """

    days: int = 0
    hold: bool = False
    asked_by: str = ""
    ask_time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a number of days that cannot be meant."""
        if not 0 <= self.days <= MAX_RETENTION_DAYS:
            refuse("retention", [Violation("days", f"must be 0 to {MAX_RETENTION_DAYS}", "OUT_OF_RANGE")])


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion of a hash set does, or with a dry run would do: its rows, by what they are. `revision`: of it, or
    of the request (`pending`: a second person must agree); 0: a dry run. `holds`: those that go on elsewhere.
    """

    hash_set: str
    entries: int = 0
    imports: int = 0
    findings: int = 0
    reviews: int = 0
    holds: int = 0
    pending: bool = False
    revision: int = 0
