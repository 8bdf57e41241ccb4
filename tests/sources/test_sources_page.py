"""docs/contribute/sources.md, followed literally, with the web server that it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hashhub.sources.settings import PROTOCOLS, SourceSettings
from hashhub.testing.hub_process import running_hub
from tests.docs.test_handbook import Reader, blocks, free_port
from tests.patience import wait_until

PAGE = "contribute/sources"
TEXT = (Path(__file__).parents[2] / "docs/contribute/sources.md").read_text("utf-8")


class Partner(Reader):
    """Somebody who follows the page, and leaves the web server running."""

    server: subprocess.Popen[bytes] | None = None

    def run(self, text: str) -> None:
        if not text.startswith("python3 -m http.server"):
            super().run(text)
            return
        words = self.here(text).split()[1:]
        log = self.directory / "server.log"
        with log.open("wb") as errors:
            self.server = subprocess.Popen([sys.executable, "-u", *words], cwd=self.directory, stdout=errors)
        wait_until(lambda: b"Serving" in log.read_bytes())


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_the_page_works_as_written(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hashhub-data") as hub:
        reader = Partner(PAGE, tmp_path, {"8123": str(free_port())}, HASHHUB_SERVER=hub.address)
        try:
            # What goes on until it is stopped is shown as text, and run by another test.
            page = [b for b in blocks(PAGE) if b.first != "hashhub source run"]
            reader.follow(page)
        finally:
            if reader.server is not None:
                reader.server.terminate()
                reader.server.communicate()
    assert reader.ran == 3


def test_the_tables_have_all() -> None:
    for protocol in PROTOCOLS:
        assert f"| `{protocol}` |" in TEXT
    rows = "".join(line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `"))
    for field in msgspec.structs.fields(SourceSettings):
        assert f"`{field.name}`" in rows or f"`[{field.name}]`" in rows
        if isinstance(field.default, int | float):
            assert f"| `{field.name}` | {field.default:g} |" in TEXT.replace(str(field.default), f"{field.default:g}")
