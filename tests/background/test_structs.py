"""Structs are ready before threads share them."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Made anew, because each is decoded for the first time only once. A crash ends the process, so it has one of its own.
_DECODED_BY_FOUR_THREADS = """
import datetime, enum, sys, threading, msgspec
from hashhub import structs

sys.setswitchinterval(1e-6)
for n in range(1500):
    words = enum.StrEnum("Words", {f"W{k}": f"w{k}" for k in range(30)})
    fields = [("a", words), ("b", datetime.datetime | None, None), ("c", dict[str, words], {})]
    within = msgspec.defstruct("Within", fields)
    made = msgspec.defstruct(
        "Made",
        [("a", words), ("b", tuple[words, ...], ()), ("c", frozenset[words], frozenset()), ("d", within | None, None)],
        module="hashhub.made",
    )
    if sys.argv[1] == "prepared":
        structs.prepare()
    together = threading.Barrier(4)

    def decode():
        together.wait()
        assert msgspec.json.decode(b'{"a":"w1"}', type=made).a == "w1"

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
_OPENED = {
    "hub": """
import sys
from hashhub.config import Config
from hashhub.server.listeners import Listeners
from hashhub.hub import Hub
from hashhub import structs

config = Config(data=sys.argv[1], listen="127.0.0.1:0", http="127.0.0.1:0")
with Hub.open(config) as hub:
    doors = Listeners(hub, config)
    print([s.__qualname__ for s in structs.unprepared()])
    doors.close()
""",
    "hook": """
import sys
from pathlib import Path
from hashhub import structs
from hashhub.hook import load_settings, open_hook
from hashhub.hook.sidecar.application import Sidecar

Path(sys.argv[1], "hook.toml").write_text(
    f'''hub = "127.0.0.1:9"
policy = "block"
effort = "plain"
data = "{sys.argv[1]}/data"

[without_answer]
hub_away = "hold"
unreadable = "hold"
too_large = "hold"
no_perceptual_hash = "allow"
'''
)
with open_hook(load_settings(Path(sys.argv[1], "hook.toml"), {})) as hook:
    Sidecar(hook)
    print([s.__qualname__ for s in structs.unprepared()])
""",
}


def _run(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=120, check=False
    )


def test_structs_that_are_prepared_are_decoded_by_threads_at_once() -> None:
    ended = _run(_DECODED_BY_FOUR_THREADS, "prepared")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("opened", _OPENED)
def test_nothing_is_opened_with_structs_that_are_not_ready(opened: str, tmp_path: object) -> None:
    ended = _run(_OPENED[opened], str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[]\n"
