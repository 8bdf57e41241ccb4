"""Requests of partners' clients over HTTP: who sends them, how much, and the calls that they come to.

    HTTPRequest ── let in ── read within the budget ── partners.PartnerDoor ── calls through the Pipeline

On the HTTP listener each protocol has a part of the paths (`PartnerRoutes.doors`), and a client sends a token where its
protocol puts one. A listener of its own takes HMA's clients that can send none, and is bound to one token: it is on
this machine only, and has these routes alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hashhub.addresses import bind, is_loopback_host, shown, taken
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, PermissionDenied, Unavailable
from hashhub.hub.access import OVERSEERS
from hashhub.partners import (
    HMADoor,
    NCMECDoor,
    PartnerAnswer,
    PartnerDoor,
    PartnerRequest,
    StopNCIIDoor,
    TAXIIDoor,
    ThreatExchangeDoor,
)
from hashhub.server.bodies import RequestBody
from hashhub.server.http_listener import SenderWatch
from hashhub.server.pipeline import Envelope

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from hashhub.config import Config
    from hashhub.model import Principal
    from hashhub.server.http_listener import HTTPListener, HTTPRequest

_log = logging.getLogger("hashhub.server")

_HMA: Final = "hma"
_UNIX: Final = "unix:"
_SOCKET_MODE: Final = 0o660  # its owner's and group's: a client in a container is rarely the hub's own user
_COMMON: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), (b"server", b"hashhub"))
_FETCHES: Final = 4  # at a time, each of as much as a file may have


class BoundToken:
    """The token of a listener whose clients send none: the first line of a file, read again when it changes."""

    def __init__(self, path: str) -> None:
        """Raise InvalidArgument for a file that cannot be read or is empty."""
        self._path = path
        self._state: object = None
        self._secret = ""
        try:
            self.authorization()
        except Unavailable as e:
            raise InvalidArgument.field("hma_bound_token_file", e.message, "REQUIRED") from e

    def authorization(self) -> str:
        """Return the header that a client would send. Raises Unavailable while the file cannot be read."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - for each request
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            if state != self._state:
                lines = Path(self._path).read_text("ascii").split("\n", 1)
                self._secret, self._state = lines[0].strip(), state
        except (OSError, ValueError) as e:
            raise Unavailable(
                f"the file of the token that this address is bound to cannot be read ({type(e).__name__}); check "
                "hma_bound_token_file and its permissions"
            ) from e
        if not self._secret:
            raise Unavailable("the file of the token that this address is bound to is empty; write the token into it")
        return f"Bearer {self._secret}"

    def announce(self, address: str, authenticate: Callable[[str], Principal]) -> None:
        """Say in the log whose everything is that is done at an address."""
        try:
            token = authenticate(self._secret)
        except HashHubError as e:
            _log.error("%s (listen_hma) lets nobody in: %s", address, e.message)
        else:
            told = (
                "%s (listen_hma) asks nobody for a token: whoever on this machine reaches it is token %s, role %s, "
                "contributor %s"
            )
            _log.warning(told, address, token.name, token.role, token.contributor or "-")


