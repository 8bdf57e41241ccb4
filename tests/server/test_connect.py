"""The Connect protocol, byte by byte as its specification says; test_connect_clients.py asks the official clients."""

from __future__ import annotations

import base64
import gc
import gzip
import http.client
import inspect
import json
import struct
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from hashhub import v1
from hashhub.errors import HTTP_STATUS, HashHubError, InvalidArgument, StatusCode
from hashhub.hashes import Hash
from hashhub.model import Record
from hashhub.server import connect, http_listener, pipeline
from hashhub.server.bodies import RequestBody
from hashhub.server.connect import Unimplemented
from hashhub.server.http_listener import HTTPRequest
from hashhub.server.servicers import FILES
from tests.hub.conftest import Desk
from tests.patience import wait_until
from tests.server.test_bridge import MATCH, QUERY, RPCS

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

REQUEST = json_format.ParseDict(QUERY, v1.MatchHashesRequest())
BODY = REQUEST.SerializeToString()
LIST = "/hashhub.v1.ContributorService/ListContributors"
CREATE = "/hashhub.v1.ContributorService/CreateContributor"
VERSION = {"Connect-Protocol-Version": "1"}


class Answer:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read()

    @property
    def error(self) -> tuple[int, str]:
        """HTTP's code and Connect's."""
        return self.status, json.loads(self.body)["code"]


def send(
    served: Served,
    path: str = MATCH,
    body: bytes | None = BODY,
    *,
    verb: str = "POST",
    who: str | None = "OPERATOR",
    kind: str = "application/proto",
    **headers: str,
) -> Answer:
    connection = http.client.HTTPConnection(served.doors.http_address, timeout=30)
    sent = {**VERSION, **({"Content-Type": kind} if verb == "POST" else {})}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    if who is not None:
        sent["Authorization"] = f"Bearer {served.tokens.get(who, who)}"
    try:
        connection.request(verb, path, body, sent)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_bytes_and_json_give_the_same_answer(served: Served) -> None:
    by_grpc = served.call("MatchService/MatchHashes", REQUEST, v1.MatchHashesResponse)
    by_bytes = send(served)
    by_json = send(served, body=json.dumps(QUERY).encode(), kind="application/json")
    assert (by_bytes.status, by_json.status) == (200, 200)
    assert by_bytes.headers["Content-Type"] == "application/proto"
    assert by_json.headers["Content-Type"] == "application/json"
    assert v1.MatchHashesResponse.FromString(by_bytes.body).result == by_grpc.result
    assert json_format.Parse(by_json.body, v1.MatchHashesResponse()).result == by_grpc.result


def test_a_lookup_that_hits_nothing_counts_among_the_verdicts(served: Served) -> None:
    def misses() -> float:
        return served.hub.tally.read()["verdicts"].get("NO_MATCH", 0)

    before = misses()
    for kind, body in (("application/proto", BODY), ("application/json", json.dumps(QUERY).encode())):
        assert send(served, body=body, kind=kind).status == 200
    served.call("MatchService/MatchHashes", REQUEST, v1.MatchHashesResponse)
    assert misses() - before == 3


def test_lookups_that_are_alike_know_what_has_changed(serve_hub: Serve) -> None:
    served, own, other = serve_hub(), Hash("PDQ", bytes(range(100, 132))), Hash("PDQ", bytes(range(7, 39)))
    desk = Desk(served.hub)
    desk.hash_set("home/main")

    def looked_up(hash_: Hash = own, policy: str = "any") -> v1.MatchHashesResponse:
        asked = v1.Query(hashes=[v1.Hash(algorithm="PDQ", digest=hash_.digest)])
        request = v1.MatchHashesRequest(query=asked, options=v1.MatchOptions(policy=policy))
        answer = send(served, body=request.SerializeToString())
        assert answer.status == 200
        said = v1.MatchHashesResponse.FromString(answer.body)
        told = served.call("MatchService/MatchHashes", request, v1.MatchHashesResponse)
        assert (said.result, said.policy) == (told.result, told.policy)
        return said

    before = looked_up()
    assert looked_up(other).result == before.result
    assert looked_up(policy="block").policy != before.policy
    desk.contribute("home/main", Record(position="1", hashes=(other,), quality=100))
    until = time.monotonic() + 180
    while (moved := looked_up()).revision < served.hub.revision():
        assert time.monotonic() < until, "the answer tells an old revision"
    assert moved.revision > before.revision
    assert moved.result == before.result
    assert [match.distance for match in looked_up(other).result.matches] == [0]
    desk.contribute("home/main", Record(position="1", hashes=(own,), quality=100), replace=True, allow_shrinking=True)
    assert [match.distance for match in looked_up().result.matches] == [0]
    assert looked_up(other).result == before.result


