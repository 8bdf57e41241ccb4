"""People with ID tokens: who gets a session, as whom, until when; and an issuer that misbehaves."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from msgspec.structs import replace

from hashhub import openid
from hashhub.client import Client
from hashhub.config import Config
from hashhub.errors import (
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    PermissionDenied,
    Reason,
    Unauthenticated,
    Unavailable,
)
from hashhub.hub import Hub, people
from hashhub.hub.access import Tokens
from hashhub.model import Caller, Group, HashSet, Principal, Role
from tests.patience import PATIENCE, wait_until
from tests.server.conftest import Serve, Served
from tests.server.issuer import AUDIENCE, Issuer, issuing
from tests.server.test_policies import MINE


@dataclass
class Place:
    """A hub whose people one issuer knows."""

    served: Served
    issuer: Issuer

    def client(self, secret: str) -> Client:
        return Client(self.served.doors.grpc_address, secret, timeout=PATIENCE, retry_seconds=0)

    @property
    def operator(self) -> Client:
        return self.client(self.served.tokens["OPERATOR"])

    def begin(self, id_token: str) -> str:
        with self.client(id_token) as client:
            return client.begin_session()[0]

    def refused(self, id_token: str) -> Reason:
        """Return why an ID token begins no session. It is UNAUTHENTICATED, and no call is let in with it."""
        with self.client(id_token) as client, pytest.raises(Unauthenticated) as refused:
            client.begin_session()
        assert self.over_http("MatchService/MatchHashes", id_token).status_code == 401
        return refused.value.reason

    def over_http(self, call: str, secret: str) -> httpx.Response:
        url = f"http://{self.served.doors.http_address}/hashhub.v1.{call}"
        return httpx.post(url, json={}, headers={"authorization": f"Bearer {secret}"}, timeout=PATIENCE)

    @property
    def warnings(self) -> str:
        with self.operator as operator:
            return "; ".join(operator.status().warnings)


@pytest.fixture
def at(serve_hub: Serve) -> Iterator[Place]:
    with issuing() as issuer:
        served = serve_hub(oidc_issuer=issuer.url, oidc_audience=AUDIENCE)
        with Client(served.doors.grpc_address, served.tokens["OPERATOR"], timeout=PATIENCE) as operator:
            for name, role in (("analysts", Role.CONTRIBUTOR), ("operators", Role.OPERATOR)):
                contributor = "home" if role is Role.CONTRIBUTOR else ""
                operator.create_token(
                    Principal(name=name, role=role, contributor=contributor, identities=(f"OIDC:{name}",))
                )
        assert served.hub.people is not None
        wait_until(lambda: bool(served.hub.people and served.hub.people.keys))
        yield Place(served, issuer)


def test_a_person_is_the_token_that_has_a_value_of_their_claim(at: Place) -> None:
    secret = at.begin(at.issuer.token(preferred_username="Ada"))
    with at.client(secret) as ada, at.operator as operator:
        ada.create_hash_set(HashSet(contributor="home", id="list", scheme="vic-us"))
        actor = next(operator.list_events("home/list", limit=1)).actor
        assert (actor.name, actor.contributor, actor.person) == ("analysts", "home", "Ada <u1>")
        with pytest.raises(PermissionDenied):
            list(ada.list_tokens())
        for name, members in (("near", ("home",)), ("far", ())):
            operator.create_group(Group(id=name, members=members))
        caller = Caller(name="analysts", role=Role.CONTRIBUTOR, contributor="home", groups=("near",), person="Ada <u1>")
        assert ada.caller() == caller
    boss = at.begin(at.issuer.token(sub="u2", groups=["operators", "others"], email="grace@example.org"))
    with at.client(boss) as grace:
        grace.create_token(Principal(name="made", role=Role.CONSUMER, contributor="home"))
        assert next(grace.list_events("tokens/made", limit=1)).actor.person == "<u2>"  # the address was not verified


def test_two_persons_never_look_alike(at: Place) -> None:
    told = (
        {"sub": "2", "preferred_username": "Ada <1>"},
        {"sub": "1> <2", "preferred_username": "Ada"},
        {"sub": "Ada <1> <2"},
        {"sub": "%20"},
        {"sub": " "},
        {"sub": "2", "preferred_username": "Ada\u202e\n<1>"},
        {"sub": "3", "email": "ada@example.org", "email_verified": True},
        {"sub": "3", "email": "ada@example.org", "email_verified": "true"},
    )
    names = [people.person_name(claims) for claims in told]
    assert len(set(names)) == len(told), names
    assert all(name.isprintable() for name in names)
    assert names[-2:] == ["ada@example.org <3>", "<3>"]


def test_every_algorithm_that_is_taken(at: Place) -> None:
    for key, algorithm in ((0, "RS256"), (0, "PS256"), (1, "ES256")):
        at.begin(at.issuer.token(key=at.issuer.keys[key], header={"alg": algorithm}))


def test_a_token_that_names_no_key_may_be_signed_with_any_of_the_issuers() -> None:
    with issuing() as issuer:
        issuer.keys = [RSAKey.generate_key(2048, {"kid": kid} if kid else None) for kid in ("r1", "r2", "")]
        provider = people.IdentityProvider(Config(oidc_issuer=issuer.url, oidc_audience=AUDIENCE))
        provider.read_keys()
        for key in issuer.keys:
            token = issuer.token(key=key, header={"kid": None})
            assert provider.read(token) == (["OIDC:analysts"], "<u1>")
        foreign = issuer.token(key=RSAKey.generate_key(2048), header={"kid": None})
        other_party = issuer.token(key=issuer.keys[1], header={"kid": None}, azp="other")
        for token in (foreign, other_party):
            with pytest.raises(Unauthenticated):
                provider.read(token)


def _forged(issuer: Issuer, algorithm: str, sign: Callable[[bytes], bytes], **header: Any) -> str:
    parts = ({"alg": algorithm, "kid": "r1", **header}, issuer.claims())
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(sign(text)).rstrip(b"=")).decode()


def _attacks(issuer: Issuer) -> dict[str, str]:
    at, good, rsa = int(time.time()), issuer.token(), issuer.keys[0]
    assert isinstance(rsa, RSAKey)
    pem = rsa.as_pem(private=False)
    other, secret = RSAKey.generate_key(2048, {"kid": "r1"}), OctKey.generate_key(256, {"kid": "r1"})
    head, body, signature = good.split(".")
    return {
        "alg none": _forged(issuer, "none", lambda _: b""),
        "alg None": _forged(issuer, "None", lambda _: b""),
        "no alg": _forged(issuer, "", lambda _: b""),
        "HS256 with the public key": _forged(
            issuer, "HS256", lambda text: hmac.digest(pem, text, hashlib.sha256)
        ),
        "HS256 with a key of its own": issuer.token(key=secret, header={"alg": "HS256"}),
        "RS512": issuer.token(header={"alg": "RS512"}),
        "ES256 with the key of RS256": _forged(issuer, "ES256", lambda _: b"\1" * 64, kid="e1"),
        "another's key, named as the issuer's": issuer.token(key=other),
        "a key that came along": issuer.token(key=other, header={"jwk": other.as_dict(private=False)}),
        "a place of keys that came along": issuer.token(key=other, header={"jku": f"{issuer.url}/other"}),
        "what it must understand": issuer.token(header={"crit": ["b64"], "b64": False}),
        "an access token": issuer.token(header={"typ": "at+jwt"}),
        "a logout token": issuer.token(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
        "changed": f"{head}.{body[:-8]}AAAAAAAA.{signature}",
        "cut": good[:-9],
        "without a signature": f"{head}.{body}.",
        "nothing in it": "..",
        "deep": ".".join((head, base64.urlsafe_b64encode(b"[" * 4000).decode().rstrip("="), signature)),
        "another audience": issuer.token(aud="other"),
        "several, and no party": issuer.token(aud=[AUDIENCE, "other"]),
        "several, and another party": issuer.token(aud=[AUDIENCE, "other"], azp="other"),
        "one, and another party": issuer.token(azp="other"),
        "a list of parties": issuer.token(azp=[AUDIENCE, "other"]),
        "several, and a list of parties": issuer.token(aud=[AUDIENCE, "other"], azp=[AUDIENCE]),
        "no audience": issuer.token(aud=None),
        "audience of numbers": issuer.token(aud=[1]),
        "another issuer": issuer.token(iss=f"{issuer.url}/"),
        "no issuer": issuer.token(iss=None),
        "no subject": issuer.token(sub=None),
        "empty subject": issuer.token(sub=""),
        "a list of subjects": issuer.token(sub=["u1"]),
        "long subject": issuer.token(sub="u" * 256),
        "over": issuer.token(iat=at - 400, exp=at - 65),
        "no end": issuer.token(exp=None),
        "end that is no number": issuer.token(exp="2099-01-01"),
        "endless": issuer.token(exp=float("nan")),
        "not yet": issuer.token(nbf=at + 75),
        "from the future": issuer.token(iat=at + 75),
        "no beginning": issuer.token(iat=None),
    }  # fmt: skip


def test_what_each_forged_or_foreign_id_token_gets(at: Place) -> None:
    got = {what: at.refused(token) for what, token in _attacks(at.issuer).items()}
    assert got == dict.fromkeys(got, Reason.ID_TOKEN_INVALID)
    got = {
        what: at.refused(at.issuer.token(groups=groups))
        for what, groups in {
            "of no group": ["others"],
            "of several": ["analysts", "operators"],
            "no groups": None,
            "groups of another kind": {"analysts": True},
            "a number": [7, None, ["analysts"]],
            "nearly": ["Analysts", " analysts", "analysts\u0000", "analysts\n"],
            "a machine's name": ["URI:spiffe://pilot.example/nl", "operator"],
        }.items()
    }
    assert got == dict.fromkeys(got, Reason.PERSON_UNKNOWN)
    assert at.issuer.asked["/other"] == 0


def test_clocks_may_differ_by_a_minute(at: Place) -> None:
    now = int(time.time())
    told: list[dict[str, Any]] = [{"exp": now - 50}, {"nbf": now + 50}, {"iat": now + 50}]
    for claims in told:
        at.begin(at.issuer.token(**claims))


def test_an_id_token_begins_a_session_and_nothing_else(at: Place) -> None:
    token = at.issuer.token(groups=["operators"])
    at.begin(token)
    with at.client(token) as client, pytest.raises(Unauthenticated) as refused:
        list(client.list_tokens())
    assert refused.value.reason is Reason.ID_TOKEN_INVALID
    with at.client(token) as client, pytest.raises(Unauthenticated):
        next(iter(client.follow_changes()))
    assert at.over_http("AdminService/ListTokens", token).status_code == 401
    begun = at.over_http("AdminService/BeginSession", token)
    assert begun.status_code == 200
    secret = begun.json()["secret"]
    assert at.over_http("AdminService/ListTokens", secret).status_code == 200
    with at.client(secret) as client:
        with pytest.raises(FailedPrecondition) as again:
            client.begin_session()
        assert again.value.reason is Reason.CERTIFICATE_MISSING
    for forged in (secret[:-2] + "AA", secret + "A", secret.replace("_", "_A", 1)):
        with at.client(forged) as client, pytest.raises(Unauthenticated):
            list(client.list_tokens())


def test_whoever_has_a_copy_of_the_database_begins_no_session_for_the_hub(at: Place, tmp_path: Path) -> None:
    hub, token = at.served.hub, at.issuer.token(groups=["operators"])
    data = at.served.data
    secret = at.begin(token)
    assert stat.S_IMODE((data / "session.key").stat().st_mode) == 0o600
    copied = tmp_path / "copied"
    copied.mkdir(mode=0o700)
    with closing(sqlite3.connect(data / "hashhub.db")) as own, closing(sqlite3.connect(copied / "hashhub.db")) as other:
        own.backup(other)
    with Hub.open(Config(data=str(copied), oidc_issuer=at.issuer.url, oidc_audience=AUDIENCE)) as thief:
        assert thief.people is not None
        thief.people.read_keys()
        forged, _ = thief.tokens.begin_session(thief.tokens.authenticate(token))
        for tokens, foreign in ((hub.tokens, forged), (thief.tokens, secret)):
            with pytest.raises(Unauthenticated):
                tokens.authenticate(foreign)
    worker = Tokens(hub.store, None, hub.people, session_key=data / "session.key")
    assert worker.authenticate(secret).person == "<u1>"


def test_a_person_gets_no_secret_that_would_outlive_the_session(at: Place) -> None:
    with at.client(at.begin(at.issuer.token())) as ada, pytest.raises(PermissionDenied):
        ada.rotate_token("analysts")


@pytest.mark.parametrize("end", ["deleted", "expired", "moved"])
def test_a_session_ends_with_what_it_rests_on(at: Place, end: str) -> None:
    secret = at.begin(at.issuer.token())
    with at.client(secret) as ada, at.operator as operator:
        ada.get_contributor("home")
        token = next(token for token in operator.list_tokens() if token.name == "analysts")
        if end == "deleted":
            operator.delete_token("analysts")
        elif end == "expired":
            at_once = replace(token, expire_time=token.create_time)
            operator.update_token(at_once, ["expire_time"])
        else:
            operator.update_token(replace(token, identities=("OIDC:others",)), ["identities"])
        time.sleep(1.1)
        with pytest.raises(Unauthenticated):
            ada.get_contributor("home")
    with pytest.raises(Unauthenticated):
        at.begin(at.issuer.token())


def test_sessions_end_by_themselves_and_with_the_issuer(at: Place) -> None:
    tokens, provider = at.served.hub.tokens, at.served.hub.people
    assert provider is not None
    secret = at.begin(at.issuer.token())
    assert tokens.authenticate(secret).person == "<u1>"
    for of_another in (people.IdentityProvider(Config(oidc_issuer="https://o.example", oidc_audience="a")), None):
        with pytest.raises(Unauthenticated):
            Tokens(at.served.hub.store, None, of_another).authenticate(secret)
    with pytest.raises(Unauthenticated) as unknown:
        Tokens(at.served.hub.store).authenticate(at.issuer.token())
    assert unknown.value.reason is Reason.TOKEN_UNKNOWN
    assert tokens.authenticate(secret).person == "<u1>"
    provider.session_seconds = 3.0
    with at.client(at.issuer.token()) as client:
        secret, until = client.begin_session()
    assert until.timestamp() - time.time() < 3.1
    with suppress(Unauthenticated):  # it works, and is known for a second, unless a busy machine was slower
        assert tokens.authenticate(secret).person == "<u1>"
    time.sleep(max(0.0, until.timestamp() - time.time()) + 1.1)
    with at.client(secret) as client, pytest.raises(Unauthenticated) as over:
        client.get_contributor("home")
    assert over.value.reason is Reason.TOKEN_EXPIRED


def test_a_new_key_is_learned_and_strangers_cannot_have_the_issuer_asked(
    at: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that names a key that is not known yet is told to come again, and does not wait."""
    old = at.issuer.token()
    at.issuer.rotate()
    provider = at.served.hub.people
    assert provider is not None
    known, asked = provider.keys, at.issuer.asked["/jwks"]
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable) as away:
            at.begin(at.issuer.token())
        assert away.value.reason is Reason.ISSUER_UNAVAILABLE
        assert 1 <= (away.value.retry_after or 0) <= 30
    assert time.monotonic() - began < 25
    assert at.issuer.asked["/jwks"] == asked  # it was read less than half a minute ago
    monkeypatch.setattr(people, "ASKED_SECONDS", 0.5)
    time.sleep(0.6)
    with pytest.raises(Unavailable):
        at.begin(at.issuer.token())
    wait_until(lambda: provider.keys is not known)  # what was asked for is read some time after the issuer was asked
    assert at.issuer.asked["/jwks"] == asked + 1
    at.begin(at.issuer.token())
    with pytest.raises(Unavailable):
        at.begin(old)  # the key was taken away


