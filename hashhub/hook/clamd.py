"""A clamd server for products that have uploads scanned by ClamAV; the real clamd can stand behind it.

    a client ── INSTREAM, in chunks ──┬── the hook's decision, recorded before it is answered ──┬── FOUND, OK or ERROR
                                      └── the real clamd (`clamd_chain`), of the whole upload ──┘

Products delete and notify on FOUND, so the upload is decided over and kept before any answer; what could not be kept is
answered with ERROR. Of clamd(8)'s protocol in ClamAV 1.4, commands that read paths, take descriptors, reload or shut
down are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hashhub import __version__
from hashhub.addresses import bind, shown, taken
from hashhub.client import is_loopback
from hashhub.desk.decision import Action, Decision
from hashhub.desk.records import Records
from hashhub.errors import HashHubError, InvalidArgument
from hashhub.hook.clamd_chain import LENGTH, Chain, ChainAnswer, ChainScan, ReplyKind
from hashhub.hook.core import START_SECONDS
from hashhub.hook.settings import HeldStream, WithoutClamd

if TYPE_CHECKING:
    from hashhub.hook.core import Hook, Upload
    from hashhub.hook.hashing import Piece

_log = logging.getLogger("hashhub.hook")

DOOR: Final = "clamd"
SIGNATURE: Final = "Hashhub.Policy.Hold-"  # and the reference; the same for every cause, since uploaders are shown it

_READ_BYTES: Final = 1 << 16
_PIECE_BYTES: Final = 1 << 18  # chunks are gathered to this: some clients send 1 KiB each
_MOST_COMMAND: Final = 4096 + 32  # bytes: a path and its command
_SESSION_SCANS: Final = 4  # of one session that are decided over while the next is received
_WRITERS: Final = 4
SEND_SECONDS: Final = 30.0  # for a client to take an answer
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1 << 24
_BACKLOG: Final = 512
BEHIND_SECONDS: Final = 3.0  # so far behind a client is cut off while others wait for its place
_LEAST_BYTES_A_SECOND: Final = 8192  # of a stream that never falls behind
SLOW_SECONDS: Final = 3.0  # for which a client was waited for in one stream, after which it is slow
_PLACE_SECONDS: Final = 0.02  # between looks who is behind
_FULL_SECONDS: Final = 0.1  # before connections are accepted again when there are no descriptors left
_LOOK_SECONDS: Final = 1.0
END_SECONDS: Final = 20.0  # for uploads that are decided over when the door is closed

_COMMANDS: Final = ("PING", "VERSION", "VERSIONCOMMANDS", "STATS", "INSTREAM", "IDSESSION", "END")
_PATHS: Final = ("SCAN", "CONTSCAN", "MULTISCAN", "ALLMATCHSCAN")
_REFUSED: Final = ("FILDES", "RELOAD", "SHUTDOWN")
_BARE: Final = ("PING", "VERSION", "RELOAD", "SHUTDOWN")  # understood without a prefix, and without a line's end
_NOT_IN_SESSION: Final = frozenset({"IDSESSION", "RELOAD", "SHUTDOWN", "CONTSCAN", "MULTISCAN", "ALLMATCHSCAN"})

_UNKNOWN: Final = b"UNKNOWN COMMAND"
_SIZE_LIMIT: Final = b"INSTREAM size limit exceeded. ERROR"  # to the letter: clients compare it
_COMMAND_TIMED_OUT: Final = b"COMMAND READ TIMED OUT"
_STREAM_TIMED_OUT: Final = b"INSTREAM read timed out. ERROR"
_NO_ANSWER: Final = b"stream: no answer can be given now, the log of hashhub hook clamd says why. ERROR"
_COUNT_TOO_LONG: Final = (
    "INSERT INTO tally VALUES (date('now'), 'clamd', 'REFUSED', 'UNAVAILABLE', 'TOO_LARGE', 1) "
    "ON CONFLICT DO UPDATE SET count = count + 1"
)
_SCANNER_AWAY: Final = b"stream: the virus scanner does not answer. ERROR"


class _Command(NamedTuple):
    name: str  # empty: unknown
    argument: bytes
    end: bytes  # of the command, and of its answer
    is_prefixed: bool


class SizeLimitError(Exception):
    """A stream would become longer than is taken."""


class _NotTakenError(Exception):
    """An upload could not be received: there is no room for it."""


class ClientWait:
    """For how long one connection's client is waited for. While others wait for a place, who is behind by
    `BEHIND_SECONDS` is cut off, and so is the slowest where those who are slow have more than their share of the
    places.
    """

    def __init__(self) -> None:
        self._since: dict[asyncio.Timeout, float] = {}
        self._debt = 0.0
        self._come = 0  # bytes that ended this wait
        self._waited = 0.0  # seconds, in this stream
        self._received = 0  # bytes, in this stream
        self._owed = 0
        self.is_cut_off = False

    @contextlib.asynccontextmanager
    async def up_to(self, seconds: float) -> AsyncIterator[None]:
        """Wait for the client within this. Raises TimeoutError after so many seconds, or when it is cut off."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0 if self.is_cut_off else seconds) as patience:
            self._since[patience] = loop.time()
            try:
                yield
            finally:
                began = self._since.pop(patience)
                if not self._owed:
                    self._waited += loop.time() - began
                    self._debt = min(BEHIND_SECONDS, self._debt + loop.time() - began)
                self._debt = max(0.0, self._debt - self._come / _LEAST_BYTES_A_SECOND)
                self._come = 0

    def came(self, count: int) -> None:
        """Count bytes for which the client was waited for."""
        self._come += count
        self._received += count

    def begin_stream(self) -> None:
        """Count from here on how long the client is waited for."""
        self._waited, self._received = 0.0, 0

    @contextlib.contextmanager
    def owing(self) -> Iterator[None]:
        """Within this the client waits for an answer, and not the door for the client."""
        self._owed += 1
        try:
            yield
        finally:
            self._owed -= 1
            at = asyncio.get_running_loop().time()
            self._since = dict.fromkeys(self._since, at)

    def behind(self, at: float) -> float:
        """Return by how many seconds the client is behind; 0 while nothing is waited for."""
        if self._owed or not self._since:
            return 0.0
        return self._debt + at - min(self._since.values())

    def waited(self, at: float) -> float:
        """Return for how many seconds the client was waited for in this stream; 0 while it is waited for no more."""
        if self._owed or not self._since:
            return 0.0
        return self._waited + at - min(self._since.values())

    def rate(self, at: float) -> float:
        """Return how many bytes came for each second in which they were waited for."""
        return self._received / max(self.waited(at), 1e-9)

    def cut_off(self) -> None:
        """End all that is waited for."""
        self.is_cut_off = True
        for patience in self._since:
            patience.reschedule(asyncio.get_running_loop().time())


