"""The count of source lines, over a small repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHARED = "\n".join(f"the_{n}_line_of_this_file = {n}" for n in range(10))


def git(*arguments: str) -> str:
    names = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    done = subprocess.run(["git", *names, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(files: dict[str, str]) -> str:
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    git("add", "-A")
    git("commit", "-q", "-m", "x")
    return git("rev-parse", "HEAD")


@pytest.fixture
def weighed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that counts from one state of a repository to another: the packages by name."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")

    def weigh(before: dict[str, str], after: dict[str, str]) -> dict[str, dict[str, int]]:
        start = commit(before)
        for path in before.keys() - after.keys():
            Path(path).unlink()
        commit(after)
        command = [sys.executable, "-c", "import runpy; runpy.run_module('bench.weight', run_name='__main__')"]
        done = subprocess.run(
            [*command, start, "--json"], check=True, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
        )
        return {row["package"]: row for row in json.loads(done.stdout)["packages"]}

    return weigh


def test_lines_are_counted_by_package_and_what_is_no_code_is_told_apart(weighed: Any) -> None:
    module = '"""One.\n\nTwo.\n"""\n\n# three\nx = 1\n\n\ndef f():\n    """F."""\n    return """\n    text\n    """\n'
    rows = weighed(
        {"README": "x"},
        {
            "README": "x",
            "hashhub/a/x.py": module,
            "hashhub/y.py": "y = 1\n",
            "hashhub/v1/z.py": "z = 1\n",
            "connectors/hashhub_connectors/w.py": "w = 1\n",
            "tests/t.py": "t = 1\n",
        },
    )
    assert set(rows) == {"hashhub.a", "hashhub", "connectors", "all"}
    assert (rows["hashhub.a"]["lines"], rows["hashhub.a"]["code"]) == (14, 5)
    assert (rows["all"]["lines"], rows["all"]["code"], rows["all"]["files"]) == (16, 7, 3)
    assert (rows["all"]["lines_before"], rows["all"]["gone"]) == (0, -16)


def test_a_line_that_left_the_source_and_came_elsewhere_moved(weighed: Any) -> None:
    rows = weighed(
        {"hashhub/a/x.py": f"{SHARED}\nshort = 1\nthis_line_is_gone_altogether = 1\n", "tests/t.py": "t = 1\n"},
        {"hashhub/a/x.py": "", "tests/t.py": f"t = 1\nshort = 1\n  {SHARED}\n"},
    )
    assert rows["hashhub.a"] == rows["all"] | {"package": "hashhub.a"}
    assert (rows["all"]["moved"], rows["all"]["gone"]) == (10, 2)


def test_a_renamed_file_moves_its_short_lines_too(weighed: Any) -> None:
    rows = weighed({"hashhub/a/x.py": f"{SHARED}\nx = 1\ny = 2\n"}, {"bench/x.py": f"{SHARED}\nx = 1\n"})
    assert (rows["all"]["moved"], rows["all"]["gone"]) == (11, 1)


def test_a_line_that_came_to_another_package_of_the_source_is_no_less_source(weighed: Any) -> None:
    rows = weighed({"hashhub/a/x.py": SHARED, "docs/x": "x"}, {"hashhub/b/y.py": SHARED, "docs/x": SHARED})
    assert (rows["all"]["moved"], rows["all"]["gone"]) == (0, 0)
    assert (rows["hashhub.a"]["gone"], rows["hashhub.b"]["gone"]) == (10, -10)