@pytest.mark.parametrize(("role", "error"), [("AUDITOR", (403, "permission_denied")), ("x", (401, "unauthenticated"))])
def test_a_lookup_like_one_before_needs_a_token_of_its_own(served: Served, role: str, error: tuple[int, str]) -> None:
    for _ in range(2):
        assert send(served).status == 200
        assert send(served, who=role).error == error
    assert send(served, Connect_Timeout_Ms="0").error == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (BODY, "application/proto", 200),
        (json.dumps(QUERY).encode(), "application/json", 200),
        (b"{", "application/json", 400),
    ],
)
def test_a_call_leaves_nothing_for_the_collector(served: Served, body: bytes, kind: str, status: int) -> None:
    def held() -> int:
        return sum(type(known) in {RequestBody, HTTPRequest} for known in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = held()
        for _ in range(5):
            assert send(served, body=body, kind=kind).status == status
        until = time.monotonic() + 180
        while held() > before and time.monotonic() < until:
            time.sleep(0.01)
        assert held() <= before
    finally:
        gc.enable()


def test_bytes_need_no_version_and_wrong_versions_are_refused(served: Served) -> None:
    assert send(served, Connect_Protocol_Version="1").status == 200
    assert send(served, Connect_Protocol_Version="2").error == (400, "invalid_argument")
    connection = http.client.HTTPConnection(served.doors.http_address, timeout=30)
    headers = {"Content-Type": "application/proto", "Authorization": f"Bearer {served.tokens['OPERATOR']}"}
    connection.request("POST", MATCH, BODY, headers)
    assert connection.getresponse().status == 200
    connection.close()


def test_errors_carry_code_message_and_details(served: Served) -> None:
    answer = send(served, body=v1.MatchHashesRequest().SerializeToString())
    assert answer.error == (400, "invalid_argument")
    assert answer.headers["Content-Type"] == "application/json"
    error = json.loads(answer.body)
    assert "query.hashes" in error["message"]
    info, bad_request = error["details"]
    assert (info["type"], bad_request["type"]) == ("google.rpc.ErrorInfo", "google.rpc.BadRequest")
    assert not info["value"].endswith("=")
    said = error_details_pb2.ErrorInfo.FromString(base64.b64decode(info["value"] + "=="))
    assert json_format.MessageToDict(said) == info["debug"]
    assert bad_request["debug"]["fieldViolations"][0]["field"] == "query.hashes"


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"who": None}, (401, "unauthenticated")),
        ({"who": "hh_wrong"}, (401, "unauthenticated")),
        ({"who": "CONSUMER", "path": LIST, "body": b""}, (403, "permission_denied")),
        ({"body": b"\xff"}, (400, "invalid_argument")),
        ({"body": b"{", "kind": "application/json"}, (400, "invalid_argument")),
        ({"path": "/hashhub.v1.MatchService/Nope"}, (404, "unimplemented")),
        ({"Content_Encoding": "br"}, (501, "unimplemented")),
        ({"Content_Encoding": "gzip"}, (400, "invalid_argument")),
        ({"Connect_Timeout_Ms": "0"}, (504, "deadline_exceeded")),
        ({"Connect_Timeout_Ms": "-1"}, (400, "invalid_argument")),
        ({"Connect_Timeout_Ms": "12345678901"}, (400, "invalid_argument")),
        ({"Connect_Timeout_Ms": "1e3"}, (400, "invalid_argument")),
        ({"path": "/hashhub.v1.ChangeService/FollowChanges", "body": b""}, (501, "unimplemented")),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_the_protocols_codes(served: Served, how: dict[str, Any], error: tuple[int, str]) -> None:
    assert send(served, **how).error == error


def test_unknown_compression_is_told_which_is_known(served: Served) -> None:
    answer = send(served, Content_Encoding="zstd")
    assert answer.headers["Accept-Encoding"] == "gzip"
    assert "gzip" in json.loads(answer.body)["message"]


