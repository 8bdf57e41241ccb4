"""Work whose caller has gone stops, and nothing of it is left."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import pytest

from hashhub import cancellation, v1
from hashhub.client import Client
from hashhub.hub import contribute
from tests.patience import wait_until
from tests.server.calls import (
    ASKED,
    MATCH,
    REFLECTION,
    SET,
    add_batch,
    begin_http2,
    call_headers,
    crowd,
    frame,
    match_hashes,
    opened_import,
    raw_call,
    read_until_ping_is_answered,
)

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served


RESET, NO_WINDOW = (8).to_bytes(4, "big"), (4).to_bytes(2, "big") + bytes(4)


@pytest.mark.parametrize("step", ["header", "half", "whole", "later", "vanished"])
@pytest.mark.parametrize(
    ("path", "body", "who"),
    [
        ("/hashhub.v1.MatchService/MatchHashes", MATCH.SerializeToString(), "CONSUMER"),
        ("/hashhub.v1.ContributorService/ListContributors", b"", "OPERATOR"),
        ("/hashhub.v1.ChangeService/FollowChanges", b"", "OPERATOR"),
        ("/hashhub.v1.MatchService/MatchLive", b"", "CONSUMER"),
        ("/hashhub.v1.MatchService/MatchHashes", MATCH.SerializeToString(), "hh_wrong"),
        ("/grpc.health.v1.Health/Watch", b"", ""),
        (REFLECTION, ASKED, ""),
    ],
)
def test_nothing_is_left_of_calls_that_end_at_any_step(
    served: Served, path: str, body: bytes, who: str, step: str
) -> None:
    """`later`: as the answer is sent, which nobody takes; `vanished`: with the connection, and no word."""
    match_hashes(served)
    headers = call_headers(path, f"Bearer {served.tokens.get(who, who)}" if who else "")
    message = b"\0" + len(body).to_bytes(4, "big") + body
    streams = range(1, 401, 2)
    begun = b""
    for n in streams:
        begun += frame(1, 4, n, headers)
        begun += b"" if step == "header" else frame(0, 0, n, message[:3] if step == "half" else message)
        begun += frame(3, 0, n, RESET) if step in {"header", "half", "whole"} else b""
    answered_ping = b"" if step == "vanished" else frame(6, 0, 0, bytes(8))  # all before it has been read
    with begin_http2(served, NO_WINDOW if step == "later" else b"", begun + answered_ping) as connection:
        if answered_ping:
            read_until_ping_is_answered(connection)
        if step == "later":
            connection.sendall(b"".join(frame(3, 0, n, RESET) for n in streams))
        if step == "vanished":  # the kernel sends a reset, and no FIN
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    doors, pipeline = served.doors, served.doors.pipeline

    def left() -> dict[str, object]:
        taken = pipeline.quotas.taken
        names, shares = ("operator", "consumer"), ("calls", "streams", "message_bytes")
        rooms = pipeline.limiters.values()
        kept: dict[str, object] = {
            "rooms": {room.name: room.depth for room in rooms if any(room.depth)},
            "bytes": {room.name: room.budget.taken for room in rooms if room.budget and room.budget.taken},
            "shares": {(name, share): n for name in names for share in shares if (n := taken(name, share))},
            "answers": dict(doors.handlers.untaken_bytes),
            "probes": dict(doors.probes.open_calls),
            "watchers": doors.probes.watchers,
        }
        return {name: what for name, what in kept.items() if what}

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left())
    assert left() == {}
    match_hashes(served)


def test_a_batch_whose_caller_has_gone_stops(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub()
    searched = threading.Semaphore(0)
    matcher = served.hub.matcher
    search = matcher.search

    def slowly(*args: Any, **kwargs: Any) -> Any:
        searched.release()
        wait_until(lambda: not cancellation.is_wanted())  # the server has heard of it
        return search(*args, **kwargs)

    monkeypatch.setattr(matcher, "search", slowly)
    query = v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=n.to_bytes(16, "big")) for n in range(1000)])
    request = v1.BatchMatchHashesRequest(queries=[query] * 50, options=v1.MatchOptions(policy="any"))
    call = raw_call(served.channel, "MatchService/BatchMatchHashes").future(
        request.SerializeToString(), metadata=served.metadata("CONSUMER"), timeout=60
    )
    assert searched.acquire(timeout=180)
    call.cancel()
    wait_until(lambda: sum(served.doors.pipeline.limiters["calls"].depth) == 0)
    pieces = 1
    while searched.acquire(blocking=False):
        pieces += 1
    assert pieces < 10  # of 50


def test_a_commit_whose_caller_has_gone_leaves_nothing_and_can_be_made_again(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_hub()
    crowd(served)
    name = opened_import(served, 1)
    for index in range(6):
        add_batch(served, name, index, 50)
    monkeypatch.setattr(contribute, "PIECE", 50)
    staged = threading.Semaphore(0)
    calls: list[Context] = []
    commit, stage = served.hub.contribute.commit, served.hub.store.stage.stage_entries

    def called(*args: Any, **kwargs: Any) -> Any:
        calls.append(copy_context())
        return commit(*args, **kwargs)

    def slowly(*args: Any) -> Any:  # on another thread than the call's
        staged.release()
        wait_until(lambda: not calls[0].run(cancellation.is_wanted))  # the server has heard of it
        return stage(*args)

    monkeypatch.setattr(served.hub.contribute, "commit", called)
    monkeypatch.setattr(served.hub.store.stage, "stage_entries", slowly)
    request = v1.CommitImportRequest(name=name, batch_count=6)
    call = raw_call(served.channel, "ContributionService/CommitImport").future(
        request.SerializeToString(), metadata=served.metadata(), timeout=60
    )
    assert staged.acquire(timeout=180)
    call.cancel()
    wait_until(lambda: served.doors.pipeline.limiters["commits"].depth == (0, 0))
    assert not staged.acquire(blocking=False)
    monkeypatch.setattr(served.hub.store.stage, "stage_entries", stage)
    listed = v1.ListEntriesRequest(parent=SET)
    assert not served.call("ContributionService/ListEntries", listed, v1.ListEntriesResponse).entries
    made = served.call("ContributionService/CommitImport", request, v1.Import)
    assert made.state == v1.ImportState.IMPORT_STATE_COMMITTED
    assert made.counts.accepted_count == 300


def test_clients_whose_commits_are_refused_come_again_until_all_are_made(serve_hub: Serve) -> None:
    served = serve_hub(max_waiting_commits=0)
    crowd(served)
    files = [("ab" * 15 + f"{n:02x}\n").encode() for n in range(4)]

    def send(data: bytes) -> int:
        with Client(served.doors.grpc_address, served.tokens["CONTRIBUTOR"], retry_seconds=0.5) as client:
            report = client.import_source(
                io.BytesIO(data), connector="hash-lines", hash_set="home/crowd", options={"algorithm": "MD5"}
            )
        return report.source.counts.accepted

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(send, files)) == [1] * 4
