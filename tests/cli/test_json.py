"""What `--json` promises of every command: errors as JSON, names by the same word, the recorded shapes of what is
printed;
and of tables that they fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.client import mirror as mirroring
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items
from hashhub.testing.pictures import picture
from tests.json_samples import ALIKE, SAMPLES
from tests.warm import Warm

Run = Callable[..., Result]
NOWHERE = "127.0.0.1:1"  # nothing listens on tcpmux
NO_HUB = {
    "ca init", "serve", "connectors list", "formats list", "formats detect", "sample", "doctor", "hash", "hook init",
    "backup create", "backup verify", "backup restore", "hook case rules", "hook try", "init", "logout", "source list",
    "peer list", "sign", "verify",
}  # fmt: skip
DONE, REFUSED, USAGE, UNAVAILABLE = 0, 1, 2, 3


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield " ".join(path), command


LEAVES = dict(leaves(main))


def value_for(p: click.Parameter, directory: Path) -> str:
    """Something that a parameter accepts."""
    if isinstance(p.type, click.Choice):
        return p.type.normalize_choice(p.type.choices[0], None)
    if isinstance(p.type, click.types.IntParamType):
        return "1"
    metavar = (p.metavar or p.human_readable_name or "").upper().strip("[].")
    if "FILE" in metavar or "PATH" in metavar or "DIR" in metavar:
        return str(directory / "file.txt")
    for words, value in (
        (("WEBHOOK",), "alpha/desk"),
        (("ENTRY",), "alpha/list/7"),
        (("SET",), "alpha/list"),
        (("TIME",), "1h"),
        (("CC",), "GB"),
        (("ALGORITHM",), "MD5:" + "ab" * 16),
        (("FORMAT",), "hash-lines"),
    ):
        if any(word in metavar for word in words):
            return value
    return "alpha"


def arguments_for(name: str, directory: Path) -> list[str]:
    (directory / "file.txt").write_text("ab" * 16 + "\n", "ascii")
    extra = {
        "entry withdraw": ["alpha/list/7"],
        "entry restore": ["alpha/list/7"],
        "entry release": ["alpha/list/7"],
        "entry quarantine": ["alpha/list/7"],
        "entry search": ["word"],
        "import": ["--hash-set", "alpha/list", "--format", "hash-lines"],
        "export": ["--hash-set", "alpha/list", "--format", "hash-lines"],
        "match": ["--hash", "MD5:" + "ab" * 16],
        "scan": [str(directory / "file.txt")],
        "mirror": [str(directory)],
        "feed misp": [str(directory), "--once"],
        "source add": ["misp", "alpha", "--url", "alpha", "--hash-set", "alpha/list"],
        "review set-aside": ["alpha/list/7", "1"],
        "contributor update": ["--display-name", "A"],
        "group update": ["--display-name", "A"],
        "hash-set update": ["--display-name", "A"],
        "token update": ["--description", "A"],
        "token create": ["--contributor", "alpha"],
        "hash-set accept": ["--revision", "1"],
        "contributor accept-objections": ["--revision", "1"],
        "webhook update": ["--description", "A"],
        "webhook create": ["--url", "https://example.com/"],
        "hash-set delete": ["--dry-run"],
        "hook queue decide": ["ab" * 10, "confirm"],
        "hook case open": [str(directory / "file.txt")],
        "hook case taken-down": ["alpha", "--all"],
        "hook vault lift": ["--case", "alpha"],
        "reconcile conflicts assign": ["alpha"],
        "reconcile conflicts resolve": ["alpha"],
        "reconcile conflicts reopen": ["alpha"],
        "policy simulate": ["any", "--against", "block", "--since", "0"],
    }.get(name, [])
    arguments = list(extra)
    for p in LEAVES[name].params:
        if not p.required:
            continue
        if isinstance(p, click.Option):
            if p.opts[0] not in arguments:
                arguments += [p.opts[0], value_for(p, directory)]
        elif not extra or name in {
            "contributor update",
            "group update",
            "hash-set update",
            "token update",
            "import",
            "token create",
            "hash-set accept",
            "contributor accept-objections",
            "webhook update",
            "webhook create",
            "hash-set delete",
        }:
            arguments.insert(0, value_for(p, directory))
    if any("--yes" in p.opts for p in LEAVES[name].params):
        arguments.append("--yes")
    return [*name.split(), *arguments]


def error_of(done: Result) -> dict[str, Any]:
    last = json.loads(done.stdout.splitlines()[-1])
    assert list(last) == ["error"]
    error: dict[str, Any] = last["error"]
    assert {"reason", "message", "hint"} <= set(error)
    assert error["reason"]
    assert error["message"]
    return error


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_wrong_command_line_is_told_in_json(name: str) -> None:
    done = CliRunner().invoke(main, [*name.split(), "--json", "--no-such-option"])
    assert done.exit_code == USAGE
    assert error_of(done)["reason"] == "USAGE"
    assert "--no-such-option" in done.stderr


def test_a_command_that_does_not_exist_is_told_in_json() -> None:
    for arguments in (["nothing", "--json"], ["entry", "nothing", "--json"]):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == USAGE
        assert error_of(done)["reason"] == "USAGE"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", sorted(LEAVES.keys() - NO_HUB))
def test_an_error_is_told_in_json(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirroring, "PATIENCE", 0.0)  # a mirror's, which is a minute
    arguments = [*arguments_for(name, tmp_path), "--json", "--server", NOWHERE]
    done = CliRunner().invoke(main, arguments, env={"HASHHUB_TOKEN": "hh_x"})
    assert done.exit_code in {REFUSED, UNAVAILABLE}, (arguments, done.stdout, done.stderr)
    error = error_of(done)
    assert done.exit_code == (UNAVAILABLE if error["reason"] == "SERVER_UNAVAILABLE" else REFUSED), arguments
    assert f"error: {error['message'][:20]}" in done.stderr


def test_what_was_not_confirmed_is_told_in_json(run: Run, hash_set: str) -> None:
    done = run("entry", "erase", f"{hash_set}/1", "--json", input="n\n")
    assert (done.exit_code, error_of(done)["reason"]) == (REFUSED, "NOT_CONFIRMED")


# Samples


@pytest.fixture(scope="module")
def own_hub(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub of this module's own: its fixtures are set up again where its tests came to a worker in two parts."""
    with warmed.hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def shown(own_hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """A hub with something of everything; runs a command and returns what it prints."""
    directory = tmp_path_factory.mktemp("json")
    environment = {"HASHHUB_SERVER": own_hub.address, "HASHHUB_TOKEN_FILE": str(own_hub.token_file)}

    def run_json(*arguments: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(main, [*arguments, "--json"], env=environment, catch_exceptions=False)
        assert done.exit_code == DONE, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    run_json("contributor", "create", "hotline", "--kind", "hotline", "--jurisdiction", "NL")
    run_json("group", "create", "partners", "--member", "hotline")
    run_json("hash-set", "create", "hotline/known", "--scheme", "vic-us")
    source = directory / "list.json"
    source.write_bytes(
        list_file("vics-2.0", [*random_items(2, seed=77, values=("1",)), *random_items(2, seed=78)]).data
    )
    run_json("import", str(source), "--format", "vics", "--hash-set", "hotline/known")
    run_json("token", "create", "desk", "--role", "contributor", "--contributor", "hotline")
    run_json("contributor", "create", "line", "--kind", "hotline", "--jurisdiction", "GB")
    run_json("hash-set", "create", "line/known", "--scheme", "vic-us")
    source.write_bytes(source.read_bytes().replace(b'"Category": 1', b'"Category": 3'))
    run_json("import", str(source), "--format", "vics", "--hash-set", "line/known")
    entries = run_json("entry", "list", "hotline/known")
    run_json("review", "add", entries[0]["name"], "--kind", "confirmed")
    run_json("webhook", "create", "hotline/desk", "--url", "https://hooks.hotline.example/hashhub")
    tested = CliRunner().invoke(main, ["webhook", "test", "hotline/desk"], env=environment, catch_exceptions=False)
    assert tested.exit_code == REFUSED  # no such host
    assert "ping" in tested.stdout.split()  # as docs/contribute/webhooks.md calls it
    return run_json


def fits(value: object, example: object) -> bool:
    """Whether a value has the shape of an example; what is null or empty in one of them says nothing."""
    match value, example:
        case dict(), dict():
            return set(value) == set(example) and all(k in OPEN or fits(value[k], example[k]) for k in value)
        case list(), list():
            return not value or not example or fits(value[0], example[0])
    return value is None or example is None or type(value) is type(example)


OPEN = {
    "facts",
    "details",
    "dimensions",
    "reviews",
    "by_contributor",
    "by_verdict",
    "response",
    "skipped",
}  # objects whose keys are data


def command_of(title: str) -> str:
    return max((name for name in LEAVES if f"{title} ".startswith(f"{name} ")), key=len)


def test_there_is_a_sample_of_every_command() -> None:
    told = {command_of(title) for title in SAMPLES}
    assert told | set(ALIKE) == set(LEAVES)
    assert set(ALIKE.values()) <= told
    assert not told & set(ALIKE)


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("contributor list", "contributor list"),
        ("group list", "group list"),
        ("hash-set list", "hash-set list"),
        ("entry list CONTRIBUTOR/SET", "entry list hotline/known"),
        ("entry list CONTRIBUTOR/SET", "entry search --contributor hotline"),
        ("entry list CONTRIBUTOR/SET", "entry get {entry}"),
        ("entry withdraw … --dry-run", "entry withdraw --hash-set hotline/known --reason error --dry-run"),
        ("entry withdraw … --dry-run", "entry release {entry} {other} --dry-run"),
        ("queue", "queue hotline"),
        ("review list CONTRIBUTOR/SET/ENTRY", "review list {entry}"),
        ("webhook list", "webhook list hotline"),
        ("hash-set retention CONTRIBUTOR/SET", "hash-set retention hotline/known"),
        ("hash-set delete CONTRIBUTOR/SET", "hash-set delete hotline/known --dry-run"),
        ("webhook deliveries CONTRIBUTOR/WEBHOOK", "webhook deliveries hotline/desk"),
        ("import FILE", "findings hotline/known/latest --summary"),
        ("findings CONTRIBUTOR/SET", "findings hotline/known"),
        ("findings CONTRIBUTOR/SET/IMPORT", "findings hotline/known/latest"),
        ("token list", "token list"),
        ("access TOKEN", "access operator"),
        ("whoami", "whoami"),
        ("match --hash ALGORITHM:DIGEST", "match --hash {hash}"),
        ("hash FILE", "hash {picture}"),
        ("hash FILE", "hash {picture} --effort standard"),
        ("hook init", "hook init {chosen} --out {directory}/new.toml"),
        ("hook check FILE", "hook check {picture} --settings {directory}/hook.toml"),
        ("scan PATH", "scan {picture} {list}"),
        ("scan PATH", "scan {list} --out {directory}/report"),
        ("history list NAME", "history list hotline/known"),
        ("reconcile conflicts list", "reconcile conflicts list --wait"),
        ("reconcile conflicts list", "reconcile conflicts get {conflict}"),
        ("reconcile conflicts list", "reconcile conflicts assign {conflict} --to Ann --dry-run"),
        ("reconcile conflicts list", "reconcile conflicts resolve {conflict} --reason other --comment x --dry-run"),
        (
            "reconcile conflicts resolve --contributor ID …",
            "reconcile conflicts resolve --hash-set hotline/known --reason other --comment x --dry-run",
        ),
        ("reconcile conflicts summary", "reconcile conflicts summary --wait"),
        ("status", "status"),
        ("scheme list", "scheme list"),
        ("scheme list", "scheme show uk-sap"),
        ("scheme diff", "scheme diff vic-us-legacy vic-us"),
        ("reconcile crosswalk", "reconcile crosswalk uk-sap uk-sentencing"),
        ("policy list", "policy list"),
        ("policy show NAME", "policy list block"),
        ("policy show NAME", "policy show any"),
        ("policy diff A B", "policy diff any block"),
        ("policy explain NAME --hash ALGORITHM:DIGEST", "policy explain block --hash {hash}"),
        ("policy show NAME", "policy explain block"),
        ("policy simulate NEW --against NAME", "policy simulate any --against block --hash-set hotline/known"),
        ("connectors list", "connectors list"),
        ("formats list", "formats list"),
        ("formats detect FILE", "formats detect {list}"),
        (
            "export",
            "export --format hash-lines --hash-set hotline/known --for contributors/hotline --out {directory}/out.txt",
        ),
        ("reconcile extract DIR", "reconcile extract {directory}/extract"),
        ("reconcile agreement", "reconcile agreement"),
        ("reconcile gaps --jurisdiction CC", "reconcile gaps --jurisdiction SE"),  # who holds nothing
        ("reconcile gaps --jurisdiction CC --out FILE", "reconcile gaps --jurisdiction SE --out {directory}/gaps.csv"),
        ("operation list", "reconcile overlap --no-wait"),
        ("mirror FILE", "mirror {directory}/copy.db"),
        ("revert --actor TOKEN --since TIME", "revert --actor operator --since 1h --validate-only"),
    ],
)
def test_the_examples_have_the_shape_of_what_is_printed(
    shown: Callable[..., list[dict[str, Any]]], title: str, line: str, tmp_path: Path
) -> None:
    picture(1).save(tmp_path / "a.png")
    first, second, *_ = shown("entry", "list", "hotline/known")
    values = {
        "conflict": shown("reconcile", "conflicts", "list", "--wait")[0]["name"] if "{conflict}" in line else "",
        "entry": first["name"],
        "other": second["name"],
        "hash": first["hashes"][0],
        "picture": str(tmp_path / "a.png"),
        "directory": str(tmp_path),
        "list": str(tmp_path / "list.txt"),
        "chosen": "--policy block --hub-away hold --unreadable hold --too-large hold --no-perceptual-hash hold",
    }
    (tmp_path / "hook.toml").write_text(
        'policy = "block"\n[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\n'
        'no_perceptual_hash = "hold"\n',
        "utf-8",
    )
    (tmp_path / "list.txt").write_text("ab" * 16 + "\n", "ascii")
    printed = shown(*line.format(**values).split())
    assert printed
    for one in printed:
        assert fits(one, SAMPLES[title]), one


