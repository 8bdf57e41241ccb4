"""Who is signed in, in a SQLite file, so that a restart ends no session and every process knows them.

The secret by which a person's calls are made is sealed by the cookie's own key, of which only a digest is kept: whoever
reads the file can make no call.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec
from cryptography.fernet import Fernet

from hashhub.console.pages import Reader
from hashhub.local_files import connect

IDLE_SECONDS: Final = 1800.0
LONGEST_SECONDS: Final = 12 * 3600.0
LINK_SECONDS: Final = 600.0  # for which a link works that nobody has opened
_SEEN_SECONDS: Final = 20.0  # between two notes that a session is in use
_KEY_BYTES: Final = 32  # 256 random bits need no slow hash
_MOST: Final = 10_000  # sessions; beyond them the longest idle goes
_SCHEMA: Final = """
    PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS session (
        digest BLOB PRIMARY KEY, sealed BLOB NOT NULL, begun REAL NOT NULL, seen REAL NOT NULL, ends REAL NOT NULL,
        reader BLOB NOT NULL, notice TEXT NOT NULL DEFAULT '');
    CREATE TABLE IF NOT EXISTS link (digest BLOB PRIMARY KEY, sealed BLOB NOT NULL, ends REAL NOT NULL);
    CREATE TABLE IF NOT EXISTS looked (
        person TEXT NOT NULL, day TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (person, day));
"""


class BrowserSession(msgspec.Struct, frozen=True, kw_only=True):
    """One person's session: the key that is in the cookie, the secret that calls are made with, how the person reads.

    `digest` names it where the key must not stand.
    """

    key: str
    secret: str
    reader: Reader

    @property
    def digest(self) -> bytes:
        """Its name in the file, by which nobody can use it."""
        return _digest(self.key)

    @property
    def form_token(self) -> str:
        """What each form of this session holds, and no other site knows."""
        return hmac.new(self.key.encode(), b"form", hashlib.sha256).hexdigest()


class Sessions:
    """The file. Safe to be shared by threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it for its owner alone."""
        self._db = connect(path, timeout=10.0, check_same_thread=False, isolation_level=None)
        self._lock = Lock()
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin(self, secret: str, reader: Reader, *, ends: float | None = None) -> BrowserSession:
        """Begin a session for a secret, under a new key. `ends`: when the secret does, in seconds since 1970."""
        at = time.time()
        session = BrowserSession(key=secrets.token_urlsafe(_KEY_BYTES), secret=secret, reader=reader)
        last = min(at + LONGEST_SECONDS, ends or at + LONGEST_SECONDS)
        row = (session.digest, _seal(session.key, secret), at, at, last, msgspec.json.encode(reader))
        self._do("DELETE FROM session WHERE ends < ? OR seen < ?", at, at - IDLE_SECONDS)
        self._do(
            "DELETE FROM session WHERE digest IN (SELECT digest FROM session ORDER BY seen DESC LIMIT -1 OFFSET ?)",
            _MOST - 1,
        )
        self._do("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, '')", *row)
        return session

    def find(self, key: str, *, is_used: bool) -> BrowserSession | None:
        """Return the session of a cookie's key while it works. `is_used`: a person does something, no page that asks
        for its news by itself.
        """
        at, digest = time.time(), _digest(key)
        found = self._do("SELECT sealed, seen, ends, reader FROM session WHERE digest = ?", digest)
        if not found:
            return None
        [(sealed, seen, ends, reader)] = found
        if at > ends or at > seen + IDLE_SECONDS:
            self.end(digest)
            return None
        if is_used and at > seen + _SEEN_SECONDS:
            self._do("UPDATE session SET seen = ? WHERE digest = ?", at, digest)
        return BrowserSession(key=key, secret=_open(key, sealed), reader=msgspec.json.decode(reader, type=Reader))

    def lasts(self, digest: bytes) -> bool:
        """Whether a session works still."""
        at = time.time()
        working = "SELECT 1 FROM session WHERE digest = ? AND ends >= ? AND seen >= ?"
        return bool(self._do(working, digest, at, at - IDLE_SECONDS))

    def end(self, digest: bytes) -> None:
        """End a session."""
        self._do("DELETE FROM session WHERE digest = ?", digest)

    def read_as(self, session: BrowserSession, reader: Reader) -> None:
        """Keep how a person reads."""
        self._do("UPDATE session SET reader = ? WHERE digest = ?", msgspec.json.encode(reader), session.digest)

    def note(self, session: BrowserSession, notice: str) -> None:
        """Keep a notice for the next page; it is shown once."""
        self._do("UPDATE session SET notice = ? WHERE digest = ?", notice, session.digest)

    def notice(self, session: BrowserSession) -> str:
        """Return the notice that is to be shown now, and forget it."""
        found = self._do("SELECT notice FROM session WHERE digest = ? AND notice != ''", session.digest)
        if not found:
            return ""
        self.note(session, "")
        return str(found[0][0])

    def looked(self, person: str, *, more: int = 0) -> int:
        """Return how many items a person has looked at today (UTC), with these `more`."""
        today = time.strftime("%Y-%m-%d", time.gmtime())
        if more:
            self._do("DELETE FROM looked WHERE day < ?", today)
            self._do(
                "INSERT INTO looked VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
                person, today, more,
            )  # fmt: skip
        found = self._do("SELECT number FROM looked WHERE person = ? AND day = ?", person, today)
        return int(found[0][0]) if found else 0

    def make_link(self, secret: str) -> str:
        """Return a code that begins one session for a secret within ten minutes."""
        code = secrets.token_urlsafe(_KEY_BYTES)
        self._do("DELETE FROM link WHERE ends < ?", time.time())
        self._do("INSERT INTO link VALUES (?, ?, ?)", _digest(code), _seal(code, secret), time.time() + LINK_SECONDS)
        return code

    def take_link(self, code: str) -> str:
        """Return the secret of a code, which works no more; empty where it did not."""
        found = self._do("DELETE FROM link WHERE digest = ? RETURNING sealed, ends", _digest(code))
        return _open(code, found[0][0]) if found and time.time() < found[0][1] else ""

    def _do(self, sql: str, *values: object) -> list[Any]:
        with self._lock, closing(self._db.execute(sql, values)) as cursor:
            return cursor.fetchall()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _seal(key: str, secret: str) -> bytes:
    return _fernet(key).encrypt(secret.encode())


def _open(key: str, sealed: bytes) -> str:
    return _fernet(key).decrypt(sealed).decode()


def _fernet(key: str) -> Fernet:
    return Fernet(urlsafe_b64encode(hmac.new(key.encode(), b"seal", hashlib.sha256).digest()))
