"""What all commands share: help, exit codes, errors, where the token comes from, and plain output in pipes."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.cli.session import Session, exit_code
from hashhub.cli.terminal import clean, plain
from hashhub.client import Client, ImportPhase, ImportProgress
from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.hashes import parse_pair
from hashhub.store import Store
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items

Run = Callable[..., Result]
Start = Callable[..., Any]

DONE, REFUSED, USAGE, UNAVAILABLE = 0, 1, 2, 3
NOWHERE = "127.0.0.1:1"  # nothing listens on tcpmux
ESCAPE = "\x1b"


def in_a_fresh_interpreter(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield path, command


def test_the_page_of_the_command_line_names_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    named = {word for cell in re.findall(r"`([a-z][^`]*)`", page) for word in cell.split()[:1]}
    assert {path[0] for path, _ in leaves(main)} - named == {"connectors"}  # the same list as `formats`


def test_every_command_of_the_design_is_there() -> None:
    there = {" ".join(path) for path, _ in leaves(main)}
    assert there >= {
        "serve", "import", "findings", "match", "hash", "scan", "changes", "mirror", "status",
        "contributor create", "contributor list", "contributor get", "contributor update",
        "hash-set create", "hash-set list", "hash-set get", "hash-set update",
        "entry get", "entry list", "entry withdraw", "entry release", "entry quarantine",
        "review add", "review list", "connectors list", "policy list", "policy explain",
        "policy show", "policy diff", "policy put", "policy retire", "policy simulate",
        "scheme list", "scheme show", "scheme put", "scheme diff", "scheme sign-off", "scheme retire",
        "reconcile crosswalk",
        "token create", "token list", "token get", "token update", "token rotate", "token delete",
        "group create", "group list", "group get", "group update", "group delete",
        "contributor retire", "contributor accept-objections", "hash-set accept",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "command"), list(leaves(main)), ids=lambda v: "-".join(v) if isinstance(v, tuple) else ""
)
def test_every_command_has_help_json_and_server(path: tuple[str, ...], command: click.Command) -> None:
    options = {name for p in command.params for name in p.opts}
    assert {"--json", "--server"} <= options
    assert command.help
    for p in command.params:
        if isinstance(p, click.Option):
            assert p.help, f"{' '.join(path)} {p.opts[0]} is not explained"
            assert ("--dry-run" in p.opts) is ("--validate-only" in p.opts), "one of its two names is missing"


def test_help_fits_a_hundred_columns() -> None:
    wide = {**main.context_settings, "terminal_width": 100, "max_content_width": 100}
    for path, command in leaves(main):
        with click.Context(command, info_name=" ".join(path), **wide) as context:
            assert [line for line in context.get_help().splitlines() if len(line) > 100] == []


def test_help_needs_the_base_install_only() -> None:
    """The heavy packages, and grpc, are blocked: help must not want them, and must be quick."""
    code = (
        "import sys\n"
        "for name in ('numpy', 'faiss', 'numba', 'sqlalchemy', 'PIL', 'imagehash', 'grpc', 'rich', "
        "'uvicorn'):\n"
        "    sys.modules[name] = None\n"
        "from hashhub.cli import main\n"
        "main(['--help'])"
    )
    done = in_a_fresh_interpreter(code)
    assert done.returncode == DONE, done.stderr
    assert "scan" in done.stdout


def test_ctrl_c_while_the_commands_are_loaded_prints_no_traceback() -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'hashhub.cli.admin':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from hashhub.cli import main\n"
        "main(['--help'])"
    )
    done = in_a_fresh_interpreter(code)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, ""), "a shell makes 130 of it"


def test_serve_is_loaded_without_the_other_commands_and_the_program() -> None:
    """A start waits for what this process imports before it has the program loaded."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules))\n"
        "from hashhub.cli import main\n"
        "main(['serve', '--data', '/dev/null/none', '--workers', '2'])"
    )
    done = in_a_fresh_interpreter(code)
    assert done.returncode == UNAVAILABLE, done.stderr
    modules = set(done.stdout.split())
    assert "hashhub.cli.serve" in modules
    for name in (
        "hashhub.cli.contributors",
        "hashhub.client",
        "hashhub.connector",
        "hashhub.hub",
        "hashhub.trust",
        "rich",
    ):
        assert name not in modules
    for name in ("numpy", "sqlalchemy", "grpc", "numba", "uvicorn", "prometheus_client", "asyncio"):
        assert name not in modules


