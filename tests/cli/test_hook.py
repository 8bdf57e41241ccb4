"""`hashhub hook init` and `check`: settings that are written as they are chosen, and refused where they are not."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from hashhub.cli import main
from hashhub.client import Client
from hashhub.desk.settings import HashingSite
from hashhub.hook import Action, load_settings
from hashhub.model import Contributor, ContributorKind, HashSet, Principal, Role
from hashhub.testing.hub_process import RunningHub
from tests.warm import Warm

CHOSEN = ("--policy", "block", "--hub-away", "hold", "--unreadable", "hold", "--too-large", "block")

HUB_AWAY: dict[str, str | None] = {
    "HASHHUB_HOOK_HUB": "127.0.0.1:1",  # nothing listens there
    "HASHHUB_HOOK_POLICY": "block",
    **{
        f"HASHHUB_HOOK_WITHOUT_ANSWER_{name}": "hold"
        for name in ("HUB_AWAY", "UNREADABLE", "TOO_LARGE", "NO_PERCEPTUAL_HASH")
    },
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["hook", "init", *arguments])


def test_a_file_that_a_hook_reads_is_written(tmp_path: Path) -> None:
    out = tmp_path / 'my "hook".toml'
    done = run(
        *(*CHOSEN, "--no-perceptual-hash", "allow", "--out", str(out), "--hashing", "hub"),
        *("--server", "hub.example:8470", "--token-file", 'C:\\"a"'),
    )
    assert done.exit_code == 0, done.output
    settings = load_settings(out, {})
    chosen = settings.without_answer
    assert (chosen.hub_away, chosen.too_large, chosen.no_perceptual_hash) == (Action.HOLD, Action.BLOCK, Action.ALLOW)
    assert (settings.hub, settings.token_file, settings.hashing) == ("hub.example:8470", 'C:\\"a"', HashingSite.HUB)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_text()
    again = run(*CHOSEN, "--no-perceptual-hash", "block", "--out", str(out))
    assert again.exit_code == 1
    assert f"error: {str(out)!r} exists already; edit it, or name another file with --out" in again.stderr
    assert out.read_text() == before


@pytest.mark.parametrize("left_out", range(0, len(CHOSEN), 2))
def test_nothing_is_chosen_for_you(tmp_path: Path, left_out: int) -> None:
    out = tmp_path / "hook.toml"
    arguments = (*CHOSEN, "--no-perceptual-hash", "allow")
    done = run(*arguments[:left_out], *arguments[left_out + 2 :], "--out", str(out))
    assert done.exit_code == 2
    assert arguments[left_out] in done.output
    assert not out.exists()


def test_values_that_would_break_the_file_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "hook.toml"
    done = run(*CHOSEN, "--no-perceptual-hash", "allow", "--out", str(out), "--data", 'a"\nhub = "evil:1')
    assert done.exit_code == 1
    assert not out.exists()


class TestWrongTurns:
    """Of somebody who tries `hook check` for the first time: each answer says what to do."""

    def check(self, *arguments: str, **environment: str | None) -> Result:
        return CliRunner().invoke(main, ["hook", "check", *arguments], env=environment, catch_exceptions=False)

    def test_no_settings(self) -> None:
        done = self.check("a.png")
        assert done.exit_code == 1
        assert "--settings FILE or HASHHUB_HOOK_SETTINGS" in done.stderr
        assert "`hashhub hook init` writes one" in done.stderr

    def test_settings_that_are_not_there(self, tmp_path: Path) -> None:
        done = self.check("--settings", str(tmp_path / "hok.toml"), "a.png")
        assert done.exit_code == 1
        assert f"'{tmp_path}/hok.toml' cannot be read: No such file" in done.stderr

    def test_a_token_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        token = tmp_path / "hok.token"
        done = self.check("a.png", **HUB_AWAY, HASHHUB_HOOK_TOKEN_FILE=str(token))
        assert done.exit_code == 1
        assert done.stderr.startswith(f"error: token_file: '{token}' cannot be read: No such file")

    def test_where_a_path_begins_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A service starts in another directory than the one where `hook init` was tried."""
        monkeypatch.chdir(tmp_path)
        done = self.check("a.png", **HUB_AWAY, HASHHUB_HOOK_TOKEN_FILE=str(Path("hook.token")))
        assert f"check the path, which is taken from '{tmp_path}', and its permissions" in done.stderr

    def test_a_file_that_is_not_there_is_named_and_all_others_are_told(self, tmp_path: Path) -> None:
        first = tmp_path / "first.bin"
        first.write_bytes(b"an upload")
        for given, said in (
            ("gone.png", "No such file"),
            (".", "is no regular file; give the path of one"),
            ("/proc/self/mem", "cannot be read: Input/output error"),  # as of a disk that fails
        ):
            other = str(tmp_path / given)
            done = self.check(str(first), other, str(first), **HUB_AWAY)
            assert done.exit_code == 1
            assert done.stdout.count("first.bin  HOLD") == 2
            (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"{other} "))
            assert said in line
            assert "1 of 3 files could not be read: nothing is known of them" in done.stderr
            in_json = self.check("--json", other, str(first), **HUB_AWAY)
            assert in_json.exit_code == 1
            unread, read = map(json.loads, in_json.stdout.splitlines())
            assert said in unread["error"]["message"]
            assert read["decision"]["action"] == "HOLD"


