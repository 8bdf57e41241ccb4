"""The base on Windows and macOS, as far as Linux shows it: without what only Linux, or only Unix, has.

Programs run with the modules and functions taken away that Windows lacks, and those that macOS lacks. That they run on
those systems is not shown here: neither is at hand.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, HashSet
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import list_file, random_items

WITHOUT_UNIX = """
import os, signal, subprocess, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"):
    sys.modules[name] = None
"""
TAKEN = {
    "windows": WITHOUT_UNIX
    + """
names = "geteuid getuid fork posix_spawn memfd_create sched_getaffinity pipe2 fchmod O_PATH O_CLOEXEC O_NOFOLLOW " \\
    "O_NOCTTY O_NONBLOCK O_DIRECTORY O_TMPFILE"
signals = "SIGKILL SIGHUP SIGUSR1 SIGQUIT SIGSTOP SIGCONT SIGPIPE SIGALRM"
""",
    "macos": """
import os, signal, sys
names, signals = "memfd_create sched_getaffinity pipe2 O_PATH O_TMPFILE", ""
""",
}
RUN = """
for name in names.split():
    delattr(os, name)
for name in signals.split():
    delattr(signal, name)
from hashhub.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub") / "data") as hub:
        with Client(hub.address, hub.token) as client:
            client.create_contributor(
                Contributor(id="nl", display_name="NL", kind=ContributorKind.HOTLINE, jurisdiction="NL")
            )
        yield hub


@pytest.mark.parametrize("system", list(TAKEN))
def test_the_command_line_the_client_and_a_mirror_work(hub: RunningHub, tmp_path: Path, system: str) -> None:
    with Client(hub.address, hub.token) as client:
        client.create_hash_set(HashSet(contributor="nl", id=system, scheme="vic-us"))
    items = random_items(5, seed=1, values=("1",))
    listed = list_file("vics-2.0", items)
    (tmp_path / "list.json").write_bytes(listed.data)

    def run(*arguments: str) -> str:
        program = TAKEN[system] + RUN
        given = [*arguments, "--server", hub.address, "--token-file", str(hub.token_file)]
        done = subprocess.run(
            [sys.executable, "-c", program, *given],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("import", "list.json", "--format", listed.connector, "--hash-set", f"nl/{system}")
    algorithm, digest = items[3].digests[0]
    assert "nl" in run("match", "--hash", f"{algorithm}:{digest}")
    run("mirror", "copy")
    assert len(run("entry", "list", f"nl/{system}", "--json").splitlines()) == 5
    for replaced in ([], ["--force"]):
        run(
            "export",
            "--hash-set",
            f"nl/{system}",
            "--format",
            "csv",
            "--out",
            "out.csv",
            "--for",
            "contributors/nl",
            *replaced,
        )
    assert (tmp_path / "out.csv").stat().st_size
