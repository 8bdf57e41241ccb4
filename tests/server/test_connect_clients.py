"""The official clients of the Connect protocol understand what the HTTP door says: those for Python and for Node.js."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from hashhub import v1
from hashhub.server.servicers import FILES
from tests.node import node_script
from tests.server.test_bridge import QUERY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import Served

HERE = Path(__file__).parent / "connect_node"
MATCH = ("MatchService/MatchHashes", v1.MatchHashesRequest, v1.MatchHashesResponse)
LIST = ("ContributorService/ListContributors", v1.ListContributorsRequest, v1.ListContributorsResponse)
CREATE = ("ContributorService/CreateContributor", v1.CreateContributorRequest, v1.Contributor)
GET = ("ContributorService/GetContributor", v1.GetContributorRequest, v1.Contributor)


def match_request(label: str = "") -> v1.MatchHashesRequest:
    request: v1.MatchHashesRequest = json_format.ParseDict(QUERY, v1.MatchHashesRequest())
    request.query.label = label
    return request


def call(
    client: ConnectClientSync,
    method: tuple[str, type[Message], type[Message]],
    request: Message,
    token: str,
    **how: Any,
) -> Any:
    service, _, name = method[0].partition("/")
    info: MethodInfo[Any, Any] = MethodInfo(
        name=name, service_name=f"hashhub.v1.{service}", input=method[1], output=method[2],
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS, stream_type=StreamType.UNARY,
    )  # fmt: skip
    return client.execute_unary(request=request, method=info, headers={"authorization": f"Bearer {token}"}, **how)


@pytest.fixture(params=["proto", "json"])
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[ConnectClientSync]:
    """The Python client; it packs what it sends, and asks for packed answers."""
    codec = google_protobuf_binary_codec() if request.param == "proto" else google_protobuf_json_codec()
    with ConnectClientSync(f"http://{served.doors.http_address}", codec=codec) as opened:
        yield opened


def test_python_gets_the_answers_that_grpc_gets(served: Served, client: ConnectClientSync) -> None:
    request = match_request("ours")
    by_grpc = served.call(MATCH[0], request, MATCH[2])
    for how in ({}, {"use_get": True}, {"timeout_ms": 20_000}):
        answer = call(client, MATCH, request, served.tokens["CONSUMER"], **how)
        assert answer.result == by_grpc.result


def test_python_reads_errors_and_their_details(served: Served, client: ConnectClientSync) -> None:
    missing = v1.GetContributorRequest(name="contributors/no")
    wrong = v1.MatchHashesRequest(query=v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=b"short")]))
    for method, request, token, code, reason in (
        (MATCH, match_request(), "hh_wrong", Code.UNAUTHENTICATED, "TOKEN_UNKNOWN"),
        (LIST, v1.ListContributorsRequest(), served.tokens["CONSUMER"], Code.PERMISSION_DENIED, "ROLE_NOT_ALLOWED"),
        (GET, missing, served.tokens["OPERATOR"], Code.NOT_FOUND, "RESOURCE_NOT_FOUND"),
        (MATCH, wrong, served.tokens["CONSUMER"], Code.INVALID_ARGUMENT, "INVALID_FIELD"),
    ):  # fmt: skip
        with pytest.raises(ConnectError) as refused:
            call(client, method, request, token)
        assert refused.value.code is code
        detail = refused.value.details[0]
        info = error_details_pb2.ErrorInfo.FromString(detail.message_bytes)
        assert (detail.type_name, info.reason, info.domain) == ("google.rpc.ErrorInfo", reason, "hashhub.dev")


def test_python_packs_large_messages_both_ways(served: Served, client: ConnectClientSync) -> None:
    names = [f"packed-{id(client):x}-{i}" for i in range(20)]
    for name in names:
        served.new_contributor(name)
    listed = call(client, LIST, v1.ListContributorsRequest(page_size=1000), served.tokens["OPERATOR"])
    assert {f"contributors/{name}" for name in names} <= {c.name for c in listed.contributors}
    with pytest.raises(ConnectError, match="label"):
        call(client, MATCH, match_request("x" * 300_000), served.tokens["CONSUMER"])


@pytest.fixture(scope="module")
def node() -> Iterator[list[str]]:
    with node_script(HERE / "client.js") as command:
        yield command


def name_fields(message: DescriptorProto) -> None:
    """Add what Python's descriptors leave out: the fields' names in JSON."""
    for field in message.field:
        first, *rest = field.name.split("_")
        field.json_name = first + "".join(word.capitalize() for word in rest)
    for nested in message.nested_type:
        name_fields(nested)


def by_node(node: list[str], served: Served, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    contract = FileDescriptorSet()
    known: set[str] = set()

    def add(file: Any) -> None:
        if file.name not in known:
            known.add(file.name)
            for dependency in file.dependencies:
                add(dependency)
            file.CopyToProto(contract.file.add())
            for message in contract.file[-1].message_type:
                name_fields(message)

    for file in (*FILES, error_details_pb2.DESCRIPTOR):
        add(file)
    asked = {
        "address": served.doors.http_address,
        "token": served.tokens["OPERATOR"],
        "contract": base64.b64encode(contract.SerializeToString()).decode(),
        "calls": calls,
    }
    said = subprocess.run(node, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stderr
    came: list[dict[str, Any]] = json.loads(said.stdout)
    return came


def test_node_gets_answers_in_every_form(served: Served, node: list[str]) -> None:
    forms = [
        {"json": is_json, "get": is_get, "compressed": is_compressed}
        for is_json in (False, True)
        for is_get in (False, True)
        for is_compressed in (False, True)
    ]
    match = {"service": "MatchService", "method": "matchHashes", "request": QUERY}
    listing = {"service": "ContributorService", "method": "listContributors", "request": {"pageSize": 1000}}
    for came in by_node(node, served, *({**match, **form} for form in forms)):
        assert came["answer"]["result"]["verdict"] == "VERDICT_NO_MATCH"
    for came in by_node(node, served, *({**listing, **form, "timeout": 20_000} for form in forms)):
        assert "contributors/home" in {c["name"] for c in came["answer"]["contributors"]}


def test_node_sends_large_messages(served: Served, node: list[str]) -> None:
    content = base64.b64encode(os.urandom(300_000) + bytes(2_000_000)).decode()
    media = {
        "service": "MatchService",
        "method": "matchMedia",
        "request": {"media": {"content": content}, "options": {"policy": "any"}},
    }
    for came in by_node(node, served, media, {**media, "compressed": True}, {**media, "json": True}):
        assert {h["algorithm"] for h in came["answer"]["result"]["hashes"]} == {"MD5", "SHA1", "SHA256"}


def test_node_reads_errors_and_what_is_not_there(served: Served, node: list[str]) -> None:
    match = {"service": "MatchService", "method": "matchHashes", "request": QUERY}
    refused = [
        {**match, "token": "hh_wrong"},
        {**match, "request": {}},
        {"service": "ContributorService", "method": "getContributor", "request": {"name": "contributors/no"}},
        {"service": "ChangeService", "method": "followChanges", "request": {}},
    ]
    unknown, empty, missing, stream = by_node(node, served, *refused)
    assert (unknown["code"], unknown["reasons"]) == ("Unauthenticated", ["TOKEN_UNKNOWN"])
    assert (empty["code"], empty["reasons"]) == ("InvalidArgument", ["INVALID_FIELD"])
    assert (missing["code"], missing["reasons"]) == ("NotFound", ["RESOURCE_NOT_FOUND"])
    assert stream["code"] == "Unimplemented", stream
    assert "ListChanges" in stream["message"]