def test_other_media_types_are_told_which_there_are(served: Served) -> None:
    for kind in ("application/connect+proto", "application/connect+json", "application/xml"):
        answer = send(served, kind=kind)
        assert (answer.status, answer.headers["Accept-Post"]) == (415, "application/json, application/proto")


@pytest.mark.parametrize("codec", ["proto", "json"])
def test_a_stream_ends_with_an_error_that_clients_understand(served: Served, codec: str) -> None:
    kind = f"application/connect+{codec}"
    answer = send(served, "/hashhub.v1.ChangeService/FollowChanges", struct.pack(">BI", 0, 0), kind=kind)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    flags, length = struct.unpack(">BI", answer.body[:5])
    assert (flags, length) == (2, len(answer.body) - 5)
    error = json.loads(answer.body[5:])["error"]
    assert error["code"] == "unimplemented"
    assert "ListChanges" in error["message"]


def test_messages_are_packed_where_it_is_worth_it_and_wanted(served: Served) -> None:
    assert send(served, body=gzip.compress(BODY), Content_Encoding="gzip").status == 200
    for i in range(30):
        served.new_contributor(f"connect-{i}")
    everything = v1.ListContributorsRequest(page_size=1000).SerializeToString()
    plain = send(served, LIST, everything)
    assert "Content-Encoding" not in plain.headers
    for accepted, is_packed in (
        ("gzip", True), ("br, gzip;q=0.5", True), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.0", False),
    ):  # fmt: skip
        answer = send(served, LIST, everything, Accept_Encoding=accepted)
        assert (answer.headers["Content-Encoding"] == "gzip") is is_packed
        assert (gzip.decompress(answer.body) if is_packed else answer.body) == plain.body
    short = send(served, Accept_Encoding="gzip")
    assert "Content-Encoding" not in short.headers


@pytest.mark.parametrize("kind", ["application/proto", "application/json"])
def test_a_message_of_no_bytes_need_not_be_unpacked(served: Served, kind: str) -> None:
    """Clients that pack what is worth it may name their packing for every message."""
    assert send(served, LIST, b"", kind=kind, Content_Encoding="gzip").status == 200
    encoding = kind.partition("/")[2]
    got = send(served, f"{LIST}?{query(encoding=encoding, compression='gzip', message='')}", None, verb="GET")
    assert got.status == 200


def query(**fields: str) -> str:
    return urlencode({"connect": "v1", "encoding": "proto", **fields}, quote_via=quote)


def url_safe(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


@pytest.mark.parametrize(
    "fields",
    [
        {"base64": "1", "message": url_safe(BODY)},
        {"base64": "1", "message": base64.urlsafe_b64encode(BODY).decode()},
        {"base64": "1", "message": url_safe(gzip.compress(BODY)), "compression": "gzip"},
        {"encoding": "json", "message": json.dumps(QUERY)},
        {"encoding": "json", "message": url_safe(json.dumps(QUERY).encode()), "base64": "1"},
        {"encoding": "json", "message": json.dumps(QUERY), "compression": "identity"},
    ],
)
def test_calls_without_side_effects_can_be_got(served: Served, fields: dict[str, str]) -> None:
    answer = send(served, f"{MATCH}?{query(**fields)}", None, verb="GET")
    assert answer.status == 200
    result = v1.MatchHashesResponse()
    if fields.get("encoding") == "json":
        json_format.Parse(answer.body, result)
    else:
        result.ParseFromString(answer.body)
    assert result.result.verdict == v1.Verdict.VERDICT_NO_MATCH
    assert answer.headers["Cache-Control"] == "no-store"


def test_raw_bytes_may_stand_in_a_query(served: Served) -> None:
    path = f"{MATCH}?connect=v1&encoding=proto&message={quote(BODY)}"
    assert send(served, path, None, verb="GET").status == 200


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (query(message="***", base64="1"), (400, "invalid_argument")),
        (query(message="", base64="2"), (400, "invalid_argument")),
        (query(), (400, "invalid_argument")),
        (query(message="", encoding="xml"), (400, "invalid_argument")),
        (query(message="", connect="v2"), (400, "invalid_argument")),
        (query(message="", compression="br"), (501, "unimplemented")),
        (query(message="", compression="gzip"), (400, "invalid_argument")),
        ("&".join(["connect=v1"] * 50), (400, "invalid_argument")),
        ("%ff%fe=%00", (400, "invalid_argument")),
    ],
)
def test_queries_that_are_no_message_are_refused(served: Served, said: str, error: tuple[int, str]) -> None:
    assert send(served, f"{MATCH}?{said}", None, verb="GET").error == error
    assert send(served, f"{MATCH}?{said}", None, verb="GET", who=None).error == (401, "unauthenticated")