def test_an_issuer_that_is_away(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are known go on, sessions go on, `status` says it; after a day nobody logs in."""
    secret = at.begin(at.issuer.token())
    at.issuer.answers["/.well-known/openid-configuration"] = lambda handler: handler.send_error(503)
    assert at.served.hub.people is not None
    at.served.hub.people.thread.wake()
    wait_until(lambda: "identity provider's keys cannot be read" in at.warnings)
    at.begin(at.issuer.token())
    monkeypatch.setattr(people, "KEPT_SECONDS", 0.0)
    with pytest.raises(Unavailable):
        at.begin(at.issuer.token(jti="another"))
    with at.client(secret) as ada, at.operator as operator:
        ada.get_contributor("home")
        operator.status()


def _slowly(handler: Any, head: bytes = b"HTTP/1.0 200 OK\r\n\r\n", piece: bytes = b" ") -> None:
    with suppress(OSError):
        handler.wfile.write(head)
        for _ in range(1200):
            time.sleep(0.05)
            handler.wfile.write(piece)


def _headers_slowly(handler: Any) -> None:
    _slowly(handler, b"HTTP/1.0 200 OK\r\n", b"x: y\r\n")


def _redirected(handler: Any) -> None:
    handler.send_response(302)
    handler.send_header("location", "/elsewhere")
    handler.end_headers()


BAD_ANSWERS: dict[str, Callable[[Any], None]] = {
    "huge": lambda handler: handler.send(b'{"keys": [' + b" " * (1 << 20) + b"]}"),
    "slow": _slowly,
    "slow headers": _headers_slowly,
    "elsewhere": _redirected,
    "no JSON": lambda handler: handler.send(b"<html>"),
    "deep": lambda handler: handler.send(b"[" * 100_000),
    "a list": lambda handler: handler.send([]),
    "no keys": lambda handler: handler.send({}),
    "keys of another kind": lambda handler: handler.send({"keys": 7}),
    "no usable key": lambda handler: handler.send(
        {"keys": [7, {"kty": "oct", "k": "AAAA", "kid": "r1"}, {"kty": "new"}, {"kty": "RSA", "n": "!", "e": "AQAB"}]}
    ),
    "nothing": lambda handler: handler.close_connection,
}


@pytest.mark.parametrize("path", ["/jwks", "/.well-known/openid-configuration"])
@pytest.mark.parametrize("bad", BAD_ANSWERS)
def test_what_a_bad_answer_of_the_issuer_does(bad: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up within the bound, asked nowhere else, and takes no key away that is known."""
    with issuing() as issuer:
        provider = people.IdentityProvider(Config(oidc_issuer=issuer.url, oidc_audience=AUDIENCE))
        provider.read_keys()
        token = issuer.token(preferred_username="Ada")
        issuer.answers[path] = BAD_ANSWERS[bad]
        monkeypatch.setattr(openid, "SECONDS", 0.5)  # only now: a good answer may take a busy machine longer
        began = time.monotonic()
        with pytest.raises((Unavailable, TypeError)):  # the thread takes either
            provider.read_keys()
        assert time.monotonic() - began < 30  # of the 60 s and more that a slow one would take
        assert issuer.asked["/elsewhere"] == 0
        assert provider.read(token) == (["OIDC:analysts"], "Ada <u1>")


def test_a_discovery_document_of_another_or_with_other_places_is_not_taken() -> None:
    with issuing() as issuer:
        provider = people.IdentityProvider(Config(oidc_issuer=issuer.url, oidc_audience=AUDIENCE))
        usual = issuer.usual("/")
        for changed in (
            {"issuer": f"{issuer.url}/"}, {"issuer": "https://other.example"}, {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": "http://192.0.2.1/jwks"}, {"jwks_uri": None}, {"jwks_uri": "https://u:p@example.org/"},
        ):  # fmt: skip
            issuer.answers["/.well-known/openid-configuration"] = lambda h, c=changed: h.send({**usual, **c})  # type: ignore[misc]
            with pytest.raises(Unavailable):
                provider.read_keys()


def test_weak_keys_and_those_for_something_else_are_left_out() -> None:
    rsa, ec = RSAKey.generate_key(2048, {"kid": "a"}), ECKey.generate_key("P-256", {"kid": "b"})
    assert people.usable_key(rsa.as_dict(private=False)) is not None
    assert people.usable_key(ec.as_dict(private=False)) is not None
    with pytest.warns(UserWarning, match="2048"):
        weak = RSAKey.generate_key(1024).as_dict(private=False)
    with pytest.warns(UserWarning, match="2048"):
        assert people.usable_key(weak) is None
    for one in (
        rsa.as_dict(private=False, use="enc"),
        OctKey.generate_key(256).as_dict(private=True),
        {},
        None,
    ):
        assert people.usable_key(one) is None


def test_an_address_that_nobody_verified_maps_nobody() -> None:
    with issuing() as issuer:
        config = Config(oidc_issuer=issuer.url, oidc_audience=AUDIENCE, oidc_claim="email")
        provider = people.IdentityProvider(config)
        provider.read_keys()
        assert provider.read(issuer.token(email="boss@example.org"))[0] == []
        verified = issuer.token(email="boss@example.org", email_verified=True)
        assert provider.read(verified)[0] == ["OIDC:boss@example.org"]


def test_the_operators_own_token_works_without_the_issuer_and_is_loud(
    at: Place, caplog: pytest.LogCaptureFixture
) -> None:
    at.issuer.answers["/.well-known/openid-configuration"] = lambda handler: handler.send_error(503)
    tokens = Tokens(at.served.hub.store, None, at.served.hub.people)  # as in another process
    with caplog.at_level(logging.WARNING, "hashhub.access"):
        for _ in range(2):
            assert tokens.authenticate(at.served.tokens["OPERATOR"]).name == "operator"
            time.sleep(1.1)  # then it is looked up again
    loud = [record.message for record in caplog.records if "no person" in record.message]
    assert len(loud) == 1
    assert "operator" in loud[0]


def test_settings_that_cannot_work() -> None:
    good: dict[str, Any] = {"oidc_issuer": "https://id.example.org/realms/x", "oidc_audience": "hashhub"}
    Config(**good)
    for wrong in (
        {"oidc_audience": ""}, {"oidc_claim": ""}, {"oidc_issuer": "http://id.example.org"},
        {"oidc_issuer": "https://"}, {"oidc_issuer": "id.example.org"}, {"oidc_issuer": "https://id.example.org/ x"},
        {"oidc_issuer": "https://id.example.org:0"}, {"session_hours": 0.0}, {"session_hours": float("nan")},
        {"session_hours": 1000.0},
    ):  # fmt: skip
        with pytest.raises(InvalidArgument):
            Config(**{**good, **wrong})


def test_values_of_claims_are_written_in_one_way(at: Place) -> None:
    with at.operator as operator:
        made = Principal(name="other", role=Role.CONTRIBUTOR, contributor="home")
        for wrong in ("OIDC:", "OIDC: a", "OIDC:a ", "OIDC:a\nb", "OIDC:a\u202eb", "oidc:a", "OIDC:" + "a" * 600):
            with pytest.raises(HashHubError):
                operator.create_token(replace(made, identities=(wrong,)))
        operator.create_token(replace(made, identities=("OIDC:Analystes Réseau/NL",)))
    at.begin(at.issuer.token(groups=["Analystes Réseau/NL"]))


def test_who_logs_in_under_another_name_is_no_second_person(serve_hub: Serve) -> None:
    """Two people agree; one does not, who has changed groups and name in between."""
    with issuing() as issuer:
        at = Place(serve_hub(oidc_issuer=issuer.url, oidc_audience=AUDIENCE, second_person=True), issuer)
        with at.operator as operator:
            assert "nobody can agree" in at.warnings
            operator.create_token(Principal(name="alone", role=Role.OPERATOR, person="Linus"))
            assert "nobody can agree" in at.warnings
            for name in ("desk", "night"):
                operator.create_token(Principal(name=name, role=Role.OPERATOR, identities=(f"OIDC:{name}",)))
        assert "nobody can agree" not in at.warnings
        wait_until(lambda: bool(at.served.hub.people and at.served.hub.people.keys))
        for groups, sub, name in (("desk", "u1", "Ada"), ("night", "u1", "Grace")):
            secret = at.begin(issuer.token(groups=[groups], sub=sub, preferred_username=name))
            with at.client(secret) as client, pytest.raises(FailedPrecondition) as waits:
                client.put_policy(MINE)
            assert waits.value.reason is Reason.SECOND_PERSON_NEEDED
        with at.client(at.begin(issuer.token(groups=["night"], sub="u2", preferred_username="Grace"))) as grace:
            grace.put_policy(MINE)
            actor = next(event for event in grace.list_events() if event.kind == "POLICY_PUT").actor
            assert (actor.person, actor.second_person) == ("Grace <u2>", "Ada <u1>")
            with pytest.raises(FailedPrecondition):
                grace.retire_policy("mine@1")
        with at.operator as operator, pytest.raises(FailedPrecondition):
            operator.retire_policy("mine@1")  # which nobody has logged in for
        with at.client(at.begin(issuer.token(groups=["night"], sub="u3", preferred_username="Grace"))) as another:
            another.retire_policy("mine@1")  # of the same token, and somebody else
