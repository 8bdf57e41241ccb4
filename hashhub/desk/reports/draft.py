"""The common draft: what is known of an incident, before a recipient's form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final

import msgspec

from hashhub.desk.settings import ReporterSettings
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash

NOT_FILED: Final = "DRAFT \N{EN DASH} NOT FILED"
UNSAID: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]"
)
"""What may not stand in XML 1.0, and what does something to the text beside it."""
_MOST_TEXT: Final = 100_000  # characters of one text; the longest is a company's terms
_MOST_LIST: Final = 1_000
_MOST_PORT: Final = 65_535


class IncidentType(StrEnum):
    """NCMEC's types of incidents, verbatim: `incidentType` of the CyberTipline Reporting API's schema, 2025-06-11."""

    CHILD_PORNOGRAPHY = "Child Pornography (possession, manufacture, and distribution)"
    CHILD_SEX_TRAFFICKING = "Child Sex Trafficking"
    CHILD_SEX_TOURISM = "Child Sex Tourism"
    CHILD_SEXUAL_MOLESTATION = "Child Sexual Molestation"
    MISLEADING_DOMAIN_NAME = "Misleading Domain Name"
    MISLEADING_WORDS = "Misleading Words or Digital Images on the Internet"
    ONLINE_ENTICEMENT = "Online Enticement of Children for Sexual Acts"
    UNSOLICITED_OBSCENE_MATERIAL = "Unsolicited Obscene Material Sent to a Child"


class Annotation(StrEnum):
    """What a person says of the report as a whole."""

    SEXTORTION = "sextortion"
    CSAM_SOLICITATION = "csamSolicitation"
    MINOR_TO_MINOR = "minorToMinorInteraction"
    SPAM = "spam"
    SADISTIC = "sadisticOnlineExploitation"


class FileAnnotation(StrEnum):
    """What a person says of a file."""

    DRAWN = "animeDrawingVirtualHentai"
    POTENTIAL_MEME = "potentialMeme"
    VIRAL = "viral"
    SELF_PRODUCTION = "possibleSelfProduction"
    PHYSICAL_HARM = "physicalHarm"
    VIOLENCE = "violenceGore"
    BESTIALITY = "bestiality"
    LIVE_STREAMING = "liveStreaming"
    INFANT = "infant"
    GENERATIVE_AI = "generativeAi"


class Relevance(StrEnum):
    """Whether a file is what the report is about, or belongs to it."""

    REPORTED = "Reported"
    SUPPLEMENTAL = "Supplemental Reported"


class IndustryClassification(StrEnum):
    """NCMEC's industry scale."""

    A1 = "A1"
    A2 = "A2"
    B1 = "B1"
    B2 = "B2"


class IpEventKind(StrEnum):
    """What an account did from an address."""

    LOGIN = "Login"
    REGISTRATION = "Registration"
    PURCHASE = "Purchase"
    UPLOAD = "Upload"
    OTHER = "Other"
    UNKNOWN = "Unknown"


def _check(field: str, value: Any) -> None:
    match value:
        case str():
            if len(value) > _MOST_TEXT:
                raise InvalidArgument.field(field, f"must have at most {_MOST_TEXT} characters, got {len(value)}")
            if bad := UNSAID.search(value):
                raise InvalidArgument.field(field, f"must not have the character U+{ord(bad[0]):04X}")
        case datetime():
            if value.tzinfo is None:
                raise InvalidArgument.field(field, "must have a time zone, such as 2027-01-31T12:00:00Z")
        case tuple():
            if len(value) > _MOST_LIST:
                raise InvalidArgument.field(field, f"must have at most {_MOST_LIST} items, got {len(value)}")
            for one in value:
                _check(field, one)
        case ReporterSettings():
            for name in value.__struct_fields__:
                _check(f"reporter.{name}", getattr(value, name))


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a draft. Raises InvalidArgument for a text with control characters and a time without a zone."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            _check(field, getattr(self, field))


class Incident(_Part, frozen=True, kw_only=True):
    """What happened. `time`: of the first upload unless stated. `urgent`: why a child is in danger now, if stated."""

    time: datetime
    type: IncidentType | None = None
    description: str = ""
    urls: tuple[str, ...] = ()
    urgent: str = ""
    annotations: tuple[Annotation, ...] = ()


