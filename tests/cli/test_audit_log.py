"""Whoever kept a checkpoint finds out that the log was rewritten since, whichever way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.errors import InvalidArgument
from hashhub.tlog.checkpoint import Checkpoint
from hashhub.tlog.note import SignedNote
from hashhub.tlog.tree import HASH_BYTES, parse_tile_path
from tests.tlog.trees import KeptTree, signer

_LOG = signer("log.example.com/hub")


class _ServedLog:
    """A log over HTTP that shows whatever its operator wants, well signed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.show([])
        log = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = log.content(self.path.removeprefix("/log/"))
                self.send_response(404 if content is None else 200)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()
        (directory / "policy").write_text(f"log {_LOG.key}\nquorum none\n")

    def show(self, leaves: list[bytes]) -> None:
        self._tree = KeptTree()
        self._tree.append(leaves)

    def content(self, path: str) -> bytes | None:
        if path == "checkpoint":
            text = Checkpoint(_LOG.key.name, self._tree.size, self._tree.root).text
            return str(SignedNote(text, (_LOG.sign(text),))).encode()
        try:
            tile, width = parse_tile_path(path.removeprefix("tile/"))
        except InvalidArgument:
            return None
        hashes = self._tree.tiles.get(tile, b"")[: width * HASH_BYTES]
        return hashes if len(hashes) == width * HASH_BYTES else None

    def audit(self) -> Result:
        url = f"http://127.0.0.1:{self._server.server_port}/log"
        where = ("--policy", str(self._directory / "policy"), "--dir", str(self._directory / "kept"))
        return CliRunner().invoke(main, ["audit", "log", url, *where, "--json"])

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[_ServedLog]:
    served = _ServedLog(tmp_path)
    yield served
    served.close()


def _deleted(leaves: list[bytes], random: Random) -> None:
    del leaves[random.randrange(len(leaves))]


def _reordered(leaves: list[bytes], random: Random) -> None:
    first, second = random.sample(range(len(leaves)), 2)
    leaves[first], leaves[second] = leaves[second], leaves[first]


def _changed(leaves: list[bytes], random: Random) -> None:
    leaves[random.randrange(len(leaves))] = random.randbytes(32)


def _inserted(leaves: list[bytes], random: Random) -> None:
    leaves.insert(random.randrange(len(leaves)), random.randbytes(32))


def _forked(leaves: list[bytes], random: Random) -> None:
    begin = random.randrange(len(leaves))
    leaves[begin:] = [random.randbytes(32) for _ in leaves[begin:]]


def _rolled_back(leaves: list[bytes], random: Random) -> None:
    del leaves[random.randrange(len(leaves)) :]


@pytest.mark.parametrize("edit", [_deleted, _reordered, _changed, _inserted, _forked, _rolled_back])
def test_every_edit_is_found_and_both_checkpoints_are_kept(
    log: _ServedLog, tmp_path: Path, edit: Callable[[list[bytes], Random], None]
) -> None:
    for seed in range(20):
        random = Random(f"{edit.__name__} {seed}")
        leaves = [random.randbytes(32) for _ in range(random.randint(2, 700))]
        log.show(leaves)
        for kept in (tmp_path / "kept").glob("*"):
            kept.unlink()
        assert log.audit().exit_code == 0
        edited = list(leaves)
        edit(edited, random)
        grown = random.choice([0, 0, 1, 300]) if edit is not _rolled_back else 0
        log.show(edited + [random.randbytes(32) for _ in range(grown)])
        found = log.audit()
        assert found.exit_code == 1, (seed, found.output)
        assert "rewritten" in found.output or "rolled back" in found.output
        assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_day_of_honest_work_alarms_nobody(log: _ServedLog) -> None:
    random, leaves, before = Random("honest"), list[bytes](), 0
    for _ in range(40):
        leaves += [random.randbytes(32) for _ in range(random.choice([0, 1, 2, 40, 256]))]
        log.show(leaves)
        told = log.audit()
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout) == {"log": _LOG.key.name, "size": len(leaves), "before": before}
        before = len(leaves)
