"""Messages by a table of fields: how a type of the model is sent is said once, for both ways.

A `MessageCodec` goes through the fields of a struct. What a field holds says how it is sent (`_usual`): text and
numbers as they are, times, enumerations, structs that have a codec, and tuples of these. Beside the struct and its
message stands only what differs: another name in the message, or another way (a `Field`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from types import UnionType
from typing import Any, Final, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from hashhub import v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import Hash
from hashhub.model import Flags
from hashhub.wire.fields import (
    ENUMS,
    MAKERS,
    PARSERS,
    build,
    check_text,
    checked,
    read_hash,
    read_time,
    resource_name,
    sendable,
    timestamp,
)

_M = TypeVar("_M")
_P = TypeVar("_P")
_CODECS: Final[dict[Any, MessageCodec[Any, Any]]] = {}


class FieldCodec(NamedTuple):
    """One way to send a value. `put`: from the model's to the message's; `read`: back, from a message, the name of its
    field, the message's path and the list on which it notes what is wrong. `wire`: the name, where it differs.
    """

    put: Callable[[Any], Any]
    read: Callable[[Any, str, str, list[Violation]], Any]
    wire: str = ""


class Ids(NamedTuple):
    """A resource name that holds several fields of the model. `created`: where a create request has these instead."""

    fields: tuple[str, ...]
    name: Callable[..., str]
    parse: Callable[[str, str], tuple[Any, ...]]
    wire: str = "name"
    created: tuple[str, ...] = ()


class MessageCodec(Generic[_M, _P]):
    """How a struct of the model becomes a message, and a message the struct."""

    def __init__(
        self,
        kind: Callable[..., _M],
        message: Callable[..., _P],
        /,
        *,
        at: str = "",
        sends: str | None = None,
        ids: Ids | None = None,
        without: str = "",
        inner: str = "",
        derived: Callable[[_M], Mapping[str, Any]] = lambda _: {},
        **fields: str | FieldCodec,
    ) -> None:
        """`at`: the message's path in errors, unless the caller says another. `sends`: what a program's author must
        pass, for the error of what cannot be sent; empty: only what protobuf refuses is an error; None: the hub itself
        sends it. `without`: fields that no message holds. `inner`: what the model puts before its fields' names in
        errors. `derived`: fields of the message that follow from the value as a whole.
        """
        self._kind = kind
        self._message = message
        self._at = at
        self._sends = sends
        self._ids = ids
        self._without = {*without.split(), *(ids.fields if ids is not None else ())}
        self._inner = inner
        self._derived = derived
        self._given = fields
        _CODECS[kind] = self

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self._kind)

    @cached_property
    def _fields(self) -> dict[str, FieldCodec]:
        """The fields in the model's order, each with its name in the message."""
        fields = {}
        for name, hint in self._hints.items():
            if name not in self._without and not name.startswith("__"):
                given = self._given.get(name, "")
                field = given if isinstance(given, FieldCodec) else _usual(hint)._replace(wire=given)
                fields[name] = field._replace(wire=field.wire or name)
        return fields

    def to_pb(self, value: _M, **more: Any) -> _P:
        """Return the message; `more`: fields that stand in it alone. Raises InvalidArgument for what cannot be sent."""
        if self._sends is None:
            return self._made(value, more)
        with sendable(self._at, expected=self._sends):
            return self._made(value, more)

    def _made(self, value: _M, more: Mapping[str, Any]) -> _P:
        more = {**self._derived(value), **more}
        made = {f.wire: f.put(getattr(value, name)) for name, f in self._fields.items() if f.wire not in more}
        if self._ids is not None and self._ids.wire not in more:
            made[self._ids.wire] = self._ids.name(*(getattr(value, name) for name in self._ids.fields))
        return self._message(**made, **more)

    def from_pb(
        self,
        pb: Any,
        at: str | None = None,
        *,
        wrong: list[Violation] | None = None,
        paths: Mapping[str, str] | None = None,
        **given: Any,
    ) -> _M:
        """Return the value. `given`: fields that the caller knows, and `paths` how it calls them. `wrong`: what it has
        found already. Raises InvalidArgument with all that is wrong.
        """
        at = self._at if at is None else at
        wrong = [] if wrong is None else wrong
        values = {}
        called = {f"{self._inner}{name}": f"{at}.{f.wire}" for name, f in self._fields.items()} | dict(paths or {})
        if self._ids is not None and not given.keys() >= set(self._ids.fields):
            path = f"{at}.{self._ids.wire}"
            parts = checked(wrong, self._ids.parse, getattr(pb, self._ids.wire), path)
            values = dict(
                zip(self._ids.fields, parts or [self._hints[name]() for name in self._ids.fields], strict=True)
            )
            called |= dict.fromkeys(self._ids.fields, path)
        for name, f in self._fields.items():
            if name not in given:
                values[name] = f.read(pb, f.wire, at, wrong)
        return build(self._kind, values | given, wrong, at, called)

    def created(self, pb: Any, *ids: str, wrong: list[Violation] | None = None) -> _M:
        """Return the value that a create request has, its name made of `ids`; see from_pb."""
        if self._ids is None:
            raise TypeError(f"{self._message} has no name")
        paths = dict(zip(self._ids.fields, self._ids.created, strict=False))
        return self.from_pb(pb, wrong=wrong, paths=paths, **dict(zip(self._ids.fields, ids, strict=True)))


