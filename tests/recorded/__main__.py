"""Record small databases of this version, for later versions to open: `python -m tests.recorded [DIR]`, which
`make record` does once, when a version is released.

Everything is synthetic. Each directory is a `.tar.gz`, that of PostgreSQL with a dump; `expected.json` is what this
version answers over them, taken from copies by the code that later versions are asked with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import hashhub
from hashhub.hook import load_settings, open_hook
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.conftest import PostgreSQL, postgresql_programs
from tests.recorded import answers

_LEFT_OUT = {"matcher", "hub.log", "templates"}  # derived, or of the process
_HOOK = """
policy = "any"
hub = "{address}"
token_file = "{directory}/hook.token"
data = "{directory}/hook/data"

[without_answer]
hub_away = "hold"
unreadable = "hold"
too_large = "hold"
no_perceptual_hash = "allow"

[vault]
encryption = "key-file"
key_file = "{directory}/hook/vault.key"
country = "US"
days_without_report = 36500
"""


def _hashhub(directory: Path, hub: RunningHub | None, *arguments: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_")}
    if hub is not None:
        environment |= {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}
    subprocess.run([sys.executable, "-m", "hashhub.cli", *arguments], cwd=directory, env=environment, check=True)


def _fill(directory: Path, hub: RunningHub) -> None:
    """Have two contributors, a platform and an operator do something of everything."""
    _hashhub(directory, hub, "sample", ".")
    text = (directory / "list.json").read_text("utf-8")
    (directory / "other.json").write_text(text.replace('"Category": 1,', '"Category": 3,'), "utf-8")
    for line in (
        "contributor create nl --kind hotline --jurisdiction NL --reliability a",
        "contributor create fr --kind hotline --jurisdiction FR --reliability b",
        "contributor create app --kind platform --jurisdiction IE",
        "group create partners --member nl --member fr",
        "hash-set create nl/known --purpose csam --scheme vic-us --bulk",
        "hash-set create fr/known --purpose csam --scheme vic-us --bulk",
        "import list.json --hash-set nl/known",
        "import other.json --hash-set fr/known",
        "hash-set retention nl/known --days 36500 --comment recorded",
        "token create app-hook --contributor app --role consumer --purpose moderation --may-mirror --out hook.token",
        "review add nl/known/1 --kind confirmed --comment recorded",
        "review add nl/known/3 --kind false-positive --comment recorded",
        "entry withdraw nl/known/2 --reason error --comment recorded",
        "entry quarantine fr/known/4 --comment recorded",
        "reconcile conflicts list --wait",
    ):
        _hashhub(directory, hub, *line.split())


def _hook(directory: Path, hub: RunningHub) -> None:
    """Hold and block uploads, of which a person decides one."""
    (directory / "hook").mkdir()
    (directory / "hook/data").mkdir(0o700)
    settings = directory / "hook/hook.toml"
    settings.write_text(_HOOK.format(address=hub.address, directory=directory))
    _hashhub(directory, None, "hook", "vault", "key", "--out", "hook/vault.key")
    with open_hook(load_settings(settings, {})) as hook:
        for number, upload in enumerate(("listed.png", "unlisted.png", "listed.png")):
            hook.check((directory / "uploads" / upload).read_bytes() + bytes(number // 2), upload_id=f"U-{number}")
        hook.check(b"\x89PNG\r\n\x1a\n not a picture", upload_id="U-3")


def _packed(source: Path, target: Path) -> None:
    with tarfile.open(target, "w:gz") as archive:
        for path in sorted(source.iterdir()):
            if path.name not in _LEFT_OUT:
                archive.add(path, path.name)


def record(target: Path) -> None:
    """Write all archives and what is expected of them."""
    target.mkdir(parents=True, exist_ok=True)
    postgresql = PostgreSQL()
    try:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            with running_hub(directory / "hub") as hub:
                _fill(directory, hub)
                _hook(directory, hub)
                _hashhub(directory, hub, "mirror", "mirror", "--token-file", "hook.token")
            for part in ("hub", "hook", "mirror"):
                _packed(directory / part, target / f"{part}.tar.gz")
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            url = postgresql.create_database()
            with running_hub(directory / "hub", "--database", url) as hub:
                _fill(directory, hub)
            dump = subprocess.run(
                [postgresql_programs() / "pg_dump", "--no-owner", "--no-privileges", url.replace("+psycopg", "")],
                check=True,
                capture_output=True,
            ).stdout
            (directory / "hub/dump.sql").write_bytes(dump)
            _packed(directory / "hub", target / "hub-postgresql.tar.gz")
        with tempfile.TemporaryDirectory() as name:
            expected = answers.of(target, Path(name), postgresql)
    finally:
        postgresql.close()
    (target / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / hashhub.__version__)
