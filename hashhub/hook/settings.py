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
from hashhub.hook.places import is_inside
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

    settle_seconds: float = 2.0
    """Seconds for which a file in a folder must not have changed before it is taken: it may still be written."""

    retry_seconds: float = 10.0
    """Seconds before an upload without an answer is checked again; doubles each time, to ten minutes at most."""

    lease_seconds: float = 900.0
    """Seconds after which a worker takes over what one on another machine has begun to check and not ended."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument for values that cannot work."""
        wrong = [
            Violation(f"bucket.{name}", f"must be at least {least}, got {getattr(self, name)}", "OUT_OF_RANGE")
            for name, least in (
                ("jobs", 1),
                ("poll_seconds", 0.1),
                ("settle_seconds", 0),
                ("retry_seconds", 0.1),
                ("lease_seconds", 1),
            )
            if getattr(self, name) < least
        ]
        places = {name: getattr(self, name) for name in ("quarantine", "held", "public") if getattr(self, name)}
        wrong += [
            Violation(f"bucket.{one}", f"must not be in bucket.{other}, nor be the same place", "NOT_ALLOWED")
            for one, inner in places.items()
            for other, outer in places.items()
            if one != other and is_inside(inner, outer)
        ]
        if len({place.startswith("s3://") for place in places.values()}) > 1:
            wrong.append(Violation("bucket.public", "must be of the kind of the other places", "NOT_ALLOWED"))
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

    bucket: BucketSettings = BucketSettings()

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
