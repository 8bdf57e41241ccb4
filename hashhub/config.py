"""One frozen configuration, read from a TOML file and the environment, every field documented.

Precedence: command-line option, then environment (`HASHHUB_` and the field's name in capitals), then the TOML file,
then the default. Unknown keys are refused: a misspelt limit must not silently mean the default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from hashhub.addresses import WEB_URL, is_loopback_host, parse_address
from hashhub.conversion import converted, refuse, refuse_misspelt, too_small
from hashhub.errors import InvalidArgument, Violation

_PREFIX: Final = "HASHHUB_"
_HOOK_PREFIX: Final = "HASHHUB_HOOK_"  # an upload hook's own: hashhub.hook.settings

_OF_CLIENTS: Final = ("HASHHUB_CERTIFICATE", "HASHHUB_KEY", "HASHHUB_ISSUER", "HASHHUB_CLIENT_ID")  # near to ours
_WEEK_HOURS: Final = 168
# What hashing one file may take, at a hub and at an upload hook alike: who hashed it must not decide the answer.
MEDIA_SECONDS: Final = 20.0
MEDIA_MEMORY_BYTES: Final = 4 * 1024 * 1024 * 1024
MEDIA_BYTES: Final = 30 * 1024 * 1024  # that a hub takes of one file; a request may have a little more


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a server."""

    data: str = "hashhub-data"
    """Directory for the embedded database, snapshots, `withdrawals.log` and the operator's first token."""

    database: str = ""
    """SQLAlchemy URL of a PostgreSQL database (postgresql+psycopg://…). Empty: SQLite in `data`."""

    database_password_file: str = ""
    """File with the database's password, so that it need not stand in `database`, where process lists and logs may show
    it.
    """

    listen: str = "127.0.0.1:8470"
    """Address of the gRPC service. Anything but loopback needs TLS, or `insecure_listen`."""

    http: str = "127.0.0.1:8471"
    """Address of the HTTP listener: the Connect protocol and plain JSON. Empty: none."""

    console: str = ""
    """Address of the console, pages for people in a browser, which a process beside the hub serves. Anything but
    loopback needs `oidc_issuer`, and TLS or `insecure_listen`. Empty: none.
    """

    console_url: str = ""
    """URL by which browsers reach the console, where that is not its address: a proxy's."""

    console_hub: str = ""
    """HOST:PORT by which the console reaches the hub's `listen`, as `tls_certificate` names it; needed with that."""

    console_hub_ca: str = ""
    """PEM file with the authority of that certificate. Empty: the machine's authorities."""

    handbook: str = ""
    """URL of this handbook, to which the console's pages lead, where you keep it. Empty: they name its pages."""

    insecure_listen: bool = False
    """Says that a proxy in front terminates TLS, so that a non-loopback address without TLS is intended."""

    tls_certificate: str = ""
    """PEM file with the server's certificate chain."""

    tls_key: str = ""
    """PEM file with the certificate's private key."""

    listen_certificates: str = ""
    """Address of a second gRPC listener, for client certificates; needs TLS and `tls_client_ca`. Empty: none."""

    tls_client_ca: str = ""
    """PEM file with authorities of client certificates. It, `tls_certificate`, `tls_key` are read again on a change."""

    tls_client_revoked: str = ""
    """PEM file with these authorities' revocation lists, read again when it changes. Empty: none."""

    second_person: bool = False
    """Whether what is grave takes two persons, of whom the second makes the same call as the first did: policies,
    schemes, grades of reliability, erasure, withdrawing many, letting a hash set go in bulk, resolving or reopening
    many conflicts at once, and reverts.
    """

    oidc_issuer: str = ""
    """URL of the OpenID Connect issuer of people, https, or http on this machine; with `oidc_audience`. Empty: none."""

    oidc_audience: str = ""
    """The client id that ID tokens must be for: one of this hub's own."""

    oidc_claim: str = "groups"
    """The claim of an ID token whose values tokens have among their identities, as OIDC:VALUE."""

    session_hours: float = 8.0
    """Hours for which a person's session works."""

    workers: int = 1
    """Processes that share the ports."""

    threads: int = 16
    """Threads for calls in each process."""

    max_concurrent_calls: int = 256
    """Calls in progress in one process before further ones get RESOURCE_EXHAUSTED."""

    max_waiting_commits: int = 4
    """Commits, and reverts, that wait in one process while another is made; further ones get RESOURCE_EXHAUSTED and a
    time to retry after.
    """

    max_connections: int = 1024
    """Connections to each listener of one process; beyond them, new ones are refused (gRPC) or wait (HTTP, where it
    is at most half of the files that the process may open).
    """

    max_message_bytes: int = 32 * 1024 * 1024
    """Largest request accepted, in bytes."""

    max_bytes_in_progress: int = 256 * 1024 * 1024
    """Bytes of batches of records, and as many of media, that are read or worked on at a time in one process, and of
    bodies that are held over HTTP; of those one token gets half. Room for one largest request there is in any case.
    """

    slow_sender_seconds: float = 60.0
    """Seconds within which a request must have come whole, from when its caller was let in. For a piece of an export or
    feed its reader has ten times as long.
    """

    token_calls: int = 128
    """Calls in progress or waiting that one token may have, at all workers together. These four shares can be set for
    each token (`hashhub token update`).
    """

    token_streams: int = 8
    """Followed feeds, live streams and exports that one token may have, at all workers together."""

    token_message_bytes: int = 128 * 1024 * 1024
    """Bytes of requests with records or media that one token may have in progress, at all workers together; and of
    answers over gRPC that it has not taken yet, at each worker, before its next call is refused.
    """

    token_media_seconds: int = 0
    """Seconds a minute that hashing media of one token may take, at all workers together. 0: those of half of the
    machine's cores.
    """

    max_live_streams: int = 32
    """Live streams in one process before further ones get RESOURCE_EXHAUSTED. Each takes two threads that mostly wait,
    and up to 12 MiB while pictures come.
    """

    live_frames_per_second: float = 10.0
    """Frames a second of one live stream that are looked up; of more, the newest."""

    token_live_frames_per_second: float = 80.0
    """Frames a second that are looked up of all live streams of one token, at all workers together."""

    max_effort: Literal["plain", "standard", "thorough"] = "thorough"
    """Which variants of an upload any caller may have looked for: none, those that are quick to make (`standard`), or
    crops, too (`thorough`; only of what is not known otherwise). A token can be given less. Whoever asks for more gets
    this, and is told (EFFORT_REDUCED). docs/match/README.md says what each costs.
    """

    max_photodna_distance: int = 0
    """PHOTODNA distance up to which a caller may ask who sees some hash set in answers only, and not in lists. PHOTODNA
    has no default distance: its thresholds are licensed. docs/terms.md has the other algorithms'.
    """

    learned_alarm: int = 1000
    """Entries that one token may see in answers in a day (UTC), of hash sets that it may not list, before `status` and
    the log say so. 0: never.
    """

    near_hits_alarm: int = 1000
    """Answers of a day (UTC) that rest on one entry by one perceptual algorithm, before `status` and the log name it:
    the uploads may be forged. Each of `workers` counts its share. No verdict changes. 0: never.
    """

    near_variants_alarm: int = 32
    """Near variants of one picture that a token may ask about in a day (UTC) beside an entry that it may not list, and
    not hit: then it is told no more of these, and `status` and the log name it. docs/terms.md. 0: never.
    """

    max_hash_sets: int = 200
    """Hash sets that one contributor may have. Every process knows all of them, and each answer asks their terms."""

    max_media_bytes: int = MEDIA_BYTES
    """Largest media file accepted for hashing, in bytes."""

    max_media_pixels: int = 64 * 1024 * 1024
    """Largest picture accepted for hashing, in pixels of one frame; JPEG 2000 counts fourfold. The default takes some 4
    s of a core and 2 GB (8 s with rotations and flips, twice that if very wide).
    """

    media_workers: int = 0
    """Child processes that decode and hash media, in each process of `workers`. 0: as many as cores in all."""

    max_queued_media: int = 32
    """Calls with media that wait for one of those, in each process, before further ones get RESOURCE_EXHAUSTED."""

    media_seconds: float = MEDIA_SECONDS
    """CPU time that hashing one file may take, in seconds (three times that on the clock); then it is stopped, and the
    file counts as not checked.
    """

    media_memory_bytes: int = MEDIA_MEMORY_BYTES
    """Memory that one of those child processes may take for a file, in bytes."""

    shrink_guard: float = 0.5
    """A replacing list that keeps less than this share of the current entries is refused unless the caller insists (0
    to 1).
    """

    open_import_days: float = 7.0
    """Days after which an import that nobody adds to or commits is cancelled, and what it holds dropped."""

    max_open_imports: int = 100
    """Open imports that one contributor may have."""

    max_staged_bytes: int = 16 * 1024 * 1024 * 1024
    """Bytes of records that one contributor may have sent and not committed; a list of ten million has some 2 GB."""

    operation_days: float = 7.0
    """Days for which the results of operations are kept. The files of an extract are kept for one at most."""

    max_operation_bytes: int = 8 * 1024 * 1024 * 1024
    """Bytes of results of operations that are kept in the data directory; the oldest go first."""

    ray_address: str = ""
    """Address of a Ray cluster, or `local`, on which overlap and agreement may be computed. Empty: none."""

    poll_interval: float = 0.2
    """Seconds between looks for changes that other processes committed."""

    drain_seconds: float = 10.0
    """Seconds that calls in progress are given when the server stops. A process that has not ended five seconds after
    that, whatever it is at, is ended."""

    webhook_allow: str = ""
    """Hosts (HOST or HOST:PORT) and networks that webhooks may call although they are not public, with commas between;
    plain http only on this machine. Without it, a webhook calls public addresses only.
    """

    webhook_deny: str = ""
    """Networks that webhooks may not call although they are public, with commas between: those of your own."""

    webhook_ports: str = "443"
    """Ports that webhooks may call, with commas between."""

    webhook_gather_seconds: float = 60.0
    """Seconds for which what happens is gathered before a webhook is called, so that a thousand objections are one
    call.
    """

    keep_withdrawn_days: float = 0.0
    """Days after which rows of withdrawn entries are deleted; what holds their items stays. 0: never."""

    keep_reports_days: float = 0.0
    """Days after which an import's report is deleted; its counts stay. 0: never."""

    keep_deliveries_days: float = 0.0
    """Days after which finished calls of webhooks are forgotten. 0: never."""

    listen_hma: str = ""
    """Address on this machine (127.0.0.1:PORT, or `unix:PATH` with one worker) for clients of Hasher-Matcher-Actioner
    that send no token: whoever reaches it is the token of `hma_bound_token_file`. Empty: none; `/hma/` of `http` takes
    clients that send one. docs/match/hma.md has all of it.
    """

    hma_bound_token_file: str = ""
    """File with the token that `listen_hma` is bound to, read again when it changes."""

    hma_verdict_policy: str = "any"
    """Policy by which the verdict is made that HMA's clients find in a header."""

    hma_policies: str = ""
    """Policies by which HMA's banks are named, with commas between: `block` for all, `MY_BANK=block` for one. Such a
    bank is named where its policy says MATCH only. Empty: whatever matches, as at HMA, unless it is known to be
    harmless.
    """

    hma_distances: str = ""
    """PDQ distances up to which HMA's banks match, with commas between: `20` for all, `MY_BANK=24` for one. Empty: 31,
    as at HMA.
    """

    hma_purpose: Literal["", "csam", "exploitative", "benign", "test"] = ""
    """What being in a bank states that HMA's clients create. Empty: they can create none."""

    hma_url_hosts: str = ""
    """Hosts (HOST or HOST:PORT) whose files HMA's clients may have fetched (`?url=`), with commas between; https, and
    public addresses, unless an address or a network is named itself; plain http only on this machine. Empty: none.
    """

    sources: str = ""
    """Directory of the sources that a `hashhub source run` on this machine fetches, whose report is read from there:
    `status`, the console and HMA's clients tell of them. Empty: none here.
    """

    peers: str = ""
    """Directory of the peers that a `hashhub peer run` on this machine follows; likewise."""

    log_origin: str = ""
    """What the log over the history is called in its checkpoints: a URL without its scheme, `hub.example.org/log`.
    Empty: `hashhub/` and the database's id. Another name needs a new log (`hashhub log begin`).
    """

    log_key: str = ""
    """File with the Ed25519 key that signs checkpoints, as `openssl genpkey -algorithm ed25519` writes it. Empty:
    `log.key` in the data directory, which the first checkpoint makes.
    """

    log_seconds: float = 0.0
    """Seconds for which a checkpoint is given out before another is signed. Whoever reads the log sees how much was
    written between two of them, and nothing else. 0: each is as new as can be.
    """

    log_witnesses: str = ""
    """File with the witnesses that cosign the log, and how many of them are enough (a tlog-policy). Empty: none is
    asked.
    """

    policies: str = ""
    """Directory with further policies as TOML files, besides `any` and `block`."""

    schemes: str = ""
    """Directory with further classification schemes as TOML files."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        wrong = too_small(
            self,
            "",
            max_waiting_commits=0,
            slow_sender_seconds=1,
            live_frames_per_second=0.1,
            token_live_frames_per_second=0.1,
            token_media_seconds=0,
            max_message_bytes=65_536,
            max_photodna_distance=0,
            learned_alarm=0,
            near_hits_alarm=0,
            near_variants_alarm=0,
            media_workers=0,
            max_queued_media=0,
            media_memory_bytes=64 * 1024 * 1024,
            webhook_gather_seconds=0,
            log_seconds=0,
            keep_withdrawn_days=0,
            keep_reports_days=0,
            keep_deliveries_days=0,
            drain_seconds=0,
            shrink_guard=0,
        )
        if not self.shrink_guard <= 1:
            wrong.append(Violation("shrink_guard", f"must be between 0 and 1, got {self.shrink_guard}", "OUT_OF_RANGE"))
        if bool(self.tls_certificate) != bool(self.tls_key):
            wrong.append(Violation("tls_certificate", "must be given together with tls_key", "REQUIRED"))
        if self.listen_certificates and not (self.tls_certificate and self.tls_client_ca):
            needed = "needs tls_certificate, tls_key and tls_client_ca"
            wrong.append(Violation("listen_certificates", needed, "REQUIRED"))
        if self.tls_client_revoked and not self.tls_client_ca:
            wrong.append(Violation("tls_client_revoked", "needs tls_client_ca, whose lists they are", "REQUIRED"))
        is_whole = self.oidc_audience and self.oidc_claim and self.session_hours <= _WEEK_HOURS
        if self.oidc_issuer and not (is_whole and WEB_URL.fullmatch(self.oidc_issuer)):
            needed = "must be https, or http on this machine; needs oidc_audience, oidc_claim, session_hours in a week"
            wrong.append(Violation("oidc_issuer", needed, "URL"))
        wrong += self._wrong_for_console()
        wrong += self._wrong_for_hma()
        if self.database_password_file and not self.database:
            wrong.append(Violation("database_password_file", "needs database, a PostgreSQL URL", "REQUIRED"))
        refuse(wrong)

    def _wrong_for_console(self) -> Iterator[Violation]:
        if not self.console:
            return
        if not is_loopback_host(parse_address("console", self.console)[0]) and not self.oidc_issuer:
            yield Violation("console", "needs oidc_issuer: a link signs in on this machine alone", "REQUIRED")
        if self.tls_certificate and not self.console_hub:
            yield Violation("console_hub", "must name the hub as tls_certificate does, HOST:PORT", "REQUIRED")
        for field in ("console_url", "handbook"):
            if (url := getattr(self, field)) and not WEB_URL.fullmatch(url):
                yield Violation(field, "must be an https URL, or http on this machine", "URL")

    def _wrong_for_hma(self) -> Iterator[Violation]:
        is_unix = self.listen_hma.startswith("unix:")
        if self.listen_hma and not self.hma_bound_token_file:
            needed = "needs hma_bound_token_file: whoever reaches it is that token"
            yield Violation("listen_hma", needed, "REQUIRED")
        if is_unix and (self.workers > 1 or self.listen_hma == "unix:"):
            yield Violation("listen_hma", "must be unix:PATH with one worker, or 127.0.0.1:PORT", "OUT_OF_RANGE")
        if self.listen_hma and not is_unix and not is_loopback_host(parse_address("listen_hma", self.listen_hma)[0]):
            text = "must be on this machine, 127.0.0.1:PORT or unix:PATH: it asks nobody for a token"
            yield Violation("listen_hma", text, "INSECURE")
        distances = by_bank(self.hma_distances).values()
        if not all(distance.isdecimal() and int(distance) <= 256 for distance in distances):  # noqa: PLR2004 - bits of PDQ
            text = "must be DISTANCE or BANK=DISTANCE, with commas between, each from 0 to 256"
            yield Violation("hma_distances", text, "PATTERN")
        if not all(by_bank(self.hma_policies).values()):
            yield Violation("hma_policies", "must be POLICY or BANK=POLICY, with commas between", "PATTERN")

    def media_children(self) -> int:
        """Return how many child processes hash media in each process of `workers`."""
        return self.media_workers or max(1, len(os.sched_getaffinity(0)) // self.workers)

    def database_url(self) -> str:
        """Return `database` with its password, empty for SQLite. Raises InvalidArgument for a bad file, or no user."""
        if not self.database_password_file:
            return self.database
        try:
            password = Path(self.database_password_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as e:
            raise InvalidArgument.field(
                "database_password_file", f"cannot be read ({type(e).__name__}); check its path and permissions"
            ) from e
        scheme, _, rest = self.database.partition("://")
        user, at, place = rest.partition("@")
        if not at or ":" in user:
            raise InvalidArgument.field(
                "database", "must name a user without a password (postgresql+psycopg://USER@HOST/NAME)"
            )
        return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


def by_bank(setting: str) -> dict[str, str]:
    """Return the values of `VALUE, BANK=VALUE`, that of all other banks under the empty name."""
    items = (item.rpartition("=") for item in setting.split(",") if item.strip())
    return {bank.strip(): value.strip() for bank, _, value in items}


def load(file: Path | None, environment: Mapping[str, str], **options: object) -> Config:
    """Return the settings; options that are None are left out. Raises InvalidArgument for a bad file, key or value."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text("utf-8-sig"))  # Windows writes a byte order mark
        except OSError as e:
            raise InvalidArgument.field("config", f"{str(file)!r} cannot be read: {e.strerror}; check its path") from e
        except ValueError as e:
            raise InvalidArgument.field("config", f"{str(file)!r} cannot be read as TOML: {e}") from e
    variables = {field: _PREFIX + field.upper() for field in Config.__struct_fields__}
    refuse_misspelt(environment, _PREFIX, (*variables.values(), *_OF_CLIENTS), but_not=_HOOK_PREFIX)
    given = {k: v for k, v in options.items() if v is not None}
    values |= {field: environment[name] for field, name in variables.items() if name in environment}
    values |= given

    def called(setting: str) -> str:
        if setting in given:
            return f"--{setting.replace('_', '-')}"
        if setting in variables and variables[setting] in environment:
            return variables[setting]
        return f"{file}: {setting}" if file is not None else setting

    # Not strict: the environment has only strings, and "4" must become 4.
    return converted(values, Config, called=called, hint="docs/operate/config.md has each setting", strict=False)
