"""What recorded databases answer, asked through the command line; the same for whichever version recorded them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from hashhub.cli import main
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.conftest import postgresql_programs

if TYPE_CHECKING:
    from tests.conftest import PostgreSQL


def _json(*arguments: str, **environment: str) -> list[Any]:
    others = {name: None for name in os.environ if name.startswith("HASHHUB_")}
    done = CliRunner().invoke(main, [*arguments, "--json"], env={**others, **environment}, catch_exceptions=False)
    assert done.exit_code == 0, f"{arguments}: {done.output}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def _of_hub(hub: RunningHub) -> dict[str, Any]:
    environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}

    def asked(*arguments: str) -> list[Any]:
        return _json(*arguments, **environment)

    entries = [entry for name in ("nl/known", "fr/known") for entry in asked("entry", "list", name, "--limit", "1000")]
    hashes = ["MD5:" + "00" * 16, *(h for entry in entries[:8] for h in entry["hashes"][:1])]
    matched = [asked("match", "--hash", h, "--policy", "block")[0] for h in hashes]
    return {
        "entries": [[e["name"], e["state"], e["hashes"], e["classification"], e["external_id"]] for e in entries],
        "reviews": [[r["kind"], r["comment"]] for r in asked("review", "list", "nl/known/1")],
        "verdicts": [
            [h, m["verdict"], sorted(hit["entry"] for hit in m["matches"])]
            for h, m in zip(hashes, matched, strict=True)
        ],
        "events": [
            [e["name"], e["kind"], e["time"], e["actor"]]
            for e in asked("history", "list", "nl/known", "--limit", "1000")
        ],
        "conflicts": sorted(c["kind"] for c in asked("reconcile", "conflicts", "list", "--wait")),
        "hash_sets": [
            [s["name"], s["scheme"], s["marking"]["bulk"], s["create_time"]] for s in asked("hash-set", "list")
        ],
    }


def unpacked(archive: Path, target: Path) -> Path:
    """Unpack a recorded directory, and return where it is."""
    target.mkdir(0o700)
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
    return target


def of(recorded: Path, directory: Path, postgresql: PostgreSQL) -> dict[str, Any]:
    """Return what copies in `directory` of the recorded databases answer."""
    answered: dict[str, Any] = {}
    data = unpacked(recorded / "hub.tar.gz", directory / "hub")
    with running_hub(data) as hub:
        answered["hub"] = _of_hub(hub)
    answered["doctor"] = [_json("doctor", "--data", str(data), "--full")[0]["is_sound"]]

    data = unpacked(recorded / "hub-postgresql.tar.gz", directory / "hub-postgresql")
    url = postgresql.create_database()
    subprocess.run(
        [postgresql_programs() / "psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", data / "dump.sql",
         url.replace("+psycopg", "")],
        check=True, capture_output=True,
    )  # fmt: skip
    with running_hub(data, "--database", url) as hub:
        answered["hub-postgresql"] = _of_hub(hub)
    answered["doctor"].append(_json("doctor", "--data", str(data), "--database", url, "--full")[0]["is_sound"])

    data = unpacked(recorded / "hook.tar.gz", directory / "hook")
    answered["hook"] = _of_hook(data)

    data = unpacked(recorded / "mirror.tar.gz", directory / "mirror")
    answered["mirror"] = _of_mirror(next(data.glob("*.db")))
    return answered


def _of_hook(data: Path) -> dict[str, Any]:
    (data / "data").chmod(0o700)
    settings = data / "hook.toml"
    text = settings.read_text("utf-8").splitlines()
    places = {"data": data / "data", "token_file": data / "none", "key_file": data / "vault.key"}
    lines = [f'{key} = "{places[key]}"' if (key := line.partition(" = ")[0]) in places else line for line in text]
    settings.write_text("\n".join(lines), "utf-8")
    waiting = [
        group for state in ((), ("--state", "blocked")) for group in _json("hook", "queue", "list", *state,
                                                                           "--settings", str(settings))
    ]  # fmt: skip
    vault = _json("hook", "vault", "list", "--settings", str(settings))
    return {"queue": waiting, "vault": vault, "check": _json("hook", "vault", "check", "--settings", str(settings))}


def _of_mirror(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as c:
        tables = sorted(name for (name,) in c.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        return {name: c.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608 - ours
