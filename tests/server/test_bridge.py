"""JSON over HTTP reaches the same servicers through the same gate."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from hashhub import v1
from hashhub.server.servicers import FILES

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

MATCH = "/hashhub.v1.MatchService/MatchHashes"
QUERY = {
    "query": {"hashes": [{"algorithm": "MD5", "digest": "AAAAAAAAAAAAAAAAAAAAAA=="}]},
    "options": {"policy": "any"},
}
RPCS = [
    (f"/hashhub.v1.{service.name}/{rpc.name}", rpc.server_streaming)
    for file in FILES
    for service in file.services_by_name.values()
    for rpc in service.methods
]


class Answer:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.text = answer.read().decode()

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document

    @property
    def reason(self) -> str:
        """The reason in the error's ErrorInfo."""
        return str(self.json["details"][0]["reason"])


def ask(
    served: Served, path: str, body: object = None, *, verb: str = "POST", who: str | None = "OPERATOR", **headers: str
) -> Answer:
    connection = http.client.HTTPConnection(served.doors.http_address, timeout=10)
    sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if who is not None:
        sent["Authorization"] = f"Bearer {served.tokens.get(who, who)}"
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(verb, path, data, sent)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_json_and_grpc_give_the_same_answer(served: Served) -> None:
    answer = ask(served, MATCH, QUERY, who="CONSUMER")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    request = v1.MatchHashesRequest(
        query=v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))]), options=v1.MatchOptions(policy="any")
    )
    by_grpc = served.call("MatchService/MatchHashes", request, v1.MatchHashesResponse)
    assert answer.json["result"]["verdict"] == "VERDICT_NO_MATCH"
    assert answer.json["result"]["reasons"][0]["code"] == by_grpc.result.reasons[0].code
    assert int(answer.json["revision"]) <= by_grpc.revision  # 64-bit integers are strings in proto3 JSON


@pytest.mark.parametrize(("path", "streams"), RPCS)
def test_every_call_is_bridged_behind_the_same_gate(served: Served, path: str, streams: bool) -> None:
    anonymous = ask(served, path, {}, who=None)
    if streams:
        assert anonymous.status == 501
        assert ("MatchMedia" if "MatchLive" in path else "ListChanges") in anonymous.json["message"]
        return
    assert (anonymous.status, anonymous.reason) == (401, "TOKEN_MISSING")
    assert anonymous.headers["WWW-Authenticate"] == "Bearer"
    assert ask(served, path, b"{not json", who="OPERATOR").status == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "proto3 JSON"),
        (b"[]", "proto3 JSON"),
        (b"\xff", "proto3 JSON"),
        (b'{"query": 1}', "query"),
        (b'{"qeury": {}}', "qeury"),
        (b'{"query": {"hashes": [{"algorithm": "MD5", "digest": "***"}]}}', "digest"),
        (b'{"query":' + b'{"query":' * 5000, "proto3 JSON"),
        (b"9" * 5000, "proto3 JSON"),
    ],
    ids=["cut", "array", "no utf-8", "wrong type", "unknown field", "no base64", "deep", "huge number"],
)
def test_bodies_that_are_no_request_are_refused(served: Served, body: bytes, said: str) -> None:
    answer = ask(served, MATCH, body)
    assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
    assert said in answer.json["message"]
    assert "Traceback" not in answer.text


def test_an_empty_body_is_an_empty_request(served: Served) -> None:
    assert ask(served, "/hashhub.v1.AdminService/GetStatus").json["database"] == "SQLITE"


def test_hexadecimal_digests_get_a_hint(served: Served) -> None:
    query = {"query": {"hashes": [{"algorithm": "MD5", "digest": "00" * 16}]}, "options": {"policy": "any"}}
    answer = ask(served, MATCH, query)
    assert answer.status == 400
    violation = answer.json["details"][1]["fieldViolations"][0]
    assert violation["field"] == "query.hashes[0].digest"
    assert "base64" in violation["description"]


def test_errors_use_the_usual_http_codes(served: Served) -> None:
    get = "/hashhub.v1.ContributorService/GetContributor"
    create = "/hashhub.v1.ContributorService/CreateContributor"
    assert ask(served, get, {"name": "contributors/nobody"}).status == 404
    assert ask(served, get, {"name": "nobody"}).status == 400
    assert ask(served, get, {"name": "contributors/home"}, who="CONSUMER").status == 403
    assert ask(served, get, {"name": "contributors/home"}, who="hh_wrong").status == 401
    home = {"displayName": "H", "kind": "CONTRIBUTOR_KIND_NGO", "jurisdiction": "GB"}
    assert ask(served, create, {"contributorId": "home", "contributor": home}).status == 409


def test_what_is_no_call_is_refused_in_json(served: Served) -> None:
    assert ask(served, "/hashhub.v1.MatchService/Nope", {}).status == 404
    assert ask(served, "/", verb="GET").status == 404
    wrong_verb = ask(served, MATCH, verb="GET")
    assert (wrong_verb.status, wrong_verb.headers["Allow"]) == (405, "GET, POST")
    wrong_verb = ask(served, "/hashhub.v1.ContributorService/CreateContributor?encoding=json&message={}", verb="GET")
    assert (wrong_verb.status, wrong_verb.headers["Allow"]) == (405, "POST")
    assert ask(served, "/healthz", b"{}").status == 405
    assert ask(served, MATCH, QUERY, Content_Type="text/plain").status == 415
    assert ask(served, MATCH, QUERY, Content_Type="application/json; charset=utf-8").status == 200
    for path in ("/hashhub.v1.MatchService/Nope", "/healthz"):
        assert "message" in ask(served, path, b"{}").json


