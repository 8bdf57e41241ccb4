"""Cells of delimited text, as our writers spell them: quoted where they must be, and no formulas."""

from __future__ import annotations

from typing import Final

from hashhub.connector import Loss
from hashhub.errors import InvalidArgument
from hashhub.model import Entry
from hashhub_connectors.outgoing import is_plain, unwritable

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Cells:
    """Texts for the cells of one file."""

    def __init__(self, delimiter: str, *, keeps_formulas: bool = False) -> None:
        """`keeps_formulas`: texts that a spreadsheet would calculate are written all the same."""
        self._delimiter = delimiter
        self._keeps_formulas = keeps_formulas

    def text(self, entry: Entry, field: str, text: str) -> tuple[str, Loss | None]:
        """Return the cell of a text of the entry, or an empty one and why it cannot be written."""
        if not text:
            return "", None
        if not is_plain(text):
            return "", unwritable(entry, field)
        if text.startswith(FORMULA) and not self._keeps_formulas:
            return "", Loss(
                entry.name,
                field,
                "FORMULA",
                "a spreadsheet would calculate a text that begins with = + - or @; the option formulas=keep writes it",
            )
        return self.quoted(text), None

    def quoted(self, text: str) -> str:
        """Return the text as a cell."""
        if '"' in text or self._delimiter in text or "\n" in text or "\r" in text:
            return '"' + text.replace('"', '""') + '"'
        return text


def keeps_formulas(given: str) -> bool:
    """Return what the option `formulas` says. Raises InvalidArgument."""
    if given not in {"", "keep", "drop"}:
        raise InvalidArgument.field("options.formulas", f"is {given[:40]!r}; expected keep or drop", "WORD")
    return given == "keep"
