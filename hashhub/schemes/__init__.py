"""Classification schemes as data: what a contributor's raw value means in the common dimensions.

One TOML file per scheme and version, in `data/` or in a directory that the operator names; adding one needs no code.
`docs/reconcile/schemes.md` lists them and describes the file. A raw value never travels without scheme, version and
region: VICS 0 and 5 swap meaning between `vic-us` and `vic-us-legacy`, and the UK's A has nothing to do with the
industry's A1.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from hashhub.conversion import converted, refuse
from hashhub.errors import InvalidArgument, Reason, Violation
from hashhub.model import MAX_TEXT, Classification, Definition, SchemeStatus
from hashhub.schemes import dimensions

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VERSION: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18}){0,7}")
_REGION: Final = re.compile(r"[A-Z]{2}")
_MOST_DOTS: Final = 200  # in a line: tomllib takes the square of a dotted key's parts, 35 s for 30,000
_HINT: Final = "docs/reconcile/schemes.md has each key"
_LONGEST_WHY: Final = 300  # characters of what a parser says, which may repeat what it was given
NO_REGION: Final = "ZZ"  # ISO 3166-1 user-assigned: international, or of no country
# Regions that VICS files carry and that name no region (formats in the field: the last path segment of
# `@odata.context`).
_SAYS_NOTHING: Final = frozenset({"", "default", "custom", "unknown"})


def is_name(text: str) -> bool:
    """Whether a text has the form of a scheme's name, `id` or `id@version`."""
    scheme_id, at, version = text.partition("@")
    return bool(_ID.fullmatch(scheme_id)) and (not at or bool(_VERSION.fullmatch(version)))


