"""Who may call what, and in which order a call is judged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import grpc
import pytest

from hashhub import v1, wire
from hashhub.config import Config
from hashhub.errors import HashHubError, InvalidArgument, PermissionDenied, Reason, StatusCode, Unauthenticated
from hashhub.model import Principal, Role
from hashhub.server.admission import LimiterName, limiters_of
from hashhub.server.pipeline import Method
from hashhub.server.servicers import FILES, ROLES, methods
from hashhub.server.servicers.requests import READERS, terms_of
from hashhub.server.servicers.requests import served as served_in
from tests.server.conftest import OPERATOR

if TYPE_CHECKING:
    from tests.server.conftest import Served


ROOT = Path(__file__).parents[2]
RPCS = sorted(
    f"{service.name}/{rpc.name}"
    for file in FILES
    for service in file.services_by_name.values()
    for rpc in service.methods
)


@pytest.fixture(scope="module", name="served")
def served_peer(served: Served) -> Iterator[Served]:
    """The hub of all tests, and a token of a peer's."""
    peer = Principal(name="peer-of-access", role=Role.PEER, contributor="home", may_mirror=True)
    tokens = {**served.tokens, Role.PEER: served.hub.tokens.create(OPERATOR, peer)[1]}
    yield replace(served, tokens=tokens)
    served.hub.tokens.delete(OPERATOR, peer.name)


def _outcome(
    served: Served, method: Method, token: str | None, body: bytes = b"", *, timeout: float = 30.0
) -> HashHubError | None:
    """Make the call with a body and return the error that it ends with."""
    try:
        if method.streams:
            ask: grpc.UnaryStreamMultiCallable[bytes, bytes] = served.channel.unary_stream(method.path, None, None)
            stream = ask(body, timeout=timeout, metadata=served.metadata(token))
            for _ in stream:
                stream.cancel()
                break
        else:
            served.call(method.name, body, method.answer, who=token)
    except HashHubError as e:
        return e
    except grpc.RpcError as e:
        return wire.status_to_error(e)
    return None


def test_every_call_says_who_may_make_it_and_in_which_room(served: Served) -> None:
    assert sorted(ROLES) == RPCS
    assert all(ROLES.values())
    of_calls = methods(served.hub, lambda: False, 1 << 20).values()
    assert {method.limiter for method in of_calls} == set(limiters_of(Config())), "and no limiter is nobody's"
    assert set(limiters_of(Config())) == set(get_args(LimiterName))
    # In a limiter of streams a token is counted by its streams, in another by its calls.
    assert {m.limiter for m in of_calls if m.streams} == {"feeds", "live", "exports"}
    assert not {m.limiter for m in of_calls if m.streams} & {m.limiter for m in of_calls if not m.streams}


def test_a_method_that_does_not_say_who_may_call_it_cannot_be_served() -> None:
    with pytest.raises(AttributeError):
        terms_of(lambda principal, request: None)


def test_a_method_in_a_room_that_there_is_not_cannot_be_defined() -> None:
    with pytest.raises(ValueError, match="no limiter 'page'"):

        @served_in(READERS, limiter="page")  # type: ignore[arg-type]
        def misspelt(principal: object, request: object) -> None: ...


def test_every_call_of_the_contract_is_served(served: Served) -> None:
    assert sorted(m.name for m in methods(served.hub, lambda: False, 1 << 20).values()) == RPCS


@pytest.mark.parametrize("name", RPCS)
@pytest.mark.parametrize("role", Role)
def test_each_role_gets_exactly_the_calls_of_the_table(served: Served, name: str, role: Role) -> None:
    method = methods(served.hub, lambda: False, 1 << 20)[f"/hashhub.v1.{name}"]
    if role in ROLES[name]:
        # A stream that is allowed would wait for news.
        error = _outcome(served, method, role, timeout=0.3 if method.streams else 30.0)
        assert not isinstance(error, Unauthenticated | PermissionDenied)
    else:
        error = _outcome(served, method, role)
        assert isinstance(error, PermissionDenied)
        assert error.reason is Reason.ROLE_NOT_ALLOWED


