"""Coop at a hub: its HMA service module, unedited (roostorg/coop at commit 1c1f54da95c738ed6293997c73ab83541ba9a373,
`server/services/hmaService/index.ts` and `dbTypes.ts`, Apache 2.0), at the address that it has for clients without a
token; its table of banks, container and encoding are stubs. Needs Node.js, and npm's packages once.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.node import node_script
from tests.partners.conftest import picture
from tests.server.conftest import Serve, patient_matchers, serve_hub

__all__ = ["patient_matchers", "picture", "serve_hub"]

HERE = Path(__file__).parent


def test_its_banks_are_made_filled_asked_switched_renamed_and_deleted(
    serve_hub: Serve, tmp_path: Path, picture: bytes
) -> None:
    token, file = tmp_path / "token", tmp_path / "picture.png"
    token.write_text("-", "ascii")
    file.write_bytes(picture)
    served = serve_hub(listen_hma="127.0.0.1:0", hma_bound_token_file=str(token), hma_purpose="test")
    token.write_text(served.tokens["CONTRIBUTOR"], "ascii")
    # With a slash at the end, as its default has it: paths begin with two.
    environment = {**os.environ, "HMA_SERVICE_URL": f"http://{served.doors.hma_address}/"}
    with node_script(HERE / "coop_node" / "coop.js") as command:
        done = subprocess.run(
            [*command, str(HERE / "coop"), str(file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            env=environment,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    name = "COOP_ORG1_MY_BANK_1"
    assert said["name"] == name
    assert "already exists" in said["again"]
    number = said["added"]["id"]
    assert isinstance(number, int)
    assert said["found"] == {"matched": True, "matchedBanks": [name]}
    assert said["lookup"] == {name: [{"bank_content_id": number, "distance": "0"}]}
    assert said["off"] == {"matched": False, "matchedBanks": []}
    assert said["on"] == said["found"]
    assert said["listed"] == [name]
    assert said["wrong"] == "error: Failed to lookup content: 400"
    assert said["url"] == "error: Failed to hash content from URL: 400"
    assert {"name": "stopncii", "supports_auth": True, "has_auth": False} in said["apis"]
    assert said["exchange"] is None
    assert said["schema"]["config_schema"]["fields"]  # its own, since the hub has none
    # It makes a new bank and deletes the old one: a renamed bank is empty, at an HMA, too.
    assert said["renamed"] == ["COOP_ORG1_RENAMED", {}]
    assert said["left"] == []
