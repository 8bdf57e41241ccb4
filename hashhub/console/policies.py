"""Policies: their versions, and what differs between them; a text beside a form, tried out before it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hashhub import hashes
from hashhub.console import toml_text
from hashhub.console.home import OVERSEERS, ROWS
from hashhub.console.pages import _
from hashhub.console.visit import screen
from hashhub.errors import InvalidArgument
from hashhub.model import Query, Reliability, now
from hashhub.trust import Dispute, Policy

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.client import PolicyVersion
    from hashhub.console.hub_visit import HubVisit
    from hashhub.trust import Trial

_JUDGED: Final = 2_000  # items of one trial here: some seconds, at the pace that the hub gives trials
_POLICY: Final = {"disputed_from": "", "independent_from": "", "test": "", "disputed_by": []}
_CLAUSE: Final = {"contributors": 1, "verdicts": [], "reliability": [], "verified_scheme": False, "min_review_depth": 0}
_CHOICES: Final[dict[str, tuple[Any, ...]]] = {
    "disputed_from": tuple(Reliability),
    "independent_from": tuple(Reliability),
    "test": Policy.CHOICES["test"],
    "verified_scheme": (True, False),
}
_HINTS: Final = {"disputed_by": tuple(Dispute), "verdicts": ("csam", "exploitative", "unclassified")}


def show_all(visit: HubVisit) -> Response:
    """The policies, each in its current version."""
    rows, after = visit.hub.list_policies().page(after=visit.query.get("after", ""))
    return visit.page("policies.html", rows=rows, after=after)


def show(visit: HubVisit, *, made: PolicyVersion | None = None, trial: Trial | None = None) -> Response:
    """A version. `made`: what the text of the form would be put as. `trial`: what it would change."""
    version, other = visit.hub.get_policy(visit.path["name"]), visit.query.get("beside", "")
    versions = list(visit.hub.list_policy_versions(version.id))[::-1]
    content = toml_text.read(version.text)
    text = toml_text.written(version.text, {"version": f"{versions[0].version + 1}"}) if content else version.text
    typed = visit.typed("text", text)
    stated = toml_text.read(typed).get("version")
    return visit.page(
        "policy.html",
        version=version,
        versions=versions[:ROWS],
        text=text,
        typed=typed,
        fields=list(_fields(toml_text.read(typed) or content)),
        faults=toml_text.faults(typed, visit.refused),
        meanwhile=[v for v in versions if isinstance(stated, int) and v.version >= stated],
        beside=visit.hub.get_policy(other) if other else None,
        difference=toml_text.difference,
        current=next((v for v in versions if v.is_current), version),
        made=made,
        trial=trial,
        may_try=visit.is_role(*OVERSEERS),
    )


def check(visit: HubVisit) -> Response:
    """Write the fields of the form into its text, and show what would be put."""
    return show(visit, made=visit.hub.put_policy(_text(visit), visit.form["comment"], validate_only=True))


def put(visit: HubVisit) -> Response:
    """Put the text: it holds at once, or when a second person puts it."""
    made = visit.hub.put_policy(_text(visit), visit.form["comment"])
    return visit.go(f"/policies/{made.id}", _("{} holds.").format(made.name))


def simulate(visit: HubVisit) -> Response:
    """Show what would change, and store nothing."""
    queries, text = list(_queries(visit)), toml_text.take(visit)
    since = now() - timedelta(days=7) if visit.form["entries"] else None
    before = visit.path["name"].partition("@")[0]
    trial = visit.hub.simulate_policy(before, text=text, queries=queries or None, since=since, limit=_JUDGED)
    return show(visit, trial=trial)


def retire(visit: HubVisit) -> Response:
    """Retire a version."""
    retired = visit.hub.retire_policy(visit.form["version"], visit.form["reason"])
    return visit.go("/policies", _("{} is retired.").format(retired.name))


def _text(visit: HubVisit) -> str:
    """Return the form's text. It says which version it is to be, or it could take the place of one never read."""
    content = toml_text.read(text := toml_text.take(visit))
    if content and "version" not in content:
        raise InvalidArgument.field("version", _("must stand in the text, by which yours comes after what you read"))
    return text


def _queries(visit: HubVisit) -> Iterator[Query]:
    """Yield a query of each line of the form's hashes, by which it can be found again in the examples."""
    lines = toml_text.text_of(visit, "hashes").splitlines()
    if len(lines) > _JUDGED:
        raise InvalidArgument.field("hashes", _("has more than 2,000 lines; the command takes any number"), "TOO_MANY")
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            label = _("line {}").format(number)
            try:
                yield Query(hashes=(hashes.parse_pair(line.strip()),), label=label)
            except InvalidArgument as e:
                raise InvalidArgument.field("hashes", f"{label}: {e.message}") from e


def _fields(content: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str, list[tuple[str, str]], str]]]]:
    """Yield the common fields of a policy, and of each clause, under a title: path, value (TOML), choices and hint."""
    clauses = content.get("clause")
    parts: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [("", _("Policy"), content, _POLICY)]
    for number, clause in enumerate(clauses if isinstance(clauses, list) else ()):
        if isinstance(clause, dict):
            parts.append((f"clause[{number}].", f"[{clause.get('id', number + 1)}]", clause, _CLAUSE))
    for prefix, title, part, keys in parts:
        rows = []
        for key, default in keys.items():
            value = _toml(part.get(key, default))
            choices = [(_toml(choice), _toml(choice).strip('"')) for choice in _CHOICES.get(key, ())]
            if choices and value not in dict(choices):  # otherwise a browser would send the first one
                choices.insert(0, (value, value))
            rows.append((prefix + key, value, choices, ", ".join(_HINTS.get(key, ()))))
        yield title, rows


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


SCREENS = (
    screen("/policies", show_all),
    screen("/policies/{name}", show, check=check, put=put, simulate=simulate, retire=retire),
)
