"""docs/hook/bucket.md, literally: its settings, policies, presigned URL and commands, against moto's server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from hashhub.hook.settings import BucketSettings
from tests.cli.test_json import fits
from tests.docs.test_readme import commands
from tests.hook import bucket_server
from tests.hook.conftest import Listed
from tests.hook.guide import Reader, steps
from tests.json_samples import SAMPLES

PAGE = "docs/hook/bucket.md"
TEXT = (Path(__file__).parents[2] / PAGE).read_text("utf-8")
TRIAL = TEXT.partition("\n## Try it with folders\n")[2].partition("\n## ")[0]


def block(language: str, name: str) -> str:
    [text] = re.findall(rf"^```{language} {re.escape(name)}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert isinstance(text, str)
    return text


def test_every_setting_is_on_the_page() -> None:
    names = set(re.findall(r"`([a-z_]+)`", TEXT))
    assert set(BucketSettings.__struct_fields__) <= names


def test_policies_give_each_no_more_than_it_needs() -> None:
    [everybody] = json.loads(block("json", "public.json"))["Statement"]
    assert (everybody["Action"], everybody["Resource"]) == ("s3:GetObject", "arn:aws:s3:::app-media/public/*")
    [app] = json.loads(block("json", "app.json"))["Statement"]
    assert (app["Action"], app["Resource"]) == ("s3:PutObject", "arn:aws:s3:::app-media/incoming/*")
    [queue] = json.loads(block("json", "queue.json"))["Statement"]
    assert set(queue["Action"]) == {"sqs:ReceiveMessage", "sqs:DeleteMessage"}
    for statement in json.loads(block("json", "worker.json"))["Statement"]:
        if "s3:PutObject" in statement["Action"]:
            assert not any("incoming" in resource for resource in statement["Resource"])


@pytest.mark.timeout(240)
def test_it_can_be_tried_with_folders(reader: Reader) -> None:
    for step in steps(TRIAL):
        reader.follow(step)
    assert [p.name for p in (reader.work / "public").iterdir()] == ["unlisted.png"]


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(240)
def test_the_page_works_as_written(
    bucket_store: str, listed: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        **os.environ,
        "HASHHUB_HOOK_HUB": listed.hub.address,
        "HASHHUB_HOOK_ANSWER_SECONDS": "20",  # a loaded machine is no reason for another answer
    }
    app = bucket_server.client(bucket_store)
    app.create_bucket(Bucket="app-media")
    app.put_bucket_policy(Bucket="app-media", Policy=block("json", "public.json"))
    app.put_bucket_lifecycle_configuration(
        Bucket="app-media", LifecycleConfiguration=json.loads(block("json", "lifecycle.json"))
    )
    settings = block("toml", "hook.toml")
    (tmp_path / "hook.toml").write_text(settings)
    token_file = tmp_path / tomllib.loads(settings)["token_file"]
    token_file.parent.mkdir()
    token_file.write_text(listed.token)
    exports = [c.line.removeprefix("export ").partition("=") for c in commands(PAGE) if c.line.startswith("export ")]
    for name, _, value in exports:
        environment[name] = value.replace("http://127.0.0.1:9000", bucket_store)
        monkeypatch.setenv(name, environment[name])
    example: dict[str, Any] = {}
    exec(block("python", "presign"), example)  # noqa: S102 - of our own page
    for content in (listed.known, listed.unknown):
        name, url = example["upload_url"]("anna")
        assert httpx.put(url, content=content, headers={"Content-Type": "image/jpeg"}).status_code == 200
        assert name.startswith("anna/")
    tried = {step.text for step in steps(TRIAL)}
    run = [c for c in commands(PAGE) if c.line.startswith("hashhub ") and c.line not in tried]
    assert len(run) == 3
    for command in run:
        done = subprocess.run(
            ["bash", "-c", command.line], cwd=tmp_path, env=environment, timeout=100, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        told = f"{command}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == command.ends_with, told
        assert "Traceback" not in done.stderr
        for line in command.prints:
            assert any(printed.startswith(line) for printed in done.stdout.splitlines()), told
        if "--json" in command.line:
            assert all(fits(json.loads(line), SAMPLES["hook scan PLACE"]) for line in done.stdout.splitlines())
    assert list(bucket_server.contents(app, "app-media").values()).count(listed.unknown) == 1
    published = [k for k in bucket_server.contents(app, "app-media") if k.startswith("public/")]
    assert len(published) == 1
    summary = json.loads((tmp_path / "scan/summary.json").read_text())
    assert summary["counts"] == {"ALLOW": 1}
    assert "report.html" in {path.name for path in (tmp_path / "scan").iterdir()}
    _events_work_as_written(app, environment, tmp_path, listed)


def _events_work_as_written(app: Any, environment: dict[str, str], tmp_path: Path, listed: Listed) -> None:
    (tmp_path / "notify.py").write_text(block("python", "notify"))
    command = [sys.executable, "notify.py"]
    made = subprocess.check_output(command, cwd=tmp_path, env=environment, timeout=60, text=True)
    environment = environment | {"HASHHUB_HOOK_BUCKET_EVENTS": made.strip()}
    command = ["hashhub", "hook", "watch", "--settings", "hook.toml", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout is not None
            outcomes = []
            for number in range(2):  # the first may be found by the first listing, the second by its event alone
                app.put_object(Bucket="app-media", Key=f"incoming/told {number}.jpg", Body=listed.unknown)
                outcomes.append(json.loads(watching.stdout.readline()))
        finally:
            watching.terminate()
    assert [(o["name"], o["outcome"]) for o in outcomes] == [(f"told {n}.jpg", "PUBLISHED") for n in range(2)]
    assert watching.returncode == 0
