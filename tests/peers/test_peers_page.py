"""docs/operate/peers.md, followed literally, with the hubs and services that it starts."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from hashhub.testing.hub_process import running_hub
from tests.docs.test_handbook import Reader, blocks, free_port
from tests.patience import wait_until

PAGE = "operate/peers"
HERE = "nl--hotline/known"


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(120)
def test_the_page_works_as_written(tmp_path: Path) -> None:
    ports = {port: str(free_port()) for port in ("8470", "8480")}
    page = [b for b in blocks(PAGE) if b.language != "text"]
    with ExitStack() as stack:
        for name, port in (("nl", "8470"), ("de", "8480")):
            stack.enter_context(running_hub(tmp_path / f"{name}-data", "--listen", f"127.0.0.1:{ports[port]}"))
        reader = Reader(PAGE, tmp_path, ports)
        follows = next(i for i, b in enumerate(page) if b.first == "de peer list")
        reader.follow(page[:follows])
        hubs = {
            name: {
                **reader.environment,
                "HASHHUB_SERVER": f"127.0.0.1:{ports[port]}",
                "HASHHUB_DATA": str(tmp_path / f"{name}-data"),
                "HASHHUB_PEERS": str(tmp_path / f"{name}-peers"),
            }
            for name, port in (("nl", "8470"), ("de", "8480"))
        }
        for environment in hubs.values():
            service = subprocess.Popen(["hashhub", "peer", "run"], env=environment, cwd=tmp_path)
            stack.callback(service.wait, 60)
            stack.callback(service.terminate)

        def count(hub: str, hash_set: str) -> int:
            command = ["hashhub", "entry", "list", hash_set, "--state", "active", "--json"]
            done = subprocess.run(
                command, env=hubs[hub], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            return len(done.stdout.splitlines())

        stated = count("nl", "hotline/known")
        assert stated > 1
        wait_until(lambda: count("de", HERE) == stated)
        reader.follow(page[follows : follows + 2])
        wait_until(lambda: count("de", HERE) == stated - 1)
        reader.follow(page[follows + 2 :])
        assert count("de", HERE) == 0
    assert reader.ran == 7
