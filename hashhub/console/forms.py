"""What resources have, as pages and forms show it; and what of it a person changed, told where others did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.datastructures import FormData

from hashhub.console.pages import _, link, word
from hashhub.conversion import converted
from hashhub.errors import Conflict, InvalidArgument

if TYPE_CHECKING:
    from enum import StrEnum

    from starlette.responses import Response

    from hashhub.client.transport import Listing
    from hashhub.console.hub_visit import HubVisit

S = TypeVar("S", bound=msgspec.Struct)


class Input(msgspec.Struct, frozen=True):
    """What a resource has, and the field of a form for it. `kind`: text, lines, time, check, answer (yes or no),
    hidden, or button, which sends the form to another end; given, which is said when a resource is created and never
    changed; shown, which nobody says. `options`: values and their names.
    """

    name: str
    label: str = ""
    hint: str = ""
    kind: str = "text"
    options: Sequence[tuple[str, str]] = ()
    value: str = ""

    def of(self, resource: object) -> Input:
        """Return the field with what a resource has in it."""
        value = msgspec.to_builtins(getattr(resource, self.name))
        return msgspec.structs.replace(self, value="\n".join(value) if self.kind == "lines" else str(value or ""))

    def read(self, text: str) -> object:
        """Return what was typed. A day is its beginning, in UTC."""
        match self.kind:
            case "lines":
                return list(words(text))
            case "check":
                return bool(text)
            case "answer":
                return {"True": True, "": False}.get(text, text)
            case "time":
                return f"{text}T00:00:00Z" if len(text) == len("2027-01-31") else text or None
        return text.strip()


def pairs(values: Iterable[StrEnum]) -> list[tuple[str, str]]:
    """Return values of the model with their words, as the options of a field."""
    return [(value.value, word(value)) for value in values]


def hidden(visit: HubVisit, fields: Iterable[Input], **given: object) -> list[Input]:
    """Return fields that say once more what was typed into these, and what is given."""
    values = {**{field.name: visit.form[field.name] for field in fields}, **given}
    return [Input(name, kind="hidden", value=str(value)) for name, value in values.items()]


def words(text: str) -> tuple[str, ...]:
    """Return what a field lists, by spaces, commas or lines."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def facts(resource: object, fields: Iterable[Input]) -> list[tuple[str, object]]:
    """Return the fields' labels, and what a resource has there."""
    return [(field.label, getattr(resource, field.name)) for field in fields]


def show_many(
    visit: HubVisit, title: str, listed: Listing[Any], fields: list[Input], command: str, handbook: str, **more: Any
) -> Response:
    """Show a page of resources, named by the first of their fields, and the form that creates one where it says any."""
    said = [field for field in fields if field.kind != "shown"]
    resources, after = listed.page(25, visit.query.get("after", ""))
    columns, here = [field for field in fields if field.kind not in {"lines", "check"}], visit.url.partition("?")[0]
    cells = [[getattr(one, field.name) for field in columns] for one in resources]
    return visit.page(
        "plain.html",
        title=title,
        heads=[field.label for field in columns],
        rows=[(link(f"{here}/{name}", name), *others) for name, *others in cells],
        after=after,
        forms=[("create", _("Create"), said)] if said else [],
        command=command,
        handbook=handbook,
        **more,
    )


def change_form(resource: object, fields: Iterable[Input]) -> tuple[str, str, list[Input]]:
    """Return the form that changes a resource."""
    own = _changeable(fields)
    was = Input("was", kind="hidden", value=drawn(resource, [field.name for field in own]))
    return "update", _("Change"), [was, *(field.of(resource) for field in own)]


def made(visit: HubVisit, kind: type[S], fields: Iterable[Input], **given: Any) -> S:
    """Return the resource that a form says. `given`: what it has whatever the form says."""
    values = {field.name: field.read(visit.form[field.name]) for field in fields if field.kind != "shown"}
    return converted({**values, **given}, kind, called=str, hint=_("nothing was done"))


def updated(visit: HubVisit, resource: S, fields: Iterable[Input]) -> tuple[S, tuple[str, ...]]:
    """Return a resource as its form changes it, and the names of what is changed. Raises as `changed` does."""
    own = {field.name: field for field in _changeable(fields)}
    others = {name: value for name, value in msgspec.to_builtins(resource).items() if name not in own}
    typed = made(visit, type(resource), own.values(), **others)
    values = changed(visit, resource, {name: getattr(typed, name) for name in own})
    return msgspec.structs.replace(resource, **values), tuple(values)


def _changeable(fields: Iterable[Input]) -> list[Input]:
    return [field for field in fields if field.kind not in {"given", "shown"}]


def drawn(resource: object, names: Iterable[str]) -> str:
    """Return the values that a form is drawn with, which it sends back in `was`."""
    return msgspec.json.encode({name: getattr(resource, name) for name in names}).decode()


def changed(visit: HubVisit, resource: object, fields: dict[str, Any]) -> dict[str, Any]:
    """Return which fields the person changed. Raises Conflict where somebody else changed one of these since the page
    was drawn, InvalidArgument where nothing is changed.
    """
    try:
        was = msgspec.json.decode(visit.form["was"], type=dict[str, Any])
    except msgspec.DecodeError:
        raise InvalidArgument(_("This form is not as the page made it; load the page again.")) from None
    typed, is_now = (msgspec.json.decode(values) for values in (msgspec.json.encode(fields), drawn(resource, fields)))
    own = {name: value for name, value in fields.items() if typed[name] != was.get(name)}
    if not own:
        raise InvalidArgument(_("Nothing was changed."))
    if any(is_now[name] != was.get(name) for name in own):
        # What the person did not change is shown as it is now, or sending the form again would undo it.
        visit.take(FormData([(name, visit.form[name]) for name in visit.form if name not in fields or name in own]))
        raise Conflict(_("Somebody else changed this since the page was opened. See what it is now, then try again."))
    return own


def confirmed(visit: HubVisit) -> str:
    """Return the name of what ends for good. Raises InvalidArgument unless the person has typed it."""
    if visit.form["confirm"].strip() != visit.path["name"]:
        raise InvalidArgument.field("confirm", _("must be {}; nothing was done").format(visit.path["name"]))
    return visit.path["name"]
