"""The fixtures of HMA's tests. Pictures, `create_bank` and `add_hash_to_bank` are as there (see ../../LICENSE); the app
is a Flask app that hands each request on to a hub.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from PIL import Image
from threatexchange.signal_type.pdq.signal import PdqSignal

from tests.server.conftest import OPERATOR, _close, _serve, patient_matchers

__all__ = ["IMAGE_URL_TO_PDQ", "add_hash_to_bank", "app", "client", "create_bank", "image_server", "patient_matchers"]

IMAGE_URL_TO_PDQ: dict[str, str] = {}
_ELSEWHERE = re.compile(r"https://github\.com/[^&]*")
_CONTENT = re.compile(r"/content/(\d+)$")


class _QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def image_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve two pictures, and tell their PDQ hashes by HMA's own code."""
    directory = tmp_path_factory.mktemp("pictures")
    for name, cell in (("image1.jpg", 8), ("image2.jpg", 16)):
        picture = Image.new("RGB", (128, 128))
        pixels = picture.load()
        assert pixels is not None
        for x in range(128):
            for y in range(128):
                pixels[x, y] = (255, 255, 255) if (x // cell + y // cell) % 2 else (0, 0, 0)
        picture.save(directory / name, format="JPEG")
    handler = functools.partial(_QuietFiles, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        for path in sorted(directory.iterdir()):
            IMAGE_URL_TO_PDQ[f"{base}/{path.name}"] = PdqSignal.hash_from_file(Path(path))
        yield base
        server.shutdown()


class _Numbers:
    """Contents by the numbers that HMA would give them."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}

    def told(self, number: int) -> int:
        return self._told.setdefault(number, len(self._told) + 1)

    def meant(self, number: int) -> int:
        return next((own for own, told in self._told.items() if told == number), number)

    def in_answer(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.in_answer(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self.in_answer(one, key) for one in value]
        is_number = type(value) is int and key in {"id", "bank_content_id", "matches"}
        return self.told(value) if is_number else value


@pytest.fixture
def app(tmp_path: Path, image_server: str) -> Iterator[Flask]:
    """A Flask app in front of a new hub."""
    pictures = image_server.removeprefix("http://")
    hub = _serve(tmp_path, hma_purpose="test", hma_url_hosts=pictures, sources=str(tmp_path / "sources"))
    # An operator's token, so that the index's size is told, of a contributor, so that banks can be created.
    operator = hub.hub.tokens.create(OPERATOR, _operator_of("home"))[1]
    numbers = _Numbers()
    sources = tmp_path / "sources"
    flask = Flask("hma")

    def hand_on(path: str) -> Response:
        if (request.method, path) == ("POST", "c/exchanges"):
            return _exchange(sources, flask.test_client(), request.get_json()["bank"])
        path = _CONTENT.sub(lambda m: f"/content/{numbers.meant(int(m[1]))}", f"/{path}")
        query = _ELSEWHERE.sub(f"{image_server}/image1.jpg", request.query_string.decode())
        host, _, port = hub.doors.http_address.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=120)
        sent = {"authorization": f"Bearer {operator}"}
        if request.content_type:
            sent["content-type"] = request.content_type
        try:
            connection.request(request.method, f"/hma{path}?{query}", request.get_data(), sent)
            answer = connection.getresponse()
            body, kind = answer.read(), answer.getheader("content-type", "")
        finally:
            connection.close()
        if kind == "application/json" and answer.status < 400:
            body = json.dumps(numbers.in_answer(json.loads(body))).encode()
        return Response(body, answer.status, content_type=kind)

    verbs = ["GET", "POST", "PUT", "DELETE"]
    flask.add_url_rule("/<path:path>", view_func=hand_on, methods=verbs)
    with flask.app_context():
        yield flask
    _close(hub)


def _exchange(sources: Path, client: FlaskClient, bank: str) -> Response:
    """Do what an operator does where sources are fetched: make a source, and the hash set that it keeps."""
    from hashhub.sources.schedule import write_reports
    from hashhub.sources.settings import SourceSettings, save

    create_bank(client, bank)
    name = bank.lower().replace("_", "-")
    save(sources, name, SourceSettings(protocol="misp", url="https://partner.example", hash_set=f"home/{name}"))
    write_reports(sources)
    return Response(status=201)


def _operator_of(contributor: str) -> Any:
    from hashhub.model import Principal, Role

    return Principal(name="hma", role=Role.OPERATOR, contributor=contributor)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def create_bank(client: FlaskClient, bank_name: str) -> None:
    post_response = client.post(
        "/c/banks",
        json={"name": bank_name},
    )
    assert post_response.status_code == 201
    assert post_response.json == {"matching_enabled_ratio": 1.0, "name": bank_name}


def add_hash_to_bank(client: FlaskClient, bank_name: str, image_url: str, content_id: int = 1) -> None:
    post_response = client.post(f"/c/bank/{bank_name}/content?url={image_url}&content_type=photo")

    assert post_response.status_code == 200
    assert post_response.json == {
        "id": content_id,
        "signals": {
            "pdq": IMAGE_URL_TO_PDQ[image_url],
        },
    }