def test_commands_can_be_interrupted_once_they_are_loaded() -> None:
    # Where the tests run in the background, a shell has them ignore the signal.
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hashhub.cli import main\n"
        "assert main.commands\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    done = in_a_fresh_interpreter(code)
    assert done.returncode == DONE, done.stderr


def test_hashing_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    code = (
        "import sys\n"
        "for name in ('numpy', 'PIL', 'imagehash'):\n"
        "    sys.modules[name] = None\n"
        "from hashhub.cli import main\n"
        f"main(['hash', {str(path)!r}])"
    )
    done = in_a_fresh_interpreter(code)
    assert done.returncode == REFUSED
    assert "hashhub[hashing]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["match"],
        ["match", "--no-such-option"],
        ["match", "--hash", "MD5:" + "00" * 16, "--max-distance", "PDQ"],
        ["match", "--hash", "MD5:" + "00" * 16, "--limit", "0"],
        ["import", "x", "--format", "vics"],
        ["import", "x", "--format", "vics", "--hash-set", "a/b", "--option", "novalue"],
        ["import", "x", "--format", "vics", "--propose-mapping"],
        ["contributor", "create", "x", "--kind", "club", "--jurisdiction", "GB"],
        ["changes", "--from", "1"],
        ["mirror"],
        ["mirror", "x", "--from-now"],
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    done = CliRunner().invoke(main, [*arguments, *(["--server", NOWHERE] if len(arguments) > 1 else [])])
    assert done.exit_code == USAGE, done.output
    assert done.stdout == ""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["contributor", "list"],
        ["match", "--hash", "MD5:" + "00" * 16],
        ["changes"],
        ["changes", "--follow"],
    ],
)
def test_no_hub_ends_with_3_in_one_line_and_a_hint(arguments: list[str]) -> None:
    done = CliRunner().invoke(main, [*arguments, "--server", NOWHERE])
    assert done.exit_code == UNAVAILABLE
    first, hint, *_ = done.stderr.splitlines()
    assert first.startswith("error: the server cannot be reached")
    assert "start the hub (hashhub serve)" in first
    assert hint == "hint: its address is that of --server HOST:PORT, or else of HASHHUB_SERVER"
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("impatient")
def test_a_list_that_found_no_hub_is_not_said_to_have_been_sent(tmp_path: Path) -> None:
    path = tmp_path / "sums.txt"
    path.write_text(f"{'0f' * 16}  a.jpg\n")
    done = CliRunner().invoke(
        main, ["import", str(path), "--format", "hash-lines", "--hash-set", "a/b", "--server", NOWHERE]
    )
    assert done.exit_code == UNAVAILABLE
    assert "nothing was sent this time" in done.stderr
    assert "is kept" not in done.stderr


@pytest.mark.parametrize(
    ("reason", "goes_on"), [(Reason.IMPORT_CLOSED, True), (Reason.LIST_SHRANK, False)], ids=["by another", "refused"]
)
def test_the_same_command_is_said_to_go_on_where_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: Reason, goes_on: bool
) -> None:
    """Another client may have committed the same list meanwhile; a list that became much shorter is refused again."""

    def ended(_: Client, __: object, *, progress: Callable[[ImportProgress], None], **___: object) -> NoReturn:
        progress(ImportProgress(phase=ImportPhase.SENDING, done=0, total=1))
        raise FailedPrecondition("it was not committed", reason=reason)

    monkeypatch.setattr(Client, "import_source", ended)
    path = tmp_path / "sums.txt"
    path.write_text(f"{'0f' * 16}  a.jpg\n")
    done = CliRunner().invoke(
        main, ["import", str(path), "--format", "hash-lines", "--hash-set", "a/b", "--server", NOWHERE]
    )
    assert "what was sent is kept" in done.stderr
    assert ("give the same command again" in done.stderr) is goes_on


