"""Settings from TOML and the environment as typed values, and what is wrong with them, in words for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from itertools import islice
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from hashhub.errors import MAX_VIOLATIONS, InvalidArgument, Violation

T = TypeVar("T")

_LONGEST_SHOWN: Final = 40  # characters of a wrong value
_NEAR: Final = 0.75  # as difflib counts: MOED is near MODE
# What Kubernetes tells each container of a service that is named as we are: HASHHUB_PORT, HASHHUB_HOOK_SERVICE_HOST.
_OF_KUBERNETES: Final = re.compile(
    r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_literal: Any = Literal  # of words that are known only here
_WORDS: Final[dict[Any, str]] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes",
    datetime: "a time such as 2027-01-31T00:00:00Z", NoneType: "nothing",
}  # fmt: skip


def converted(values: Any, kind: type[T], *, called: Callable[[str], str], hint: str, strict: bool = True) -> T:
    """Return what a person wrote as `kind`.

    Raises InvalidArgument with everything that is wrong: each unknown or missing setting, each value of the wrong type,
    or else what `kind` itself refuses. Where not all words of a field's type may stand there, `kind.CHOICES` has those
    that may, by field. `called`: what its writer knows a setting by, such as `hook.toml: vault.days`.
    """
    try:
        return msgspec.convert(values, kind, strict=strict)
    except InvalidArgument as e:
        wrong = "; ".join(f"{called(v.field)} {v.description}" for v in e.violations)
        raise InvalidArgument(
            wrong or e.message, violations=e.violations, violation_count=e.violation_count, reason=e.reason
        ) from e
    except msgspec.ValidationError as e:
        # No more are looked for than are told: a stranger's text may hold thousands.
        faults = tuple(islice(_faults(values, kind, "", strict=strict), MAX_VIOLATIONS)) or (Violation("", str(e)),)
        wrong = "; ".join(f"{called(v.field)} {v.description}" for v in faults)
        raise InvalidArgument(f"{wrong}; {hint}", violations=faults) from e


def too_small(section: msgspec.Struct, name: str, **least: float) -> list[Violation]:
    """Return which of a section's numbers are below their least ones, inclusive: those that are given, otherwise 1 of
    whole numbers and 0.01 of others.
    """
    usual = {"int": 1, "float": 0.01}
    bounds = {key: usual[kind] for key, kind in section.__annotations__.items() if kind in usual} | least
    prefix = f"{name}." if name else ""
    return [
        Violation(prefix + key, f"must be at least {at_least}, got {getattr(section, key)}", "OUT_OF_RANGE")
        for key, at_least in bounds.items()
        if not getattr(section, key) >= at_least  # nan is no number of seconds either
    ]


def refuse(wrong: list[Violation]) -> None:
    """Raise InvalidArgument for what is wrong, if there is something."""
    if wrong:
        raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong))


def refuse_misspelt(environment: Mapping[str, str], prefix: str, names: Iterable[str], *, but_not: str = "") -> None:
    """Raise InvalidArgument for variables nearly named as one of `names`, which set nothing; leave others be."""
    known = {name.removeprefix(prefix): name for name in names}
    wrong = [
        Violation(name, f"is unknown; did you mean {known[near]}?", "BAD_KEY")
        for name in sorted(environment)
        if name.startswith(prefix) and name.removeprefix(prefix) not in known
        if not (but_not and name.startswith(but_not)) and not _OF_KUBERNETES.fullmatch(name.removeprefix(prefix))
        if (near := _nearest(name.removeprefix(prefix), known))
    ]
    refuse(wrong)


def _faults(value: Any, kind: Any, path: str, *, strict: bool) -> Iterator[Violation]:
    """Yield what keeps a value from being of its kind, each under its path."""
    of = get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _faults_of_section(value, kind, path, strict=strict)
    elif get_origin(kind) in {tuple, list} and isinstance(value, list):
        for number, one in enumerate(value):
            yield from _faults(one, of[0], f"{path}[{number}]", strict=strict)
    elif get_origin(kind) is dict and isinstance(value, dict):
        for name, one in value.items():
            yield from _faults(one, of[1], f"{path}.{name[:_LONGEST_SHOWN]}", strict=strict)
    else:
        try:
            msgspec.convert(value, kind, strict=strict)
        except msgspec.ValidationError:
            shown = repr(value)
            if len(shown) > _LONGEST_SHOWN:
                shown = f"{shown[:_LONGEST_SHOWN]}…"
            near = _nearest(value, _choices(kind)) if isinstance(value, str) else ""
            meant = f"; did you mean {near}?" if near else ""
            yield Violation(path, f"must be {_expected(kind)}, got {shown}{meant}")


def _faults_of_section(value: Any, kind: type[msgspec.Struct], path: str, *, strict: bool) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield Violation(path, f"must be a section of its own{path and f': [{path}]'}")
        return
    dot = f"{path}." if path else ""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    choices: Mapping[str, tuple[str, ...]] = getattr(kind, "CHOICES", {})
    for name in value:
        if name not in fields:
            near = _nearest(name, fields)
            meant = f"; did you mean {near}?" if near else ""
            yield Violation(f"{dot}{name[:_LONGEST_SHOWN]}", f"is unknown{meant}", "BAD_KEY")
    for name, field in fields.items():
        of: Any = _literal[choices[name]] if name in choices else field.type
        if name in value:
            yield from _faults(value[name], of, dot + name, strict=strict)
        elif field.required and isinstance(of, type) and issubclass(of, msgspec.Struct):
            yield from _faults({}, of, dot + name, strict=strict)
        elif field.required:
            yield Violation(dot + name, f"is missing; it must be {_expected(of)}", "BAD_KEY")


def _expected(kind: Any) -> str:
    """Return in words what a value may be."""
    if choices := _choices(kind):
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    if get_origin(kind) in {Union, UnionType}:
        return " or ".join(map(_expected, get_args(kind)))
    if get_origin(kind) in {tuple, list}:
        return 'a list: ["…"]'
    if get_origin(kind) is dict:
        return "a table"
    return _WORDS.get(kind, "something else")


def _choices(kind: Any) -> list[str]:
    """Return the words of which one must be given; none where it is no matter of words."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(one.value) for one in kind if one.value != ""]
    return []


def _nearest(word: str, words: Iterable[str]) -> str:
    """Return which of the words may have been meant, whatever its capitals; empty where none is near."""
    from difflib import get_close_matches  # only where something is wrong

    by_lower = {one.lower(): one for one in words}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=_NEAR)
    return by_lower[near[0]] if near else ""
