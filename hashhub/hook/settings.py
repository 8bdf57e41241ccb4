"""The hook's settings: one TOML file, and the environment over it.

Precedence: the environment (`HASHHUB_HOOK_` and the names in capitals, joined by `_`: `HASHHUB_HOOK_HUB`,
`HASHHUB_HOOK_WITHOUT_ANSWER_HUB_AWAY`), then the file, then the default. Unknown keys are refused, and what decides
over uploads has no default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from hashhub.errors import InvalidArgument, Violation
from hashhub.hook.decision import Action, WithoutAnswer
from hashhub.model import Effort

_PREFIX: Final = "HASHHUB_HOOK_"


class Mode(StrEnum):
    """Who is asked. ONLINE: the hub, for each upload. LOCAL: a copy of what its terms allow, in this process."""

    ONLINE = "ONLINE"
    LOCAL = "LOCAL"


class Hashing(StrEnum):
    """Where media are hashed. HERE: only hashes leave. HUB: the upload itself is sent to the hub, in memory only."""

    HERE = "HERE"
    HUB = "HUB"


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The copy of the hub's lists, where mode is LOCAL."""

    stale_after_seconds: float = 3600.0
    """Seconds without a word from the hub after which answers say that the copy is stale."""

    stale_limit_seconds: float = 172_800.0
    """Seconds after which nothing is allowed any more by what the copy does not hold."""


class OnHold(StrEnum):
    """What an adapter of a web framework does with an upload that is HOLD.

    REFUSE: answers as for BLOCK; the app never sees it. ACCEPT: answers 202; the app never sees it, so choose it only
    where the vault keeps what is held. APP: the app gets it with the decision, and stores it unpublished.
    """

    REFUSE = "REFUSE"
    ACCEPT = "ACCEPT"
    APP = "APP"


class AppSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The adapters for Python's web frameworks; see docs/hook-python.md."""

    block_status: int = 451
    """HTTP status of the answer to an upload that is not accepted; 400 to 599."""

    on_hold: OnHold = OnHold.REFUSE
    """What is done with an upload that is HOLD: REFUSE, ACCEPT or APP."""

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
    """Seconds of the window within which a sender must send `slow_bytes`; one that does not gets 408."""

    slow_bytes: int = 65536
    """Bytes that must come within `slow_seconds` while a body is being sent."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        least = {"max_request_bytes": 1, "max_total_bytes": 1, "max_files": 1, "slow_seconds": 0.01}
        for name in ("max_files", "max_fields", "max_field_bytes", "slow_bytes"):
            least.setdefault(name, 0)
        wrong = [
            Violation(f"app.{name}", f"must be at least {at_least}, got {getattr(self, name)}", "OUT_OF_RANGE")
            for name, at_least in least.items()
            if getattr(self, name) < at_least
        ]
        if not 400 <= self.block_status <= 599:  # noqa: PLR2004 - errors of HTTP
            wrong.append(Violation("app.block_status", "must be 400 to 599", "OUT_OF_RANGE"))
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong))


class HookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a hook."""

    policy: str
    """Policy that judges: NAME or NAME@VERSION. No default: which statements suffice is a safety decision."""

    without_answer: WithoutAnswer
    """What is done with an upload of which nothing, or too little, can be known. No defaults."""

    on_match: Action = Action.BLOCK
    """What MATCH means for an upload: BLOCK, or HOLD to let a person decide."""

    on_review: Action = Action.HOLD
    """What REVIEW means for an upload."""

    data: str = "hashhub-hook"
    """Directory of the hook's own records, vault and copy; for its owner only."""

    hub: str = "127.0.0.1:8470"
    """The hub's gRPC address."""

    token_file: str = ""
    """File with a token of the hub; one of a contributor or consumer. Empty: HASHHUB_TOKEN."""

    ca_file: str = ""
    """PEM file with the authorities to trust instead of the system's."""

    mode: Mode = Mode.ONLINE
    """Who is asked: ONLINE, the hub; LOCAL, a copy of its lists in this process."""

    hashing: Hashing = Hashing.HERE
    """Where media are hashed: HERE, or at the HUB, which then gets the upload itself."""

    effort: Effort = Effort.STANDARD
    """Which variants of an upload are looked for; see docs/variants.md."""

    answer_seconds: float = 0.4
    """Seconds that the hub has for its answer to hashes before the upload counts as without one."""

    media_seconds: float = 10.0
    """CPU seconds for hashing one upload here; seconds that the hub has for it where it hashes."""

    max_bytes: int = 64 * 1024 * 1024
    """Bytes of the largest upload that is looked at."""

    max_waiting: int = 64
    """Uploads that are checked or wait for it at once; further ones are without an answer."""

    hashing_processes: int = 0
    """Child processes that hash; 0: one a core."""

    local: LocalSettings = LocalSettings()

    app: AppSettings = AppSettings()

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        wrong = [
            Violation(name, f"must be at least {least}, got {getattr(self, name)}", "OUT_OF_RANGE")
            for name, least in (
                ("answer_seconds", 0.01),
                ("media_seconds", 0.01),
                ("max_bytes", 1),
                ("max_waiting", 1),
                ("hashing_processes", 0),
            )
            if getattr(self, name) < least
        ]
        if not self.policy:
            wrong.append(Violation("policy", "must name a policy of the hub, such as `block`", "REQUIRED"))
        if self.on_match is Action.ALLOW:
            wrong.append(Violation("on_match", "must be BLOCK or HOLD: known material is never allowed", "NOT_ALLOWED"))
        if self.mode is Mode.LOCAL and self.hashing is Hashing.HUB:
            wrong.append(Violation("hashing", "must be HERE in the mode LOCAL, which asks no hub", "NOT_ALLOWED"))
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong))


def load(file: Path | None, environment: Mapping[str, str]) -> HookSettings:
    """Return the settings from `file` and `environment`.

    Raises InvalidArgument for an unreadable file, an unknown key, a missing choice or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as e:
            raise InvalidArgument.field("settings", f"cannot read the file as TOML: {e}") from e
    _take_environment(values, HookSettings, _PREFIX, environment)
    try:
        # Not strict: the environment has only strings, and "4" must become 4.
        return msgspec.convert(_in_capitals(values, HookSettings), HookSettings, strict=False)
    except InvalidArgument:
        raise
    except msgspec.ValidationError as e:
        if isinstance(e.__cause__, InvalidArgument):
            raise e.__cause__ from None
        raise InvalidArgument.field("settings", str(e)) from e


def _take_environment(
    values: dict[str, Any], of: type[msgspec.Struct], prefix: str, environment: Mapping[str, str]
) -> None:
    for field in msgspec.structs.fields(of):
        name = prefix + field.name.upper()
        if _is_section(field.type):
            section = dict(values.get(field.name, {}))
            _take_environment(section, field.type, f"{name}_", environment)
            if section:
                values[field.name] = section
        elif name in environment:
            values[field.name] = environment[name]


def _in_capitals(values: dict[str, Any], of: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the values with words such as `hold` as the enumerations spell them."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(of)}

    def spelled(name: str, value: Any) -> Any:
        kind: Any = kinds.get(name)
        if _is_section(kind) and isinstance(value, dict):
            return _in_capitals(value, kind)
        if isinstance(kind, type) and issubclass(kind, StrEnum) and isinstance(value, str):
            return value.upper().replace("-", "_")
        return value

    return {name: spelled(name, value) for name, value in values.items()}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
