"""What databases share and where they differ: questions that the hub works on, and what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from hashhub.client import OperationHandle
from hashhub.client.transport import ListPage
from hashhub.console.forms import Input, pairs, words
from hashhub.console.home import ROWS
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, alarm, folded, link, ngettext, number, percent, word
from hashhub.console.visit import Screen
from hashhub.conversion import converted
from hashhub.model import Operation, OperationState, Role
from hashhub.reconcile import report, tasks
from hashhub.reconcile.results import Agreement, By, Omission, Overlap

_MAX_MATRIX: Final = 8  # names: the page stays below 50 KB
_NAMED: Final = 4  # entries of an item of a work list
# Nothing of the report runs or loads; it stands outside of the console's origin and may have its own styles.
_REPORT_POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_QUESTIONS: Final = {
    "overlap": "ComputeOverlap",
    "agreement": "ComputeAgreement",
    "gaps": "FindGaps",
    "report": "WriteReport",
}
_NAMES: Final = {method: name for name, method in _QUESTIONS.items()}


def show_operations(visit: HubVisit) -> Response:
    """Show the questions that can be asked, and those that were."""
    page = visit.hub.list_operations().page(ROWS, visit.query.get("after", ""))
    operations = [handle.operation for handle in page.items]
    chosen = _("Only the hash sets of these, separated by commas. Empty: of all.")
    fields = [
        Input("what", _("What"), options=[(name, word(name)) for name in _QUESTIONS]),
        Input("by", _("Compared, for what they share"), options=pairs(By), value=By.CONTRIBUTOR),
        Input("jurisdiction", _("Jurisdiction"), _("Of a gap: its two letters, such as NL.")),
        Input("title", _("Title of the report")),
        Input("contributors", _("Contributors"), chosen),
        Input("near", _("Also by near perceptual hashes"), kind="check"),
    ]
    return visit.page(_("Reconciliation"),
        heads=[_("question"), _("state"), _("by"), _("asked"), _("kept until")],
        rows=[
            (link(f"/reconciliation/{o.id}", _called(o)), alarm(o.failure.message) if o.failure else o.state,
             o.actor.name, o.create_time, o.expire_time)
            for o in operations
        ],
        empty=_("Nothing was asked yet. Ask below."),
        live=0 if all(o.has_ended for o in operations) else 5,
        after=page.next,
        forms=[("start", _("Ask"), fields)],
        may=True,
        open="start",
    )  # fmt: skip


def _called(operation: Operation) -> str:
    return word(_NAMES.get(operation.method, operation.method))


def start(visit: HubVisit) -> Response:
    """Ask a question; the hub works on it."""
    form = visit.form
    asked = {
        "type": _QUESTIONS.get(form["what"], ""),
        "by": form["by"],
        "jurisdiction": form["jurisdiction"].strip().upper(),
        "title": form["title"].strip(),
        "contributors": words(form["contributors"]),
        "near": bool(form["near"]),
    }
    kind: Any = tasks.Task
    question = converted(asked, kind, called=str, hint=_("correct the form"))
    return visit.go(f"/reconciliation/{visit.hub.reconciliation.start(question).id}")


def show_operation(visit: HubVisit) -> Response:
    """Show how far an operation is, or what came of it."""
    handle = visit.hub.get_operation(visit.path["id"])
    operation = handle.operation
    if operation.state is OperationState.SUCCEEDED:
        told = _result(visit, handle)
    elif operation.failure:
        told = {"facts": [(_("why"), alarm(operation.failure.message))]}
    else:
        far = f"{operation.doing} {number(operation.done)} / {number(operation.total)}"
        told = {"facts": [(_("how far"), far), (_("not done yet"), link(visit.url, _("Look again")))]}
    asked = [(_("asked"), operation.create_time), (_("by"), operation.actor.name), (_("state"), operation.state)]
    again = [(_("Ask again"), link("/reconciliation", _("All questions")))]
    return visit.page(
        _called(operation).capitalize(),
        live=0 if operation.has_ended else 2,
        forms=[("delete", _("Delete this result"), ()) if operation.has_ended else ("cancel", _("Cancel"), ())],
        may=not visit.is_role(Role.AUDITOR) or operation.actor.name == visit.caller.name,
        **{**told, "facts": asked + told["facts"] + again},
    )


def cancel(visit: HubVisit) -> Response:
    """Ask for an operation's end."""
    visit.hub.get_operation(visit.path["id"]).cancel()
    return visit.go(visit.url, _("Its end was asked for."))


