"""What answers are made from: lists, as far as whoever asks may see them.

A hub gives its store with what terms let the caller see (`hub.access`); a hook in local mode its copy, in which
everything may be seen until its terms end (`hook.copy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from hashhub.hashes import Hash
    from hashhub.model import Contributor, Entry, HashSet, Review, VideoMatch


class EntryHit(Protocol):
    """An entry that has a digest, not yet read: enough to tell who may see it. `hash_set` is `CONTRIBUTOR/SET`."""

    @property
    def digest(self) -> bytes:
        """The digest; empty where the entry was asked for by id."""

    @property
    def entry_id(self) -> int:
        """The entry's id."""

    @property
    def hash_set(self) -> str:
        """Where it stands."""


class VisibleSets(NamedTuple):
    """Contributors and hash sets by name, which sets are seen, and of which others it may be known that they know."""

    contributors: Mapping[str, Contributor]
    hash_sets: Mapping[str, HashSet]
    visible: frozenset[str]
    disclosed: frozenset[str]


class EntryReader(Protocol):
    """Reads entries, whoever may see them. Raises Unavailable when they cannot be read."""

    def hits_by_digests(self, algorithm: str, wanted: Collection[tuple[bytes, int, int]]) -> Iterator[EntryHit]:
        """Yield active entries that have a digest, unread, for each (digest, key of a hash set, most): of those that
        have it there the first `most` and the last, by id. Where there may be more between them, an EntryHit without an
        id (0) follows.
        """

    def hits_by_ids(self, ids: Iterable[int]) -> Iterator[EntryHit]:
        """Yield those of the entries that are active, unread, by id."""

    def entries_sharing_frames(self, pairs: Sequence[tuple[bytes, int]], most: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield (digest, entry id, how many distinct digests its frames have) of entries which have a frame that
        matches with a digest, for each (digest, key of a hash set): of those that have it there the first `most` and
        the last; -1 in place of an id where there may be more.
        """

    def frames_of(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the entries that have frames, ascending by id, with these, packed (`hashhub.frames`)."""

    def read_entry(self, hit: Any, /) -> Entry:
        """Return the entry as it was when it was hit; `hit` is one that this reader gave."""

    def with_frame_counts(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries with how many frames those have that are videos."""

    def reviews_of(self, entry_ids: Iterable[int]) -> Mapping[int, Sequence[Review]]:
        """Return the reviews that count for the entries by entry id, the oldest first."""

    def stated_times(self, entries: Collection[Entry]) -> Mapping[int, datetime]:
        """Return when each entry was last stated, by id; one of which that is not known is left out."""


class Lists(Protocol):
    """Lists as one caller sees them."""

    @property
    def entries(self) -> EntryReader:
        """Reads them."""

    def seen(self) -> VisibleSets:
        """Return what is seen now."""

    def has_any(self) -> bool:
        """Return whether there is a list of which the caller may know anything, as of the last look. Never waits."""

    def hash_set_keys(self, names: Collection[str]) -> Mapping[int, str]:
        """Return the names (`CONTRIBUTOR/SET`) of hash sets, these among them, by the keys that `EntryReader` takes."""

    def disclosed(self, entry: Entry, asked: frozenset[Hash]) -> Entry:
        """Return the entry as it may be read by who asked about these hashes."""


class PlayedVideo(Protocol):
    """How a live stream has played one video so far."""

    @property
    def nearest(self) -> tuple[int, bytes]:
        """The least distance, and the stream's digest at it."""

    @property
    def variant(self) -> str:
        """What of the stream it is."""

    @property
    def several_frames(self) -> bool:
        """Whether two of its frames that are unlike each other were shown."""

    @property
    def match(self) -> VideoMatch:
        """How far stream and video agree."""
