"""The change feed: what became matchable and what stopped being so, in the order of revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashhub.hub import access
from hashhub.model import ChangedEntry, Principal, Role

if TYPE_CHECKING:
    from hashhub.hub.follow import Follower
    from hashhub.store import Store


class Changes:
    """The feed, filtered by the terms of each hash set.

    A reader that lost nothing and applies the lines in order ends with exactly the entries that are active now. An entry is given as
    it is *now*: one that was withdrawn since appears as such already in its older line.
    """

    def __init__(self, store: Store, follower: Follower) -> None:
        """Keep the parts."""
        self._store = store
        self._follower = follower

    def list(
        self, principal: Principal, after_revision: int, after_entry: int, page_size: int
    ) -> tuple[list[ChangedEntry], tuple[int, int]]:
        """Return at most `page_size` lines after (revision, entry), and the cursor to go on from; it never expires.

        Entries of hash sets whose terms hide them from the caller, or that may not be redistributed to it, are left out.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        cursor = (after_revision, after_entry)
        lines: list[ChangedEntry] = []
        sets = self._store.hash_sets()
        for change in self._store.changes(after_revision, after_entry, page_size):
            room = page_size - len(lines)
            if room <= 0:
                break
            last = min(change.last_entry, change.first_entry + room - 1)
            for entry in self._store.get_entries(range(change.first_entry, last + 1)).values():
                hash_set = sets[f"{entry.contributor}/{entry.hash_set}"]
                if access.may_see(principal, hash_set):
                    lines.append(
                        ChangedEntry(revision=change.revision, kind=change.kind, entry=entry, marking=hash_set.marking)
                    )
            cursor = (change.revision, last)
        return lines, cursor

    def wait(self, after_revision: int, timeout: float) -> bool:
        """Wait until the hub is past `after_revision`; False after `timeout` seconds."""
        return self._follower.wait(after_revision, timeout)
