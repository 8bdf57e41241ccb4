"""The page that `hook scan --out DIR` writes for people: what was looked through, by what, and what was not allowed."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final

from hashhub.cli.terminal import show_path
from hashhub.desk.decision import Action, NoAnswer
from hashhub.desk.records import UploadState
from hashhub.scans.findings import GREY, MOST_ROWS, RED, VIOLET, YELLOW, Findings, tally

if TYPE_CHECKING:
    from hashhub.desk.decision import Decision
    from hashhub.hook.archive import ScannedObject
    from hashhub.hook.settings import HookSettings

UNREAD: Final = "UNREAD"
_OTHERS: Final = "others"
_MOST_TOLD: Final = 5  # reasons, and entries, of one object
_COLOURS: Final = {Action.BLOCK: RED, Action.HOLD: YELLOW, Action.ALLOW: GREY, UNREAD: VIOLET}
_SAID: Final = {UploadState.RELEASED: "a person has released it", UploadState.REMOVED: "confirmed, and still there"}
_RESTRICTED: Final = (Action.BLOCK, Action.HOLD)


def said(state: UploadState | None) -> str:
    """Return a person's decision on an object; empty without one."""
    return _SAID.get(state, "") if state is not None else ""


class ObjectFindings(Findings):
    """What a scan of objects has come to. `counts`: objects by action, and by why an answer is missing or says less.
    `states`: by where they stand in the queue.
    """

    def __init__(self, place: str, settings: HookSettings) -> None:
        super().__init__()
        self._place, self.settings = place, settings
        self.states: Counter[str] = Counter()
        self.codes: Counter[tuple[str, str]] = Counter()
        self.lists: Counter[str] = Counter()
        self.unsearched: dict[str, None] = {}
        self.stale_since: datetime | None = None
        self.hits: dict[Action, list[tuple[str, ...]]] = {action: [] for action in _RESTRICTED}

    def add(self, scanned: ScannedObject) -> None:
        """Count one object."""
        if scanned.is_remembered:
            self.known += 1
        else:
            self.size += scanned.size
        decision = scanned.decision
        if decision is None:
            self.count(UNREAD)
            self.leave(show_path(scanned.name), scanned.error.message if scanned.error else "")
            return
        self.count(decision.action, decision.policy, decision.revision)
        if decision.no_answer is not None:
            self.counts[decision.no_answer] += 1
        if scanned.state is not None:
            self.states[scanned.state] += 1
        if decision.stale_since is not None:
            self.stale_since = min(self.stale_since or decision.stale_since, decision.stale_since)
        self.unsearched |= dict.fromkeys(decision.coverage.unsearched)
        for code in {line.code for line in decision.reasons}:
            tally(self.codes, (decision.action, code), (decision.action, _OTHERS))
        if decision.action is Action.ALLOW:
            return
        for hash_set in {entry.rpartition("/")[0] for line in decision.reasons for entry in line.entries}:
            tally(self.lists, hash_set, _OTHERS)
        rows = self.hits[decision.action]
        if len(rows) < MOST_ROWS:
            rows.append((show_path(scanned.name), decision.reference, *_why(decision), said(scanned.state)))

    def page(self) -> str:
        """Return the page."""
        codes = sorted({code for _, code in self.codes})
        return self.rendered(
            "cli/hook/scan_page.html",
            "objects by answer",
            _COLOURS,
            command="hook scan",
            place=show_path(self._place),
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
