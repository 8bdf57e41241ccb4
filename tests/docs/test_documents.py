"""What the documents say is true: settings, layers, containers, decisions."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Group

from hashhub.cli import main as command_line
from hashhub.config import Config
from hashhub.hub.contribute import Contribute
from hashhub.hub.match import Match

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/operate/config.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(Config.__struct_fields__)


def test_the_files_that_the_architecture_names_are_there() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    for name in re.findall(r"`([a-z_]+/[\w/]+\.(?:py|md|toml))`", page):
        assert any((ROOT / base / name).exists() for base in ("", "hashhub", "connectors")), name


@pytest.mark.parametrize(("path", "function"), [("Contribute", Contribute.commit), ("Match", Match.hashes)])
def test_the_main_paths_have_the_steps_that_the_page_tells(path: str, function: Callable[..., Any]) -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    section = page.split(f"\n**{path}** (")[1].split("\n**")[0]
    told = [int(n) for n in re.findall(r"^([0-9])\. ", section, re.MULTILINE)]
    steps = [int(n) for n in re.findall(r"\(([0-9])\)", (function.__doc__ or "").split("\n\n        Raises")[0])]
    assert told == sorted(set(steps)) == list(range(1, len(told) + 1))


@pytest.mark.parametrize(
    "page", [*sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("*.md")), "docs", "docker", "bench"]
)
def test_links_lead_somewhere(page: str) -> None:
    pages = [ROOT / page] if page.endswith(".md") else sorted((ROOT / page).rglob("*.md"))
    for one in pages:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", one.read_text("utf-8")):
            assert (one.parent / target).exists(), f"{one.relative_to(ROOT)} links to {target}"


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_index_of_decisions_has_each() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text("utf-8")
    for page in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        number = page.read_text("utf-8").splitlines()[0].removeprefix("# ").partition(". ")[0]
        assert re.search(rf"^\| {number} \| \[.+\]\({page.name}\) \|", index, re.MULTILINE), page.name


def test_the_lock_names_no_index_and_checks_hashes() -> None:
    for lock in ROOT.glob("**/requirements.lock"):
        text = lock.read_text("utf-8")
        assert "://" not in text
        assert len(re.findall(r"^\S+==", text, re.MULTILINE)) <= text.count("--hash=sha256:")


def test_the_make_targets_explain_themselves() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    for target in {*phony[1].split(), "venv", "demo", "serve", "test", "check", "bench", "protos"}:
        assert re.search(rf"^{target}:.*## \S", text, re.MULTILINE), f"make {target} does not explain itself"


class TestContainers:
    """No Docker engine is needed: every path and command that the files name must exist."""

    dockerfile = (ROOT / "docker/Dockerfile").read_text("utf-8").replace("\\\n", " ")

    def test_every_copied_path_exists_and_is_let_through(self) -> None:
        let_through = (ROOT / ".dockerignore").read_text("utf-8").split()
        for line in re.findall(r"^COPY (?!--from)(.+)$", self.dockerfile, re.MULTILINE):
            *sources, _ = shlex.split(line)
            for source in sources:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in let_through, f"{source} is hidden by .dockerignore"

    def test_the_runtime_user_is_not_root_and_health_is_checked(self) -> None:
        final = self.dockerfile.rsplit("FROM ", 1)[1]
        assert re.search(r"^USER (?!root)\w+$", final, re.MULTILINE)
        assert "HEALTHCHECK" in final
        assert "/healthz" in final

    def test_entry_point_and_command_exist(self) -> None:
        entry = re.search(r'^ENTRYPOINT \["(\w+)"\]$', self.dockerfile, re.MULTILINE)
        command = re.search(r'^CMD \["(\w+)"\]$', self.dockerfile, re.MULTILINE)
        assert entry
        assert command
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
        assert entry[1] in scripts
        assert isinstance(command_line, Group)
        assert command_line.get_command(None, command[1]) is not None  # type: ignore[arg-type]

    def test_the_dependencies_of_the_image_are_those_of_the_suite(self) -> None:
        def versions(file: str) -> dict[str, str]:
            return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / file).read_text("utf-8"), re.MULTILINE))

        image, suite = versions("docker/requirements.lock"), versions("requirements.lock")
        assert {n: v for n, v in image.items() if suite.get(n) != v} == {}
        assert {"grpcio", "faiss-cpu", "numba", "psycopg", "pillow"} <= set(image)

    def test_compose_names_what_exists(self) -> None:
        compose: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text("utf-8"))
        hub = compose["services"]["hub"]
        assert (ROOT / "docker" / hub["build"]["context"] / hub["build"]["dockerfile"]).exists()
        for name in hub["environment"]:
            assert name.removeprefix("HASHHUB_").lower() in Config.__struct_fields__, f"{name} is no setting"
        for service in compose["services"].values():
            assert set(service["secrets"]) <= set(compose["secrets"])
            for volume in service["volumes"]:
                assert volume.split(":")[0] in compose["volumes"]
            assert "PASSWORD" not in " ".join(k for k in service["environment"] if not k.endswith("_FILE"))
            for port in service.get("ports", ()):
                assert port.startswith("127.0.0.1:")
        secret = (ROOT / "docker" / compose["secrets"]["database_password"]["file"]).relative_to(ROOT).as_posix()
        assert secret in (ROOT / ".gitignore").read_text("utf-8").split()

    def test_environment_names_in_the_dockerfile_are_settings(self) -> None:
        for name in re.findall(r"HASHHUB_(\w+)=", self.dockerfile):
            assert name.lower() in {*Config.__struct_fields__, "kernel_cache"}


class TestLightness:
    """The base install is light: what a client or a hook does not need is not loaded."""

    heavy = ("faiss", "numpy", "numba", "sqlalchemy", "alembic", "PIL", "uvicorn", "psycopg")

    @pytest.mark.parametrize(
        "code",
        [
            "import hashhub",
            "import hashhub.client",
            "import hashhub.connector; hashhub.connector.discover()",
            "from hashhub.cli import main; main(['--help'], standalone_mode=False)",
            "from hashhub.cli import main; main(['import', '--help'], standalone_mode=False)",
        ],
    )
    def test_nothing_heavy_is_loaded(self, code: str) -> None:
        check = f"{code}\nimport sys\nsys.exit(', '.join(m for m in {self.heavy!r} if m in sys.modules) or None)"
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
