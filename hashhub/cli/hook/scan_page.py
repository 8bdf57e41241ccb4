"""The page that `hook scan --out DIR` writes for people: what was looked through, by what, and what was not allowed.

It names objects, entries and references; there is no picture and no digest in it. What is counted is counted as it
comes, so that memory does not grow with the number of objects.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from hashhub.cli.scan_report import MOST_ROWS
from hashhub.hook.decision import Action, NoAnswer
from hashhub.hook.places import shown
from hashhub.hook.records import UploadState
from hashhub.pages import charts, render
from hashhub.pages.charts import Bar

if TYPE_CHECKING:
    from hashhub.hook.archive import Scanned
    from hashhub.hook.decision import Decision
    from hashhub.hook.settings import HookSettings

_K = TypeVar("_K")
UNREAD: Final = "UNREAD"
_OTHERS: Final = "others"
_MOST_COUNTED: Final = 200  # codes, policies or hash sets counted apart
_MOST_TOLD: Final = 5  # reasons, and entries, of one object
_COLOURS: Final = {Action.BLOCK: "#b3261e", Action.HOLD: "#c98a00", Action.ALLOW: "#9aa0a6", UNREAD: "#8e24aa"}
_SAID: Final = {UploadState.RELEASED: "a person has released it", UploadState.REMOVED: "confirmed, and still there"}
_RESTRICTED: Final = (Action.BLOCK, Action.HOLD)


def said(state: UploadState | None) -> str:
    """Return what a person has decided over an object; empty where nobody has."""
    return _SAID.get(state, "") if state is not None else ""


class Findings:
    """What a scan has come to so far, as far as a page can show it.

    `counts`: objects by action, and by why an answer is missing or says less. `states`: by where they stand in the
    queue. `size`: bytes that were downloaded.
    """

    def __init__(self, place: str, settings: HookSettings) -> None:
        self._place, self.settings = place, settings
        self.begun = datetime.now(UTC)
        self.counts: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.total = self.not_downloaded = self.size = 0
        self.codes: Counter[tuple[str, str]] = Counter()
        self.lists: Counter[str] = Counter()
        self.policies: Counter[str] = Counter()
        self.unsearched: dict[str, None] = {}
        self.revisions: tuple[int, int] | None = None
        self.stale_since: datetime | None = None
        self.hits: dict[Action, list[tuple[str, ...]]] = {action: [] for action in _RESTRICTED}
        self.unread: list[tuple[str, str]] = []

    def add(self, scanned: Scanned) -> None:
        """Count one object."""
        self.total += 1
        if scanned.is_remembered:
            self.not_downloaded += 1
        else:
            self.size += scanned.size
        decision = scanned.decision
        if decision is None:
            self.counts[UNREAD] += 1
            if len(self.unread) < MOST_ROWS:
                self.unread.append((shown(scanned.name), scanned.error.message if scanned.error else ""))
            return
        self.counts[decision.action] += 1
        if decision.no_answer is not None:
            self.counts[decision.no_answer] += 1
        if scanned.state is not None:
            self.states[scanned.state] += 1
        if decision.revision:
            low, high = self.revisions or (decision.revision, decision.revision)
            self.revisions = (min(low, decision.revision), max(high, decision.revision))
            _count(self.policies, decision.policy, _OTHERS)
        if decision.stale_since is not None:
            self.stale_since = min(self.stale_since or decision.stale_since, decision.stale_since)
        self.unsearched |= dict.fromkeys(decision.coverage.unsearched)
        for code in {line.code for line in decision.reasons}:
            _count(self.codes, (decision.action, code), (decision.action, _OTHERS))
        if decision.action is Action.ALLOW:
            return
        for hash_set in {entry.rpartition("/")[0] for line in decision.reasons for entry in line.entries}:
            _count(self.lists, hash_set, _OTHERS)
        rows = self.hits[decision.action]
        if len(rows) < MOST_ROWS:
            rows.append((shown(scanned.name), decision.reference, *_why(decision), said(scanned.state)))

    def page(self, *, gone: int) -> str:
        """Return the page. `gone`: objects of earlier scans that are not there any more."""
        codes = sorted({code for _, code in self.codes})
        return render(
            "cli/hook/scan_page.html",
            findings=self,
            place=shown(self._place),
            ended=datetime.now(UTC),
            gone=gone,
            answers=charts.bars(
                "objects by answer",
                [Bar(name, self.counts[name], colour) for name, colour in _COLOURS.items()],
                whole=self.total,
            ),
            actions=[f"#{action}" for action in Action],
            codes=[(code, *(by := [self.codes[a, code] for a in Action]), sum(by)) for code in codes],
            lacking=[(name, self.counts[name]) for name in (*NoAnswer, UNREAD) if self.counts[name]],
        )


def _why(decision: Decision) -> tuple[str, str, str]:
    """Return the verdict, the sentences of its reasons, and the entries that they are about."""
    entries = tuple(dict.fromkeys(entry for line in decision.reasons for entry in line.entries))
    sentences = [line.text or line.code for line in decision.reasons]
    return decision.verdict, _first(sentences, "; "), _first(entries, ", ")


def _first(parts: list[str] | tuple[str, ...], separator: str) -> str:
    more = len(parts) - _MOST_TOLD
    told = separator.join(parts[:_MOST_TOLD])
    return f"{told} and {more:,} more" if more > 0 else told


def _count(counter: Counter[_K], key: _K, otherwise: _K) -> None:
    counter[key if key in counter or len(counter) < _MOST_COUNTED else otherwise] += 1
