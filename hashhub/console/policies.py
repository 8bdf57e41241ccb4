"""Policies: their versions, and what differs between them; a text beside a form, tried out before it holds."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hashhub import hashes
from hashhub.console import toml_text
from hashhub.console.home import ROWS
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.errors import InvalidArgument
from hashhub.model import Query, Reliability, now
from hashhub.trust import Policy

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.client import PolicyVersion
    from hashhub.console.hub_visit import HubVisit
    from hashhub.trust import Trial

_JUDGED: Final = 2_000  # items of one trial here: some seconds, at the pace that the hub gives trials
_FIELDS: Final[Mapping[bool, Mapping[str, Iterable[Any]]]] = {  # of a clause or not, with what can be chosen
    False: {"disputed_from": Reliability, "independent_from": Reliability, **Policy.CHOICES, "disputed_by": ()},
    True: {"contributors": (), "verdicts": (), "reliability": (), "verified_scheme": (True, False)},
}


def show_all(visit: HubVisit) -> Response:
    """The policies, each in its current version."""
    rows, after = visit.hub.list_policies().page(after=visit.query.get("after", ""))
    return visit.page("policies.html", rows=rows, after=after)


def show(visit: HubVisit, *, made: PolicyVersion | None = None, trial: Trial | None = None) -> Response:
    """A version, and what has changed since. `made`: what the form's text would be put as. `trial`: what of it."""
    version = visit.hub.get_policy(visit.path["name"])
    versions = list(visit.hub.list_policy_versions(version.id))[::-1]
    current = next((one for one in versions if one.is_current), version)
    old, new = (current, made) if made else (version, current)
    before, after = ([*one.text.splitlines(), "", *one.explanation.splitlines()] for one in (old, new))
    content = toml_text.read(version.text)
    text = toml_text.written(version.text, {"version": f"{versions[0].version + 1}"}) if content else version.text
    typed = visit.typed("text", text)
    return visit.page(
        "policy.html",
        version=version,
        versions=versions[:ROWS],
        text=text,
        fields=list(_fields(toml_text.read(typed) or content)),
        faults=toml_text.faults(typed, visit.refused),
        difference=list(difflib.unified_diff(before, after, old.name, new.name, lineterm="")),
        trial=trial,
    )


def check(visit: HubVisit) -> Response:
    """Write the fields of the form into its text, and show what would be put."""
    return show(visit, made=visit.hub.put_policy(_text(visit), visit.form["comment"], validate_only=True))


def put(visit: HubVisit) -> Response:
    """Put the text: it holds at once, or when a second person puts it."""
    made = visit.hub.put_policy(_text(visit), visit.form["comment"])
    return visit.go(f"/policies/{made.id}", _("{} holds.").format(made.name))


def simulate(visit: HubVisit) -> Response:
    """Show what would change for these hashes, or for what became visible last week, and store nothing."""
    queries, text = list(_queries(visit.form["hashes"])), toml_text.take(visit)
    what: dict[str, Any] = {"queries": queries} if queries else {"since": now() - timedelta(days=7)}
    before = visit.path["name"].partition("@")[0]
    return show(visit, trial=visit.hub.simulate_policy(before, text=text, limit=_JUDGED, **what))


def retire(visit: HubVisit) -> Response:
    """Retire a version."""
    retired = visit.hub.retire_policy(visit.form["version"], visit.form["reason"])
    return visit.go("/policies", _("{} is retired.").format(retired.name))


def _text(visit: HubVisit) -> str:
    """Return the form's text. It says which version it is to be, or it could take the place of one never read."""
    text = toml_text.take(visit)
    if "version" not in toml_text.read(text):
        raise InvalidArgument.field("version", _("must stand in the text, by which yours comes after what you read"))
    return text


def _queries(text: str) -> Iterator[Query]:
    """Yield a query of each line, by which it can be found again in the examples."""
    for number, line in enumerate(text.splitlines()[:_JUDGED], 1):
        if line.strip() and not line.startswith("#"):
            label = _("line {}").format(number)
            try:
                yield Query(hashes=(hashes.parse_pair(line.strip()),), label=label)
            except InvalidArgument as e:
                raise InvalidArgument.field("hashes", f"{label}: {e.message}") from e


def _fields(content: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str, str, list[tuple[str, str]]]]]]:
    """Yield the common fields of a policy, and of each clause, under a title: path, label, value (TOML), choices."""
    for at, table in toml_text.tables(content).items():
        rows = []
        for key, choices in _FIELDS[bool(at)].items():
            value, texts = _toml(table[key]) if key in table else "", list(map(_toml, choices))
            options = [(one, one.strip('"')) for one in dict.fromkeys([*texts, value] if texts else ())]
            rows.append((f"{at}.{key}".removeprefix("."), word(key), value, options))
        yield f"[{table.get('id')}]" if at else _("Policy"), rows


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


SCREENS = (
    screen("/policies", show_all),
    screen("/policies/{name}", show, check=check, put=put, simulate=simulate, retire=retire),
)
