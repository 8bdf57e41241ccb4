"""FetLife's client of HMA, unedited, at a hub: the gem hasher_matcher_actioner_api (MIT), at the address that a hub has
for clients without a token. Needs Ruby and the gem.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.partners.conftest import picture
from tests.server.conftest import Serve, patient_matchers, serve_hub

__all__ = ["patient_matchers", "picture", "serve_hub"]

HERE = Path(__file__).parent
GEM = "hasher_matcher_actioner_api"


def test_its_banks_are_made_filled_and_asked(serve_hub: Serve, tmp_path: Path, picture: bytes) -> None:
    ruby = shutil.which("ruby")
    if not ruby or subprocess.run([ruby, "-e", f"require '{GEM}'"], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no Ruby with the gem {GEM} on this machine")
    token, file = tmp_path / "token", tmp_path / "picture.png"
    token.write_text("-", "ascii")
    file.write_bytes(picture)
    served = serve_hub(listen_hma="127.0.0.1:0", hma_bound_token_file=str(token), hma_purpose="test")
    token.write_text(served.tokens["CONTRIBUTOR"], "ascii")
    done = subprocess.run(
        [ruby, str(HERE / "client.rb"), f"http://{served.doors.hma_address}", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["alive"] is True
    assert (said["none"], said["there"]) == (False, True)
    assert said["made"] == {"name": "FETLIFE", "matching_enabled_ratio": 1.0, "enabled": True}
    assert (said["again"], said["wrong"]) == ("ResourceAlreadyExistsError", "ValidationError")
    assert (said["before"], said["far"], said["other"]) == ([], [], [])
    number, signal = said["added"]["id"], said["hash"]["pdq"]
    assert said["added"]["signals"] == {"pdq": signal}
    match = {"signal_type": "pdq", "bank_name": "FETLIFE", "bank_content_id": number, "distance": 0}
    assert said["file"] == said["signal"] == [match]
    assert said["raw"] == {"matches": [number]}
    assert said["distance"] == {"matches": [{"bank_content_id": number, "distance": 0}]}
    assert (said["broken"], said["url"]) == ("ValidationError", "ValidationError")
    assert (said["apis"], said["exchange"], said["join"]) == ([], False, "ValidationError")
