"""Who takes part, what they are named together as, and who acts: a token in its role, or the hub itself."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.errors import Violation
from hashhub.model.checks import refuse, wrong_in_slug, wrong_in_text

_JURISDICTION: Final = re.compile(r"[A-Z]{2}|ZZ")


class ContributorKind(StrEnum):
    """What sort of organisation a contributor is."""

    HOTLINE = "HOTLINE"
    LAW_ENFORCEMENT = "LAW_ENFORCEMENT"
    CLEARINGHOUSE = "CLEARINGHOUSE"
    PLATFORM = "PLATFORM"
    NGO = "NGO"


class Reliability(StrEnum):
    """Admiralty (NATO AJP-2.1) source reliability. F means that it cannot be judged, not that it is worse than E."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"
    F = "F"


class Contributor(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation that states something. `takes_from`: whose material it passes on; two entries are independent
    only when neither contributor takes from the other, directly or through others, and they share no source. Once
    retired its tokens do not work; what it stated stands. `objections_accepted_revision`: up to which those beyond the
    daily number weigh.
    """

    id: str
    display_name: str
    kind: ContributorKind
    jurisdiction: str
    reliability: Reliability = Reliability.F
    takes_from: tuple[str, ...] = ()
    create_time: datetime | None = None
    retire_time: datetime | None = None
    objections_accepted_revision: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation."""
        wrong = [*wrong_in_slug("id", self.id), *wrong_in_text("display_name", self.display_name)]
        if not _JURISDICTION.fullmatch(self.jurisdiction):
            wrong.append(
                Violation(
                    "jurisdiction", "must be an ISO 3166-1 alpha-2 code in capitals, such as GB; ZZ for none", "PATTERN"
                )
            )
        for i, other in enumerate(self.takes_from):
            wrong += wrong_in_slug(f"takes_from[{i}]", other)
        if self.id in self.takes_from:
            wrong.append(Violation("takes_from", "must not name the contributor itself", "SELF_REFERENCE"))
        refuse("contributor", wrong)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A named list of contributors that terms can name as a recipient. An empty one admits nobody."""

    id: str
    display_name: str = ""
    members: tuple[str, ...] = ()
    create_time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation."""
        wrong = [*wrong_in_slug("id", self.id), *wrong_in_text("display_name", self.display_name, required=False)]
        for i, member in enumerate(self.members):
            wrong += wrong_in_slug(f"members[{i}]", member)
        refuse("group", wrong)


class Role(StrEnum):
    """What a token may do: write its own contributor's sets; match; everything; read everything."""

    CONTRIBUTOR = "CONTRIBUTOR"
    CONSUMER = "CONSUMER"
    OPERATOR = "OPERATOR"
    AUDITOR = "AUDITOR"


class Actor(msgspec.Struct, frozen=True, array_like=True):
    """Who writes: the token, the contributor that it belongs to, and its role; kept with what it wrote."""

    name: str
    contributor: str
    role: Role


SYSTEM: Final = Actor("system", "", Role.OPERATOR)
"""The hub itself: migrations, expiry, what it does at a start."""