def test_what_has_a_name_says_it_as_commands_take_it(shown: Callable[..., list[dict[str, Any]]]) -> None:
    for listing, get in (
        (("contributor", "list"), ("contributor", "get")),
        (("group", "list"), ("group", "get")),
        (("hash-set", "list"), ("hash-set", "get")),
        (("entry", "list", "hotline/known"), ("entry", "get")),
        (("token", "list"), ("token", "get")),
        (("findings", "hotline/known"), ("findings",)),
    ):
        for one in shown(*listing):
            assert shown(*get, one["name"]), one
    for finding in shown("findings", "hotline/known/latest"):
        if finding["entry"]:
            assert shown("entry", "get", finding["entry"])


# Tables


LONG = "a-contributor-with-a-rather-long-name"
LONG_SET = f"{LONG}/known-files-2026"


@pytest.fixture(scope="module")
def long_names(own_hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    environment = {"HASHHUB_SERVER": own_hub.address, "HASHHUB_TOKEN_FILE": str(own_hub.token_file)}

    def run_text(*arguments: str, **more: str) -> str:
        done = CliRunner().invoke(main, arguments, env={**environment, **more}, catch_exceptions=False)
        assert done.exit_code in {DONE, REFUSED}, done.stderr
        return done.stdout

    run_text("contributor", "create", LONG, "--kind", "law-enforcement", "--jurisdiction", "NL")
    run_text("group", "create", "a-group-of-many-that-belong-together", "--member", LONG)
    run_text("hash-set", "create", LONG_SET, "--scheme", "vic-us", "--recipient", f"contributors/{LONG}")
    source = tmp_path_factory.mktemp("long") / "list.json"
    items = [*random_items(5, seed=91, values=("1",)), *random_items(2, seed=92)]
    source.write_bytes(list_file("vics-2.0", items).data)
    run_text("import", str(source), "--format", "vics", "--hash-set", LONG_SET)
    run_text("token", "create", "a-token-whose-name-is-long-as-well", "--role", "contributor", "--contributor", LONG)
    name = json.loads(run_text("entry", "list", LONG_SET, "--limit", "1", "--json"))["name"]
    run_text("review", "add", name, "--kind", "false-positive", "--comment", "words that go on and on " * 8)
    return run_text


@pytest.mark.parametrize("width", [80, 100, 60])
@pytest.mark.parametrize(
    "line",
    [
        "contributor list", "contributor get {long}", "group list", "hash-set list", "hash-set get {set}",
        "entry list {set}", "entry get {entry}", "entry search --contributor {long}", "findings {set}",
        "findings {set}/latest", "findings {set}/latest --summary", "review list {entry}", "token list",
        "history list {set}", "scheme list", "scheme show vic-us", "policy list", "policy list block",
        "connectors list", "status", "policy explain block --hash {hash}",
        "policy simulate any --against block --since 0 --hash-set {set}",
        "queue {long}", "entry withdraw --hash-set {set} --reason error --dry-run",
        "match --hash {hash}",
    ],
)  # fmt: skip
def test_tables_fit_and_break_no_name(long_names: Callable[..., str], line: str, width: int) -> None:
    entry = json.loads(long_names("entry", "list", LONG_SET, "--limit", "1", "--json"))
    values = {"long": LONG, "set": LONG_SET, "entry": entry["name"], "hash": entry["hashes"][0]}
    arguments = line.format(**values).split()
    wide = long_names(*arguments, COLUMNS="")
    narrow = long_names(*arguments, COLUMNS=str(width))
    for text in narrow.splitlines():
        if text.startswith("hashhub "):  # a command, to be copied whole
            continue
        # A single word that is wider than the line stands alone, whole.
        assert len(text) <= width or " " not in text.strip(), text
    words = {word for word in wide.split() if "/" in word or word.startswith(("imp-", LONG))}
    assert {word for word in words if word not in narrow.split()} == set()