def flags_to_pb(flags: Flags) -> v1.Flags:
    """Return the message of tri-state flags: what is not stated stays absent."""
    return v1.Flags(**msgspec.structs.asdict(flags))


def flags_from_pb(pb: v1.Flags) -> Flags:
    """Return the flags: absent is None, not False."""
    return Flags(**{name: getattr(pb, name) for name in Flags.__struct_fields__ if pb.HasField(name)})


def _unchanged(value: Any) -> Any:
    return value


def _path(at: str, field: str) -> str:
    return f"{at}.{field}" if at else field


def _read_texts(pb: Any, field: str, at: str, wrong: list[Violation]) -> tuple[str, ...]:
    texts = tuple(getattr(pb, field))
    for i, text in enumerate(texts):
        check_text(text, f"{_path(at, field)}[{i}]", wrong)
    return texts


def _read_text(pb: Any, field: str, at: str, wrong: list[Violation]) -> str:
    text: str = getattr(pb, field)
    check_text(text, _path(at, field), wrong)
    return text


def _read_required_time(pb: Any, field: str, at: str, wrong: list[Violation]) -> datetime:
    time = read_time(pb, field, at, wrong)
    if time is None:
        wrong.append(Violation(_path(at, field), "is missing", "REQUIRED"))
    return time or datetime.fromtimestamp(0, UTC)


def _read_not_negative(pb: Any, field: str, at: str, wrong: list[Violation]) -> int:
    number: int = getattr(pb, field)
    if number < 0:
        wrong.append(Violation(_path(at, field), f"must not be negative, got {number}", "OUT_OF_RANGE"))
    return number


PLAIN: Final = FieldCodec(_unchanged, lambda pb, field, *_: getattr(pb, field))
"""As it is; nobody but the hub sends it, or the model looks at it."""
TEXT: Final = FieldCodec(_unchanged, _read_text)
"""Text of a caller, which may not be endless."""
TEXTS: Final = FieldCodec(_unchanged, _read_texts)
NOT_NEGATIVE: Final = FieldCodec(_unchanged, _read_not_negative)
_PLAIN_TEXTS: Final = FieldCodec(_unchanged, lambda pb, field, *_: tuple(getattr(pb, field)))
_OPTIONAL: Final = FieldCodec(_unchanged, lambda pb, field, *_: getattr(pb, field) if pb.HasField(field) else None)
_MAPPING: Final = FieldCodec(
    lambda value: dict(sorted(value.items())), lambda pb, field, *_: dict(sorted(getattr(pb, field).items()))
)
_USUAL: Final[dict[Any, FieldCodec]] = {
    **dict.fromkeys((str, int, bool, bytes, float), PLAIN),
    **dict.fromkeys((int | None, bool | None, float | None), _OPTIONAL),
    tuple[str, ...]: _PLAIN_TEXTS,
    dict[str, int]: _MAPPING,
    datetime: FieldCodec(timestamp, _read_required_time),
    datetime | None: FieldCodec(timestamp, read_time),
    Flags: FieldCodec(flags_to_pb, lambda pb, field, *_: flags_from_pb(getattr(pb, field))),
    dict[str, tuple[str, ...]]: FieldCodec(
        lambda value: {name: v1.DimensionValues(values=values) for name, values in value.items()},
        lambda pb, field, *_: {name: tuple(one.values) for name, one in sorted(getattr(pb, field).items())},
    ),
    tuple[Hash, ...]: FieldCodec(
        lambda value: [v1.Hash(algorithm=h.algorithm, digest=h.digest) for h in value],
        lambda pb, field, at, wrong: tuple(
            read_hash(h, f"{_path(at, field)}[{i}]", wrong) for i, h in enumerate(getattr(pb, field))
        ),
    ),
}


