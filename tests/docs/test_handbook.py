"""The pages of the handbook, followed literally: each block of commands is run in order, each program that a page says
to save is saved and run, and what a page says is printed is printed.

A block without a language is one of commands for `bash`; one whose first line names a file (```python match.py) is that
file; `text` has lines of what the commands before it print. What cannot be run is named in NOT_RUN, with the reason.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from hashhub import config
from hashhub.testing.hub_process import running_hub
from tests.conftest import postgresql_programs
from tests.server.issuer import issuing

if TYPE_CHECKING:
    from tests.conftest import PostgreSQL

ROOT = Path(__file__).parents[2]
HANDBOOK = (
    "operate/install",
    "operate/README",
    "operate/national-hub",  # test_national_hub_page.py
    "operate/certificates",
    "operate/people",
    "operate/console",
    "operate/identity",
    "contribute/README",
    "contribute/signed",
    "match/README",
    "match/live",
    "match/video",
    "match/hma",  # test_hma_page.py
)
ELSEWHERE = {
    "README.md",
    "docs/api.md",
    "docs/contribute/analyst.md",
    "docs/contribute/csv.md",
    "docs/contribute/entries.md",
    "docs/contribute/export.md",
    "docs/contribute/formats.md",
    "docs/contribute/webhooks.md",
    "docs/hook/README.md",
    "docs/match/mirror.md",
    "docs/match/feeds.md",
    "docs/match/misp.md",
    "docs/operate/history.md",
    "docs/operate/retention.md",
    "docs/policies.md",
    "docs/reconcile/README.md",
    "docs/reconcile/conflicts.md",
    "docs/reconcile/schemes.md",
    "docs/terms.md",
}
ON_ITS_OWN = {"reconcile/three-nations": "test_three_nations.py", "hook/clamd": "test_hook_clamd.py"}
# Pages that need more than a hub: tests/hook, tests/desk or tests/peers has the test.
OF_THE_HOOK = {
    "hook/bucket": "test_buckets_page.py",
    "hook/cases": "../desk/test_case_pages.py",
    "hook/incident": "../desk/test_incident_page.py",
    "hook/local": "test_local_page.py",
    "hook/python": "../docs/test_hook_python.py",
    "hook/queue": "../desk/test_queue_pages.py",
    "operate/peers": "../peers/test_peers_page.py",
    "operate/ring": "../peers/test_ring_page.py",
    "hook/reports": "../desk/test_case_pages.py",
    "hook/sidecar": "test_sidecar_page.py",
    "hook/vault": "../desk/test_queue_pages.py",
    "contribute/sources": "../sources/test_sources_page.py",
}

# By page and first line of the block: why no test runs it, and what stands in.
NOT_RUN = {
    ("operate/install", "make venv"): "built the environment that runs this test",
    ("operate/install", "/opt/hashhub/bin/pip install --require-hashes -r docker/requirements.lock"): (
        "fetches 400 MB; `make venv` runs the same, and the test lends the environment its packages"
    ),
    ("operate/install", "python3 -m venv client"): "fetches packages from an index",
    (
        "operate/install",
        "useradd --system --home-dir /var/lib/hashhub --shell /usr/sbin/nologin hashhub",
    ): "changes the machine",
    ("operate/install", "systemctl daemon-reload"): "needs systemd; the unit itself is checked below",
    (
        "operate/install",
        "docker build -f docker/Dockerfile -t hashhub .",
    ): "needs Docker; the files are checked elsewhere",
    **{
        (page, "hashhub serve --config hub.toml"): "goes on until it is stopped; the test runs it so"
        for page in ("operate/certificates", "operate/people", "operate/identity", "match/hma")
    },
    (
        "operate/national-hub",
        "id hashhub || useradd --system --no-create-home --shell /usr/sbin/nologin hashhub",
    ): "changes the machine, and needs systemd; the test runs the hub with the settings that were made",
    ("operate/README", "chown root:hashhub /etc/hashhub/server.key"): "changes owners on the machine",
    ("operate/README", "systemctl enable --now hashhub"): "needs systemd; the test runs the unit's ExecStart",
    (
        "operate/README",
        "systemctl start hashhub",
    ): "needs systemd; the test runs the unit's ExecStart on the new directory",
}
NEEDS = {"go": "go run ", "node": "node ", "openssl": "openssl "}


class Block(NamedTuple):
    """A fenced block of a page: its language, the file that it is, and its text."""

    language: str
    file: str
    text: str

    @property
    def first(self) -> str:
        return self.text.splitlines()[0]


def blocks(page: str) -> list[Block]:
    return blocks_in((ROOT / f"docs/{page}.md").read_text("utf-8"))


def blocks_in(text: str) -> list[Block]:
    fenced = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(*one) for one in fenced]


class Reader:
    """Somebody who follows a page in a directory: saves its files and types its commands."""

    def __init__(self, page: str, directory: Path, replaced: dict[str, str], **environment: str) -> None:
        self.page = page
        self.directory = directory
        self.replaced = replaced
        own, path = str(Path(sys.executable).parent), os.environ["PATH"]
        if own not in path.split(os.pathsep):  # with `warm` it comes behind the program that is loaded
            path = f"{own}{os.pathsep}{path}"
        self.environment = {
            **os.environ,
            "PATH": f"{postgresql_programs()}{os.pathsep}{path}",
            **environment,
        }
        self.remembered: list[str] = []  # of the shell: variables and functions
        self.printed: list[str] | None = []  # None: of a program that this machine does not have
        self.ran = 0

    def here(self, text: str) -> str:
        """Put this machine's places and ports where the page has its own."""
        for theirs, ours in self.replaced.items():
            text = text.replace(theirs, ours)
        return text

    def follow(self, given: list[Block]) -> None:
        for block in given:
            if block.language == "text":
                self.check(block)
            elif block.file:
                path = self.directory / self.here(block.file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.here(block.text), "utf-8")
            elif not block.language and (self.page, block.first) not in NOT_RUN:
                self.run(block.text)

    def run(self, text: str) -> None:
        for program, begins in NEEDS.items():
            if text.startswith(begins) and not shutil.which(program):
                self.printed = None
                return
        if text.startswith("hashhub scan") and "--out" in text:
            time.sleep(2.1)  # nobody reads on as fast: what is younger is hashed again, as the page says
        wanted = {int(n) for n in re.findall(r"# ends with ([0-9])$", text, re.MULTILINE)}
        script = "\n".join(["set -eo pipefail", *self.remembered, self.here(text)])
        if wanted:  # the one command that is meant to fail is the block's last
            assert len(wanted) == 1
            assert "# ends with" in text.strip().splitlines()[-1]
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
            stdin=subprocess.DEVNULL,
        )
        told = f"{self.here(text)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == (wanted.pop() if wanted else 0), told
        assert "Traceback" not in done.stderr, told
        self.printed = done.stdout.splitlines()
        self.ran += 1
        for line in self.here(text).splitlines():
            if re.match(r"export \w+=|\w+\(\) \{", line):
                self.remembered.append(line)

    def check(self, block: Block) -> None:
        """Each line of the block is the beginning of one that was printed; columns may have other widths."""
        if self.printed is None:
            return
        printed = [" ".join(line.split()) for line in self.printed]
        for line in block.text.splitlines():
            wanted = " ".join(line.split())
            assert any(one.startswith(wanted) for one in printed), (
                f"{wanted!r} is not printed by the commands before it, but\n" + "\n".join(printed)
            )


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("page", "least"),
    [("contribute/README", 11), ("contribute/signed", 8), ("match/README", 6), ("match/live", 3), ("match/video", 5)],
)
def test_the_page_works_as_written(page: str, least: int, tmp_path: Path) -> None:
    with running_hub(tmp_path / "hashhub-data") as hub:
        http = f"http://{hub.http}"
        places = {"http://127.0.0.1:8471": http}
        reader = Reader(page, tmp_path, places, HASHHUB_SERVER=hub.address, HASHHUB_HTTP=http)
        reader.follow(blocks(page))
    assert reader.ran >= least


