"""Several workers: one scrape for all of them, and one that is killed during the start does not stop the hub."""

from __future__ import annotations

import http.client
import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from hashhub.client import Client
from hashhub.config import Config
from hashhub.server import StartPhase, serve
from hashhub.server.messages import (
    ENCODER,
    FROM_WORKER,
    MetricFamily,
    MetricSample,
    MetricsReport,
    MetricsText,
)
from hashhub.server.metrics import Metrics
from hashhub.server.worker import SupervisorLink
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.patience import PATIENCE, wait_until
from tests.processes import children, command, workers_of


def serving(data: Path) -> list[str]:
    """Return the command of a hub on a free port."""
    return [sys.executable, "-m", "hashhub.cli", "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--http", ""]


def workers(data: Path) -> list[psutil.Process]:
    """Return the workers of the hub that serves this data, in the order in which they were started."""
    me = psutil.Process()
    return [worker for hub in children(me) if f"--data {data}" in command(hub) for worker in workers_of(hub.pid)]


def scrape(hub: RunningHub) -> dict[str, float]:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return _scrape(hub)
        except (OSError, http.client.HTTPException):  # it was given to a worker that is dying, or the parent is busy
            assert time.monotonic() < end
            time.sleep(0.1)


def _scrape(hub: RunningHub) -> dict[str, float]:
    connection = http.client.HTTPConnection(hub.http, timeout=30)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {hub.token}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        raise http.client.HTTPException(text)
    assert answer.status == 200, text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def calls(lines: dict[str, float]) -> dict[str, float]:
    """Return how often each worker's status was asked for."""
    counted = re.compile(r'hashhub_call_seconds_count\{code="OK",method="AdminService/GetStatus",worker="(\d)"\}')
    return {found[1]: value for line, value in lines.items() if (found := counted.fullmatch(line))}


def ask(hub: RunningHub, times: int) -> None:
    for _ in range(times):
        with Client(hub.address, hub.token) as client:
            client.status()


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_worker_that_hangs_is_killed_when_the_hub_has_drained(tmp_path: Path) -> None:
    data, settings = tmp_path / "data", tmp_path / "settings.toml"
    settings.write_text("drain_seconds = 0.1\n")
    with running_hub(data, "--workers", "2", "--config", str(settings)) as hub:
        hanging, other = workers_of(hub.pid)
        hanging.suspend()
        os.kill(hub.pid, signal.SIGTERM)
        wait_until(lambda: not lives(hanging) and not lives(other))
    assert "worker 0 does not end; it is killed" in (data / "hub.log").read_text("utf-8")


def test_a_worker_that_stands_still_is_killed_and_lookups_go_on(tmp_path: Path) -> None:
    """It took its lookups with it for as long as it stood still, and nobody noticed. One of which nobody asks anything
    meanwhile is not killed.
    """
    data = tmp_path / "data"
    with running_hub(data, "--workers", "2") as hub:
        victim, other = workers_of(hub.pid)
        stopped = time.monotonic()
        victim.suspend()
        wait_until(lambda: not lives(victim))
        assert time.monotonic() - stopped > 8
        wait_until(lambda: len(workers_of(hub.pid)) == 2)
        assert other in workers_of(hub.pid)
        ask(hub, 20)
        wait_until(lambda: sum(v for k, v in scrape(hub).items() if k.startswith("hashhub_worker_starts_total")) == 3)
        kills = {k: v for k, v in scrape(hub).items() if k.startswith("hashhub_worker_kills_total") and v}
        assert [*kills.values()] == [1], "whichever number it had"
    log = (data / "hub.log").read_text("utf-8")
    assert "has not answered for 10 s; it is killed" in log
    assert "ended with code -9" in log


def test_no_process_of_a_hub_leaves_its_memory_in_a_file(tmp_path: Path) -> None:
    own = psutil.Process().rlimit(psutil.RLIMIT_CORE)
    try:
        psutil.Process().rlimit(psutil.RLIMIT_CORE, (own[1], own[1]))
        with running_hub(tmp_path / "hub", "--workers", "2") as hub:
            for process in (psutil.Process(hub.pid), *workers_of(hub.pid)):
                assert process.rlimit(psutil.RLIMIT_CORE)[0] == 0
    finally:
        psutil.Process().rlimit(psutil.RLIMIT_CORE, own)


