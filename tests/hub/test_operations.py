"""Operations at the hub: who sees which, whose rights they have, what ends them, and what is kept of them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.errors import (
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Reason,
    StatusCode,
)
from hashhub.hub import Hub
from hashhub.model import (
    EventKind,
    HashSet,
    Marking,
    Operation,
    OperationState,
    Principal,
    Role,
    WithdrawalReason,
    now,
)
from hashhub.reconcile import child_job, tasks
from hashhub.reconcile.extract import Extract
from hashhub.reconcile.results import Backend, By, Overlap, Progress
from hashhub.reconcile.work import Job, ask, work
from hashhub.store import events
from hashhub.store import operations as stored
from tests.hub.conftest import OPERATOR, Desk, Open, item, writer

SHARED = Marking(bulk=True, redistribution=True)
LISTED = Marking(bulk=True)  # may be listed by members, and may not leave
HIDDEN = Marking(bulk=False)
CONSUMER = Principal(name="shop", role=Role.CONSUMER, contributor="beta")


def here(job: Job, progress: Progress) -> bytes:
    """Do a job in this process, as the child does it in its own."""
    return msgspec.json.encode(work(job, progress))


def token(desk: Desk, name: str, role: Role = Role.CONTRIBUTOR, contributor: str = "") -> Principal:
    wanted = Principal(name=name, role=role, contributor=contributor)
    return desk.hub.tokens.create(OPERATOR, wanted)[0]


class Scene:
    """Three contributors: gamma's set can be listed and taken along, delta's only listed, eps's neither."""

    def __init__(self, desk: Desk, *, hides: bool = True) -> None:
        self.desk, self.hub = desk, desk.hub
        self.hub.reconciliation.run = here
        desk.hash_set("alpha/list")
        desk.hash_set("gamma/list", marking=SHARED)
        desk.hash_set("delta/list", marking=LISTED)
        desk.contribute("alpha/list", *[item(n) for n in range(20)])
        desk.contribute("gamma/list", *[item(n) for n in range(10, 30)])
        desk.contribute("delta/list", *[item(n) for n in range(5, 15)])
        if hides:
            desk.hash_set("eps/list", marking=HIDDEN)
            desk.contribute("eps/list", *[item(n) for n in range(40)])
        self.alpha = token(desk, "alpha-desk", contributor="alpha")
        self.gamma = token(desk, "gamma-desk", contributor="gamma")
        self.ada = token(desk, "ada", Role.OPERATOR)
        self.auditor = token(desk, "ira", Role.AUDITOR)

    def done(self, who: Principal, task: tasks.Task) -> Operation:
        """Start an operation, let it be done in this thread, and return it."""
        started = self.hub.reconciliation.start(who, task)
        self.hub.operations.round()
        return self.hub.operations.get(who, started.id)

    def answer(self, who: Principal, task: tasks.Task) -> Any:
        operation = self.done(who, task)
        assert operation.state is OperationState.SUCCEEDED, operation.failure
        return msgspec.json.decode(operation.response, type=tasks.RESPONSE_OF[operation.method])

    def change(self, name: str, marking: Marking) -> None:
        contributor, _, own = name.partition("/")
        changed = HashSet(contributor=contributor, id=own, marking=marking)
        self.hub.hash_sets.update(OPERATOR, changed, ["marking"])

    def files(self, who: Principal, operation: Operation, target: Path, *paths: str) -> Path:
        for piece in self.hub.reconciliation.files(lambda: who, operation.id, paths):
            path = target / piece.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(piece.data)
        return target


@pytest.fixture
def scene(open_hub: Open) -> Scene:
    """A hub whose thread does not run: each test lets its operations be done."""
    return Scene(Desk(open_hub(start=False)))


OVERLAP = tasks.ComputeOverlap(by=By.HASH_SET)


# A real child