@pytest.mark.parametrize(
    ("line", "said"),
    [("case list", "no cases"), ("queue list", "no uploads"), ("queue people list", "no persons")],
)
def test_an_empty_list_says_so(tmp_path: Path, line: str, said: str) -> None:
    environment = {**HUB_AWAY, "HASHHUB_HOOK_DATA": str(tmp_path / "records")}
    done = CliRunner().invoke(main, ["hook", *line.split()], env=environment)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{said}\n"


def test_a_case_is_told_in_words(tmp_path: Path) -> None:
    environment = {**HUB_AWAY, "HASHHUB_HOOK_DATA": str(tmp_path / "records")}
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "a.bin").write_bytes(b"the file")

    def case(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["hook", "case", *arguments], env=environment)
        assert done.exit_code == 0, done.output
        return str(done.output)

    opened = case(
        *("open", str(archive / "a.bin"), "--purpose", "intimate-image", "--complaint", "T-1"),
        *("--reason", "asked for", "--rule", "eu-dsa-16"),
    )
    assert "eu-dsa-16: no number of hours\n" in opened
    name = case("list", "--ids").strip()
    assert (
        "1 file, 0 of them known from before; 1 copy, 1 of them new; 0 could not be read, 0 looked at in part only."
        in case("scan", name, str(archive))
    )
    record = case("get", name)
    assert "| no number of hours | - |" in record
    scanned = next(line for line in record.splitlines() if "case.scanned" in line)
    assert not scanned.rstrip().endswith(":")


def test_who_has_a_hub_in_the_settings_is_not_told_of_options_that_no_hook_has(tmp_path: Path) -> None:
    environment = {**HUB_AWAY, "HASHHUB_HOOK_MODE": "local", "HASHHUB_HOOK_DATA": str(tmp_path)}
    done = CliRunner().invoke(main, ["hook", "sync"], env=environment)
    assert done.exit_code == 3
    assert "the server cannot be reached" in done.stderr
    assert "--server" not in done.stderr


def test_a_file_given_to_match_is_sent_to_scan() -> None:
    done = CliRunner().invoke(main, ["match", "picture.jpg"])
    assert done.exit_code == 2
    assert "`hashhub scan`" in done.stderr


