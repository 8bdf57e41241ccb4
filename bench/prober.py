"""Somebody who goes on asking a hub while a benchmark does something to it, from a process of their own.

    with asking(hub.address, hub.token, {"MD5:…": Verdict.NO_MATCH}, http=hub.http) as answers:
        ...
    summary(answers.lookups, 50, 99)

A lookup is due every 20 ms and a look at `/healthz` every 500 ms, by the clock, whatever became of those before.
Latencies count from the time that a call was due, so that a server that stalls is not excused. Lookups go in turn over
connections of their own, which the kernel deals to the workers. Nothing is retried. An answer with another verdict than
the expected one counts as failed.

Who asks a hub does so from another machine. Here the prober shares the hub's processor, so it is always its turn
(sched(7), SCHED_RR) where that is allowed: what it waits for is the hub, and not the program that sends a list.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import grpc
import numpy as np

from hashhub import v1, wire
from hashhub.hashes import parse
from hashhub.model import MatchOptions, Query, Verdict

LOOKUP_SECONDS: Final = 0.02  # from one to the next
_HEALTH_SECONDS: Final = 0.5
_TIMEOUT: Final = 60.0  # of a lookup; longer than any stall that ends
_HEALTH_TIMEOUT: Final = 10.0  # what probes are usually given, and more
_CONNECTIONS: Final = 4
_START_SECONDS: Final = 60.0


class Answer(NamedTuple):
    """What became of one call. `due`: when it should begin, by `time.monotonic`, which all processes of a machine
    share. `failure` is empty for an answer as expected.
    """

    due: float
    milliseconds: float
    failure: str


class Answers:
    """What a prober was told so far, and how many lookups have not been answered yet."""

    def __init__(self, pipe: Connection) -> None:
        """Nothing is there yet. `pipe` leads to the prober's process."""
        self.lookups: list[Answer] = []
        self.health: list[Answer] = []
        self.outstanding = 0
        self._pipe = pipe

    def fetch(self, *, last: bool = False) -> None:
        """Take in what has come since the last time. `last`: let the prober end, and wait for its outstanding calls."""
        self._pipe.send(last)
        self.outstanding, lookups, health = self._pipe.recv()
        self.lookups += [Answer(*answer) for answer in lookups]
        self.health += [Answer(*answer) for answer in health]


def summary(answers: Sequence[Answer], *percentiles: int) -> dict[str, Any]:
    """Return percentiles and maximum of the latencies, how many there were, and what failed how often."""
    latencies = [answer.milliseconds for answer in answers]
    return {
        **{f"p{p}_ms": float(np.percentile(latencies, p)) if latencies else None for p in percentiles},
        "max_ms": max(latencies, default=None),
        "count": len(answers),
        "failed": dict(Counter(answer.failure for answer in answers if answer.failure)),
    }


@contextmanager
def asking(address: str, token: str, expected: Mapping[str, Verdict], *, http: str = "") -> Iterator[Answers]:
    """Ask about the hashes in turn until the block ends; its answers are complete then.

    expected: `ALGORITHM:digest` to the verdict due under the policy `any`. http: URL of the hub's HTTP door; empty: its
    health is not asked for.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    words = {text: verdict.value for text, verdict in expected.items()}
    process = spawn.Process(target=_ask, args=(address, token, words, http, theirs), daemon=True)
    process.start()
    if not ours.poll(_START_SECONDS):
        raise AssertionError("the process that looks up did not start")
    ours.recv()
    answers = Answers(ours)
    try:
        yield answers
    except BaseException:
        process.terminate()
        raise
    answers.fetch(last=True)
    process.join()


def connected(address: str) -> grpc.Channel:
    """Return a channel with a connection of its own, that comes back soon after it was lost."""
    milliseconds = dict.fromkeys(("initial_reconnect", "min_reconnect", "max_reconnect"), 200)
    return grpc.insecure_channel(
        address,
        [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            *((f"grpc.{name}_backoff_ms", value) for name, value in milliseconds.items()),
        ],
    )


def unary(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return a call of `Service/Method` that takes and gives bytes as they are."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/hashhub.v1.{method}", None, None)
    return call


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that names who calls."""
    return (("authorization", f"Bearer {token}"),)