class PartnerRoutes:
    """Answers the requests that are of partners' protocols."""

    def __init__(
        self,
        listener: HTTPListener,
        methods: Mapping[str, Any],
        config: Config,
        is_serving: Callable[[], bool],
        fetch: Callable[[str], tuple[bytes, str]],
    ) -> None:
        """`fetch`: the bytes and the media type at an address; it may wait."""
        self._listener, self._methods, self._fetch = listener, methods, fetch
        self._pipeline = listener.pipeline
        self._fetching = asyncio.Semaphore(_FETCHES)
        self._hma = HMADoor(config, is_serving)
        self.doors: Final[Mapping[str, PartnerDoor]] = {
            _HMA: self._hma,
            "ncmec": NCMECDoor(),
            "stopncii": StopNCIIDoor(),
            "taxii2": TAXIIDoor(),
            "threatexchange": ThreatExchangeDoor(),
        }
        """By the first part of their paths."""

    async def answer(self, request: HTTPRequest) -> None:
        """Answer a request whose sender says who it is."""
        part, _, rest = request.path[1:].partition("/")
        door = self.doors[part]
        url = f"{_scheme(request)}://{request.header(b'host')}/{part}"
        await self._answer(door, request, url, f"/{rest}", lambda: door.authorization(request.header, request.query))

    async def answer_bound(self, bound: BoundToken, request: HTTPRequest) -> None:
        """Answer a request of whoever reaches an address that is bound to a token."""
        try:
            _check_local(request)
        except PermissionDenied as e:
            await self._say(request, self._hma.refusal(e))
        else:
            await self._answer(self._hma, request, "", request.path, bound.authorization)

    async def _answer(
        self, door: PartnerDoor, request: HTTPRequest, url: str, path: str, authorization: Callable[[], str]
    ) -> None:
        answer = door.status(path) if request.verb in {"GET", "HEAD"} else None
        if answer is None:
            try:
                answer = await self._ask(door, request, url, path, Envelope(authorization(), request.describe))
            except HashHubError as e:
                answer = door.refusal(e.with_traceback(None), path)
        await self._say(request, answer)

    async def _ask(
        self, door: PartnerDoor, request: HTTPRequest, url: str, path: str, envelope: Envelope
    ) -> PartnerAnswer:
        watch = SenderWatch(request)
        budget, most = self._listener.budget, self._listener.max_message_bytes
        body: RequestBody | None = None

        async def work(principal: Principal) -> PartnerAnswer:
            async def read() -> bytes:
                nonlocal body
                body = RequestBody(request.receive, request.length, budget, principal.name, limit=most, until=None)
                content = await body.read()
                request.is_read = True
                watch.start()
                return content

            if request.is_read:
                watch.start()
            return await door.answer(PartnerRequest(
                verb=request.verb, url=url, path=path, query_string=request.query,
                content_type=request.header(b"content-type"), accept=request.header(b"accept"),
                contributor=principal.contributor, oversees=principal.role in OVERSEERS,
                read=read, call=self._caller(envelope), fetch=self._fetched,
            ))  # fmt: skip

        try:
            return await self._pipeline.let_in(door.name, envelope, work, reads=door.reads(request.verb, path))
        finally:
            watch.stop()
            if body is not None:
                body.release()

    def _caller(self, envelope: Envelope) -> Callable[[str, Message], Awaitable[Message]]:
        """Return what makes calls of hashhub.v1 as the sender of a request."""

        async def call(path: str, message: Message) -> Message:
            own = Envelope(envelope.authorization, envelope.peer, size=message.ByteSize())
            answers: list[Message] = []

            def keep(answer: Message) -> bytes:
                answers.append(answer)
                return b""

            async def receive(_: str) -> bytes:
                return b""

            await self._pipeline.call(self._methods[path], own, receive, lambda _: message, keep, keeps_budget=True)
            return answers[0]

        return call

    async def _fetched(self, url: str) -> tuple[bytes, str]:
        """Return what stands at an address. Raises LimitExceeded while so many are being fetched."""
        if self._fetching.locked():
            told = "the server is fetching other files; retry in a moment, or send the file"
            raise LimitExceeded(told, retry_after=1.0)
        async with self._fetching:
            return await asyncio.to_thread(self._fetch, url)

    async def _say(self, request: HTTPRequest, answer: PartnerAnswer) -> None:
        await request.drain()
        headers = ((b"content-type", answer.media_type.encode()), *_COMMON, *answer.headers)
        await request.answer(answer.status, headers, answer.body if request.verb != "HEAD" else b"")


def _scheme(request: HTTPRequest) -> str:
    """Return by what a client reaches the listener: a proxy in front that ends TLS says so. It tells only the client
    itself.
    """
    return "https" if request.header(b"x-forwarded-proto").lower() == "https" else "http"


def _check_local(request: HTTPRequest) -> None:
    """Raise PermissionDenied for what a web page could send through a browser on this machine, by its own name or by
    one of its own that is said to be this machine's address. Programs name this machine, and send no Origin.
    """
    host = request.header(b"host")
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    is_unix = request.describe() == _UNIX
    if request.header(b"origin") or not (is_unix or is_loopback_host(name.strip("[]").lower())):
        told = "this address takes programs on this machine: call it as 127.0.0.1 or localhost, and not from a web page"
        raise PermissionDenied(told)


def bind_hma(config: Config) -> socket.socket:
    """Return the bound socket of `listen_hma`. Raises FailedPrecondition where it cannot be taken."""
    address = config.listen_hma
    if not address.startswith(_UNIX):
        return bind("listen_hma", address, shared=config.workers > 1)
    path = Path(address.removeprefix(_UNIX))
    with suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode) and not _is_answered(path):
            path.unlink()  # of a hub that ended without a word
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(_SOCKET_MODE)  # before anybody can connect: it is not listened on yet
    except OSError as e:
        bound.close()
        raise taken("listen_hma", address) from e
    return bound


def unlink_hma(config: Config) -> None:
    """Take the name of a socket away that is listened on no more."""
    if config.listen_hma.startswith(_UNIX):
        with suppress(OSError):
            Path(config.listen_hma.removeprefix(_UNIX)).unlink()


def shown_hma(listener: socket.socket) -> str:
    """Return the address that a bound socket has."""
    if listener.family == socket.AF_UNIX:
        return f"{_UNIX}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return shown(host, port)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
