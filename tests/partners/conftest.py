"""A real hub with HMA's routes, and what its clients send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image

from hashhub.testing.pictures import picture as picture_of
from tests.server.conftest import Serve, Served, patient_matchers, serve_hub

__all__ = ["patient_matchers", "serve_hub"]

BOUNDARY = "b0undary"


@dataclass
class Answered:
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HMAClient:
    """Sends requests as one token."""

    address: str
    token: str = ""
    prefix: str = "/hma"

    def send(
        self,
        verb: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Answered:
        host, _, port = self.address.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=120)
        try:
            sent = {"authorization": f"Bearer {self.token}"} if self.token else {}
            target = self.prefix + path + (f"?{urlencode(query)}" if query else "")
            connection.request(verb, target, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Answered(answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
        finally:
            connection.close()

    def get(self, path: str, **query: str) -> Answered:
        return self.send("GET", path, None, None, **query)

    def json(self, verb: str, path: str, value: Any) -> Answered:
        return self.send(verb, path, json.dumps(value).encode(), {"content-type": "application/json"})

    def file(self, path: str, field: str, content: bytes, **query: str) -> Answered:
        return self.send("POST", path, form(field, content), FORM, **query)

    def lookup(self, signal: str, **query: str) -> Answered:
        return self.get("/m/lookup", signal_type="pdq", signal=signal, **query)


FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(field: str, content: bytes, **fields: str) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{field}"; filename="x"\r\n\r\n'.encode() + content,
        *(f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{k}"\r\n\r\n{v}'.encode() for k, v in fields.items()),
    ]
    return b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def client(served: Served, who: str = "CONTRIBUTOR") -> HMAClient:
    return HMAClient(served.doors.http_address, served.tokens.get(who, who))


@pytest.fixture
def hub(serve_hub: Serve) -> Served:
    return serve_hub(hma_purpose="test")


@pytest.fixture
def home(hub: Served) -> HMAClient:
    """The client of a contributor's token."""
    return client(hub)


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def picture() -> bytes:
    return png(picture_of(7))


@pytest.fixture(scope="session")
def blank() -> bytes:
    return png(Image.new("RGB", (300, 300), "white"))
