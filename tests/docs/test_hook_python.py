"""The apps of docs/hook/python.md, as they stand, under the servers that the page names, asked as it says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hashhub.hook.settings import AppSettings
from hashhub.testing.hub_process import running_hub
from tests.docs.test_readme import ROOT, Command, commands

PAGE = "docs/hook/python.md"
SERVERS = {
    "fast.py": ("uvicorn", "fast:app", "--port"),
    "flasked.py": ("flask", "--app", "flasked", "run", "--port"),
    "djangoed.py": ("djangoed.py", "runserver", "--noreload"),
}


def files() -> dict[str, str]:
    """Return the page's blocks that have a file's name."""
    text = (ROOT / PAGE).read_text("utf-8")
    return dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def run(command: Command, directory: Path, environment: dict[str, str], port: int = 0) -> None:
    line = command.line.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=directory,
        env=environment,
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == command.ends_with, f"{command}\n{done.stdout}\n{done.stderr}"
    assert command.prints == [] or done.stdout.splitlines() == command.prints, (command, done.stdout)


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_three_apps_take_what_is_unlisted_and_refuse_what_is_listed(tmp_path: Path) -> None:
    written = files()
    assert set(written) == {"hook.toml", "function.py", "store.py", *SERVERS}
    page = commands(PAGE)
    setup = [command for command in page if not command.line.startswith("curl")]
    asking = [command for command in page if command.line.startswith("curl")]
    assert (len(setup), [command.prints for command in asking]) == (10, [["200"], ["451"]])
    with running_hub(tmp_path / "hub") as hub:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HASHHUB_")},
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "connectors")]),
            "HASHHUB_SERVER": hub.address,
            "HASHHUB_TOKEN": hub.token,
            "HASHHUB_HOOK_ANSWER_SECONDS": "30",  # a loaded machine is no reason for another answer
        }
        for name, text in written.items():
            (tmp_path / name).write_text(text.replace("127.0.0.1:8470", hub.address))
        for command in setup:
            run(command, tmp_path, environment)
        done = subprocess.run(
            [sys.executable, "function.py"],
            cwd=tmp_path,
            env={**environment, "HASHHUB_TOKEN": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        allowed, refused = done.stdout.splitlines()
        assert allowed == f"uploads/unlisted.png {(tmp_path / 'uploads/unlisted.png').stat().st_size}", done.stderr
        assert refused == "uploads/listed.png BLOCK"
        for name, arguments in SERVERS.items():
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            program = [sys.executable, *(arguments if name == "djangoed.py" else ("-m", *arguments)), str(port)]
            with (
                (tmp_path / f"{name}.log").open("wb") as log,
                subprocess.Popen(program, cwd=tmp_path, env=environment, stdout=log, stderr=log) as server,
            ):
                try:
                    _wait_for(port, server)
                    for command in asking:
                        run(command, tmp_path, environment, port)
                finally:
                    server.terminate()
            assert "Traceback" not in (tmp_path / f"{name}.log").read_text(), name


def test_the_page_has_every_setting_of_the_adapters() -> None:
    rows = "\n".join(line for line in (ROOT / PAGE).read_text("utf-8").splitlines() if line.startswith("| `"))
    for name in AppSettings.__struct_fields__:
        assert f"`{name}`" in rows, name


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the server ended with {server.returncode}")
