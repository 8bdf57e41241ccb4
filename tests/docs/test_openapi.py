"""The OpenAPI document is valid, is what the contract says, and is what the HTTP door answers."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, HashSet
from hashhub.server.servicers import FILES, ROLES
from hashhub.testing.hub_process import RunningHub
from tests.docs.reference import openapi
from tests.warm import Warm

PAGE: dict[str, Any] = json.loads(openapi())
CALLS = {path.removeprefix("/hashhub.v1."): verbs["post"] for path, verbs in PAGE["paths"].items() if "post" in verbs}


def test_the_page_is_valid() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # in a second, which each collection would take

    assert [e.message for e in OpenAPIV31SpecValidator(PAGE).iter_errors()] == []


def test_every_call_but_streams_is_on_it_and_is_explained() -> None:
    methods = {
        f"{service.name}/{rpc.name}": rpc
        for file in FILES
        for service in file.services_by_name.values()
        for rpc in service.methods
    }
    assert set(methods) == set(ROLES)
    assert set(CALLS) == {name for name, rpc in methods.items() if not rpc.server_streaming}
    assert len(CALLS) > 50
    for name, call in CALLS.items():
        assert call["summary"], name
        for role in ROLES[name]:
            assert role.value.lower() in call["description"], name
        asked = call["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert asked == methods[name].input_type.name


def test_every_field_is_there_and_is_explained() -> None:
    schemas = PAGE["components"]["schemas"]
    fields = 0
    for file in FILES:
        for name, message in file.message_types_by_name.items():
            assert list(schemas[name].get("properties", {})) == [f.json_name for f in message.fields]
            for field in message.fields:
                shown = schemas[name]["properties"][field.json_name]
                assert shown.get("description"), f"{name}.{field.name}"
                assert (shown.get("type") == "array") == (field.is_repeated and not is_map(field))
                fields += 1
    assert fields > 200


def is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@pytest.fixture(scope="module")
def hub(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with warmed.hub(tmp_path_factory.mktemp("hub")) as running:
        with Client(running.address, running.token, timeout=60.0) as client:
            client.create_contributor(
                Contributor(id="nl", display_name="Hotline", kind=ContributorKind.HOTLINE, jurisdiction="NL")
            )
            client.create_hash_set(HashSet(contributor="nl", id="known", scheme="vic-us"))
            client.import_source(io.BytesIO(b"ab" * 16 + b"\nnonsense\n"), hash_set="nl/known", connector="hash-lines")
        yield running


def post(hub: RunningHub, call: str, body: object, *, token: str | None = None) -> tuple[int, Any]:
    address = hub.http if hub.http.startswith("http") else f"http://{hub.http}"
    request = urllib.request.Request(  # noqa: S310 - the hub of this test
        f"{address}/hashhub.v1.{call}",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {hub.token if token is None else token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        with e:
            return e.code, json.load(e)


def errors_of(schema: str, value: object) -> list[str]:
    """What of a value is not as the page says; nothing that the page does not name is let through."""
    from jsonschema import Draft202012Validator  # likewise

    whole = {"$ref": f"#/components/schemas/{schema}", "components": strict(PAGE["components"])}
    return [f"{'.'.join(map(str, e.path))}: {e.message}" for e in Draft202012Validator(whole).iter_errors(value)]


def strict(node: Any) -> Any:
    if isinstance(node, dict):
        closed = {k: strict(v) for k, v in node.items()}
        if "properties" in node and "@type" not in node["properties"] and "additionalProperties" not in node:
            closed["additionalProperties"] = False
        return closed
    return [strict(v) for v in node] if isinstance(node, list) else node


PARENT = {"parent": "contributors/nl/hashSets/known"}
ASKED = {
    "AdminService/GetStatus": {},
    "AdminService/ListTokens": {"pageSize": 10},
    "ChangeService/ListChanges": {"pageSize": 10},
    "ContributionService/ListEntries": PARENT,
    "ContributionService/ListImports": PARENT,
    "ContributorService/GetContributor": {"name": "contributors/nl"},
    "ContributorService/ListHashSets": {"parent": "contributors/-"},
    "HistoryService/ListEvents": {"pageSize": 10},
    "MatchService/ListPolicies": {},
    "MatchService/ListSchemes": {},
    "MatchService/MatchHashes": {
        "query": {"hashes": [{"algorithm": "MD5", "digest": "q6urq6urq6urq6urq6urqw=="}]},
        "options": {"policy": "any", "maxDistances": {"PDQ": 31}},
    },
}


@pytest.mark.parametrize("call", sorted(ASKED))
def test_answers_are_as_the_page_says(hub: RunningHub, call: str) -> None:
    content = CALLS[call]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert errors_of(content.rpartition("/")[2], ASKED[call]) == []
    status, answer = post(hub, call, ASKED[call])
    assert status == 200, answer
    assert answer
    schema = CALLS[call]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert errors_of(schema.rpartition("/")[2], answer) == []


def test_errors_are_as_the_page_says(hub: RunningHub) -> None:
    for call, body, token, status in (
        ("MatchService/MatchHashes", {}, None, 400),
        ("MatchService/MatchHashes", {"nonsense": 1}, None, 400),
        ("AdminService/GetStatus", {}, "hh_nobody", 401),
        ("ContributorService/GetContributor", {"name": "contributors/none"}, None, 404),
    ):
        got, answer = post(hub, call, body, token=token)
        assert got == status, answer
        assert str(status) in CALLS[call]["responses"]
        assert errors_of("google.rpc.Status", answer) == []
        assert answer["details"][0]["reason"]


def test_a_wrong_answer_would_be_noticed() -> None:
    assert errors_of("MatchResult", {"verdict": "VERDICT_MAYBE"})
    assert errors_of("MatchResult", {"verdit": "VERDICT_MATCH"})
    assert errors_of("Entry", {"name": 7})
