"""docs/operate/national-hub.md, followed: from the answers to a first match; then the checklist that init wrote."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.test_handbook import Block, Reader, blocks, blocks_in, free_port, started

PAGE = "operate/national-hub"
FILLED_IN = {
    "KIND": "hotline",
    "CC": "NL",
    "SCHEME": "ncmec-industry",
    "--url URL": "--url https://hashsharing.ncmec.org/npo",
    "--credential SECRET=file:PATH": "--credential user=file:u --credential password=file:p --option environment=csam",
    "PLATFORM": "second",
    " LIST ": " samples/list.json ",
    "MD5:…": "MD5:c92ba8eeccc25bbf5d7bde24cf01a595",
    "BACKUPS/TODAY": "backup-1",
}


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_the_page_and_the_checklist_work_as_written(tmp_path: Path) -> None:
    port, http, hub = str(free_port()), str(free_port()), tmp_path / "hub"
    places = {"/var/lib/hashhub-nl": str(hub), "0.0.0.0:": "127.0.0.1:", "8470": port, "8471": http}
    reader, page = Reader(PAGE, tmp_path, places), blocks(PAGE)
    start = next(i for i, block in enumerate(page) if "systemctl enable" in block.text)
    reader.follow(page[:start])
    unit = (hub / "hashhub.service").read_text("utf-8")
    assert f"serve --config {hub}/hashhub.toml" in unit
    with started(reader, hub / "hashhub.toml"):
        reader.follow(page[start:])
        assert reader.ran == 4
        listed = (hub / "checklist.md").read_text("utf-8")
        assert not re.search(r"\$[a-z_]+\b(?!@)", listed.replace("$PATH", "").replace('"$@"', ""))
        for name in ("hotline-nl.token", "ca/authority.pem"):  # as they were handed over
            shutil.copy(hub / name, tmp_path)
        # hub.example.org is not in the name service here.
        checklist = Reader(PAGE, tmp_path, FILLED_IN | {"--server hub.example.org": "--tls --server localhost"})
        todo = [block for block in blocks_in(listed) if not re.search("systemctl|docker compose", block.text)]
        checklist.follow([Block("", "", without_fetching(block.text)) for block in todo])
        assert checklist.ran == len(todo) == 8
    assert (hub / "sources/ncmec.toml").exists()
    assert (hub / "police-de-feed.token").exists()


def without_fetching(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if "source fetch" not in line)
