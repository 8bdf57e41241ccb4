"""Media through the doors: files of any cost, beside calls that must not notice."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format
from PIL import Image

from hashhub import v1, wire
from hashhub.client import Client
from hashhub.client.aio import AsyncClient
from hashhub.errors import LimitExceeded, Reason
from hashhub.hashes import Hash
from hashhub.model import (
    Effort,
    MatchOptions,
    MediaResult,
    Principal,
    Query,
    Record,
    Role,
    VariantHashes,
    Verdict,
)
from hashhub.testing.pictures import picture
from tests.hub.conftest import Desk
from tests.patience import wait_until
from tests.server.conftest import OPERATOR

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

ANY = v1.MatchOptions(policy="any")
MEDIA = "MatchService/MatchMedia"


@cache
def costly() -> bytes:
    """A small file that takes many seconds, the more so with its rotations and flips: a blank one of 50 megapixels."""
    return encoded(Image.new("RGB", (10_000, 5000)))


@cache
def good() -> bytes:
    return encoded(picture(3, (128, 96)))


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def request(content: bytes) -> v1.MatchMediaRequest:
    return v1.MatchMediaRequest(
        media=v1.Media(content=content), options=v1.MatchOptions(policy="any", effort=v1.Effort.EFFORT_THOROUGH)
    )


def ask(served: Served, content: bytes) -> v1.MediaResult:
    answer: v1.MatchMediaResponse = served.call(MEDIA, request(content), v1.MatchMediaResponse, timeout=120.0)
    return answer.result


def look_up(served: Served) -> None:
    query = v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))])
    answer = served.call(
        "MatchService/MatchHashes", v1.MatchHashesRequest(query=query, options=ANY), v1.MatchHashesResponse
    )
    assert answer.result.verdict == v1.Verdict.VERDICT_NO_MATCH


def send(served: Served, content: bytes, timeout: float | None = None) -> Any:
    """Begin a call; its future can be waited for and cancelled."""
    begin: Any = served.channel.unary_unary(
        f"/hashhub.v1.{MEDIA}", lambda message: message.SerializeToString(), v1.MatchMediaResponse.FromString
    )
    return begin.future(request(content), metadata=served.metadata(), timeout=timeout)


def calls(served: Served) -> int:
    number: int = served.hub.match.media_pool.calls
    return number


def test_while_256_calls_with_media_are_sent_every_other_is_answered(serve_hub: Serve) -> None:
    served = serve_hub(threads=2, max_concurrent_calls=4, media_workers=1, max_queued_media=8, media_seconds=300)
    sent = [send(served, costly()) for _ in range(256)]
    try:
        # One is hashed, eight wait; fewer where the token was known before the ninth came, as it has three quarters.
        wait_until(lambda: sum(call.done() for call in sent) >= 256 - 9)
        for _ in range(50):
            look_up(served)
        assert not all(call.done() for call in sent)
        refused = [wire.status_to_error(call.exception()) for call in sent if call.done()]
        for error in refused:
            assert isinstance(error, LimitExceeded)
            assert error.reason in {Reason.TOO_MANY_REQUESTS, Reason.SHARE_EXCEEDED}
            assert error.retry_after is not None
    finally:
        for call in sent:
            call.cancel()
    wait_until(lambda: calls(served) == 0)  # whoever has gone leaves no work behind
    assert ask(served, good()).result.verdict == v1.Verdict.VERDICT_NO_MATCH


@pytest.mark.parametrize("leave", ["cancel", "deadline"])
def test_hashing_ends_when_the_caller_has_gone(serve_hub: Serve, leave: str) -> None:
    served = serve_hub(media_workers=1)
    ask(served, good())
    sent = send(served, costly(), timeout=1.0 if leave == "deadline" else None)
    wait_until(lambda: calls(served) == 1 or sent.done())  # its time may be over before it is looked at
    if leave == "cancel":
        sent.cancel()
    else:
        assert sent.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: calls(served) == 0)
    assert ask(served, good()).result.verdict == v1.Verdict.VERDICT_NO_MATCH


def test_a_file_that_was_stopped_is_never_clean(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.hashing.pool.WALL", 1000)  # those that are not costly may wait for their core
    served = serve_hub(media_workers=1, media_seconds=0.5)
    with pytest.raises(LimitExceeded) as stopped:
        ask(served, costly())
    assert (stopped.value.reason, stopped.value.retry_after) == (Reason.MEDIA_TOO_COSTLY, None)
    answer = served.call(
        "MatchService/BatchMatchMedia",
        v1.BatchMatchMediaRequest(
            media=[
                v1.Media(label=name, content=data) for name, data in (("a", good()), ("b", costly()), ("c", good()))
            ],
            options=v1.MatchOptions(policy="any", effort=v1.Effort.EFFORT_THOROUGH),
        ),
        v1.BatchMatchMediaResponse,
    )
    clean, unavailable = v1.Verdict.VERDICT_NO_MATCH, v1.Verdict.VERDICT_UNAVAILABLE
    assert [r.result.verdict for r in answer.results] == [clean, unavailable, clean]
    assert answer.results[1].result.reasons[0].code == Reason.MEDIA_TOO_COSTLY
    assert not answer.results[1].hashes


def test_over_http_too_media_leave_threads_for_others(serve_hub: Serve) -> None:
    served = serve_hub(threads=4, media_workers=1, max_queued_media=2, media_seconds=1)
    options = {"policy": "any", "effort": "EFFORT_THOROUGH"}
    body = json.dumps({"media": {"content": base64.b64encode(costly()).decode()}, "options": options})
    query = json.dumps({"query": {"hashes": [{"algorithm": "MD5", "digest": "A" * 22 + "=="}]}, "options": options})
    headers = {"content-type": "application/json"} | dict(served.metadata())

    def post(method: str, text: str) -> tuple[int, str]:
        connection = HTTPConnection(served.doors.http_address, timeout=120)
        try:
            connection.request("POST", f"/hashhub.v1.MatchService/{method}", text, headers)
            answer = connection.getresponse()
            details = json.loads(answer.read()).get("details", [{}])
            return answer.status, details[0].get("reason", "")
        finally:
            connection.close()

    with ThreadPoolExecutor(12) as clients:
        slow = [clients.submit(post, "MatchMedia", body) for _ in range(12)]
        wait_until(lambda: sum(call.done() for call in slow) >= 10)
        assert [post("MatchHashes", query) for _ in range(10)] == [(200, "")] * 10
        answers = sorted(call.result(120) for call in slow)
    # What comes late may take the place of one that has ended.
    assert answers.count((429, Reason.MEDIA_TOO_COSTLY)) >= 2
    assert set(answers) == {(429, Reason.MEDIA_TOO_COSTLY), (429, Reason.TOO_MANY_REQUESTS)}


def test_every_door_says_what_was_looked_for_and_what_was_not(served: Served) -> None:
    """A token that may have less than it asks for, about a file that shows nothing and one that cannot be read."""
    Desk(served.hub).hash_set("home/of-doors")
    bounded = Principal(name="bounded", role=Role.CONSUMER, contributor="home", max_effort=Effort.STANDARD)
    token = served.hub.tokens.create(OPERATOR, bounded)[1]
    media = [v1.Media(label="text", content=b"no picture"), v1.Media(label="cut", content=good()[:500])]
    asked = v1.BatchMatchMediaRequest(
        media=media, options=v1.MatchOptions(policy="any", effort=v1.Effort.EFFORT_THOROUGH)
    )
    by_grpc = served.call("MatchService/BatchMatchMedia", asked, v1.BatchMatchMediaResponse, who=token)
    answers = [by_grpc]
    body, text = asked.SerializeToString(), json_format.MessageToJson(asked).encode()
    for headers, sent in (
        ({"content-type": "application/json"}, text),
        ({"content-type": "application/json", "connect-protocol-version": "1"}, text),
        ({"content-type": "application/proto", "connect-protocol-version": "1"}, body),
    ):
        connection = HTTPConnection(served.doors.http_address, timeout=60)
        connection.request(
            "POST", "/hashhub.v1.MatchService/BatchMatchMedia", sent, {**headers, "authorization": f"Bearer {token}"}
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status == 200, content
        message = v1.BatchMatchMediaResponse()
        if headers["content-type"].endswith("json"):
            json_format.Parse(content, message)
        else:
            message.ParseFromString(content)
        answers.append(message)
    assert all(list(answer.results) == list(by_grpc.results) for answer in answers)
    options = MatchOptions(policy="any", effort=Effort.THOROUGH)
    files = [(m.label, m.content) for m in media]
    with Client(served.doors.grpc_address, token) as client:
        told = [answer.media for answer in client.match_media(files, options)]

    async def asynchronously() -> list[MediaResult]:
        async with AsyncClient(served.doors.grpc_address, token) as client:
            return [answer.media async for answer in client.match_media(files, options)]

    assert asyncio.run(asynchronously()) == told == [wire.MEDIA_RESULT.from_pb(r) for r in by_grpc.results]
    text_file, cut = told
    assert text_file.result.verdict is Verdict.NO_MATCH
    assert [r.code for r in text_file.result.reasons] == ["NOTHING_KNOWN", "EFFORT_REDUCED", "EXACT_ONLY"]
    assert text_file.coverage.gaps == text_file.result.reasons[1:]
    assert text_file.coverage.algorithms == ("MD5", "SHA1", "SHA256")
    assert cut.result.verdict is Verdict.UNAVAILABLE
    assert [gap.code for gap in cut.coverage.gaps] == ["EFFORT_REDUCED", "UNREADABLE_MEDIA"]
    assert {answer.coverage.effort for answer in told} == {Effort.STANDARD}


def test_variants_of_a_query_are_told_by_every_door(served: Served) -> None:
    listed = Hash("PDQ", bytes(range(100, 132)))
    desk = Desk(served.hub)
    desk.hash_set("home/of-variants")
    desk.contribute("home/of-variants", Record(position="1", hashes=(listed,), quality=100))
    with Client(served.doors.grpc_address, served.tokens["OPERATOR"]) as client:
        query = Query(
            hashes=(Hash("PDQ", bytes(32)), Hash("MD5", bytes(16))), variants=(VariantHashes("content-box", (listed,)),)
        )
        for policy, verdict in (("any", Verdict.MATCH), ("block", Verdict.REVIEW)):
            options = MatchOptions(policy=policy)
            one = client.match(query, options).result
            (many,) = (answer.result for answer in client.match_hashes([query], options))
            assert one == many
            assert (one.verdict, [m.variant for m in one.matches]) == (verdict, ["content-box"])
