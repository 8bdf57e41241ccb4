"""Whatever stands where a command is to write: nothing but a regular file is replaced, and devices are written to."""

from __future__ import annotations

import ast
import os
import re
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

import hashhub
from hashhub.cli import main
from hashhub.desk.vault_keys import make_key
from hashhub.errors import AlreadyExists, HashHubError, InvalidArgument
from hashhub.hook.places import FolderPlace
from hashhub.local_files import put, text_written, whole_file, written
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items
from tests.warm import Warm

REFUSED: Final = ("directory", "socket", "dangling link", "link to a directory")
STREAMED: Final = ("pipe", "link to a pipe", "device")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def write(path: Path, content: bytes, *, replace: bool, then: Callable[[], object] = lambda: None) -> None:
    with written(path, replace=replace) as stream:
        stream.write(content)
        then()


def fail() -> None:
    raise ZeroDivisionError


@contextmanager
def standing(path: Path, kind: str) -> Iterator[None]:
    """Have something of a kind at the path; nothing else is there afterwards."""
    other = path.with_name(f"other of {path.name}")
    match kind:
        case "directory":
            path.mkdir()
        case "link to a directory":
            other.mkdir()
            path.symlink_to(other)
        case "dangling link":
            path.symlink_to(other)
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(other)
            path.symlink_to(other)
        case "device":
            try:
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # it takes all, and gives nothing
            except PermissionError:
                pytest.skip("only root makes devices")
    before = path.lstat() if kind != "socket" else None
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "socket":
            listener.bind(str(path))
            before = path.lstat()
        yield
        after = path.lstat()
        assert before is not None
        assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    assert not other.exists() or other.is_dir() or stat.S_ISFIFO(other.stat().st_mode)
    assert not [name for name in names(path.parent) if name.endswith(".part")]


@contextmanager
def read_along(path: Path) -> Iterator[list[bytes]]:
    """Read from a pipe what is written to it meanwhile."""
    received: list[bytes] = []
    if not stat.S_ISFIFO(path.stat().st_mode):
        yield received
        return

    def read() -> None:
        with path.open("rb") as pipe:
            received.append(pipe.read())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield received
    with suppress(OSError):  # where nobody wrote
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    thread.join(60)
    assert not thread.is_alive()


class TestMechanism:
    @pytest.mark.parametrize("kind", REFUSED)
    @pytest.mark.parametrize("replace", [False, True])
    def test_what_cannot_be_written_to_is_refused(self, tmp_path: Path, kind: str, *, replace: bool) -> None:
        path = tmp_path / "out"
        with standing(path, kind), pytest.raises(InvalidArgument, match="name a file, a device or a pipe"):
            write(path, b"", replace=replace, then=fail)

    @pytest.mark.parametrize("kind", STREAMED)
    @pytest.mark.parametrize("replace", [False, True])
    def test_a_device_is_written_to(self, tmp_path: Path, kind: str, *, replace: bool) -> None:
        path = tmp_path / "out"
        with standing(path, kind), read_along(path) as received:
            write(path, b"some", replace=replace)
        assert b"".join(received) in {b"some", b""}
        assert bool(received) is (kind != "device")

    def test_what_is_held_back_is_streamed_once_all_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        with (
            standing(path, "pipe"),
            read_along(path) as received,
            whole_file(path, replace=False, held=True) as (stream, _),
        ):
            stream.write(b"not this")
        assert received == [b""]

    def test_a_regular_file_is_replaced_where_that_was_said(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        with written(path) as stream:
            stream.write(b"first")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(AlreadyExists, match="name a new file"), written(path):
            raise AssertionError
        with pytest.raises(ZeroDivisionError):
            write(path, b"not this", replace=True, then=fail)
        assert path.read_bytes() == b"first"
        with text_written(path) as text:
            text.write("zweité\n")
        assert path.read_text("utf-8") == "zweité\n"
        assert names(tmp_path) == ["out"]

    def test_a_link_to_a_file_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"first")
        (tmp_path / "link").symlink_to("file")
        with pytest.raises(AlreadyExists), written(tmp_path / "link"):
            raise AssertionError
        with written(tmp_path / "link", replace=True) as stream:
            stream.write(b"second")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == b"second"

    @pytest.mark.parametrize("replace", [False, True])
    def test_what_comes_meanwhile_is_not_replaced(self, tmp_path: Path, *, replace: bool) -> None:
        path = tmp_path / "out"
        with pytest.raises((AlreadyExists, InvalidArgument)):
            write(path, b"not this", replace=replace, then=lambda: os.mkfifo(path))
        assert stat.S_ISFIFO(path.lstat().st_mode)
        assert names(tmp_path) == ["out"]

    @pytest.mark.parametrize("replace", [False, True])
    def test_without_nameless_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replace: bool) -> None:
        monkeypatch.delattr(os, "O_TMPFILE")
        path = tmp_path / "out"
        with written(path, replace=replace) as stream:
            stream.write(b"some")
        assert path.read_bytes() == b"some"
        assert names(tmp_path) == ["out"]

    def test_a_finished_file_is_put_over_files_alone(self, tmp_path: Path) -> None:
        part, path = tmp_path / "part", tmp_path / "out"
        part.write_bytes(b"some")
        os.mkfifo(path)
        with pytest.raises(InvalidArgument, match="is not replaced"):
            put(part, path)
        path.unlink()
        put(part, path)
        assert path.read_bytes() == b"some"


