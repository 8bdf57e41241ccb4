"""Policies and classification schemes: their versions and what differs between them; put, after they were tried out, as
texts, a policy's beside a form.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

from starlette.datastructures import FormData
from starlette.responses import Response

from hashhub import hashes, schemes
from hashhub.client import PolicyVersion
from hashhub.console.forms import Input, facts, kept, show_many
from hashhub.console.home import OVERSEERS
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, folded, link, shown, word
from hashhub.console.visit import Screen
from hashhub.errors import InvalidArgument
from hashhub.model import Query, Reliability, SchemeStatus, now
from hashhub.schemes import read_toml
from hashhub.schemes.alignment import Difference, diff
from hashhub.trust import Policy, Trial

_shown: Final = partial(Input, use="shown")
_JUDGED: Final = 2_000  # items of one trial here: some seconds, at the pace that the hub gives trials
_WORDS: Final = {"name", "version", "title", "description", "id", "clause"}  # of a policy, which have no field
_CHOICES: Final[dict[str, Iterable[Any]]] = {
    "disputed_from": Reliability, "independent_from": Reliability, "verified_scheme": (True, False), **Policy.CHOICES,
}  # fmt: skip


def show_policies(visit: HubVisit) -> Response:
    """The policies, each in its current version."""
    columns = [_shown("id", _("policy")), _shown("version", _("version")), _shown("display_name", _("name"))]
    new = [(_("A new one"), _("begins as a copy: open one, give its text another name and version 1, and put it"))]
    listed = visit.hub.list_policies()
    return show_many(visit, _("Policies"), listed, columns, facts=new)


def show_policy(visit: HubVisit, *, made: PolicyVersion | None = None, trial: Trial | None = None) -> Response:
    """A version, and what has changed since. `made`: what the form's text would be put as. `trial`: what of it."""
    version = visit.hub.get_policy(visit.path["name"])
    versions = list(visit.hub.list_policy_versions(version.id))[::-1]
    current = next((one for one in versions if one.is_current), version)
    old, new = (current, made) if made else (version, current)
    before, after = ([*one.text.splitlines(), "", *one.explanation.splitlines()] for one in (old, new))
    differs = difflib.unified_diff(before, after, old.name, new.name, lineterm="")
    tried = [
        (word(c.before), word(c.after), c.count, folded(_("Such as"), (
            f"{e.label}: {' → '.join(line.text for line in e.before[:1] + e.after[:1])}" for e in c.examples)))
        for c in (trial.changes if trial else ())
    ]  # fmt: skip
    heads = [trial.before, trial.after, "#" + _("items"), _("such as")] if trial else []
    retire = (
        "retire",
        _("Retire this version"),
        [Input("version", kind="hidden", value=version.name), Input("reason", _("Comment"))],
    )
    is_stored = visit.may_write and version.create_time and not version.retire_time
    return visit.page(
        version.name,
        facts=[(_("what is wrong"), version.fault)] if version.fault else [],
        tables=[(heads, tried, _("What would change"), _("There is nothing to judge."))] if trial else [],
        folded=[
            (_("What differs"), "\n".join(differs)),
            (_("In sentences"), version.explanation),
            *([] if visit.is_role(*OVERSEERS) else [(_("Text (TOML)"), version.text)]),
        ],
        heads=[_("policy"), _("state"), _("put by"), _("put at")],
        rows=[
            (link(f"/policies/{one.name}", one.name),
             _("retired") if one.retire_time else _("current") if one.is_current else _("earlier"),
             one.actor or (_("an operator") if one.create_time else _("a file")), one.create_time)
            for one in versions[:50]
        ],
        caption=_("Versions"),
        forms=[_policy_form(visit, version, versions[0].version + 1), *([retire] if is_stored else [])],
        may=visit.is_role(*OVERSEERS),
    )  # fmt: skip


