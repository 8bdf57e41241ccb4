"""What a hostile or careless caller sends to a hub, and what it is told: scenes for `bench.day`.

Each scene sends everything at once or as fast as it is taken, for at most `seconds`, and then leaves, whether or not it
was answered. It returns what it sent and a count of answers: status codes of gRPC and HTTP, verdicts of media that were
answered, CLOSED for a connection that the hub closed without a word, NONE for what got no answer in time.
"""

from __future__ import annotations

import hashlib
import io
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, cast

import grpc

from bench.prober import bearer, connected, unary
from hashhub import v1, wire
from hashhub.client import Client
from hashhub.client.connection import Connection
from hashhub.client.transport import Transport
from hashhub.model import HashSet, MatchOptions
from hashhub.testing.pictures import picture

_MIB: Final = 1024 * 1024
_MATCH_MEDIA: Final = "MatchService/MatchMedia"
_PATH: Final = b"/hashhub.v1.MatchService/MatchHashes"
_CONNECTIONS: Final = 4  # of one caller; the kernel deals them to the workers
_BATCH: Final = 2_000  # records in a message


class Target(NamedTuple):
    """A hub, the tokens of those who attack it and of somebody who does not.

    seconds: how long each stays. share: of the full sizes, 0 to 1.
    """

    address: str
    http: str
    consumer: str
    contributor: str
    bystander: str
    seconds: float
    share: float

    def scaled(self, full: int) -> int:
        """Return a number at this run's share, at least one."""
        return max(1, round(full * self.share))


Facts = dict[str, Any]


