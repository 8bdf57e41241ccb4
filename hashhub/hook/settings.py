"""The hook's settings: one TOML file, and the environment over it.

Precedence: the environment (`HASHHUB_HOOK_` and the names in capitals, joined by `_`: `HASHHUB_HOOK_HUB`,
`HASHHUB_HOOK_WITHOUT_ANSWER_HUB_AWAY`), then the file, then the default. Unknown keys are refused, and what decides
over uploads has no default.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from hashhub.config import MEDIA_MEMORY_BYTES, MEDIA_SECONDS
from hashhub.conversion import converted, refuse, refuse_misspelt, too_small
from hashhub.desk.decision import Action
from hashhub.desk.settings import DeskSettings, HashingSite, Mode
from hashhub.errors import InvalidArgument, Violation

_PREFIX: Final = "HASHHUB_HOOK_"
_OTHER_VARIABLES: Final = (f"{_PREFIX}SETTINGS", f"{_PREFIX}PERSON_FILE")  # of commands


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The copy of the hub's lists, where mode is LOCAL."""

    stale_after_seconds: float = 3600.0
    """Seconds without a word from the hub after which answers say that the copy is stale."""

    stale_limit_seconds: float = 172_800.0
    """Seconds after which nothing is allowed any more by what the copy does not hold."""

    follow: bool = True
    """Whether a process with a hook keeps the copy itself while no other does; false: only `hashhub hook sync` does."""


class WithoutClamd(StrEnum):
    """What an upload that hashhub allows is answered with while the real clamd cannot be reached. ERROR: an error,
    which apps take for no answer. HASHHUB_ONLY: OK, although nobody has looked for viruses.
    """

    ERROR = "ERROR"
    HASHHUB_ONLY = "HASHHUB_ONLY"
    NOT_CHOSEN = ""


class HeldStream(StrEnum):
    """What the clamd door answers for an upload that is held. FOUND: as for one that is blocked. ERROR: an error."""

    FOUND = "FOUND"
    ERROR = "ERROR"


class ClamdSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clamd door; see docs/hook/clamd.md. Sizes and seconds have the defaults of ClamAV 1.4 where it has them."""

    chained: str = ""
    """The real clamd: HOST:PORT, or the path of its socket. `none`: there is none, and viruses are not looked for. The
    door does not open before one of them is chosen."""

    without_clamd: WithoutClamd = WithoutClamd.NOT_CHOSEN
    """ERROR or HASHHUB_ONLY: what is answered while the real clamd is away. No default where there is one."""

    listen: str = "127.0.0.1:3310"
    """HOST:PORT; empty: no TCP."""

    beyond_this_machine: bool = False
    """Whether `listen` may be an address that other machines reach. Nothing is encrypted, and nobody is asked who they
    are: only a network of your own will do."""

    socket: str = ""
    """Path of a UNIX socket; empty: none."""

    socket_mode: str = "660"
    """Permissions of the UNIX socket, in octal: whoever may write to it can ask."""

    on_hold: HeldStream = HeldStream.FOUND
    """FOUND or ERROR: what is answered for an upload that is held."""

    stream_max_length: int = 100 * 1024 * 1024
    """Bytes of the longest stream that is taken (StreamMaxLength)."""

    connections: int = 200
    """Connections that are served at once; further ones wait for their turn (MaxConnectionQueueLength)."""

    command_seconds: float = 30.0
    """Seconds for a command to come (CommandReadTimeout)."""

    read_seconds: float = 120.0
    """Seconds for the next bytes of a stream, or of a session, to come (ReadTimeout)."""

    stream_seconds: float = 600.0
    """Seconds for a whole stream."""

    chained_seconds: float = 150.0
    """Seconds that the real clamd has for its answer, from the stream's end; its own limit is 120 (MaxScanTime)."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        wrong = too_small(self, "clamd")
        if self.is_chained and self.without_clamd == WithoutClamd.NOT_CHOSEN:
            wrong.append(
                Violation(
                    "clamd.without_clamd",
                    "must be `error` or `hashhub-only`: what is answered while the real clamd is away",
                    "REQUIRED",
                )
            )
        if not re.fullmatch("[0-7]{3}", self.socket_mode):
            wrong.append(
                Violation("clamd.socket_mode", f"must be three octal digits, got {self.socket_mode!r}", "INVALID")
            )
        refuse(wrong)

    @property
    def is_chained(self) -> bool:
        """Whether there is a real clamd behind the door."""
        return self.chained not in {"", "none"}


