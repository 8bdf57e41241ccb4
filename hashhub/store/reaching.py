"""Why a PostgreSQL server cannot be used: what its client library says, told as a cause and a remedy.

For a start and for the log, where an operator reads it: the messages name host, port and database, which an answer to a
caller of the hub must not. libpq gives no error codes for a connection that was not made, so its English texts are
looked for; a text that is not known is left as it is.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, ExceptionContext

from hashhub.errors import FailedPrecondition, HashHubError, Reason, Unavailable

_log = logging.getLogger("hashhub.store")
_TOLD_SECONDS: Final = 60.0  # between two lines in the log about it
_SHOWN: Final = 200  # characters of what the library says


class _Cause(NamedTuple):
    """What the library's text has in it, what that means, and what to do. `passes`: by itself, perhaps in a moment."""

    text: re.Pattern[str]
    meaning: str
    passes: bool = False


_CAUSES: Final = (
    _Cause(
        re.compile(r'database "[^"]*" does not exist'),
        "there is no database {name!r} on {place}: create it (createdb {name}), or correct the name in the URL",
    ),
    _Cause(
        re.compile(r"password authentication failed|no password supplied|SASL authentication failed|SCRAM"),
        "{place} refuses the password of user {user!r}: correct database_password_file, or the password in the URL",
    ),
    _Cause(
        re.compile(r'role "[^"]*" does not exist|Peer authentication failed|Ident authentication failed'),
        "{place} does not let user {user!r} in: create the user, or correct its name in the URL",
    ),
    _Cause(
        re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects"),
        "{place} does not admit user {user!r} to database {name!r} from this machine: allow it in pg_hba.conf; where "
        "only encrypted connections are, add ?sslmode=require to the URL",
    ),
    _Cause(
        re.compile(r"permission denied for database"),
        "user {user!r} may not connect to database {name!r} on {place}: GRANT CONNECT, or use its owner",
    ),
    _Cause(
        re.compile(r"server does not support SSL|does not support SSL, but SSL was required"),
        "{place} speaks no TLS, and the URL asks for it: set it up there, or leave sslmode out of the URL",
    ),
    _Cause(
        re.compile(r"certificate verify failed|root certificate file|server certificate for"),
        "the TLS certificate of {place} cannot be verified ({said}): name the authority's file with sslrootcert in the "
        "URL",
    ),
    _Cause(
        re.compile(r"received invalid response|expected authentication request|SSL error|invalid SSL negotiation"),
        "what listens on {place} is no PostgreSQL server: correct the host and port in the URL (usually 5432)",
    ),
    _Cause(
        re.compile(r"starting up|shutting down|recovery mode"),
        "PostgreSQL on {place} is starting or stopping: try again in a moment",
        passes=True,
    ),
    _Cause(
        re.compile(r"too many (?:clients|connections)|remaining connection slots"),
        "{place} has as many connections as it takes: raise max_connections there, or run fewer workers",
        passes=True,
    ),
    _Cause(
        re.compile(r"Connection refused|No such file or directory"),
        "nothing listens on {place}: start PostgreSQL there, or correct the host and port in the URL",
        passes=True,
    ),
    _Cause(
        re.compile(r"could not translate host name|Name or service not known|failed to resolve host|name resolution"),
        "the host of {place} is not known: correct its name in the URL, or this machine's DNS",
        passes=True,
    ),
    _Cause(
        re.compile(r"timeout expired|timed out|Network is unreachable|No route to host"),
        "{place} does not answer as PostgreSQL does: correct the host and port in the URL, or the firewall between",
        passes=True,
    ),
    _Cause(
        re.compile(r"server closed the connection unexpectedly|Connection reset"),
        "what listens on {place} closed the connection: is it PostgreSQL? Its log says why; correct the host and port "
        "in the URL otherwise",
        passes=True,
    ),
)


@contextmanager
def reaching(url: URL) -> Iterator[None]:
    """Tell why no connection could be made.

    Raises FailedPrecondition where somebody has to correct something, Unavailable for what may pass by itself.
    """
    try:
        yield
    except sa.exc.OperationalError as e:
        if e.orig is None or getattr(e.orig, "sqlstate", None):
            raise  # of a statement, and so from a server that was reached
        raise _explained(url, str(e.orig)) from e


def tell(url: URL, *engines: Engine) -> None:
    """Write into the log, from now on, why these engines get no connection, now and then while it lasts."""
    told = -_TOLD_SECONDS

    def note(context: ExceptionContext) -> None:
        nonlocal told
        if context.connection is None and time.monotonic() - told >= _TOLD_SECONDS:
            told = time.monotonic()
            _log.warning(_explained(url, str(context.original_exception)).message)

    for engine in engines:
        sa.event.listen(engine, "handle_error", note)


def _explained(url: URL, said: str) -> HashHubError:
    said = " ".join(said.split())
    where = {
        "place": _place(url),
        "name": url.database or url.username or "",
        "user": url.username or "",
        "said": said[-_SHOWN:],
    }
    for cause in _CAUSES:
        if cause.text.search(said):
            kind = Unavailable if cause.passes else FailedPrecondition
            return kind(cause.meaning.format(**where), reason=Reason.DATABASE_UNAVAILABLE)
    return Unavailable(
        f"cannot connect to {where['place']} ({where['said']}); check the URL and that PostgreSQL runs there",
        reason=Reason.DATABASE_UNAVAILABLE,
    )


def _place(url: URL) -> str:
    host = url.host or str(url.query.get("host", "")) or "this machine's socket"
    return f"{host}:{url.port}" if url.port else host
