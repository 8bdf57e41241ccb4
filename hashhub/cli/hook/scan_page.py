"""The page that `hook scan --out DIR` writes for people: what was looked through, by what, and what was not allowed.

It names objects, entries and references; there is no picture and no digest in it. What is counted is counted as it
comes, so that memory does not grow with the number of objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from hashhub.cli.scan_report import MOST_ROWS, bars, cut, head, table, text
from hashhub.hook.decision import Action, NoAnswer
from hashhub.hook.places import shown
from hashhub.hook.records import UploadState

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
        self._place, self._settings = place, settings
        self._begun = datetime.now(UTC)
        self.counts: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.total = self.not_downloaded = self.size = 0
        self._codes: Counter[tuple[str, str]] = Counter()
        self._lists: Counter[str] = Counter()
        self._policies: Counter[str] = Counter()
        self._unsearched: dict[str, None] = {}
        self._revisions: tuple[int, int] | None = None
        self._stale_since: datetime | None = None
        self._hits: dict[Action, list[tuple[str, ...]]] = {action: [] for action in _RESTRICTED}
        self._unread: list[tuple[str, str]] = []

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
            if len(self._unread) < MOST_ROWS:
                self._unread.append((shown(scanned.name), scanned.error.message if scanned.error else ""))
            return
        self.counts[decision.action] += 1
        if decision.no_answer is not None:
            self.counts[decision.no_answer] += 1
        if scanned.state is not None:
            self.states[scanned.state] += 1
        if decision.revision:
            low, high = self._revisions or (decision.revision, decision.revision)
            self._revisions = (min(low, decision.revision), max(high, decision.revision))
            _count(self._policies, decision.policy, _OTHERS)
        if decision.stale_since is not None:
            self._stale_since = min(self._stale_since or decision.stale_since, decision.stale_since)
        self._unsearched |= dict.fromkeys(decision.coverage.unsearched)
        for code in {line.code for line in decision.reasons}:
            _count(self._codes, (decision.action, code), (decision.action, _OTHERS))
        if decision.action is Action.ALLOW:
            return
        for hash_set in {entry.rpartition("/")[0] for line in decision.reasons for entry in line.entries}:
            _count(self._lists, hash_set, _OTHERS)
        rows = self._hits[decision.action]
        if len(rows) < MOST_ROWS:
            rows.append((shown(scanned.name), decision.reference, *_why(decision), said(scanned.state)))

    def page(self, *, gone: int) -> Iterator[str]:
        """Yield the page, piece by piece. `gone`: objects of earlier scans that are not there any more."""
        yield head("hashhub hook scan")
        yield f"<h1>Scan of {text(shown(self._place))}</h1>\n"
        low, high = self._revisions or (0, 0)
        revision = f"{low}" if low == high else f"{low} to {high}"
        rows = [
            ("Begun", f"{self._begun:%Y-%m-%d %H:%M:%S} UTC"),
            ("Ended", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"),
            ("Lists", f"of the hub {self._settings.hub}" if self._settings.hub else "of the hub"),
            ("Asked", "the hub" if self._settings.mode == "ONLINE" else "a copy of the lists on this machine"),
            ("Revision of the hub", revision if high else "no answer was had"),
            ("Policy", ", ".join(sorted(self._policies)) or self._settings.policy),
            ("Effort", str(self._settings.effort)),
            ("Not looked for", "; ".join(self._unsearched) or "see the reasons below"),
            ("Objects", f"{self.total:,}"),
            ("as in an earlier scan, not downloaded again", f"{self.not_downloaded:,}"),
            ("Bytes downloaded", f"{self.size:,}"),
            ("Objects of earlier scans that are gone", f"{gone:,}"),
        ]
        if self._stale_since is not None:
            rows.append(("The copy was stale", f"since {self._stale_since:%Y-%m-%d %H:%M} UTC"))
        yield table(("", ""), rows, numbers=())
        yield (
            "<p>An answer is true of the revision at which it was given: lists grow, so scan again. ALLOW means that "
            "nothing of what was looked for is known, or that the settings allow what has no answer; UNREAD, that an "
            "object could not be read. Neither says that an object is harmless. Nothing was moved.</p>\n"
        )
        yield "<h2>Answers</h2>\n"
        yield bars([(name, self.counts[name], colour) for name, colour in _COLOURS.items()])
        yield table(
            ("Reason", *Action, "Objects"),
            [
                (code, *(f"{self._codes[a, code]:,}" for a in Action), f"{sum(self._codes[a, code] for a in Action):,}")
                for code in sorted({code for _, code in self._codes})
            ],
            numbers=range(1, 5),
        )
        yield table(
            ("Hash set of entries that were hit", "Objects"),
            [(name, f"{count:,}") for name, count in self._lists.most_common()],
            numbers=(1,),
        )
        for action in _RESTRICTED:
            yield f"<h2>{action}</h2>\n"
            yield (
                table(
                    ("Object", "Reference", "Verdict", "Why", "Entries", "Decided"),
                    self._hits[action],
                    numbers=(),
                    caption=cut(len(self._hits[action]), self.counts[action]),
                )
                or "<p>None.</p>\n"
            )
        yield "<h2>What was not looked at, or only in part</h2>\n"
        lacking = [(name, f"{self.counts[name]:,}") for name in (*NoAnswer, UNREAD) if self.counts[name]]
        yield table(("", "Objects"), lacking, numbers=(1,)) or "<p>Nothing.</p>\n"
        caption = cut(len(self._unread), self.counts[UNREAD])
        yield table(("Unread", "Why"), self._unread, numbers=(), caption=caption)
        yield "</body></html>\n"


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
