"""Prints docs/cli.md: the help of every command. `python tests/cli/reference.py > docs/cli.md`; a test compares the
two.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from hashhub.cli import main

WIDTH = 100

INTRODUCTION = """\
# Command line

The help of every command, as `hashhub COMMAND --help` prints it. A test keeps this page true.

**Which hub.** `--server HOST:PORT`, else `HASHHUB_SERVER`, else `127.0.0.1:8470`. Connections to other machines are
encrypted unless `--no-tls` says otherwise; `--ca-file` names the authority of a private certificate.

**Who asks.** `--token-file FILE`, else `HASHHUB_TOKEN_FILE`, else the token itself in `HASHHUB_TOKEN`, else, for a hub
on this machine only, `operator.token` in `HASHHUB_DATA` (default `hashhub-data`), which `hashhub serve` writes on its
first start and only its owner can read. That file is never sent to another machine.

**What comes out.** Tables for people that fit the terminal, or the width in `COLUMNS`, without breaking a name
(`NO_COLOR` is honoured); in a pipe aligned plain text, one row a line; and with
`--json` one JSON object a line. Hashes are written `ALGORITHM:digest`, entries `CONTRIBUTOR/SET/ENTRY`, times in
RFC 3339. `match --json` and `scan --json` print, for each query:

    {"query", "verdict", "reasons", "policy", "matches": [{"entry", "contributor", "hash_set", "algorithm", "distance",
     "variant", "classification"}], "revision"}

**How it ends.**

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | refused; or matched, with `--fail-on` |
| 2 | the command line is wrong |
| 3 | the question could not be answered now: no hub, a hub that is starting or busy, or (`scan`) an unreadable file |
| 130 | interrupted |

An error is one line on stderr, followed by a hint where there is one; `--verbose` adds the reason, the fields and the
causes. With `--json` it is also an object on stdout: [json.md](json.md) has it, and what each command prints. A file
that cannot be read is `UNAVAILABLE`, never `NO_MATCH`: do not treat it as clean.

**Policies.** `match` and `scan` assume the policy `any`, because a person reads their answer and should see everything
that is known; the output says which policy was applied. Programs that act on an answer must choose one.
"""


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """Yield the context of every command, the groups' own included, in the order of the help."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.commands[name]
            with click.Context(child, info_name=name, parent=context) as inside:
                yield from commands(child, inside)


def render() -> str:
    """Return the page."""
    pages = [INTRODUCTION]
    settings = {**main.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    with click.Context(main, info_name="hashhub", **settings) as top:
        for context in commands(main, top):
            help_text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
            pages.append(f"## {context.command_path}\n\n```\n{help_text}\n```\n")
    return "\n".join(pages)


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - a script
