"""The queue over HTTP and on the command line: who holds a token decides, and nobody gets content."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.desk.clock import is_believed
from hashhub.desk.people import People
from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import Records
from hashhub.desk.settings import QueueSettings
from hashhub.hook import Action, HookSettings, load_settings, open_hook
from hashhub.hook.settings import SidecarSettings
from hashhub.model import now
from tests.desk.test_clock import last_looked
from tests.desk.test_record_expiry import LONG_AGO
from tests.hook.conftest import HELD
from tests.hook.waiting import checked, hit, put, records_of

TestClient = pytest.importorskip("starlette.testclient", reason="the API needs hashhub[hook]").TestClient

A = "police-nl/known/1"


@pytest.fixture
def settings(tmp_path: Path) -> HookSettings:
    return HookSettings(
        policy="block",
        without_answer=HELD,
        data=str(tmp_path / "hook"),
        hub="127.0.0.1:1",
        queue=QueueSettings(two_person_release=True),
    )


@pytest.fixture
def records(settings: HookSettings) -> Records:
    return records_of(settings)


@pytest.fixture
def api(settings: HookSettings, records: Records) -> Iterator[Any]:
    from hashhub.desk.queue_api import queue_router

    with TestClient(queue_router(records, settings)) as client:
        yield client


@pytest.fixture
def people(records: Records) -> dict[str, dict[str, str]]:
    """Headers of two persons."""
    everybody = People(records)
    return {
        name: {"Authorization": f"Bearer {everybody.add(name, days=9, actor='account:root')}"}
        for name in ("ann", "bob")
    }


def test_without_a_person_s_token_nothing_is_told(
    api: Any, records: Records, people: dict[str, dict[str, str]]
) -> None:
    reference = put(records, checked(hit(A)))
    secret = people["ann"]["Authorization"].partition(" ")[2]
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer hhp_x"},
        {"Authorization": f"Basic {secret}"},
        {"Cookie": f"token={secret}"},
    ):
        for method, path in (
            ("GET", "/queue"),
            ("GET", f"/queue/{reference}"),
            ("GET", "/queue/unknown"),
            ("POST", f"/queue/{reference}/confirm"),
        ):
            answer: httpx.Response = api.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert reference not in answer.text
    assert ReviewQueue(records, HookSettings(policy="block", without_answer=HELD)).get(reference).state == "HELD"
    People(records).remove("ann", actor="account:root")  # a token that was stolen
    assert api.get("/queue", headers=people["ann"]).status_code == 401


def test_who_was_removed_decides_nothing_by_a_request_that_was_begun_before(
    settings: HookSettings, records: Records, people: dict[str, dict[str, str]]
) -> None:
    from hashhub.desk.queue_api import queue_router

    reference = put(records, checked(hit(A)))
    told: list[Any] = []

    async def receive() -> Any:  # the head was sent long ago, and the body comes now
        People(records).remove("ann", actor="account:root")
        return {"type": "http.request", "body": b'{"comment": "late"}'}

    async def send(message: Any) -> None:
        told.append(message)

    headers = [(b"authorization", people["ann"]["Authorization"].encode())]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": f"/queue/{reference}/confirm"}
    scope |= {"headers": headers, "query_string": b""}
    asyncio.run(queue_router(records, settings)(scope, receive, send))
    assert told[0]["status"] == 401
    assert ReviewQueue(records, settings).get(reference).state == "HELD"


def test_a_release_that_a_confirmation_overtook_is_refused_over_http(
    settings: HookSettings, records: Records, people: dict[str, dict[str, str]]
) -> None:
    from hashhub.desk.queue_api import queue_router

    reference = put(records, checked(hit(A)))
    alone = msgspec.structs.replace(settings, queue=QueueSettings())
    with TestClient(queue_router(records, alone)) as api:
        seen = api.get(f"/queue/{reference}", headers=people["ann"]).json()["etag"]
        assert api.post(f"/queue/{reference}/confirm", headers=people["bob"]).json()["state"] == "REMOVED"
        for said in ({"etag": seen}, {}):
            answer = api.post(
                f"/queue/{reference}/release", headers=people["ann"], json={"code": "FALSE_POSITIVE", **said}
            )
            assert (answer.status_code, answer.json()["error"]["reason"]) == (409, "CONCURRENT_CHANGE")
            assert "bob" in answer.json()["error"]["message"]
        stale = api.post(f"/queue/{reference}/confirm", headers=people["ann"], json={"etag": seen})
        assert stale.status_code == 409
        again = api.get(f"/queue/{reference}", headers=people["ann"]).json()["etag"]
        answer = api.post(
            f"/queue/{reference}/release", headers=people["ann"], json={"code": "FALSE_POSITIVE", "etag": again}
        )
        assert answer.json()["state"] == "RELEASED"


def test_two_persons_release_over_http(api: Any, records: Records, people: dict[str, dict[str, str]]) -> None:
    reference = put(records, checked(hit(A)), "BLOCKED")
    ann, bob = people["ann"], people["bob"]
    listing = api.get("/queue", headers=ann).json()
    assert listing["groups"][0]["uploads"][0]["reference"] == reference
    path = f"/queue/{reference}/release"
    answer = api.post(path, headers=ann, json={"code": "FALSE_POSITIVE"})
    assert answer.json() == {"reference": reference, "state": "BLOCKED", "needs_second_person": True}
    assert answer.headers["cache-control"] == "no-store"
    again = api.post(path, headers=ann, json={"code": "FALSE_POSITIVE"})
    assert (again.status_code, again.json()["error"]["reason"]) == (409, "SECOND_PERSON_NEEDED")
    assert api.post(path, headers=bob, json={"code": "FALSE_POSITIVE"}).json()["state"] == "RELEASED"
    upload = api.get(f"/queue/{reference}", headers=bob).json()
    assert upload["rulings"][0]["actors"] == ["ann", "bob"]
    assert [e["kind"] for e in upload["events"]][:2] == ["release.proposed", "upload.released"]
    assert upload["feedback"][0]["state"] == "QUEUED"  # the hub is away
    assert api.post(f"/queue/{reference}/confirm", headers=bob).json()["state"] == "REMOVED"
    filed = api.post(f"/queue/{reference}/reported", headers=bob, json={"recipient": "ncmec", "filed_as": "7"})
    assert filed.status_code == 200
    assert api.post(f"/queue/{reference}/escalate", headers=bob, json={"comment": "new"}).status_code == 200
    other = put(records, checked(hit(A)))
    api.post(f"/queue/{other}/release", headers=ann, json={"code": "FALSE_POSITIVE"})
    assert api.post(f"/queue/{other}/withdraw", headers=ann).json()["needs_second_person"] is False


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("release", b"{}", 400),
        ("release", b'{"code": "BECAUSE"}', 400),
        ("release", b'{"code": "FALSE_POSITIVE", "actor": "bob"}', 400),  # nobody says who they are
        ("confirm", b"\xff", 400),
        ("confirm", b"[" * 5000, 400),
        ("confirm", b'{"comment": "' + b"x" * 9000 + b'"}', 413),
        ("escalate", b"{}", 400),
        ("reported", b'{"recipient": "a"}', 400),
        ("media", b"", 404),
        ("content", b"", 404),
    ],
)
def test_bodies_and_paths_that_are_refused(
    api: Any, records: Records, people: dict[str, dict[str, str]], path: str, body: bytes, status: int
) -> None:
    reference = put(records, checked(hit(A)))
    assert api.post(f"/queue/{reference}/{path}", headers=people["ann"], content=body).status_code == status
    assert records.events(subject=reference) == []


@pytest.mark.parametrize("query", ["limit=0", "limit=100000", "limit=x", "skip=-1", "state=ALL"])
def test_queries_that_are_refused(api: Any, people: dict[str, dict[str, str]], query: str) -> None:
    assert api.get(f"/queue?{query}", headers=people["ann"]).status_code == 400


# The command line


class Shell:
    def __init__(self, directory: Path, **sections: str) -> None:
        self.directory = directory
        file = directory / "hook.toml"
        file.write_text(
            f'policy = "block"\ndata = "{directory / "hook"}"\nhub = "127.0.0.1:1"\n'
            '[without_answer]\nhub_away = "hold"\nunreadable = "hold"\n'
            'too_large = "hold"\nno_perceptual_hash = "allow"\n'
            + "".join(f"[{name}]\n{text}\n" for name, text in sections.items())
        )
        self.environment = {"HASHHUB_HOOK_SETTINGS": str(file)}

    def __call__(self, line: str, *, status: int = 0) -> Result:
        done = CliRunner().invoke(main, ["hook", *line.split()], env=self.environment, catch_exceptions=False)
        assert done.exit_code == status, (line, done.stdout, done.stderr)
        return done

    def json(self, line: str, *, status: int = 0) -> list[Any]:
        return [json.loads(one) for one in self(f"{line} --json", status=status).stdout.splitlines()]


def test_a_name_alone_makes_nobody_a_second_person(tmp_path: Path) -> None:
    shell = Shell(tmp_path, queue="two_person_release = true")
    records = Records(tmp_path / "hook")
    reference = put(records, checked(hit(A)))
    decide = f"queue decide {reference} release --code false-positive"
    assert shell.json(decide, status=1)[0]["error"]["reason"] == "TOKEN_MISSING"
    for name in ("ann", "bob"):
        shell(f"queue people add {name} --out {tmp_path / name}")
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert (
        shell.json(f"queue people add eve --out {tmp_path / 'ann'}", status=1)[0]["error"]["reason"]
        == "RESOURCE_EXISTS"
    )
    assert [p["name"] for p in shell.json("queue people list")] == ["ann", "bob"], "no person without a file"
    (tmp_path / "made-up").write_text("ann\n")
    (tmp_path / "made-up").chmod(0o600)
    shell(f"{decide} --person-file {tmp_path / 'made-up'}", status=1)
    assert "another person must say the same" in shell(f"{decide} --person-file {tmp_path / 'ann'}").stdout
    shell(f"{decide} --person-file {tmp_path / 'ann'}", status=1)
    (tmp_path / "bob").chmod(0o644)
    shell(f"{decide} --person-file {tmp_path / 'bob'}", status=1)
    (tmp_path / "bob").chmod(0o600)
    upload = shell.json(f"{decide} --person-file {tmp_path / 'bob'}")[0]
    assert (upload["state"], upload["rulings"][0]["actors"]) == ("RELEASED", ["ann", "bob"])
    assert "FALSE_POSITIVE QUEUED" in shell(f"queue get {reference}").stdout
    assert "1 queued" in shell("queue send").stdout
    assert shell.json("queue list") == []
    assert shell.json("queue list --state released")[0]["count"] == 1
    shell("queue people remove bob")
    shell(f"queue decide {reference} confirm --person-file {tmp_path / 'bob'}", status=1)
    shell(f"queue decide {reference} confirm --code other --person-file {tmp_path / 'ann'}", status=2)


def test_a_damaged_record_is_listed_with_what_to_do(tmp_path: Path) -> None:
    shell, records = Shell(tmp_path), Records(tmp_path / "hook")
    damaged, whole = put(records, checked(hit(A)), "BLOCKED"), put(records, checked(), "UNANSWERED")
    records.write("UPDATE upload SET checked = x'c1', time = '?' WHERE reference = ?", (damaged,))
    shown = shell("queue list")
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:]] == [damaged, whole]
    assert "RECORD_DAMAGED" in shown.stdout
    assert "1 record cannot be read" in shown.stderr
    assert "restore a backup" in shown.stderr
    assert "2 uploads in 2 groups" in shown.stderr
    first = shell.json("queue list")[0]
    assert (first["no_answer"], first["oldest"], first["uploads"][0]["reference"]) == ("RECORD_DAMAGED", None, damaged)
    assert damaged in shell.json(f"queue get {damaged}", status=1)[0]["error"]["message"]


def test_a_release_that_a_confirmation_overtook_is_refused_on_the_command_line(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    reference = put(Records(tmp_path / "hook"), checked(hit(A)))
    for name in ("ann", "bob"):
        shell(f"queue people add {name} --out {tmp_path / name}")
    ann, bob = (f"--no-send --person-file {tmp_path / name}" for name in ("ann", "bob"))
    release = f"queue decide {reference} release --code false-positive"
    seen = shell.json(f"queue get {reference}")[0]["etag"]
    assert f"etag       {seen}" in shell(f"queue get {reference}").stdout
    shell(f"queue decide {reference} confirm {bob} --etag {seen}")
    for said in ("", f"--etag {seen}"):
        error = shell.json(f"{release} {ann} {said}", status=1)[0]["error"]
        assert error["reason"] == "CONCURRENT_CHANGE"
        assert "bob" in error["message"]
    shell(f"queue decide {reference} escalate --comment x --etag {seen} {ann}", status=2)
    again = shell.json(f"queue get {reference}")[0]["etag"]
    assert shell.json(f"{release} {ann} --etag {again}")[0]["state"] == "RELEASED"
    assert shell.json(f"queue decide {reference} confirm {bob}")[0]["state"] == "REMOVED"


def test_cases_are_decided_by_persons_once_there_are_any(tmp_path: Path) -> None:
    shell = Shell(tmp_path, case="two_persons = true")
    given = "--hash MD5:000102030405060708090a0b0c0d0e0f --purpose other --complaint T-1 --reason asked"
    case = shell.json(f"case open {given}")[0]["name"]
    account = f"account:{pwd.getpwuid(os.getuid()).pw_name}"
    records = Records(tmp_path / "hook")
    assert [event.actor for event in records.events(subject=case)] == [account]
    # Nobody is another by a variable; and who opened it does not confirm it.
    shell.environment |= {"LOGNAME": "eve", "USER": "eve"}
    assert shell.json(f"case confirm {case} --reason r", status=1)[0]["error"]["reason"] == "SECOND_PERSON_NEEDED"
    for name in ("ann", "bob"):
        shell(f"queue people add {name} --out {tmp_path / name}")
    events = records.events()
    for line in (
        f"case open {given}",
        f"case confirm {case} --reason r",
        f"case dispute {case} --reason r",
        f"case taken-down {case} --all --reason r",
        f"case close {case} --outcome rejected --reason r",
        f"case share {case} --hash-set app/cases --reason r",
    ):
        error = shell.json(line, status=1)[0]["error"]
        assert error["reason"] == "TOKEN_MISSING", line
        assert "--person-file" in error["message"]
    assert records.events() == events
    assert [c["name"] for c in shell.json("case list")] == [case]
    shell(f"case get {case}")
    shell(f"case scan {case} {tmp_path / 'hook.toml'}")
    assert records.events()[-1].actor == account
    second = shell.json(f"case open {given} --person-file {tmp_path / 'ann'}")[0]
    assert second["opened_by"] == "ann"
    confirm = f"case confirm {second['name']} --reason r --person-file"
    assert shell.json(f"{confirm} {tmp_path / 'ann'}", status=1)[0]["error"]["reason"] == "SECOND_PERSON_NEEDED"
    shell.environment["HASHHUB_HOOK_PERSON_FILE"] = str(tmp_path / "bob")
    assert shell.json(f"case confirm {second['name']} --reason r")[0]["state"] == "CONFIRMED"
    assert [e.actor for e in records.events(subject=second["name"])] == ["ann", "bob"]
    shell("queue people remove bob")
    assert shell.json(f"case confirm {case} --reason r", status=1)[0]["error"]["reason"] == "TOKEN_UNKNOWN"
    records.close()


def test_the_settings_name_who_works_on_cases(tmp_path: Path) -> None:
    shell = Shell(tmp_path, case='people = ["ann"]')
    given = "--hash MD5:000102030405060708090a0b0c0d0e0f --purpose other --complaint T-1 --reason asked"
    assert shell.json(f"case open {given}", status=1)[0]["error"]["reason"] == "ROLE_NOT_ALLOWED"
    for name in ("ann", "bob"):
        shell(f"queue people add {name} --out {tmp_path / name}")
    for name, status in (("bob", 1), ("ann", 0)):
        shell(f"case open {given} --person-file {tmp_path / name}", status=status)
    [case] = shell.json("case list")
    shell(f"case scan {case['name']} {tmp_path / 'hook.toml'}")  # by a timer: no decision


def test_rows_are_forgotten_on_the_command_line(tmp_path: Path) -> None:
    shell = Shell(tmp_path, records="keep_days = 30")
    records = Records(tmp_path / "hook")
    long_ago = now() - timedelta(days=40)
    for state in ("REMOVED", "HELD"):
        put(records, checked(hit(A), time=long_ago), state)
    assert shell.json("queue forget") == [{"forgotten": 1}]
    assert "0 forgotten" in shell("queue forget").stdout
    records.close()


def test_the_vault_on_the_command_line(tmp_path: Path) -> None:
    shell = Shell(
        tmp_path,
        vault=f'encryption = "key-file"\nkey_file = "{tmp_path / "vault.key"}"\n'
        'country = "US"\ndays_without_report = 30',
    )
    shell(f"vault key --out {tmp_path / 'vault.key'}")
    shell(f"vault key --out {tmp_path / 'vault.key'}", status=1)
    upload = tmp_path / "upload.jpg"
    upload.write_bytes(b"\xff\xd8\xff no picture")
    with open_hook(load_settings(tmp_path / "hook.toml", {})) as hook:
        decision = hook.check(upload)  # unreadable, or the hub is away
    reference = decision.reference
    assert decision.action is Action.HOLD
    [item] = shell.json("vault list")
    assert (item["reference"], item["size_bytes"]) == (reference, upload.stat().st_size)
    out = tmp_path / "out"
    export = f"vault export {reference} --out {out} --reason asked"
    shell(export, status=1)
    shell(f"queue people add ann --out {tmp_path / 'ann'}")
    shell(f"{export} --person-file {tmp_path / 'ann'}")
    assert out.read_bytes() == upload.read_bytes()
    as_ann = f"--reason order --person-file {tmp_path / 'ann'}"
    shell(f"vault hold {reference} --case court-7 {as_ann}")
    assert "legal hold court-7" in shell("vault list").stdout
    shell(f"vault lift --case court-7 {as_ann}")
    assert shell.json("vault sweep") == [{"erased": [], "is_clock_doubted": False}]
    assert shell.json("vault check")[0]["opened"] == 1
    (tmp_path / "vault.key").rename(tmp_path / "old.key")
    assert "cannot be read" in shell.json("vault check", status=1)[0]["error"]["message"]
    shell(f"vault key --out {tmp_path / 'vault.key'}")
    refused = shell.json("vault check", status=1)[0]["error"]
    assert refused["reason"] == "VAULT_KEY_LOST"
    assert "vault check --old-key" in refused["message"]
    by_old = f"vault check --old-key {tmp_path / 'old.key'}"
    assert shell.json(by_old) == [{"items": 1, "opened": 1, "problems": []}]
    assert shell.json(f"vault rotate --old-key {tmp_path / 'old.key'}") == [{"rotated": 1, "failed": 0}]
    assert shell.json("vault check")[0]["opened"] == 1
    assert shell.json(by_old)[0]["opened"] == 1, "what is for the new key opens as well"
    off = Shell(tmp_path)
    assert off.json("vault list", status=1)[0]["error"]["reason"] == "VAULT_OFF"


def test_the_vault_erases_nothing_by_a_clock_that_jumped_until_a_person_says_that_it_is_right(tmp_path: Path) -> None:
    shell = Shell(
        tmp_path,
        vault=f'encryption = "key-file"\nkey_file = "{tmp_path / "vault.key"}"\ncountry = "US"\n'
        "days_without_report = 30",
    )
    shell(f"vault key --out {tmp_path / 'vault.key'}")
    upload = tmp_path / "upload.jpg"
    upload.write_bytes(b"\xff\xd8\xff no picture")
    with open_hook(load_settings(tmp_path / "hook.toml", {})) as hook:
        reference = hook.check(upload).reference
    records = Records(tmp_path / "hook")
    records.write("UPDATE vault_item SET time = ?", (LONG_AGO.isoformat(),))
    last_looked(records, 400)
    [item] = shell.json("vault list")  # which sweeps first
    assert item["reference"] == reference
    assert shell.json("vault sweep") == [{"erased": [], "is_clock_doubted": True}]
    assert "the clock is doubted" in shell("vault sweep").stdout
    shell(f"queue people add ann --out {tmp_path / 'ann'}")
    assert shell.json("vault sweep --clock-is-right", status=1)[0]["error"]["reason"] == "TOKEN_MISSING"
    right = f"vault sweep --clock-is-right --person-file {tmp_path / 'ann'}"
    assert shell.json(right) == [{"erased": [reference], "is_clock_doubted": False}]
    assert [(e.kind, e.actor) for e in records.events() if e.kind.startswith("clock.")] == [
        ("clock.doubted", "hook"), ("clock.believed", "ann")
    ]  # fmt: skip
    records.close()


def test_a_person_may_say_that_the_clock_is_right_without_a_vault(tmp_path: Path) -> None:
    """By it rows of decided uploads are deleted, and cases expire."""
    shell = Shell(tmp_path)
    records = Records(tmp_path / "hook")
    last_looked(records, 400)
    assert not is_believed(records)
    assert shell.json("vault sweep", status=1)[0]["error"]["reason"] == "VAULT_OFF"
    assert shell.json("vault sweep --clock-is-right") == [{"erased": [], "is_clock_doubted": False}]
    assert is_believed(records)
    records.close()


def sidecar_of(settings: HookSettings, **sidecar: Any) -> Any:
    """A client of a sidecar with these settings, whose hub is away."""
    from hashhub.hook import Hook
    from hashhub.hook.examiner import HubJudge
    from hashhub.hook.sidecar.application import Sidecar

    changed = msgspec.structs.replace(settings, hashing="HUB", sidecar=SidecarSettings(**sidecar))
    hook = Hook(changed, judge=HubJudge(changed))
    return TestClient(Sidecar(hook), base_url="http://127.0.0.1")


def test_the_sidecar_answers_persons_only_where_the_settings_say_so(
    settings: HookSettings,
    records: Records,
    people: dict[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HASHHUB_TOKEN", "hht_x")
    reference = put(records, checked(hit(A)))
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    with sidecar_of(settings) as client:
        assert client.get("/queue", headers=people["ann"]).status_code == 404
    chosen = msgspec.structs.replace(settings, queue=QueueSettings(over_http=True))
    with sidecar_of(chosen, secret_file=str(secret)) as client:
        listing = client.get("/queue", headers=people["ann"])
        assert listing.json()["groups"][0]["uploads"][0]["reference"] == reference
        assert listing.headers["cache-control"] == "no-store"
        for path in ("/queue", f"/queue/{reference}", f"/queue/{reference}/"):
            for headers in ({}, {"Authorization": "Bearer " + "s" * 32}):  # the app's secret is no person
                answer = client.get(path, headers=headers)
                assert answer.status_code in {401, 404}
                assert reference not in answer.text
        page = {**people["ann"], "Origin": "https://app.example"}
        assert client.post(f"/queue/{reference}/confirm", headers=page).status_code == 403
        assert client.post(f"/queue/{reference}/confirm", headers=people["ann"]).json()["state"] == "REMOVED"
        # A person's token is not the app's secret either.
        assert client.post("/check", headers=people["ann"], content=b"x").status_code == 401
        assert client.get("/queuesecret", headers={}).status_code == 401
        told = client.get("/metrics", headers={"Authorization": "Bearer " + "s" * 32}).text
    assert 'path="/queue",status="200"' in told
    assert reference not in told