@pytest.mark.parametrize("name", RPCS)
@pytest.mark.parametrize(("token", "reason"), [(None, Reason.TOKEN_MISSING), ("hh_wrong", Reason.TOKEN_UNKNOWN)])
def test_no_call_works_without_a_known_token(served: Served, name: str, token: str | None, reason: Reason) -> None:
    error = _outcome(served, methods(served.hub, lambda: False, 1 << 20)[f"/hashhub.v1.{name}"], token)
    assert isinstance(error, Unauthenticated)
    assert error.reason is reason


@pytest.mark.parametrize("name", RPCS)
def test_the_token_is_judged_before_the_request_is_even_decoded(served: Served, name: str) -> None:
    method = methods(served.hub, lambda: False, 1 << 20)[f"/hashhub.v1.{name}"]
    garbage = b"\xff\xff\xff"
    assert isinstance(_outcome(served, method, None, garbage), Unauthenticated)
    for role in set(Role) - ROLES[name]:
        assert isinstance(_outcome(served, method, role, garbage), PermissionDenied)
    allowed = _outcome(served, method, min(ROLES[name]), garbage)
    assert isinstance(allowed, InvalidArgument)
    assert allowed.violations[0].reason == "NOT_DECODABLE"


def test_the_roles_that_the_contract_states_are_those_of_the_table() -> None:
    stated = {}
    for file in (ROOT / "proto" / "hashhub" / "v1").glob("*_service.proto"):
        text = file.read_text("utf-8")
        service = re.search(r"^service (\w+)", text, re.MULTILINE)
        assert service is not None
        for comment, rpc in re.findall(r"((?:^  //.*\n)+)  rpc (\w+)", text, re.MULTILINE):
            # "or the contributor itself" is the hub's to judge; to the table it is the role.
            if found := re.search(r"Roles?: (.+)\.", comment):
                words = set(re.findall(r"operator|auditor|contributor|consumer|peer", found.group(1)))
                stated[f"{service.group(1)}/{rpc}"] = {Role(w.upper()) for w in words}
    assert len(stated) >= 10
    assert stated == {name: set(ROLES[name]) for name in stated}


@pytest.mark.parametrize("header", ["Basic b3BlcmF0b3I6", "Bearer", "Bearer ", "bearer  hh_wrong", "hh_wrong"])
def test_other_authorization_headers_are_refused(served: Served, header: str) -> None:
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(
        "/hashhub.v1.AdminService/GetStatus", None, None
    )
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"", metadata=(("authorization", header),), timeout=30)
    assert isinstance(wire.status_to_error(caught.value), Unauthenticated)


def test_the_scheme_of_the_header_is_case_insensitive(served: Served) -> None:
    ask: grpc.UnaryUnaryMultiCallable[bytes, v1.Status] = served.channel.unary_unary(
        "/hashhub.v1.AdminService/GetStatus", None, v1.Status.FromString
    )
    answer = ask(b"", metadata=(("authorization", f"bearer {served.tokens['OPERATOR']}"),), timeout=30)
    assert answer.database == "SQLITE"


def test_a_contributor_writes_only_its_own_sets(served: Served) -> None:
    request = v1.CreateHashSetRequest(
        parent="contributors/other", hash_set_id="s", hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)
    )
    with pytest.raises(PermissionDenied) as caught:
        served.call("ContributorService/CreateHashSet", request, v1.HashSet, who="CONTRIBUTOR")
    assert (caught.value.code, caught.value.reason) == (StatusCode.PERMISSION_DENIED, Reason.NOT_YOUR_CONTRIBUTOR)
    assert "not those of other; use a token of other" in caught.value.message


def test_a_token_lives_from_its_creation_to_its_deletion(served: Served) -> None:
    made = served.call(
        "AdminService/CreateToken",
        v1.CreateTokenRequest(token_id="brief", token=v1.Token(role=v1.Role.ROLE_AUDITOR)),  # noqa: S106 - a name
        v1.CreateTokenResponse,
    )
    assert served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status, who=made.secret)
    listed = served.call("AdminService/ListTokens", v1.ListTokensRequest(), v1.ListTokensResponse)
    assert "tokens/brief" in {t.name for t in listed.tokens}
    assert made.secret not in str(listed)
    served.call("AdminService/DeleteToken", v1.DeleteTokenRequest(name="tokens/brief"), v1.DeleteTokenResponse)
    with pytest.raises(Unauthenticated):
        served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status, who=made.secret)
