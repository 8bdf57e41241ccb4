"""`python -m tests.console.catalogue`: extract all words of the pages into the catalogue to translate from."""

from __future__ import annotations

import io
from enum import EnumMeta
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import write_po

import hashhub
from hashhub import hygiene, model
from hashhub.client import SchemeTable
from hashhub.console.hand_overs import HandOver
from hashhub.console.pages import FOLDER, word
from hashhub.desk.cases.clocks import Deadline
from hashhub.desk.cases.life import Case
from hashhub.desk.evidence import EvidenceSample
from hashhub.desk.queue.view import FiledReport, QueuedUpload, QueuePage, Ruling
from hashhub.desk.records import DeskEvent

FILE: Final = FOLDER / "locale" / "console.pot"
_KEYWORDS: Final = {"_": None, "ngettext": (1, 2)}


def extracted() -> bytes:
    """Return the catalogue of the words that stand in pages, and of the model's that they show by `word`."""
    catalog = Catalog(project="hashhub", copyright_holder="hashhub", charset="utf-8", fuzzy=False)
    root = Path(hashhub.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "hashhub.console.pages import" in path.read_text():
            _extract(catalog, "python", path)
    for path in sorted(root.rglob("templates/*.html")):
        _extract(catalog, "jinja2", path)
    kinds = {kind for module in (model, hygiene) for kind in vars(module).values() if isinstance(kind, EnumMeta)}
    described = (
        model.Counts, model.Contributor, model.Group, model.Principal, model.Marking, model.Actor, model.Conflict,
        model.Entry, model.Provenance, SchemeTable, HandOver, Case, Deadline, DeskEvent, QueuePage, QueuedUpload,
        FiledReport, Ruling, EvidenceSample,
    )  # fmt: skip
    fields = {name for kind in described for name in kind.__struct_fields__}
    for name in (*sorted(fields), *sorted({name for kind in kinds for name in kind.__members__})):
        catalog.add(word(name))
    written = io.BytesIO()
    # Without places: a word that moves from one page to another is no other catalogue.
    write_po(written, catalog, omit_header=True, sort_output=True, no_location=True, width=0)
    return written.getvalue()


def _extract(catalog: Catalog, method: str, path: Path) -> None:
    options = {"trimmed": "true", "silent": "false", "newstyle_gettext": "false"}
    for _line, message, comments, context in extract_from_file(method, path, _KEYWORDS, (), options):
        catalog.add(message, auto_comments=comments, context=context)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(extracted())