def exec_start() -> list[str]:
    unit = next(b for b in blocks("operate/install") if b.file.endswith(".service"))
    return shlex.split(re.search(r"^ExecStart=(.*)$", unit.text, re.MULTILINE)[1])  # type: ignore[index] # it is there


@contextlib.contextmanager
def started(reader: Reader, config: Path) -> Iterator[None]:
    """The service: what the unit's ExecStart runs, with these settings."""
    command = exec_start()
    assert command[0].endswith("/bin/hashhub")
    command[0] = str(Path(sys.executable).with_name("hashhub"))
    command[command.index("--config") + 1] = str(config)
    with (
        (reader.directory / "hub.log").open("ab") as log,
        subprocess.Popen(
            [*command, "--json"], stdout=subprocess.PIPE, stderr=log, env=reader.environment, cwd=reader.directory
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (reader.directory / "hub.log").read_text()
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(180)
            process.kill()


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_the_first_hour_and_the_drill_are_as_written(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """From an empty machine with PostgreSQL and TLS to three organisations with terms; then the machine is lost."""
    sockets = str(postgresql.socket_directory)
    with postgresql.connect() as c:
        for name in ("hashhub", "hashhub_new"):
            c.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        c.execute(b"DROP ROLE IF EXISTS hashhub")
    places = {
        "/etc/hashhub": str(tmp_path / "etc"),
        "/var/lib/hashhub": str(tmp_path / "lib"),
        "/var/run/postgresql": sockets,
        "8470": str(free_port()),
        "8471": str(free_port()),
        "0.0.0.0:": "127.0.0.1:",
    }
    (tmp_path / "etc").mkdir()
    reader = Reader("operate/README", tmp_path, places, PGHOST=sockets, PGUSER="postgres")
    page = blocks("operate/README")
    starts = [i for i, b in enumerate(page) if b.first.startswith("systemctl ")]
    assert len(starts) == 2
    # What stands behind the drill on the page (monitoring, a stolen token) is of the first hub.
    drill_ends = next(i for i in range(starts[1] + 1, len(page)) if "doctor" in page[i].text) + 1
    reader.follow(page[: starts[0]])
    config = tmp_path / "etc/hashhub.toml"
    assert tomllib.loads(config.read_text())["workers"] == 2
    with started(reader, config):
        reader.follow(page[starts[0] : starts[1]])
        hub = list(reader.remembered)
        reader.follow(page[drill_ends:])
    token = (tmp_path / "lib/data/operator.token").read_text()
    shutil.rmtree(tmp_path / "lib/data")
    with postgresql.connect() as c:
        c.execute(b"DROP DATABASE hashhub")

    assert token not in (tmp_path / "backup-1/settings.toml").read_text()
    settings = tomllib.loads(config.read_text())
    assert settings["data"] == str(tmp_path / "lib/new")
    assert "/hashhub_new?" in settings["database"]
    reader.remembered = hub
    with started(reader, config):
        reader.follow(page[starts[1] : starts[1] + 1])
        reader.run('hub entry get hotline-nl/known/1 --json | grep \'"state": *"WITHDRAWN"\'')
        reader.follow(page[starts[1] + 1 : drill_ends])
        assert reader.printed
        assert any("history is whole" in line for line in reader.printed)
    assert reader.ran >= 18


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_certificates_from_zero_are_as_written(tmp_path: Path) -> None:
    places = {port: str(free_port()) for port in ("8470", "8471", "8472")}
    reader, page = Reader("operate/certificates", tmp_path, places), blocks("operate/certificates")
    start = next(i for i, b in enumerate(page) if b.first.startswith("hashhub serve "))
    reader.follow(page[:start])
    with started(reader, tmp_path / "hub.toml"):
        reader.follow(page[start:])
    assert reader.ran == 8


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_people_log_in_as_written(tmp_path: Path) -> None:
    with issuing() as issuer:
        places = {"8470": str(free_port()), "8471": str(free_port()), "https://id.example.org": issuer.url}
        reader = Reader("operate/people", tmp_path, places, XDG_CONFIG_HOME=str(tmp_path / "config"))
        reader.follow(blocks("operate/people")[:1])
        issuer.device.append({"id_token": issuer.token(groups=["hotline-nl"])})
        with started(reader, tmp_path / "hub.toml"):
            reader.follow(blocks("operate/people")[1:])
    assert reader.ran == 3


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(280)
def test_a_pilot_with_two_operators_goes_as_written(tmp_path: Path) -> None:
    with issuing() as issuer:
        places = {port: str(free_port()) for port in ("8470", "8471", "8472")} | {"https://id.example.org": issuer.url}
        reader, page = Reader("operate/identity", tmp_path, places), blocks("operate/identity")
        for name, sub in (("Ada", "a1"), ("Grace", "g1")):
            token = issuer.token(sub=sub, preferred_username=name, groups=["hashhub-operators"])
            issuer.device.append({"id_token": token})
        start = next(i for i, b in enumerate(page) if b.first.startswith("hashhub serve "))
        reader.follow(page[:start])
        with started(reader, tmp_path / "hub.toml"):
            reader.follow(page[start:])
    assert reader.ran == 11


@pytest.mark.usefixtures("warm")
def test_the_page_of_the_console_is_as_written(tmp_path: Path) -> None:
    page = blocks("operate/console")
    assert page[0].text == "hashhub serve --data hashhub-data --console 127.0.0.1:8472\n"
    with running_hub(tmp_path / "hashhub-data", "--console", "127.0.0.1:0") as hub:
        reader = Reader("operate/console", tmp_path, {}, HASHHUB_SERVER=hub.address)
        reader.follow(page[1:2])
    assert reader.ran == 1
    config.load(None, {}, **tomllib.loads(page[2].text))


def test_every_extra_is_explained() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs/operate/install.md").read_text("utf-8")
    rows = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([\w-]+)`", rows)) == set(extras)


def test_the_service_is_started_once_it_has_settings() -> None:
    """By the page that writes them: install.md ends before."""
    assert not any("systemctl enable" in b.text or "systemctl start" in b.text for b in blocks("operate/install"))
    commands = [b.text for b in blocks("operate/README")]
    settings = next(i for i, b in enumerate(blocks("operate/README")) if b.file == "/etc/hashhub/hashhub.toml")
    assert settings < commands.index("systemctl enable --now hashhub\n")


def test_programs_are_on_the_path_before_they_are_typed() -> None:
    """The package stands in an environment of its own, which is on nobody's path."""
    page = "".join(b.text for b in blocks("operate/README"))
    before, _, _ = page.partition("\nhashhub ")
    assert "export PATH=/opt/hashhub/bin:$PATH\n" in before


def test_the_wheel_installs_as_written(tmp_path: Path) -> None:
    """The dependencies are those of this environment: fetching them is what `make venv` does."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("hashhub", "connectors", "pyproject.toml", "README.md", "LICENSE", "docker"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    reader = Reader(
        "operate/install", source, {"/opt/hashhub": str(tmp_path / "opt"), "/etc/systemd": str(tmp_path / "etc")}
    )
    page = blocks("operate/install")
    made = next(i for i, b in enumerate(page) if b.first == "python3 -m venv /opt/hashhub") + 1
    reader.follow(page[:made])
    wheel = next((source / "dist").glob("hashhub-*.whl"))
    site = next((tmp_path / "opt/lib").glob("python*/site-packages"))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    reader.follow(page[made:])
    assert reader.ran == 3
    assert any(line.startswith("vics") for line in reader.printed or ())
    assert (site / "hashhub/cli/history.py").exists(), wheel


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = next(b for b in blocks("operate/install") if b.file.endswith(".service"))
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign] # the documented way to let case be
    parsed.read_string(unit.text)
    service = dict(parsed["Service"])
    assert exec_start()[1] == "serve"
    assert "MemoryDenyWriteExecute" not in service  # the matcher compiles
    assert "/opt/hashhub/" not in unit.text.replace("/opt/hashhub/bin/", ""), "a wheel brings programs, no pages"
    assert service["User"] == "hashhub"
    if not shutil.which("systemd-analyze"):
        return
    path = tmp_path / "hashhub.service"
    path.write_text(unit.text.replace("/opt/hashhub/bin/hashhub", str(Path(sys.executable).with_name("hashhub"))))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "Unknown key" not in done.stderr, done.stderr
    assert "Failed to parse" not in done.stderr, done.stderr


# The pages themselves


def test_every_command_on_a_page_is_run_or_it_is_said_why_not() -> None:
    shown = {(page, b.first) for page in HANDBOOK for b in blocks(page) if not b.language}
    assert set(NOT_RUN) <= shown, "a block that is not on its page any more"
    assert len(shown - set(NOT_RUN)) > 30
    for page in HANDBOOK:
        for block in blocks(page):
            assert block.language in {"", "text", "python", "js", "go", "toml", "ini", "csv"}, f"{page}: {block.first}"
            assert not block.language or block.language == "text" or block.file, f"{page}: {block.first} is no file"


def test_no_command_fetches_a_package_of_our_name() -> None:
    """On an index it would be somebody else's."""
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for line in path.read_text("utf-8").splitlines():
            if re.search(r"\b(?:pip|uv|pipx|poetry)\b.*\b(?:install|add|run)\b", line):
                told = "A message such as" in line or line.startswith(
                    "*pip install"
                )  # the words of an error, explained
                assert told or not re.search(r"""(?:^|[\s'"])hashhub(?:[\s\['"=<>~]|$)""", line), f"{path.name}: {line}"


def test_a_page_that_needs_an_empty_hub_says_where_to_get_one() -> None:
    """Pages share names: on one hub after another page, a page stops."""
    for page in sorted({f"docs/{name}.md" for name in {*HANDBOOK, "reconcile/three-nations"}} | ELSEWHERE):
        if page in {"README.md", "docs/hook/README.md", "docs/operate/install.md", "docs/operate/README.md"}:
            continue  # these start a hub themselves
        if page in {
            f"docs/operate/{name}.md" for name in ("certificates", "people", "console", "identity", "national-hub")
        }:
            continue  # likewise
        up = "../" * (page.count("/") - 1)
        assert f"]({up}README.md#a-hub-to-try-it-on)" in (ROOT / page).read_text("utf-8"), page


def test_the_contents_page_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)", (ROOT / "docs/README.md").read_text("utf-8")))
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert {p for p in pages if p.partition("/")[0] not in {"decisions", "README.md"}} <= linked


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", h)).strip().lower().replace(" ", "-") for h in headings]
    return {p if n == 0 else f"{p}-{n}" for i, p in enumerate(plain) for n in [plain[:i].count(p)]}


def test_links_to_headings_lead_to_headings() -> None:
    checked = 0
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docker").glob("*.md")]:
        text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
            page = (path.parent / target) if target else path
            if page.suffix == ".md":
                assert anchor in anchors(page), f"{path.relative_to(ROOT)} links to {target}#{anchor}"
                checked += 1
    assert checked > 10


def test_pages_elsewhere_have_a_test_that_runs_them() -> None:
    runner = (ROOT / "tests/docs/test_readme.py").read_text("utf-8")
    for page in ELSEWHERE:
        assert f'("{page}",' in runner, page
    for page, test in ON_ITS_OWN.items():
        own = (ROOT / "tests/docs" / test).read_text("utf-8")
        assert f'reader.follow(blocks("{page}"))' in own, page
    for name, test in OF_THE_HOOK.items():
        assert f"docs/{name}.md" in (ROOT / "tests/hook" / test).read_text("utf-8"), name
    run = {*ELSEWHERE, *(f"docs/{page}.md" for page in (*HANDBOOK, *ON_ITS_OWN, *OF_THE_HOOK))}
    for path in (ROOT / "docs").rglob("*.md"):
        page = path.relative_to(ROOT / "docs").with_suffix("").as_posix()
        shown = any(not b.language and b.text.startswith("hashhub ") for b in blocks(page))
        assert f"docs/{page}.md" in run or not shown, f"no test runs the commands of docs/{page}.md"