class StatusRule(StrEnum):
    """What the sidecar says by the status of its answer, besides the answer itself.

    ALWAYS_200: nothing; an app reads `action`. 451_ON_BLOCK: ALLOW is 200, BLOCK is 451 and HOLD is 403, so that an app
    that looks at the status only publishes neither.
    """

    ALWAYS_200 = "ALWAYS_200"
    ON_BLOCK_451 = "451_ON_BLOCK"


class SidecarSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sidecar, `hashhub hook serve`."""

    listen: str = "127.0.0.1:8472"
    """HOST:PORT to listen on; port 0 is any free one."""

    secret_file: str = ""
    """File with a secret of at least 16 characters that callers must send. Needed on an address that other machines
    reach."""

    insecure_listen: bool = False
    """Listen beyond this machine without a secret: whoever reaches the address may ask."""

    status: StatusRule = StatusRule.ALWAYS_200
    """What the status of an answer says: ALWAYS_200, or 451_ON_BLOCK (then HOLD is 403)."""

    tusd_directory: str = ""
    """Directory in which tusd keeps uploads; nothing outside is read. Empty: /tusd refuses."""

    max_uploads: int = 32
    """Uploads that are received or decided over at once; further ones wait, or get those of slow senders."""

    wait_seconds: float = 5.0
    """Seconds that an upload waits for its turn before the caller is told to come back."""

    max_connections: int = 512
    """Connections at once; further ones are closed."""

    max_body_bytes: int = 1024 * 1024 * 1024
    """Bytes of a request that are read at most; what has more is too large without being read to its end."""

    max_parts: int = 32
    """Files of a multipart request, and as many fields."""

    header_seconds: float = 10.0
    """Seconds for the head of a request; also how long a connection may be idle."""

    slow_seconds: float = 10.0
    """Seconds without a byte, or behind a sixteenth of `slow_bytes_a_second`, after which a sender is cut off."""

    slow_bytes_a_second: int = 16 * 1024
    """Bytes a second of a body that comes so fast that it keeps its place while others wait."""

    end_seconds: float = 20.0
    """Seconds that uploads have to be decided over when the sidecar is stopped."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        refuse(too_small(self, "sidecar"))


class BucketSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where uploads land that never pass the app, and where they go: `s3://BUCKET/PREFIX/`, or folders of this machine.

    The three places are apart: none is in another, and only `public` can be read by others than the app and the worker.
    """

    quarantine: str = ""
    """Where uploads land."""

    held: str = ""
    """Where only the worker writes: what it is checking, and what is held or blocked."""

    public: str = ""
    """Where what is allowed goes, under the name it was uploaded with."""

    endpoint: str = ""
    """URL of an S3-compatible store. Empty: AWS, or AWS_ENDPOINT_URL_S3."""

    region: str = ""
    """Region of the buckets. Empty: as in the AWS environment."""

    path_style: bool = False
    """Whether the bucket is part of the URL's path instead of its host, as small stores want it."""

    overwrite: bool = False
    """Whether what is allowed replaces a published object of the same name. Otherwise it is held."""

    jobs: int = 4
    """Uploads that are downloaded and checked at once."""

    poll_seconds: float = 5.0
    """Seconds between two looks at the quarantine."""

    events: str = ""
    """URL of a queue of SQS that is told what is put into the quarantine, for this worker alone. Empty: none."""

    relist_seconds: float = 300.0
    """With `events`, seconds between two listings of the quarantine, which find what no event told of."""

    settle_seconds: float = 2.0
    """Seconds for which a file in a folder must not have changed before it is taken: it may still be written."""

    retry_seconds: float = 10.0
    """Seconds before an upload without an answer is checked again; doubles each time, to ten minutes at most."""

    lease_seconds: float = 900.0
    """Seconds after which a worker takes over what one on another machine has begun to check and not ended."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        wrong = too_small(
            self, "bucket", poll_seconds=0.1, relist_seconds=0.1, settle_seconds=0, retry_seconds=0.1, lease_seconds=1
        )
        places = {name: getattr(self, name) for name in ("quarantine", "held", "public") if getattr(self, name)}
        wrong += [
            Violation(f"bucket.{one}", f"must not be in bucket.{other}, nor be the same place", "NOT_ALLOWED")
            for one, inner in places.items()
            for other, outer in places.items()
            if one != other and is_inside(inner, outer)
        ]
        if self.events and not re.match(r"https?://[^/]+/.", self.events):
            wrong.append(Violation("bucket.events", "must be the URL of a queue of SQS: https://…", "INVALID"))
        if self.events and not self.quarantine.startswith("s3://"):
            wrong.append(Violation("bucket.events", "is for a quarantine in a bucket: s3://…", "NOT_ALLOWED"))
        if len({place.startswith("s3://") for place in places.values()}) > 1:
            wrong.append(Violation("bucket.public", "must be of the kind of the other places", "NOT_ALLOWED"))
        refuse(wrong)


class OnHold(StrEnum):
    """What an adapter of a web framework does with an upload that is HOLD.

    KEEP: the vault keeps it, or the app's own store (`on_held`), and the sender is answered with 202; without either
    no adapter opens. REFUSE: it is refused as for BLOCK, AND LOST where there is no vault. APP: the app gets it with
    the decision, and stores it unpublished.
    """

    KEEP = "KEEP"
    REFUSE = "REFUSE"
    APP = "APP"


class AppSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The adapters for Python's web frameworks; see docs/hook/python.md."""

    block_status: int = 451
    """HTTP status of the answer to an upload that is not accepted; 400 to 599."""

    on_hold: OnHold = OnHold.KEEP
    """What is done with an upload that is HOLD: KEEP, REFUSE or APP."""

    max_request_bytes: int = 256 * 1024 * 1024
    """Bytes of the largest request body; a larger one gets 413. It is in memory until the app has read it."""

    max_total_bytes: int = 1024 * 1024 * 1024
    """Bytes of all request bodies that are in memory at once; what would exceed it gets 503."""

    max_files: int = 64
    """Files of one request."""

    max_fields: int = 1000
    """Parts of one request that are no files."""

    max_field_bytes: int = 1024 * 1024
    """Bytes of a part without a file name; a longer one is checked as a file."""

    slow_seconds: float = 30.0
    """Seconds within which a sender must send `slow_bytes`; one that falls as many seconds behind gets 408."""

    slow_bytes: int = 65536
    """Bytes that must come within `slow_seconds` while a body is being sent."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        wrong = too_small(self, "app", max_fields=0, max_field_bytes=0, slow_bytes=0)
        if not 400 <= self.block_status <= 599:  # noqa: PLR2004 - errors of HTTP
            wrong.append(Violation("app.block_status", "must be 400 to 599", "OUT_OF_RANGE"))
        refuse(wrong)


class HookSettings(DeskSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a hook."""

    answer_seconds: float = 0.4
    """Seconds that the hub has for its answer to hashes, or for a sign that it is up, before the upload counts as
    without an answer."""

    slow_seconds: float = 5.0
    """Seconds that a hub which is up has besides, before the upload counts as without an answer; it is then held at
    least."""

    media_seconds: float = MEDIA_SECONDS
    """CPU seconds for hashing one upload here; seconds that the hub has for it where it hashes."""

    media_memory_bytes: int = MEDIA_MEMORY_BYTES
    """Bytes of memory that a child process may take for one upload."""

    max_bytes: int = 64 * 1024 * 1024
    """Bytes of the largest upload that is looked at."""

    max_waiting: int = 64
    """Uploads that are checked or wait for it at once; further ones are without an answer."""

    hashing_processes: int = 0
    """Child processes that hash; 0: one a core."""

    waiting_seconds: float = 5.0
    """Seconds that an upload waits for a child process before it counts as without an answer."""

    max_total_bytes: int = 512 * 1024 * 1024
    """Bytes that all uploads together may have in memory; of what finds no room only digests are looked for."""

    cache_seconds: float = 10.0
    """Seconds for which an answer about the same bytes holds; as long may a withdrawal or a new entry take to be seen.
    0: ask each time."""

    cache_entries: int = 10_000
    """Answers that are remembered at most."""

    breaker_failures: int = 3
    """Failures in a row after which the hub is not asked for a while."""

    breaker_seconds: float = 2.0
    """Seconds after which it is then tried again."""

    max_records: int = 100_000
    """Uploads without an answer that are recorded at most, and as many others that are held or blocked. What finds no
    room is held at least."""

    local: LocalSettings = LocalSettings()

    clamd: ClamdSettings = ClamdSettings()

    sidecar: SidecarSettings = SidecarSettings()

    bucket: BucketSettings = BucketSettings()

    app: AppSettings = AppSettings()

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        wrong = too_small(
            self, "", media_memory_bytes=64 * 1024 * 1024, hashing_processes=0, cache_seconds=0, cache_entries=0
        )
        wrong += too_small(self.recheck, "recheck", keep_days=0)
        wrong += too_small(self.records, "records", keep_days=0)
        if bool(self.recheck.url) != bool(self.recheck.secret_file):
            wrong.append(
                Violation(
                    "recheck", "needs both url and secret_file: a call that is not signed proves nothing", "REQUIRED"
                )
            )
        if not self.policy:
            wrong.append(Violation("policy", "must name a policy of the hub, such as `block`", "REQUIRED"))
        if self.on_match is Action.ALLOW:
            wrong.append(Violation("on_match", "must be BLOCK or HOLD: known material is never allowed", "NOT_ALLOWED"))
        if self.mode is Mode.LOCAL and self.hashing is HashingSite.HUB:
            wrong.append(Violation("hashing", "must be HERE in the mode LOCAL, which asks no hub", "NOT_ALLOWED"))
        refuse(wrong)