def delete(visit: HubVisit) -> Response:
    """Delete an operation that has ended, with its result."""
    visit.hub.get_operation(visit.path["id"]).delete()
    return visit.go("/reconciliation", _("Deleted."))


def show_report(visit: HubVisit) -> Response:
    """Show the page that an operation wrote, as the hub wrote it."""
    with tempfile.TemporaryDirectory(prefix="hashhub-report-") as folder:
        visit.hub.get_operation(visit.path["id"]).download(Path(folder))
        page = (Path(folder) / report.PAGE).read_bytes()
    return HTMLResponse(page, headers={"content-security-policy": _REPORT_POLICY})


def _result(visit: HubVisit, handle: OperationHandle[Any]) -> dict[str, Any]:
    """Return what a page shows of a result."""
    result, here, told = handle.result(), f"/reconciliation/{handle.id}", dict[str, Any]()
    facts: list[tuple[str, object]] = []
    match result:
        case Overlap():
            told = _overlap(result)
        case Agreement():
            dimension = visit.query.get("dimension", "")
            told = _agreement_in(result, dimension) if dimension else _agreement(result, here)
        case tasks.GapsResult():
            told, result = _gaps(result, handle.rows().page(ROWS, visit.query.get("after", ""))), result.gaps
        case tasks.ReportResult():
            facts = [(_("report"), link(f"{here}/report", _("To be read and printed")))]
    out = [o.contributor for o in getattr(result, "left_out", ()) if isinstance(o, Omission)]
    facts += [(_("as of revision"), result.revision), (_("left out, by choice or reliability"), _some(out, len(out)))]
    return {**told, "facts": facts}


def _overlap(result: Overlap) -> dict[str, Any]:
    """Return how many entries each has, and of few the matrix, as a chart and in numbers that lead to conflicts."""
    names, cells = result.names, dict[tuple[str, str], object]()
    others = names if len(names) <= _MAX_MATRIX else ()
    for c in result.cells:
        text = f"{number(c.exact)} + {number(c.near)}" if c.near else number(c.exact)
        conflicts = link(f"/conflicts?contributor={c.left}&other={c.right}", text)
        cells[c.left, c.right] = conflicts if result.by is By.CONTRIBUTOR else text
    matrix = [
        (f"{at} {name}", result.entries[name], result.alone[name], *(cells.get((name, other), "-") for other in others))
        for at, name in enumerate(names, 1)
    ]
    heads = [_("name"), f"#{_('entries')}", "#" + _("nobody else's"), *(f"#{at + 1}" for at in range(len(others)))]
    caption = _("Entries, and of up to eight how many others hold, exactly + near. The report compares more.")
    said = (_("Share"), _("entries of"), _("also held by"))
    return {
        "figure": report.overlap_map(result, {}, words=said) if others else None,
        "legend": _("Read along a row: of all entries of this one, how many does each other one hold."),
        "tables": [_table(heads, matrix, caption, _("There is nothing to compare."))],
    }


def _agreement(result: Agreement, here: str) -> dict[str, Any]:
    """Return how far contributors agree, by dimension."""
    alphas = [
        (link(f"{here}?{urlencode({'dimension': d.dimension})}", _label(d.dimension)), word(d.metric), d.items,
         d.contributors, _alpha(d.alpha), f"{_alpha(d.low)} - {_alpha(d.high)}")
        for d in result.dimensions
    ]  # fmt: skip
    numbers = (_("items"), _("contributors"), _("alpha"), _("95 %"))
    heads = [_("dimension"), _("compared as"), *(f"#{head}" for head in numbers)]
    nothing = _("No item was classified by two contributors that are independent of each other.")
    chart = report.alpha_chart(
        _("alpha"), result.dimensions, label=lambda d: _label(d.dimension), text=lambda d: _alpha(d.alpha)
    )
    return {
        "figure": chart if alphas else None,
        "legend": _("1: they never contradict each other. 0: they agree no more than chance would have it."),
        "tables": [_table(heads, alphas, _("Agreement by dimension; follow one to its contributors"), nothing)],
    }


