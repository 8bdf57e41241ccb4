"""What this hub keeps of a peer: who it is, how far it was followed, and which entries stand here by it.

Settings and progress are rows of their own: commands write the first, the process that follows the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from hashhub.edge_state import DATABASE, FILES, EdgeState
from hashhub.errors import InvalidArgument, NotFound
from hashhub.local_files import private_text, written
from hashhub.model import Contributor, HashSet, PeerStatus, Reliability, ReviewKind
from hashhub.model.resources import SLUG

_SECRET: Final = ".secret"  # noqa: S105 - of a file's name
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS contributor (id TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS offer (hash_set TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS held (
    hash_set TEXT, key TEXT, number INTEGER NOT NULL, pass INTEGER NOT NULL, PRIMARY KEY (hash_set, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS review (id TEXT PRIMARY KEY, value BLOB NOT NULL, tries INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS held_number ON held (hash_set, number);
"""
_T = TypeVar("_T")


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a peer. `hub`: what this hub is called there. `token`: of its calls here. `letters`: this operator's
    letter for each of the peer's; for all others F. `is_left`: it is left, and what came by it is to be withdrawn.
    """

    name: str
    hub: str
    token: str
    jurisdiction: str = "ZZ"
    address: str = ""
    ca: str = ""
    join_time: datetime | None = None
    letters: dict[Reliability, Reliability] = {}
    is_left: bool = False

    @property
    def trust(self) -> Reliability:
        """The best letter that anybody has by this peer."""
        return min(self.letters.values(), default=Reliability.F)


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """How far a peer was followed. `position`: in its feed; `own_position`: in the own hub's, which a restored one does
    not know. `number`: of the pass; in each, all that the peer offers is given, and until then it `is_filling`.
    `complete_time`: when this hub had all of it last; `answer_time`: when it answered last. `letters`: by which the
    peer's contributors have theirs here.
    """

    status: PeerStatus = PeerStatus.NEW
    position: str = ""
    own_position: str = ""
    number: int = 1
    is_filling: bool = True
    answer_time: datetime | None = None
    complete_time: datetime | None = None
    detail: str = ""
    letters: dict[Reliability, Reliability] = {}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to a peer: how many hash sets, by label."""

    offered: dict[str, int] = {}


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A hash set that a peer offers, as it was `told`. `hub`: its origin; `local`: what it is called here; `distance`:
    hubs between, as the peer says; `number`: of the pass that told it last. `is_taken`: by this way. `problem`: why it
    cannot be. `waits`: what of it waits for a second person. `describes`: who its contributor is was said by this way.
    """

    hub: str
    local: str
    told: HashSet
    distance: int
    number: int
    is_taken: bool = False
    problem: str = ""
    waits: str = ""
    describes: bool = False


class KeptReview(msgspec.Struct, frozen=True, kw_only=True):
    """A review that is to be sent, of the peer's `entry`. `member`: whose it is here."""

    entry: str
    kind: ReviewKind
    comment: str
    member: str