def test_a_disk_is_not_told_as_a_hub_that_is_away(tmp_path: Path) -> None:
    Store.open(tmp_path / "data").close()
    done = CliRunner().invoke(main, ["backup", "/dev/null/copy", "--data", str(tmp_path / "data")])
    assert done.exit_code == UNAVAILABLE
    assert "check the path and its permissions" in done.stderr
    assert "hashhub serve" not in done.stderr
    assert "--server" not in done.stderr


def test_a_hub_that_was_reached_is_not_said_to_be_at_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: Client) -> NoReturn:
        raise Unavailable("the hub ended the export before it began; try again")

    monkeypatch.setattr(Client, "status", ended)
    done = CliRunner().invoke(main, ["status", "--server", NOWHERE])
    assert (done.exit_code, len(done.stderr.splitlines())) == (UNAVAILABLE, 1)


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        (["--certificate", "c.pem", "--key", "c.key", "--token-file", "t"], {}),
        (["--token-file", "t"], {"HASHHUB_CERTIFICATE": "c.pem", "HASHHUB_KEY": "c.key"}),
        (["--certificate", "c.pem", "--key", "c.key"], {"HASHHUB_TOKEN_FILE": "t"}),
        (["--certificate", "c.pem"], {}),
    ],
    ids=["options", "certificate by environment", "token by environment", "no key"],
)
def test_who_calls_is_said_once(given: list[str], environment: dict[str, str]) -> None:
    done = CliRunner(env=environment).invoke(main, ["status", "--server", NOWHERE, *given])
    assert done.exit_code == USAGE
    assert "--certificate and --" in done.stderr


def test_the_upload_hook_is_loaded_by_its_own_commands_only() -> None:
    code = (
        "import sys\nfrom hashhub.cli import main\n"
        "assert [name for name in sys.modules if name.startswith('hashhub.hook')] == []\n"
        "assert 'check' in main.commands['hook'].commands"
    )
    done = in_a_fresh_interpreter(code)
    assert done.returncode == DONE, done.stderr


def test_each_part_of_the_upload_hook_can_be_imported_first() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "import hashhub.cli.hook as package\n"
        "for part in pkgutil.iter_modules(package.__path__):\n"
        "    for name in [name for name in sys.modules if name.startswith('hashhub.cli.hook')]:\n"
        "        del sys.modules[name]\n"
        "    importlib.import_module(f'hashhub.cli.hook.{part.name}')\n"
        "    assert 'check' in sys.modules['hashhub.cli.hook'].hook.commands"
    )
    done = in_a_fresh_interpreter(code)
    assert done.returncode == DONE, done.stderr


@pytest.mark.usefixtures("impatient")
def test_verbose_adds_the_causes() -> None:
    done = CliRunner().invoke(main, ["status", "--server", NOWHERE, "--verbose"])
    assert done.exit_code == UNAVAILABLE
    assert "reason: UNAVAILABLE SERVER_UNAVAILABLE" in done.stderr
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgument("x"), REFUSED),
        (Unavailable("x"), UNAVAILABLE),
        (Unavailable("x", reason=Reason.DEADLINE_EXCEEDED), UNAVAILABLE),
        (LimitExceeded("x"), UNAVAILABLE),
        (LimitExceeded("x", reason=Reason.TOO_LARGE), REFUSED),
        (HashHubError("x"), UNAVAILABLE),
    ],
)
def test_exit_codes_tell_a_refusal_from_no_answer(error: HashHubError, code: int) -> None:
    assert exit_code(error) == code


