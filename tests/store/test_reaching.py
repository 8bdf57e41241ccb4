"""Why the database cannot be used, asked of real servers that are wrong in a chosen way."""

from __future__ import annotations

import http.server
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, Unavailable
from hashhub.store import Store
from hashhub.store.drivers import _explained

PASSWORD = "hunter2"  # noqa: S105 - of nobody


def fault(url: str) -> HashHubError:
    with pytest.raises(HashHubError) as caught:
        Store.open(url)
    assert PASSWORD not in caught.value.message
    assert "Traceback" not in caught.value.message
    return caught.value


@pytest.fixture(scope="module")
def guarded(postgresql: Any) -> Iterator[Callable[[str], str]]:
    """The server, asking for a password and admitting not everybody; returns the URL for `USER:PASSWORD`."""
    with postgresql.connect() as c:
        c.execute("SET password_encryption = 'scram-sha-256'")
        c.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        (hba,) = c.execute("SHOW hba_file").fetchone()
        rules = Path(hba)
        before = rules.read_text("ascii")
        rules.write_text("local all postgres trust\nlocal all nobody trust\nlocal all guarded scram-sha-256\n", "ascii")
        c.execute("SELECT pg_reload_conf()")
        (directory,) = c.execute("SHOW unix_socket_directories").fetchone()
    yield lambda who: f"postgresql+psycopg://{who}@/postgres?host={directory}"
    rules.write_text(before, "ascii")
    with postgresql.connect() as c:
        c.execute("SELECT pg_reload_conf()")


def test_a_database_that_does_not_exist(postgresql_url: str) -> None:
    url = re.sub(r"/test_\w+", "/nowhere", postgresql_url)
    error = fault(url)
    assert isinstance(error, FailedPrecondition)
    assert "there is no database 'nowhere'" in error.message
    assert "createdb nowhere" in error.message


def test_nothing_listens() -> None:
    error = fault(f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/hub")
    assert isinstance(error, Unavailable)
    assert error.message.startswith("nothing listens on 127.0.0.1:1: start PostgreSQL")


def test_no_socket(tmp_path: Path) -> None:
    assert "nothing listens on" in fault(f"postgresql+psycopg:///hub?host={tmp_path}").message


def test_a_host_that_nobody_knows() -> None:
    error = fault("postgresql+psycopg://me@no-such-host.invalid/hub")
    assert isinstance(error, Unavailable)
    assert "no-such-host.invalid is not known" in error.message


def test_what_listens_is_something_else() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        error = fault(f"postgresql+psycopg://me@127.0.0.1:{other.server_port}/hub")
        other.shutdown()
    assert "PostgreSQL" in error.message
    assert f"127.0.0.1:{other.server_port}" in error.message
    assert "correct the host and port" in error.message


@pytest.mark.parametrize("who", [f"guarded:{PASSWORD}", "guarded"])
def test_a_wrong_password(guarded: Callable[[str], str], who: str) -> None:
    error = fault(guarded(who))
    assert isinstance(error, FailedPrecondition)
    assert "refuses the password of user 'guarded'" in error.message
    assert "database_password_file" in error.message


def test_a_user_that_does_not_exist(guarded: Callable[[str], str]) -> None:
    error = fault(guarded(f"nobody:{PASSWORD}"))
    assert isinstance(error, FailedPrecondition)
    assert "does not let user 'nobody' in" in error.message


def test_a_user_that_is_not_admitted(guarded: Callable[[str], str]) -> None:
    error = fault(guarded(f"stranger:{PASSWORD}"))
    assert isinstance(error, FailedPrecondition)
    assert "pg_hba.conf" in error.message


def test_tls_asked_of_a_server_without() -> None:
    """What a PostgreSQL server without TLS answers to the request for it is the one byte N."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(b"N")
                connection.recv(1)

        threading.Thread(target=answer).start()
        error = fault(f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{server.getsockname()[1]}/hub?sslmode=require")
    assert isinstance(error, FailedPrecondition)
    assert "speaks no TLS" in error.message


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("http://127.0.0.1:5432/hub", "scheme http is not supported"),
        ("mysql://me@host/hub", "scheme mysql is not supported"),
        ("postgresql:/me@host/hub", "without a scheme"),
        ("localhost:5432/hub", "without a scheme"),
        ("me:hunter2@host/hub", "without a scheme"),
        ("db.example:5432", "without a scheme"),
    ],
)
def test_a_wrong_url(database: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = fault(database)
    assert isinstance(error, InvalidArgument)
    assert said in error.message
    assert "postgresql+psycopg://" in error.message
    assert list(tmp_path.iterdir()) == [], "a mistyped address must not become a directory with an empty database"


def test_what_is_not_known_is_told_as_it_is() -> None:
    error = _explained(sa.make_url("postgresql+psycopg://me@host/hub"), "connection failed:  Kein\n Anschluss")
    assert "Kein Anschluss" in error.message
    assert "host" in error.message


def test_why_a_hub_at_work_loses_its_database_is_told_in_the_log_alone(
    postgresql: Any, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Callers get no name of a host; whoever operates the hub had none of the cause."""
    name = postgresql_url.partition("?")[0].rpartition("/")[2]
    store = Store.open(postgresql_url)
    with postgresql.connect() as c:
        c.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        c.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            store.revision()
        assert name not in caught.value.message
    store.close()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1, "once a minute"
    assert f'database "{name}" is not currently accepting connections' in told[0]