class PeerState(EdgeState):
    """A peer's state."""

    what = "a peer's state"

    def __init__(self, directory: Path, name: str) -> None:
        """Open the file. Raises NotFound where there is no such peer."""
        if not path_of(directory, name).exists():
            known = ", ".join(names(directory)) or "none"
            raise NotFound(f"there is no peer {name[:80]!r}; there is: {known}", kind="Peer", name=name)
        super().__init__(path_of(directory, name))

    def _open(self) -> None:
        self._db.executescript(_SCHEMA)

    def peer(self) -> Peer:
        """Return its settings."""
        return self._read("peer", Peer)

    def followed(self) -> Followed:
        """Return how far it was followed."""
        return self._read("followed", Followed)

    def given(self) -> Given:
        """Return what goes to it."""
        return self._read("given", Given)

    def _read(self, key: str, kind: type[_T]) -> _T:
        with self._mapped():
            row = self._db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
            return msgspec.json.decode(row[0] if row else b"{}", type=kind)

    def save(self, value: Peer | Followed | Given) -> None:
        """Keep settings, how far it was followed, or what goes to it; in a transaction."""
        key = type(value).__name__.lower()
        self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, msgspec.json.encode(value)))

    def contributors(self) -> dict[str, Contributor]:
        """Return what the peer told of contributors, by its ids."""
        return self._all("contributor", Contributor)

    def offers(self) -> dict[str, Offer]:
        """Return what the peer offers, by its names of hash sets."""
        return self._all("offer", Offer)

    def _all(self, table: str, kind: type[_T]) -> dict[str, _T]:
        with self._mapped():
            rows = self._db.execute(f"SELECT * FROM {table}")  # noqa: S608 - one of two names
            return {key: msgspec.json.decode(value, type=kind) for key, value in rows}

    def put(self, key: str, value: Contributor | Offer) -> None:
        """Keep what the peer told of a contributor, or a hash set that it offers."""
        table = "offer" if isinstance(value, Offer) else "contributor"
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (key, msgspec.json.encode(value)))  # noqa: S608

    def forget_offer(self, hash_set: str) -> None:
        """Forget a hash set, and which of its entries stand here."""
        self._db.execute("DELETE FROM offer WHERE hash_set = ?", (hash_set,))
        self.forget_entries(hash_set)

    def forget_entries(self, hash_set: str, before: int | None = None) -> None:
        """Forget that entries of a hash set stand here, all or those of passes `before` one."""
        also = "" if before is None else f" AND pass < {before:d}"
        self._db.execute(f"DELETE FROM held WHERE hash_set = ?{also}", (hash_set,))  # noqa: S608 - a number

    def hold(self, hash_set: str, key: str, number: int, passed: int) -> None:
        """Note that the peer's entry with this number stands here under a key, in place of another."""
        self._db.execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)", (hash_set, key, number, passed))

    def release(self, hash_set: str, number: int) -> str:
        """Return the key of an entry that stands here no more; empty: another took its place, or it never did."""
        row = self._db.execute(
            "DELETE FROM held WHERE hash_set = ? AND number = ? RETURNING key", (hash_set, number)
        ).fetchone()
        return row[0] if row else ""

    def number(self, hash_set: str, key: str) -> int:
        """Return the number at the peer of what stands here under a key; 0: nothing does."""
        found = self._db.execute("SELECT number FROM held WHERE hash_set = ? AND key = ?", (hash_set, key)).fetchone()
        return int(found[0]) if found else 0

    def keep_review(self, made: str, review: KeptReview) -> None:
        """Keep a review until it is sent; in a transaction. `made`: its id for the peer."""
        self._db.execute("INSERT OR IGNORE INTO review (id, value) VALUES (?, ?)", (made, msgspec.json.encode(review)))

    def reviews(self, most: int) -> list[tuple[str, KeptReview]]:
        """Return reviews to be sent, those that were tried least often first."""
        with self._mapped():
            rows = self._db.execute("SELECT id, value FROM review ORDER BY tries, rowid LIMIT ?", (most,))
            return [(made, msgspec.json.decode(value, type=KeptReview)) for made, value in rows]

    def tried_review(self, made: str, *, is_done: bool) -> None:
        """Forget a review that is done with, or put it behind the others; in a transaction."""
        self._db.execute(
            "DELETE FROM review WHERE id = ?" if is_done else "UPDATE review SET tries = tries + 1 WHERE id = ?",
            (made,),
        )

    def count(self, hash_set: str | None = None) -> int:
        """Return how many entries of a hash set, or of all, stand here by this peer."""
        where = "" if hash_set is None else " WHERE hash_set = ?"
        given = () if hash_set is None else (hash_set,)
        with self._mapped():
            return int(self._db.execute(f"SELECT count(*) FROM held{where}", given).fetchone()[0])  # noqa: S608


def names(directory: Path) -> list[str]:
    """Return the names of the peers, ascending."""
    return sorted(f.stem for f in directory.glob(f"*{DATABASE}") if SLUG.fullmatch(f.stem))


def path_of(directory: Path, name: str, suffix: str = DATABASE) -> Path:
    """Return where something of a peer is kept. Raises InvalidArgument for what cannot be a name."""
    if not SLUG.fullmatch(name):
        raise InvalidArgument.field("name", f"must be at most 63 of a-z, 0-9 and -, got {name[:80]!r}", "PATTERN")
    return directory / f"{name}{suffix}"


@contextmanager
def opened(directory: Path, name: str) -> Iterator[PeerState]:
    """Give the state of a peer. Raises NotFound."""
    with PeerState(directory, name) as state:
        yield state


def begin(directory: Path, peer: Peer) -> None:
    """Make the state of a new peer."""
    path_of(directory, peer.name).touch(mode=0o600)
    with opened(directory, peer.name) as state, state.transaction():
        state.save(peer)


def remove(directory: Path, name: str) -> None:
    """Remove all that is kept of a peer."""
    for suffix in (*FILES, _SECRET):
        path_of(directory, name, suffix).unlink(missing_ok=True)


def secret(directory: Path, name: str) -> str:
    """Return the secret by which this hub calls a peer. Raises InvalidArgument."""
    return private_text(path_of(directory, name, _SECRET), "secret").strip()


def keep_secret(directory: Path, name: str, text: str) -> None:
    """Keep the secret by which this hub calls a peer, in place of an earlier one."""
    with written(path_of(directory, name, _SECRET), replace=True) as file:
        file.write(f"{text}\n".encode())


def all_offers(directory: Path) -> Iterable[tuple[Peer, dict[str, Offer]]]:
    """Yield every peer with what it offers."""
    for name in names(directory):
        with opened(directory, name) as state:
            yield state.peer(), state.offers()