def test_what_was_looked_for_by_identical_digest_only_is_told(hub: RunningHub, tmp_path: Path) -> None:
    upload, picture, token = tmp_path / "letter.txt", tmp_path / "picture.png", tmp_path / "hook.token"
    upload.write_bytes(b"hello")
    rgb = Image.effect_mandelbrot((256, 256), (-2.0, -1.5, 1.0, 1.5), 60).convert("RGB")
    rgb.save(picture)
    with Client(hub.address, hub.token) as operator:
        app = Contributor(id="form", display_name="Form", kind=ContributorKind.PLATFORM, jurisdiction="IE")
        operator.create_contributor(app)
        operator.create_hash_set(HashSet(contributor="form", id="own"))
        token.write_text(operator.create_token(Principal(name="form-hook", role=Role.CONSUMER, contributor="form")))
    asked = HUB_AWAY | {
        "HASHHUB_HOOK_HUB": hub.address,
        "HASHHUB_HOOK_TOKEN_FILE": str(token),
        "HASHHUB_HOOK_ANSWER_SECONDS": "20",
    }
    done = CliRunner().invoke(main, ["hook", "check", str(upload), str(picture)], env=asked, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    letter, other = done.stdout.splitlines()[1:]
    assert "NO_MATCH  only identical files were looked for: not a picture or a video" in letter
    assert other.endswith("NO_MATCH  no entry within the searched distances")


def test_a_persons_token_gets_no_hint_on_the_hubs(tmp_path: Path) -> None:
    settings, token = tmp_path / "hook.toml", tmp_path / "anna.token"
    run(*CHOSEN, "--no-perceptual-hash", "allow", "--out", str(settings), "--data", str(tmp_path / "data"))

    def queue(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["hook", "queue", *arguments, "--settings", str(settings)])

    added = queue("people", "add", "anna", "--out", str(token))
    assert added.exit_code == 0, added.stderr
    missing = queue("decide", "0123456789abcdef0123", "confirm")
    token.write_text("hhp_of-nobody")
    unknown = queue("decide", "0123456789abcdef0123", "confirm", "--person-file", str(token))
    for refused in (missing, unknown):
        assert refused.exit_code == 1
        assert "`hashhub hook queue people add NAME --out FILE` makes one" in refused.stderr
        assert "hint:" not in refused.stderr


def test_a_copy_with_nothing_in_it_is_told(warmed: Warm, tmp_path: Path) -> None:
    """The contributor forgot --bulk: the hub would match, and the copy would let everything through in silence."""
    settings, token, source = tmp_path / "hook.toml", tmp_path / "hook.token", tmp_path / "list.txt"
    source.write_text("ab" * 16 + "\n")
    with warmed.hub(tmp_path / "hub") as hub:
        of_hub = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}

        def done(*arguments: str) -> Result:
            result = CliRunner().invoke(main, arguments, env=of_hub, catch_exceptions=False)
            assert result.exit_code == 0, result.stderr
            return result

        done("contributor", "create", "nl", "--kind", "hotline", "--jurisdiction", "NL")
        done("hash-set", "create", "nl/known")
        done("import", str(source), "--hash-set", "nl/known")
        done("contributor", "create", "app", "--kind", "platform", "--jurisdiction", "IE")
        mirroring = ("--role", "consumer", "--contributor", "app", "--may-mirror")
        done("token", "create", "app-hook", *mirroring, "--out", str(token))
        chosen = (*CHOSEN, "--no-perceptual-hash", "allow", "--out", str(settings), "--data", str(tmp_path / "data"))
        done("hook", "init", *chosen, "--server", hub.address, "--token-file", str(token))
        settings.write_text('mode = "LOCAL"\n' + settings.read_text())
        for more in ((), ("--json",)):
            empty = done("hook", "sync", "--settings", str(settings), *more)
            assert "note: the copy has no entry, so that no upload matches by it" in empty.stderr
        upload = tmp_path / "upload.txt"
        upload.write_bytes(b"hello")
        checked = done("hook", "check", str(upload), "--settings", str(settings))
        assert "it was compared with nothing" in checked.stdout
        out = tmp_path / "evidence"
        evidence = done("hook", "evidence", "--out", str(out), "--settings", str(settings))
        nothing = "No list is in use: uploads are compared with nothing"
        assert f"warning: {nothing}" in evidence.stderr
        assert nothing in (out / "evidence.html").read_text()
        told = json.loads((out / "evidence.json").read_text())
        assert (told["lists"], told["are_lists_known"]) == ([], True)
        done("hash-set", "update", "nl/known", "--bulk")
        held = done("hook", "sync", "--settings", str(settings))
        assert "entries: 1," in held.stdout
        assert "the copy has no entry" not in held.stderr
        checked = done("hook", "check", str(upload), "--settings", str(settings))
        assert "compared with nothing" not in checked.stdout
        # What the hub has besides is no list of this hook's.
        done("hash-set", "create", "nl/more")
        source.write_text("cd" * 16 + "\n")
        done("import", str(source), "--hash-set", "nl/more")
        evidence = done("hook", "evidence", "--out", str(out), "--settings", str(settings))
        assert nothing not in evidence.stderr + (out / "evidence.html").read_text()
        assert [one["name"] for one in json.loads((out / "evidence.json").read_text())["lists"]] == ["nl/known"]
