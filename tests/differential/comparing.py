"""What two hubs answered, compared: everything but ids, times and salts, and what derives from these.

Such values are not left out. One of the old hub and one of the new at the same place are a pair from then on: whoever
meets either again must meet the other. So an answer about another import, or a secret that is given twice, is a
difference as any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

# Texts that hold them, by what they are; where a group is named, only that part of the text.
_OPAQUE: Final = re.compile(
    r"(?P<import>(?<=imp-)[0-9a-f]{8,})|(?P<operation>(?<=op-)[0-9a-f]{8,})|(?P<delivery>(?<=msg_)[0-9A-Za-z]{8,})"
    r"|(?P<key>(?<=file:)[0-9a-f]{16}\b)|(?P<conflict>(?<![:0-9a-f])[0-9a-f]{16}\b)"
    r"|(?P<secret>\b(?:hh|whsec)_[0-9A-Za-z_+/=-]{16,})"
    r"|(?P<uuid>\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)|(?P<reference>\b[0-9a-f]{20}\b)"
    r"|(?P<said>\b\d{1,2} [A-Z][a-z]+ 20\d\d at \d\d:\d\d UTC)"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z| ?UTC|[+]00:00)?|\b[1-4]\d{9}\b)"
)
# Fields whose whole text is one.
_OPAQUE_FIELDS: Final = {
    "head": "head", "etag": "etag", "nextPageToken": "page", "next_page_token": "page", "position": "position",
    "nextPosition": "position", "databaseId": "database", "database_id": "database", "secret": "secret",
    "sha256": "file",     "requestId": "request", "request_id": "request", "commitment": "salted",
}  # fmt: skip
_LEAST_POSITION: Final = 40  # characters of one in the feed
# What says how long something took, or how far what is done behind the writes had come.
_TIMED: Final = {
    *("seconds", "lookedRevision", "extractRevision", "doneCount", "totalCount", "doing", "sizeBytes", "size_bytes"),
}
_TIMED_OF_CONFLICTS: Final = {"revision", "conflictRevision"}
_SALTED: Final = re.compile(
    r"(event\.|events?\[\d+\]\.|stdout\[\d+\]\.|body\.|files\[\d+\]\.|^\[0\]\.)(digest|facts\.content|content)$"
)
_SOON: Final = timedelta(days=2)


def _time(text: str, began: datetime) -> str:
    """Return a moment of the run or set off from it as how far off it is, any other as it is."""
    if text.isdecimal():  # of Unix
        moment = datetime.fromtimestamp(int(text), UTC)
    else:
        moment = datetime.fromisoformat(re.sub(r" ?(Z|UTC|\+00:00)$", "", text)).replace(tzinfo=UTC)
    if abs(moment - began) < _SOON:
        return "now"
    if timedelta(0) < moment - began < timedelta(days=10_000):
        return f"in {round((moment - began) / timedelta(hours=1))} hours"
    return text


def without_opaque(value: Any) -> str:
    """Return a value as text without what may differ, to sort by."""
    return _OPAQUE.sub("#", json.dumps(value))


class Attempt:
    """Whether two answers were alike."""

    succeeded = False


class Comparison:
    """The pairs that were met so far."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._new: dict[tuple[str, str], str] = {}
        self._old: dict[tuple[str, str], str] = {}
        self._journal: list[tuple[str, tuple[str, str]]] = []
        self.met: dict[str, list[tuple[str, str]]] = {}
        """By kind, each pair in the order in which it came."""

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Compare within this block; only where it succeeded are new pairs kept."""
        self._journal.clear()
        attempt = Attempt()
        yield attempt
        for kind, pair in self._journal:
            if attempt.succeeded:
                self.met.setdefault(kind, []).append(pair)
            else:
                del self._new[kind, pair[0]], self._old[kind, pair[1]]

    def differences(self, old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
        """Yield where the two differ: the path, and what each has there."""
        key = re.sub(r"\[\d+\]$", "", path.rpartition(".")[2])
        if isinstance(old, dict) and isinstance(new, dict):
            timed = _TIMED | (_TIMED_OF_CONFLICTS if "severity" in old else set())
            for name in [*(n for n in old if n not in timed), *(n for n in new if n not in old and n not in timed)]:
                if name in old and name in new:
                    yield from self.differences(old[name], new[name], f"{path}.{name}")
                else:
                    yield f"{path}.{name}", old.get(name, "(nothing)"), new.get(name, "(nothing)")
        elif isinstance(old, list) and isinstance(new, list):
            if old and isinstance(old[0], dict) and "severity" in old[0]:  # conflicts, whose order goes by their ids
                old, new = (sorted(one, key=without_opaque) for one in (old, new))
            for number, (a, b) in enumerate(zip(old, new, strict=False)):
                yield from self.differences(a, b, f"{path}[{number}]")
            shorter = min(len(old), len(new))
            if len(old) != len(new):
                yield f"{path}[{shorter}:]", old[shorter:], new[shorter:]
        elif isinstance(old, str) and isinstance(new, str):
            kind = _OPAQUE_FIELDS.get(key, "")
            if kind == "position" and len(old) < _LEAST_POSITION:  # an item's, in its source
                kind = ""
            if _SALTED.search(path) and len(old) > 40:  # an event's, and not that of a file
                kind = "salted"
            if not (self._is_pair(kind, old, new) if kind and old and new else self._alike(old, new)):
                yield path, old, new
        elif old != new and not (isinstance(old, int) and isinstance(new, int) and self._alike(f"{old}", f"{new}")):
            yield path, old, new

    def of_new(self, text: str) -> str:
        """Return the text as the new hub has it."""
        return _OPAQUE.sub(lambda found: self._new.get((found.lastgroup or "", found[0]), found[0]), text)

    def _alike(self, old: str, new: str) -> bool:
        if old == new and not _OPAQUE.search(old):
            return True
        ours, theirs = list(_OPAQUE.finditer(old)), list(_OPAQUE.finditer(new))
        return (
            _OPAQUE.sub("#", old) == _OPAQUE.sub("#", new)
            and [m.lastgroup for m in ours] == [m.lastgroup for m in theirs]
            and all(self._is_pair(m.lastgroup or "", m[0], n[0]) for m, n in zip(ours, theirs, strict=True))
        )

    def _is_pair(self, kind: str, old: str, new: str) -> bool:
        if kind == "said":  # in a sentence, to the minute
            return True
        if kind == "time":
            return _time(old, self._began) == _time(new, self._began)
        if (kind, old) not in self._new and (kind, new) not in self._old:
            self._new[kind, old], self._old[kind, new] = new, old
            self._journal.append((kind, (old, new)))
        return self._new.get((kind, old)) == new and self._old.get((kind, new)) == old
