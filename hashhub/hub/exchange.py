"""The change feed: what a receiver may hold, and every change of it.

A page compares what its receiver holds, by its position, with what it may see now, in these steps:

    losses      hash sets that it may not see any more, or each entry of them for a reader that wants it so
    registry    hash sets and contributors, when what it sees of them changed
    log         changes behind the position in the hash sets that it holds
    filling     hash sets that it gained, one after the other, by entry id

Entries are given as they are when the page is read, so each line can be applied twice. A page is complete when nothing
is left to say and the database did not move.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
import pyroaring

from hashhub import cancellation
from hashhub.errors import FailedPrecondition, InvalidArgument, LimitExceeded, PermissionDenied, Reason, Unavailable
from hashhub.hub import access
from hashhub.hub.access import as_withdrawn, disclosed
from hashhub.model import (
    ChangedEntry,
    ChangeKind,
    Contributor,
    Entry,
    EntryState,
    FeedPage,
    HashSet,
    Principal,
    Review,
    id_in_set,
    now,
    number_of,
)
from hashhub.model.resources import SLUG
from hashhub.store import Position
from hashhub.store.tokens import DAY, SentPosition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hashhub.store import FeedChange, HitRow, Store

MAX_PAGE: Final = 1000  # lines
_PAGE_BYTES: Final = 1 << 20  # about; clients of other languages refuse messages of more than 4 MiB
PAGE_SECONDS: Final = 1.0  # how long one page looks for something that its receiver may have
_ROWS: Final = 500  # of the feed, read at a time
PIECE: Final = 500  # entries read at a time
_IDS: Final = 100_000  # of one change, taken at a time
_SHARING: Final = 2  # first and last entries that have a withdrawn entry's hash
_FORMAT: Final = 1  # of a position
_MAC_BYTES: Final = 32
_MAX_POSITION: Final = 1 << 20  # characters


class _Place(msgspec.Struct, array_like=True):
    """The decoded contents of a feed position. Keys are those of hash sets in the store."""

    format: int
    seen: tuple[int, bytes]  # revision and its digest that everything given so far was read at or before
    revision: int  # the next change of the log: its revision,
    ordinal: int  # its row there,
    entry: int  # and the last of the row's entries that was given
    held: bytes  # the hash sets that the receiver holds, a Roaring bitmap
    missing: bytes = b""  # those of them whose entries it has not been given, or not all
    filling: int = 0  # that of the missing ones which it is being given, up to the entry `filled`; 0: none
    filled: int = 0
    view: bytes = b""  # digest of the registry that it has, or is being given; of this one it got `told` lines
    told: int = 0
    losing: int = 0  # a hash set whose loss is being told entry by entry, up to the entry `lost`; 0: none
    lost: int = 0
    lost_before: int = 0  # entries of lost hash sets that came later than this revision were never given
    again: bool = False  # until a complete page: its reader may hold more than was given up to here
    mark: int = 0  # of a reader that keeps a time: another one whenever the hash sets change that it holds
    # Likewise: hash sets that readers of its name lost, and up to which revision their entries had been given
    gone: dict[int, int] = {}


class Changes:
    """The feed, as the terms of each hash set let its reader have it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = hmac.digest(store.secret, b"hashhub feed position", "sha256")
        self._last = Position(0, b"")

    def page(
        self,
        principal: Principal,
        position: str = "",
        *,
        from_now: bool = False,
        page_size: int = MAX_PAGE,
        withdrawn_entries: bool = False,
        reader: str = "",
        since_time: datetime | None = None,
        hash_sets: Collection[str] = (),
        first_entry: tuple[str, int] = ("", 0),
    ) -> FeedPage:
        """Return up to `page_size` lines behind a position, perhaps none, and the position to go on from; it never
        expires. An empty position: everything that the caller may hold; with `from_now` only the hash sets and
        contributors. With `withdrawn_entries` each withdrawal has its entry, also where a whole hash set is lost, and
        the others of the hash set that have one of its hashes. `hash_sets` (`CONTRIBUTOR/SET`): only of these; those
        that a reader holds and does not name are withdrawn. `first_entry`: hash set and number of an entry with which
        that one begins where it is given from nothing.

        A `reader` that can keep a time only gives `since_time`, the `read_time` of an earlier complete page that it
        took in, and goes on behind the newest position of its name at or before then. What it is told again is as it is
        now, so that an older position is right, too. Of a time that is not known, everything that was ever told of the
        hash sets in sight is told, withdrawals included.

        Raises PermissionDenied when the token may not read the feed; InvalidArgument for a position that is damaged, or
        of another token or hub; FailedPrecondition (POSITION_UNKNOWN) after a restore from an older backup.
        """
        if not principal.may_mirror:
            told = f"token {principal.name} may not read the change feed; ask the operator for one that may mirror"
            raise PermissionDenied(told, reason=Reason.ROLE_NOT_ALLOWED, metadata={"token": principal.name})
        here = self._check_history()
        if reader or since_time is not None:
            _check_reader(reader, alone=since_time is None or not (position or from_now))
        if position:
            advice = "start again from an empty position, and drop in the end what was not given again"
            place = self._open(principal, position, advice)
        else:
            place = _Place(_FORMAT, (here.revision, here.digest), here.revision + 1, 0, 0, b"")
        if since_time is not None:
            place = self._place_at(principal, reader, int(since_time.timestamp()), place)
        before = (place.held, place.mark)
        from_now = from_now and not position
        page = ChangePage(
            self._store, principal, place, page_size, from_now=from_now, withdrawn_entries=withdrawn_entries,
            hash_sets=hash_sets, first_entry=first_entry,
        )  # fmt: skip
        at, is_complete = page.read()
        place.again &= not is_complete
        is_new_mark = bool(reader) and (place.losing > 0 or not place.mark or (place.held, place.mark) != before)
        if is_new_mark:
            place.mark = secrets.randbits(53)
        position = self._seal(principal, place)
        sent = SentPosition(position, at.revision, place.mark, is_complete)
        return FeedPage(
            changes=tuple(page.lines),
            position=position,
            revision=at.revision,
            head=f"{at.revision}:{at.digest.hex()}",
            is_complete=is_complete,
            hub=self._store.resources.hub(),
            read_time=self._keep(principal, reader, sent, is_new_mark=is_new_mark) if reader else None,
        )

    def _place_at(self, principal: Principal, reader: str, since: int, nowhere: _Place) -> _Place:
        """Return where a reader goes on that knows a time only. It may have taken in more than it was told by then: of
        an answer that broke off, or of a position that is not kept any more. What changed in the hash sets that it held
        all the while is told again. Otherwise all that it may hold is, and what was withdrawn there.
        """
        kept = self._store.tokens.kept_position
        sent = kept(principal.name, reader)
        # A later time is of a clock that is wrong, or of ours when it was.
        found = kept(principal.name, reader, since) if since <= _seconds() + DAY else None
        place = self._open(principal, found, "") if found else nowhere
        last = self._open(principal, sent, "") if sent else None
        if last.mark != place.mark if last else since > 0:
            place.gone = last.gone if last else {}
            held = _unpacked(place.held) | (_unpacked(last.held) if last else set())
            place.held = place.missing = _packed(held | place.gone.keys())
            place.filling = place.filled = 0
            place.again, place.mark = True, 0
        if last is not None:
            place.seen = last.seen
        return place

    def _keep(self, principal: Principal, reader: str, sent: SentPosition, *, is_new_mark: bool) -> datetime | None:
        """Keep what a reader was sent, and return the time by which it goes on from there."""
        try:
            return self._store.tokens.keep_position(principal.name, reader, sent, _seconds(), is_new_mark=is_new_mark)
        except (LimitExceeded, Unavailable):  # a full disk stops no withdrawal: it is told again from an older position
            return None

    def position_at(self, principal: Principal, here: Position, hash_sets: Iterable[str]) -> str:
        """Return the position of a reader who holds these hash sets as they were at `here`, and no others."""
        names = set(hash_sets)
        held = {key for key, name in self._store.resources.hash_set_keys().items() if name in names}
        return self._seal(
            principal, _Place(_FORMAT, (here.revision, here.digest), here.revision + 1, 0, 0, _packed(held))
        )

    def opened(self, principal: Principal, position: str) -> tuple[tuple[int, int], list[str]]:
        """Return the first change (revision, ordinal) that the reader at a position lacks, and the hash sets that it
        holds. Raises as `page`, and InvalidArgument for a position from the midst of the feed.
        """
        place = self._open(principal, position, "export the full list again")
        if place.missing:
            told = "is from the midst of the feed; read the feed to its end, and give that position"
            raise InvalidArgument.field("position", told, "POSITION")
        names, held = self._store.resources.hash_set_keys(), _unpacked(place.held)
        return (place.revision, place.ordinal), [name for key, name in names.items() if key in held]

    def _check_history(self) -> Position:
        """Return where the store is. Raises Unavailable when it was restored under this process."""
        here = self._store.history.position()
        if not self._store.history.has_been_at(self._last):
            told = "the database was restored from an older backup under the running hub; restart the hub"
            raise Unavailable(told, reason=Reason.DATABASE_UNAVAILABLE)
        self._last = here
        return here

    def _seal(self, principal: Principal, place: _Place) -> str:
        body = msgspec.msgpack.encode(place)
        return base64.urlsafe_b64encode(body + self._mac(principal, body)).decode().rstrip("=")

    def _open(self, principal: Principal, position: str, advice: str) -> _Place:
        """Return what a position holds. `advice`: to whom the hub's database does not know it any more."""
        if len(position) <= _MAX_POSITION and position.isascii():
            try:
                sealed = base64.b64decode(position + "=" * (-len(position) % 4), altchars=b"-_", validate=True)
            except binascii.Error:
                sealed = b""
            body, mac = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(principal, body)):
                try:
                    place = msgspec.msgpack.decode(body, type=_Place)
                except msgspec.DecodeError:  # another version's
                    place = None
                if place is not None and place.format == _FORMAT:
                    if self._store.history.has_been_at(Position(*place.seen)):
                        return place
                    told = f"the hub's database was restored from a backup made before this position; {advice}"
                    raise FailedPrecondition(told, reason=Reason.POSITION_UNKNOWN)
        told = "is damaged, or was given to another token or by another hub; start again from an empty position"
        raise InvalidArgument.field("position", told, "POSITION")

    def _mac(self, principal: Principal, body: bytes) -> bytes:
        """Return what makes a position this hub's and this token's: a token's name is never used again."""
        return hmac.digest(self._key, principal.name.encode() + b"\0" + body, "sha256")