class IncomingCommands:
    """What a client sends: commands, and streams between them. At most 200 KiB wait in memory. Raises TimeoutError,
    EOFError where the client is gone, SizeLimitError, OSError.
    """

    def __init__(self, reader: asyncio.StreamReader, waits: ClientWait | None = None) -> None:
        self._reader = reader
        self._waits = waits or ClientWait()
        self._buffer = bytearray()

    async def _more(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        if not data:
            raise EOFError
        self._waits.came(len(data))
        self._buffer += data

    async def command(self, seconds: float) -> _Command:
        """Return the next command, which must be there in so many seconds."""
        async with self._waits.up_to(seconds):
            if not self._buffer:
                await self._more()
            end = {ord("z"): b"\0", ord("n"): b"\n"}.get(self._buffer[0])
            while True:
                where = self._buffer.find(end or b"\n")
                if where >= 0:
                    line = bytes(self._buffer[:where])
                    del self._buffer[: where + 1]
                    return _command(line[1:] if end else line, end)
                if len(self._buffer) > _MOST_COMMAND:
                    return _Command("", b"", end or b"\n", end is not None)
                if end is None and not _may_go_on(bytes(self._buffer)):
                    line = bytes(self._buffer)
                    self._buffer.clear()
                    return _command(line, None)
                await self._more()

    async def pieces(self, most: int, seconds: float) -> AsyncIterator[bytes]:
        """Yield a stream's bytes, its chunks gathered. `most`: bytes. `seconds`: for the next ones to come."""
        self._waits.begin_stream()
        rest = most
        gathered = bytearray()
        left = 0  # of the chunk in hand
        while True:
            # All that is there in one go, into one buffer: kept apart, chunks of two bytes take 60 times their memory.
            at, end = 0, len(self._buffer)
            while at < end:
                if left:
                    count = min(left, end - at)
                    gathered += self._buffer[at : at + count]
                    at += count
                    left -= count
                    continue
                if end - at < LENGTH.size:
                    break
                left = LENGTH.unpack_from(self._buffer, at)[0]
                at += LENGTH.size
                if not left:
                    del self._buffer[:at]
                    if gathered:
                        yield bytes(gathered)
                    return
                if left > rest:
                    raise SizeLimitError
                rest -= left
            del self._buffer[:at]
            if len(gathered) >= _PIECE_BYTES:
                yield bytes(gathered)
                gathered.clear()
            async with self._waits.up_to(seconds):
                await self._more()

    async def discard(self) -> None:
        """Read what a client still sends: a connection closed over unread bytes is reset, and its answer is lost."""
        self._buffer.clear()
        with contextlib.suppress(OSError):
            async with self._waits.up_to(_LINGER_SECONDS):
                left = _LINGER_BYTES
                while left > 0 and (data := await self._reader.read(_READ_BYTES)):
                    left -= len(data)


def _command(line: bytes, end: bytes | None) -> _Command:
    """Return a command from its line without prefix. `end`: None if it had none."""
    line = line.rstrip(b"\r\n")
    word, space, argument = line.partition(b" ")
    name = word.decode("ascii", "replace")
    bare = name in _BARE if end is None else name in _COMMANDS or name in _REFUSED
    is_known = bool(argument) if name in _PATHS else bare and not space
    return _Command(name if is_known else "", argument, end or b"\n", end is not None)


def _may_go_on(begun: bytes) -> bool:
    """Whether a command without prefix and line's end is incomplete: old clients send `PING` and nothing else."""
    names = [name.encode() for name in _BARE] + [name.encode() + b" " for name in _PATHS]
    return begun.decode("ascii", "replace") not in _BARE and any(name.startswith(begun) for name in names)


class _Client:
    """A client's connection, and what it is answered."""

    def __init__(self, writer: asyncio.StreamWriter, waits: ClientWait) -> None:
        self._writer = writer
        self._waits = waits
        writer.transport.set_write_buffer_limits(high=0)  # an answer is waited for until the system has all of it

    async def say(self, text: bytes, end: bytes, *, number: int = 0) -> None:
        """Send an answer. `number`: of the command in its session. Raises OSError when the client does not take it."""
        self._writer.write((b"%d: " % number if number else b"") + text + end)
        async with self._waits.up_to(SEND_SECONDS):
            await self._writer.drain()

    def end(self) -> None:
        """Say that nothing further comes."""
        with contextlib.suppress(OSError):
            if self._writer.can_write_eof():
                self._writer.write_eof()

    def close(self) -> None:
        """Close the connection, with what its client does not take: else both stay for as long as it likes."""
        if self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        else:
            self._writer.close()


class ClamdDoor:
    """Serves clients until it is told to stop. Belongs to one event loop; the hook works in threads."""

    def __init__(self, hook: Hook) -> None:
        """Raises InvalidArgument for unsafe settings, HashHubError when the hook's records cannot be used."""
        self._hook = hook
        self._settings = settings = hook.settings.clamd
        _check(settings.chained, settings.listen, settings.socket, may_leave=settings.beyond_this_machine)
        self._chain = Chain(settings.chained, seconds=settings.chained_seconds) if settings.is_chained else None
        self._records = Records(Path(hook.settings.data))
        # As many as the hook takes at once: further uploads wait here, rather than be without an answer for it.
        self._deciders = ThreadPoolExecutor(hook.settings.max_waiting, thread_name_prefix="clamd-decide")
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="clamd-write")
        self._places = asyncio.Semaphore(settings.connections)
        self._conversations: dict[asyncio.Task[None], ClientWait] = {}
        self._received = 0  # uploads that wait or are decided over
        self._is_idle = asyncio.Event()  # set while there are none
        self._is_idle.set()

    # The connections

    async def serve(self, on_ready: Callable[[str, str], None], stop: asyncio.Event) -> None:
        """Listen until `stop`, then end. `on_ready`: given HOST:PORT and the socket. Raises FailedPrecondition."""
        with contextlib.ExitStack() as listening:
            listeners: list[socket.socket] = []
            address = ""
            if self._settings.listen:
                listener = listening.enter_context(bind("clamd.listen", self._settings.listen))
                listener.listen(_BACKLOG)
                listener.setblocking(False)
                listeners.append(listener)
                address = shown(*listener.getsockname()[:2])
            if self._settings.socket:
                listeners.append(
                    listening.enter_context(_unix(self._settings.socket, int(self._settings.socket_mode, 8)))
                )
            if self._chain is None:
                _log.warning("clamd: there is no real clamd behind this door: nobody looks for viruses")
            elif not await self._chain.version():
                _log.warning("clamd: the real clamd does not answer; uploads are answered as without_clamd says")
            on_ready(address, self._settings.socket)
            accepting = [asyncio.create_task(self._accept(listener)) for listener in listeners]
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait([*accepting, stopping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*accepting, stopping):
                    task.cancel()
                await asyncio.gather(*accepting, stopping, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._is_idle.wait()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    def close(self) -> None:
        """Let go of threads and records. The hook stays open."""
        self._deciders.shutdown(cancel_futures=True)
        self._writers.shutdown()
        self._records.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as e:  # no descriptors left, or the client is gone already
                _log.warning("clamd: a connection could not be accepted: %s", e.strerror)
                await asyncio.sleep(_FULL_SECONDS)
                continue
            try:
                await self._place()  # those beyond wait in the system's queue, as at clamd
            except BaseException:
                connection.close()
                raise
            waits = ClientWait()
            conversation = asyncio.create_task(self._converse(connection, waits))
            self._conversations[conversation] = waits
            conversation.add_done_callback(self._ended)

    async def _place(self) -> None:
        """Take a place; where there is none, that of whoever is behind most, or slowest."""
        while self._places.locked():
            at = asyncio.get_running_loop().time()
            begun = [waits for waits in self._conversations.values() if not waits.is_cut_off]
            last = max(begun, key=lambda waits: waits.behind(at), default=None)
            if last is not None and last.behind(at) >= BEHIND_SECONDS:
                last.cut_off()
            elif slowest := slowest_beyond_share(self._conversations.values(), self._settings.connections, at):
                slowest.cut_off()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PLACE_SECONDS):
                    await self._places.acquire()
                    return
        await self._places.acquire()  # at once

    def _ended(self, conversation: asyncio.Task[None]) -> None:
        del self._conversations[conversation]
        self._places.release()
        if not conversation.cancelled() and (error := conversation.exception()) is not None:
            _log.error("clamd: a connection ended by an error of ours", exc_info=error)

    async def _converse(self, connection: socket.socket, waits: ClientWait) -> None:
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:
            connection.close()
            return
        client = _Client(asyncio.StreamWriter(transport, protocol, reader, loop), waits)
        incoming = IncomingCommands(reader, waits)
        try:
            try:
                command = await incoming.command(self._settings.command_seconds)
            except TimeoutError:
                await client.say(_COMMAND_TIMED_OUT, b"\n")
            else:
                await self._obey(command, incoming, client, waits)
            client.end()
            await incoming.discard()
        except (OSError, EOFError):
            pass  # the client is gone
        finally:
            client.close()

    async def _obey(self, command: _Command, incoming: IncomingCommands, client: _Client, waits: ClientWait) -> None:
        """Carry the one command of a connection out."""
        if command.name == "IDSESSION":
            await self._session(incoming, client, waits)
        elif command.name == "INSTREAM":
            try:
                upload, scan = await self._receive(incoming)
            except (TimeoutError, SizeLimitError, _NotTakenError) as e:
                await client.say(_not_received(e), command.end)
            else:
                await client.say(await self._answer(upload, scan), command.end)
        else:
            await client.say(await self._said(command), command.end)

    async def _session(self, incoming: IncomingCommands, client: _Client, waits: ClientWait) -> None:
        """Carry a session's commands out. An answer bears its command's number and comes when it is there."""
        room = asyncio.Semaphore(_SESSION_SCANS)
        answering: set[asyncio.Task[None]] = set()

        async def answer(upload: Upload, scan: ChainScan | None, end: bytes, number: int) -> None:
            try:
                with waits.owing():
                    text = await self._answer(upload, scan)
                with contextlib.suppress(OSError):  # gone; the next command, or its lack, ends the session
                    await client.say(text, end, number=number)
            finally:
                room.release()

        number = 0
        end = b"\n"
        try:
            while True:
                try:
                    command = await incoming.command(self._settings.read_seconds)
                except TimeoutError:
                    await client.say(_COMMAND_TIMED_OUT, end)
                    break
                end = command.end
                if command.name == "END":
                    break
                number += 1
                if command.name in _NOT_IN_SESSION or not command.name or not command.is_prefixed:
                    await client.say(b"Command invalid inside IDSESSION. ERROR", end, number=number)
                    break
                if command.name != "INSTREAM":
                    await client.say(await self._said(command), end, number=number)
                    if command.name in _REFUSED:
                        break
                    continue
                await room.acquire()
                try:
                    upload, scan = await self._receive(incoming)
                except BaseException as e:
                    room.release()
                    if isinstance(e, TimeoutError | SizeLimitError | _NotTakenError):
                        await client.say(_not_received(e), end, number=number)
                        break
                    raise
                task = asyncio.create_task(answer(upload, scan, end, number))
                answering.add(task)
                task.add_done_callback(answering.discard)
        except asyncio.CancelledError:  # the door is closed, and the real clamd may be silent for minutes
            for task in answering:
                task.cancel()
            raise
        finally:
            if answering:
                await asyncio.gather(*answering)

    # The commands

    async def _said(self, command: _Command) -> bytes:
        """Return the answer to a command that is not about a stream."""
        if command.name == "PING":
            return b"PONG"
        if command.name == "VERSION":
            return (await self._version()).encode()
        if command.name == "VERSIONCOMMANDS":
            return f"{await self._version()}| COMMANDS: {' '.join(_COMMANDS)}".encode()
        if command.name == "STATS":
            return self._stats().encode()
        if command.name in _PATHS:
            path = re.sub(rb"[\0-\x1f\x7f:]", b"?", command.argument)  # some clients split at the last colon
            return path + b": paths are not read here, send the bytes with INSTREAM. ERROR"
        if command.name == "FILDES":
            return b"FILDES is not accepted here, send the bytes with INSTREAM. ERROR"
        if command.name in _REFUSED:
            return f"{command.name} is not done for clients, only on the machine itself. ERROR".encode()
        return _UNKNOWN

    async def _version(self) -> str:
        """Return the real clamd's, or ours, which has clamd's three parts: some clients refuse another number."""
        if self._chain is None:
            return f"hashhub {__version__}/0/nobody looks for viruses"
        if version := await self._chain.version():
            return version
        if self._settings.without_clamd == WithoutClamd.HASHHUB_ONLY:
            return f"hashhub {__version__}/0/the virus scanner does not answer"
        return "the virus scanner does not answer. ERROR"

    def _stats(self) -> str:
        """Return what is going on, in clamd's form. The memory is the whole process's, and not told."""
        most = self._hook.settings.max_waiting
        live = min(self._received, most)
        return (
            "POOLS: 1\n\nSTATE: VALID PRIMARY\n"
            f"THREADS: live {live}  idle {most - live} max {most} idle-timeout 0\n"
            f"QUEUE: {self._received - live} items\n\n"
            "MEMSTATS: heap N/A mmap N/A used N/A free N/A releasable N/A pools 0 pools_used N/A pools_total N/A\n"
            "END"
        )

    # The streams

    async def _receive(self, incoming: IncomingCommands) -> tuple[Upload, ChainScan | None]:
        """Return an upload, and what the real clamd was given of it, where not all is kept. Raises TimeoutError,
        SizeLimitError, _NotTakenError, and what a client that is gone raises.
        """
        loop = asyncio.get_running_loop()
        try:
            upload = self._hook.receive(door=DOOR)
        except (HashHubError, OSError) as e:
            _log.error("clamd: an upload could not be received: %s", e)
            raise _NotTakenError from e
        scan: ChainScan | None = None
        try:
            async with asyncio.timeout(self._settings.stream_seconds):
                async for piece in incoming.pieces(self._settings.stream_max_length, self._settings.read_seconds):
                    if self._chain is not None and scan is None and not upload.reserve(len(piece)):
                        with upload.read_back() as content:  # which this piece displaces
                            scan = await self._pass_on(self._chain, content)
                    writing = loop.run_in_executor(self._writers, _write, upload, piece)
                    try:
                        if scan is not None:
                            await scan.write(piece)
                    finally:
                        await _to_the_end(writing)
        except BaseException as e:
            upload.close()
            if scan is not None:
                scan.close()
            if isinstance(e, SizeLimitError):
                await self._note_too_long()
            raise
        return upload, scan

    async def _note_too_long(self) -> None:
        """Report a stream that is longer than is taken: nobody has looked at it, and its client is told so."""
        _log.warning(
            "clamd: a stream of more than %d bytes was refused (stream_max_length): nobody has looked at it",
            self._settings.stream_max_length,
        )
        try:
            await asyncio.get_running_loop().run_in_executor(self._writers, self._records.write, _COUNT_TOO_LONG)
        except HashHubError as e:
            _log.error("clamd: the refusal could not be counted: %s", e.message)

    async def _answer(self, upload: Upload, scan: ChainScan | None) -> bytes:
        """Return what an upload is answered with, once it has been decided over and recorded."""
        self._received += 1
        self._is_idle.clear()
        try:
            with upload.read_back() as content:
                return await self._answer_to(upload, content, scan)
        finally:
            self._received -= 1
            if not self._received:
                self._is_idle.set()

    async def _answer_to(self, upload: Upload, content: Iterator[Piece], scan: ChainScan | None) -> bytes:
        """Have an upload decided over while it goes on to the real clamd, unless that has it already."""
        deciding = self._deciders.submit(_decide, upload)
        try:
            if self._chain is not None and scan is None:
                scan = await self._pass_on(self._chain, content)
            chained = await scan.answer() if scan is not None else None
            decision = await asyncio.shield(asyncio.wrap_future(deciding))
        except asyncio.CancelledError:
            if deciding.cancel():  # else it is decided over and recorded, and nobody is told
                upload.close()
            raise
        except Exception as e:  # noqa: BLE001 - whatever went wrong, the upload is neither clean nor kept
            _log.error("clamd: an upload could not be decided over: %s", e, exc_info=not isinstance(e, HashHubError))
            return _NO_ANSWER
        return self._joined(decision, chained)

    async def _pass_on(self, chain: Chain, content: Iterator[Piece]) -> ChainScan:
        """Begin a stream to the real clamd with what is kept of an upload. Raises _NotTakenError."""
        scan = await chain.scan()
        try:
            for piece in content:
                if not await scan.write(piece):
                    break
        except BaseException as e:
            scan.close()
            if isinstance(e, OSError):
                _log.error("clamd: an upload could not be read back: %s", e)
                raise _NotTakenError from e
            raise
        return scan

    def _joined(self, decision: Decision, chained: ChainAnswer | None) -> bytes:
        """Return the one answer that both make."""
        if not decision.is_kept:
            _log.error("clamd: ERROR, nothing could be kept of an upload: reference=%s", decision.reference)
            return _NO_ANSWER
        if chained is not None and chained.kind is ReplyKind.FOUND:
            _log.info("clamd: the real clamd found something: reference=%s %r", decision.reference, chained.text)
            return chained.text
        if decision.action is not Action.ALLOW:
            is_error = decision.action is Action.HOLD and self._settings.on_hold == HeldStream.ERROR
            status = "ERROR" if is_error else "FOUND"
            _log.info("clamd: %s %s reference=%s", decision.action, status, decision.reference)
            return f"stream: {SIGNATURE}{decision.reference} {status}".encode()
        if chained is not None and chained.kind is ReplyKind.ERROR:
            _log.warning("clamd: the real clamd answered an error: %r", chained.text)
            return chained.text
        if chained is not None and chained.kind is ReplyKind.AWAY:
            if self._settings.without_clamd == WithoutClamd.HASHHUB_ONLY:
                _log.warning("clamd: OK without the real clamd: reference=%s", decision.reference)
                return b"stream: OK"
            return _SCANNER_AWAY
        return b"stream: OK"


def serve(hook: Hook, on_ready: Callable[[str, str], None]) -> None:
    """Serve clients until SIGTERM or SIGINT. Raises HashHubError when the door cannot be opened."""
    hook.start(wait_seconds=START_SECONDS)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        door = ClamdDoor(hook)
        try:
            await door.serve(on_ready, stop)
        finally:
            door.close()

    asyncio.run(run())


def slowest_beyond_share(conversations: Iterable[ClientWait], places: int, at: float) -> ClientWait | None:
    """Return who has sent least in its time, where those who are slow have more than half of the places: a few hundred
    that are just fast enough would keep everybody out.
    """
    slow = [waits for waits in conversations if not waits.is_cut_off and waits.waited(at) >= SLOW_SECONDS]
    return min(slow, key=lambda waits: waits.rate(at)) if len(slow) > max(1, places // 2) else None


def _decide(upload: Upload) -> Decision:
    with upload:
        return upload.decide()


def _write(upload: Upload, piece: bytes) -> None:
    try:
        upload.write(piece)
    except (HashHubError, OSError) as e:
        _log.error("clamd: there is no room for an upload: %s", e)
        raise _NotTakenError from e


async def _to_the_end(writing: Awaitable[None]) -> None:
    """Wait for a thread's work even where the waiting is cancelled: the upload must not be closed below it."""
    future = asyncio.ensure_future(writing)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def _not_received(error: Exception) -> bytes:
    if isinstance(error, SizeLimitError):
        return _SIZE_LIMIT
    return _STREAM_TIMED_OUT if isinstance(error, TimeoutError) else _NO_ANSWER


def _check(chained: str, listen: str, path: str, *, may_leave: bool) -> None:
    """Raise InvalidArgument for settings with which the door must not open."""
    if not chained:
        raise InvalidArgument.field(
            "clamd.chained",
            "must be the real clamd's HOST:PORT or socket; or `none`, and then nobody looks for viruses",
            "REQUIRED",
        )
    if not listen and not path:
        raise InvalidArgument.field("clamd.listen", "or clamd.socket must say where clients come in", "REQUIRED")
    if listen and not may_leave and not is_loopback(listen):
        raise InvalidArgument.field(
            "clamd.listen",
            f"is {listen}, which other machines reach: nothing is encrypted and anybody may ask; choose 127.0.0.1, or "
            "set clamd.beyond_this_machine where only your own network reaches it",
            "NOT_ALLOWED",
        )


@contextlib.contextmanager
def _unix(path: str, mode: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            _remove_stale(path)
            before = os.umask(0o777 & ~mode)
            try:
                listener.bind(path)
            finally:
                os.umask(before)
            listener.listen(_BACKLOG)
        except OSError as e:
            raise taken("clamd.socket", path) from e
        listener.setblocking(False)
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                Path(path).unlink()


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more; another file, or one in use, stays and is in the way."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(_LOOK_SECONDS)  # one that is too busy to take a connection is in use, too
            try:
                asked.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
