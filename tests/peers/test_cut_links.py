"""Two hubs whose link is cut in the middle of a page, stands still, or is lost without a word, and heals."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from hashhub.client import transport
from hashhub.model import EntryState, PeerStatus
from hashhub.peers import run as peer_run
from hashhub.peers.state import opened
from tests.patience import wait_until
from tests.peers.conftest import MakeNation, Nation, digests

HERE = "a--hotline/known"


class Link:
    """Connections to a hub that can be cut after some bytes of its answers, stand still, and be lost."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._hub = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._lock = threading.Lock()
        self._moves = threading.Event()
        self._moves.set()
        self._sockets: list[socket.socket] = []
        self._lost: set[socket.socket] = set()
        self.bytes_left = -1
        """Of answers, until all is cut; below 0: there is no end."""
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def stand_still(self) -> None:
        self._moves.clear()

    def move(self) -> None:
        self._moves.set()

    def lose(self) -> None:
        """Let what is connected now hear nothing any more, not even an end. What connects later is new."""
        with self._lock:
            self._lost |= set(self._sockets)

    def cut(self) -> None:
        with self._lock:
            self.cuts += 1
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._moves.set()
        self._server.close()
        self.cut()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._server.accept()[0]
                hub = socket.create_connection(self._hub)
                with self._lock:
                    self._sockets += [client, hub]
                for one, other in ((client, hub), (hub, client)):
                    threading.Thread(target=self._pass_on, args=(one, other, other is client), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := one.recv(4096):
                self._moves.wait()
                if one in self._lost:
                    continue
                if is_answer and self.bytes_left >= 0:
                    self.bytes_left -= len(data)
                    if self.bytes_left <= 0:
                        self.bytes_left = -1
                        other.sendall(data[: len(data) // 2])
                        self.cut()
                        return
                other.sendall(data)
        if one not in self._lost:
            with suppress(OSError):
                other.shutdown(socket.SHUT_WR)


@pytest.fixture
def linked(nation: MakeNation) -> Iterator[tuple[Nation, Nation, Link]]:
    """A, and B which reaches it by a link."""
    a, b = nation("a"), nation("b")
    a.contribute("hotline", "known")
    with closing(Link(a.address)) as link:
        own, a.address = a.address, link.address
        a.invite(b)
        a.address = own
        yield a, b, link


@contextmanager
def following(b: Nation) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=peer_run.run, args=(b.peers, b.hub, "b", stop, lambda _: None))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def is_here(b: Nation, wanted: set[str]) -> Callable[[], bool]:
    return lambda: b.standing(HERE) == wanted


def status(b: Nation) -> PeerStatus:
    with opened(b.peers, "a") as state:
        return state.followed().status


def test_a_page_that_is_cut_applies_nothing_and_then_all(linked: tuple[Nation, Nation, Link]) -> None:
    a, b, link = linked
    every = digests(*range(2_000))
    a.state("hotline/known", every)
    link.bytes_left = 40_000
    with following(b):
        wait_until(lambda: link.cuts == 1)
        assert len(b.standing(HERE)) in {0, len(every)}
        wait_until(is_here(b, every))
        link.bytes_left = 100
        a.withdraw("hotline/known", digests(1))
        a.state("hotline/known", digests(5_000))
        wait_until(lambda: link.cuts == 2)
        wait_until(is_here(b, every - digests(1) | digests(5_000)))
        assert len(list(b.hub.list_entries(HERE, (EntryState.ACTIVE,)))) == len(every)


def test_what_was_withdrawn_while_a_link_stood_still_is_gone_when_it_moves(
    linked: tuple[Nation, Nation, Link],
) -> None:
    a, b, link = linked
    a.state("hotline/known", digests(1, 2))
    with following(b):
        wait_until(is_here(b, digests(1, 2)))
        link.stand_still()
        a.withdraw("hotline/known", digests(1))
        a.state("hotline/known", digests(3))
        assert b.standing(HERE) == digests(1, 2)
        link.move()
        wait_until(is_here(b, digests(2, 3)))
        assert status(b) is PeerStatus.OK


def test_a_link_that_is_lost_without_a_word_is_noticed(
    linked: tuple[Nation, Nation, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, link = linked
    monkeypatch.setattr(transport, "OPTIONS", _quicker(transport.OPTIONS))
    a.state("hotline/known", digests(1, 2))
    with following(b):
        wait_until(is_here(b, digests(1, 2)))
        link.lose()
        a.withdraw("hotline/known", digests(1))
        wait_until(is_here(b, digests(2)))


def _quicker(options: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    """Ask a silent hub twenty times as often."""
    return tuple(
        (k, v // 20 if k in {"grpc.keepalive_time_ms", "grpc.http2.ping_timeout_ms"} else v) for k, v in options
    )
