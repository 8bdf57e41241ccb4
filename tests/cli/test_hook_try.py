"""`hashhub hook try`: nothing to set up, and nothing left; and what `hook init` asks for on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from hashhub.hook import Action, load_settings

HASHHUB = (sys.executable, "-m", "hashhub.cli")


def test_the_table_and_the_form(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*HASHHUB, "hook", "try", "--json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(json.loads(line))
            if "form" in lines[-1]:
                break
        *outcomes, where = lines
        found = {outcome["upload"]: outcome for outcome in outcomes}
        words = [word for child in psutil.Process(process.pid).children() for word in child.cmdline()]
        [directory] = {match[0] for word in words if (match := re.search(r"/.*/hashhub-try-[^/]*", word))}
        assert Path(directory).is_dir()
        listed = httpx.get(where["form"] + "listed.jpg", timeout=60).content
        page = httpx.post(where["form"], files={"file": ("a.jpg", listed)}, timeout=60).text
        other = httpx.post(where["form"], files={"file": ("<b>.txt", b"<script>no picture</script>")}, timeout=60).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert {what: o["action"] for what, o in found.items()} == {
        "the listed picture": "BLOCK",
        "saved again, smaller": "BLOCK",
        "in a border": "HOLD",
        "mirrored": "HOLD",
        "turned by 90 degrees": "HOLD",
        "cut by 3 % on each side": "ALLOW",
        "in a PDF": "ALLOW",
        "a picture that nobody listed": "ALLOW",
        "the listed picture, while the hub is off": "HOLD",
    }
    # Whatever is allowed says what was not looked for, and what was hit says by what.
    assert all(o["not_looked_for"] for o in outcomes if o["action"] == "ALLOW")
    assert "in a border" in found["in a border"]["why"][0]
    assert "mirrored" in found["mirrored"]["why"][0]
    assert "<h2>BLOCK</h2>" in page
    assert "<h2>ALLOW</h2>" in other
    assert "Not looked for" in other
    assert "<script>" not in other
    assert not list(tmp_path.iterdir())
    assert not Path(directory).exists()


def test_the_form_is_for_this_machine_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [*HASHHUB, "hook", "try", "--listen", "0.0.0.0:0"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "listen" in done.stderr


@pytest.mark.parametrize("pasted", [True, False])
def test_init_asks_for_hub_and_token_and_proposes(tmp_path: Path, pasted: bool) -> None:
    token = tmp_path / "given.token"
    token.write_text("hashhub_secret\n")
    answers = ["hub.example:8470", "", "hashhub_secret"] if pasted else ["", "nowhere.token", str(token)]
    answers += ["block", "", "", "block", ""]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*HASHHUB, "hook", "init"], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        for answer in answers:
            asked = b""
            while not asked.endswith(b": ") or select.select([ours], [], [], 0.3)[0]:  # the end of a prompt
                asked += os.read(ours, 4096)
            os.write(ours, f"{answer}\n".encode())
        with suppress(OSError):  # the other end has closed
            while os.read(ours, 4096):
                pass
    os.close(ours)
    assert process.returncode == 0
    settings = load_settings(tmp_path / "hook.toml", {})
    chosen = settings.without_answer
    assert settings.hub == ("hub.example:8470" if pasted else "127.0.0.1:8470")
    assert Path(tmp_path / settings.token_file).read_text().strip() == "hashhub_secret"
    assert stat.S_IMODE((tmp_path / settings.token_file).stat().st_mode) == 0o600 or not pasted
    assert [chosen.hub_away, chosen.unreadable] == [Action.HOLD] * 2
    assert (chosen.too_large, chosen.no_perceptual_hash) == (Action.BLOCK, Action.ALLOW)