@pytest.mark.timeout(120)
def test_a_child_does_it_on_each_kind_of_database(any_desk: Desk) -> None:
    any_desk.hash_set("alpha/list")
    any_desk.hash_set("beta/list")
    any_desk.contribute("alpha/list", *[item(n) for n in range(20)])
    any_desk.contribute("beta/list", *[item(n) for n in range(15, 20)])
    ada = token(any_desk, "ada", Role.OPERATOR)
    started = any_desk.hub.reconciliation.start(ada, OVERLAP)
    for _ in range(5):
        operation = any_desk.hub.operations.wait(ada, started.id, None)
        if operation.has_ended:
            break
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    overlap = msgspec.json.decode(operation.response, type=Overlap)
    assert {(c.left, c.right): c.exact for c in overlap.cells} == {
        ("alpha/list", "beta/list"): 5,
        ("beta/list", "alpha/list"): 5,
    }


def _job(scene: Scene, **fields: Any) -> Job:
    data = Path(scene.hub.operations.base).parent
    base = {"task": OVERLAP, "database": str(data), "base": str(data / "r"), "out": str(data / "r" / "out")}
    return Job(**{**base, **fields})


def test_a_child_tells_its_errors(scene: Scene) -> None:
    with pytest.raises(child_job.JobFailed) as failed:
        child_job.run(_job(scene, database=str(scene.hub.operations.base / "nowhere")), lambda *_: None)
    assert failed.value.failure.code == StatusCode.FAILED_PRECONDITION
    assert "there is no hashhub database here" in failed.value.failure.message


def test_a_child_that_is_killed_is_no_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Killed(subprocess.Popen):  # type: ignore[type-arg]  # one kind of pipe
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            children.append(self)
            os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(subprocess, "Popen", Killed)
    operation = scene.hub.reconciliation.start(scene.ada, OVERLAP)
    scene.hub.reconciliation.run = child_job.run
    scene.hub.operations.round()
    told = scene.hub.operations.get(scene.ada, operation.id)
    assert told.failure is not None
    assert (told.failure.code, told.failure.reason) == (StatusCode.ABORTED, Reason.OPERATION_ABORTED)
    assert children
    assert not scene.hub.operations.directory(operation.id).exists()


def test_a_child_does_not_outlive_its_hub(scene: Scene) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "hashhub.reconcile.child_job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    data = scene.hub.operations.base.parent
    lock = data / "r"
    lock.mkdir()
    # Somebody holds the extract, so that the child has to wait.
    with apart_lock(lock):
        child.stdin.write(msgspec.json.encode(_job(scene)) + b"\n")
        child.stdin.flush()
        time.sleep(0.5)
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(180) == 1
    assert child.stdout is not None
    child.stdout.close()


def apart_lock(base: Path) -> Any:
    from hashhub.reconcile.work import alone

    return alone(base)


# Whose, and over what


def test_each_has_what_its_terms_give(scene: Scene) -> None:
    assert scene.answer(scene.ada, OVERLAP).names == ("alpha/list", "delta/list", "eps/list", "gamma/list")
    assert scene.answer(scene.auditor, OVERLAP).names == ("alpha/list", "delta/list", "eps/list", "gamma/list")
    assert scene.answer(scene.alpha, OVERLAP).names == ("alpha/list", "delta/list", "gamma/list")
    with pytest.raises(PermissionDenied):
        scene.hub.reconciliation.start(CONSUMER, OVERLAP)