def _usual(hint: Any) -> FieldCodec:
    """Return how a value of this type is sent."""
    if hint in _USUAL:
        return _USUAL[hint]
    args = get_args(hint)
    if get_origin(hint) is tuple:
        return enums(args[0]) if issubclass(args[0], StrEnum) else messages(args[0])
    if isinstance(hint, UnionType):
        return optional_enum(args[0]) if issubclass(args[0], StrEnum) else message(args[0], is_optional=True)
    if issubclass(hint, StrEnum):
        table = ENUMS[hint]
        return FieldCodec(
            table.to_pb, lambda pb, field, at, wrong: table.from_pb(getattr(pb, field), _path(at, field), wrong)
        )
    return message(hint)


def enums(kind: type[StrEnum]) -> FieldCodec:
    """Return how several values of an enumeration are sent."""
    table = ENUMS[kind]
    return FieldCodec(
        lambda value: list(map(table.to_pb, value)),
        lambda pb, field, at, wrong: tuple(
            table.from_pb(number, f"{_path(at, field)}[{i}]", wrong) for i, number in enumerate(getattr(pb, field))
        ),
    )


def optional_enum(kind: type[StrEnum]) -> FieldCodec:
    """Return how a value of an enumeration is sent that need not be stated."""
    table = ENUMS[kind]
    return FieldCodec(
        lambda value: None if value is None else table.to_pb(value),
        lambda pb, field, at, wrong: (
            table.from_pb(getattr(pb, field), _path(at, field), wrong) if getattr(pb, field) else None
        ),
    )


def word(kind: type[StrEnum], *, is_optional: bool = False) -> FieldCodec:
    """Return how a value of an enumeration is sent that stands in messages as text; None is empty."""

    def read(pb: Any, field: str, at: str, wrong: list[Violation]) -> StrEnum | None:
        text = getattr(pb, field)
        if text in set(kind) or (is_optional and not text):
            return kind(text) if text else None
        wrong.append(Violation(_path(at, field), f"is not known to this version: {text[:40]!r}", "UNKNOWN_VALUE"))
        return next(iter(kind))

    return FieldCodec(lambda value: value or "", read)


def message(kind: Any, *, is_optional: bool = False) -> FieldCodec:
    """Return how a struct is sent that has a codec."""

    def read(pb: Any, field: str, at: str, wrong: list[Violation]) -> Any:
        if is_optional and not pb.HasField(field):
            return None
        return _collected(_CODECS[kind], getattr(pb, field), _path(at, field), wrong)

    return FieldCodec(lambda value: None if value is None else _CODECS[kind].to_pb(value), read)


def messages(kind: Any) -> FieldCodec:
    """Return how a tuple of structs is sent that have a codec."""
    return FieldCodec(
        lambda value: map(_CODECS[kind].to_pb, value),
        lambda pb, field, at, wrong: tuple(
            _collected(_CODECS[kind], one, f"{_path(at, field)}[{i}]", wrong)
            for i, one in enumerate(getattr(pb, field))
        ),
    )


def _collected(codec: MessageCodec[Any, Any], pb: Any, at: str, wrong: list[Violation]) -> Any:
    try:
        return codec.from_pb(pb, at)
    except InvalidArgument as e:
        wrong += e.violations
        return None


def name_of(kind: str, wire: str = "", *, is_required: bool = False) -> FieldCodec:
    """Return how the name of a resource (`alpha/list/7`) is sent; it may be empty, or is required."""

    def read(pb: Any, field: str, at: str, wrong: list[Violation]) -> str:
        text = getattr(pb, field)
        return _short(kind, text, _path(at, field), wrong) if text or is_required else ""

    return FieldCodec(lambda value: _long(kind, value) if value else "", read, wire)


def names_of(kind: str, wire: str = "", *, most: int | None = None) -> FieldCodec:
    """Return how names of resources are sent, `most` of them at most."""
    return FieldCodec(
        lambda value: [_long(kind, one) for one in value[:most]],
        lambda pb, field, at, wrong: tuple(
            _short(kind, one, f"{_path(at, field)}[{i}]", wrong) for i, one in enumerate(getattr(pb, field))
        ),
        wire,
    )


def _long(kind: str, name: str) -> str:
    return MAKERS[kind](name) if kind in MAKERS else resource_name(kind, name)


def _short(kind: str, name: str, path: str, wrong: list[Violation]) -> str:
    parts = checked(wrong, PARSERS[kind], name, path)
    return "/".join(map(str, parts)) if isinstance(parts, tuple) else parts or ""
