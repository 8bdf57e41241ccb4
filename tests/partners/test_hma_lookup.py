"""HMA's routes that hash, look up and compare, and what a stranger, a rude client and a hub that cannot match get."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from msgspec.structs import replace

from hashhub import v1
from hashhub.config import Config
from hashhub.errors import HashHubError, Unavailable
from hashhub.hub.outbound import Downloads
from hashhub.model import TLP, Marking, Principal, Reliability, Role
from hashhub.partners import HMADoor, PartnerAnswer, PartnerRequest
from tests.partners.conftest import FORM, HMAClient, client, form
from tests.server.conftest import OPERATOR, Serve, Served

SIGNAL = "facd8bcb2a49bcebdec1985298d5fe84bcd006c187c598c720c3c087b3fdb318"
NEAR = "facd8bcb2a49bcebdec1985228d5ae84bcd006c187c598c720c2b087b3fdb318"  # nine bits away


def with_bank(here: HMAClient, name: str = "BANK", **signals: str) -> int:
    assert here.json("POST", "/c/banks", {"name": name}).status == 201
    answer = here.json("POST", f"/c/bank/{name}/signal", signals or {"pdq": SIGNAL})
    assert answer.status == 200, answer.body
    return int(answer.json["id"])


def test_a_signal_is_looked_up_near_and_far(home: HMAClient) -> None:
    number = with_bank(home)
    assert home.lookup(SIGNAL).json == {"BANK": [{"bank_content_id": number, "distance": "0"}]}
    assert home.lookup(NEAR).json == {"BANK": [{"bank_content_id": number, "distance": "9"}]}
    assert home.lookup("5" * 64).json == {}
    assert home.lookup(NEAR, banks="OTHER,BANK").json.keys() == {"BANK"}
    assert home.lookup(NEAR, banks="OTHER").json == {}
    raw = {"signal_type": "pdq", "signal": NEAR}
    assert home.get("/m/raw_lookup", **raw).json == {"matches": [number]}
    told = home.get("/m/raw_lookup", **raw, include_distance="True").json
    assert told == {"matches": [{"bank_content_id": number, "distance": "9"}]}


def test_what_hashhub_knows_beyond_stands_where_old_clients_do_not_look(home: HMAClient) -> None:
    number = with_bank(home)
    answer = home.lookup(SIGNAL)
    assert list(answer.json) == ["BANK"]
    assert list(answer.json["BANK"][0]) == ["bank_content_id", "distance"]
    assert answer.headers["hashhub-verdict"] == "MATCH"
    assert answer.headers["hashhub-policy"] == "any@1"
    assert int(answer.headers["hashhub-revision"]) > 0
    (match,) = home.lookup(SIGNAL, statements="true").json["BANK"]
    assert match["bank_content_id"] == number
    assert match["statement"]["entry"]["name"].startswith("contributors/home/hashSets/bank/entries/")


@pytest.mark.parametrize(
    ("distances", "found"),
    [("", {"NEAR", "FAR"}), ("8", set()), ("8, NEAR=9", {"NEAR"}), ("40, NEAR=8", {"FAR"})],
)
def test_a_bank_matches_as_far_as_the_operator_says(serve_hub: Serve, distances: str, found: set[str]) -> None:
    here = client(serve_hub(hma_purpose="test", hma_distances=distances))
    for bank in ("NEAR", "FAR"):
        with_bank(here, bank)
    assert here.lookup(NEAR).json.keys() == found


@pytest.mark.parametrize(
    ("policies", "found", "unnamed"),
    [
        ("", {"PLAIN", "STRICT"}, None),
        ("block", set(), "PLAIN,STRICT"),
        ("STRICT=block", {"PLAIN"}, "STRICT"),
        ("block, STRICT=any", {"STRICT"}, "PLAIN"),
    ],
)
def test_a_bank_with_a_policy_is_named_where_that_says_match(
    serve_hub: Serve, picture: bytes, policies: str, found: set[str], unnamed: str | None
) -> None:
    served = serve_hub(hma_purpose="csam", hma_policies=policies)
    here = client(served)
    signal = here.file("/h/hash", "photo", picture).json["pdq"]
    for bank in ("PLAIN", "STRICT"):
        with_bank(here, bank, pdq=signal)
    for answer, banks in ((here.lookup(signal), None), (here.file("/m/lookup", "photo", picture), "pdq")):
        assert (answer.json[banks] if banks else answer.json).keys() == found
        assert answer.headers.get("hashhub-unnamed") == unnamed
        assert answer.headers["hashhub-verdict"] == "MATCH"  # by `any`
    # A second one states it, so that `block` says MATCH.
    home = replace(served.hub.contributors.get(OPERATOR, "home"), reliability=Reliability.B)
    served.hub.contributors.update(OPERATOR, home, ("reliability",))
    served.hub.contributors.create(OPERATOR, replace(home, id="other"))
    _, token = served.hub.tokens.create(OPERATOR, Principal(name="o", role=Role.CONTRIBUTOR, contributor="other"))
    with_bank(client(served, token), pdq=signal)
    opened = replace(served.hub.hash_sets.get(OPERATOR, "other", "bank"), marking=Marking(tlp=TLP.GREEN))
    served.hub.hash_sets.update(OPERATOR, opened, ("marking.tlp", "marking.recipients"))
    assert here.lookup(signal).json.keys() == {"PLAIN", "STRICT", "OTHER__BANK"}


def test_a_policy_that_there_is_not_is_an_error_for_its_bank_and_never_clean(serve_hub: Serve) -> None:
    here = client(serve_hub(hma_purpose="test", hma_policies="BANK=gone"))
    assert here.lookup(SIGNAL).json == {}
    with_bank(here, "OTHER")
    assert here.lookup(SIGNAL).json.keys() == {"OTHER"}
    with_bank(here)
    assert here.lookup(SIGNAL).status == 400
    assert here.lookup("5" * 64).json == {}


def test_who_only_matches_is_told_the_bank_and_what_a_hash_set_is_to_nobody(hub: Served, home: HMAClient) -> None:
    number = with_bank(home)
    reader = client(hub, "CONSUMER")
    assert reader.lookup(SIGNAL).json == {"BANK": [{"bank_content_id": number, "distance": "0"}]}
    query = v1.Query(hashes=[v1.Hash(algorithm="PDQ", digest=bytes.fromhex(SIGNAL))])
    request = v1.MatchHashesRequest(query=query, options=v1.MatchOptions(policy="any"))
    assert not hub.call("MatchService/MatchHashes", request, v1.MatchHashesResponse).hash_sets
    request.with_hash_sets = True
    (told,) = hub.call("MatchService/MatchHashes", request, v1.MatchHashesResponse).hash_sets
    assert {field.name for field, _ in told.ListFields()} == {"name", "bank", "bank_number"}


def test_what_is_known_to_be_harmless_and_nothing_else_names_no_bank(serve_hub: Serve) -> None:
    served = serve_hub(hma_purpose="benign")
    here = client(served)
    with_bank(here)
    request = v1.AcceptHashSetRequest(name="contributors/home/hashSets/bank", accepted_revision=served.hub.revision())
    served.call("ContributorService/AcceptHashSet", request, v1.HashSet)
    answer = here.lookup(SIGNAL)
    assert answer.headers["hashhub-verdict"] == "BENIGN"
    assert answer.json == {}


def test_a_picture_is_hashed_and_looked_up(home: HMAClient, picture: bytes) -> None:
    signal = home.file("/h/hash", "photo", picture).json["pdq"]
    assert home.file("/m/lookup", "photo", picture).json == {"pdq": {}}
    number = with_bank(home, pdq=signal)
    assert home.file("/m/lookup", "photo", picture).json == {
        "pdq": {"BANK": [{"bank_content_id": number, "distance": "0"}]}
    }
    assert home.lookup(signal).json.keys() == {"BANK"}


def test_a_video_is_known_by_its_bytes_whatever_they_are(home: HMAClient) -> None:
    content = b"no video at all"
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert home.file("/h/hash", "video", content).json == {"video_md5": digest}
    assert home.file("/m/lookup", "video", content).json == {"video_md5": {}}
    number = with_bank(home, video_md5=digest)
    match = {"BANK": [{"bank_content_id": number, "distance": "0"}]}
    assert home.file("/m/lookup", "video", content).json == {"video_md5": match}
    assert home.get("/m/lookup", signal_type="video_md5", signal=digest).json == match


def test_a_blank_picture_has_no_hash_and_what_is_no_picture_is_an_error(home: HMAClient, blank: bytes) -> None:
    assert home.file("/h/hash", "photo", blank).json == {}
    assert home.file("/m/lookup", "photo", blank).json == {"pdq": {}}
    for content in (b"", b"no picture", blank[:100]):
        for path in ("/h/hash", "/m/lookup"):
            answer = home.file(path, "photo", content)
            assert answer.status == 400, (path, content)
            assert answer.json["message"]


def test_signals_are_compared(home: HMAClient) -> None:
    assert home.json("POST", "/m/compare", {"pdq": [SIGNAL, NEAR]}).json == {"pdq": [True, {"distance": 9}]}
    assert home.json("POST", "/m/compare", {"pdq": [SIGNAL, "5" * 64]}).json["pdq"][0] is False
    wrongs: tuple[Any, ...] = (
        {"pdq": [SIGNAL]},
        {"pdq": [1, 2]},
        {"pdq": {}},
        {"photodna": [SIGNAL, NEAR]},
        [SIGNAL],
        "x",
    )
    for wrong in wrongs:
        assert home.json("POST", "/m/compare", wrong).status == 400, wrong


def test_what_cannot_be_asked_is_refused_and_never_reads_as_clean(home: HMAClient) -> None:
    with_bank(home)
    for query in (
        {},
        {"signal": SIGNAL},
        {"signal_type": "pdq"},
        {"signal_type": "photodna", "signal": SIGNAL},
        {"signal_type": "pdq", "signal": SIGNAL[:-1]},
        {"signal_type": "pdq", "signal": SIGNAL, **{f"p{i}": "x" for i in range(40)}},
    ):
        answer = home.get("/m/lookup", **query)
        assert answer.status == 400, query
        # A client that looks at no status, as policyserv, must fail: Go's decoder takes no number beyond all others.
        assert math.isinf(json.loads(answer.body)["not_an_answer"])


def test_a_hub_that_cannot_match_says_so(serve_hub: Serve, picture: bytes) -> None:
    here = client(serve_hub(start=False))
    lookup = here.lookup(SIGNAL)
    assert lookup.status == 503
    assert lookup.json["message"]
    assert here.file("/m/lookup", "photo", picture).status == 503
    assert (here.get("/status").status, here.get("/status").body) == (503, b"INDEX-NOT-LOADED")
    assert (here.get("/status/live").status, here.get("/status/live").body) == (200, b"I-AM-ALIVE")
    assert here.get("/m/index/status").json["pdq"]["present"] is False


def test_how_much_is_listed_is_told_to_overseers_only(hub: Served, home: HMAClient) -> None:
    with_bank(home)
    assert client(hub, "OPERATOR").get("/m/index/status").json["pdq"]["size"] == 1
    assert home.get("/m/index/status").json["pdq"]["size"] == -1
    assert home.get("/c/signal_type/index", signal_type="pdq").json["pdq"]["db_size"] == -1
    assert home.get("/m/index/status", signal_type="other").status == 400


def test_a_stranger_is_refused_before_its_body_is_read(hub: Served) -> None:
    for token in ("", "hh_nobody"):
        stranger = HMAClient(hub.doors.http_address, token)
        answer = stranger.send("POST", "/m/lookup", b"", {**FORM, "content-length": str(1 << 40)})
        assert answer.status == 401
        assert answer.json["message"]
        assert stranger.get("/c/banks").status == 401
    assert HMAClient(hub.doors.http_address).get("/status").status == 200


def test_bodies_are_bounded_and_have_to_be_whole(hub: Served, home: HMAClient, picture: bytes) -> None:
    too_long = home.send("POST", "/m/lookup", b"", {**FORM, "content-length": str(1 << 40)})
    assert too_long.status == 413
    for body, headers in (
        (b"", FORM),
        (form("photo", picture)[:-4], FORM),
        (form("photo", picture)[: -len(b"--\r\n")] + b"\r\n", FORM),  # whole, but for what follows
        (form("photo", picture).replace(b"photo", b"audio"), FORM),
        (form("photo", picture), {"content-type": "multipart/form-data"}),
        (form("photo", picture), {"content-type": "text/plain"}),
        (form("note", b"").replace(b'; filename="x"', b""), FORM),
        (b"\r\n".join([form("photo", picture)[: -len(b"--\r\n")], form("photo", picture)]), FORM),
    ):
        assert home.send("POST", "/m/lookup", body, headers).status == 400, body[-40:]
    host, _, port = home.address.rpartition(":")
    with socket.create_connection((host, int(port)), 60) as cut:
        head = f"POST /hma/m/compare HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {home.token}\r\n"
        cut.sendall(f"{head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{".encode())
    assert home.get("/status").status == 200


def test_there_are_no_other_routes(home: HMAClient) -> None:
    assert home.get("/").status == 404
    assert home.get("/hashhub.v1.AdminService/GetStatus").status == 404
    wrong = home.send("DELETE", "/c/banks")
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, POST")
    assert home.get("/c/exchanges").json == []
    assert home.get("/c/exchange/ANY/status").status == 404
    assert home.json("POST", "/c/exchanges", {"bank": "X", "api": "sample"}).status == 403


@pytest.fixture
def files(picture: bytes) -> Iterator[str]:
    """The address of a server of files on this machine."""

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = {"/picture": picture, "/large": bytes(3_000_000)}.get(self.path)
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("location", "/picture")
                self.end_headers()
                return
            self.send_response(200 if content else 404)
            self.send_header("content-type", "image/png")
            if self.path != "/cut":
                self.send_header("content-length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_are_fetched_from_hosts_that_the_operator_names(serve_hub: Serve, files: str, picture: bytes) -> None:
    here = client(serve_hub(hma_url_hosts=files, max_media_bytes=2_000_000))
    signal = here.file("/h/hash", "photo", picture).json
    assert here.get("/h/hash", url=f"http://{files}/picture").json == signal
    assert here.get("/m/lookup", url=f"http://{files}/picture").json == {"pdq": {}}
    assert here.get("/m/lookup", url=f"http://{files}/picture", signal_type="pdq").json == {}
    assert here.get("/h/hash", url=f"http://{files}/picture", content_type="video").json.keys() == {"video_md5"}
    assert here.get("/h/hash", url=f"http://{files}/large").status == 413
    port = files.rpartition(":")[2]
    for url in (
        f"http://{files}/none",
        f"http://{files}/moved",
        f"http://localhost:{port}/picture",
        f"http://user@{files}/picture",
        "https://example.com/picture",
        f"file://{files}/picture",
        "picture",
        "",
    ):
        assert here.get("/h/hash", url=url).status == 400, url
    nobody = client(serve_hub())
    assert nobody.get("/h/hash", url=f"http://{files}/picture").status == 400


def test_a_named_host_leads_to_public_addresses_only() -> None:
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1"):
        downloads = Downloads("files.example", "", 1000, resolve=lambda *_, to=address: [to])
        with pytest.raises(HashHubError, match="ADDRESS_NOT_ALLOWED"):
            downloads.get("https://files.example/x")


def test_a_host_that_is_not_named_is_not_even_looked_up() -> None:
    def resolve(*_: object) -> list[str]:
        raise AssertionError

    downloads = Downloads("files.example, 192.0.2.1:8443", "", 1000, resolve=resolve)
    for url in (
        "https://other.example/x",
        "https://files.example:8443/x",
        "https://192.0.2.1/x",
        "https://192.0.2.2/x",
    ):
        with pytest.raises(HashHubError, match="none that the operator names"):
            downloads.get(url)


def test_an_endless_answer_is_cut_off() -> None:
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
            with io.BytesIO(bytes(1 << 20)) as piece:
                try:
                    while not done.is_set():
                        connection.sendall(piece.getvalue())
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(HashHubError, match="more than 1000000 bytes"):
            Downloads(where, "", 1_000_000).get(f"http://{where}/x")
        done.set()
        thread.join()


def looked_up(result: v1.MatchResult, hash_sets: list[v1.HashSet], config: Config) -> PartnerAnswer:
    """Look a signal up at a hub that answers so, whichever the policy."""

    async def call(_: str, __: Any) -> v1.MatchHashesResponse:
        return v1.MatchHashesResponse(result=result, hash_sets=hash_sets)

    async def nothing(*_: str) -> Any:
        raise AssertionError

    request = PartnerRequest(
        url="",
        verb="GET",
        path="/m/lookup",
        query_string=f"signal_type=pdq&signal={SIGNAL}",
        content_type="",
        accept="",
        contributor="home",
        oversees=False,
        read=nothing,
        call=call,
        fetch=nothing,
    )
    return asyncio.run(HMADoor(config, lambda: True).answer(request))


@pytest.mark.parametrize("verdict", [v1.Verdict.VERDICT_UNAVAILABLE, v1.Verdict.VERDICT_UNSPECIFIED])
def test_a_verdict_that_is_none_is_an_error(verdict: v1.Verdict) -> None:
    with pytest.raises(Unavailable):
        looked_up(v1.MatchResult(verdict=verdict), [], Config())


@pytest.mark.parametrize(
    ("code", "is_named"), [("JUDGEMENT_CUT_SHORT", True), ("CIRCUIT_BREAKER", True), ("CLAUSE_NOT_MET", False)]
)
def test_what_was_too_much_to_be_judged_is_named_whatever_the_policy(code: str, is_named: bool) -> None:
    name = "contributors/home/hashSets/bank"
    entry = v1.Entry(name=f"{name}/entries/1", state=v1.EntryState.ENTRY_STATE_ACTIVE)
    result = v1.MatchResult(
        verdict=v1.Verdict.VERDICT_REVIEW,
        reasons=[v1.ReasonLine(code=code)],
        matches=[v1.EntryMatch(entry=entry, algorithm="PDQ")],
    )
    answer = looked_up(result, [v1.HashSet(name=name, bank_number=1)], Config(hma_policies="block"))
    assert ("BANK" in json.loads(answer.body)) is is_named
    assert (b"hashhub-unnamed" in dict(answer.headers)) is not is_named