def empty_queries(target: Target, mib: int) -> Facts:
    """One message with as many empty queries as fit, two bytes each."""
    body = b"\x0a\x00" * target.scaled(mib * _MIB // 2)
    with _channels(target.address, 1) as [channel]:
        send = partial(unary(channel, "MatchService/BatchMatchHashes").future, metadata=bearer(target.consumer))
        return {"messages": 1, "message_mib": len(body) / _MIB} | _outcomes([send(body, timeout=target.seconds)])


def repeated_scans(target: Target) -> Facts:
    """One progressive JPEG with a scan repeated 3,000 times on each of two connections, and somebody who matches an
    ordinary picture meanwhile.
    """
    jpeg = many_scans(target.scaled(3_000))
    with _channels(target.address, _CONNECTIONS) as channels:
        futures = [_media(channel, target.consumer, jpeg, target.seconds) for channel in channels[:2]]
        time.sleep(min(0.5, target.seconds / 4))
        begun = time.monotonic()
        ordinary = _outcomes([_media(channels[2], target.bystander, _ordinary(), target.seconds)], _verdict)
        waited = time.monotonic() - begun
        facts = {"messages": 2, "message_mib": len(jpeg) / _MIB, **_outcomes(futures, _verdict)}
        return facts | {"ordinary_picture_seconds": waited, "ordinary_picture": ordinary["answers"]}


def abandoned_scans(target: Target) -> Facts:
    """Two larger ones, whose sender leaves soon."""
    jpeg = many_scans(target.scaled(45_000))
    with _channels(target.address, 2) as channels:
        futures = [_media(channel, target.consumer, jpeg, target.seconds) for channel in channels]
        time.sleep(min(2.0, target.seconds / 4))
        for future in futures:
            future.cancel()
        return {"messages": 2, "message_mib": len(jpeg) / _MIB} | _outcomes(futures, _verdict)


def many_media(target: Target) -> Facts:
    """256 calls with an ordinary picture at once."""
    jpeg = _ordinary()
    calls = target.scaled(256)
    with _channels(target.address, _CONNECTIONS) as channels:
        futures = [_media(channels[n % _CONNECTIONS], target.consumer, jpeg, target.seconds) for n in range(calls)]
        return {"messages": calls, "message_mib": len(jpeg) / _MIB} | _outcomes(futures, _verdict)


def staged(target: Target, operator: Client, contributor: str) -> list[str]:
    """Stage 18 imports of 20,000 records, each into a hash set of its own, and return their names."""
    names = []
    randomly = random.Random("hostile")
    with closing(_patient(target)) as transport:
        for number in range(target.scaled(18)):
            operator.create_hash_set(HashSet(contributor=contributor, id=f"crowd-{number}"))
            opening = v1.CreateImportRequest(parent=wire.hash_set_name(contributor, f"crowd-{number}"))
            source = hashlib.sha256(f"crowd {number}".encode()).hexdigest()
            getattr(opening, "import").MergeFrom(
                v1.Import(connector="bench", connector_version="1", source_digest=source)
            )
            name = transport.call(opening).name
            for index in range(target.scaled(20_000 // _BATCH)):
                records = [
                    v1.Record(
                        position=f"{index}.{n}",
                        action=v1.Action.ACTION_CONTRIBUTE,
                        hashes=[v1.Hash(algorithm="MD5", digest=randomly.randbytes(16))],
                    )
                    for n in range(_BATCH)
                ]
                batch = v1.AddRecordsRequest(name=name, batch_index=index, records=records)
                transport.call(batch)
            names.append(name)
    return names


def commits(target: Target, imports: Sequence[str]) -> Facts:
    """All staged imports committed at once."""
    batches = target.scaled(20_000 // _BATCH)
    with _channels(target.address, _CONNECTIONS) as channels:
        calls = [unary(channel, "ContributionService/CommitImport") for channel in channels]
        futures = [
            calls[n % _CONNECTIONS].future(
                v1.CommitImportRequest(name=name, batch_count=batches).SerializeToString(),
                metadata=bearer(target.contributor),
                timeout=target.seconds,
            )
            for n, name in enumerate(imports)
        ]
        return {"messages": len(imports), "records": batches * _BATCH} | _outcomes(futures)


def large_bodies(target: Target) -> Facts:
    """30 HTTP requests of 42 MB at once, by nobody who is known here."""
    length = target.scaled(42_000_000)
    count = target.scaled(30)
    with ThreadPoolExecutor(count) as pool:
        answers = Counter(pool.map(lambda _: _post(target, length), range(count)))
    return {"messages": count, "message_mib": length / _MIB, "answers": dict(answers)}


def slow_headers(target: Target) -> Facts:
    """256 HTTP connections on which a byte of a header comes each second, by nobody who is known here."""
    line = b"POST " + _PATH + b" HTTP/1.1\r\nHost: x\r\nX-Slow: "
    until = time.monotonic() + target.seconds
    answers: Counter[str] = Counter()
    connections: list[socket.socket] = []
    try:
        for _ in range(target.scaled(256)):
            left = until - time.monotonic()
            try:
                connections.append(socket.create_connection(_place(target.http), timeout=max(0.01, min(1.0, left))))
            except OSError:
                answers["NOT CONNECTED"] += 1
        alive = list(connections)
        for sent in range(10_000):
            byte = line[sent : sent + 1] or b"x"
            alive = [connection for connection in alive if _is_alive(connection, byte, answers)]
            left = until - time.monotonic()
            if left <= 0 or not alive:
                break
            time.sleep(min(1.0, left))
        answers["NONE"] += len(alive)
    finally:
        for connection in connections:
            connection.close()
    return {"messages": target.scaled(256), "answers": dict(+answers)}


def many_scans(count: int) -> bytes:
    """Return a progressive JPEG of an even picture of four megapixels whose last scan stands there so often."""
    even = picture(3, (16, 16)).resize((1, 1)).resize((2_000, 2_000))
    encoded = io.BytesIO()
    even.save(encoded, "JPEG", progressive=True, quality=80)
    jpeg = encoded.getvalue()
    begin = jpeg.rindex(b"\xff\xda")  # a scan's data has no marker in it: FF is followed by 00 there
    end = jpeg.rindex(b"\xff\xd9")
    return jpeg[:end] + jpeg[begin:end] * (count - 1) + jpeg[end:]


def _ordinary() -> bytes:
    encoded = io.BytesIO()
    picture(5, (512, 384)).resize((1_600, 1_200)).save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def _media(channel: grpc.Channel, token: str, content: bytes, seconds: float) -> grpc.Future[bytes]:
    request = v1.MatchMediaRequest(
        media=v1.Media(content=content), options=wire.options_to_pb(MatchOptions(policy="any"))
    )
    future: grpc.Future[bytes] = unary(channel, _MATCH_MEDIA).future(
        request.SerializeToString(), metadata=bearer(token), timeout=seconds
    )
    return future


@contextmanager
def _channels(address: str, count: int) -> Iterator[list[grpc.Channel]]:
    channels = [connected(address) for _ in range(count)]
    try:
        yield channels
    finally:
        for channel in channels:
            channel.close()


def _patient(target: Target) -> Transport:
    """Return the contributor's way to send what comes before a scene, however busy the hub still is."""
    return Transport(
        Connection(
            target.address, target.contributor, tls=False, ca_certificates=None, timeout=20.0, retry_seconds=60.0
        )
    )


def _outcomes(
    futures: Sequence[grpc.Future[bytes]], word: Callable[[bytes], str] = lambda _: "OK"
) -> dict[str, dict[str, int]]:
    """Wait for calls to end, and count their statuses. word: what an answer counts as."""
    answers: Counter[str] = Counter()
    for future in futures:
        try:
            answers[word(future.result())] += 1
        except grpc.FutureCancelledError:
            answers["CANCELLED"] += 1
        except grpc.RpcError as e:
            code = cast("grpc.Call", e).code().name
            answers["NONE" if code == "DEADLINE_EXCEEDED" else code] += 1
    return {"answers": dict(answers)}


def _verdict(answer: bytes) -> str:
    verdict = v1.MatchMediaResponse.FromString(answer).result.result.verdict
    return f"OK {v1.Verdict.Name(verdict).removeprefix('VERDICT_')}"


def _place(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


def _post(target: Target, length: int) -> str:
    """Send a body of so many spaces, and return the answer's status."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    until = time.monotonic() + target.seconds
    piece = b" " * _MIB
    try:
        with socket.create_connection(_place(target.http), timeout=target.seconds) as connection:
            try:
                connection.sendall(head % (_PATH, length))
                for start in range(0, length, len(piece)):
                    connection.settimeout(max(0.1, until - time.monotonic()))
                    if select.select([connection], [], [], 0)[0]:  # it answers before it has read everything
                        break
                    connection.sendall(piece[: length - start])
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered before it closed the connection
            connection.settimeout(max(0.1, until - time.monotonic()))
            return _status(connection.recv(64))
    except TimeoutError:
        return "NONE"
    except OSError:
        return "CLOSED"


def _status(answer: bytes) -> str:
    return f"HTTP {answer.split()[1].decode('ascii', 'replace')}" if answer.startswith(b"HTTP/") else "CLOSED"


def _is_alive(connection: socket.socket, byte: bytes, answers: Counter[str]) -> bool:
    """Send a byte, unless the hub has answered or closed the connection, which is counted."""
    try:
        if select.select([connection], [], [], 0)[0]:
            answers[_status(connection.recv(64))] += 1
            return False
        connection.sendall(byte)
    except OSError:
        answers["CLOSED"] += 1
        return False
    return True
