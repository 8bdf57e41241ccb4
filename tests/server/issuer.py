"""An issuer of ID tokens on loopback, for tests: it answers as it is told to, and counts what it is asked."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

AUDIENCE = "hashhub"


class Issuer:
    """`answers`: by path, instead of the usual one. `device`: what the token endpoint answers, one after the other."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self.keys: list[Key] = [RSAKey.generate_key(2048, {"kid": "r1"}), ECKey.generate_key("P-256", {"kid": "e1"})]
        self.asked: Counter[str] = Counter()
        self.forms: list[dict[str, list[str]]] = []
        self.answers: dict[str, Callable[[Any], None]] = {}
        self.device: list[dict[str, Any]] = []
        self.begun: dict[str, Any] = {
            "device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": f"{self.url}/device", "expires_in": 60,
            "interval": 0.05,
        }  # fmt: skip

    def rotate(self) -> None:
        """Sign with another key, and list only that one."""
        self.keys = [RSAKey.generate_key(2048, {"kid": f"r{time.time_ns()}"})]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return those of a good ID token, changed; None leaves one out."""
        at = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "u1", "iat": at, "exp": at + 300, "groups": ["analysts"]}
        return {name: value for name, value in {**usual, **changed}.items() if value is not None}

    def token(self, *, key: Key | None = None, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """Return an ID token."""
        key = key or self.keys[0]
        usual = {"alg": "ES256" if isinstance(key, ECKey) else "RS256", "kid": key.kid}
        head = {name: value for name, value in {**usual, **(header or {})}.items() if value is not None}
        return jwt.encode(head, self.claims(**changed), key, ["RS256", "PS256", "ES256", "RS512", "HS256"])

    def usual(self, path: str) -> dict[str, Any]:
        """Return what it answers unless it misbehaves."""
        if path == "/jwks":
            return {"keys": [key.as_dict(private=False, use="sig") for key in self.keys]}
        if path == "/authorize-device":
            return self.begun
        if path == "/token":
            return self.device.pop(0)
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "device_authorization_endpoint": f"{self.url}/authorize-device",
            "token_endpoint": f"{self.url}/token",
        }


@contextmanager
def issuing(port: int = 0) -> Iterator[Issuer]:
    """Run an issuer; given the port of one that has ended, in its place."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked[self.path] += 1
            if answer := made.answers.get(self.path):
                answer(self)
            else:
                self.send(made.usual(self.path))

        def do_POST(self) -> None:
            made.forms.append(parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()))
            self.do_GET()

        def send(self, answer: object) -> None:
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(400 if isinstance(answer, dict) and "error" in answer else 200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        made = Issuer(server.server_port)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()
