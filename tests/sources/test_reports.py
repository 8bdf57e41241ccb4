"""What a hub tells of the sources that are fetched beside it: to operators, to their contributors, to HMA's clients."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.client import Client
from hashhub.errors import HashHubError
from hashhub.hub import edges
from hashhub.model import REPORT, HashSet, Principal, Role, SourceStatus, now
from hashhub.partners.exchanges import APIS
from hashhub.sources.fetch import protocol_of
from hashhub.sources.schedule import write_reports
from hashhub.sources.settings import PROTOCOLS, SourceSettings, save
from tests.partners.conftest import HMAClient
from tests.patience import wait_until
from tests.server.conftest import OPERATOR, Serve, Served, serve_hub
from tests.sources.partners import SECRET, Asked, MockPartner, NCMECPartner
from tests.sources.test_running import running_schedule

__all__ = ["serve_hub"]


class Place:
    """A hub that is told where sources are kept, and one source of the contributor `home`."""

    def __init__(self, served: Served, directory: Path, partner: MockPartner) -> None:
        self.served, self.sources = served, directory / "sources"
        (directory / "secret").write_text(SECRET)
        (directory / "secret").chmod(0o600)
        self.operator, self.owner = self.client("OPERATOR"), self.client(Role.CONTRIBUTOR)
        self.owner.create_hash_set(HashSet(contributor="home", id="list", scheme=partner.scheme))
        self.settings = SourceSettings(
            protocol="ncmec",
            url=partner.url,
            hash_set="home/list",
            credentials=dict.fromkeys(partner.credentials, f"file:{directory}/secret"),
            options=dict(partner.options),
        )

    def client(self, who: str) -> Client:
        return Client(self.served.doors.grpc_address, self.served.tokens[who])

    def hma(self, who: str) -> HMAClient:
        return HMAClient(self.served.doors.http_address, self.served.tokens[who])

    def run(self, *command: str) -> int:
        environment = {
            "HASHHUB_SERVER": self.served.doors.grpc_address,
            "HASHHUB_TOKEN": self.served.tokens["OPERATOR"],
            "HASHHUB_SOURCES": str(self.sources),
        }
        return CliRunner().invoke(main, ["source", *command], env=environment).exit_code

    def warnings(self) -> str:
        return "\n".join(self.operator.status().warnings)


@pytest.fixture
def place(serve_hub: Serve, tmp_path: Path) -> Callable[[MockPartner], Place]:
    return lambda partner: Place(serve_hub(sources=str(tmp_path / "sources")), tmp_path, partner)


def test_a_source_is_told_to_whom_it_concerns(place: Callable[[MockPartner], Place]) -> None:
    rng = random.Random(31)
    with NCMECPartner().serving() as partner:
        at = place(partner)
        save(at.sources, "partner", at.settings)
        write_reports(at.sources)
        [new] = at.operator.partners().sources
        assert (new.status, new.hash_set, new.end_time) == (SourceStatus.NEW, "home/list", None)
        for _ in range(10):
            partner.add(rng)
        assert at.run("fetch", "partner") == 0
        [source] = at.owner.partners().sources
        assert (source.status, source.items, source.is_late) == (SourceStatus.OK, 10, False)
        assert source.success_time is not None
        assert source.position
        assert at.warnings() == ""

        owner = at.hma(Role.CONTRIBUTOR)
        assert owner.get("/c/exchanges").json == ["LIST"]
        assert at.hma("OPERATOR").get("/c/exchanges").json == ["HOME__LIST"]
        assert owner.get("/c/exchange/LIST").json == {"name": "LIST", "api": "ncmec", "enabled": True}
        told = owner.get("/c/exchange/LIST/status").json
        assert told == {
            "checkpoint_ts": int(source.success_time.timestamp()),
            "running_fetch_start_ts": None,
            "last_fetch_complete_ts": told["last_fetch_complete_ts"],
            "last_fetch_succeeded": True,
            "up_to_date": True,
            "fetched_items": 10,
        }
        api = {"supports_authentification": True, "has_set_authentification": True}
        assert owner.get("/c/exchanges/api/ncmec").json == api
        assert owner.get("/c/exchanges/api/misp").json == {**api, "has_set_authentification": False}
        for name, is_required in (("ncmec", True), ("taxii", False)):
            fields = owner.get(f"/c/exchanges/api/{name}/schema").json["credentials_schema"]["fields"]
            assert [(one["name"], one["required"]) for one in fields] == [
                ("user", is_required), ("password", is_required)
            ]  # fmt: skip

        for item in list(partner.items.values())[:5]:
            partner.remove(item)
        assert at.run("fetch", "partner") == 1
        assert "hashhub source fetch partner --apply" in at.warnings()
        told = owner.get("/c/exchange/LIST/status").json
        assert (told["last_fetch_succeeded"], told["up_to_date"]) == (False, False)
        assert at.run("fetch", "partner", "--apply") == 0
        assert at.warnings() == ""

        for verb, path in (("POST", "exchanges"), ("POST", "exchanges/api/ncmec"), ("PUT", "exchange/LIST")):
            refused = owner.json(verb, f"/c/{path}", {"bank": "X", "api": "ncmec", "enabled": False})
            assert (refused.status, "hashhub source add" in refused.json["message"]) == (403, True), path
        assert owner.send("DELETE", "/c/exchange/LIST").status == 403
        assert owner.get("/c/exchanges").json == ["LIST"]

        _assert_nobody_else_is_told(at)
        told_text = "".join(str(hma.get(path).body) for hma in (owner, at.hma("OPERATOR")) for path in _PATHS)
        assert SECRET not in told_text + (at.sources / REPORT).read_text() + str(at.operator.partners())
        assert str(at.sources.parent) not in told_text
        assert at.run("remove", "partner") == 0
        assert at.operator.partners().sources == ()


_PATHS = ("/c/exchanges", "/c/exchanges/apis", "/c/exchanges/api/ncmec/schema", "/c/exchange/LIST/status")


def _assert_nobody_else_is_told(at: Place) -> None:
    at.served.new_contributor("other")
    stranger = Principal(name="stranger", role=Role.CONTRIBUTOR, contributor="other")
    _, at.served.tokens["stranger"] = at.served.hub.tokens.create(OPERATOR, stranger)
    assert at.client("stranger").partners().sources == ()
    assert at.hma("stranger").get("/c/exchanges").json == []
    for name in ("LIST", "HOME__LIST"):
        assert at.hma("stranger").get(f"/c/exchange/{name}/status").status == 404
    assert at.hma(Role.CONSUMER).get("/c/exchanges").status == 403
    with pytest.raises(HashHubError):
        at.client(Role.CONSUMER).partners()


def test_a_fetch_is_under_way_while_somebody_says_so_and_late_afterwards(
    place: Callable[[MockPartner], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.sources.schedule.REPORT_SECONDS", 0.1)
    with NCMECPartner().serving() as partner:
        at = place(partner)
        save(at.sources, "partner", at.settings)
        gone_on = threading.Event()
        for _ in range(3):
            partner.add(random.Random(32))

        def answer(_: Asked) -> None:
            gone_on.wait(60)

        partner.answer = answer

        (at.sources / "broken.toml").write_text("protocol = 5")
        (at.sources / "damaged.toml").write_bytes((at.sources / "partner.toml").read_bytes())
        (at.sources / "damaged.db").write_text("no database" * 1000)
        with running_schedule(at.sources, at.operator):
            by_name = {}

            def is_told() -> bool:
                by_name.update({one.name: one for one in at.operator.partners().sources})
                return len(by_name) == 3 and by_name["partner"].begin_time is not None

            wait_until(is_told)
            assert [by_name[name].status for name in ("broken", "damaged")] == [SourceStatus.FAILED] * 2
            assert "damaged.db" in by_name["damaged"].detail
            later = now() + timedelta(hours=2)
            with monkeypatch.context() as patched:
                patched.setattr(edges, "now", lambda: later)
                assert [(s.begin_time, s.is_late) for s in at.operator.partners().sources if s.name == "partner"] == [
                    (None, True)
                ]
                assert "source partner (NEW): it is late" in at.warnings()
            gone_on.set()
            wait_until(lambda: {s.name: s for s in at.operator.partners().sources}["partner"].status is SourceStatus.OK)


@pytest.mark.parametrize("damage", ["missing", "cut off", "of another sort", "a directory", "a pipe", "huge"])
def test_what_cannot_be_read_is_told_as_such(serve_hub: Serve, tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "sources"
    served = serve_hub(sources=str(directory), peers=str(tmp_path / "peers"))
    directory.mkdir()
    write_reports(directory)
    path = directory / REPORT
    match damage:
        case "cut off":
            path.write_bytes(path.read_bytes()[:-5])
        case "of another sort":
            path.write_text('{"write_time": "2026-01-01T00:00:00Z", "sources": [{"name": "../x", "status": "OK"}]}')
        case "huge":
            path.write_bytes(path.read_bytes() + b" " * (4 << 20))
        case _:
            path.unlink()
            if damage == "a directory":
                path.mkdir()
            elif damage == "a pipe":
                os.mkfifo(path)
    partners = served.hub.edges.get(OPERATOR)
    assert [fault.partition(":")[0] for fault in partners.faults] == ["sources", "peers"]
    assert partners.sources == ()
    assert {*partners.faults} <= {*served.hub.status(OPERATOR).warnings}


def test_what_hmas_clients_are_told_of_protocols_is_so() -> None:
    assert {api.protocol for api in APIS.values()} == set(PROTOCOLS)
    for api in APIS.values():
        credentials = dict.fromkeys(api.credentials, "env:ANY")
        settings = {"protocol": api.protocol, "url": "https://partner.example/1", "hash_set": "home/list"}
        options = {"environment": "csam"} if api.protocol == "ncmec" else {}
        protocol_of(SourceSettings(**settings, credentials=credentials, options=options))  # type: ignore[arg-type]
