"""Who takes part: contributors, groups, their hash sets under terms, the tokens that act for them; and the schemes and
policies that are kept in the hub.
"""

from __future__ import annotations

import re
import shlex
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import SEARCHED

SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
BANK_NAME: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,254}")
_JURISDICTION: Final = re.compile(r"[A-Z]{2}|ZZ")
MAX_TEXT: Final = 1024  # characters in any one free-text field of a record
_RECIPIENT: Final = re.compile(rf"(?:contributors|groups)/{SLUG.pattern}|tokens/[a-z0-9-]{{1,63}}")
# Of terms that are a permission, the option that takes it back.
_PERMISSIONS: Final = {
    "redistribution": "--no-redistribution",
    "disclose_existence": "--conceal-existence",
    "bulk": "--no-bulk",
}
MAX_PATH: Final = 16  # hubs that a statement may come through
MAX_RETENTION_DAYS: Final = 36_500  # a hundred years: catches typing errors


def wrong_in_slug(field: str, value: str) -> list[Violation]:
    """Return what is wrong with an id that its owner chose."""
    if SLUG.fullmatch(value):
        return []
    return [Violation(field, "must be 1 to 63 of a-z, 0-9 and -, not beginning or ending with -", "PATTERN")]


def wrong_in_hub(field: str, value: str) -> list[Violation]:
    """Return what is wrong with the name of a hub. Two hyphens part it from its contributors' ids at other hubs."""
    if "--" not in value:
        return wrong_in_slug(field, value)
    return [Violation(field, "must have no two hyphens side by side", "PATTERN")]


def wrong_in_text(field: str, value: str, *, required: bool = True) -> list[Violation]:
    """Return what is wrong with a free text."""
    if required and not value.strip():
        return [Violation(field, "must not be empty", "REQUIRED")]
    if len(value) > MAX_TEXT:
        return [Violation(field, f"must be at most {MAX_TEXT} characters, got {len(value)}", "TOO_LONG")]
    return []


def refuse(what: str, wrong: list[Violation]) -> None:
    """Raise InvalidArgument with all violations, if there are any."""
    if wrong:
        raise InvalidArgument(
            f"invalid {what}: " + "; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong)
        )


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


class PeerOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """A contributor of another hub. `path`: the hubs that its statements came through, the nearest first; the last one
    is its own. `contributor`: what it is called there.
    """

    path: tuple[str, ...]
    contributor: str

    @property
    def hub(self) -> str:
        """The contributor's own hub."""
        return self.path[-1]

    def __post_init__(self) -> None:
        """Raise InvalidArgument for what is no way from one hub to another."""
        wrong = wrong_in_slug("origin.contributor", self.contributor)
        for i, hub in enumerate(self.path):
            wrong += wrong_in_hub(f"origin.path[{i}]", hub)
        if not 1 <= len(self.path) <= MAX_PATH or len(set(self.path)) < len(self.path):
            wrong.append(Violation("origin.path", f"must be 1 to {MAX_PATH} hubs, each once", "OUT_OF_RANGE"))
        refuse("origin", wrong)


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key with which a contributor signs what it contributes, in a line as OpenSSH writes it. What it signs
    counts from `create_time` until `revoke_time`; not at all if it was `stolen`.
    """

    id: str
    public_key: str
    create_time: datetime | None = None
    revoke_time: datetime | None = None
    stolen: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidArgument for an id that is none."""
        refuse("signing key", wrong_in_slug("id", self.id))