def test_a_worker_that_cannot_be_started_again_is_tried_later(tmp_path: Path) -> None:
    """The machine may have no process left for a moment: that ends neither the hub nor its other workers."""
    data = tmp_path / "data"
    with running_hub(data, "--workers", "2") as hub:
        first, other = workers_of(hub.pid)
        limits = psutil.Process(hub.pid).rlimit(psutil.RLIMIT_NOFILE)
        psutil.Process(hub.pid).rlimit(psutil.RLIMIT_NOFILE, (3, limits[1]))
        first.kill()
        wait_until(lambda: "cannot be started" in (data / "hub.log").read_text("utf-8"))
        assert lives(other)
        psutil.Process(hub.pid).rlimit(psutil.RLIMIT_NOFILE, limits)
        wait_until(lambda: len(workers_of(hub.pid)) == 2)
        ask(hub, 1)


@pytest.mark.parametrize("missing", ["uvicorn", "prometheus_client", "sqlalchemy", "numba"])
def test_what_is_not_installed_is_told_once_and_not_as_a_traceback(tmp_path: Path, missing: str) -> None:
    """Whichever process misses it first."""
    package = tmp_path / "packages" / missing
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise ModuleNotFoundError(name={missing!r})")
    done = subprocess.run(
        [*serving(tmp_path / "data"), "--workers", "2"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(package.parent), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode != 0
    assert "pip install 'hashhub[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_loads_what_all_need_and_nothing_else() -> None:
    """What only some calls need is loaded by the first of them; each would make every start longer."""
    code = "import sys; from hashhub.server.process import load_program; load_program(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    modules = set(done.stdout.split())
    assert {"hashhub.hub", "hashhub.server.listeners", "hashhub.matcher", "sqlalchemy", "numba", "grpc"} <= modules
    for name in (
        *("PIL", "alembic", "av", "cryptography", "duckdb", "faiss", "imagehash", "pandas", "psycopg"),
        *("pyarrow", "ray", "rich", "scipy.linalg", "starlette"),
        *("hashhub.cli", "hashhub.client", "hashhub.hook", "hashhub_connectors"),
    ):
        assert name not in modules, name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_hub_that_is_stopped_while_it_starts_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """At whatever it is: the program is loaded for a second, and then each worker opens the hub."""
    with subprocess.Popen([*serving(tmp_path / "data"), "--workers", "2"], stderr=subprocess.PIPE, text=True) as hub:
        wait_until(lambda: workers_of(hub.pid))
        processes = psutil.Process(hub.pid).children(recursive=True)
        hub.send_signal(number)
        _, log = hub.communicate(timeout=PATIENCE)
    assert hub.returncode == 0, log
    assert "Traceback" not in log
    assert not [process for process in processes if lives(process)]


@pytest.mark.parametrize(("index", "delay"), [(0, 0.0), (1, 1.0), (0, 2.0)])
def test_a_worker_killed_during_the_start_is_started_again(tmp_path: Path, index: int, delay: float) -> None:
    """Whatever it was at: a first start also makes the database and the token."""
    data = tmp_path / "data"
    killed: list[int] = []

    def kill() -> None:
        wait_until(lambda: len(workers(data)) == 2)
        time.sleep(delay)
        victim = workers(data)[index]
        os.kill(victim.pid, signal.SIGKILL)
        killed.append(victim.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    with running_hub(data, "--workers", "2") as hub:
        killer.join()
        # One that was just killed may still be there.
        wait_until(lambda: len({process.pid for process in workers(data)} - set(killed)) == 2)
        wait_until(lambda: sum(v for k, v in scrape(hub).items() if k.startswith("hashhub_worker_starts_total")) == 3)
        ask(hub, 1)
    log = (data / "hub.log").read_text("utf-8")
    assert "ended with code -9" in log
    assert "Traceback" not in log


def test_one_scrape_tells_of_all_workers_and_of_those_that_died(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_hub(data, "--workers", "2") as hub:
        asked = 0

        def both_were_asked() -> bool:
            nonlocal asked
            ask(hub, 10)
            asked += 10
            return set(calls(scrape(hub))) == {"0", "1"}

        wait_until(both_were_asked)  # the second one may come to its ports later
        wait_until(lambda: sum(calls(scrape(hub)).values()) == asked)
        os.kill(workers(data)[1].pid, signal.SIGKILL)
        wait_until(lambda: scrape(hub).get('hashhub_worker_starts_total{worker="1"}') == 2)
        wait_until(lambda: 'hashhub_matcher_revision{worker="1"}' in scrape(hub))
        assert sum(calls(scrape(hub)).values()) == asked, "neither vanished nor counted twice"
        before = calls(scrape(hub))
        for _ in range(20):  # whichever worker is asked
            lines = calls(scrape(hub))
            assert all(lines[worker] >= value for worker, value in before.items())
            before = lines


def test_of_two_readings_of_a_worker_the_older_one_never_comes_last() -> None:
    """It tells what it has counted every few seconds, and when it is scraped: a counter would go back."""

    class Slow(Metrics):
        def families(self) -> list[MetricFamily]:
            family = MetricFamily(
                "hashhub_import_batches_total", [MetricSample("hashhub_import_batches_total", {}, next(count))]
            )
            if not first.is_set():
                first.set()
                scraped.wait(1.0)  # a scrape must wait for this reading instead of overtaking it
            return [family]

    count, first, scraped = itertools.count(1.0), threading.Event(), threading.Event()
    ours, theirs = multiprocessing.Pipe()
    supervisor, metrics = SupervisorLink(theirs, threading.Event()), Slow()
    supervisor.thread.start()
    threads = [
        threading.Thread(target=supervisor.report, args=(metrics,)),
        threading.Thread(target=supervisor.scrape, args=(metrics,)),
    ]
    threads[0].start()
    assert first.wait(PATIENCE)
    threads[1].start()
    values = []
    for _ in threads:
        assert ours.poll(PATIENCE)
        told = FROM_WORKER.decode(ours.recv_bytes())
        assert isinstance(told, MetricsReport)
        values.append(told.families[0].samples[0].value)
        scraped.set()
    ours.send_bytes(ENCODER.encode(MetricsText("")))
    for thread in threads:
        thread.join(PATIENCE)
    ours.close()
    supervisor.thread.close()
    theirs.close()
    assert values == [1.0, 2.0]


def test_a_start_tells_its_phases(tmp_path: Path) -> None:
    told: list[StartPhase] = []
    stop = threading.Event()
    config = Config(data=str(tmp_path), listen="127.0.0.1:0", http="", drain_seconds=0.1)
    serve(config, on_ready=lambda *_: stop.set(), on_phase=told.append, stop=stop)
    begun = [phase.what for phase in told if phase.seconds is None]
    ended = [phase.what for phase in told if phase.seconds is not None]
    assert begun[0] == "loading the program"
    for what in ("opening the database", "opening the snapshot", "verifying the history", "catching up"):
        assert what in begun
        assert what in ended
    assert any("the kernels" in what for what in ended)


def test_the_first_start_compiles_once_and_says_so(tmp_path: Path) -> None:
    environment = os.environ | {"HASHHUB_KERNEL_CACHE": str(tmp_path / "kernels")}
    command = [*serving(tmp_path / "data"), "--workers", "2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as hub:
        try:
            assert hub.stdout is not None
            assert "ready" in hub.stdout.readline()
        finally:
            hub.terminate()
        said = hub.stderr.read() if hub.stderr else ""
    assert said.count("compiling the kernels …") == 1
    # Those of pictures may come, too, and begin again by the other worker where the hub is stopped meanwhile.
    assert said.count("compiling the kernels for this processor, once") in {1, 2, 3}