class ChangePage:
    """One page in the making. It moves `place` on as it adds lines."""

    def __init__(
        self,
        store: Store,
        principal: Principal,
        place: _Place,
        page_size: int,
        *,
        from_now: bool = False,
        withdrawn_entries: bool = False,
        hash_sets: Collection[str] = (),
        first_entry: tuple[str, int] = ("", 0),
    ) -> None:
        self.lines: list[ChangedEntry] = []
        self._store = store
        self._principal = principal
        self._place = place
        self._held, self._missing = _unpacked(place.held), _unpacked(place.missing)
        self._size = page_size
        self._bytes = 0
        self._until = time.monotonic() + PAGE_SECONDS
        self._from_now = from_now
        self._withdrawn_entries = withdrawn_entries
        self._wanted = frozenset(hash_sets)
        self._first_entry = first_entry
        self._given = place.seen[0]  # the revision that everything given so far was read at or before
        self._authors: Mapping[int, set[str]] = {}
        self._revision = 0

    def read(self) -> tuple[Position, bool]:
        """Add lines until the page is full or nothing is left; return the store's position, and whether it was."""
        while True:
            before = self._store.history.position()
            self._revision = before.revision
            sight = self._sight()
            self._authors = self._store.feeds.review_authors()
            nothing_left = self._tell_losses(sight) and self._tell_registry(sight) and self._read_log() and self._fill()
            # Everything above was read at `after` at the latest: a database that has been there has all of it in its
            # past.
            after = self._store.history.position()
            self._given = after.revision
            if not nothing_left or after == before or self._is_late():
                break
        self._place.seen = (after.revision, after.digest)
        self._place.held, self._place.missing = _packed(self._held), _packed(self._missing)
        return (before, True) if nothing_left and after == before else (before, False)

    def _is_late(self) -> bool:
        cancellation.check()
        return time.monotonic() > self._until

    def _is_full(self) -> bool:
        return len(self.lines) >= self._size or self._bytes >= _PAGE_BYTES

    def _sight(self) -> dict[int, HashSet]:
        """Return by key the hash sets whose entries the receiver may hold now."""
        keys = self._store.resources.hash_set_keys()
        registry = self._store.resources.registry()
        visible = access.sight(self._principal, registry, access.DisclosureChannel.FEED).visible
        if self._wanted:
            visible &= self._wanted
        return {key: registry.hash_sets[name] for key, name in keys.items() if name in visible}

    def _tell_losses(self, sight: Mapping[int, HashSet]) -> bool:
        """Withdraw the hash sets that are not in sight any more, and note which ones came into sight."""
        names, place = self._store.resources.hash_set_keys(), self._place
        if place.losing in sight or not self._withdrawn_entries:
            self._end_loss(sight)
        lost = self._held - sight.keys()
        if lost and not place.lost_before:
            place.lost_before = self._given
        for key in sorted(lost, key=lambda key: (key != place.losing, key)):
            if self._is_full():
                return False
            if not self._withdrawn_entries:
                self._add(ChangedEntry(revision=self._revision, kind=ChangeKind.WITHDRAW, hash_set_name=names[key]))
            elif not self._withdraw_each(key, names[key]):
                return False
            if place.again or place.mark:
                place.gone.setdefault(key, place.lost_before)
            self._held.discard(key)
            self._missing.discard(key)
            if key == place.filling:
                place.filling = 0
        place.lost_before = 0
        place.gone = {key: revision for key, revision in place.gone.items() if key not in sight}
        gained = sight.keys() - self._held
        self._held |= gained
        if self._from_now:
            self._from_now = False
        else:
            self._missing |= gained
        return True

    def _end_loss(self, sight: Mapping[int, HashSet]) -> None:
        """Tell no more of the hash set whose loss was being told; if it is in sight again, it is given anew."""
        place = self._place
        if place.losing in sight:
            self._missing.add(place.losing)
            if place.filling == place.losing:
                place.filling = 0
        place.losing = place.lost = 0

    def _withdraw_each(self, key: int, name: str) -> bool:
        """Withdraw those entries of a lost hash set that its reader was given. False when the page ended before."""
        place = self._place
        if place.losing != key:
            place.losing, place.lost = key, 0
        last = None if place.again else place.filled if key == place.filling else 0 if key in self._missing else None
        since = (0, 0) if place.again else (place.revision, place.ordinal)
        withdrawn = changed_ids(self._store, [name], since, kind=ChangeKind.WITHDRAW)[name] if last != 0 else ()
        contributor, _, set_id = name.partition("/")
        while last is None or place.lost < last:
            entries = self._store.entries.list_entries(contributor, set_id, page_size=PIECE, after_id=place.lost)
            for entry in entries:
                if last is not None and entry.id > last:
                    break
                was_given = entry.state is EntryState.ACTIVE or entry.id in withdrawn
                if was_given and entry.create_revision <= place.gone.get(key, place.lost_before):
                    if self._is_full():
                        return False
                    self._withdraw(f"{name}/{number_of(entry.id)}", entry, self._revision)
                place.lost = entry.id
            if len(entries) < PIECE:
                break
            if self._is_late():
                return False
        place.losing = place.lost = 0
        return True

    def _tell_registry(self, sight: Mapping[int, HashSet]) -> bool:
        place = self._place
        view = self._registry(sight)
        digest = hashlib.sha256(msgspec.json.encode(view)).digest()[:16]
        if digest != place.view:
            place.view, place.told = digest, 0
        for value in view[place.told :]:
            if self._is_full():
                return False
            line = ChangedEntry(
                revision=self._revision,
                kind=ChangeKind.UPSERT,
                hash_set=value if isinstance(value, HashSet) else None,
                contributor=None if isinstance(value, HashSet) else value,
            )
            self._add(line)
            place.told += 1
        return True

    def _registry(self, sight: Mapping[int, HashSet]) -> list[HashSet | Contributor]:
        """Return the hash sets in sight, after those whom a policy must know to weigh them."""
        contributors = self._store.resources.contributors()
        ids: set[str] = set()
        rest = [h.contributor for h in sight.values()]
        for key in sight:
            rest += self._authors.get(key, ())
        while rest:
            one = rest.pop()
            if one not in ids and one in contributors:
                ids.add(one)
                rest += contributors[one].takes_from
        return [*(contributors[one] for one in sorted(ids)), *sorted(sight.values(), key=lambda h: h.name)]

    def _read_log(self) -> bool:
        """Add the changes up to the page's revision; False when the page ended before."""
        place = self._place
        followed = self._held - self._missing | {place.filling}
        while True:
            changes = self._store.feeds.changes(place.revision, place.ordinal, _ROWS)
            due = [change for change in changes if change.revision <= self._revision]
            for change in due:
                if (change.revision, change.ordinal) != (place.revision, place.ordinal):
                    place.revision, place.ordinal, place.entry = change.revision, change.ordinal, 0
                if change.hash_set in followed and not self._tell_change(change):
                    return False
                place.ordinal, place.entry = change.ordinal + 1, 0
            if len(due) < _ROWS:
                # The revision was read before the changes, so none at or before it can follow.
                if place.revision <= self._revision:
                    place.revision, place.ordinal = self._revision + 1, 0
                return True
            if self._is_late():
                return False

    def _tell_change(self, change: FeedChange) -> bool:
        place = self._place
        ids = self._store.feeds.change_ids(change)
        if self._is_full():
            return False
        while piece := ids.after(place.entry, min(PIECE, self._size - len(self.lines))):
            if change.hash_set == place.filling:
                piece = [i for i in piece if i <= place.filled]
                if not piece:
                    return True
            if change.kind is ChangeKind.WITHDRAW:
                hash_set = self._store.resources.hash_set_keys()[change.hash_set]
                entries_by_id = self._store.entries.get_entries(piece) if self._withdrawn_entries else {}
                same_hash = self._sharing(change.hash_set, entries_by_id.values())
                for entry_id in piece:
                    if self._is_full():  # their sizes are known only now
                        return False
                    name, entry = f"{hash_set}/{number_of(entry_id)}", entries_by_id.get(entry_id)
                    self._withdraw(name, entry, change.revision, same_hash.get(entry_id, ()))
                    place.entry = entry_id
            else:
                # One that is not active any more is left out: the change that made it so follows.
                entries = [e for e in self._store.entries.get_entries(piece).values() if e.state is EntryState.ACTIVE]
                stopped = self._upsert(change.hash_set, entries, change.revision)
                place.entry = piece[-1] if stopped is None else stopped
            if self._is_full() or self._is_late():
                return False
        return not self._is_full()

    def _fill(self) -> bool:
        """Give the hash sets whose entries are missing. False when the page ended before."""
        place, names = self._place, self._store.resources.hash_set_keys()
        while self._missing:
            if self._is_full():
                return False
            if not place.filling:
                place.filling = min(self._missing)
                name, number = self._first_entry
                is_first = names[place.filling] == name
                place.filled = id_in_set(place.filling, number) - 1 if is_first else 0
            contributor, _, set_id = names[place.filling].partition("/")
            wanted = min(PIECE, self._size - len(self.lines))
            states = tuple(EntryState) if place.again else (EntryState.ACTIVE,)
            entries = self._store.entries.list_entries(contributor, set_id, states, wanted, place.filled)
            stopped = self._upsert(place.filling, self._ever_active(f"{contributor}/{set_id}", entries))
            if stopped is not None:
                place.filled = stopped
            elif len(entries) < wanted:
                self._missing.discard(place.filling)
                place.filling = 0
            else:
                place.filled = entries[-1].id
            if self._is_late():
                return not self._missing
        return True

    def _ever_active(self, name: str, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries that are active or were."""
        if all(entry.state is EntryState.ACTIVE for entry in entries):
            return entries
        withdrawn = changed_ids(self._store, [name], (0, 0), kind=ChangeKind.WITHDRAW)[name]
        return [entry for entry in entries if entry.state is EntryState.ACTIVE or entry.id in withdrawn]

    def _upsert(self, set_key: int, entries: Sequence[Entry], revision: int = 0) -> int | None:
        """Add entries until the page is full, those that are not active as withdrawn; return the last one's id when
        some are left, otherwise None.
        """
        reviews: Mapping[int, Sequence[Review]] = {}
        if set_key in self._authors:
            reviews = self._store.entries.reviews_of(e.id for e in entries)
        for i, entry in enumerate(entries):
            if i and self._is_full():
                return entries[i - 1].id
            if entry.state is not EntryState.ACTIVE:
                self._place.filled = entry.id - 1
                same_hash = self._sharing(set_key, [entry]).get(entry.id, ())
                name = f"{entry.contributor}/{entry.hash_set}/{number_of(entry.id)}"
                self._withdraw(name, entry, self._revision, same_hash)
                continue
            # A later one is told as a change of its own, once the receiver knows who made it.
            told = tuple(r for r in reviews.get(entry.id, ()) if r.revision <= self._revision)
            entry = self._store.entries.with_frames(entry)  # noqa: PLW2901 - the same one, with more of it
            line = ChangedEntry(
                revision=revision or entry.update_revision,
                kind=ChangeKind.UPSERT,
                entry=disclosed(self._principal, entry),
                reviews=told,
            )
            self._add(line, _size(entry) + 250 * len(told))
        return None

    def _sharing(self, set_key: int, entries: Collection[Entry]) -> dict[int, tuple[Entry, ...]]:
        """Return by id of a withdrawn entry which others of the hash set have one of its hashes and were given to the
        reader; of many the first and last.
        """
        digests: dict[str, set[bytes]] = {}
        for entry in entries:
            for h in entry.hashes:
                digests.setdefault(h.algorithm, set()).add(h.digest)
        hits: dict[tuple[str, bytes], list[HitRow]] = {}
        place = self._place
        for algorithm, of_algorithm in digests.items():
            wanted = [(digest, set_key, _SHARING) for digest in of_algorithm]
            for hit in self._store.entries.hits_by_digests(algorithm, wanted):
                if hit.entry_id and (set_key != place.filling or hit.entry_id <= place.filled):
                    hits.setdefault((algorithm, hit.digest), []).append(hit)
        shared: dict[int, tuple[Entry, ...]] = {}
        for entry in entries if hits else ():
            others = {hit.entry_id: hit for h in entry.hashes for hit in hits.get((h.algorithm, h.digest), ())}
            others.pop(entry.id, None)  # restored since: that follows
            read = map(self._store.entries.read_entry, others.values())
            shared[entry.id] = tuple(disclosed(self._principal, self._store.entries.with_frames(e)) for e in read)
        return shared

    def _withdraw(self, name: str, entry: Entry | None, revision: int, same_hash: tuple[Entry, ...] = ()) -> None:
        """Add the withdrawal of an entry, with what it was for a reader that wants it."""
        told = None
        if entry is not None:
            told = disclosed(self._principal, as_withdrawn(self._store.entries.with_frames(entry)))
        line = ChangedEntry(
            revision=revision, kind=ChangeKind.WITHDRAW, entry_name=name, entry=told, same_hash=same_hash
        )
        self._add(line, (_size(told) if told is not None else 300) + sum(map(_size, same_hash)))

    def _add(self, line: ChangedEntry, size: int = 300) -> None:
        self.lines.append(line)
        self._bytes += size


def _check_reader(reader: str, *, alone: bool) -> None:
    if not SLUG.fullmatch(reader):
        raise InvalidArgument.field("reader", "must be 1 to 63 of a-z, 0-9 and - where since_time is given", "PATTERN")
    if not alone:
        told = "is instead of position and from_now: give one of them"
        raise InvalidArgument.field("since_time", told, "CONTRADICTION")


def _seconds() -> int:
    return int(now().timestamp())


def changed_ids(
    store: Store, names: Collection[str], since: tuple[int, int], *, kind: ChangeKind | None = None
) -> dict[str, pyroaring.BitMap64]:
    """Return by hash set the entries that changed from a change (revision, ordinal) on, by one kind or any."""
    ids = {name: pyroaring.BitMap64() for name in names}
    own_ids = {key: ids[name] for key, name in store.resources.hash_set_keys().items() if name in ids}
    revision, ordinal = since
    while True:
        changes = store.feeds.changes(revision, ordinal, _ROWS)
        for change in changes:
            if change.hash_set not in own_ids or kind not in {None, change.kind}:
                continue
            own = own_ids[change.hash_set]
            if change.is_range:
                own.add_range(change.first, change.last + 1)
            else:
                for piece in store.feeds.change_ids(change).pieces(_IDS):
                    own |= pyroaring.BitMap64(piece.tolist())
        cancellation.check()
        if len(changes) < _ROWS:
            return ids
        revision, ordinal = changes[-1].revision, changes[-1].ordinal + 1


def _packed(keys: set[int]) -> bytes:
    return pyroaring.BitMap(keys).serialize() if keys else b""


def _unpacked(packed: bytes) -> set[int]:
    return set(pyroaring.BitMap.deserialize(packed)) if packed else set()


def _size(entry: Entry) -> int:
    """Return about how many bytes an entry takes on the wire."""
    own: Iterable[str] = (entry.external_id, entry.media_type, entry.series, entry.source_time, entry.extra)
    texts = (*own, *entry.tags)
    return 500 + 40 * len(entry.hashes) + 45 * len(entry.frames) + 2 * sum(map(len, texts))
