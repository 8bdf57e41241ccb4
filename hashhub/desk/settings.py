"""Settings of what comes after a match: vault, queue, cases, reports, records; and of whom the hook asks."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from hashhub.conversion import refuse, too_small
from hashhub.desk.decision import Action, WithoutAnswer
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import Effort


class Mode(StrEnum):
    """Who is asked. ONLINE: the hub, for each upload. LOCAL: a copy of what its terms allow, in this process."""

    ONLINE = "ONLINE"
    LOCAL = "LOCAL"


class HashingSite(StrEnum):
    """Where media are hashed. HERE: only hashes leave. HUB: the upload itself is sent to the hub, in memory only."""

    HERE = "HERE"
    HUB = "HUB"


class Encryption(StrEnum):
    """Who can open what the vault holds. OFF: there is no vault."""

    OFF = "OFF"
    AGE = "AGE"
    KEY_FILE = "KEY_FILE"
    KMS = "KMS"


class RetentionStart(StrEnum):
    """What the time for which something is kept counts from."""

    HELD = "HELD"
    REPORTED = "REPORTED"


class VaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The vault: encrypted copies of uploads that were held or blocked. Off unless chosen."""

    encryption: Encryption = Encryption.OFF
    """OFF; AGE to public keys, KEY_FILE by a key in a file, KMS by a key service."""

    recipients_file: str = ""
    """AGE: file with public keys (age1…), one a line. Who has the identity of any of them can open."""

    key_file: str = ""
    """KEY_FILE: made by `hashhub hook vault key`, outside of the data directory."""

    kms_key: str = ""
    """KMS: awskms:///alias/NAME?region=…"""

    country: str = ""
    """Whose rule says how long a reported upload is kept (ISO 3166-1); where there is none, choose `days`."""

    days: int = 0
    """Days for which an upload is kept from `clock` on, and at least as long as the country's rule says."""

    clock: RetentionStart = RetentionStart.REPORTED
    """What `days` count from: HELD or REPORTED. A country's rule has its own."""

    days_without_report: int = 0
    """Days after which an upload that nobody reported is erased. No default: it is evidence, and a risk to keep."""

    days_after_release: int = 7
    """Days after which an upload that was released is erased: a wrong release can be noticed within them."""

    max_upload_bytes: int = 64 * 1024 * 1024
    """Bytes of the largest upload that is kept."""

    max_total_bytes: int = 10 * 1024 * 1024 * 1024
    """Bytes of all uploads that are kept together."""

    exports_a_day: int = 20
    """How many uploads one person may take out within 24 hours."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a vault that cannot work."""
        wrong = too_small(self, "vault", days=0, days_without_report=0, days_after_release=0, exports_a_day=0)
        for encryption, name in (
            (Encryption.AGE, "recipients_file"),
            (Encryption.KEY_FILE, "key_file"),
            (Encryption.KMS, "kms_key"),
        ):
            if self.encryption is encryption and not getattr(self, name):
                wrong.append(Violation(f"vault.{name}", f"must be given with {encryption}", "REQUIRED"))
            elif self.encryption is not encryption and getattr(self, name):
                wrong.append(Violation(f"vault.{name}", f"is for {encryption}, not {self.encryption}", "NOT_ALLOWED"))
        if self.encryption is not Encryption.OFF and not self.days_without_report:
            wrong.append(
                Violation("vault.days_without_report", "must say when what nobody reported is erased", "REQUIRED")
            )
        refuse(wrong)


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The queue of uploads that wait for a person."""

    two_person_release: bool = False
    """Whether two persons must say the same before an upload is released."""

    over_http: bool = False
    """Whether the sidecar also answers under /queue, and has pages under /moderation, for persons by their own tokens.
    """

    url: str = ""
    """Where browsers reach the pages: https://HOST. Empty: at the sidecar's own address, on this machine only."""

    review_token_file: str = ""
    """File with a contributor's token of the hub, by which decisions go back as reviews. Empty: the hook's own token,
    which may not review where it is a consumer's."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a URL to which no browser would bring a session back."""
        if self.url and (not self.url.startswith("https://") or "/" in self.url.removeprefix("https://").rstrip("/")):
            raise InvalidArgument.field("queue.url", "must be https://HOST, without a path")


class CaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cases: reports about one item whose copies are stopped and removed."""

    complaint: Action = Action.HOLD
    """What an open case does with copies before a person has confirmed it: HOLD, or BLOCK."""

    confirmed: Action = Action.BLOCK
    """What a case that a person has confirmed does with copies: BLOCK, or HOLD."""

    people: tuple[str, ...] = ()
    """Persons who may work on cases; system accounts, while there are no persons. Empty: all."""

    two_persons: bool = False
    """Whether a case is confirmed by another person than the one who opened it."""

    unconfirmed_days: int = 30
    """Days after which a case that nobody confirmed holds nothing any more."""

    max_open: int = 1_000
    """Cases that may be open or disputed at once."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        for name in ("complaint", "confirmed"):
            if getattr(self, name) is Action.ALLOW:
                raise InvalidArgument.field(f"case.{name}", "must be HOLD or BLOCK: a case stops copies")
        refuse(too_small(self, "case"))


class ReporterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who reports, in drafts. Nothing of it is sent anywhere."""

    company: str = ""
    """The company's name."""

    platform: str = ""
    """The full name of the app or service."""

    first_name: str = ""
    """Of the person who reports."""

    last_name: str = ""
    """Of the person who reports."""

    email: str = ""
    """Of the person who reports. NCMEC asks for it."""

    country: str = ""
    """Where the company is (ISO 3166-1)."""

    legal_url: str = ""
    """Page for law enforcement."""

    company_text: str = ""
    """What stands in each report: how legal process is served, an emergency number."""

    terms: str = ""
    """The part of your terms of service that matters."""

    industry_mou: bool = False
    """Whether the company has signed NCMEC's industry hash sharing memorandum; drafts classify files only then."""

    c3p_provider_id: str = ""
    """The identifier that the Canadian Centre for Child Protection gave the company."""

    nca_organisation: str = ""
    """The name under which the company is registered with the UK's National Crime Agency."""


class RecheckSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done once the hub answers again about uploads that had no answer."""

    url: str = ""
    """Your app's own URL, which is called with what such an upload turned out to be: https, or http on this machine."""

    secret_file: str = ""
    """File with the secret by which those calls are signed; needed with `url`."""

    seconds: float = 5.0
    """Seconds between two looks for uploads that wait for an answer."""

    keep_days: int = 30
    """Days for which digests of uploads that could not be read, and were allowed, are looked up again each day."""


class RecordsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the hook's records name uploads that are decided over."""

    keep_days: int = 0
    """Days without anything done, after which an upload that was released or removed loses its row: its name, its
    hashes, what it hit. 0: never. Events stay."""


class DeskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hook's settings that its desk reads, too; see `hashhub.hook.settings`."""

    CHOICES: ClassVar = {"on_match": (Action.HOLD.value, Action.BLOCK.value)}

    policy: str
    """Policy that judges: NAME or NAME@VERSION. No default: which statements suffice is a safety decision."""

    without_answer: WithoutAnswer
    """What is done with an upload of which nothing, or too little, can be known. No defaults."""

    on_match: Action = Action.BLOCK
    """What MATCH means for an upload: BLOCK, or HOLD to let a person decide."""

    on_review: Action = Action.HOLD
    """What REVIEW means for an upload."""

    on_frames_skipped: Action = Action.ALLOW
    """What becomes at least of an upload of which not all was looked at (the film of a motion photo, frames of a long
    animation), unless it is a MATCH; see above."""

    data: str = "hashhub-hook"
    """Directory of the hook's own records, vault and copy; for its owner only."""

    hub: str = "127.0.0.1:8470"
    """The hub's gRPC address."""

    insecure_hub: bool = False
    """Ask a hub on another machine in plain text: the network between is yours alone, or encrypts by itself."""

    token_file: str = ""
    """File with a token of the hub; one of a contributor or consumer. Empty: HASHHUB_TOKEN."""

    ca_file: str = ""
    """PEM file with the authorities to trust instead of the system's."""

    certificate: str = ""
    """PEM file with a client certificate for the hub, instead of `token_file`; with `certificate_key`."""

    certificate_key: str = ""
    """PEM file with the certificate's private key."""

    mode: Mode = Mode.ONLINE
    """Who is asked: ONLINE, the hub; LOCAL, a copy of its lists in this process."""

    hashing: HashingSite = HashingSite.HERE
    """Where media are hashed: HERE, or at the HUB, which then gets the upload itself."""

    effort: Effort = Effort.STANDARD
    """Which variants of an upload are looked for; see docs/match/variants.md."""

    recheck: RecheckSettings = RecheckSettings()
    records: RecordsSettings = RecordsSettings()
    case: CaseSettings = CaseSettings()
    reporter: ReporterSettings = ReporterSettings()
    vault: VaultSettings = VaultSettings()
    queue: QueueSettings = QueueSettings()