def _agreement_in(result: Agreement, dimension: str) -> dict[str, Any]:
    """Return how far each contributor agrees with the others in a dimension, and how that changed."""
    drift = [d for d in result.drift if d.dimension == dimension]
    agreeing = [
        (c.contributor, c.period or _("all"), c.by_one_other, of.count, of.items,
         percent(of.count / of.items) if of.items else "-", f"{percent(of.low)} - {percent(of.high)}")
        for c in (*result.contributors, *drift)
        for of in [c.share]
        if c.dimension == dimension
    ]  # fmt: skip
    numbers = (_("by one other"), _("agrees"), _("of items"), _("share"), _("95 %"))
    heads = [_("contributor"), _("quarter"), *(f"#{head}" for head in numbers)]
    caption = f"{_label(dimension)}: {_('how often each states what the consensus of the others allows')}"
    return {
        "figure": report.change_chart(_("By quarter"), dimension, drift, {})[0] if drift else None,
        "legend": _("The same share, by quarter"),
        "tables": [_table(heads, agreeing, caption, _("Nobody can be measured in it."))],
    }


def _gaps(result: tasks.GapsResult, page: ListPage[Any]) -> dict[str, Any]:
    """Return who holds what is lacking, what they state of it, and a page of the work list."""
    gaps = result.gaps
    lacking = ngettext(
        "{n} item that others hold and {who} lacks.", "{n} items that others hold and {who} lacks.", gaps.items
    )
    cut = " " + _("Not all of them are kept as rows.") if result.is_cut else ""
    return {
        "tables": [_table([_("held by"), "#" + _("items")], list(gaps.by_contributor.items()), _("Who holds them"))],
        "caption": lacking.format(n=number(gaps.items), who=gaps.jurisdiction) + cut,
        "heads": [_("entries"), _("held by"), _("in"), _("stated as")],
        "rows": [
            (_some([link(f"/entries/{name}", name) for name in gap.entries[:_NAMED]], gap.entry_count),
             *(_some(names, len(names)) for names in (gap.contributors, gap.jurisdictions)),
             folded(_("Category"), gap.verdicts))
            for gap in page.items
        ],
        "empty": _("Nothing is lacking here."),
        "after": page.next,
    }  # fmt: skip


def _table(heads: list[str], rows: Sequence[Any], caption: str, empty: str = "") -> tuple[Any, ...]:
    """Return a table of as many rows as a page takes, which says so."""
    more = _("further rows: {n}").format(n=number(len(rows) - ROWS)) if len(rows) > ROWS else ""
    return heads, rows[:ROWS], f"{caption} ({more})" if more else caption, empty


def _some(names: Sequence[str], count: int) -> str:
    """Return the first of so many names."""
    more = f" + {number(count - _NAMED)}" if count > _NAMED else ""
    return Markup(", ").join(names[:_NAMED]) + more


def _alpha(value: float | None) -> str:
    return _("not defined") if value is None else f"{value:.3f}"


def _label(dimension: str) -> str:
    name, _separator, law = dimension.partition(":")
    return f"{word(name)} {law}".strip()


SCREENS = (
    Screen("/reconciliation", show_operations, "hashhub reconcile overlap", "reconcile/README.md", start=start),
    Screen(
        "/reconciliation/{id}", show_operation, "hashhub operation get {id}", "reconcile/README.md#operations",
        cancel=cancel, delete=delete,
    ),
    Screen("/reconciliation/{id}/report", show_report, "hashhub reconcile report", "reconcile/README.md"),
)  # fmt: skip
