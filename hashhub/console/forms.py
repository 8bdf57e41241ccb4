"""What resources have, as pages and forms show it; and what of it a person changed, told where others did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar, get_origin, get_type_hints

import msgspec
from starlette.datastructures import FormData
from starlette.responses import Response

from hashhub.client.transport import Listing
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, link, word
from hashhub.conversion import converted
from hashhub.errors import Conflict, InvalidArgument
from hashhub.model import Role

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
Form = tuple[str, str, Sequence["Input"]]
"""What a form does, what that is called, and its fields."""
_KINDS: Final[dict[object, str]] = {bool: "answer", datetime | None: "time"}


class Input(msgspec.Struct, frozen=True):
    """What a resource has, and the field of a form for it. `kind`: text, lines, code (TOML), file, time, check, checks,
    answer (yes or no), hidden, fold (of the fields in `options`), or button, which sends the form to another end.
    `use`: given, which is said when a resource is created and never changed; shown, which nobody says. `options`:
    values and their names.
    """

    name: str
    label: str = ""
    hint: str = ""
    kind: str = "text"
    options: Sequence[Any] = ()
    value: str = ""
    use: str = ""

    def of(self, resource: object) -> Input:
        """Return the field with what a resource has in it."""
        value = msgspec.to_builtins(getattr(resource, self.name))
        return msgspec.structs.replace(self, value="\n".join(value) if self.kind == "lines" else str(value or ""))

    def read(self, text: str) -> object:
        """Return what was typed. A day is its beginning, in UTC."""
        match self.kind:
            case "lines":
                return list(words(text))
            case "answer":
                return {"True": True, "": False}.get(text, text)
            case "time":
                return f"{text}T00:00:00Z" if len(text) == len("2027-01-31") else text or None
        return text.strip()


def described(
    kind: type[msgspec.Struct], *, given: str = "", changed: str, shown: str = "", **hints: str
) -> list[Input]:
    """Return the fields of a resource as its own type describes them, with hints by name."""
    types, defaults = get_type_hints(kind), {field.name: field.default for field in msgspec.structs.fields(kind)}
    fields = []
    for name, use in (
        (name, use) for use, names in (("given", given), ("", changed), ("shown", shown)) for name in names.split()
    ):
        of, hint, value, options = types[name], hints.get(name, ""), "", list[tuple[str, str]]()
        if of is bool:
            options = [("True", _("yes")), ("", _("no"))]
        elif isinstance(of, type) and issubclass(of, StrEnum):
            options = pairs(one for one in of if one is not Role.PEER)
            value = str(defaults[name]) if defaults[name] in list(of) else ""
        elif of == datetime | None:
            hint = hint or _("A day such as 2027-01-31, or a time with its zone; empty: never")
        of = _KINDS.get(of, "lines" if get_origin(of) is tuple else "text")
        fields.append(Input(name, word(name).capitalize(), hint, of, options, value, use))
    return fields


def pairs(values: Iterable[StrEnum]) -> list[tuple[str, str]]:
    """Return values of the model with their words, as the options of a field; degrees of reliability are letters."""
    return [(one.value, word(one) if len(one) > 1 else one.value) for one in values]


def hidden(visit: HubVisit, fields: Iterable[Input], **given: object) -> list[Input]:
    """Return fields that say once more what was typed into these, and what is given."""
    values = {**{field.name: visit.form[field.name] for field in fields}, **given}
    return [Input(name, kind="hidden", value=str(value)) for name, value in values.items()]


def words(text: str) -> tuple[str, ...]:
    """Return what a field lists, by spaces, commas or lines."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def facts(resource: object, fields: str | Iterable[Input]) -> list[tuple[str, object]]:
    """Return what a resource has in fields, which are told by name or with their labels, as a page shows it."""
    names = (
        [(name, word(name).capitalize()) for name in fields.split()]
        if isinstance(fields, str)
        else [(f.name, f.label) for f in fields]
    )
    return [(label, getattr(resource, name)) for name, label in names]