class TestToken:
    """`--token-file`, else HASHHUB_TOKEN_FILE, else HASHHUB_TOKEN, else the hub's own file on this machine."""

    def invoke(self, hub: RunningHub, *more: str, **environment: str) -> Result:
        return CliRunner().invoke(main, ["status", "--server", hub.address, *more], env=environment)

    def test_each_way(self, hub: RunningHub, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong"
        wrong.write_text("hh_wrong\n", "ascii")
        good = str(hub.token_file)
        assert self.invoke(hub, "--token-file", good).exit_code == DONE
        assert self.invoke(hub, HASHHUB_TOKEN_FILE=good).exit_code == DONE
        assert self.invoke(hub, HASHHUB_TOKEN=hub.token).exit_code == DONE
        assert self.invoke(hub, HASHHUB_DATA=str(hub.data)).exit_code == DONE
        assert (
            self.invoke(hub, "--token-file", str(wrong), HASHHUB_TOKEN_FILE=good, HASHHUB_TOKEN=hub.token).exit_code
            == REFUSED
        )
        assert self.invoke(hub, HASHHUB_TOKEN_FILE=str(wrong), HASHHUB_TOKEN=hub.token).exit_code == REFUSED
        done = self.invoke(hub, HASHHUB_TOKEN="hh_wrong", HASHHUB_DATA=str(hub.data))  # noqa: S106 - wrong on purpose
        assert done.exit_code == REFUSED

    def test_none_says_where_one_is(self, hub: RunningHub, tmp_path: Path) -> None:
        done = self.invoke(hub, HASHHUB_DATA=str(tmp_path))
        assert done.exit_code == REFUSED
        assert "operator.token" in done.stderr

    def test_a_file_that_cannot_be_read_is_named(self, hub: RunningHub, tmp_path: Path) -> None:
        done = self.invoke(hub, "--token-file", str(tmp_path / "nothing"))
        assert done.exit_code == REFUSED
        assert done.stderr.startswith(f"error: token-file: '{tmp_path}/nothing' cannot be read: No such file")

    def test_the_operators_token_stays_on_this_machine(self, hub: RunningHub) -> None:
        """The address is this hub's, but by a name that could be anybody's: no token is found for it."""
        elsewhere = "dns:///localhost:" + hub.address.rpartition(":")[2]
        done = CliRunner().invoke(
            main, ["status", "--server", elsewhere, "--no-tls"], env={"HASHHUB_DATA": str(hub.data)}
        )
        assert done.exit_code == REFUSED
        assert done.stderr.splitlines()[1].startswith("hint: give --token-file")

    def test_an_address_of_this_machine_is_not_elsewhere(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The hub listens where it can be reached; on its own machine its operator's token is found all the same, and
        sent encrypted only.
        """
        (tmp_path / "operator.token").write_text("hh_x", "ascii")
        monkeypatch.setenv("HASHHUB_DATA", str(tmp_path))
        found = []
        here, elsewhere = f"{socket.gethostname()}:8470", "192.0.2.1:8470"
        for server, tls in ((here, None), (here, False), (elsewhere, None)):
            asked = Session(server=server, json=False, verbose=False, token_file=None, tls=tls, ca_file=None)
            found.append(asked.secret())
        assert found == ["hh_x", "", ""]


class TestTerminal:
    def test_pipes_get_plain_text(self, start: Start) -> None:
        process = start("contributor", "list")
        out, err = process.communicate(timeout=300)
        assert process.returncode == DONE, err
        assert ESCAPE not in out + err
        assert out.startswith("ID ")

    @pytest.mark.parametrize("no_color", [False, True])
    def test_a_terminal_gets_a_progress_bar_and_no_colour_where_unwanted(
        self, hub: RunningHub, run: Run, hash_set: str, tmp_path: Path, *, no_color: bool
    ) -> None:
        items = random_items(3_000, seed=40 + no_color, values=("1",))
        source = tmp_path / "list.json"
        source.write_bytes(list_file("vics-2.0", items).data)
        importing = ["import", str(source), "--format", "vics", "--hash-set", hash_set]
        shown = on_terminal(hub, importing, no_color=no_color)
        assert "importing" in shown
        assert "accepted" in shown
        matched = on_terminal(hub, ["match", "--hash", f"MD5:{items[0].digest('MD5')}"], no_color=no_color)
        assert "MATCH" in matched
        colours = re.compile(r"\x1b\[[0-9;]*3[0-9]")
        assert bool(colours.search(matched)) is not no_color
        assert not (no_color and colours.search(shown))

    def test_a_reader_that_goes_away_is_no_error(self, start: Start) -> None:
        process = start("scheme", "show", "vic-us")
        process.stdout.close()
        _, err = process.communicate(timeout=300)
        assert "Traceback" not in err

    @pytest.mark.parametrize("wrong", [(), ("--server", "127.0.0.1:9")])
    def test_output_that_cannot_be_written_is_said(self, start: Start, wrong: tuple[str, ...]) -> None:
        """A full disk behind `>` must not look like an answer (0), a match (1) or a mistake of ours (a traceback)."""
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            process = start("scheme", "list", "--json", *wrong, stdout=full)
        _, err = process.communicate(timeout=300)
        assert process.returncode == UNAVAILABLE
        assert err.endswith(
            "error: the output cannot be written: No space left on device; make room and run it again\n"
        )
        assert "Traceback" not in err

    def test_control_sequences_of_others_are_not_obeyed(self) -> None:
        assert (
            clean(f"a{ESCAPE}[2Jb\r\nc\x07\x9b") == "a\N{REPLACEMENT CHARACTER}[2Jb c" + "\N{REPLACEMENT CHARACTER}" * 2
        )

    def test_json_holds_hashes_as_commands_take_them(self) -> None:
        text = "PDQ:" + "0f" * 32
        assert plain({"hashes": (parse_pair(text),)}) == {"hashes": [text]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["contributor", "get", "\udcff"],
        ["hash-set", "list", "\udcff"],
        ["hash-set", "create", "a/b", "--purpose", "csam", "--display-name", "\udcff"],
        ["entry", "list", "a/\udcff"],
        ["entry", "get", "a/b/9999999999999999999999"],
        ["findings", "a/b/\udcff"],
        ["import", os.devnull, "--format", "vics", "--hash-set", "a/\udcff"],
        ["import", os.devnull, "--format", "vics", "--hash-set", "a/b", "--option", "x=\udcff"],
        ["import", os.devnull, "--format", "hash-lines", "--hash-set", "a/b", "--option", "algorithm=\udcff"],
        ["match", "--hash", "MD5:" + "0c" * 16, "--policy", "\udcff"],
        ["match", "--hash", "MD5:" + "0c" * 16, "--max-distance", "PDQ=" + "9" * 30],
        ["review", "add", "a/b/1", "--kind", "confirmed", "--comment", "\udcff"],
        ["token", "delete", "\udcff"],
        ["changes", "--position", "\udcff"],
        ["changes", "--position", "x"],
        ["changes", "--follow", "--position", "x"],
        ["changes", "--position", "x", "--from-now"],
        ["status", "--server", "\udcff:1"],
    ],
    ids=ascii,
)
def test_what_cannot_be_sent_is_refused_in_a_line(run: Run, arguments: list[str]) -> None:
    """A shell passes bytes that are not UTF-8 on as lone surrogates; numbers on the wire have 64 bits."""
    done = run(*arguments)
    assert done.exit_code == REFUSED
    assert done.stderr.startswith("error: ")


def test_serve_refuses_to_expose_tokens(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["serve", "--data", str(tmp_path), "--listen", "0.0.0.0:0"])
    assert done.exit_code == REFUSED
    assert "TLS" in done.stderr or "tls" in done.stderr


def test_a_second_hub_on_the_same_data_is_refused(hub: RunningHub) -> None:
    command = [sys.executable, "-m", "hashhub.cli", "serve", "--data", str(hub.data), "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in {REFUSED, UNAVAILABLE}
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def on_terminal(hub: RunningHub, arguments: list[str], *, no_color: bool) -> str:
    """Run a command on a pseudo-terminal and return everything it wrote."""
    ours, theirs = pty.openpty()
    environment = {
        **{k: v for k, v in os.environ.items() if k != "NO_COLOR"},
        "HASHHUB_SERVER": hub.address,
        "HASHHUB_TOKEN_FILE": str(hub.token_file),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        **({"NO_COLOR": "1"} if no_color else {}),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "hashhub.cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        output = bytearray()
        end = time.monotonic() + 180
        while time.monotonic() < end:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            output += piece
        os.close(ours)
        assert process.wait(timeout=300) == DONE, output.decode("utf-8", "replace")
    return output.decode("utf-8", "replace")
