"""`hashhub contributor key …`: the keys with which contributors sign; and how a key in a file signs."""

from __future__ import annotations

import subprocess
from typing import Final

import click

from hashhub.cli.contributors import contributor
from hashhub.cli.session import COMMENT, CommandGroup, Session, command
from hashhub.cli.terminal import clean, fields_of, minute, note, say, show_path, table, tell
from hashhub.errors import InvalidArgument, NotFound
from hashhub.local_files import named_file
from hashhub.model import Contributor, SigningKey
from hashhub.signing import envelope as envelopes

SIGN_WITH: Final = click.option(
    "--sign-with",
    metavar="KEY",
    help="Sign with the key in this file: an Ed25519 or P-256 private key in PEM, or one of OpenSSH, by ssh-keygen; if "
    "an agent holds that, or a card behind it, its public half.",
)


@contributor.group("key", cls=CommandGroup)
def key() -> None:
    """Keys with which contributors sign what they contribute."""


@command(key, "add")
@click.argument("id")
@click.argument("key_id", metavar="KEY")
@click.argument("file", metavar="FILE.pub")
def add_key(session: Session, *, id: str, key_id: str, file: str) -> None:
    """Register a key of the contributor ID under the name KEY: the public key in FILE.pub, in PEM or of OpenSSH.

    Needs an operator's token or the contributor's own. What it signed before does not count.
    """
    text = named_file("file", file).decode(errors="replace")
    with session.connect() as hub:
        _show_keys(session, hub.add_signing_key(id, SigningKey(id=key_id, public_key=text)))


@command(key, "list")
@click.argument("id")
@click.option("--allowed-signers", is_flag=True, help="As a file for hashhub verify and ssh-keygen -Y verify.")
def list_keys(session: Session, *, id: str, allowed_signers: bool) -> None:
    """List the keys of the contributor ID."""
    with session.connect() as hub:
        found = hub.get_contributor(id)
    if not allowed_signers or session.json:
        _show_keys(session, found)
        return
    for trusted in envelopes.trusted_keys(found):
        say(trusted.allowed_signer)


@command(key, "revoke")
@click.argument("id")
@click.argument("key_id", metavar="KEY")
@click.option("--stolen", is_flag=True, help="Somebody else has it: nothing that it signed counts, whenever that was.")
@COMMENT
def revoke_key(session: Session, *, id: str, key_id: str, stolen: bool, comment: str) -> None:
    """Revoke the key KEY of the contributor ID, for good, and say which imports rest on it. These stay as they are.

    Needs an operator's token or the contributor's own.
    """
    with session.connect() as hub:
        changed = hub.revoke_signing_key(id, key_id, comment, stolen=stolen)
        imports = [i for s in hub.list_hash_sets(id) for i in hub.list_imports(s.name) if i.signing_key == key_id]
    names = [f"{i.contributor}/{i.hash_set}/{i.id}" for i in imports]
    if session.json:
        session.print_if_json({"name": f"{id}/{key_id}", "imports": names})
        return
    _show_keys(session, changed)
    for name in names:
        tell(f"rests on it: {name}")
    if stolen and names:
        note("look through them; hashhub revert undoes what a token wrote, and hashhub entry withdraw single entries")


def signed(statement: bytes, key_file: str) -> bytes:
    """Return the envelope of a statement, signed by the key in a file. Raises InvalidArgument for one that cannot."""
    content = named_file("sign-with", key_file)
    if b"OPENSSH PRIVATE KEY" not in content and content.startswith(b"-----"):
        password = None
        if b"ENCRYPTED" in content:
            password = str(click.prompt(f"Password of {show_path(key_file)}", hide_input=True, err=True)).encode()
        return envelopes.sign(statement, envelopes.read_private_key(content, password))
    arguments = ["ssh-keygen", "-Y", "sign", "-n", envelopes.NAMESPACE, "-f", key_file]
    try:
        done = subprocess.run(arguments, input=statement, capture_output=True, check=False)  # noqa: S603 - no shell
    except OSError as e:
        raise NotFound("there is no ssh-keygen, which signs with OpenSSH's keys; install it, or use a PEM file") from e
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        raise InvalidArgument.field("sign-with", f"ssh-keygen did not sign: {why:.300}", "KEY")
    envelopes.read_envelope(statement + done.stdout)
    return statement + done.stdout


def _show_keys(session: Session, owner: Contributor) -> None:
    if session.json:
        for one in owner.signing_keys:
            session.print_if_json({"name": f"{owner.id}/{one.id}", **fields_of(one)})
        return
    table(
        ("key", "kind", "counts from", "until", "public key"),
        [
            (
                f"{owner.id}/{clean(one.id)}",
                one.public_key.partition(" ")[0],
                minute(one.create_time),
                "never: it was stolen" if one.stolen else minute(one.revoke_time) if one.revoke_time else "-",
                one.public_key.partition(" ")[2],
            )
            for one in owner.signing_keys
        ],
        empty="no keys",
    )