def _ask(address: str, token: str, expected: Mapping[str, str], http: str, pipe: Connection) -> None:
    """Ask by the clock until told to end; give what has come whenever told to."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # and of all threads that begin later
    options = wire.options_to_pb(MatchOptions(policy="any"))
    requests = []
    for text, verdict in expected.items():
        algorithm, _, digest = text.partition(":")
        query = wire.query_to_pb(Query(hashes=(parse(algorithm, digest),)))
        request = v1.MatchHashesRequest(query=query, options=options)
        requests.append((request.SerializeToString(), verdict))
    channels = [connected(address) for _ in range(_CONNECTIONS)]
    calls = [unary(channel, "MatchService/MatchHashes") for channel in channels]
    metadata = bearer(token)
    lookups: list[Answer] = []
    health: list[Answer] = []
    outstanding: set[int] = set()
    numbers = count()

    def send(due: float) -> None:
        number = next(numbers)
        request, verdict = requests[number % len(requests)]
        call = calls[number // len(requests) % len(calls)].future(request, timeout=_TIMEOUT, metadata=metadata)

        def done(ended: grpc.Future[bytes]) -> None:
            milliseconds = (time.monotonic() - due) * 1e3
            lookups.append(Answer(due, milliseconds, _failure(ended, verdict)))
            outstanding.discard(number)

        outstanding.add(number)
        call.add_done_callback(done)

    with ThreadPoolExecutor(32) as pool:
        for _ in range(len(requests) * len(calls)):  # connects, and lets the hub load what it loads lazily
            send(time.monotonic())
        while outstanding:
            time.sleep(LOOKUP_SECONDS)
        lookups.clear()
        pipe.send(None)
        due = next_health = time.monotonic()
        last = False
        while not last:
            while pipe.poll(max(0.0, due - time.monotonic())):
                last = pipe.recv()
                if last:
                    break
                _give(pipe, len(outstanding), lookups, health)
            else:
                send(due)
                if http and due >= next_health:
                    pool.submit(_look_at_health, http, next_health, health)
                    next_health += _HEALTH_SECONDS
                due += LOOKUP_SECONDS
    until = time.monotonic() + _TIMEOUT
    while outstanding and time.monotonic() < until:
        time.sleep(LOOKUP_SECONDS)
    _give(pipe, len(outstanding), lookups, health)
    for channel in channels:
        channel.close()


def _give(pipe: Connection, outstanding: int, *lists: list[Answer]) -> None:
    """Send what is in the lists now, as tuples, and leave what other threads append meanwhile."""
    sent = [[tuple(answer) for answer in answers[: len(answers)]] for answers in lists]
    pipe.send([outstanding, *sent])
    for answers, gone in zip(lists, sent, strict=True):
        del answers[: len(gone)]


def _failure(call: grpc.Future[bytes], verdict: str) -> str:
    error = call.exception()
    if error is None:
        result = v1.MatchHashesResponse.FromString(call.result()).result
        told = v1.Verdict.Name(result.verdict).removeprefix("VERDICT_")
        return "" if told == verdict else f"said {told}"
    return str(wire.status_to_error(error).reason) if isinstance(error, grpc.RpcError) else type(error).__name__


def _look_at_health(url: str, due: float, into: list[Answer]) -> None:
    """Ask as probes do: over a new connection each time."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_HEALTH_TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
        failure = "" if status == 200 else f"HTTP {status}"
    except (OSError, http.client.HTTPException) as e:
        failure = "timeout" if isinstance(e, TimeoutError) else type(e).__name__
    finally:
        connection.close()
    into.append(Answer(due, (time.monotonic() - due) * 1e3, failure))
