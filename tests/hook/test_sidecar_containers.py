"""The sidecar's image and compose file. No Docker engine is needed: what the files name must exist, and be right."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import yaml
from click import Group

from hashhub.cli import main
from hashhub.config import Config
from hashhub.hook import HookSettings, load_settings
from hashhub.hook.sidecar.guard import Guard
from hashhub.testing.hub_process import running_sidecar
from tests.hook.conftest import hook_toml

if TYPE_CHECKING:
    from tests.hook.conftest import Listed

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker/hook.Dockerfile").read_text("utf-8").replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/hook.compose.yaml").read_text("utf-8"))
README = (ROOT / "docker/README.md").read_text("utf-8")


def test_every_copied_path_exists_and_is_let_through() -> None:
    let_through = (ROOT / ".dockerignore").read_text("utf-8").split()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = shlex.split(line)
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in let_through, f"{source} is hidden by .dockerignore"


def test_the_image_runs_an_existing_command_as_nobody_special() -> None:
    final = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER (?!root)\w+$", final, re.MULTILINE)
    assert "/healthz" in final
    assert "--require-hashes -r docker/hook.requirements.lock" in DOCKERFILE
    assert 'ENTRYPOINT ["hashhub"]' in DOCKERFILE
    assert 'CMD ["hook", "serve"]' in DOCKERFILE
    assert isinstance(main, Group)
    group = main.commands["hook"]
    assert isinstance(group, Group)
    assert "serve" in group.commands


def test_the_image_has_what_the_sidecar_needs_as_the_suite_has_it() -> None:
    def versions(file: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / file).read_text("utf-8"), re.MULTILINE))

    image, suite = versions("docker/hook.requirements.lock"), versions("requirements.lock")
    assert {n: v for n, v in image.items() if suite.get(n) != v} == {}
    assert {"starlette", "uvicorn", "python-multipart", "numba", "pillow", "av", "grpcio"} <= set(image)


def names(of: type[msgspec.Struct], prefix: str) -> set[str]:
    """The names that the environment may have."""
    given: set[str] = set()
    for field in msgspec.structs.fields(of):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            given |= names(field.type, f"{prefix}{field.name.upper()}_")
        else:
            given.add(f"{prefix}{field.name.upper()}")
    return given


def test_environment_names_are_settings() -> None:
    known = names(HookSettings, "HASHHUB_HOOK_")
    assert set(re.findall(r"(HASHHUB_HOOK_\w+)=", DOCKERFILE)) <= known
    assert set(COMPOSE["services"]["sidecar"]["environment"]) <= known
    for name in COMPOSE["services"]["hub"]["environment"]:
        assert name.removeprefix("HASHHUB_").lower() in Config.__struct_fields__


def test_compose_starts_a_sidecar_that_only_the_app_can_ask(tmp_path: Path) -> None:
    services = COMPOSE["services"]
    assert "ports" not in services["sidecar"]
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef" * 4)
    given = {**services["sidecar"]["environment"], "HASHHUB_HOOK_SIDECAR_SECRET_FILE": str(secret)}
    settings = load_settings(None, given)
    assert settings.insecure_hub
    Guard(settings.sidecar)  # raises where anybody could ask
    port = settings.sidecar.listen.rpartition(":")[2]
    assert services["app"]["environment"]["HASHHUB_HOOK_URL"] == f"http://sidecar:{port}"
    assert f"EXPOSE {port}" in DOCKERFILE
    for name, service in services.items():
        if "build" in service:
            assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "docker" / source).is_dir()
        for published in service.get("ports", ()):
            assert published.startswith("127.0.0.1:")
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    for secret_file in COMPOSE["secrets"].values():
        assert f"docker/{secret_file['file']}" in ignored
        assert f"docker/{secret_file['file']}" in README
    mounted = [s for s in given.values() if s.startswith("/run/secrets/")]
    assert all(path.removeprefix("/run/secrets/") in services["sidecar"]["secrets"] for path in mounted)


def test_the_commands_of_the_readme_exist() -> None:
    lines = [line for line in README.splitlines() if " exec hub hashhub " in line]
    assert len(lines) == 2
    for line in lines:
        command = shlex.split(line.partition(" exec hub hashhub ")[2].partition(" > ")[0])
        assert isinstance(main, Group)
        group = main.commands[command[0]]
        assert isinstance(group, Group)
        made = group.commands[command[1]]
        # With main's settings: click keeps what the first context of a command calls its help.
        made.make_context(command[1], command[2:], resilient_parsing=False, **main.context_settings)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed here")
def test_the_app_publishes_what_is_allowed_and_nothing_else(listed: Listed, tmp_path: Path, warm: None) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef" * 4 + "\n")
    with running_sidecar(hook_toml(tmp_path, listed, sidecar=f'secret_file = "{secret}"')) as sidecar:
        for url, statuses, count in (
            (sidecar.url, {"known": 451, "unknown": 201, "broken": 202}, 1),
            ("http://127.0.0.1:9", {"known": 202, "unknown": 202}, 0),
        ):
            environment = {
                **os.environ,
                "HASHHUB_HOOK_URL": url,
                "HASHHUB_HOOK_SECRET_FILE": str(secret),
                "LISTEN_PORT": "0",
            }
            with subprocess.Popen(
                ["node", str(ROOT / "docker/hook-app/app.mjs")], env=environment, stdout=subprocess.PIPE, text=True
            ) as app:
                try:
                    assert app.stdout is not None
                    port = int(app.stdout.readline().rsplit(" ", 1)[1])
                    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                        assert "<form" in client.get("/").text
                        contents = {
                            "known": listed.known,
                            "unknown": listed.unknown,
                            "broken": listed.known[:3000],
                        }
                        for name, status in statuses.items():
                            files = {"picture": ("a.jpg", contents[name], "image/jpeg")}
                            answer = client.post("/upload", files=files)
                            assert answer.status_code == status, (name, answer.text)
                        assert client.get("/published").json() == {"count": count}
                        assert client.post("/upload", content=b"not a form").status_code in {201, 202}
                finally:
                    app.terminate()
