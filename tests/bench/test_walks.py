"""The files of three walks, as the tracer finds them in all processes that have to do with each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_walk_has_the_files_whose_functions_it_calls() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.walks", "--idle", "0.5", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    walks = {name: set(files) for name, files in json.loads(done.stdout).items()}
    assert walks.keys() == {"import", "match", "upload"}
    by_process = {
        "import": {"hashhub/cli/imports.py", "connectors/hashhub_connectors/vics.py", "hashhub/hub/contribute.py"},
        "match": {"hashhub/hub/match.py", "hashhub/trust/decision.py"},
        "upload": {"hashhub/hook/asgi.py", "hashhub/desk/vault.py", "hashhub/hashing/child.py"},
    }
    for name, files in by_process.items():
        assert files <= walks[name], name
        assert all((ROOT / file).is_file() for file in walks[name])
    # What is only imported is no part of a walk.
    assert not {"hashhub/hub/contribute.py", "hashhub/cli/imports.py"} & walks["match"]
    assert not {file for files in walks.values() for file in files if file.startswith("hashhub/reconcile/")}