def show_many(visit: HubVisit, title: str, listed: Listing[Any], fields: list[Input], **more: Any) -> Response:
    """Show a page of resources, named by the first of their fields, and the form that creates one where it says any."""
    said = [field for field in fields if field.use != "shown"]
    resources, after = listed.page(25, visit.query.get("after", ""))
    columns, here = [field for field in fields if field.kind not in {"lines", "answer"}], visit.url.partition("?")[0]
    cells = [[getattr(one, field.name) for field in columns] for one in resources]
    rows = [(link(f"{here}/{name}", name), *others) for name, *others in cells]
    forms = [("create", _("Create"), said)] if said else []
    return visit.page(title, heads=[field.label for field in columns], rows=rows, after=after, forms=forms, **more)


def change_form(resource: object, fields: Iterable[Input]) -> Form:
    """Return the form that changes a resource."""
    own = [field for field in fields if not field.use]
    was = Input("was", kind="hidden", value=drawn(resource, [field.name for field in own]))
    return "update", _("Change"), [was, *(field.of(resource) for field in own)]


def end_form(do: str, label: str, *fields: Input) -> Form:
    """Return the form that ends something for good, in which its name is typed."""
    return do, label, [*fields, Input("confirm", _("Its name, once more"), _("This cannot be undone."))]


def made(visit: HubVisit, kind: type[S], fields: Iterable[Input], **given: Any) -> S:
    """Return the resource that a form says. `given`: what it has whatever the form says."""
    values = {field.name: field.read(visit.form[field.name]) for field in fields if field.use != "shown"}
    return converted({**values, **given}, kind, called=str, hint=_("nothing was done"))


def updated(visit: HubVisit, resource: S, fields: Iterable[Input]) -> tuple[S, tuple[str, ...]]:
    """Return a resource as its form changes it, and the names of what the person changed. Raises Conflict where
    somebody else changed one of these since the page was drawn, InvalidArgument where nothing is changed.
    """
    own = {field.name: field for field in fields if not field.use}
    others = {name: value for name, value in msgspec.to_builtins(resource).items() if name not in own}
    typed = made(visit, type(resource), own.values(), **others)
    was = kept(visit, "was", dict[str, Any])
    said, is_now = (msgspec.json.decode(drawn(one, own)) for one in (typed, resource))
    names = tuple(name for name in own if said[name] != was.get(name))
    if not names:
        raise InvalidArgument(_("Nothing was changed."))
    if any(is_now[name] != was.get(name) for name in names):
        # What the person did not change is shown as it is now, or sending the form again would undo it.
        visit.take(FormData([(name, visit.form[name]) for name in visit.form if name not in own or name in names]))
        raise Conflict(_("Somebody else changed this since the page was opened. See what it is now, then try again."))
    return msgspec.structs.replace(resource, **{name: getattr(typed, name) for name in names}), names


def kept(visit: HubVisit, name: str, kind: type[T]) -> T:
    """Return what a page put into a form, as JSON, to have it sent back. Raises InvalidArgument."""
    try:
        return msgspec.json.decode(visit.form[name], type=kind)
    except msgspec.DecodeError:
        raise InvalidArgument(_("This form is not as the page made it; load the page again.")) from None


def drawn(resource: object, names: Iterable[str]) -> str:
    """Return the values that a form is drawn with, which it sends back in `was`."""
    return msgspec.json.encode({name: getattr(resource, name) for name in names}).decode()


def confirmed(visit: HubVisit) -> str:
    """Return the name of what ends for good. Raises InvalidArgument unless the person has typed it."""
    if visit.form["confirm"].strip() != visit.path["name"]:
        raise InvalidArgument.field("confirm", _("must be {}; nothing was done").format(visit.path["name"]))
    return visit.path["name"]