def test_what_is_hidden_changes_no_result(open_hub: Open, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def run(job: Job, _: Progress) -> bytes:
        return here(job, lambda *step: told.append(step))

    scenes = []
    for hides in (False, True):
        scenes.append(Scene(Desk(open_hub(data=str(tmp_path / str(hides)), start=False)), hides=hides))
        scenes[-1].hub.reconciliation.run = run
    every: tuple[tasks.Task, ...] = (
        tasks.ComputeOverlap(by=By.HASH_SET, near=True),
        tasks.ComputeOverlap(by=By.CONTRIBUTOR),
        tasks.ComputeOverlap(by=By.JURISDICTION),
        tasks.ComputeAgreement(),
        tasks.ExtractEntries(),
        tasks.FindLinks(near=True),
        tasks.FindGaps(jurisdiction="NL"),
        tasks.WriteReport(),
    )
    for task in every:
        answers: list[Any] = []
        steps: list[set[tuple[int, int, str]]] = []
        for scene in scenes:
            told.clear()
            operation = scene.done(scene.alpha, task)
            assert operation.state is OperationState.SUCCEEDED, operation.failure
            answer = msgspec.json.decode(operation.response)
            for part in (answer, answer.get("gaps", {})):
                part["revision"] = 0
            if operation.method == "WriteReport":
                page = scene.files(scene.alpha, operation, tmp_path / f"page {len(answers)}") / "report.html"
                answer["page"] = page.read_text("utf-8").replace(f"revision {scene.hub.revision()}", "")
            if operation.method in tasks.ROW_OF:
                rows, _ = scene.hub.reconciliation.rows(scene.alpha, operation.id, 1000, 0)
                answer["read"] = msgspec.to_builtins(rows)
                assert answer["read"]
            for file in answer.get("files", ()):  # ids of entries stand in the files, and revisions
                file["path"], file["sha256"], file["size"] = file["path"].rpartition("-")[0], "", 0
            answers.append(answer)
            steps.append(set(told))
        assert answers[0] == answers[1], task
        assert steps[0] == steps[1], task
        assert steps[0], task
        assert not any("eps" in str(x) for x in (answers, steps))


def test_an_extract_holds_what_may_leave_and_each_time_it_leaves_is_on_record(scene: Scene, tmp_path: Path) -> None:
    operation = scene.done(scene.alpha, tasks.ExtractEntries())
    made = msgspec.json.decode(operation.response, type=tasks.ExtractResult)
    assert (made.hash_sets, made.left_out) == (("alpha/list", "gamma/list"), ("delta/list",))
    assert not _exports(scene)
    target = scene.files(scene.alpha, operation, tmp_path / "copy")
    extract = Extract.open(target)
    extract.verify()
    with extract.connect() as connection:
        assert connection.execute("SELECT DISTINCT hash_set FROM digests ORDER BY 1").fetchall() == [
            ("alpha/list",),
            ("gamma/list",),
        ]
        assert [row["hash_set"] for row in extract.hash_sets()] == ["alpha/list", "gamma/list"]
    for path in target.rglob("*"):
        assert b"delta" not in path.read_bytes() if path.is_file() else True
        assert b"eps/" not in path.read_bytes() if path.is_file() else True
    assert [e.subject for e in _exports(scene)] == ["hash-sets/gamma/list", "hash-sets/alpha/list"]
    assert {e.actor.name for e in _exports(scene)} == {"alpha-desk"}
    scene.files(scene.alpha, operation, tmp_path / "again", "manifest.json")  # no digests, no event
    scene.files(scene.alpha, operation, tmp_path / "more", *[f.path for f in made.files if "gamma" in f.path])
    assert _exports(scene)[0].subject == "hash-sets/gamma/list"
    assert len(_exports(scene)) == 3


def _exports(scene: Scene) -> list[Any]:
    events, _ = scene.hub.history.list(OPERATOR, "", "", None, 100, 0)
    return [e for e in events if e.kind is EventKind.ENTRIES_EXPORTED]


def test_only_its_own_files_are_given(scene: Scene, tmp_path: Path) -> None:
    operation = scene.done(scene.ada, tasks.ExtractEntries())
    for path in ("../../LOCK", "/etc/passwd", "digests", "", "manifest.json/../manifest.json"):
        with pytest.raises(NotFound):
            scene.files(scene.ada, operation, tmp_path, path)
    with pytest.raises(FailedPrecondition):
        scene.files(scene.ada, scene.done(scene.ada, OVERLAP), tmp_path)


def test_terms_are_asked_again_when_a_result_is_read(scene: Scene, tmp_path: Path) -> None:
    overlap = scene.done(scene.alpha, OVERLAP)
    extract = scene.done(scene.alpha, tasks.ExtractEntries())
    scene.change("gamma/list", LISTED)  # may be listed, and may not leave any more
    assert scene.hub.operations.get(scene.alpha, overlap.id).response
    with pytest.raises(PermissionDenied) as refused:
        scene.files(scene.alpha, extract, tmp_path)
    assert refused.value.reason is Reason.RESULT_WITHHELD
    scene.change("gamma/list", HIDDEN)
    told = scene.hub.operations.get(scene.alpha, overlap.id)
    assert (told.state, told.response, told.hash_sets) == (OperationState.FAILED, b"", ())
    assert told.failure is not None
    assert told.failure.reason == Reason.RESULT_WITHHELD
    assert "gamma" not in told.failure.message
    (first, *_), _ = scene.hub.operations.list(scene.alpha, 10, 0)
    assert not first.response
    assert scene.hub.operations.get(scene.ada, overlap.id).response  # an operator sees everything
    scene.change("gamma/list", SHARED)
    assert scene.hub.operations.get(scene.alpha, overlap.id).response


def test_terms_are_asked_again_between_two_files(scene: Scene) -> None:
    operation = scene.done(scene.alpha, tasks.ExtractEntries())
    pieces = scene.hub.reconciliation.files(lambda: scene.alpha, operation.id, ())
    next(pieces)
    scene.change("gamma/list", HIDDEN)
    with pytest.raises(PermissionDenied):
        list(pieces)


def test_terms_are_those_of_the_moment_when_it_is_done(scene: Scene) -> None:
    started = scene.hub.reconciliation.start(scene.alpha, OVERLAP)
    scene.change("gamma/list", HIDDEN)
    scene.hub.operations.round()
    operation = scene.hub.operations.get(scene.alpha, started.id)
    assert msgspec.json.decode(operation.response, type=Overlap).names == ("alpha/list", "delta/list")


def test_a_token_that_works_no_more_has_nothing_done(scene: Scene) -> None:
    started = scene.hub.reconciliation.start(scene.gamma, OVERLAP)
    scene.hub.tokens.delete(OPERATOR, "gamma-desk")
    scene.hub.operations.round()
    operation = scene.hub.operations.get(scene.ada, started.id)
    assert operation.failure is not None
    assert operation.failure.code == StatusCode.UNAUTHENTICATED


def test_others_operations_are_not_there(scene: Scene) -> None:
    own, of_operator = scene.done(scene.alpha, OVERLAP), scene.done(scene.ada, OVERLAP)
    for act in _acts(scene.hub):
        for who, operation in ((scene.gamma, own), (scene.alpha, of_operator), (scene.alpha, None)):
            with pytest.raises(NotFound) as refused:
                act(who, "op-none" if operation is None else operation.id)
            assert "op-" in refused.value.message
    listed, _ = scene.hub.operations.list(scene.gamma, 10, 0)
    assert listed == []
    assert {o.id for o in scene.hub.operations.list(scene.auditor, 10, 0)[0]} == {own.id, of_operator.id}


def _acts(hub: Hub) -> list[Callable[[Principal, str], object]]:
    return [
        hub.operations.get,
        lambda p, o: hub.operations.wait(p, o, timedelta(0)),
        hub.operations.cancel,
        hub.operations.delete,
        lambda p, o: hub.reconciliation.rows(p, o, 10, 0),
        lambda p, o: list(hub.reconciliation.files(lambda: p, o, ())),
    ]


def test_an_operator_of_a_contributor_does_not_show_it_what_it_may_not_see(scene: Scene) -> None:
    boss = token(scene.desk, "boss", Role.OPERATOR, "alpha")
    operation = scene.done(boss, OVERLAP)
    with pytest.raises(NotFound):
        scene.hub.operations.get(scene.alpha, operation.id)
    assert scene.hub.operations.list(scene.alpha, 10, 0)[0] == []


def test_an_auditor_ends_only_its_own(scene: Scene) -> None:
    of_operator = scene.done(scene.ada, OVERLAP)
    for act in (scene.hub.operations.cancel, scene.hub.operations.delete):
        with pytest.raises(PermissionDenied):
            act(scene.auditor, of_operator.id)
    scene.hub.operations.delete(scene.auditor, scene.done(scene.auditor, OVERLAP).id)
    scene.hub.operations.delete(scene.ada, of_operator.id)
    assert scene.hub.operations.list(scene.ada, 10, 0)[0] == []
    assert not list((scene.hub.operations.base / "results").iterdir())


# How one ends


def test_cancelled_work_stops_at_its_next_word(scene: Scene) -> None:
    seen: list[Operation] = []

    def run(job: Job, progress: Progress) -> bytes:
        progress(1, 3, "first")
        (running,), _ = scene.hub.operations.list(scene.ada, 10, 0)
        seen.append(running)
        scene.hub.operations.cancel(scene.ada, running.id)
        progress(2, 3, "second")
        raise AssertionError(f"goes on: {job}")

    scene.hub.reconciliation.run = run
    operation = scene.done(scene.ada, OVERLAP)
    assert [(o.state, o.done, o.total, o.doing) for o in seen] == [(OperationState.RUNNING, 1, 3, "first")]
    assert operation.state is OperationState.CANCELLED
    assert operation.failure is not None
    assert (operation.failure.code, operation.failure.reason) == (StatusCode.CANCELLED, Reason.OPERATION_CANCELLED)


def test_one_that_waits_is_cancelled_at_once(scene: Scene) -> None:
    started = scene.hub.reconciliation.start(scene.alpha, OVERLAP)
    assert scene.hub.operations.cancel(scene.alpha, started.id).state is OperationState.CANCELLED
    scene.hub.operations.round()
    assert scene.hub.operations.get(scene.alpha, started.id).state is OperationState.CANCELLED


def test_another_process_sees_that_its_server_died(
    scene: Scene, open_hub: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = scene.hub.reconciliation.start(scene.ada, OVERLAP)
    monkeypatch.setattr(stored, "LEASE", timedelta(seconds=-1))

    def run(job: Job, progress: Progress) -> bytes:
        del job, progress
        other = open_hub(publisher=False, start=False)
        told = other.operations.get(scene.ada, started.id)
        assert told.failure is not None
        assert told.failure.reason == Reason.OPERATION_ABORTED
        return b"{}"

    scene.hub.reconciliation.run = run
    scene.hub.operations.round()  # it was taken for dead, and is not: what it has done counts for nothing
    told = scene.hub.operations.get(scene.ada, started.id)
    assert (told.state, told.response) == (OperationState.FAILED, b"")


def test_a_server_that_stops_says_so(open_hub: Open) -> None:
    hub = open_hub()
    desk = Desk(hub)
    ada = token(desk, "ada", Role.OPERATOR)

    def run(job: Job, progress: Progress) -> bytes:
        del job
        while True:
            progress(0, 0, "")
            time.sleep(0.01)

    hub.reconciliation.run = run
    started = hub.reconciliation.start(ada, OVERLAP)
    while hub.operations.get(ada, started.id).state is OperationState.WAITING:
        time.sleep(0.01)
    hub.operations.close()
    told = hub.operations.get(ada, started.id)
    assert told.failure is not None
    assert told.failure.reason == Reason.OPERATION_ABORTED


def test_a_failure_tells_no_secret_and_ends_the_operation(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def run(job: Job, progress: Progress) -> bytes:
        del progress
        raise ValueError(job.database)

    scene.hub.reconciliation.run = run
    with caplog.at_level(logging.ERROR):
        operation = scene.done(scene.ada, OVERLAP)
    assert operation.failure is not None
    assert operation.failure.code == StatusCode.INTERNAL
    assert str(scene.hub.operations.base.parent) not in operation.failure.message


def test_the_queue_says_when_to_come_again(scene: Scene) -> None:
    for _ in range(stored.MAX_WAITING_EACH):
        scene.hub.reconciliation.start(scene.alpha, OVERLAP)
    with pytest.raises(LimitExceeded) as refused:
        scene.hub.reconciliation.start(scene.alpha, OVERLAP)
    assert refused.value.retry_after
    scene.hub.reconciliation.start(scene.gamma, OVERLAP)
    scene.hub.reconciliation.start(scene.ada, OVERLAP)


@pytest.mark.parametrize(
    ("task", "error"),
    [
        (tasks.ComputeOverlap(engine=Backend.RAY), FailedPrecondition),
        (tasks.ComputeAgreement(engine=Backend.RAY), FailedPrecondition),
        (tasks.FindGaps(jurisdiction="nl"), InvalidArgument),
        (tasks.FindGaps(jurisdiction=""), InvalidArgument),
        (tasks.FindGaps(jurisdiction="UK"), InvalidArgument),
        (tasks.WriteReport(title="x" * 201), InvalidArgument),
        (tasks.WriteReport(jurisdictions=("NL", "Z")), InvalidArgument),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(scene: Scene, task: tasks.Task, error: type[HashHubError]) -> None:
    with pytest.raises(error):
        scene.hub.reconciliation.start(scene.alpha, task)
    assert scene.hub.operations.list(scene.ada, 10, 0)[0] == []


def test_a_result_is_read_when_it_is_there(scene: Scene) -> None:
    started = scene.hub.reconciliation.start(scene.ada, tasks.ExtractEntries())
    with pytest.raises(FailedPrecondition) as refused:
        list(scene.hub.reconciliation.files(lambda: scene.ada, started.id, ()))
    assert refused.value.reason is Reason.OPERATION_UNFINISHED


# What is kept


def test_what_no_operation_names_is_removed(scene: Scene) -> None:
    operation = scene.done(scene.ada, tasks.ExtractEntries())
    stray = scene.hub.operations.base / "results" / "op-stray"
    stray.mkdir()
    scene.hub.operations.tidy()
    assert not stray.exists()
    directory = scene.hub.operations.directory(operation.id)
    assert directory.exists()
    scene.hub.operations.delete(scene.ada, operation.id)
    assert not directory.exists()


def test_files_that_are_gone_are_told(scene: Scene, tmp_path: Path) -> None:
    operation = scene.done(scene.ada, tasks.ExtractEntries())
    (scene.hub.operations.directory(operation.id) / "files" / "manifest.json").unlink()
    with pytest.raises(FailedPrecondition) as refused:
        scene.files(scene.ada, operation, tmp_path)
    assert refused.value.reason is Reason.RESULT_GONE
    assert not _exports(scene)


def test_no_extract_keeps_what_was_erased(scene: Scene, tmp_path: Path) -> None:
    operation = scene.done(scene.ada, tasks.ExtractEntries())
    overlap = scene.done(scene.ada, OVERLAP)
    entry = scene.desk.entries("alpha/list")[0]
    scene.hub.entries.withdraw(writer("alpha"), "alpha", "list", entry.id, WithdrawalReason.ERROR)
    scene.hub.operations.tidy()
    assert scene.files(scene.ada, operation, tmp_path / "a").exists()
    scene.hub.entries.erase(OPERATOR, "alpha", "list", entry.id)
    scene.hub.operations.tidy()
    digest = entry.hashes[0].digest
    for path in scene.hub.operations.base.rglob("*"):
        assert digest not in path.read_bytes() if path.is_file() else True
    with pytest.raises(FailedPrecondition) as refused:
        scene.files(scene.ada, operation, tmp_path / "b")
    assert refused.value.reason is Reason.RESULT_GONE
    assert scene.hub.operations.get(scene.ada, overlap.id).response
    again = scene.done(scene.ada, tasks.ExtractEntries())
    assert scene.files(scene.ada, again, tmp_path / "c").exists()


def test_no_extract_keeps_a_deleted_hash_set(scene: Scene, tmp_path: Path) -> None:
    operation = scene.done(scene.ada, tasks.ExtractEntries())
    digest = scene.desk.entries("alpha/list")[0].hashes[0].digest
    scene.hub.retention.delete(OPERATOR, "alpha", "list")
    scene.hub.keeper.delete_rows()
    scene.hub.operations.tidy()
    for path in scene.hub.operations.base.rglob("*"):
        assert digest not in path.read_bytes() if path.is_file() else True
    with pytest.raises(FailedPrecondition) as refused:
        scene.files(scene.ada, operation, tmp_path / "a")
    assert refused.value.reason is Reason.RESULT_GONE


@pytest.mark.parametrize(("days", "is_old"), [(30, True), (30, False), (0.01, False)])
def test_no_extract_keeps_what_went_by_age(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, *, is_old: bool
) -> None:
    """One that was written after the entries were withdrawn never had them, and stays: results are for a day."""
    scene.hub.operations.keep_withdrawn_days = days
    operation = scene.done(scene.ada, tasks.ExtractEntries())
    first, second = scene.desk.entries("alpha/list")[:2]
    if is_old:
        for manifest in scene.hub.operations.base.rglob("manifest.json"):
            written = manifest.stat().st_mtime - timedelta(days=31).total_seconds()
            os.utime(manifest, (written, written))
    for entry in (first, second):
        scene.hub.entries.withdraw(OPERATOR, "alpha", "list", entry.id, WithdrawalReason.ERROR)
    with monkeypatch.context() as patch:
        patch.setattr(events, "now", lambda: now() + timedelta(hours=1))
        assert scene.hub.store.retention.purge_withdrawn("alpha/list", now() + timedelta(hours=1)) == 2
    scene.hub.operations.tidy()
    is_dropped = is_old or days < 1
    held = [p for p in scene.hub.operations.base.rglob("*") if p.is_file() and first.hashes[0].digest in p.read_bytes()]
    assert bool(held) is not is_dropped
    if is_dropped:
        with pytest.raises(FailedPrecondition):
            scene.files(scene.ada, operation, tmp_path / "a")
    else:
        assert scene.files(scene.ada, operation, tmp_path / "a").exists()


def test_what_was_erased_is_dropped_from_older_results_after_a_restart(scene: Scene, open_hub: Open) -> None:
    operation = scene.done(scene.ada, tasks.ExtractEntries())
    entry = scene.desk.entries("alpha/list")[0]
    scene.hub.entries.withdraw(writer("alpha"), "alpha", "list", entry.id, WithdrawalReason.ERROR)
    scene.hub.entries.erase(OPERATOR, "alpha", "list", entry.id)
    scene.answer(scene.ada, OVERLAP)  # the server's own extract is newer than the erasure now
    open_hub(publisher=False, start=False).operations.tidy()
    files = scene.hub.operations.directory(operation.id) / tasks.FILES
    assert not files.exists()
    assert scene.answer(scene.ada, OVERLAP).entries["alpha/list"] == 19


def test_the_next_extract_writes_what_has_changed(scene: Scene) -> None:
    first = scene.answer(scene.ada, tasks.ExtractEntries())
    scene.desk.contribute("alpha/list", item(99))
    second = scene.answer(scene.ada, tasks.ExtractEntries())
    before, after = ({f.path for f in made.files} for made in (first, second))
    assert {p for p in before & after if p.startswith("digests/")} == {
        p for p in before if p.startswith("digests/") and "alpha" not in p
    }
    assert second.revision > first.revision


def test_a_report_tells_conflicts_and_crosswalks_of_schemes_that_were_put(open_hub: Open, tmp_path: Path) -> None:
    hub = open_hub(data=str(tmp_path / "data"), start=False)
    desk = Desk(hub)
    text = (files("hashhub.schemes") / "data/uk-sentencing.toml").read_text("utf-8")
    text = text.replace('id = "uk-sentencing"', 'id = "ours"').replace('status = "verified"', 'status = "draft"')
    hub.schemes.put(OPERATOR, text)
    desk.hash_set("alpha/list", scheme="ours")
    desk.hash_set("beta/list", scheme="vic-us")
    desk.contribute("alpha/list", item(1, value="A"))
    desk.contribute("beta/list", item(1, value="2"))
    assert hub.finder is not None
    hub.finder.catch_up()
    hub.reconciliation.run = here
    ada = token(desk, "ada", Role.OPERATOR)
    operation = hub.reconciliation.start(ada, tasks.WriteReport())
    hub.operations.round()
    operation = hub.operations.get(ada, operation.id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    page = (hub.operations.directory(operation.id) / tasks.FILES / "report.html").read_text("utf-8")
    assert "1 conflict" in page
    assert "VERDICT" in page or "verdict" in page
    assert "ours@2014" in page
    assert "data:image/svg+xml" in page
    assert "were not computed" not in page
    # An extract takes them along, and nobody's name with them.
    operation = hub.reconciliation.start(ada, tasks.ExtractEntries())
    hub.operations.round()
    directory, out = hub.operations.directory(operation.id) / tasks.FILES, tmp_path / "out"
    out.mkdir()
    assert [(d.name, d.actor) for d in Extract.open(directory).manifest.schemes] == [("ours@2014", "")]
    ask(tasks.WriteReport(), directory, out, progress=lambda *_: None)
    assert "ours@2014 and vic-us" in (out / tasks.FILES / "report.html").read_text("utf-8")