def test_a_web_page_from_elsewhere_gets_no_permission(served: Served) -> None:
    preflight = ask(served, MATCH, verb="OPTIONS", who=None, Origin="https://elsewhere.example")
    assert preflight.status == 405
    answer = ask(served, MATCH, QUERY, Origin="https://elsewhere.example")
    assert not [name for name in (*preflight.headers, *answer.headers) if name.lower().startswith("access-control")]


def test_an_unexpected_error_says_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("/srv/secret")

    monkeypatch.setattr(served.hub.contributors, "get", fail)
    answer = ask(served, "/hashhub.v1.ContributorService/GetContributor", {"name": "contributors/home"})
    assert (answer.status, answer.reason) == (500, "INTERNAL")
    assert "secret" not in answer.text
    assert answer.json["details"][0]["metadata"]["requestId"]


def test_health_follows_the_matcher(serve_hub: Serve) -> None:
    served = serve_hub(start=False)
    waiting = ask(served, "/healthz", verb="GET", who=None)
    assert (waiting.status, waiting.json["status"], waiting.headers["Retry-After"]) == (503, "NOT_SERVING", "1")
    assert waiting.json["services"]["ContributionService"] == "NOT_SERVING"
    assert waiting.json["services"]["HistoryService"] == "SERVING"  # it needs no matcher
    not_ready = ask(served, MATCH, QUERY)
    assert (not_ready.status, not_ready.reason) == (503, "MATCHER_NOT_READY")
    assert not_ready.headers["Retry-After"] == "1"
    served.hub.start()
    ready = ask(served, "/healthz", verb="GET", who=None)
    assert (ready.status, ready.json["status"]) == (200, "SERVING")
    assert set(ready.json["services"].values()) == {"SERVING"}
    assert ask(served, "/healthz", verb="HEAD", who=None).text == ""


def test_metrics_are_for_operators_and_auditors(served: Served) -> None:
    ask(served, MATCH, QUERY)
    assert ask(served, "/metrics", verb="GET", who=None).status == 401
    assert ask(served, "/metrics", verb="GET", who="CONSUMER").status == 403
    answer = ask(served, "/metrics", verb="GET", who="AUDITOR")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'hashhub_call_seconds_count{code="OK",method="MatchService/MatchHashes",worker="0"}' in answer.text


def test_a_body_that_is_too_large_is_refused(serve_hub: Serve) -> None:
    served = serve_hub(max_message_bytes=65_536)
    limit = served.doors.http.max_body_bytes  # type: ignore[union-attr]  # there is a bridge
    for size in (limit + 1, limit + 100_000):
        answer = ask(served, MATCH, b" " * size)
        assert answer.status == 413
    fits = json.dumps({"media": {"content": base64.b64encode(b"t" * 60_000).decode()}, "options": {"policy": "any"}})
    assert ask(served, "/hashhub.v1.MatchService/MatchMedia", fits.encode()).status == 200


def test_media_never_touch_a_disk(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a request was written to a file")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    content = base64.b64encode(b"synthetic" * 400_000).decode()  # more than many a server keeps in memory
    answer = ask(
        served, "/hashhub.v1.MatchService/MatchMedia", {"media": {"content": content}, "options": {"policy": "any"}}
    )
    assert answer.status == 200
    assert {h["algorithm"] for h in answer.json["result"]["hashes"]} == {"MD5", "SHA1", "SHA256"}


def test_calls_in_progress_end_while_draining(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub(drain_seconds=60.0)
    entered, release = threading.Event(), threading.Event()
    get = served.hub.contributors.get

    def slow(*args: Any) -> Any:
        entered.set()
        assert release.wait(180)
        return get(*args)

    monkeypatch.setattr(served.hub.contributors, "get", slow)
    answers: list[Answer] = []
    path, body = "/hashhub.v1.ContributorService/GetContributor", {"name": "contributors/home"}
    calling = threading.Thread(target=lambda: answers.append(ask(served, path, body)))
    calling.start()
    assert entered.wait(180)
    closing = threading.Thread(target=served.doors.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    release.set()
    calling.join(60)
    closing.join(60)
    assert not closing.is_alive()
    assert [a.status for a in answers] == [200]
    host, _, port = served.doors.http_address.rpartition(":")
    with pytest.raises(ConnectionError):
        socket.create_connection((host, int(port)), timeout=2)


def test_http2_is_refused_in_words(served: Served) -> None:
    """The connection was closed without one."""
    host, _, port = served.doors.http_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 505
        assert "HTTP/1.1" in json.loads(answer.read())["message"]


@pytest.mark.parametrize("verb", ["BREW", "PROPFIND", "M-SEARCH"])
def test_methods_that_nobody_knows_are_refused_in_words(served: Served, verb: str) -> None:
    answer = ask(served, MATCH, verb=verb)
    assert answer.status in {400, 405}
    assert answer.status == 405 or verb == "M-SEARCH"


def test_there_is_no_bridge_unless_asked_for(serve_hub: Serve) -> None:
    served = serve_hub(http="")
    assert served.doors.http_address == ""
    assert served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status).database == "SQLITE"