def is_inside(inner: str, outer: str) -> bool:
    """Return whether a place is another, or in it."""
    if "://" in inner or "://" in outer:
        return f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/")
    return Path(inner).resolve().is_relative_to(Path(outer).resolve())


def load(file: Path | None, environment: Mapping[str, str]) -> HookSettings:
    """Return the settings from `file` and `environment`. Raises InvalidArgument for all that is wrong with them."""
    text = ""
    if file is not None:
        try:
            text = file.read_text("utf-8")
        except (OSError, ValueError) as e:
            why = getattr(e, "strerror", None) or "it is not UTF-8"
            raise InvalidArgument.field(
                "settings", f"{str(file)!r} cannot be read: {why}; `hashhub hook init` writes such a file"
            ) from e
    elif not any(name.startswith(_PREFIX) for name in environment):
        raise InvalidArgument.field(
            "settings",
            "are not named, and the environment has none: name their file (--settings FILE or HASHHUB_HOOK_SETTINGS); "
            "`hashhub hook init` writes one",
            "REQUIRED",
        )
    return parse(text, environment, file="settings" if file is None else str(file))


def parse(text: str, environment: Mapping[str, str], *, file: str = "settings") -> HookSettings:
    """Return the settings of a file's text and `environment`. `file`: what errors call it. Raises as `load`."""
    try:
        values: dict[str, Any] = tomllib.loads(text.removeprefix("\ufeff"))  # which Windows writes
    except ValueError as e:
        raise InvalidArgument.field(file, f"cannot read the file as TOML: {e}") from e
    kinds = dict(_settings(HookSettings, ""))
    variables = {path: _PREFIX + path.replace(".", "_").upper() for path in kinds}
    refuse_misspelt(environment, _PREFIX, (*variables.values(), *_OTHER_VARIABLES))
    for path, kind in kinds.items():
        *sections, name = path.split(".")
        table: Any = values
        for section in sections:
            table = table.setdefault(section, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            continue  # no section: told by whoever converts it
        if variables[path] in environment:
            table[name] = environment[variables[path]]
        if name in table:
            table[name] = _spelled(table[name], kind)

    def called(setting: str) -> str:
        variable = variables.get(setting, "")
        return variable if variable and variable in environment else f"{file}: {setting}"

    return converted(
        values,
        HookSettings,
        called=called,
        hint="docs/hook/settings.md has each setting and what it may be",
        strict=False,  # the environment has only strings, and "4" must become 4
    )


def _settings(of: type[msgspec.Struct], section: str) -> Iterator[tuple[str, Any]]:
    """Yield each setting's path, and its type."""
    for field in msgspec.structs.fields(of):
        path = section + field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _settings(field.type, f"{path}.")
        else:
            yield path, field.type


def _spelled(value: Any, kind: Any) -> Any:
    """Return a value with a word such as `hold` as its enumeration spells it; a wrong one as it was written."""
    if isinstance(kind, type) and issubclass(kind, StrEnum) and isinstance(value, str):
        word = value.upper().replace("-", "_")
        return word if word in {one.value for one in kind} else value
    return value
