"""Tokens and their secrets. A token that gets a new secret has two for a while; only their SHA-256 is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import AlreadyExists, InvalidArgument, NotFound
from hashhub.model import SYSTEM, Actor, EventKind, Principal
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.resources import check_active, check_unused, registry_changed, to_json

_SMALLEST: Final = 1_024  # 8 KB; the estimate is within some 3 percent
MAX_READERS: Final = 256  # of one token, whose positions are kept: one for each hash set and format
DAY: Final = 86_400  # seconds
LAST: Final = 2**53  # the time of the row that has what a reader was sent last
_POSITION_DAYS: Final = 90


class Secret(NamedTuple):
    """What a secret opens. `expire_time`: when it stops doing so because another one has taken its place."""

    token: Principal
    expire_time: datetime | None


class SentPosition(NamedTuple):
    """A position of the feed that a reader was sent, complete up to a revision or not. `mark`: changes with each change
    of which hash sets it holds.
    """

    position: str
    revision: int
    mark: int
    is_complete: bool


class TokenTable:
    """The part of the Store that knows who may call."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put_token(self, digest: bytes, token: Principal, *, by: Actor = SYSTEM) -> None:
        """Store a token; an empty digest: it has no secret. Raises AlreadyExists: its name is or was in use, or another
        token has one of its identities; NotFound; FailedPrecondition: retired.
        """
        with self._db.write_in_order() as c:
            check_active(c, token.contributor)
            check_unused(c, "tokens", "Token", token.name)
            c.execute(sa.insert(s.used_name).values(kind="tokens", id=token.name))
            c.execute(sa.insert(s.token).values(name=token.name, content=_content(token)))
            if digest:
                c.execute(sa.insert(s.secret).values(digest=digest, token=token.name))
            put_identities(c, token)
            self._token_changed(c, by, EventKind.TOKEN_CREATED, None, token)

    def find_secret(self, digest: bytes) -> Secret | None:
        """Return what the secret with this digest opens, or opened until it was replaced; None: nothing."""
        sql = (
            "SELECT t.content, t.last_use_time, x.expire_time FROM secret x JOIN token t ON t.name = x.token WHERE "
            "x.digest = ?"
        )
        rows = self._db.fetch(sql, (digest,))
        return Secret(_token(rows[0]), s.time_of(rows[0][2])) if rows else None

    def find_token(self, name: str) -> Principal | None:
        """Return a token by its name."""
        rows = self._db.fetch("SELECT content, last_use_time FROM token WHERE name = ?", (name,))
        return _token(rows[0]) if rows else None

    def find_identities(self, names: Sequence[str]) -> list[tuple[str, Principal]]:
        """Return which of these identities tokens have, and whose they are."""
        sql = "SELECT content, last_use_time, i.name FROM identity i JOIN token t ON t.name = i.token WHERE i.name IN "
        sql += f"({', '.join('?' * len(names))})"
        return [(row[2], _token(row[:2])) for row in self._db.fetch(sql, tuple(names))] if names else []

    def secret_of(self, name: str) -> tuple[bytes, datetime | None]:
        """Return the digest of a token's present secret (empty: none), and until when the one before opens it."""
        sql = "SELECT digest, expire_time FROM secret WHERE token = ?"
        rows = {until: digest for digest, until in self._db.fetch(sql, (name,))}
        until = max((millis for millis in rows if millis is not None), default=None)
        return bytes(rows.get(None, b"")), s.time_of(until)

    def list_tokens(self) -> list[Principal]:
        """Return the tokens in the order of names."""
        return [_token(row) for row in self._db.fetch("SELECT content, last_use_time FROM token ORDER BY name")]

    def update_token(self, name: str, fields: Mapping[str, Any], *, by: Actor = SYSTEM) -> Principal:
        """Replace these fields of a token, in one transaction. Raises NotFound, AlreadyExists; InvalidArgument for
        another person.
        """
        with self._db.write_in_order() as c:
            before = _existing(c, name)
            after = msgspec.structs.replace(before, **fields)
            if before.person not in {"", after.person}:
                told = f"is {before.person}, and stays; make another token"
                raise InvalidArgument.field("token.person", told, "NOT_MUTABLE")
            c.execute(sa.update(s.token).where(s.token.c.name == name).values(content=_content(after)))
            put_identities(c, after)
            self._token_changed(c, by, EventKind.TOKEN_UPDATED, before, after)
            return after

    def rotate_token(self, name: str, digest: bytes, until: datetime, *, by: Actor = SYSTEM) -> Principal:
        """Give a token another secret; only the present one opens it too, until `until`. Raises NotFound."""
        t = s.secret
        with self._db.write_in_order() as c:
            token = _existing(c, name)
            c.execute(sa.delete(t).where(t.c.token == name, t.c.expire_time.is_not(None)))
            c.execute(sa.update(t).where(t.c.token == name).values(expire_time=s.to_millis(until)))
            c.execute(sa.insert(t).values(digest=digest, token=name))
            self._token_changed(
                c, by, EventKind.TOKEN_ROTATED, token, token, facts={"old_secret_until": until.isoformat()}
            )
            return token

    def delete_token(self, name: str, *, by: Actor = SYSTEM) -> None:
        """Delete a token; its name is never used again. Raises NotFound."""
        with self._db.write_in_order() as c:
            before = _existing(c, name)
            c.execute(sa.delete(s.secret).where(s.secret.c.token == name))
            c.execute(sa.delete(s.identity).where(s.identity.c.token == name))
            c.execute(sa.delete(s.token).where(s.token.c.name == name))
            c.execute(sa.delete(s.learned).where(s.learned.c.token == name))
            c.execute(sa.delete(s.feed_position).where(s.feed_position.c.token == name))
            self._token_changed(c, by, EventKind.TOKEN_DELETED, before, None)

    def note_token_use(self, last_use_times: Mapping[str, datetime]) -> None:
        """Store when tokens were last used. It moves no revision: no answer depends on it."""
        t = s.token
        with self._db.write() as c:
            for name, time in sorted(last_use_times.items()):  # in order, so that two processes cannot deadlock
                millis = s.to_millis(time)
                is_newer = sa.or_(t.c.last_use_time.is_(None), t.c.last_use_time < millis)
                c.execute(sa.update(t).where(t.c.name == name, is_newer).values(last_use_time=millis))

    def note_learned(self, day: int, names: Mapping[str, set[int]]) -> dict[str, int]:
        """Add numbers of 64 bits, those of names, to what tokens learned on a day; return how many that are."""
        t = s.learned
        counts: dict[str, int] = {}
        with self._db.write_in_order() as c:
            c.execute(sa.delete(t).where(t.c.day < day - 1))
            for token, own in names.items():
                row = sa.and_(t.c.token == token, t.c.day == day)
                known = np.frombuffer(c.scalar(sa.select(t.c.smallest).where(row)) or b"", "<u8")
                smallest = np.union1d(known, np.array(sorted(own), "<u8"))[:_SMALLEST]
                c.execute(sa.delete(t).where(row))
                c.execute(sa.insert(t).values(token=token, day=day, smallest=smallest.tobytes()))
                counts[token] = _distinct(smallest)
        return counts

    def learned(self, *, since: int) -> dict[str, int]:
        """Return how many names each token learned on the day, from `since` on, on which these were most."""
        counts: dict[str, int] = {}
        for token, smallest in self._db.fetch("SELECT token, smallest FROM learned WHERE day >= ?", (since,)):
            counts[token] = max(counts.get(token, 0), _distinct(np.frombuffer(smallest, "<u8")))
        return counts

    def kept_position(self, token: str, reader: str, time: int = LAST) -> str | None:
        """Return where a reader of the feed was at or before a time, in seconds since 1970, or was sent last."""
        sql = (
            "SELECT position FROM feed_position WHERE token = ? AND reader = ? AND time <= ? ORDER BY time DESC LIMIT 1"
        )
        rows = self._db.fetch(sql, (token, reader, time))
        return rows[0][0] if rows else None

    def keep_position(
        self, token: str, reader: str, sent: SentPosition, at: int, *, is_new_mark: bool = False
    ) -> datetime | None:
        """Keep what a reader of the feed was sent, and where it is if that is complete. Return the time by which it
        finds this position or an older one; None: by no time.
        """
        t = s.feed_position
        own = sa.and_(t.c.token == token, t.c.reader == reader)
        sql = "SELECT time, position FROM feed_position WHERE token = ? AND reader = ? ORDER BY time DESC LIMIT 2"
        newest = self._db.fetch(sql, (token, reader))
        if [row[1] for row in newest] == [sent.position] * 2:
            return datetime.fromtimestamp(newest[1][0], UTC)
        with self._db.write_in_order() as c:
            if c.scalar(sa.select(s.token.c.name).where(s.token.c.name == token)) is None:
                return None
            c.execute(sa.delete(t).where(own, t.c.time.between(at + DAY, LAST - 1)))  # kept while the clock was wrong
            kept = c.execute(sa.select(t).where(own).order_by(t.c.time.desc())).all()
            about = {"revision": sent.revision, "mark": sent.mark}
            values = {"token": token, "reader": reader, "position": sent.position, **about}
            if not kept or is_new_mark or kept[0].mark == sent.mark:
                c.execute(sa.delete(t).where(own, t.c.time == LAST))
                c.execute(sa.insert(t).values(time=LAST, **values))
            if not sent.is_complete:
                return None
            times = [row.time for row in kept[1:]]
            # Another client of this name may have read more meanwhile: its position is not this one's.
            earlier = (row for row in kept[1:] if row.revision < sent.revision or row.position == sent.position)
            before = next(earlier, None)
            if not times or (before is kept[1] and before.position != sent.position and before.time < at):
                c.execute(sa.insert(t).values(time=at, **values))
                surplus = sorted(_surplus([at, *times], at))
                for start in range(0, len(surplus), 500):
                    c.execute(sa.delete(t).where(own, t.c.time.in_(surplus[start : start + 500])))
                last = sa.func.max(t.c.time).filter(t.c.time < LAST)
                readers = sa.select(t.c.reader).where(t.c.token == token).group_by(t.c.reader).order_by(last.desc())
                for other in c.execute(readers).scalars().all()[MAX_READERS:]:
                    c.execute(sa.delete(t).where(t.c.token == token, t.c.reader == other))
                return datetime.fromtimestamp(at, UTC)
            return None if before is None else datetime.fromtimestamp(before.time, UTC)

    def _token_changed(
        self,
        c: Connection,
        by: Actor,
        kind: EventKind,
        before: Principal | None,
        after: Principal | None,
        *,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Append the event; the registry moves, because a token's purposes decide what it may see."""
        token = after or before
        assert token is not None  # noqa: S101 - one of them is given
        about = {"role": str(token.role), "contributor": token.contributor, **(facts or {})}
        registry_changed(c, by, kind, f"tokens/{token.name}", before, after, facts=about)


def _surplus(times: Sequence[int], at: int) -> set[int]:
    """Return which positions need not be kept, newest first: a reader that comes back after some time is told what a
    sixteenth of that time brought again, and after 90 days everything that came since it was there last.
    """
    oldest: dict[int, int] = {}  # by a span of time that doubles with age, so that spans never overlap
    before = [time for time in times if time < at - _POSITION_DAYS * DAY]
    for time in times[: len(times) - len(before)]:
        span = 1 << max(at - time, 0).bit_length() >> 5 or 1
        oldest[time // span * span] = time
    return {*times} - {*oldest.values(), *before[:1]}


def _distinct(smallest: NDArray[np.uint64]) -> int:
    """Return how many numbers these are the smallest of: all there are, or estimated by how densely they lie."""
    if len(smallest) < _SMALLEST:
        return len(smallest)
    return round((_SMALLEST - 1) * 2.0**64 / float(smallest[-1]))


def _token(row: Row) -> Principal:
    token = msgspec.json.decode(row[0], type=Principal)
    return token if row[1] is None else msgspec.structs.replace(token, last_use_time=s.from_millis(row[1]))


def _existing(c: Connection, name: str) -> Principal:
    row = c.execute(sa.select(s.token.c.content, s.token.c.last_use_time).where(s.token.c.name == name)).first()
    if row is None:
        raise NotFound(f"there is no token named {name[:63]!r}", kind="Token", name=name)
    return _token(tuple(row))


def put_identities(c: Connection, token: Principal) -> None:
    """Let a token be proved by its identities and by no others. Raises AlreadyExists where another one has some."""
    t = s.identity
    of_others = sa.and_(t.c.name.in_(token.identities), t.c.token != token.name)
    if taken := c.execute(sa.select(t.c.name, t.c.token).where(of_others)).first():
        name, owner = taken
        told = f"{name[:200]!r} proves token {owner} already; take it from that one first"
        raise AlreadyExists(told, kind="Token", name=owner)
    c.execute(sa.delete(t).where(t.c.token == token.name))
    for name in token.identities:
        c.execute(sa.insert(t).values(name=name, token=token.name))


def _content(token: Principal) -> bytes:
    of_a_call = {"by_old_secret": False, "identity": "", "certificate": None, "by_session": False, "second_person": ""}
    return to_json(msgspec.structs.replace(token, last_use_time=None, **of_a_call))
