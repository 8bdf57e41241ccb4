"""`hashhub hook init`: the settings file that a hook begins with."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli.hook import hook
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import note, print_json, say
from hashhub.errors import InvalidArgument
from hashhub.local_files import written

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACTIONS: Final = ("allow", "hold", "block")
_PASTED: Final = "hook.token"
_CASES: Final = {
    "hub_away": "no answer can be had: the hub is away, too busy, too late, or refuses the token",
    "unreadable": "a picture or video cannot be decoded",
    "too_large": "it has more bytes, pixels or computing time than is looked at",
    "no_perceptual_hash": "it is no picture or video, so that only identical files can be found",
}
PROPOSED: Final = {"hub_away": "hold", "unreadable": "hold", "too_large": "hold", "no_perceptual_hash": "allow"}
"""What `hook init` proposes on a terminal, where a person can say otherwise."""
_BECAUSE: Final = {
    "hub_away": "it is asked about again by itself, and what nobody listed is then released",
    "unreadable": "whoever wants to hide a picture can damage its file",
    "too_large": "a file can be made too large on purpose",
    "no_perceptual_hash": "else every document waits for a person; identical files are still found",
}


_LOST: Final = (
    "IN PYTHON APPS, UPLOADS THAT ARE HELD ARE REFUSED, AND NOBODY KEEPS THEM: what is released later must be sent "
    "again. To keep them, set up [vault] (docs/hook/vault.md), or give the hook the app's own store, and choose "
    'on_hold = "keep" in [app] (docs/hook/python.md).'
)


@command(hook, "init", local=True)
@click.option("--policy", metavar="NAME", help="Policy of the hub that judges, such as `block`.")
@click.option("--hub-away", type=click.Choice(_ACTIONS), help="What becomes of an upload while no answer can be had.")
@click.option("--unreadable", type=click.Choice(_ACTIONS), help="… that is a picture or video and cannot be decoded.")
@click.option(
    "--too-large", type=click.Choice(_ACTIONS), help="… with more bytes, pixels or computing time than allowed."
)
@click.option("--no-perceptual-hash", type=click.Choice(_ACTIONS), help="… that is no picture or video.")
@click.option("--hashing", type=click.Choice(("here", "hub")), default="here", show_default=True,
              help="Where uploads are hashed; at the hub, they leave this machine.")  # fmt: skip
@click.option(
    "--data", metavar="DIR", default="hashhub-hook", show_default=True, help="Directory for the hook's records."
)
@click.option("--out", metavar="FILE", default="hook.toml", show_default=True, help="The file to write.")
def init(session: Session, *, policy: str | None, out: str, hashing: str, data: str, **cases: str | None) -> None:
    """Write the settings of a hook.

    What is done with an upload that has no answer is for you to choose, in four cases: nothing is chosen for you. On a
    terminal you are asked for what the options leave open. --server and --token-file are written into the file.
    """
    chosen = {"policy": policy, **cases}
    missing = [name for name, value in chosen.items() if not value]
    if missing and not sys.stdin.isatty():
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise click.UsageError(f"nobody can be asked here, and these are not chosen for you: {options}")
    server, token_file = session.server, session.token_file or ""
    if missing:
        server = click.prompt("Address of the hub", default=server)
        token_file = _ask_for_token(token_file)
    for name in missing:
        if name == "policy":
            chosen[name] = click.prompt("Policy of the hub that judges", default="block")
        else:
            say(f"\nIf {_CASES[name]}: {PROPOSED[name]} is proposed, since {_BECAUSE[name]}.")
            chosen[name] = click.prompt(
                "What becomes of the upload", default=PROPOSED[name], type=click.Choice(_ACTIONS)
            )
    text = settings_text(
        {name: str(value) for name, value in chosen.items()},
        hub=server,
        token_file=token_file,
        hashing=hashing,
        data=data,
    )
    _check(text)
    with written(out, taken="edit it, or name another file with --out") as file:
        file.write(text.encode())
    if session.json:
        print_json({"file": out, "on_hold": "refuse"})
    else:
        note(_LOST)
        click.echo(f"{out} was written; try it: hashhub hook check --settings {out} FILE")


def _ask_for_token(given: str) -> str:
    """Return the path of a file with the hub's token. One that is pasted is written to hook.token in this directory."""
    while True:
        path = click.prompt("File with the token that the hub's operator gave you (Enter to paste it)", default=given,
                            show_default=bool(given))  # fmt: skip
        if not path:
            break
        if Path(path).is_file():
            return str(path)
        say(f"there is no file {path!r}; name one, or press Enter to paste the token")
        given = ""
    token = click.prompt("Token, which is not shown (Enter to leave it to HASHHUB_TOKEN)", default="",
                         show_default=False, hide_input=True).strip()  # fmt: skip
    if not token:
        return ""
    with written(_PASTED, taken="name it instead, or remove it") as file:
        file.write(f"{token}\n".encode())
    return _PASTED


def settings_text(chosen: Mapping[str, str], *, hub: str, token_file: str, data: str, hashing: str = "here") -> str:
    """Return the text of a settings file with the policy, and what happens without an answer, as chosen."""
    lines = [
        "# Settings of a hashhub upload hook. Every key is explained in docs/hook/settings.md.",
        f"policy = {_quoted(chosen['policy'])}",
        f"hub = {_quoted(hub)}",
    ]
    if token_file:
        lines.append(f"token_file = {_quoted(token_file)}")
    lines += [f"data = {_quoted(data)}", f'hashing = "{hashing}"', "", "[without_answer]"]
    lines += [f'{name} = "{chosen[name]}"  # {told}' for name, told in _CASES.items()]
    lines += ["", "[app]", *(f"# {line}" for line in textwrap.wrap(_LOST, 110)), 'on_hold = "refuse"']
    lines += ["", "# Uploads that were decided over are named in the records for ever, unless you choose for how long:"]
    lines += ["# [records]", "# keep_days = 365"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a TOML string. Raises InvalidArgument for what a name or a path does not hold."""
    if not text.isprintable():
        raise InvalidArgument.field("settings", "a name or path has characters that cannot be printed")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check(text: str) -> None:
    """Read the settings as a hook will, but for the environment. Raises InvalidArgument."""
    from hashhub.hook.settings import parse

    parse(text, {})
