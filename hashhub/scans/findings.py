"""What a scan has come to so far, as far as a page for people can show it.

A page names objects and entries; there is no picture and no digest in it. What is counted is counted as it comes, so
that memory does not grow with the number of objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from hashhub.pages import charts, render
from hashhub.pages.charts import Bar

_K = TypeVar("_K")
MOST_ROWS: Final = 1_000  # of a table; results.jsonl has all
MOST_COUNTED: Final = 200  # folders, codes or hash sets counted apart; further ones are counted together
RED: Final = "#b3261e"
YELLOW: Final = "#c98a00"
GREEN: Final = "#2e7d32"
GREY: Final = "#9aa0a6"
VIOLET: Final = "#8e24aa"


class Findings:
    """What all scans count. `counts`: objects by answer, among others. `known`: of them were not read again. `size`:
    bytes that were read. `gone`: objects of earlier scans. `unread`: the first MOST_ROWS.
    """

    def __init__(self) -> None:
        self.begun = datetime.now(UTC)
        self.counts: Counter[str] = Counter()
        self.total = self.known = self.size = self.gone = 0
        self.policies: Counter[str] = Counter()
        self.revisions: tuple[int, int] | None = None
        self.unread: list[tuple[str, str]] = []

    def count(self, answer: str, policy: str = "", revision: int = 0) -> None:
        """Count an object by its answer. `revision`: 0 where the hub was not asked."""
        self.total += 1
        self.counts[answer] += 1
        if revision:
            low, high = self.revisions or (revision, revision)
            self.revisions = (min(low, revision), max(high, revision))
            tally(self.policies, policy, "others")

    def leave(self, name: str, why: str) -> None:
        """Name an object that could not be read."""
        if len(self.unread) < MOST_ROWS:
            self.unread.append((name, why))

    def rendered(self, template: str, title: str, colours: Mapping[str, str], **values: Any) -> str:
        """Return the page. `title`: of the chart of answers. `colours`: of each answer."""
        bars = [Bar(answer, self.counts[answer], colour) for answer, colour in colours.items()]
        return render(
            template,
            findings=self,
            ended=datetime.now(UTC),
            answers=charts.bars(title, bars, whole=self.total),
            **values,
        )


def tally(counter: Counter[_K], key: _K, otherwise: _K) -> None:
    """Count up, by a key of which there may be any number, up to MOST_COUNTED."""
    counter[key if key in counter or len(counter) < MOST_COUNTED else otherwise] += 1
