"""docs/operate/ring.md, followed literally, with the hubs and services that it starts and ends."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from hashhub.testing.hub_process import running_hub
from tests.docs.test_handbook import Reader, blocks, free_port

PAGE = "operate/ring"
PORTS = {"nl": ("8470", "8471"), "de": ("8480", "8481"), "fr": ("8490", "8491")}


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(240)
def test_the_story_is_as_written(tmp_path: Path) -> None:
    ours = {port: str(free_port()) for of_hub in PORTS.values() for port in of_hub}
    page = [b for b in blocks(PAGE) if b.language != "text"]
    partners, partition, healed = (
        next(i for i, block in enumerate(page) if begins in block.text)
        for begins in ("until de match", "known/2", "until fr match --hash MD5:58bd")
    )
    reader = Reader(PAGE, tmp_path, ours)

    def follow(name: str) -> subprocess.Popen[bytes]:
        own = {"SERVER": f"127.0.0.1:{ours[PORTS[name][0]]}", "DATA": f"{name}-data", "PEERS": f"{name}-peers"}
        environment = reader.environment | {f"HASHHUB_{key}": value for key, value in own.items()}
        service = subprocess.Popen(["hashhub", "peer", "run"], env=environment, cwd=tmp_path)
        stack.callback(service.wait, 60)
        stack.callback(service.terminate)
        return service

    with ExitStack() as stack:
        for name, (port, http) in PORTS.items():
            addresses = ("--listen", f"127.0.0.1:{ours[port]}", "--http", f"127.0.0.1:{ours[http]}")
            stack.enter_context(running_hub(tmp_path / f"{name}-data", *addresses))
        reader.follow(page[:partners])
        services = {name: follow(name) for name in PORTS}
        reader.follow(page[partners:partition])
        services["fr"].terminate()
        services["fr"].wait(60)
        reader.follow(page[partition:healed])
        follow("fr")
        reader.follow(page[healed:])
    assert reader.ran == len(page)
