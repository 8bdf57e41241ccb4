"""`hashhub hook init`: the settings file that a hook begins with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli.hook.group import hook
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import print_json
from hashhub.errors import InvalidArgument
from hashhub.writing import written

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACTIONS: Final = ("allow", "hold", "block")
_CASES: Final = {
    "hub_away": "no answer can be had: the hub is away, too busy, too late, or refuses the token",
    "unreadable": "a picture or video cannot be decoded",
    "too_large": "it has more bytes, pixels or computing time than is looked at",
    "no_perceptual_hash": "it is no picture or video, so that only identical files can be found",
}


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
    for name in missing:
        if name == "policy":
            chosen[name] = click.prompt("Policy of the hub that judges")
        else:
            question = f"If {_CASES[name]}"
            chosen[name] = click.prompt(question, type=click.Choice(_ACTIONS))
    text = _text({name: str(value) for name, value in chosen.items()}, session, hashing=hashing, data=data)
    _check(text)
    with written(out, taken="edit it, or name another file with --out") as file:
        file.write(text.encode())
    if session.json:
        print_json({"file": out})
    else:
        click.echo(f"{out} was written; try it: hashhub hook check --settings {out} FILE")


def _text(chosen: Mapping[str, str], session: Session, *, hashing: str, data: str) -> str:
    lines = [
        "# Settings of a hashhub upload hook. Every key is explained in docs/hook.md.",
        f"policy = {_quoted(chosen['policy'])}",
        f"hub = {_quoted(session.server)}",
    ]
    if session.token_file:
        lines.append(f"token_file = {_quoted(session.token_file)}")
    lines += [f"data = {_quoted(data)}", f'hashing = "{hashing}"', "", "[without_answer]"]
    lines += [f'{name} = "{chosen[name]}"  # {told}' for name, told in _CASES.items()]
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
