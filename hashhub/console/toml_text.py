"""TOML texts beside forms: a form's field written into its text, and what is wrong with a text, by line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import FormData

from hashhub.console.pages import _
from hashhub.errors import HashHubError, InvalidArgument
from hashhub.schemes import read_toml

if TYPE_CHECKING:
    from hashhub.console.visit import Visit

_HEADER: Final = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(#.*)?")
_KEY: Final = re.compile(r"""\s*([\w.\-"']+)\s*=""")
_MARKS: Final = 20  # that a line's comment may begin with
_QUOTES: Final = re.compile(r"""[\s"']""")


def text_of(visit: Visit, name: str) -> str:
    """Return a text of the form, or of the file that was chosen instead of it. Raises InvalidArgument."""
    file = visit.upload(f"{name}_file")
    try:
        return visit.form[name] if file is None else file.file.read().decode().replace("\r\n", "\n")
    except UnicodeDecodeError as e:
        raise InvalidArgument.field(name, _("is not UTF-8 text; save it as UTF-8"), "NOT_UTF8") from e


def take(visit: Visit) -> str:
    """Return the form's text with what was changed in the fields (`was:PATH` has what PATH was). The form has it from
    now on, and fields are drawn from it again. Raises InvalidArgument.
    """
    paths = [name.removeprefix("was:") for name in visit.form if name.startswith("was:")]
    changed = {path: visit.form[path] for path in paths if visit.form[path] != visit.form[f"was:{path}"]}
    text = written(text_of(visit, "text"), changed)
    kept = {name: visit.form[name] for name in visit.form if name.removeprefix("was:") not in paths}
    visit.take(FormData({**kept, "text": text}))
    return text


def read(text: str) -> dict[str, Any]:
    """Return what a text holds; nothing where it is no TOML."""
    with suppress(InvalidArgument):
        return read_toml(text.encode(), "text")
    return {}


def written(text: str, values: Mapping[str, str]) -> str:
    """Return a text in which keys (`clause[0].contributors`) have these values (TOML), all else as it was. Raises
    InvalidArgument where that cannot be done line by line.
    """
    if not values:
        return text
    expected, places, lines = read_toml(text.encode(), "text"), _places(text), text.split("\n")
    added: list[tuple[int, str]] = []
    for path, value in values.items():
        table, _dot, key = path.rpartition(".")
        with suppress(ValueError, LookupError, TypeError):  # then the text reads otherwise than expected
            part = expected["clause"][int(table[len("clause[") : -1])] if table else expected
            part[key] = tomllib.loads(f"x = {value}")["x"]
        if at := places.get(path):
            line = lines[at - 1]
            marks = [mark.start() for mark in re.finditer("#", line)][:_MARKS]
            remark = next((line[mark:] for mark in marks if read(line[:mark]) == read(line)), "")
            lines[at - 1] = f"{key} = {value}  {remark}".rstrip()
        else:
            added.append((places.get(table, 0), f"{key} = {value}"))
    for at, line in sorted(added, reverse=True):
        lines.insert(at, line)
    new = "\n".join(lines)
    if read(new) != expected:
        told = _("cannot be written into the text by the form; change it there")
        raise InvalidArgument.field(", ".join(values)[:200], told)
    return new


def difference(before: str, after: str) -> list[str]:
    """Return the lines of a unified diff."""
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm=""))[2:]


def faults(text: str, error: HashHubError | None) -> list[tuple[int, str, str]]:
    """Return what is wrong with a text: each with its line's number, 0 where it is of none, and the line itself."""
    lines = ["", *text.splitlines()]
    violations = error.violations if isinstance(error, InvalidArgument) else ()
    numbers = ((min(_line(text, v.field, v.description), len(lines) - 1), v) for v in violations)
    return [(number, lines[number], f"{v.field}: {v.description}") for number, v in numbers]


def _places(text: str) -> dict[str, int]:
    """Return at which line, from 1, tables and keys begin: `clause[0].contributors`, `values.A.dimensions`."""
    places: dict[str, int] = {}
    counts: Counter[str] = Counter()
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = _QUOTES.sub("", header[2])
            counts[table] += header[1] == "[["
            first, dot, rest = table.partition(".")
            table = f"{first}[{counts[first] - 1}]{dot}{rest}" if counts[first] else table
            places.setdefault(table, number)
        elif key := _KEY.match(line):
            path = table
            for part in _QUOTES.sub("", key[1]).split("."):
                path = f"{path}.{part}".removeprefix(".")
                places.setdefault(path, number)
    return places


def _line(text: str, field: str, told: str) -> int:
    """Return the line that a violation is about, 0 if that is not known."""
    if at := re.search(r"\(at line ([0-9]+),", told):
        return int(at[1])
    places, path = _places(text), field.removeprefix("text: ")
    if clause := re.fullmatch(r"clause '(.+)'", path):
        ids = [one.get("id") for one in read(text)["clause"]]  # only a text that reads as a policy has such a fault
        path = f"clause[{ids.index(clause[1])}]"
    path += f".{re.split('[: ]', told)[0]}"  # the key inside it, where the words begin with that
    while path and path not in places:
        path = path[:-1].rpartition("[" if path.endswith("]") else ".")[0]
    return places.get(path, 0)
