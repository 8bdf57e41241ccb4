"""Reconciliation from a program: over real gRPC, at a hub that works in children of its own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub import v1
from hashhub.client import Client, OperationHandle
from hashhub.client.transport import Connection, Transport
from hashhub.errors import (
    Conflict,
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Reason,
    Unavailable,
)
from hashhub.model import Contributor, ContributorKind, HashSet, Marking, OperationState, Principal, Reliability, Role
from hashhub.reconcile import tasks
from hashhub.reconcile.extract import Extract
from hashhub.reconcile.results import Backend, By, Omission
from hashhub.reconcile.work import alone
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items
from tests.warm import Warm

ITEMS = random_items(30, seed=401, values=("1",))


@pytest.fixture(scope="module")
def own_hub(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub of these tests alone: the numbers that they compare are of all that it holds."""
    with warmed.hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def operator(own_hub: RunningHub) -> Iterator[Client]:
    with Client(own_hub.address, own_hub.token, timeout=60.0) as client:
        for name, country, items in (("nl", "NL", ITEMS[:20]), ("gb", "GB", ITEMS[10:])):
            client.create_contributor(
                Contributor(id=name, display_name=name, kind=ContributorKind.HOTLINE, jurisdiction=country)
            )
            made = HashSet(contributor=name, id="known", scheme="vic-us", marking=Marking(bulk=True))
            client.create_hash_set(made)
            content = list_file("vics-2.0", items).data
            client.import_source(io.BytesIO(content), hash_set=f"{name}/known", connector="vics")
        yield client


@pytest.fixture(scope="module")
def contributor(own_hub: RunningHub, operator: Client) -> Iterator[Client]:
    secret = operator.create_token(Principal(name="nl-desk", role=Role.CONTRIBUTOR, contributor="nl"))
    with Client(own_hub.address, secret, timeout=60.0) as client:
        yield client


@pytest.fixture(scope="module")
def extracted(operator: Client) -> OperationHandle[tasks.ExtractResult]:
    """An extract that is done. Each takes a child, and these are asked for in many tests."""
    handle = operator.reconciliation.extract()
    handle.wait(180)
    return handle


@pytest.fixture
def handle(operator: Client, extracted: OperationHandle[tasks.ExtractResult]) -> OperationHandle[tasks.ExtractResult]:
    """A handle of one's own for it."""
    return operator.get_operation(extracted.id)


def test_answers_are_typed(operator: Client) -> None:
    told: list[tuple[int, int, str]] = []
    overlap = operator.reconciliation.overlap(By.JURISDICTION, near=True).result(
        progress=lambda *step: told.append(step)
    )
    assert overlap.entries == {"GB": 20, "NL": 20}
    assert {(c.left, c.right): c.exact for c in overlap.cells} == {("GB", "NL"): 10, ("NL", "GB"): 10}
    assert overlap.max_distances
    assert told
    gaps = operator.reconciliation.gaps("NL")
    assert gaps.result().gaps.by_contributor == {"gb": 10}
    assert {row.contributors for row in gaps.rows()} == {("gb",)}  # type: ignore[union-attr]  # of gaps
    first, after = gaps.rows().page(6)
    rest, last = gaps.rows().page(6, after)
    assert [*first, *rest] == list(gaps.rows())
    assert (len(first), len(rest), last) == (6, 4, "")
    with pytest.raises(InvalidArgument):
        gaps.rows().page(6, "damaged")
    agreement = operator.reconciliation.agreement().result()
    assert agreement.items == 10
    assert overlap.by is By.JURISDICTION


@pytest.fixture
def transport(own_hub: RunningHub) -> Iterator[Transport]:
    """What sends single requests to the hub."""
    connection = Connection(
        own_hub.address, own_hub.token, tls=None, ca_certificates=None, timeout=60.0, retry_seconds=2.0
    )
    opened = Transport(connection)
    yield opened
    opened.close()


