"""Build a release and see that it works where nothing is: `python -m tests.release DIR`, which `make release` does.

Writes wheel, source distribution and SBOM (CycloneDX) into DIR. Then each distribution is installed into an empty
environment, from the lock, and the demo and the README's quick starts are run from there, in an empty directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hashhub import __version__
from tests.docs.test_readme import commands
from tests.release import licences

ROOT: Final = Path(__file__).parents[2]
_LOCK: Final = ROOT / "docker/requirements.lock"
_SECONDS: Final = 300.0


def build(target: Path) -> list[Path]:
    """Build wheel and source distribution, and return where they are."""
    _run(sys.executable, "-m", "hatchling", "build", "-d", str(target))
    wheel, source = target / f"hashhub-{__version__}-py3-none-any.whl", target / f"hashhub-{__version__}.tar.gz"
    assert wheel.exists()
    assert source.exists()
    return [wheel, source]


def install(distribution: Path, directory: Path, *, is_lent: bool = False) -> Path:
    """Install a distribution into an empty environment, and return where its programs are.

    is_lent: dependencies are those of this environment, instead of being fetched by the lock.
    """
    _run(sys.executable, "-m", "venv", "--without-pip", str(directory))
    python = str(directory / "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    if is_lent:
        site = next((directory / "lib").glob("python*/site-packages"))
        (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    else:
        _run(*pip, "--require-hashes", "-r", str(_LOCK))
    _run(*pip, "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", str(distribution))
    return directory / "bin"


def installed(programs: Path) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of each of our own files in an environment, but what pip and Python write about them."""
    [site] = (programs.parent / "lib").glob("python*/site-packages")
    for top in ("hashhub", "hashhub_connectors"):
        for path in (site / top).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                yield str(path.relative_to(site)), hashlib.sha256(path.read_bytes()).hexdigest()


def follow(programs: Path, work: Path) -> int:
    """Run the demo and the README's commands in an empty directory; return how many commands ran."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HASHHUB_", "PYTHON"))}
    environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    told = _run(str(programs / "python"), "-c", "import hashhub; print(hashhub.__file__)", cwd=work, env=environment)
    assert Path(told.strip()).is_relative_to(programs.parent), told
    _run(str(programs / "python"), "-m", "hashhub.testing.demo", cwd=work, env=environment)
    with _hub(programs, work, environment) as address:
        asked = {**environment, "HASHHUB_SERVER": address}
        todo = commands("README.md")
        for line, ends_with, prints in todo:
            output = _run("bash", "-c", line.replace("127.0.0.1:8470", address), cwd=work, env=asked, ends=ends_with)
            printed = [" ".join(one.split()) for one in output.splitlines()]
            for one in prints:
                assert any(p.startswith(" ".join(one.split())) for p in printed), f"{line} does not print {one!r}"
    return len(todo)


@contextmanager
def _hub(programs: Path, work: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve from the environment under test, as the README says, but on free ports."""
    ports = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json")
    command = [str(programs / "hashhub"), "serve", "--data", "hashhub-data", *ports]
    with subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["listen"]
        finally:
            process.terminate()


def sbom(python: Path, target: Path, *options: str) -> Path:
    """Write what an environment holds, by name, version and licence, and what its wheels bundle."""
    path = target / f"hashhub-{__version__}.cdx.json"
    _run(
        sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--pyproject", str(ROOT / "pyproject.toml"),
        "--output-format", "JSON", "--output-reproducible", "--output-file", str(path), *options,
    )  # fmt: skip
    written = json.loads(path.read_text("utf-8"))
    site = _run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    licences.add_bundled(written, Path(site))
    path.write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    parts = {re.sub(r"[-_.]+", "-", c["name"]).lower(): len(c.get("components", ())) for c in written["components"]}
    assert {"grpcio", "sqlalchemy", "faiss-cpu"} <= parts.keys()
    assert all(parts[package] for package in ("av", "numpy", "pillow-heif")), parts
    return path


def _run(*command: str, ends: int = 0, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd or ROOT, env=env, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    assert done.returncode == ends, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"
    return done.stdout


def main(target: Path) -> None:
    """Build, install and try all."""
    for distribution in build(target):
        with tempfile.TemporaryDirectory(prefix="hashhub-release-") as name:
            directory = Path(name)
            programs = install(distribution, directory / "environment")
            (directory / "work").mkdir()
            ran = follow(programs, directory / "work")
            print(f"{distribution.name}: the demo and {ran} commands of the README work")  # noqa: T201 - a script
            if distribution.suffix == ".whl":
                print(sbom(programs / "python", target).name)  # noqa: T201 - likewise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
