"""docs/hook/sidecar.md: its commands, its files and its table, as they stand."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.testing.hub_process import RunningSidecar, running_hub, running_sidecar

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, Start

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/hook/sidecar.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def file_of(name: str) -> str:
    [content] = [content for _, given, content in BLOCKS if given == name]
    return str(content)


@pytest.mark.usefixtures("warm")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_every_command_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the settings look for the token
    sidecar: RunningSidecar | None = None
    ran = printed = 0
    with running_hub(tmp_path / "hashhub-data") as hub, ExitStack() as stack:
        environment = {
            **os.environ,
            "HASHHUB_SERVER": hub.address,
        }
        said = ""
        for language, name, block in BLOCKS:
            if name == "hook.toml":
                (tmp_path / name).write_text(block + "\n")
            if language == "text" and said:
                for line in block.splitlines():
                    assert said.startswith(line), f"{line!r} is not printed, but\n{said}"
                    printed += 1
            if language:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                # Node's packages come from an index, which no test asks; the middleware is run below.
                if line.startswith(("npm ", "node ")) or ":8000/" in line:
                    said = ""
                    continue
                ran += 1
                if line == "hashhub hook serve --settings hook.toml":
                    given = {"HASHHUB_HOOK_HUB": hub.address, "HASHHUB_HOOK_ANSWER_SECONDS": "20"}
                    sidecar = stack.enter_context(running_sidecar(tmp_path / "hook.toml", environment=given))
                    continue
                asked = line.replace("http://127.0.0.1:8472", sidecar.url) if sidecar is not None else line
                done = subprocess.run(
                    ["bash", "-c", asked],
                    cwd=tmp_path,
                    env=environment,
                    timeout=300,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                said = done.stdout
    assert (ran, printed) == (12, 5)


USE = """
const hashhub = require("./hashhub.cjs");
const fs = require("node:fs");
const by = {memory: (path) => ({buffer: fs.readFileSync(path)}), disk: (path) => ({path})};
(async () => {
  for (const [store, ...paths] of JSON.parse(process.argv[2])) {
    const req = paths.length === 1 ? {file: by[store](paths[0])} : {files: paths.map(by[store])};
    let status = 0, next = false;
    const res = {status(code) { status = code; return this; }, json() {}};
    await hashhub(req, res, () => { next = true; });
    console.log(JSON.stringify([req.hashhub, status, next]));
  }
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed here")
def test_the_middleware_for_node_does_what_it_says(started: Start, listed: Listed, tmp_path: Path) -> None:
    (tmp_path / "hashhub.cjs").write_text(file_of("hashhub.cjs"))
    (tmp_path / "use.cjs").write_text(USE)
    for name in ("known", "stored-known"):
        (tmp_path / name).write_bytes(listed.known)
    (tmp_path / "unknown").write_bytes(listed.unknown)
    (tmp_path / "broken").write_bytes(listed.known[:3000])
    cases = [
        ["memory", "unknown"],
        ["memory", "known"],
        ["memory", "unknown", "broken"],
        ["memory", "broken", "known"],
        ["disk", "unknown"],
        ["disk", "stored-known"],
        ["disk"],
    ]

    def run(url: str) -> list[str]:
        done = subprocess.run(
            ["node", "use.cjs", json.dumps(cases)],
            cwd=tmp_path,
            env={**os.environ, "HASHHUB_HOOK_URL": url},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return [str(json.loads(line)) for line in done.stdout.splitlines()]

    allow, hold, block = (str(["ALLOW", 0, True]), str(["HOLD", 0, True]), str(["BLOCK", 451, False]))
    assert run(started().url) == [allow, block, hold, block, allow, block, allow]
    assert not (tmp_path / "stored-known").exists()
    (tmp_path / "stored-known").write_bytes(listed.known)
    assert set(run("http://127.0.0.1:9")) == {hold, allow}  # allowed: the request without a file


RUBY = """
require "./hashhub_checked"
require "stringio"
ARGV.each { |path| puts HashhubChecked.action(File.open(path, "rb")) }
"""


@pytest.mark.skipif(shutil.which("ruby") is None, reason="ruby is not installed here")
def test_the_module_for_rails_does_what_it_says(started: Start, listed: Listed, tmp_path: Path) -> None:
    (tmp_path / "hashhub_checked.rb").write_text(file_of("app/models/concerns/hashhub_checked.rb"))
    (tmp_path / "use.rb").write_text(RUBY)
    (tmp_path / "known").write_bytes(listed.known)
    (tmp_path / "unknown").write_bytes(listed.unknown)
    for url, says in ((started().url, ["BLOCK", "ALLOW"]), ("http://127.0.0.1:9", ["HOLD", "HOLD"])):
        done = subprocess.run(
            ["ruby", "use.rb", "known", "unknown"],
            cwd=tmp_path,
            env={**os.environ, "HASHHUB_HOOK_URL": url},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert done.stdout.split() == says


def test_what_net_http_of_ruby_sends_is_read(started: Start, listed: Listed) -> None:
    """The request of the module for Rails as Ruby 3 writes it: chunks, no length."""
    import socket

    host, port = started().url.removeprefix("http://").split(":")
    head = (
        b"POST /check HTTP/1.1\r\nAccept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\nAccept: */*\r\n"
        b"User-Agent: Ruby\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\nHost: 127.0.0.1:8472\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head)
        for start in range(0, len(listed.known), 16384):
            piece = listed.known[start : start + 16384]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"action":"BLOCK"' in answer


def test_every_setting_is_documented_in_its_own_words() -> None:
    source = (ROOT / "hashhub/hook/settings.py").read_text("utf-8")
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "SidecarSettings").body
    texts = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            assert field.value is not None
            default = ast.unparse(field.value)
            shown = {"''": "(empty)", "StatusRule.ALWAYS_200": "`ALWAYS_200`"}.get(default, f"`{default}`")
            texts[field.target.id] = (shown, " ".join(str(text.value.value).split()))
    section = PAGE.split("\n## Settings\n")[1]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", section, re.MULTILINE)
    assert {name: (default, text) for name, default, text in rows} == texts