class SchemeValue(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a scheme. `dimensions` holds sorted possible values; what is missing is unknown."""

    value: str
    title: str
    dimensions: dict[str, tuple[str, ...]]
    note: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One version of one classification scheme.

    `region` is ISO 3166-1, ZZ for none; `region_aliases` are its other spellings in files (`UK`). `source` says where
    the table comes from. `lossy` says what a value of this scheme does not tell, although a reader might think so.
    `value_required`: lists of this scheme also hold items that are not abuse, so an item without a value must not take
    its verdict from the set's purpose. `source_names`: other names under which sources state this scheme, such as
    `vic-ca` for a Canadian VICS file. `is_retired`: no new hash set takes this version. `text`: the TOML that it was
    read from, if there is one. `claims`: in which dimensions each value asserts something, and what.
    """

    id: str
    version: str
    region: str
    status: SchemeStatus
    title: str
    source: tuple[str, ...]
    values: dict[str, SchemeValue]
    lossy: tuple[str, ...] = ()
    region_aliases: tuple[str, ...] = ()
    value_required: bool = False
    source_names: tuple[str, ...] = ()
    is_retired: bool = False
    text: str = field(default="", repr=False, compare=False)
    _by_text: dict[str, Classification] = field(repr=False, compare=False)
    claims: dict[str, dict[str, frozenset[str]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out once what each value asserts."""
        claims = {v: dimensions.telling(dimensions.worlds(table.dimensions)) for v, table in self.values.items()}
        object.__setattr__(self, "claims", claims)

    @property
    def name(self) -> str:
        """`ID@VERSION`, as hash sets name it."""
        return f"{self.id}@{self.version}"

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """What no two schemes of a hub share: the id, and the version's numbers. 2 and 2.0 are one version."""
        return self.id, _order(self.version)

    def resolve(self, raw: str) -> Classification | None:
        """Return what the raw value means, or None when the scheme has no such value.

        White space around it and case do not matter. An unknown value is never guessed at: the entry is quarantined
        (UNKNOWN_VALUE).
        """
        # The first look-up answers nearly always; results are not cached, or a hostile file could fill memory with
        # spellings.
        return self._by_text.get(raw) or self._by_text.get(raw.strip().casefold())

    def means_what(self, other: Scheme) -> bool:
        """Whether both mean the same to whoever reads lists by them: in every spelling, and of the same sources."""

        def reading(scheme: Scheme) -> tuple[object, ...]:
            spellings = {s: (c.value, c.dimensions) for s, c in scheme._by_text.items()}
            names = frozenset(scheme.source_names)
            regions = {r.casefold() for r in (scheme.region, *scheme.region_aliases)}
            return scheme.name, regions, names, scheme.value_required, spellings

        return reading(self) == reading(other)

    def contradicts_region(self, stated: str) -> bool:
        """Whether a file of this region cannot be of this scheme. `Default`, `CUSTOM` and `UNKNOWN` state nothing."""
        text = stated.strip().casefold()
        if self.region == NO_REGION or text in _SAYS_NOTHING:
            return False
        return text not in {r.casefold() for r in (self.region, *self.region_aliases)}

    def contradicts_name(self, stated: str) -> bool:
        """Whether a source of this scheme, `id` or `id@version`, cannot be of this one. An `id` names any version."""
        scheme_id, at, version = stated.strip().casefold().partition("@")
        if not scheme_id and not at:
            return False
        if scheme_id not in {self.id, *self.source_names}:
            return True
        return bool(at) and not (_VERSION.fullmatch(version) and _order(version) == _order(self.version))


class SchemeRegistry:
    """The schemes that this hub knows. Build it with `load`."""

    def __init__(self, schemes: Iterable[Scheme]) -> None:
        """Raises InvalidArgument when two schemes have the same id and version."""
        self._by_name: dict[str, Scheme] = {}
        keys: set[tuple[str, tuple[int, ...]]] = set()
        for scheme in schemes:
            if scheme.key in keys:
                raise InvalidArgument.field(
                    "schemes", f"{scheme.name} is defined twice; give one another version", "DUPLICATE"
                )
            keys.add(scheme.key)
            self._by_name[scheme.name] = scheme

    def get(self, reference: str) -> Scheme:
        """Return the scheme `id@version`; a bare `id` means its newest verified version, or its newest draft if none is
        verified. A retired version is meant only where there is no other.

        Raises InvalidArgument (UNKNOWN_SCHEME) with the schemes that exist.
        """
        scheme = self._by_name.get(reference)
        if scheme is None:
            versions = [s for s in self._by_name.values() if s.id == reference]
            if not versions:
                message = f"unknown scheme {reference[:80]!r}; known schemes are"
                known = (s.name for s in self.list())
                raise InvalidArgument.unknown_name("scheme", message, known, Reason.UNKNOWN_SCHEME)
            scheme = max(
                versions, key=lambda s: (not s.is_retired, s.status is SchemeStatus.VERIFIED, _order(s.version))
            )
        return scheme

    def list(self) -> tuple[Scheme, ...]:
        """Return every scheme, by id and then version."""
        return tuple(sorted(self._by_name.values(), key=lambda s: (s.id, _order(s.version))))


def load(extra: Path | None = None) -> SchemeRegistry:
    """Return the registry of the schemes that come with hashhub and, if given, of every `*.toml` in the directory
    `extra`.

    Raises InvalidArgument naming the file and the key for anything that a scheme file must not hold.
    """
    schemes = list(_bundled())
    if extra is not None:
        schemes += [parse(text, name) for name, text in toml_in(extra, "schemes")]
    return SchemeRegistry(schemes)


@functools.cache
def _bundled() -> tuple[Scheme, ...]:
    """Return the schemes that come with hashhub, which are read once."""
    sources = sorted(
        (f for f in files(__name__).joinpath("data").iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    return tuple(parse(f.read_bytes(), f.name) for f in sources)


def of_values(
    name: str,
    *,
    region: str,
    status: SchemeStatus,
    title: str,
    source: str,
    values: Iterable[SchemeValue],
    is_retired: bool = False,
) -> Scheme:
    """Return the scheme `id@version` of what a hub tells of it: its values in their one spelling, without remarks."""
    scheme_id, _, version = name.partition("@")
    by_value = {value.value: value for value in values}
    by_text: dict[str, Classification] = {}
    for value in by_value.values():
        meaning = Classification(
            scheme=scheme_id,
            version=version,
            region=region,
            value=value.value,
            status=status,
            dimensions=value.dimensions,
        )
        by_text.setdefault(value.value.casefold(), meaning)
        by_text.setdefault(value.value, meaning)
    return Scheme(
        id=scheme_id,
        version=version,
        region=region,
        status=status,
        title=title,
        source=(source,),
        values=by_value,
        is_retired=is_retired,
        _by_text=by_text,
    )


class _ValueTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    dimensions: dict[str, str | list[str]] = {}
    note: str = ""
    aliases: list[str] = []


class _SchemeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    version: str
    region: str
    status: str
    title: str
    source: list[str]
    values: dict[str, Any]
    lossy: list[str] = []
    region_aliases: list[str] = []
    value_required: bool = False
    source_names: list[str] = []


def of_definition(definition: Definition) -> Scheme:
    """Return the scheme that somebody put into the store. It is a draft, whatever its text says, until somebody else
    than who put it has signed it off: a verified scheme counts where matches block.

    Raises InvalidArgument when the text is none, or of another scheme or version than its name says.
    """
    scheme = parse(definition.text.encode(), definition.name, as_draft=not is_signed_off(definition))
    if scheme.name != definition.name:
        raise InvalidArgument.field(definition.name, f"the text is of {scheme.name}", "CONTRADICTION")
    return replace(scheme, is_retired=definition.retire_time is not None)


def key_of(name: str) -> tuple[str, tuple[int, ...]]:
    """Return the key of the scheme ID@VERSION."""
    scheme_id, _, version = name.partition("@")
    return scheme_id, _order(version)


def is_signed_off(definition: Definition) -> bool:
    """Whether somebody answers for the definition who did not put it."""
    return any(sign_off.actor != definition.actor for sign_off in definition.sign_offs)


def toml_in(directory: Path, field: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and text of each `*.toml` in an operator's directory. Raises InvalidArgument of `field`."""
    name = directory.name
    if not directory.is_dir():
        raise InvalidArgument.field(field, f"{name!r} is no directory; name one that holds *.toml files", "NOT_FOUND")
    try:
        files = sorted(f for f in directory.iterdir() if f.suffix == ".toml")  # glob passes over what it cannot list
        yield from ((f.name, f.read_bytes()) for f in files)
    except OSError as e:
        raise InvalidArgument.field(field, f"cannot read {name!r}: {e.strerror}", "UNREADABLE") from e


def read_toml(text: bytes, file: str) -> dict[str, Any]:
    """Return what a text holds, in a time that its length bounds. Raises InvalidArgument that names `file`."""
    if max(line.count(b".") for line in text.split(b"\n")) > _MOST_DOTS:
        raise InvalidArgument.field(file, f"has more than {_MOST_DOTS} dots in a line; break it in two", "NOT_TOML")
    try:
        return tomllib.loads(text.decode())
    except UnicodeDecodeError as e:
        raise InvalidArgument.field(file, "is not UTF-8; save it as UTF-8", "NOT_UTF8") from e
    except RecursionError as e:
        raise InvalidArgument.field(file, "is nested too deeply; take the inner tables out", "NOT_TOML") from e
    except ValueError as e:  # also TOMLDecodeError, and a number of thousands of digits
        raise InvalidArgument.field(file, f"is not TOML: {str(e)[:_LONGEST_WHY]}", "NOT_TOML") from e


def parse(text: bytes, file: str, *, as_draft: bool = False) -> Scheme:
    """Return the scheme that a TOML file defines. Raises InvalidArgument naming `file` and key."""
    table = converted(read_toml(text, file), _SchemeTable, called=lambda key: f"{file}: {key}", hint=_HINT)
    _check(file, table)
    values = {raw: _value(f"{file}: values.{raw[:40]}", raw, body) for raw, body in table.values.items()}
    status = SchemeStatus.DRAFT if as_draft else SchemeStatus(table.status.upper())
    by_text: dict[str, Classification] = {}
    for value in values.values():
        meaning = Classification(
            scheme=table.id,
            version=table.version,
            region=table.region,
            value=value.value,
            status=status,
            dimensions=value.dimensions,
        )
        for spelling in dict.fromkeys((value.value.casefold(), *(a.strip().casefold() for a in value.aliases))):
            if not spelling or spelling in by_text:
                raise InvalidArgument.field(
                    f"{file}: values.{value.value[:40]}",
                    f"spelling {spelling[:40]!r} is empty or stands for two values",
                    "AMBIGUOUS",
                )
            by_text[spelling] = meaning
        by_text.setdefault(value.value, meaning)
    return Scheme(
        id=table.id,
        version=table.version,
        region=table.region,
        status=status,
        title=table.title,
        source=tuple(table.source),
        values=values,
        lossy=tuple(table.lossy),
        region_aliases=tuple(table.region_aliases),
        value_required=table.value_required,
        source_names=tuple(table.source_names),
        text=text.decode(),
        _by_text=by_text,
    )


def _check(file: str, table: _SchemeTable) -> None:
    wrong = [
        Violation(f"{file}: {key}", description, "INVALID")
        for key, is_right, description in (
            ("id", _ID.fullmatch(table.id), "must be 1 to 63 of a-z, 0-9 and -"),
            ("version", _VERSION.fullmatch(table.version), "must be numbers with dots, such as 2.0"),
            ("region", _REGION.fullmatch(table.region), "must be an ISO 3166-1 alpha-2 code; ZZ for none"),
            ("status", table.status in {s.lower() for s in SchemeStatus}, "must be verified or draft"),
            ("title", table.title.strip(), "must not be empty"),
            ("source", table.source and all(s.strip() for s in table.source), "must say where the table comes from"),
            ("values", table.values, "must hold at least one value"),
            ("source_names", all(map(_ID.fullmatch, table.source_names)), "must be of 1 to 63 of a-z, 0-9 and -"),
        )
        if not is_right
    ]
    refuse(wrong)


def with_stored(of_files: SchemeRegistry, definitions: Iterable[Definition]) -> tuple[SchemeRegistry, list[str]]:
    """Return the schemes in files and those of the store beside them; and what is left out, and why.

    Left out are a text that this hashhub cannot read, and a version that a file says something else of, in both places:
    then nobody's values are read by a meaning that their hash set was not made with.
    """
    left_out: list[str] = []
    disputed = set()
    known = {s.key: s for s in of_files.list()}
    for definition in sorted(definitions, key=lambda d: d.name):
        try:
            scheme = of_definition(definition)
        except InvalidArgument as e:
            left_out.append(
                f"scheme {definition.name} in the store cannot be read and is left out, so that lists of its hash sets "
                f"are not taken in ({e.message[:200]}); it may be of a newer hashhub: upgrade, or put another version"
            )
            continue
        if not known.setdefault(scheme.key, scheme).means_what(scheme):
            disputed.add(scheme.key)
            left_out.append(
                f"scheme {scheme.name} was put into the store, and a file defines it otherwise: neither is used, and "
                "lists of its hash sets are not taken in; take the file away, or put another version"
            )
    return SchemeRegistry([s for key, s in known.items() if key not in disputed]), left_out


def _value(where: str, raw: str, body: object) -> SchemeValue:
    table = converted(body, _ValueTable, called=lambda key: f"{where}.{key}" if key else where, hint=_HINT)
    if len(raw) > MAX_TEXT:
        raise InvalidArgument.field(where, f"a value has at most {MAX_TEXT} characters, as in a list", "TOO_LONG")
    if not raw.strip() or raw != raw.strip():
        raise InvalidArgument.field(where, "a value must not be empty or have white space around it", "INVALID")
    possible_by_dimension: dict[str, tuple[str, ...]] = {}
    for name, given in table.dimensions.items():
        try:
            possible_by_dimension[name] = dimensions.possible(name, (given,) if isinstance(given, str) else given)
        except InvalidArgument as e:
            raise InvalidArgument.field(f"{where}.dimensions", e.message, "UNKNOWN") from e
    return SchemeValue(
        value=raw,
        title=table.title,
        dimensions=dict(sorted(possible_by_dimension.items())),
        note=table.note,
        aliases=tuple(table.aliases),
    )


def _order(version: str) -> tuple[int, ...]:
    """Return the version's numbers; 2 and 2.0 are one version."""
    numbers = [int(part) for part in version.split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
