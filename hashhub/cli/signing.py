"""`hashhub sign` and `hashhub verify`: who stands behind a list or an entry, shown without believing a hub."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.imports import opened, settings_of
from hashhub.cli.session import REFUSED, Session, command, options
from hashhub.cli.signing_keys import SIGN_WITH, signed
from hashhub.cli.terminal import clean, minute, print_json, show_path
from hashhub.local_files import named_file, whole_file
from hashhub.model import EntryProof
from hashhub.signing import envelope as envelopes
from hashhub.signing.manifest import Manifest, read_statement, verify_entry

_PARTS: Final = 3  # of the name of an entry
_PROOF: Final = b'{"name":'
_reading: Final = options(
    click.option("--format", "format_", metavar="NAME", help="What FILE is. Default: what it shows to be."),
    click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Setting of the connector."),
    click.option("--mapping", metavar="FILE.toml", help="Column mapping for --format csv."),
)


@command(main, "sign", local=True)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--hash-set", metavar="CONTRIBUTOR/SET", required=True, help="Where it goes.")
@SIGN_WITH
@click.option("--replace", is_flag=True, help="FILE is the full list, as for import.")
@_reading
@click.option("-o", "--out", metavar="FILE.sig", help="Where the envelope goes. Default: to the output.")
def sign_file(
    session: Session, *, files: tuple[str, ...], hash_set: str, sign_with: str | None, replace: bool, out: str | None,
    **reading: Any,
) -> None:  # fmt: skip
    """Sign what importing a list states.

    FILEs and their options are those of import. Without --sign-with it is the statement that is written, for
    ssh-keygen -Y sign -n contribution@hashhub to sign it elsewhere: the statement, and the signature below it in the
    same file, are an envelope. Nothing is sent.
    """
    manifest, digest = _manifest(files, hash_set, replace=replace, **reading)
    statement = manifest.statement(Path(files[0]).name, digest)
    with whole_file(out, replace=True) as (target, keep):
        target.write(signed(statement, sign_with) if sign_with else statement)
        keep()
    if out is not None:
        session.answer({"file": out, **_told(manifest)}, f"{show_path(out)}: {_what(manifest)}")


@command(main, "verify")
@click.argument("files", metavar="FILE...|ENTRY", nargs=-1, required=True)
@click.option("--signature", metavar="FILE.sig", help="The envelope of a list. Default: FILE.sig beside FILE.")
@click.option(
    "--trusted-keys",
    metavar="KEYS",
    help="Whose signatures count: what hashhub contributor key list --allowed-signers prints, or a public key in PEM.",
)
@_reading
@click.option("-o", "--out", metavar="FILE.json", help="Keep the proof of ENTRY, to be verified later as a FILE.")
def verify(
    session: Session, *, files: tuple[str, ...], signature: str | None, trusted_keys: str | None, out: str | None,
    **reading: Any,
) -> None:  # fmt: skip
    """Say who signed a list or an entry, and whether it says what was signed. Exit code 1 when nobody did.

    FILE is a list, or a proof that --out kept: no hub is asked, and --trusted-keys is needed. Of ENTRY,
    CONTRIBUTOR/SET/ENTRY, the hub is asked for a proof and, without --trusted-keys, for the contributor's keys.
    """
    keys = envelopes.read_trusted_keys(named_file("trusted-keys", trusted_keys).decode()) if trusted_keys else []
    name = files[0]
    if len(files) == 1 and not Path(name).exists() and len(name.split("/")) == _PARTS:
        with session.connect() as hub:
            proof = hub.get_entry_proof(name)
            keys = keys if trusted_keys else envelopes.trusted_keys(hub.get_contributor(name.partition("/")[0]))
        if out is not None:
            with whole_file(out, replace=True) as (target, keep):
                target.write(msgspec.json.encode(proof))
                keep()
        _verify_proof(session, proof, keys)
        return
    if not trusted_keys:
        raise click.UsageError("--trusted-keys is missing: it says whose signature of FILE counts")
    with opened(name) as source:
        if source.read(len(_PROOF)) == _PROOF:
            _verify_proof(session, msgspec.json.decode(_PROOF + source.read(), type=EntryProof), keys)
            return
    envelope = envelopes.read_envelope(named_file("signature", signature or f"{name}.sig"))
    manifest, digest = read_statement(envelope.statement)
    here, digest_here = _manifest(files, manifest.hash_set, replace=manifest.replace, **reading)
    problems = []
    if digest_here != digest:
        problems.append("its SHA-256 is not that of the file that was signed")
    if (here.entry_count, here.entries_root) != (manifest.entry_count, manifest.entries_root):
        problems.append(
            f"its entries, read by {here.connector} {here.connector_version}, are not those that were signed, read by "
            f"{manifest.connector} {manifest.connector_version}; give the same --format, --option and --mapping"
        )
    _answer(session, name, envelope, manifest, keys, problems)


def _verify_proof(session: Session, proof: EntryProof, keys: list[envelopes.TrustedKey]) -> None:
    envelope = envelopes.read_envelope(proof.signature)
    manifest, _ = read_statement(envelope.statement)
    verify_entry(proof, manifest)
    _answer(session, proof.name, envelope, manifest, keys, [], proof.canonical_entry)


def _answer(
    session: Session, name: str, envelope: envelopes.SignedEnvelope, manifest: Manifest,
    keys: list[envelopes.TrustedKey], problems: list[str], entry: str = "",
) -> None:  # fmt: skip
    own = envelopes.signers(envelope, keys, manifest.hash_set.partition("/")[0])
    counted = [key.name or "the key given" for key in own if key.is_valid_at(manifest.time)]
    if not counted:
        why = f"{own[0].name} was not valid when it signed" if own else "none of the trusted keys signed it"
        problems = [why, *problems]
    if session.json:
        print_json({"name": name, "signed": not problems, "keys": counted, "problems": problems, **_told(manifest)})
    elif problems:
        session.answer({}, *(f"NOT SIGNED: {clean(name)}: {clean(problem)}" for problem in problems))
    else:
        lines = [f"{clean(name)} is signed by {clean(', '.join(counted))}", f"in a list of {_what(manifest)}"]
        session.answer({}, *lines, *([f"it says {clean(entry)}"] if entry else []))
    if problems:
        raise click.exceptions.Exit(REFUSED)


def _manifest(
    files: tuple[str, ...], hash_set: str, *, replace: bool, format_: str | None, options: tuple[str, ...],
    mapping: str | None,
) -> tuple[Manifest, str]:  # fmt: skip
    from hashhub import connector as connectors
    from hashhub.client.contribution import manifest_of
    from hashhub.client.transport import hash_set_name

    hash_set_name(hash_set)  # refuses what is no CONTRIBUTOR/SET
    settings = settings_of(options, mapping)
    name = format_ or ("csv" if "mapping" in settings else None)
    with ExitStack() as stack:
        sources = [stack.enter_context(opened(file)) for file in files]
        connector = None if name is None else connectors.get(name)
        return manifest_of(sources, connector=connector, hash_set=hash_set, options=settings, replace=replace)


def _what(manifest: Manifest) -> str:
    whole = ", the full list" if manifest.replace else ""
    return clean(f"{manifest.entry_count:,} entries for {manifest.hash_set}{whole}, signed {minute(manifest.time)}")


def _told(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}