class Contributor(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation that states something. `takes_from`: whose material it passes on; two entries are independent
    only when neither contributor takes from the other, directly or through others, and they share no source. Once
    retired its tokens do not work; what it stated stands. `objections_accepted_revision`: up to which those beyond the
    daily number weigh. `origin`: whose statements these are, where another hub told them; None: its own.
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
    origin: PeerOrigin | None = None
    signing_keys: tuple[SigningKey, ...] = ()

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
    """What a token may do: write its own contributor's sets; match; everything; read everything; read, as another hub,
    what may leave this one.
    """

    CONTRIBUTOR = "CONTRIBUTOR"
    CONSUMER = "CONSUMER"
    OPERATOR = "OPERATOR"
    AUDITOR = "AUDITOR"
    PEER = "PEER"


class Actor(msgspec.Struct, frozen=True, array_like=True):
    """Who writes: the token, the contributor that it belongs to, and its role; kept with what it wrote.

    `person`: who held it, and `second_person`: who agreed; events keep both among their details, which can be erased.
    """

    name: str
    contributor: str
    role: Role
    person: str = ""
    second_person: str = ""


SYSTEM: Final = Actor("system", "", Role.OPERATOR)
"""The hub itself: migrations, expiry, what it does at a start."""


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


class Bank(msgspec.Struct, frozen=True, kw_only=True):
    """How a hash set is shown to clients of Hasher-Matcher-Actioner (HMA), which call it a bank.

    `name`: for its own contributor; empty: that of the hash set's id. `enabled_ratio`: 0: nothing is answered from it
    there; None: not stated, which is 1.
    """

    name: str = ""
    enabled_ratio: float | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a name or a ratio that none can be."""
        wrong = []
        if self.name and not (BANK_NAME.fullmatch(self.name) and "__" not in self.name):
            expected = "must be 1 to 255 capitals, digits and single underscores, not beginning with a digit"
            wrong.append(Violation("bank.name", expected, "PATTERN"))
        if not 0 <= (self.enabled_ratio or 0) <= 1:
            wrong.append(Violation("bank.enabled_ratio", "must be between 0 and 1", "OUT_OF_RANGE"))
        refuse("bank", wrong)


class HashSet(msgspec.Struct, frozen=True, kw_only=True):
    """A named collection of one contributor under one set of terms.

    `scheme` is `id@version` from the registry, or empty when the set's items carry no classification. `review_depth` is
    how many qualified people looked at each item before it was listed; 0 means not stated. `unclassified`: see there;
    LISTED needs an operator. `floors`: terms that came with lists whose entries stand in it, which its own let no more
    than; `get` tells them to its contributor, operators and auditors. `accepted_revision`: what the set says against
    harm (a benign set's entries, harmless verdicts beyond the daily number) weighs as far as an operator accepted it,
    which is up to this revision; 0: not at all. `bank_number`: unique in the hub, and says nothing of how many hash
    sets there are; only the hub gives it. 0: not known. `require_signature`: no list becomes part of it unless one of
    its contributor's keys signed it.
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
    bank: Bank = Bank()
    bank_number: int = 0
    require_signature: bool = False
    create_time: datetime | None = None

    @property
    def bank_name(self) -> str:
        """Its name as a bank, for its own contributor."""
        return self.bank.name or self.id.upper().replace("-", "_")

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


class Effort(StrEnum):
    """Which variants of an upload are looked for besides the upload as it was sent."""

    PLAIN = "PLAIN"  # none
    STANDARD = "STANDARD"  # how reference tools read the file (READINGS); TURNS; its border removed, its content box
    THOROUGH = "THOROUGH"  # if nothing is known of those: crops, too; turns by every algorithm


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a hub one token may take at a time, of all its workers together; 0: as the server's settings say.

    `calls`: in progress or waiting. `streams`: followed feeds, live streams and exports. `message_bytes`: of requests
    that are being read or worked on, and of answers that were not taken yet. `media_seconds`: of a core, for hashing
    media, in a minute.
    """

    calls: int = 0
    streams: int = 0
    message_bytes: int = 0
    media_seconds: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a share below 0."""
        wrong = tuple(
            Violation(f"shares.{name}", f"must not be negative, got {getattr(self, name)}", "OUT_OF_RANGE")
            for name in self.__struct_fields__
            if getattr(self, name) < 0
        )
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=wrong)


class CertificateId(msgspec.Struct, frozen=True, array_like=True):
    """A certificate: SHA-256 of it (RFC 8705's x5t#S256), its issuer in DER, its serial number in hexadecimal (it
    may have 20 bytes), and when it ends in seconds since 1970.
    """

    thumbprint: bytes
    issuer: bytes
    serial: str
    end: int


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a token of one contributor.

    `shares`: how much of the server it may take at a time, where that differs from the settings.
    `purposes`: for which it may see entries. `acts_for_others`: it answers for clients of its contributor, which some
    terms exclude. `may_mirror`: it reads the change feed. `max_effort`: with which its media are hashed at most; None:
    as the settings say. `identities`: what proves besides a secret that it calls, names in a certificate as
    `URI:spiffe://example.org/hub` or `DNS:hub.example.org`, values of people's claim as `OIDC:analysts`. `addresses`:
    networks that it may call from, empty: all. `person`: who holds it, empty: a machine. `excluded`: whom it does not
    let in, as people's issuer calls them. `creator`: which token made it. `last_use_time` is true to a minute.
    `by_old_secret`: it was let in by a secret that another one has taken the place of; `identity`: by this one of its
    identities, in this `certificate` or in a person's ID token; `by_session`: by a session that was got so.
    `second_person`: who agreed to what is done. These five are neither kept nor sent.
    """

    name: str
    role: Role
    contributor: str = ""
    purposes: tuple[str, ...] = ()
    description: str = ""
    acts_for_others: bool = False
    may_mirror: bool = False
    max_effort: Effort | None = None
    shares: Shares = Shares()
    identities: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    person: str = ""
    excluded: tuple[str, ...] = ()
    creator: str = ""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    by_old_secret: bool = False
    identity: str = ""
    certificate: CertificateId | None = None
    by_session: bool = False
    second_person: str = ""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: the token's `name`, what it may do, and the ids of the groups that its contributor is a member of.

    `person`: empty for a machine. `second_person`: whether grave calls take one at this hub.
    """

    name: str
    role: Role
    contributor: str = ""
    groups: tuple[str, ...] = ()
    person: str = ""
    second_person: bool = False


class SchemeStatus(StrEnum):
    """Whether a scheme's table was checked against its owner's text. DRAFT never leads to an automatic block."""

    VERIFIED = "VERIFIED"
    DRAFT = "DRAFT"


class DefinitionKind(StrEnum):
    """What can be defined in the hub's store, besides in files."""

    SCHEME = "SCHEME"
    POLICY = "POLICY"


class SignOff(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody answers for a definition: the token, the contributor that it belongs to, when, and what they say."""

    actor: str
    contributor: str
    time: datetime
    comment: str = ""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a scheme or policy that somebody put into the hub. A version's text never changes.

    `text` is TOML, as in a file. `actor` is the token that put it. `retire_time`: since when it is used no more.
    """

    kind: DefinitionKind
    id: str
    version: str
    text: str
    actor: str = ""
    create_time: datetime | None = None
    sign_offs: tuple[SignOff, ...] = ()
    retire_time: datetime | None = None

    @property
    def name(self) -> str:
        """`ID@VERSION`."""
        return f"{self.id}@{self.version}"
