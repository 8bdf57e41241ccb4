"""Of hash sets that a caller may not list, no call of the contract answers a question beyond the usual distance.

The calls are those whose requests have a distance anywhere: a new one is among them by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from hashhub import v1, wire
from hashhub.errors import HashHubError, Reason
from hashhub.model import TLP, Marking, Principal, Role
from hashhub.server.servicers import ROLES
from tests.hub.conftest import OPERATOR, Desk, item
from tests.server.calls import RPCS
from tests.server.conftest import Serve, Served
from tests.server.test_connect import send
from tests.server.test_every_call import BEGUN, _values

NO_QUESTION: Final = {"PolicyService/SimulatePolicy": "for operators, who read all of it"}
USUAL: Final = {"PDQ": 31, "PHASH": 10, "DHASH": 10, "VPDQ": 31}
CALLERS: Final = {"reader": Role.CONSUMER, "writer": Role.CONTRIBUTOR}


def _ways(message: Descriptor, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the way to every field of a request that is a distance, or distances."""
    for field in message.fields:
        if "distance" in field.name:
            yield (*at, field.name)
        elif field.message_type not in {None, v1.Marking.DESCRIPTOR}:  # terms say how far away may be asked
            yield from _ways(field.message_type, (*at, field.name))


CALLS: Final = {name: ways for name, rpc in RPCS.items() if (ways := list(_ways(rpc.input_type)))}
ASKED: Final = [(name, way) for name in sorted(CALLS.keys() - NO_QUESTION.keys()) for way in CALLS[name]]


def _request(call: str, way: tuple[str, ...], distances: Mapping[str, int]) -> dict[str, Any]:
    """Return a request that gets past its checks, with these distances."""
    said = dict(BEGUN.get(call, {}))
    for field in RPCS[call].input_type.fields:
        is_one_of = field.containing_oneof is not None and any(f.name in said for f in field.containing_oneof.fields)
        if field.name not in said and not is_one_of and (field.message_type or field.name == "policy"):
            said[field.name] = _values(field)[0]
    inside: dict[str, Any] = {way[-1]: dict(distances)}
    for name in reversed(way[:-1]):
        inside = {name: inside}

    def merged(below: Any, above: Any) -> Any:
        return {**below, **{k: merged(below.get(k, {}), v) for k, v in above.items()}} if type(above) is dict else above

    said = merged(said, inside)
    assert isinstance(said, dict)
    return said


@pytest.fixture
def closed(serve_hub: Serve) -> Served:
    served = serve_hub()
    desk = Desk(served.hub)
    desk.hash_set("nl/known", marking=Marking(tlp=TLP.AMBER_STRICT))
    desk.contribute("nl/known", *(item(n, algorithms=("MD5", "PDQ")) for n in range(5)))
    for who, role in CALLERS.items():
        _, served.tokens[who] = served.hub.tokens.create(OPERATOR, Principal(name=who, role=role, contributor="home"))
    return served


def _asked(served: Served, call: str, said: dict[str, Any], who: str) -> Reason | str:
    """Return the reason of the refusal by gRPC; empty where the call is answered."""
    rpc = RPCS[call]
    request, answer = ParseDict(said, GetMessageClass(rpc.input_type)()), GetMessageClass(rpc.output_type)
    try:
        if rpc.client_streaming:
            made: Any = served.channel.stream_stream(f"/hashhub.v1.{call}", v1.MatchLiveRequest.SerializeToString)
            list(made(iter([request]), metadata=served.metadata(who), timeout=60))
        else:
            served.call(call, request, answer, who=who)
    except grpc.RpcError as e:
        return wire.status_to_error(e).reason
    except HashHubError as e:
        return e.reason
    return ""


@pytest.mark.parametrize(("call", "way"), ASKED, ids=[f"{call}:{'.'.join(way)}" for call, way in ASKED])
def test_beyond_the_usual_distance_it_is_refused(closed: Served, call: str, way: tuple[str, ...]) -> None:
    callers = [who for who, role in CALLERS.items() if role in ROLES[call]]
    assert callers
    for who in callers:
        usual = _request(call, way, USUAL)
        assert _asked(closed, call, usual, who) == ""
        for name, most in (*USUAL.items(), ("PHOTODNA", 0)):
            wide = _request(call, way, {name: most + 1})
            assert _asked(closed, call, wide, who) is Reason.DISTANCE_NOT_ALLOWED
            if not RPCS[call].client_streaming:
                path, body = f"/hashhub.v1.{call}", json.dumps(wide).encode()
                answer = send(closed, path, body, who=who, kind="application/json")
                assert answer.status == 403
                assert Reason.DISTANCE_NOT_ALLOWED.encode() in answer.body
    assert _asked(closed, call, _request(call, way, {"PDQ": 256}), "OPERATOR") == ""


def test_every_call_that_takes_a_distance_is_asked() -> None:
    names = ("MatchHashes", "BatchMatchHashes", "MatchMedia", "BatchMatchMedia", "MatchLive")
    assert CALLS.keys() >= {*(f"MatchService/{name}" for name in names), "PolicyService/ExplainMatch", *NO_QUESTION}
    assert all(ROLES[call].isdisjoint(CALLERS.values()) for call in NO_QUESTION)
