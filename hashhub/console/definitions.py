"""Policies and classification schemes: their versions and what differs between them; put, after they were tried out, as
texts, a policy's beside a form.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hashhub import hashes, schemes
from hashhub.console import toml_text
from hashhub.console.forms import Input, show_many
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.errors import InvalidArgument
from hashhub.model import Query, Reliability, now
from hashhub.schemes.alignment import Difference, diff
from hashhub.trust import Policy

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.client import PolicyVersion
    from hashhub.console.hub_visit import HubVisit
    from hashhub.trust import Trial

_shown: Final = partial(Input, kind="shown")
_JUDGED: Final = 2_000  # items of one trial here: some seconds, at the pace that the hub gives trials
_FIELDS: Final[dict[bool, dict[str, Iterable[Any]]]] = {  # of a clause or not, with what can be chosen
    False: {"disputed_from": Reliability, "independent_from": Reliability, **Policy.CHOICES, "disputed_by": ()},
    True: {"contributors": (), "verdicts": (), "reliability": (), "verified_scheme": (True, False)},
}


def show_policies(visit: HubVisit) -> Response:
    """The policies, each in its current version."""
    columns = [_shown("id", _("policy")), _shown("version", _("version")), _shown("display_name", _("name"))]
    new = [(_("A new one"), _("begins as a copy: open one, give its text another name and version 1, and put it"))]
    listed = visit.hub.list_policies()
    return show_many(visit, _("Policies"), listed, columns, "hashhub policy list", "policies.md", facts=new)


def show_policy(visit: HubVisit, *, made: PolicyVersion | None = None, trial: Trial | None = None) -> Response:
    """A version, and what has changed since. `made`: what the form's text would be put as. `trial`: what of it."""
    version = visit.hub.get_policy(visit.path["name"])
    versions = list(visit.hub.list_policy_versions(version.id))[::-1]
    current = next((one for one in versions if one.is_current), version)
    old, new = (current, made) if made else (version, current)
    before, after = ([*one.text.splitlines(), "", *one.explanation.splitlines()] for one in (old, new))
    content = toml_text.read(version.text)
    next_text = toml_text.written(version.text, {"version": f"{versions[0].version + 1}"}) if content else version.text
    text = visit.typed("text", next_text)
    return visit.page(
        "policy.html",
        version=version,
        versions=versions[:50],
        text=text,
        fields=list(_fields(toml_text.read(text) or content)),
        faults=toml_text.faults(text, visit.refused),
        difference=list(difflib.unified_diff(before, after, old.name, new.name, lineterm="")),
        trial=trial,
    )


def try_policy(visit: HubVisit) -> Response:
    """Write the fields of the form into its text, and show what would be put."""
    return show_policy(visit, made=visit.hub.put_policy(_text(visit), visit.form["comment"], validate_only=True))


def put_policy(visit: HubVisit) -> Response:
    """Put the text: it holds at once, or when a second person puts it."""
    made = visit.hub.put_policy(_text(visit), visit.form["comment"])
    return visit.go(f"/policies/{made.id}", _("{} holds.").format(made.name))


def simulate(visit: HubVisit) -> Response:
    """Show what would change for these hashes, or for what became visible last week, and store nothing."""
    queries, text = list(_queries(visit.form["hashes"])), toml_text.take(visit)
    what: dict[str, Any] = {"queries": queries} if queries else {"since": now() - timedelta(days=7)}
    before = visit.path["name"].partition("@")[0]
    return show_policy(visit, trial=visit.hub.simulate_policy(before, text=text, limit=_JUDGED, **what))


def retire_policy(visit: HubVisit) -> Response:
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
            options = [(one, one.strip('"') or "-") for one in dict.fromkeys([*texts, value] if texts else ())]
            rows.append((f"{at}.{key}".removeprefix("."), word(key), value, options))
        yield f"[{table.get('id')}]" if at else _("Policy"), rows


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def show_schemes(visit: HubVisit) -> Response:
    """The schemes."""
    columns = [_shown("id", _("scheme")), _shown("title", _("title")), _shown("status", _("status"))]
    new = [(_("A new one"), _("begins as a copy: open one, give its text another id, and put it"))]
    listed = visit.hub.list_schemes()
    return show_many(visit, _("Schemes"), listed, columns, "hashhub scheme list", "reconcile/schemes.md", facts=new)


def show_scheme(visit: HubVisit, *, difference: Difference | None = None) -> Response:
    """One version. `difference`: of the text of the form, which could be put."""
    scheme, faults = visit.hub.get_scheme(visit.path["name"]), toml_text.faults(visit.form["text"], visit.refused)
    names = [(one.id, one.id) for one in visit.hub.list_schemes()]
    return visit.page("scheme.html", scheme=scheme, difference=difference, faults=faults, names=names)


def compare(visit: HubVisit) -> Response:
    """Two schemes side by side; of two versions of one also what differs."""
    first, second, after = (visit.query.get(name, "") for name in ("first", "second", "after"))
    rows, following = visit.hub.compare_schemes(first, second).page(after=after)
    are_versions = not after and first.partition("@")[0] == second.partition("@")[0]
    told = visit.hub.diff_schemes(first, second) if are_versions else None
    return visit.page("crosswalk.html", first=first, second=second, rows=rows, after=following, difference=told)


def try_scheme(visit: HubVisit) -> Response:
    """Show how what would be put differs."""
    text, old = visit.form["text"], visit.hub.get_scheme(visit.path["name"])
    visit.hub.put_scheme(text, visit.form["comment"], validate_only=True)
    new = schemes.parse(text.encode(), "text", as_draft=True)
    return show_scheme(visit, difference=diff(schemes.parse(old.text.encode(), old.id), new))


def put_scheme(visit: HubVisit) -> Response:
    """Put a version, as a draft."""
    made = visit.hub.put_scheme(visit.form["text"], visit.form["comment"])
    return visit.go(f"/schemes/{made.id}", _("Put. It is a draft until another operator signs it off."))


def sign_off(visit: HubVisit) -> Response:
    """Answer for a version that another person put."""
    visit.hub.sign_off_scheme(visit.path["name"], visit.form["checked_against"])
    return visit.go(visit.url, _("Signed off."))


def retire_scheme(visit: HubVisit) -> Response:
    """Let no new hash set take a version."""
    visit.hub.retire_scheme(visit.path["name"], visit.form["reason"])
    return visit.go(visit.url, _("Retired."))


SCREENS = (
    screen("/policies", show_policies),
    screen("/policies/{name}", show_policy, check=try_policy, put=put_policy, simulate=simulate, retire=retire_policy),
    screen("/schemes", show_schemes),
    screen("/schemes/{name}", show_scheme, check=try_scheme, put=put_scheme, sign_off=sign_off, retire=retire_scheme),
    screen("/crosswalk", compare),
)
