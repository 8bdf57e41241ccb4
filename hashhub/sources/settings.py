"""What a person writes of a source, `NAME.toml` in the directory of sources, and its secrets, which stand elsewhere."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from hashhub.addresses import WEB_URL
from hashhub.conversion import converted, refuse, too_small
from hashhub.errors import AlreadyExists, InvalidArgument, NotFound, Violation
from hashhub.local_files import make_directory, private_text, written

ProtocolName = Literal["stopncii", "ncmec", "threatexchange", "taxii", "misp"]
PROTOCOLS: Final[tuple[str, ...]] = get_args(ProtocolName)
SUFFIX: Final = ".toml"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_HASH_SET: Final = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}")
_SECRET: Final = re.compile(r"(file|env):(.+)")
_DAY: Final = 86_400.0


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Settings of one source."""

    protocol: ProtocolName

    url: str
    """Where the partner answers, up to what the protocol adds; https, or http on this machine."""

    hash_set: str
    """`CONTRIBUTOR/SET`, which is this source's alone: what the partner does not list is withdrawn from it."""

    credentials: dict[str, str] = {}
    """Secrets by the protocol's names, each as `file:PATH`, readable by its owner alone, or `env:NAME`."""

    options: dict[str, str] = {}
    """Options of the connector that reads the items."""

    interval_seconds: float = 3_600.0
    """Between two fetches; a tenth more or less by chance, so that hubs do not come all at once."""

    full_days: float | None = None
    """How old the last full list may be before the next fetch begins with a full one; 0: any age. By default as the
    protocol needs it.
    """

    drop: float = 0.1
    """A fetch that would withdraw this share of the hash set's entries is held until a person applies it (0 to 1)."""

    silence: float = 10.0
    """After how many times the usual pause between two changes a source is called silent, and what comes then is held;
    0: never.
    """

    call_seconds: float = 120.0
    """For one answer of the partner, from the connection to the last byte."""

    page_items: int = 1_000
    """Items asked for at a time."""

    page_bytes: int = 32 << 20
    """Of one answer, unpacked."""

    pages: int = 100_000
    """Answers of one fetch."""

    fetch_bytes: int = 16 << 30
    """Of all answers of one fetch."""

    proxy: str = ""
    """URL of a proxy, or `file:PATH` or `env:NAME` with it, where it holds a password. Empty: none."""

    ca_file: str = ""
    """PEM file with the authorities to trust instead of the system's."""

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation."""
        wrong = too_small(self, "", drop=0, silence=0)
        if self.full_days is not None and not self.full_days >= 0:
            wrong.append(Violation("full_days", f"must be at least 0, got {self.full_days}", "OUT_OF_RANGE"))
        if not self.drop <= 1:
            wrong.append(Violation("drop", f"must be between 0 and 1, got {self.drop}", "OUT_OF_RANGE"))
        if not WEB_URL.fullmatch(self.url) or {"?", "#"} & set(self.url):
            wrong.append(Violation("url", "must be an https URL without a query, or http on this machine", "URL"))
        if not _HASH_SET.fullmatch(self.hash_set):
            wrong.append(Violation("hash_set", f"must be CONTRIBUTOR/SET, got {self.hash_set[:80]!r}", "PATTERN"))
        for name, text in self.credentials.items():
            if not _SECRET.fullmatch(text):
                expected = "must be file:PATH or env:NAME: a secret does not stand in the settings"
                wrong.append(Violation(f"credentials.{name[:40]}", expected, "PATTERN"))
        refuse(wrong)

    @property
    def most_full_seconds(self) -> float | None:
        """How old the last full list may be; None: as the protocol needs it."""
        return None if self.full_days is None else self.full_days * _DAY


def secret(field: str, text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the secret that `file:PATH` or `env:NAME` means, read anew each time, so that it can be replaced. Raises
    InvalidArgument, without any part of it.
    """
    kind, _, where = text.partition(":")
    value = private_text(Path(where), field).strip() if kind == "file" else environment.get(where, "").strip()
    if not value or not value.isprintable():
        raise InvalidArgument.field(field, f"{text[:200]} holds no secret; expected one line of text", "REQUIRED")
    return value


def is_secret(text: str) -> bool:
    """Whether a text says where a secret stands."""
    return _SECRET.fullmatch(text) is not None


def names(directory: Path) -> list[str]:
    """Return the names of a directory's sources, ascending."""
    return sorted(f.stem for f in directory.glob(f"*{SUFFIX}") if _NAME.fullmatch(f.stem))


def path_of(directory: Path, name: str, suffix: str = SUFFIX) -> Path:
    """Return where something of a source is kept. Raises InvalidArgument for what cannot be a name."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument.field("name", f"must be at most 63 of a-z, 0-9 and -, got {name[:80]!r}", "PATTERN")
    return directory / f"{name}{suffix}"


def load(directory: Path, name: str) -> SourceSettings:
    """Return a source's settings. Raises NotFound, InvalidArgument."""
    path = path_of(directory, name)
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as e:
        known = ", ".join(names(directory)) or "none"
        raise NotFound(
            f"there is no source {name!r} in {str(directory)!r}; there is: {known}", kind="Source", name=name
        ) from e
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise InvalidArgument(f"{path.name} cannot be read as TOML: {str(e)[:200]}") from e
    return converted(
        values, SourceSettings, called=lambda setting: f"{path.name}: {setting}", hint="see docs/contribute/sources.md"
    )


def save(directory: Path, name: str, settings: SourceSettings) -> None:
    """Write a new source's settings. Raises AlreadyExists: also for a hash set that another source keeps."""
    path = path_of(directory, name)
    make_directory(directory, field="dir")
    for other in names(directory):
        if other != name and load(directory, other).hash_set == settings.hash_set:
            raise AlreadyExists(
                f"the source {other!r} keeps {settings.hash_set} already, and each would withdraw what the other "
                "lists; make a hash set for this one"
            )
    fields = msgspec.to_builtins(settings)
    tables = {key: fields.pop(key) for key in ("credentials", "options") if key in fields}
    lines = _assignments(fields)
    for table, values in tables.items():
        lines += ["", f"[{table}]", *_assignments(values)]
    with written(path, taken=f"remove it first: hashhub source remove {name}", field="name") as file:
        file.write("\n".join([*lines, ""]).encode())


def _assignments(values: Mapping[str, object]) -> list[str]:
    """Return lines of TOML: its texts and numbers are written as JSON's are."""
    return [f"{_key(key)} = {msgspec.json.encode(value).decode()}" for key, value in values.items()]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else msgspec.json.encode(key).decode()
