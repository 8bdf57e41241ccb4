"""docs/match/hma.md, followed: an HMA's banks come along, both answer alike, and what is refused is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hashhub.config import load
from tests.docs.test_handbook import Reader, blocks, free_port, started

PAGE = "match/hma"
BANKS = ("KNOWN_PICTURES", "VIDEOS")
CONTENTS: dict[int, tuple[str, int, dict[str, str]]] = {
    1: ("KNOWN_PICTURES", 1, {"pdq": "facd8bcb2a49bcebdec1985298d5fe84bcd006c187c598c720c3c087b3fdb318"}),
    2: ("KNOWN_PICTURES", 1, {"pdq": "37dd1015291fb5416c1a128a4cbe4ec2c1e1aefefbbaecb78b1194b2d88734b1"}),
    5: ("VIDEOS", 1, {"video_md5": "0a0d9e85f0e387823c638a8442043020"}),
    6: ("VIDEOS", 0, {"video_md5": "1a0d9e85f0e387823c638a8442043021"}),
    9: ("VIDEOS", 1, {"video_md5": "2a0d9e85f0e387823c638a8442043022"}),
}


@pytest.fixture
def hma() -> Iterator[str]:
    """Stands in for an HMA: its routes as its source has them, over the contents above."""

    class Routes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: value[0] for key, value in parse_qs(parts.query).items()}
            match parts.path.strip("/").split("/"):
                case ["c", "banks"]:
                    self.say([{"name": name, "matching_enabled_ratio": 1.0} for name in BANKS])
                case ["c", "bank", _, "content", number]:
                    self.content(int(number))
                case ["c", "signal_type", "index"]:
                    kinds = [kind for _, _, signals in CONTENTS.values() for kind in signals]
                    self.say({kind: {"db_size": kinds.count(kind)} for kind in set(kinds)})
                case ["m", "lookup"]:
                    self.lookup(query["signal_type"], query["signal"])
                case _:
                    self.say({"message": "not found"}, 404)

        def content(self, number: int) -> None:
            if number not in CONTENTS:
                self.say({"message": f"content '{number}' not found"}, 404)
                return
            bank, until, signals = CONTENTS[number]
            self.say({"id": number, "disable_until_ts": until, "bank": {"name": bank}, "signals": signals})

        def lookup(self, kind: str, signal: str) -> None:
            found: dict[str, list[dict[str, Any]]] = {}
            for number, (bank, until, signals) in CONTENTS.items():
                if kind in signals and until == 1:
                    distance = (int(signal, 16) ^ int(signals[kind], 16)).bit_count()
                    if distance <= (31 if kind == "pdq" else 0):
                        match = {"bank_content_id": number, "distance": str(distance) if kind == "pdq" else ""}
                        found.setdefault(bank, []).append(match)
            self.say(found)

        def say(self, value: Any, status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Routes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_the_banks_come_along_and_the_answers_are_the_same(tmp_path: Path, hma: str) -> None:
    ports = {"8470": str(free_port()), "8471": str(free_port())}
    places = {**ports, "http://hma.example:5000": hma}
    reader, page = Reader(PAGE, tmp_path, places), blocks(PAGE)
    start = next(i for i, block in enumerate(page) if block.first.startswith("hashhub serve "))
    assert page[0].file == "hub.toml"
    reader.follow(page[:start])
    config = tmp_path / "hub.toml"
    own = f'listen = "127.0.0.1:{ports["8470"]}"\nhttp = "127.0.0.1:{ports["8471"]}"\n'
    config.write_text(config.read_text("utf-8") + own, "utf-8")
    reader.environment |= {"HASHHUB_SERVER": f"127.0.0.1:{ports['8470']}"}
    with started(reader, config):
        reader.follow(page[start:])
    assert reader.ran == 3
    assert load(tmp_path / "bound.toml", {}).listen_hma == "127.0.0.1:8473"
