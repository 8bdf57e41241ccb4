"""The pages about the queue and the vault: their settings and commands, as written, and their tables."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from hashhub.hook import load_settings, settings
from hashhub.hook.queue import Code
from hashhub.hook.records import Records, UploadState
from hashhub.hook.retention import rules
from hashhub.hook.vault import Vault
from tests.docs.test_readme import ROOT, commands
from tests.hook.waiting import checked, hit, put

pytest.importorskip("cryptography", reason="the vault needs hashhub[hook]")

REFERENCE = "8d1f3a90b2c4d5e6f708"  # as the pages have it
PAGES = {"docs/hook-queue.md": 12, "docs/hook-vault.md": 12}


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_every_command_works_as_written(name: str, tmp_path: Path) -> None:
    [toml] = re.findall(r"^```toml hook.toml\n(.*?)^```$", page(name), re.DOTALL | re.MULTILINE)
    (tmp_path / "hook.toml").write_text(toml)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HASHHUB_HOOK_HUB": "127.0.0.1:1",
    }
    lines = commands(name)
    assert len(lines) >= PAGES[name]
    is_filled = False
    for command, ends_with, prints in lines:
        if command.startswith("export "):
            variable, _, value = command.removeprefix("export ").partition("=")
            environment[variable] = value
            continue
        if "people add" in command and not is_filled:
            fill(tmp_path, environment)
            is_filled = True
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            timeout=60,
            capture_output=True,
            text=True,
            check=False,
        )
        told = f"{command}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == ends_with, told
        assert "Traceback" not in done.stderr
        for line in prints:
            assert any(printed.startswith(line) for printed in done.stdout.splitlines()), told


def fill(directory: Path, environment: dict[str, str]) -> None:
    """Put uploads where the page is about to find them: one of the reference that it shows, and one more."""
    at = Path.cwd()
    os.chdir(directory)
    try:
        of_the_page = load_settings(Path("hook.toml"), environment)
        records = Records(Path(of_the_page.data))
        one = checked(hit("police-nl/known/1"), size_bytes=7)
        one = msgspec.structs.replace(one, decision=msgspec.structs.replace(one.decision, reference=REFERENCE))
        put(records, one, "BLOCKED")
        put(records, checked(hit("hotline-de/known/2", "PDQ", 12)))
        if of_the_page.vault.encryption is not settings.Encryption.OFF:
            Vault(records, of_the_page).on_checked(one, io.BytesIO(b"content"))
    finally:
        os.chdir(at)


def test_the_tables_have_what_there_is() -> None:
    queue, vault = page("docs/hook-queue.md"), page("docs/hook-vault.md")
    for state in UploadState:
        assert f"`{state}`" in queue
    for code in Code:
        assert f"| `{code.lower().replace('_', '-')}` |" in queue
    for section, text in ((settings.VaultSettings, vault), (settings.QueueSettings, queue)):
        table = text[text.index("| setting | default |") :]
        for field in msgspec.structs.fields(section):
            assert f"`{field.name}`" in table, field.name
    data = tomllib.loads((ROOT / "hashhub/hook/data/retention.toml").read_text("utf-8"))
    assert set(data) == set(rules())
    for country, rule in rules().items():
        assert f"| {country} |" in vault
        assert rule.rule in vault
        assert rule.source in vault