_FREE: Final = frozenset(  # what these rename or write are files of their own, in directories of their own
    f"{name}.py"
    for name in (
        *(
            "local_files",
            "places",
            "vault",
            "snapshot",
            "reconcile/work",
            "child",
            "child_job",
            "housekeeping",
            "backup",
            "installation",
        ),
        *("hub/__init__", "extract", "examiner", "database_copy", "trial", "kernel_cache"),
    )
)


_WRITING: Final = re.compile(rb"\.(replace|rename|write_text|write_bytes)\(")


def test_nothing_else_renames_or_writes_by_name() -> None:
    found = []
    for path in Path(hashhub.__file__).parent.rglob("*.py"):
        if {path.name, f"{path.parent.name}/{path.name}"} & _FREE or "v1" in path.parts or "testing" in path.parts:
            continue
        source = path.read_bytes()
        for node in ast.walk(ast.parse(source)) if _WRITING.search(source) else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = node.func.attr
                is_renaming = name in {"replace", "rename"} and len(node.args) == 1 and not node.keywords
                if is_renaming or name in {"write_text", "write_bytes"}:
                    found.append(f"{path}:{node.lineno}")
    assert found == []


@pytest.fixture(scope="module")
def hub(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with warmed.hub(tmp_path_factory.mktemp("hub")) as running:
        made = _run(running, "contributor", "create", "nl", "--kind", "hotline", "--jurisdiction", "NL")
        assert made.exit_code == 0, made.stderr
        made = _run(running, "hash-set", "create", "nl/known", "--purpose", "csam", "--scheme", "vic-us")
        assert made.exit_code == 0, made.stderr
        terms = _run(running, "hash-set", "update", "nl/known", "--tlp", "clear", "--bulk")
        assert terms.exit_code == 0, terms.stderr
        path = tmp_path_factory.mktemp("lists") / "in.json"
        path.write_bytes(list_file("vics-2.0", random_items(5, seed=1, values=("0", "1"))).data)
        done = _run(running, "import", str(path), "--format", "vics", "--hash-set", "nl/known")
        assert done.exit_code == 0, done.stderr
        yield running


def _run(hub: RunningHub, *arguments: str) -> Result:
    environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}
    return CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)