def test_only_reads_are_free_of_side_effects() -> None:
    marked = {
        rpc.name
        for file in FILES
        for service in file.services_by_name.values()
        for rpc in service.methods
        if rpc.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    }
    names = {path.rpartition("/")[2] for path, streams in RPCS if not streams}
    reads = ("Get", "List", "Search", "Compare", "Diff", "Explain", "Simulate", "Wait", "Read", "Summarise")
    assert marked == {n for n in names if n.startswith(reads)} | {"MatchHashes", "BatchMatchHashes"}


def test_a_write_cannot_be_got(served: Served) -> None:
    answer = send(served, f"{CREATE}?{query(message='', encoding='json')}", None, verb="GET")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_a_call_that_comes_too_late_is_not_begun(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub(threads=1)
    entered, release = threading.Event(), threading.Event()
    get = served.hub.contributors.get
    calls: list[str] = []

    def hold(*args: Any) -> Any:
        calls.append("call")
        entered.set()
        assert release.wait(180)
        return get(*args)

    monkeypatch.setattr(served.hub.contributors, "get", hold)
    path, body = "/hashhub.v1.ContributorService/GetContributor", v1.GetContributorRequest(name="contributors/home")
    answers: dict[str, Answer] = {}

    def ask(name: str, **headers: str) -> threading.Thread:
        def work() -> None:
            answers[name] = send(served, path, body.SerializeToString(), **headers)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    room, late = served.doors.pipeline.limiters["calls"], [0.0]
    monkeypatch.setattr(http_listener, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late[0]))
    monkeypatch.setattr(pipeline, "monotonic", lambda: time.monotonic() + late[0])
    first = ask("first", Connect_Timeout_Ms="60000")
    assert entered.wait(180)
    second = ask("second", Connect_Timeout_Ms="60000")
    wait_until(lambda: room.depth == (1, 1))
    late[0] = 60.0
    release.set()
    for thread in (first, second):
        thread.join(60)
    assert answers["first"].error == (504, "deadline_exceeded")  # it was made, and took too long
    assert answers["second"].error == (504, "deadline_exceeded")
    assert calls == ["call"]


@given(st.text(), st.binary(max_size=200))
def test_whatever_stands_in_a_query_is_a_message_or_refused(text: str, raw: bytes) -> None:
    for said in (text, quote(raw), query(message=url_safe(raw), base64="1"), query(message=text, encoding="json")):
        try:
            encoding, message = connect.read_query(said)
        except (InvalidArgument, Unimplemented):
            continue
        assert encoding.packing in {"identity", "gzip"}
        assert isinstance(message, bytes)


@given(st.binary(max_size=500), st.booleans())
def test_a_query_brings_its_message_unchanged(raw: bytes, is_base64: bool) -> None:
    said = query(message=url_safe(raw), base64="1") if is_base64 else f"connect=v1&encoding=proto&message={quote(raw)}"
    assert connect.read_query(said)[1] == raw


def test_every_error_has_the_protocols_code_and_gets_the_http_code_of_plain_json() -> None:
    for kind in _family(HashHubError):
        needed = {
            name: ""
            for name, parameter in inspect.signature(kind).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        }
        error = kind("wrong", **needed)
        code = "canceled" if error.code is StatusCode.CANCELLED else error.code.lower()  # as the protocol spells it
        assert json.loads(connect.error_json(error))["code"] == code
        assert connect.status_of(error) == HTTP_STATUS[error.code]


def _family(kind: type[HashHubError]) -> list[Any]:
    members = (k for sub in kind.__subclasses__() for k in _family(sub))
    return [kind, *(k for k in members if k.__module__ == "hashhub.errors" and not k.__name__.startswith("_"))]
