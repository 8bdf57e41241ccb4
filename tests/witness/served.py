"""A witness in a process of its own."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path

from hashhub.tlog.note import VerifierKey


class ServedWitness:
    """`key`: by which its cosignatures are verified."""

    def __init__(self, directory: Path, log: VerifierKey) -> None:
        policy = directory.with_suffix(".policy")
        policy.write_text(f"log {log}\nquorum none\n")
        arguments = ("witness", "serve", "--name", "w.example.com", "--policy", policy, "--dir", directory, "--json")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hashhub.cli", *arguments, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.url, self.key = f"http://{told['listen']}", told["key"]

    def post(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        try:
            connection.request("POST", "/add-checkpoint", body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(30)
