"""The change feed: what became matchable and what stopped being so, in the order of revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashhub.hub import access
from hashhub.model import ChangedEntry, ChangeKind, EntryState, Principal, Role

if TYPE_CHECKING:
    from hashhub.hub.follow import Follower
    from hashhub.store import Store


class Changes:
    """The feed, filtered by the terms of each hash set.

    A reader that lost nothing and applies the lines in order ends with exactly the entries that are active now. An entry is given as
    it is *now*; a line that this contradicts is left out, because the line that undid it follows. So is an entry that went straight
    into quarantine: it never matched.
    """

    def __init__(self, store: Store, follower: Follower) -> None:
        """Keep the parts."""
        self._store = store
        self._follower = follower

    def list(
        self, principal: Principal, after_revision: int, after_entry: int, page_size: int
    ) -> tuple[list[ChangedEntry], tuple[int, int]]:
        """Return at most `page_size` lines after (revision, entry), and the cursor to go on from; it never expires.

        Entries of hash sets whose terms hide them from the caller are left out, so that a page may be short, even empty, while the
        cursor moves on. Behind the last line it stays where it is.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        cursor = (after_revision, after_entry)
        lines: list[ChangedEntry] = []
        changes = self._store.changes(after_revision, after_entry, 1)
        registry = self._store.registry()
        visible = access.sight(principal, registry, access.WayOut.FEED).visible
        for change in changes:
            for entry in self._store.get_entries(change.ids.after(0, len(change.ids))).values():
                hash_set = registry.hash_sets[f"{entry.contributor}/{entry.hash_set}"]
                is_true_now = (change.kind is ChangeKind.UPSERT) == (entry.state is EntryState.ACTIVE)
                if is_true_now and hash_set.name in visible:
                    lines.append(
                        ChangedEntry(revision=change.revision, kind=change.kind, entry=entry, hash_set=hash_set)
                    )
            cursor = (change.revision, change.ordinal)
        return lines, cursor

    def wait(self, after_revision: int, timeout: float) -> bool:
        """Wait until the hub is past `after_revision`; False after `timeout` seconds."""
        return self._follower.wait(after_revision, timeout)
