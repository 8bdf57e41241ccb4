"""CONTRIBUTING.md is true: its commands run, its files exist, and what it says to add takes no more than it says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hashhub.testing.hub_process import RunningHub, running_hub

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")

EXAMPLES = ROOT / "examples"
ALGORITHM = """Algorithm(
    name="SHA512",
    code=10,
    digest_bytes=64,
    metric=Metric.EXACT,
    encodings=(Encoding.HEX,),
    default_max_distance=0,
    source="FIPS 180-4",
)"""
MD5 = hashlib.md5(b"synthetic", usedforsecurity=False).hexdigest()
SHA512 = hashlib.sha512(b"synthetic").hexdigest()
OTHER_SHA512 = hashlib.sha512(b"another").hexdigest()


def shell_lines() -> list[str]:
    """Return the lines of blocks that name no language, without their comments."""
    lines, fence = [], None
    for line in PAGE.splitlines():
        if line.startswith("```"):
            fence = line if fence is None else None
        elif fence == "```":
            lines.append(re.sub(r"\s+# .*$", "", line))
    return lines


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"\bmake ([a-z]+)`?", " ".join([*shell_lines(), *re.findall(r"`make [a-z]+`", PAGE)])))
    assert {"venv", "test", "check", "protos", "record", "release"} <= targets
    for target in targets:
        # A dry run: nothing is built.
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"make {target}: {done.stderr}"


@pytest.mark.parametrize("command", [c for c in shell_lines() if not c.startswith("make ")])
def test_every_other_command_works_as_written(command: str) -> None:
    assert command.startswith(".venv/bin/python ")
    arguments = [sys.executable, *command.split()[1:], "-p", "no:cacheprovider", "-p", "no:randomly", "--collect-only"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d*(/\d+)? tests? collected", done.stdout), done.stdout


def test_every_file_that_is_named_exists() -> None:
    names = set(re.findall(r"`((?:hashhub|connectors|proto|tests|bench|docs|examples)/[\w/.*-]+)`", PAGE))
    assert len(names) >= 15
    for name in names:
        assert any(ROOT.glob(name)), f"CONTRIBUTING.md names {name}, which is not there"


# What a contributor would add.


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an installed package that has the connector, and the registry with its new algorithm."""
    place = tmp_path_factory.mktemp("added")
    for path in EXAMPLES.glob("ledger/*.py"):
        shutil.copy(path, place)
    metadata = place / "hashhub_ledger-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hashhub-ledger\nVersion: 1\n")
    entry_points = tomllib.loads((EXAMPLES / "ledger/pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    (metadata / "entry_points.txt").write_text(
        "\n".join(
            f"[{group}]\n" + "\n".join(f"{name} = {target}" for name, target in targets.items())
            for group, targets in entry_points.items()
        )
    )
    # As an entry of ALGORITHMS in hashes.py, before anything else is imported.
    source = (ROOT / "hashhub" / "hashes.py").read_text("utf-8")
    begin = "    for a in (\n"
    assert source.count(begin) == 1
    (place / "hashes.py").write_text(source.replace(begin, f"{begin}{ALGORITHM},\n"))
    (place / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        "import hashhub\n"
        f"spec = importlib.util.spec_from_file_location('hashhub.hashes', {str(place / 'hashes.py')!r})\n"
        "sys.modules[spec.name] = hashhub.hashes = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(hashhub.hashes)\n"
        "assert len({a.code for a in hashhub.hashes.ALGORITHMS.values()}) == len(hashhub.hashes.ALGORITHMS)\n"
    )
    for kind in ("scheme", "policy"):
        (place / kind).mkdir()
        shutil.copy(EXAMPLES / f"{kind}.toml", place / kind)
    (place / "hub.toml").write_text(f'schemes = "{place / "scheme"}"\npolicies = "{place / "policy"}"\n')
    return place


@pytest.fixture(scope="module")
def environment(place: Path) -> dict[str, str]:
    paths = [str(place), str(ROOT), str(ROOT / "connectors"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_what_is_added_keeps_its_contract(place: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(place / "test_ledger.py")],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(240)
def test_all_that_is_added_works_together(
    place: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    (place / "list.ledger").write_text(f"{SHA512};A\n{MD5};A\nnonsense;A\n{OTHER_SHA512};Z\n")
    with running_hub(place / "data", "--config", str(place / "hub.toml")) as hub:
        run = runner(hub, place, environment)
        assert "example@1" in {s["id"] for s in run("scheme", "list", "--json")}
        assert "two" in {p["id"] for p in run("policy", "list", "--json")}
        for name in ("one", "other"):
            run("contributor", "create", name, "--kind", "hotline", "--jurisdiction", "CA", "--reliability", "b")
            run("hash-set", "create", f"{name}/set", "--purpose", "csam", "--scheme", "example@1")
            if name == "other":
                [answer] = run("match", "--hash", f"SHA512:{SHA512}", "--policy", "two", "--json")
                assert answer["verdict"] == "REVIEW"  # one contributor is not two
            report = run("import", "list.ledger", "--hash-set", f"{name}/set", "--json")[-1]
            counts = report["counts"]
            assert {k: counts[k] for k in ("items", "accepted", "quarantined", "rejected")} == {
                "items": 4,
                "accepted": 2,
                "quarantined": 1,  # of the value Z, which the scheme does not have
                "rejected": 1,
            }
        [answer] = run("match", "--hash", f"SHA512:{SHA512}", "--policy", "two", "--json")
        assert answer["verdict"] == "MATCH"
        assert {m["contributor"] for m in answer["matches"]} == {"one", "other"}
        assert {m["classification"]["dimensions"]["verdict"][0] for m in answer["matches"]} == {"csam"}
        whom = ("--for", "contributors/one", "--out", "out.ledger")
        [report] = run("export", "--format", "ledger", "--hash-set", "one/set", *whom, "--json")
        assert (place / "out.ledger").read_text() == f"{MD5};A\n"
        assert ("entry", "NO_HASH", 1) in {(loss["field"], loss["reason"], loss["count"]) for loss in report["losses"]}
        [answer] = run("match", "--hash", f"SHA512:{OTHER_SHA512}", "--policy", "two", "--json")
        assert answer["verdict"] != "MATCH"


def runner(hub: RunningHub, place: Path, environment: dict[str, str]) -> Any:
    def run(*arguments: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "hashhub.cli", *arguments],
            cwd=place,
            env={**environment, "HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()] if "--json" in arguments else []

    return run