class IpEvent(_Part, frozen=True, kw_only=True):
    """From which address an account did something, when."""

    address: str
    time: datetime | None = None
    kind: IpEventKind = IpEventKind.UNKNOWN
    port: int | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for what is no address."""
        super().__post_init__()
        try:
            ip_address(self.address)
        except ValueError as e:
            raise InvalidArgument.field("subject.ip_events.address", "must be an IPv4 or IPv6 address") from e
        if self.port is not None and not 0 <= self.port <= _MOST_PORT:
            raise InvalidArgument.field("subject.ip_events.port", f"must be 0 to {_MOST_PORT}, got {self.port}")


class Subject(_Part, frozen=True, kw_only=True):
    """The account that uploaded; stated by a person, for hashhub knows none."""

    account_id: str = ""
    screen_name: str = ""
    display_names: tuple[str, ...] = ()
    profile_urls: tuple[str, ...] = ()
    first_name: str = ""
    last_name: str = ""
    emails: tuple[str, ...] = ()
    ip_events: tuple[IpEvent, ...] = ()


class ContentView(_Part, frozen=True, kw_only=True):
    """By which list a file was recognised. `distance`: in bits; 0: the very digest."""

    hash_set: str
    algorithm: str
    distance: int
    variant: str = ""


class ReportedFile(_Part, frozen=True, kw_only=True):
    """One file. `viewed`, `exif_viewed`: whether a person at the company has looked; None unless a person stated it."""

    reference: str
    time: datetime
    upload_id: str = ""
    file_name: str = ""
    url: str = ""
    media_type: str = ""
    size_bytes: int = 0
    hashes: tuple[Hash, ...] = ()
    seen: tuple[ContentView, ...] = ()
    viewed: bool | None = None
    exif_viewed: bool | None = None
    public: bool | None = None
    relevance: Relevance = Relevance.REPORTED
    classification: IndustryClassification | None = None
    annotations: tuple[FileAnnotation, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for what cannot be true together."""
        super().__post_init__()
        if self.exif_viewed and not self.viewed:
            raise InvalidArgument.field(
                f"files.{self.reference}.exif_viewed",
                "needs `viewed = true`: who has looked at the EXIF opened the file",
            )


class Draft(_Part, frozen=True, kw_only=True):
    """All that may go into a report. `case`: its case, or empty. `declaration`: a person's, about completeness."""

    created: datetime
    reporter: ReporterSettings
    incident: Incident
    files: tuple[ReportedFile, ...]
    subject: Subject = Subject()
    case: str = ""
    note: str = ""
    declaration: str = ""


class DraftOmission(msgspec.Struct, frozen=True, order=True):
    """Something that is in the draft and not in the report: its path, and why."""

    path: str
    why: str


class RenderedReport(msgspec.Struct, frozen=True, kw_only=True):
    """Files by name, what they lack of the draft, and what the recipient asks for and nobody has stated."""

    files: dict[str, bytes]
    dropped: tuple[DraftOmission, ...]
    missing: tuple[str, ...]


def said(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield each thing that a draft says with its path, such as `files[0].hashes[2]`; what is empty says nothing."""
    match value:
        case Hash():
            yield path, value.text
        case msgspec.Struct():
            for field in value.__struct_fields__:
                yield from said(getattr(value, field), f"{path}.{field}" if path else field)
        case tuple():
            for number, one in enumerate(value):
                yield from said(one, f"{path}[{number}]")
        case None | "":
            return
        case int() if value == 0 and not isinstance(value, bool) and path.endswith("size_bytes"):
            return
        case bool() if path == "reporter.industry_mou":  # it decides what a report may hold, and is no part of one
            return
        case _:
            yield path, value


def zoned(time: datetime) -> str:
    """Return the time in RFC 3339, with its zone."""
    return time.isoformat().replace("+00:00", "Z")


class OmissionTracker:
    """What became of each thing that a draft says. What nobody took is dropped; there is no third way."""

    def __init__(self, draft: Draft) -> None:
        self._said = [path for path, _ in said(draft)]
        self._taken: set[str] = set()
        self._why: dict[str, str] = {}

    def takes(self, *paths: str) -> None:
        """Note that these, and what lies below them, stand in the report."""
        self._taken.update(paths)

    def drops(self, path: str, why: str) -> None:
        """Note why this, and what lies below it, does not."""
        self._why[path] = why

    def dropped(self, otherwise: str) -> tuple[DraftOmission, ...]:
        """Return what the report lacks; `otherwise`: why, where nothing else was noted."""
        return tuple(
            DraftOmission(path, self._of(path) or otherwise)
            for path in self._said
            if self._of(path) or not any(_is_below(path, taken) for taken in self._taken)
        )

    def _of(self, path: str) -> str:
        return next((why for above, why in self._why.items() if _is_below(path, above)), "")


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))