def _policy_form(visit: HubVisit, version: PolicyVersion, following: int) -> tuple[str, str, list[Input]]:
    """Return the form of a policy: its text, and beside it what stands in that, a field for each line."""
    stored, text = _read(version.text), version.text
    if stored:
        text = _written(text if "version" in stored else f"version = 1\n{text}", {"version": f"{following}"})
    text = visit.typed("text", text)
    fields, values = list[Input](), dict[str, str]()
    for path, (_at, key, table) in _fields(_read(text) or stored).items():
        if key not in _WORDS:
            value, label = _toml(table[key]), f"{table['id']}: {word(key)}" if "id" in table else word(key)
            texts = [_toml(choice) for choice in _CHOICES.get(key, ())]
            options = [(one, one.strip('"')) for one in dict.fromkeys([*texts, value])] if texts else ()
            fields.append(Input(path, label, options=options, value=value))
            values[path] = value
    fields = [
        Input("text", _("Text (TOML)"), _("Each button writes into it what you change beside it."), "code", value=text),
        Input("was", kind="hidden", value=json.dumps(values)),
        *fields,
        Input("hashes", _("Simulate by hashes: one ALGORITHM:DIGEST a line, the first 2,000"), _(
            "Those of last week's lookups, as your own log has them; empty: entries that became visible since, by "
            "their hashes"), "lines"),
    ]  # fmt: skip
    if not visit.may_write:
        return "simulate", _("Simulate"), fields
    simulate = Input("simulate", _("Simulate"), kind="button")
    tries = [Input("comment", _("Comment")), simulate, Input("check", _("Show what would be put"), kind="button")]
    return "put", _("Put: it holds at once"), fields + tries


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _read(text: str) -> dict[str, Any]:
    """Return what a text holds; nothing where it is no TOML."""
    with suppress(InvalidArgument):
        return read_toml(text.encode(), "text")
    return {}


def _fields(content: dict[str, Any]) -> dict[str, tuple[int, str, dict[str, Any]]]:
    """Return the keys of a policy and its clauses by path (`clause[0].contributors`): of which table, key, table."""
    clauses = content.get("clause")
    tables = enumerate([content, *(clauses if isinstance(clauses, list) else ())])
    return {
        f"clause[{at - 1}].{key}" if at else key: (at, key, table)
        for at, table in tables
        if isinstance(table, dict)
        for key in table
    }


def _written(text: str, values: dict[str, str]) -> str:
    """Return a text in which these values (TOML, by path) stand instead, all else as it was. Raises InvalidArgument."""
    parts, expected = re.split(r"(?m)^(?=\[\[clause\]\])", text), read_toml(text.encode(), "text")
    fields = _fields(expected)
    for path, value in values.items():
        at, key, table = fields.get(path, (len(parts), "", {}))
        if at < len(parts):
            line = rf"(?m)^({re.escape(key)}\s*=\s*)\S.*?(\s+#.*)?$"
            parts[at] = re.sub(line, lambda found, new=value: f"{found[1]}{new}{found[2] or ''}", parts[at], count=1)
            table[key] = _read(f"x = {value}").get("x", parts)
    new = "".join(parts)
    if not values.keys() <= fields.keys() or _read(new) != expected:
        told = _("cannot be written into the text by the form; change it there")
        raise InvalidArgument.field(", ".join(values)[:200], told)
    return new


def _taken(visit: HubVisit) -> str:
    """Return the form's text with what was changed in the fields beside it, which are drawn from it from now on."""
    was = kept(visit, "was", dict[str, str])
    changed = {path: visit.form[path] for path in was if visit.form[path] != was[path]}
    text = _written(visit.form["text"], changed) if changed else visit.form["text"]
    others = {name: visit.form[name] for name in visit.form if name not in {"was", *was}}
    visit.take(FormData(others | {"text": text}))
    return text


def try_policy(visit: HubVisit) -> Response:
    """Write the fields of the form into its text, and show what would be put."""
    return show_policy(visit, made=visit.hub.put_policy(_text(visit), visit.form["comment"], validate_only=True))


def put_policy(visit: HubVisit) -> Response:
    """Put the text: it holds at once, or when a second person puts it."""
    made = visit.hub.put_policy(_text(visit), visit.form["comment"])
    return visit.go(f"/policies/{made.id}", _("{} holds.").format(made.name))


def simulate(visit: HubVisit) -> Response:
    """Show what would change for these hashes, or for what became visible last week, and store nothing."""
    queries, text = list(_queries(visit.form["hashes"])), _taken(visit)
    what: dict[str, Any] = {"queries": queries} if queries else {"since": now() - timedelta(days=7)}
    before = visit.path["name"].partition("@")[0]
    return show_policy(visit, trial=visit.hub.simulate_policy(before, text=text, limit=_JUDGED, **what))


def retire_policy(visit: HubVisit) -> Response:
    """Retire a version."""
    retired = visit.hub.retire_policy(visit.form["version"], visit.form["reason"])
    return visit.go("/policies", _("{} is retired.").format(retired.name))


def _text(visit: HubVisit) -> str:
    """Return the form's text. It says which version it is to be, or it could take the place of one never read."""
    text = _taken(visit)
    if "version" not in read_toml(text.encode(), "text"):
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


