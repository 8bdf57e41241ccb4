"""The sidecar as a process, against a real hub: what an app sends, and what it reads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openapi_spec_validator
import pytest
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.hashing import hash_media
from hashhub.testing.hub_process import running_sidecar
from tests.hook.conftest import hook_toml

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, Start


@pytest.fixture
def ask(started: Start) -> Iterator[httpx.Client]:
    """A client of a sidecar with the usual settings."""
    with httpx.Client(base_url=started().url, timeout=60.0) as client:
        yield client


def test_bytes_get_a_decision_whatever_their_type(ask: httpx.Client, listed: Listed) -> None:
    for kind in ("image/jpeg", "application/json", "text/html; charset=x", "", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": kind, "Hashhub-Upload-Id": "album/7"}
        answer = ask.post("/check", content=listed.known, headers=headers)
        assert answer.status_code == 200, answer.text
        decision = answer.json()
        assert (decision["action"], decision["verdict"]) == ("BLOCK", "MATCH")
        assert len(decision["reference"]) == 20
    assert ask.post("/check", content=listed.unknown).json()["action"] == "ALLOW"
    text = ask.post("/check", content=b"a text").json()
    assert (text["action"], text["no_answer"]) == ("ALLOW", "NO_PERCEPTUAL_HASH")


def test_a_body_in_chunks_is_one_upload(ask: httpx.Client, listed: Listed) -> None:
    pieces = (listed.known[n : n + 777] for n in range(0, len(listed.known), 777))
    assert ask.post("/check", content=pieces).json()["action"] == "BLOCK"


def test_each_file_of_a_form_is_decided_and_the_severest_is_told(ask: httpx.Client, listed: Listed) -> None:
    files = [
        ("pictures", ("a.jpg", listed.unknown, "image/jpeg")),
        ("pictures", ("b.jpg", listed.known, "image/jpeg")),
        ("notes", ("n.txt", b"a text", "text/plain")),
        ("broken", ("c.jpg", listed.known[:3000], "image/jpeg")),
    ]
    answer = ask.post("/check", files=files, data={"caption": "my holidays"}).json()
    assert [f["decision"]["action"] for f in answer["files"]] == ["ALLOW", "BLOCK", "ALLOW", "HOLD"]
    assert [f["field"] for f in answer["files"]] == ["pictures", "pictures", "notes", "broken"]
    assert answer["action"] == "BLOCK"
    assert answer["reference"] == answer["files"][1]["decision"]["reference"]
    assert answer["not_checked"] == ["caption"]


def form(*parts: tuple[str, bytes], end: bytes = b"--X--\r\n") -> bytes:
    return b"".join(b"--X\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n" for head, body in parts) + end


FIELD = 'Content-Disposition: form-data; name="a"'
TYPE = {"Content-Type": "multipart/form-data; boundary=X"}


@pytest.mark.parametrize(
    "head",
    [
        FIELD,  # a browser sends a string so; a picture in it is no text
        f'{FIELD}; filename=""',
        f"{FIELD}; filename*=UTF-8''a%20b.jpg",
        f"{FIELD}\r\nContent-Type: image/jpeg",
    ],
)
def test_a_file_cannot_hide_among_the_fields(ask: httpx.Client, listed: Listed, head: str) -> None:
    answer = ask.post("/check", content=form((head, listed.known)), headers=TYPE)
    assert answer.json()["action"] == "BLOCK", answer.text
    assert len(answer.json()["files"]) == 1


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (form((FIELD, b"x"), end=b""), None, "does not end with its boundary"),
        (form((f'{FIELD}; filename="a"', b"x")) + b"x" * 3000, None, "does not end with its boundary"),
        (form((f'{FIELD}; filename="a"', b"x")) + form((f'{FIELD}; filename="b"', b"y")), None, "something follows"),
        (form(('Content-Disposition: attachment; filename="a"', b"x")), None, "Content-Disposition: form-data"),
        (form(("X-Other: 1", b"x")), None, "Content-Disposition: form-data"),
        (form((f"{FIELD}\r\nContent-Type: multipart/mixed; boundary=Y", b"x")), None, "form within a form"),
        (form((f"{FIELD}\r\nContent-Transfer-Encoding: base64", b"eA==")), None, "Transfer-Encoding"),
        (form((f"{FIELD}\r\n{FIELD}", b"x")), None, "a header twice"),
        (form((FIELD, b"a caption")), None, "no part is a file"),
        (form(), None, "file"),
        (b"preamble" + form((f'{FIELD}; filename="a"', b"x")), None, "must begin with its boundary"),
        (form((f'{FIELD}; filename="a"', b"x")), "multipart/form-data", "one boundary"),
        (form((f'{FIELD}; filename="a"', b"x")), "multipart/form-data; boundary=X; boundary=Y", "'boundary'"),
        (form((f'{FIELD}; filename="a"', b"x")), "multipart/mixed; boundary=X", "only multipart/form-data"),
        (form((f'{FIELD}; filename="a"', b"x")), "a, multipart/form-data; boundary=X", "only multipart/form-data"),
        (form((f'{FIELD}; filename="{"a" * 50_000}"', b"x")), None, "have more than 16384 bytes"),
        (form(*[(f"{FIELD}\r\n" + "\r\n".join(f"X-{n}: 1" for n in range(50)), b"x")]), None, "cannot be read"),
    ],
)
def test_a_form_that_two_parsers_could_read_differently_is_refused(
    ask: httpx.Client, body: bytes, kind: str | None, says: str
) -> None:
    answer = ask.post("/check", content=body, headers={"Content-Type": kind} if kind else TYPE)
    assert answer.status_code in {400, 415}, answer.text
    assert says in answer.json()["error"]["message"]
    assert answer.json()["action"] == "HOLD"


def test_a_second_type_or_an_encoding_is_refused(ask: httpx.Client, listed: Listed) -> None:
    twice = [("Content-Type", "image/jpeg"), ("Content-Type", "multipart/form-data; boundary=X")]
    assert ask.post("/check", content=listed.known, headers=twice).status_code == 400
    for encodings in (["gzip"], ["identity", "gzip"]):
        headers = [("Content-Encoding", encoding) for encoding in encodings]
        assert ask.post("/check", content=listed.known, headers=headers).status_code == 400
    assert ask.post("/check", content=b"x", headers={"Hashhub-Upload-Id": "x" * 201}).status_code == 400


def test_hashes_get_a_decision(ask: httpx.Client, listed: Listed) -> None:
    hashes = [h.text for h in hash_media(listed.known).hashes if h.algorithm in {"MD5", "PDQ"}]
    assert ask.post("/hashes", json={"hashes": hashes}).json()["action"] == "BLOCK"
    exact = ask.post("/hashes", json={"hashes": ["MD5:" + "ab" * 16]}).json()
    assert (exact["action"], exact["no_answer"]) == ("ALLOW", "NO_PERCEPTUAL_HASH")
    wrongs: tuple[Any, ...] = ({}, {"hashes": []}, {"hashes": ["MD5:x"]}, {"hashes": hashes * 40}, {"x": 1}, [])
    for wrong in wrongs:
        answer = ask.post("/hashes", json=wrong)
        assert (answer.status_code, answer.json()["action"]) == (400, "HOLD"), answer.text
    assert ask.post("/hashes", content=b" " * 300_000).status_code == 413


def test_the_status_tells_where_it_is_asked_to(started: Start, listed: Listed) -> None:
    sidecar = started(sidecar='status = "451-on-block"')
    with httpx.Client(base_url=sidecar.url, timeout=60.0) as client:
        for content, status in ((listed.known, 451), (listed.known[:3000], 403), (listed.unknown, 200)):
            assert client.post("/check", content=content).status_code == status
        files = [("a", ("a.jpg", listed.unknown, "image/jpeg")), ("a", ("b.jpg", listed.known, "image/jpeg"))]
        assert client.post("/check", files=files).status_code == 451


def test_too_large_is_decided_as_chosen_without_reading_all_of_it(started: Start) -> None:
    sidecar = started(top="max_bytes = 100000", sidecar="max_body_bytes = 300000")
    host, port = sidecar.url.removeprefix("http://").split(":")
    with httpx.Client(base_url=sidecar.url, timeout=60.0) as client:
        decision = client.post("/check", content=b"x" * 200_000).json()
        assert (decision["action"], decision["no_answer"]) == ("BLOCK", "TOO_LARGE")
        form_of_it = client.post("/check", files={"a": ("a", b"x" * 200_000)}).json()
        assert form_of_it["files"][0]["decision"]["no_answer"] == "TOO_LARGE"
        assert client.post("/check", files={"a": ("a", b"x" * 400_000)}).status_code == 413
    for head in (b"Content-Length: 10000000000", b"Transfer-Encoding: chunked"):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"POST /check HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n\r\n")
            piece = b"x" * 100_000
            sent = 0
            connection.settimeout(0.2)
            answer = b""
            while b"}" not in answer:  # the answer comes while the body is far from its end
                connection.settimeout(30)
                connection.sendall((b"%x\r\n" % len(piece)) + piece + b"\r\n" if b"chunked" in head else piece)
                sent += len(piece)
                connection.settimeout(0.2)
                try:
                    answer += connection.recv(65536)
                except TimeoutError:
                    continue
            assert b"TOO_LARGE" in answer
            assert sent < 100 * len(piece)
            # Of what was not read to its end no digest is known.
            assert b"nothing was looked for" in answer


@pytest.mark.parametrize("is_last", [False, True])
def test_a_length_beside_chunks_is_refused(started: Start, is_last: bool) -> None:
    sidecar = started()
    host, port = sidecar.url.removeprefix("http://").split(":")
    heads = [b"Content-Length: 5", b"Transfer-Encoding: chunked"]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = b"\r\n".join([b"POST /check HTTP/1.1", b"Host: 127.0.0.1", *(heads[::-1] if is_last else heads)])
        connection.sendall(head + b"\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        answer = b""
        while b"}" not in answer and (piece := connection.recv(65536)):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"Transfer-Encoding" in answer


def test_pict_rs_reads_the_status_alone(ask: httpx.Client, listed: Listed) -> None:
    """As pict-rs 0.5 sends it: a streamed body of no announced length, the media type, no other header."""
    for content, status in ((listed.known, 451), (listed.unknown, 200), (listed.known[:3000], 403)):
        answer = ask.post("/pict-rs", content=iter([content]), headers={"Content-Type": "image/webp"})
        assert answer.status_code == status


def tusd_request(path: str, *, kind: str = "pre-finish", store: str = "filestore") -> dict[str, Any]:
    """A hook request as tusd 2 documents it."""
    return {
        "Type": kind,
        "Event": {
            "Upload": {
                "ID": "14b1c4c77771671a8479bc0444bbc5ce",
                "Size": 46205,
                "SizeIsDeferred": False,
                "Offset": 46205,
                "MetaData": {"filename": "a.jpg", "filetype": "image/jpeg"},
                "IsPartial": False,
                "IsFinal": False,
                "PartialUploads": None,
                "Storage": {"Type": store, "Path": path, "InfoPath": f"{path}.info"},
            },
            "HTTPRequest": {
                "Method": "PATCH",
                "URI": "/files/14b1c4c77771671a8479bc0444bbc5ce",
                "RemoteAddr": "[::1]:10944",
                "Header": {"Host": ["localhost:1080"], "Tus-Resumable": ["1.0.0"]},
            },
        },
    }


def test_tusd_is_answered_over_the_file_that_it_stored(
    started: Start, listed: Listed, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tusd")
    outside = tmp_path_factory.mktemp("elsewhere") / "secret.jpg"
    outside.write_bytes(listed.known)
    for name, content in (("known", listed.known), ("unknown", listed.unknown), ("broken", listed.known[:3000])):
        (directory / name).write_bytes(content)
    (directory / "link").symlink_to(outside)
    (directory / "out").symlink_to(outside.parent)
    os.mkfifo(directory / "pipe")
    (directory / "below").mkdir()
    (directory / "below" / "known").write_bytes(listed.known)
    sidecar = started(sidecar=f'tusd_directory = "{directory}"')
    with httpx.Client(base_url=sidecar.url, timeout=60.0) as client:

        def hook(path: object, **given: str) -> httpx.Response:
            return client.post("/tusd", json=tusd_request(str(path), **given))

        assert hook(directory / "unknown").json() == {}
        for name, status, action in (("known", 451, "BLOCK"), ("broken", 403, "HOLD"), ("below/known", 451, "BLOCK")):
            answer = hook(directory / name)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"  # tusd takes no other
            told = answer.json()["HTTPResponse"]
            assert told["StatusCode"] == status
            assert json.loads(told["Body"]).keys() == {"action", "reference"}  # it goes to the uploader
            assert json.loads(told["Body"])["action"] == action
        assert hook("known").json()["HTTPResponse"]["StatusCode"] == 451
        for path in (
            *(outside, "/etc/passwd", "../known", f"{directory}/../{outside.parent.name}/secret.jpg", "", ".", "/"),
            *(directory / "link", directory / "out" / "secret.jpg", directory / "pipe", directory, "a\0b", "x" * 9999),
            *("http://127.0.0.1/x", "file:///etc/passwd"),
        ):
            answer = hook(path)
            assert answer.status_code in {400, 404}, (path, answer.text)
            assert "HTTPResponse" not in answer.json()
        assert hook(directory / "absent").status_code == 404
        assert hook(directory / "known", store="s3store").status_code == 400
        assert hook(directory / "known", kind="post-finish").json() == {}
        assert client.post("/tusd", json={"Type": "pre-finish"}).status_code == 400
    with httpx.Client(base_url=started().url, timeout=60.0) as client:  # no directory is set
        assert client.post("/tusd", json=tusd_request(str(directory / "known"))).status_code == 400


def test_web_pages_are_refused_and_nobody_else_is(ask: httpx.Client, listed: Listed) -> None:
    page = "https://evil.example"
    for headers in (
        {"Origin": page},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:8472"},  # a page's own name, turned to 127.0.0.1
        {"Host": "127.0.0.1.evil.example"},
    ):
        answer = ask.post("/check", content=listed.known, headers=headers)
        assert (answer.status_code, answer.json()["action"]) == (403, "HOLD"), headers
        assert "verdict" not in answer.json()
        assert "access-control-allow-origin" not in answer.headers
    assert ask.options("/check", headers={"Origin": page, "Access-Control-Request-Method": "POST"}).status_code == 403
    assert ask.get("/metrics", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    for headers in (
        {"Host": "localhost"},
        {"Host": "[::1]:8472"},
        {"Sec-Fetch-Mode": "cors"},
    ):  # the last: node's fetch
        assert ask.post("/check", content=listed.known, headers=headers).status_code == 200


def test_the_secret_is_needed_where_there_is_one(started: Start, listed: Listed, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.mktemp("secret") / "secret"
    file.write_text("correct-horse-battery\n")
    sidecar = started(sidecar=f'secret_file = "{file}"')
    with httpx.Client(base_url=sidecar.url, timeout=60.0) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !"}, {"Authorization": "x"}):
            for path in ("/check", "/hashes", "/pict-rs", "/tusd", "/nothing"):
                answer = client.post(path, content=listed.known, headers=headers)
                assert (answer.status_code, answer.json()["action"]) == (401, "HOLD")
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/healthz").status_code in {200, 503}
        bearer = {"Authorization": "Bearer correct-horse-battery"}
        assert client.post("/check", content=listed.known, headers=bearer).json()["action"] == "BLOCK"
        # What `http://:SECRET@host/pict-rs` becomes.
        assert client.post("/pict-rs", content=listed.known, auth=("", "correct-horse-battery")).status_code == 451


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('listen = "0.0.0.0:0"', "reachable from other machines"),
        ('listen = "hook:8472"', "reachable from other machines"),
        ('secret_file = "/nonexistent/secret"', "cannot be read"),
        ('listen = "8472"', "HOST:PORT"),
        ("max_parts = 0", "must be at least 1"),
        ("max_part = 3", "max_part"),
        ('status = "200"', "status"),
    ],
)
def test_settings_that_cannot_work_are_refused(listed: Listed, tmp_path: Path, lines: str, says: str) -> None:
    file = hook_toml(tmp_path, listed, sidecar=lines)
    done = CliRunner().invoke(main, ["hook", "serve", "--settings", str(file)])
    assert (done.exit_code, says in done.stderr) == (1, True), done.stderr


def test_health_says_whether_answers_can_be_had(started: Start, ask: httpx.Client) -> None:
    def serving(client: httpx.Client) -> dict[str, Any]:
        until = time.monotonic() + 180
        while (answer := client.get("/healthz")).status_code != 200:
            assert time.monotonic() < until, answer.text
            assert answer.json()["status"] == "STARTING"
            time.sleep(0.05)
        told: dict[str, Any] = answer.json()
        return told

    health = serving(ask)
    assert (health["status"], health["has_answers"], health["mode"]) == ("SERVING", True, "ONLINE")
    assert health["has_lists"] is True
    # Without the hub the sidecar goes on, and says as what: another start would not bring the hub back.
    away = started(top='answer_seconds = 0.2\nca_file = ""\n', sidecar="")
    with httpx.Client(base_url=away.url, timeout=60.0) as client:
        assert serving(client)["without_answer"]["hub_away"] == "HOLD"


def test_without_the_hub_uploads_are_decided_as_chosen(listed: Listed, tmp_path: Path, warm: None) -> None:
    file = hook_toml(tmp_path, listed, top="answer_seconds = 0.2")
    with (
        running_sidecar(file, environment={"HASHHUB_HOOK_HUB": "127.0.0.1:9"}) as sidecar,
        httpx.Client(base_url=sidecar.url, timeout=60.0) as client,
    ):
        decision = client.post("/check", content=listed.unknown).json()
        assert (decision["action"], decision["verdict"], decision["no_answer"]) == ("HOLD", "UNAVAILABLE", "HUB_AWAY")
        until = time.monotonic() + 180
        while (health := client.get("/healthz")).status_code != 200:
            assert time.monotonic() < until
        assert (health.json()["has_answers"], health.json()["status"]) == (False, "SERVING")
        assert health.json()["reason"]


def test_metrics_and_log_tell_counts_and_no_names(ask: httpx.Client, started: Start, listed: Listed) -> None:
    name = "very-private-name.jpg"
    ask.post("/check?file=" + name, files={"a": (name, listed.known, "image/jpeg")}, headers={"User-Agent": name})
    ask.get("/" + name)
    text = ask.get("/metrics").text
    assert 'hashhub_hook_decisions_total{door="sidecar",action="BLOCK",verdict="MATCH",no_answer=""}' in text
    assert 'hashhub_hook_responses_total{path="other",status="404"}' in text
    assert "hashhub_hook_decision_seconds_count" in text
    lines = [json.loads(line) for line in started().log.read_text().splitlines() if line.startswith("{")]
    checks = [line for line in lines if line["path"] == "/check" and line["status"] == 200]
    assert {"time", "milliseconds", "action", "verdict", "reference"} <= checks[-1].keys()
    assert name not in started().log.read_text()
    assert name not in text


def test_the_pages_are_true_and_load_nothing(ask: httpx.Client) -> None:
    told = ask.get("/openapi.json").json()
    openapi_spec_validator.validate(told)
    for path, methods in told["paths"].items():
        for method in methods:
            assert ask.request(method, path).status_code != 404
    page = ask.get("/docs")
    assert "<script" not in page.text
    assert "src=" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in told["paths"]:
        assert path in page.text


def test_sigterm_lets_what_is_being_decided_end(listed: Listed, tmp_path: Path) -> None:
    file = hook_toml(tmp_path, listed)
    with running_sidecar(file) as sidecar:
        host, port = sidecar.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = f"POST /check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(listed.known)}\r\n\r\n"
            connection.sendall(head.encode() + listed.known[:1000])
            while not httpx.get(f"{sidecar.url}/metrics", timeout=60).text.endswith("uploads_in_progress 1\n"):
                pass
            os.kill(sidecar.pid, signal.SIGTERM)
            connection.sendall(listed.known[1000:])
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert b'"action":"BLOCK"' in answer
    assert "Traceback" not in sidecar.log.read_text()


NODE = """
const http = require("node:http"), fs = require("node:fs");
const [url, ...files] = process.argv.slice(2);
(async () => {
  for (const file of files) {
    const raw = await fetch(url + "/check", {method: "POST", body: fs.readFileSync(file)});
    const form = new FormData();
    form.append("picture", await fs.openAsBlob(file), "picture.jpg");
    form.append("caption", "text");
    const parts = await fetch(url + "/check", {method: "POST", body: form});
    const piped = await new Promise((resolve, reject) => {
      const request = http.request(url + "/check", {method: "POST"}, (answer) => {
        let text = "";
        answer.on("data", (piece) => { text += piece; });
        answer.on("end", () => resolve(JSON.parse(text)));
      });
      request.on("error", reject);
      fs.createReadStream(file).pipe(request);
    });
    console.log(JSON.stringify([(await raw.json()).action, (await parts.json()).action, piped.action]));
  }
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed here")
def test_node_asks_by_fetch_by_form_and_by_stream(ask: httpx.Client, listed: Listed, tmp_path: Path) -> None:
    (tmp_path / "known.jpg").write_bytes(listed.known)
    (tmp_path / "unknown.jpg").write_bytes(listed.unknown)
    (tmp_path / "ask.cjs").write_text(NODE)
    done = subprocess.run(
        ["node", "ask.cjs", str(ask.base_url).rstrip("/"), "known.jpg", "unknown.jpg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [["BLOCK"] * 3, ["ALLOW"] * 3]