def test_rows_come_page_by_page(operator: Client, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    links = operator.reconciliation.links()
    assert links.result().exact == 10
    whole = list(links.rows())
    assert len(whole) == 10
    for size in (1, 3, 5, 10):
        monkeypatch.setattr("hashhub.client.transport.PAGE", size)
        assert list(links.rows()) == whole
    for token in ("x", "W10", "WzEsMV0"):
        with pytest.raises(InvalidArgument):
            transport.call(v1.ReadResultRequest(name=f"operations/{links.id}", page_token=token))


def test_another_program_goes_on_with_it(operator: Client, contributor: Client) -> None:
    started = contributor.reconciliation.overlap()
    taken_up: OperationHandle[Any] = operator.get_operation(started.id)
    assert taken_up.result(60.0).names == ("gb/known", "nl/known")
    assert taken_up.operation.actor.name == "nl-desk"
    listed = next(o for o in contributor.list_operations() if o.id == started.id)
    assert listed.operation.state is OperationState.SUCCEEDED
    assert listed.result().names == ("gb/known", "nl/known")  # a list has no responses; it is asked for
    listed.delete()
    with pytest.raises(NotFound):
        started.refresh()


def test_only_what_has_changed_is_downloaded(handle: OperationHandle[tasks.ExtractResult], tmp_path: Path) -> None:
    directory = tmp_path / "extract"
    done = handle.download(directory)
    assert done.fetched[-1] == "manifest.json"
    assert done.unchanged == 0
    Extract.open(directory).verify()
    (directory / "mine.txt").write_text("mine")
    (directory / "digests" / "nl" / "known" / "99-0123456789abcdef.parquet").write_text("of an earlier extract")
    again = handle.download(directory)
    assert again.fetched == ()
    assert (directory / "mine.txt").exists()
    assert not list(directory.glob("digests/nl/known/99-*"))
    victim = next(directory.glob("digests/nl/known/*.parquet"))
    victim.write_bytes(bytes(victim.stat().st_size))
    assert handle.download(directory).fetched == (victim.relative_to(directory).as_posix(),)
    Extract.open(directory).verify()


def test_a_contributor_gets_what_may_leave(contributor: Client, tmp_path: Path) -> None:
    handle = contributor.reconciliation.extract()
    made = handle.result()
    assert (made.hash_sets, made.left_out) == (("nl/known",), ("gb/known",))
    handle.download(tmp_path)
    extract = Extract.open(tmp_path)
    extract.verify()
    with extract.connect() as connection:
        assert connection.execute("SELECT DISTINCT contributor FROM digests").fetchall() == [("nl",)]


def test_a_download_that_breaks_off_leaves_the_earlier_extract(
    handle: OperationHandle[tasks.ExtractResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle.download(tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    next(tmp_path.glob("digests/nl/known/*.parquet")).unlink()
    made = handle.result()
    wrong = msgspec.structs.replace(
        made,
        files=tuple(msgspec.structs.replace(f, sha256="0" * 64) if "digests/nl" in f.path else f for f in made.files),
    )
    monkeypatch.setattr(handle, "result", lambda: wrong)
    with pytest.raises(DataLoss):
        handle.download(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert not list(tmp_path.glob(".part-*"))
    monkeypatch.undo()
    handle.download(tmp_path)
    Extract.open(tmp_path).verify()


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "digests/../../evil", ".bashrc", "a/.b", "a//b", ""])
def test_no_hub_writes_where_it_should_not(
    handle: OperationHandle[tasks.ExtractResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    file = tasks.ResultFile(path=path, sha256=hashlib.sha256(b"").hexdigest(), size=0)
    made = tasks.ExtractResult(revision=1, hash_sets=(), left_out=(), files=(file,))
    monkeypatch.setattr(handle, "result", lambda: made)
    with pytest.raises(DataLoss):
        handle.download(tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_what_cannot_be_done_is_told(operator: Client, contributor: Client, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition):
        operator.reconciliation.overlap(engine=Backend.RAY)
    with pytest.raises(InvalidArgument):
        operator.reconciliation.gaps("Netherlands")
    overlap = operator.reconciliation.overlap()
    overlap.result()
    with pytest.raises(FailedPrecondition):
        list(overlap.rows())
    with pytest.raises(FailedPrecondition):
        overlap.download(tmp_path)
    with pytest.raises(NotFound):
        contributor.get_operation(overlap.id)
    with pytest.raises(InvalidArgument):
        contributor.get_operation("../1")


def test_a_queue_that_is_full_is_told_with_a_time(own_hub: RunningHub, operator: Client) -> None:
    secret = operator.create_token(Principal(name="nl-hurry", role=Role.CONTRIBUTOR, contributor="nl"))
    (own_hub.data / "reconcile").mkdir(exist_ok=True)
    # It would come again by itself for longer; meanwhile none ends, as the child waits for the extract.
    with Client(own_hub.address, secret, timeout=5.0) as contributor, alone(own_hub.data / "reconcile"):
        handles, refused = [], None
        for _ in range(6):
            try:
                handles.append(contributor.reconciliation.overlap())
            except LimitExceeded as e:
                refused = e
                break
        assert refused is not None
        assert refused.retry_after
        for handle in reversed(handles):  # first those that wait
            assert handle.cancel().is_cancelled or handle.operation.has_ended
        for handle in handles:
            assert handle.wait(180).has_ended
        with pytest.raises(HashHubError):
            handles[-1].result()


def test_who_waits_may_stop_waiting(operator: Client) -> None:
    handle = operator.reconciliation.overlap()
    with pytest.raises(Unavailable):
        handle.wait(0.0)
    assert handle.wait(180).state is OperationState.SUCCEEDED


def test_where_the_hub_has_no_place_to_wait_it_is_asked_again(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = operator.reconciliation.overlap()
    call, refused = Transport.call, []

    def full(transport: Transport, request: Any, **more: Any) -> Any:
        if isinstance(request, v1.WaitOperationRequest):
            refused.append(request)
            raise LimitExceeded("full", retry_after=1.0)
        return call(transport, request, **more)

    monkeypatch.setattr(Transport, "call", full)
    monkeypatch.setattr("hashhub.client.reconciliation.LOOK_SECONDS", 0.1)
    assert handle.wait(180).state is OperationState.SUCCEEDED
    assert refused


def test_a_consumer_has_nothing_of_it(own_hub: RunningHub, operator: Client) -> None:
    secret = operator.create_token(Principal(name="shop", role=Role.CONSUMER, contributor="nl"))
    with Client(own_hub.address, secret) as client:
        for act in (
            client.reconciliation.overlap,
            lambda: list(client.list_operations()),
            lambda: client.get_operation("op-1"),
        ):
            with pytest.raises(PermissionDenied):
                act()


def test_a_repeated_start_starts_once(operator: Client, transport: Transport) -> None:
    request = v1.ComputeOverlapRequest(request_id="once")
    first, second = (transport.call(request) for _ in range(2))
    assert first.name == second.name
    operator.get_operation(first.name.partition("/")[2]).wait(180)


def test_over_plain_json(own_hub: RunningHub, operator: Client) -> None:
    import urllib.request

    def post(call: str, body: dict[str, Any]) -> Any:
        address = own_hub.http if own_hub.http.startswith("http") else f"http://{own_hub.http}"
        request = urllib.request.Request(  # noqa: S310 - our own hub
            f"{address}/hashhub.v1.{call}",
            json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {own_hub.token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own hub
            return json.load(answer)

    started = post("ReconciliationService/ComputeOverlap", {"by": "COMPARED_BY_CONTRIBUTOR"})
    ended = post("OperationService/WaitOperation", {"name": started["name"], "timeout": "20s"})
    assert ended["done"] is True
    groups = ended["response"]["computeOverlap"]["groups"]
    assert [g["name"] for g in groups] == ["contributors/gb", "contributors/nl"]
    failing = post("ReconciliationService/FindGaps", {"jurisdiction": "NL"})
    post("OperationService/CancelOperation", {"name": failing["name"]})
    told = post("OperationService/WaitOperation", {"name": failing["name"]})
    assert told["done"] is True
    assert told["error"]["code"] == 1 if "error" in told else "findGaps" in told["response"]


@pytest.mark.timeout(120)
def test_what_a_killed_server_was_at_is_told_by_the_next_one(warmed: Warm, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with warmed.hub(data) as hub:
        (data / "reconcile").mkdir(exist_ok=True)
        with Client(hub.address, hub.token) as client, alone(data / "reconcile"):  # the child waits for the extract
            handle = client.reconciliation.overlap()
            waiting = client.reconciliation.overlap()
            while handle.refresh().state is not OperationState.RUNNING:
                time.sleep(0.05)
            os.kill(hub.pid, signal.SIGKILL)
    with warmed.hub(data) as hub, Client(hub.address, hub.token) as client:
        told = client.get_operation(handle.id).wait(180)
        assert told.failure is not None
        assert told.failure.reason == Reason.OPERATION_ABORTED
        with pytest.raises(Conflict):
            client.get_operation(handle.id).result()
        assert client.get_operation(waiting.id).wait(180).state is OperationState.SUCCEEDED  # it had not begun


def test_whose_word_counts_is_chosen_and_told(operator: Client) -> None:
    """Nobody is rated here, so that all take part; whom an answer leaves out it names, over the wire too."""
    assert operator.reconciliation.agreement().result().left_out == ()
    left_out = (Omission(contributor="nl", reliability="F", by_choice=True),)
    for handle in (
        operator.reconciliation.overlap(contributors=("gb",)),
        operator.reconciliation.agreement(contributors=("gb",)),
        operator.reconciliation.links(contributors=("gb",)),
        operator.reconciliation.report(contributors=("gb",)),
    ):
        assert handle.result(120).left_out == left_out
    gaps = operator.reconciliation.gaps("NL", contributors=("gb",)).result(120).gaps
    assert (gaps.items, gaps.left_out) == (20, left_out)
    low = operator.reconciliation.overlap(min_reliability=Reliability.C).result(120)
    assert [x.contributor for x in low.left_out] == ["gb", "nl"]
    for nobody in ("nobody", "de"):
        with pytest.raises(InvalidArgument, match=nobody):
            operator.reconciliation.overlap(contributors=(nobody,)).result(120)