def show_schemes(visit: HubVisit) -> Response:
    """The schemes."""
    columns = [_shown("id", _("scheme")), _shown("title", _("title")), _shown("status", _("status"))]
    new = [(_("A new one"), _("begins as a copy: open one, give its text another id, and put it"))]
    listed = visit.hub.list_schemes()
    return show_many(visit, _("Schemes"), listed, columns, facts=new)


def show_scheme(visit: HubVisit, *, difference: Difference | None = None) -> Response:
    """One version. `difference`: of the text of the form, which could be put."""
    scheme = visit.hub.get_scheme(visit.path["name"])
    others = (link(f"/crosswalk?first={scheme.id}&second={one.id}", one.id) for one in visit.hub.list_schemes())
    meanings = {
        v.value: [v.title, v.note, *(f"{d}: {', '.join(of)}" for d, of in v.dimensions.items())] for v in scheme.values
    }
    comment, check = Input("comment", _("Comment")), Input("check", _("Show what would be put"), kind="button")
    put = [Input("text", _("Text (TOML)"), kind="code", value=scheme.text), comment, check]
    forms = [("put", _("Put: a draft until another operator signs it off"), put)]
    if scheme.stored and not scheme.retire_time:
        if scheme.status is SchemeStatus.DRAFT:
            told = Input("checked_against", _("What the table was checked against"))
            forms.insert(0, ("sign_off", _("Sign off"), [told]))
        forms.append(("retire", _("Retire"), [Input("reason", _("Comment"))]))
    signed = ((s.actor or s.contributor or _("an operator"), s) for s in scheme.sign_offs)
    return visit.page(
        scheme.id,
        facts=[
            *facts(scheme, "title region status create_time retire_time"),
            (_("source, and what it does not tell"), folded(_("Category"), [scheme.source, *scheme.lossy])),
            (_("put by"), scheme.actor or (_("an operator") if scheme.stored else _("a file"))),
            *((_("signed off by"), (who, shown(sign.time), sign.comment)) for who, sign in signed),
            (_("side by side with"), tuple(others)),
        ],
        **_what_differs(difference),
        heads=[_("value"), _("means")],
        rows=[(value, folded(_("Category"), texts)) for value, texts in meanings.items()],
        forms=forms,
        open="sign_off" if not visit.form["text"] else "put",
    )  # fmt: skip


def _what_differs(difference: Difference | None) -> dict[str, Any]:
    """Return the table of what differs between two schemes."""
    if difference is None:
        return {}
    rows = [(_("all of it"), "", folded(_("Category"), [change.text])) for change in difference.changes]
    rows += [(one.value, word(one.change), folded(_("Category"), [one.how])) for one in difference.values[:50]]
    heads = [_("value"), _("is"), _("how")]
    return {"tables": [(heads, rows, _("What differs"), _("Their values say the same."))]}


def compare(visit: HubVisit) -> Response:
    """Two schemes side by side; of two versions of one also what differs."""
    first, second, after = (visit.query.get(name, "") for name in ("first", "second", "after"))
    rows, following = visit.hub.compare_schemes(first, second).page(after=after)
    are_versions = not after and first.partition("@")[0] == second.partition("@")[0]
    return visit.page(
        f"{first} · {second}",
        **_what_differs(visit.hub.diff_schemes(first, second) if are_versions else None),
        heads=[first, _("is"), second, _("an export writes"), _("why")],
        rows=[
            (row.left, row.relation, row.right,
             f"{f'→ {row.right}' if row.is_written else ''} {f'← {row.left}' if row.is_written_back else ''}",
             folded(_("Category"), [row.why]))
            for row in rows
        ],
        after=following,
    )  # fmt: skip


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
    Screen("/policies", show_policies, "hashhub policy list", "policies.md"),
    Screen(
        "/policies/{name}", show_policy, "hashhub policy simulate FILE.toml --against {name} --hashes FILE",
        "policies.md", check=try_policy, put=put_policy, simulate=simulate, retire=retire_policy,
    ),
    Screen("/schemes", show_schemes, "hashhub scheme list", "reconcile/schemes.md"),
    Screen(
        "/schemes/{name}", show_scheme, "hashhub scheme show {name}", "reconcile/schemes.md",
        check=try_scheme, put=put_scheme, sign_off=sign_off, retire=retire_scheme,
    ),
    Screen("/crosswalk", compare, "hashhub reconcile crosswalk SCHEME SCHEME", "reconcile/schemes.md"),
)  # fmt: skip
