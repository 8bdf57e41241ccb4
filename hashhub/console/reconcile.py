"""What databases share and where they differ: questions that the hub works on, and what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import HTMLResponse

from hashhub.console.forms import words
from hashhub.console.home import ROWS
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import InvalidArgument
from hashhub.model import OperationState, Reliability, Role
from hashhub.reconcile import report, tasks
from hashhub.reconcile.results import Agreement, By, Overlap

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.client import OperationHandle
    from hashhub.console.hub_visit import HubVisit

_MAX_MATRIX: Final = 8  # names: the page stays below 50 KB
_FIGURES: Final = 40  # of a table of figures
_NAMED: Final = 4  # entries of an item of a work list
# Nothing of the report runs or loads; it stands outside of the console's origin and may have its own styles.
_REPORT_POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_QUESTIONS: Final[dict[str, type[Any]]] = {
    "overlap": tasks.ComputeOverlap,
    "agreement": tasks.ComputeAgreement,
    "gaps": tasks.FindGaps,
    "report": tasks.WriteReport,
}
_NAMES: Final = {kind.__name__: name for name, kind in _QUESTIONS.items()}


def show_operations(visit: HubVisit) -> Response:
    """Show the questions that can be asked, and those that were."""
    page = visit.hub.list_operations().page(ROWS, visit.query.get("after", ""))
    return visit.page(
        "reconciliation.html",
        operations=[handle.operation for handle in page.items],
        after=page.next,
        asked=_NAMES,
        questions=[(name, word(name)) for name in _QUESTIONS],
        units=[(str(by), word(by)) for by in By],
        reliabilities=[("", _("whoever is rated")), *((str(r), str(r)) for r in Reliability)],
    )


def start(visit: HubVisit) -> Response:
    """Ask a question; the hub works on it."""
    form = visit.form
    countries = words(form["jurisdiction"].upper())
    asked: dict[str, object] = {
        "by": form["by"],
        "title": form["title"].strip(),
        "jurisdictions": countries,
        "jurisdiction": " ".join(countries),
        "contributors": words(form["contributors"]),
        "near": bool(form["near"]),
    }
    if form["min_reliability"]:
        asked["min_reliability"] = form["min_reliability"]
    kind = _QUESTIONS.get(form["what"])
    if kind is None:
        raise InvalidArgument.field("what", _("choose what is asked"), "REQUIRED")
    fields = {name: value for name, value in asked.items() if name in kind.__struct_fields__}
    task = converted(fields, kind, called=str, hint=_("correct the form"))
    return visit.go(f"/reconciliation/{visit.hub.reconciliation.start(task).id}")


def show_operation(visit: HubVisit) -> Response:
    """Show how far an operation is, or what came of it."""
    handle = visit.hub.get_operation(visit.path["id"])
    operation = handle.operation
    values: Mapping[str, Any] = {}
    if operation.state is OperationState.SUCCEEDED:
        values = _result(visit, handle)
    return visit.page(
        "operation.html",
        operation=operation,
        asked=_NAMES.get(operation.method, operation.method),
        may_end=not visit.is_role(Role.AUDITOR) or operation.actor.name == visit.caller.name,
        **{"result": None, "left_out": (), **values},
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
    result = handle.result()
    match result:
        case Overlap():
            more = _overlap(result)
        case Agreement():
            more = _agreement(result, visit.query.get("dimension", ""))
        case tasks.GapsResult(gaps=result):
            page = handle.rows().page(ROWS, visit.query.get("after", ""))
            more = {"page": page, "named": _NAMED, "is_cut": handle.result().is_cut}
        case _:
            more = {}
    return {"result": result, "left_out": getattr(result, "left_out", ()), **more}


def _overlap(result: Overlap) -> dict[str, Any]:
    cells = {(cell.left, cell.right): cell for cell in result.cells}
    pairs = sorted((c for c in result.cells if c.exact or c.near), key=lambda c: (-(c.exact + c.near), c.left, c.right))
    is_small = len(result.names) <= _MAX_MATRIX
    return {
        "cells": cells,
        "pairs": pairs[:_FIGURES],
        "pair_count": len(pairs),
        "names": list(enumerate(result.names[:_FIGURES], 1)),
        "numbers": [f"#{at}" for at in range(1, len(result.names) + 1)] if is_small else [],
        "chart": report.overlap_map(result, {}, words=(_("Share"), _("entries of"), _("also held by")))
        if is_small and result.names
        else None,
    }


def _agreement(result: Agreement, dimension: str) -> dict[str, Any]:
    """Return the figures; of one dimension also each contributor's and how they changed."""
    of_dimension = [c for c in result.contributors if c.dimension == dimension]
    drift = [d for d in result.drift if d.dimension == dimension]
    has_changed = len({d.period for d in drift}) > 1
    return {
        "dimension": dimension,
        "label": _label,
        "chart": report.alpha_chart(
            _("alpha"),
            result.dimensions,
            label=lambda d: f"{_label(d.dimension)}, {word(d.metric)}",
            text=lambda d: _("not defined") if d.alpha is None else f"{d.alpha:.3f}",
        )
        if result.dimensions and not dimension
        else None,
        "contributors": of_dimension[:_FIGURES],
        "contributor_count": len(of_dimension),
        "change": report.change_chart(_("By quarter"), dimension, drift, {})[0] if has_changed else None,
        "drift": drift[:_FIGURES] if has_changed else (),
    }


def _label(dimension: str) -> str:
    name, _separator, law = dimension.partition(":")
    return f"{word(name)} {law}".strip()


SCREENS = (
    screen("/reconciliation", show_operations, start=start),
    screen("/reconciliation/{id}", show_operation, cancel=cancel, delete=delete),
    screen("/reconciliation/{id}/report", show_report),
)