EXPORT: Final = ("export", "--format", "vics", "--hash-set", "nl/known", "--out")
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "export": EXPORT,
    "export --force": (*EXPORT[:-1], "--force", "--out"),
    "export --strict": (*EXPORT[:-1], "--strict", "--force", "--out"),
    "export --losses": (*EXPORT, "{beside}", "--losses"),
    "findings": ("findings", "nl/known/latest", "--csv", "--out"),
    "token": ("token", "create", "new-{number}", "--contributor", "nl", "--role", "consumer", "--out"),
    "crosswalk": ("reconcile", "crosswalk", "vic-us", "copine", "--svg"),
    "hook init": (
        *("hook", "init", "--policy", "block", "--hub-away", "hold", "--unreadable", "hold", "--too-large", "hold"),
        *("--no-perceptual-hash", "allow", "--out"),
    ),
    "vault key": ("hook", "vault", "key", "--out"),
    "people": ("hook", "queue", "people", "add", "ann-{number}", "--settings", "{settings}", "--out"),
}


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[[str, Path], list[str]]:
    place = tmp_path / "hook"
    settings = tmp_path / "hook.toml"
    settings.write_text(
        f'policy = "block"\ndata = "{place}"\n[without_answer]\nhub_away = "hold"\nunreadable = "hold"\n'
        'too_large = "hold"\nno_perceptual_hash = "allow"\n'
    )

    def filled(command: str, out: Path) -> list[str]:
        values = {"beside": tmp_path / "beside", "settings": settings, "number": os.urandom(4).hex()}
        return [*(one.format(**values) for one in COMMANDS[command]), str(out)]

    return filled


class TestCommands:
    @pytest.mark.parametrize("kind", REFUSED)
    @pytest.mark.parametrize("command", COMMANDS)
    def test_refuse_what_cannot_be_written_to(
        self, hub: RunningHub, arguments: Callable[[str, Path], list[str]], tmp_path: Path, command: str, kind: str
    ) -> None:
        path = tmp_path / "there" / "out"
        path.parent.mkdir()
        with standing(path, kind):
            done = _run(hub, *arguments(command, path))
        assert done.exit_code == 1
        assert "name a file, a device or a pipe" in done.stderr

    @pytest.mark.parametrize("kind", STREAMED)
    @pytest.mark.parametrize("command", COMMANDS)
    def test_write_to_devices(
        self, hub: RunningHub, arguments: Callable[[str, Path], list[str]], tmp_path: Path, command: str, kind: str
    ) -> None:
        path = tmp_path / "there" / "out"
        path.parent.mkdir()
        with standing(path, kind), read_along(path) as received:
            done = _run(hub, *arguments(command, path))
        assert done.exit_code == 0, done.stderr
        assert kind == "device" or received[0]

    @pytest.mark.parametrize("kind", STREAMED)
    def test_export_what_is_refused_to_no_device(self, hub: RunningHub, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "out"
        with standing(path, kind), read_along(path) as received:
            done = _run(
                hub, "export", "--format", "hash-lines", "--hash-set", "nl/known", "--strict", "--out", str(path)
            )
        assert done.exit_code == 1
        assert received in ([], [b""])

    @pytest.mark.parametrize("kind", STREAMED)
    def test_put_no_mapping_beside_a_device(self, hub: RunningHub, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "out"
        with standing(path, kind), read_along(path) as received:
            done = _run(hub, "export", "--format", "csv", "--hash-set", "nl/known", "--out", str(path))
        assert done.exit_code == 0, done.stderr
        assert kind == "device" or received[0]
        assert "out.mapping.toml" not in names(tmp_path)

    @pytest.mark.parametrize("kind", [*REFUSED, *STREAMED])
    def test_a_published_file_replaces_files_alone(self, tmp_path: Path, kind: str) -> None:
        for name in ("held", "public"):
            (tmp_path / name).mkdir()
        (tmp_path / "held" / "one").write_bytes(b"an upload")
        with standing(tmp_path / "public" / "one", kind):
            held, public = FolderPlace(str(tmp_path / "held")), FolderPlace(str(tmp_path / "public"))
            with suppress(HashHubError):
                assert not held.publish("one", public, "one", overwrite=True)

    def test_a_key_is_private(self, tmp_path: Path) -> None:
        make_key(tmp_path / "key")
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
