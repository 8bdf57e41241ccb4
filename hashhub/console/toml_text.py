"""TOML texts beside forms: a form's field written into its text, and what is wrong with a text, by line."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import FormData

from hashhub.console.pages import _
from hashhub.errors import HashHubError, InvalidArgument, Violation
from hashhub.schemes import read_toml

if TYPE_CHECKING:
    from hashhub.console.visit import Visit

_LINE: Final = re.compile(r"""\s*(?:(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?$|([\w.\-"']+)\s*=)""")  # a table's head, or a key


def take(visit: Visit) -> str:
    """Return the form's text with what was changed in the fields (`was:PATH` has what PATH was). The form has it from
    now on, and fields are drawn from it again. Raises InvalidArgument.
    """
    form = visit.form
    paths = [name.removeprefix("was:") for name in form if name.startswith("was:")]
    kept = {name: form[name] for name in form if name.removeprefix("was:") not in paths}
    changed = {path: form[path] for path in paths if form[path] != form[f"was:{path}"]}
    kept["text"] = written(form["text"], changed)
    visit.take(FormData(kept))
    return kept["text"]


def read(text: str) -> dict[str, Any]:
    """Return what a text holds; nothing where it is no TOML."""
    with suppress(InvalidArgument):
        return read_toml(text.encode(), "text")
    return {}


def tables(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a policy and its clauses, by their paths: empty, and `clause[0]`."""
    clauses = content.get("clause")
    numbered = enumerate(clauses if isinstance(clauses, list) else ())
    return {"": content, **{f"clause[{number}]": one for number, one in numbered if isinstance(one, dict)}}


def written(text: str, values: Mapping[str, str]) -> str:
    """Return a text in which keys (`clause[0].contributors`) have these values (TOML), all else as it was. Raises
    InvalidArgument where that cannot be done line by line.
    """
    expected, places, lines = read_toml(text.encode(), "text"), _places(text), ["", *text.split("\n")]
    for path, value in values.items():
        table, _dot, key = path.rpartition(".")
        with suppress(KeyError):  # then the text reads otherwise than expected
            tables(expected)[table][key] = read(f"x = {value}")["x"]
        if at := places.get(path):
            line, marks = lines[at], [mark.start() for mark in re.finditer("#", lines[at])][:20]
            remark = next((line[mark:] for mark in marks if read(line[:mark]) == read(line)), "")
            lines[at] = f"{key} = {value}  {remark}".rstrip()
        else:
            lines[places.get(table, 0)] += f"\n{key} = {value}"
    new = "\n".join(lines)[1:]
    if read(new) != expected:
        told = _("cannot be written into the text by the form; change it there")
        raise InvalidArgument.field(", ".join(values)[:200], told)
    return new


def faults(text: str, error: HashHubError | None) -> list[tuple[str, str]]:
    """Return what is wrong with a text: in which line, where that is known, and what."""
    return [(_where(text, fault), f"{fault.field}: {fault.description}") for fault in getattr(error, "violations", ())]


def _places(text: str) -> dict[str, int]:
    """Return at which line, from 1, tables and keys begin: `clause[0].contributors`, `values.A.dimensions`."""
    places, table = {"": 0}, ""
    numbers: dict[str, Iterator[int]] = defaultdict(count)
    for number, line in enumerate(text.split("\n"), 1):
        if found := _LINE.match(line):
            path = re.sub(r"""[\s"']""", "", found[2] or f"{table}.{found[3]}").removeprefix(".")
            if found[1]:
                table = path = path + (f"[{next(numbers[path])}]" if found[1] == "[[" else "")
            places.setdefault(path, number)
    return places


def _where(text: str, fault: Violation) -> str:
    lines, places = text.split("\n"), _places(text)
    path = f"{fault.field.removeprefix('text: ')}.{re.split('[: ]', fault.description)[0]}"  # it may begin with the key
    for at_clause, clause in tables(read(text)).items():
        path = path.replace(f"clause '{clause.get('id')}'", at_clause)
    said = re.search(r"\(at line ([0-9]+),", fault.description)
    number = int(said[1]) if said else places[max(filter(path.startswith, places), key=len)]
    return _("Line {}: {}").format(number, lines[number - 1]) if 0 < number <= len(lines) else ""
