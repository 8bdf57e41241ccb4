"""The Osprey plugin of examples/osprey: found by its entry point as Osprey finds it, at a real sidecar, and at none.

Osprey is in no package index. What the plugin takes from it is stood in for, but for the last test, which runs Osprey
itself where there is one.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints

import pluggy
import pytest

from hashhub.hashing import hash_media
from tests.hook.test_peertube import Impostor, impostor

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, Start

EXAMPLE = Path(__file__).parents[2] / "examples/osprey"
GROUP = "osprey_plugin"
Arguments = TypeVar("Arguments")
Value = TypeVar("Value")


class UDFBase(Generic[Arguments, Value]):
    execute_async = False
    category: str | None = None


def installed(directory: Path) -> None:
    """Put the plugin there as its wheel does: its modules, and its entry points."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    for module in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        shutil.copy(EXAMPLE / module, directory)
    name = project["project"]["name"]
    told = directory / f"{name.replace('-', '_')}-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", "utf-8")
    points = project["project"]["entry-points"][GROUP]
    (told / "entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()), "utf-8")


@pytest.fixture
def action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the function that the plugin registers."""
    names: dict[str, dict[str, Any]] = {
        "osprey.engine.executor.execution_context": {"ExecutionContext": object},
        "osprey.engine.udf.arguments": {"ArgumentsBase": object},
        "osprey.engine.udf.base": {"UDFBase": UDFBase},
        "osprey.worker.adaptor.plugin_manager": {"hookimpl_osprey": pluggy.HookimplMarker(GROUP)},
    }
    for module, what in names.items():
        stand_in = ModuleType(module)
        vars(stand_in).update(what)
        monkeypatch.setitem(sys.modules, module, stand_in)
        parts = module.split(".")
        for end in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
    installed(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    class Specification:
        @staticmethod
        @pluggy.HookspecMarker(GROUP)
        def register_udfs() -> Any: ...

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Specification)
    assert manager.load_setuptools_entrypoints(GROUP) == 1
    manager.check_pending()
    ((function,),) = manager.hook.register_udfs()
    yield function
    del sys.modules["hashhub_osprey"]


def asked(action: Any, *hashes: str | None, seconds: float = 5.0) -> str:
    said: str = action().execute(object(), SimpleNamespace(hashes=list(hashes), seconds=seconds))
    return said


def hash_of(data: bytes, algorithm: str = "PDQ") -> str:
    return next(h.text for h in hash_media(data).hashes if h.algorithm == algorithm)


def test_a_rule_reads_what_the_sidecar_decides(
    action: Any,
    started: Start,
    listed: Listed,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret-of-the-sidecar", "ascii")
    secret.chmod(0o600)
    monkeypatch.setenv("HASHHUB_HOOK_URL", started(sidecar=f'secret_file = "{secret}"').url)
    known, unknown = hash_of(listed.known), hash_of(listed.unknown)
    assert asked(action, known) == "HOLD"  # a stranger
    monkeypatch.setenv("HASHHUB_HOOK_SECRET", "s3cret-of-the-sidecar")
    assert asked(action, known) == "BLOCK"
    assert asked(action, hash_of(listed.known, "MD5"), None) == "BLOCK"
    assert asked(action, unknown) == "ALLOW"
    assert asked(action, unknown, known) == "BLOCK"
    caplog.clear()
    for nothing in ([], [None], [""]):
        assert asked(action, *nothing) == "HOLD"
    assert not caplog.records  # most events have no picture
    for broken in (["PDQ:xyz"], ["no hash"], [unknown, "PDQ:xyz"]):
        assert asked(action, *broken) == "HOLD", broken
    assert len(caplog.records) == 3


def test_what_rules_are_checked_against(action: Any) -> None:
    arguments, value = action.__orig_bases__[0].__args__
    assert get_type_hints(arguments) == {"hashes": list[str | None], "seconds": float}
    assert (arguments.seconds, value) == (5.0, str)  # a default, and a text
    assert action.execute_async
    assert action.__doc__


def test_without_an_answer_it_is_hold(action: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pdq = f"PDQ:{'0f' * 32}"
    with impostor() as url:
        monkeypatch.setenv("HASHHUB_HOOK_URL", url)
        for number in range(len(Impostor.answers)):
            monkeypatch.setenv("HASHHUB_HOOK_SECRET", f"n-{number}")
            assert asked(action, pdq) == "HOLD", Impostor.answers[number]
        monkeypatch.setenv("HASHHUB_HOOK_SECRET", f"n-{len(Impostor.answers)}")
        assert asked(action, pdq, seconds=0.3) == "HOLD"
    for address in (url, "no address", "http://127.0.0.1:port", "http://[", ""):
        monkeypatch.setenv("HASHHUB_HOOK_URL", address)
        assert asked(action, pdq) == "HOLD", address


@pytest.fixture
def osprey(tmp_path: Path) -> Callable[..., Any]:
    """Give a function that has Osprey run the rules of the page over actions."""
    if (python := os.environ.get("OSPREY_PYTHON")) is None:
        pytest.skip("OSPREY_PYTHON names no Python that has Osprey, which is in no package index")
    installed(tmp_path)
    page = (EXAMPLE / "README.md").read_text("utf-8")
    rules = re.search(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert rules is not None

    def run(actions: list[dict[str, Any]], url: str) -> Any:
        done = subprocess.run(
            [python, "-W", "ignore", str(Path(__file__).with_name("osprey_rules.py"))],
            input=json.dumps({"rules": rules[1], "actions": actions}),
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(tmp_path),
                "DD_TRACE_ENABLED": "false",
                "HASHHUB_HOOK_URL": url,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_osprey_runs_the_rules_of_the_page(osprey: Callable[..., Any], started: Start, listed: Listed) -> None:
    def picture(data: bytes) -> dict[str, Any]:
        return {"picture": {"pdq": hash_of(data)}}

    actions: list[dict[str, Any]] = [picture(listed.known), picture(listed.unknown), {"picture": {}}]
    said = osprey(actions, started().url)
    assert [one["Decision"] for one in said] == ["BLOCK", "ALLOW", "HOLD"]
    assert [one["verdicts"] for one in said] == [["reject"], [], ["review"]]
    assert [one["__error_count"] for one in said] == [0, 0, 0]
    (away,) = osprey(actions[:1], "http://127.0.0.1:1")
    assert (away["Decision"], away["verdicts"]) == ("HOLD", ["review"])
