"""A new hub's directory: settings, service files, checklist, certificates, database and first tokens.

All of it is made beside the directory, which then gets its name. Whatever ends the process, there is a whole directory
or none; what was not finished can be deleted.
"""

from __future__ import annotations

import re
import secrets
import shutil
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any, Final

import msgspec

from hashhub import config
from hashhub.addresses import parse_address, shown
from hashhub.authority import Authority
from hashhub.cli.session import chosen
from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from hashhub.hub import Hub
from hashhub.local_files import make_directory, sync, written
from hashhub.model import SYSTEM, Contributor, ContributorKind, HashSet, Principal, Reliability, Role
from hashhub.server.exposure import check_exposure
from hashhub.server.process import TOKEN_FILE
from hashhub.store import NoDatabase, Store

_PATH: Final = re.compile(r"/[\w./-]+", re.ASCII)
_TEMPLATES: Final = Path(__file__).with_name("hub_files")
_FILES: Final = ("tls_certificate", "tls_key", "database_password_file")
_SETTINGS: Final = ("listen", "http", "database", *_FILES)


def check_directory(directory: Path) -> None:
    """Raise InvalidArgument for a path that cannot be a hub's, AlreadyExists, which names it, for what is there."""
    if not _PATH.fullmatch(str(directory)):
        text = "must be a path of a-z, A-Z, 0-9 and _ . - / alone: a unit and commands have it as it is"
        raise InvalidArgument.field("dir", f"{text}; got {str(directory)!r}", "PATTERN")
    there = [directory] if directory.exists() or directory.is_symlink() else []
    if there := sorted(directory.iterdir()) if directory.is_dir() else there:
        text = "nothing that exists is replaced; name a new directory with --dir, or move these away"
        raise AlreadyExists(f"{text}: {', '.join(map(str, there))}")


def check_database(database: str, password_file: str) -> None:
    """Connect to a PostgreSQL database, and write nothing. Raises FailedPrecondition where it is a hub's already."""
    settings = config.Config(database=database, database_password_file=password_file)
    with suppress(NoDatabase):
        store = Store.open(settings.database_url(), create=False)
        try:
            if any(token.role is Role.OPERATOR for token in store.tokens.list_tokens()):
                raise FailedPrecondition("the database is a hub's already, with operators' tokens; name an empty one")
        finally:
            store.close()


def check_certificate(certificate: str, key: str, host: str = "") -> None:
    """Load a certificate and, with `host`, shake hands as a member does who asks for it. Raises InvalidArgument."""
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key, password=lambda: "")
        client = ssl.create_default_context(cafile=certificate)
        client.check_hostname = bool(host)
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # which authorities a member trusts is not known here
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (client.wrap_bio(down, up, server_hostname=host or None), server.wrap_bio(up, down, server_side=True))
        for end in ends * 2:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as e:
        text = f"members would refuse the certificate ({e.verify_message}); have another one issued"
        raise InvalidArgument.field("tls_certificate", text) from e
    except (OSError, ValueError) as e:
        cause = getattr(e, "reason", None) or getattr(e, "strerror", None) or e
        text = f"certificate and key cannot be used ({cause}); give PEM files that belong together, the key unencrypted"
        raise InvalidArgument.field("tls_certificate", text) from e


def install(answers: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Make the hub that the answers describe, and return its files by what they are. Raises HashHubError."""
    make_directory(directory.parent, field="dir")
    answers = {**answers, **{name: str(Path(answers[name]).absolute()) for name in _FILES if answers[name]}}
    part = directory.with_name(f"{directory.name}.unfinished-{secrets.token_hex(4)}")
    files = {"settings": "hashhub.toml", "unit": "hashhub.service", "compose": "compose.yaml",
             "checklist": "checklist.md", "contributor_token": f"{answers['contributor']}.token",
             "operator_token": f"data/{TOKEN_FILE}"}  # fmt: skip
    files |= {} if answers["tls_certificate"] else {"authority": "ca/authority.pem"}

    def put() -> None:
        sync(part)
        try:
            part.rename(directory)
        except OSError as e:
            text = f"{str(directory)!r} cannot be made ({e.strerror}), and nothing was; name a new directory with --dir"
            raise FailedPrecondition(text) from e
        sync(directory.parent)

    def keep(secret: str) -> None:
        _write(part / files["operator_token"], f"{secret}\n")
        if settings.database:
            put()  # before the secret is the database's: a start of the hub makes another one where none works

    try:
        for path in (part, part / "data", part / "kernels"):
            make_directory(path, field="dir")
        settings = _write_settings(answers, part, directory)
        _write_texts(answers, settings, part, directory)
        with Hub.open(msgspec.structs.replace(settings, data=str(part / "data"))) as hub:
            _write(part / files["contributor_token"], f"{_contributors_secret(hub, answers)}\n")
            hub.tokens.bootstrap(keep)
        if not settings.database:
            put()
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {"directory": str(directory), **{what: str(directory / name) for what, name in files.items()}}


def _contributors_secret(hub: Hub, answers: Mapping[str, str]) -> str:
    """Make the contributor, its hash set and its token, and return that one's secret. Where PostgreSQL has them, since
    an earlier run was killed, they are taken up: until there is an operator's token, its database is nobody's hub.
    """
    owner, by = answers["contributor"], Principal(name=SYSTEM.name, role=Role.OPERATOR)
    kind, letter = chosen(ContributorKind, answers["contributor_kind"]), chosen(Reliability, answers["reliability"])
    told: dict[str, Any] = {"display_name": answers["contributor_name"], "jurisdiction": answers["contributor_country"]}
    contributor = Contributor(id=owner, kind=kind, reliability=letter, **told)
    scheme = "" if answers["scheme"] == "none" else answers["scheme"]
    hash_set = HashSet(contributor=owner, id=answers["hash_set"], scheme=scheme)
    try:
        hub.contributors.create(by, contributor, request_id="init-contributor")
        hub.hash_sets.create(by, hash_set, request_id="init-hash-set")
    except AlreadyExists as e:
        text = "the database has what an init that was ended began with other answers; name an empty one"
        raise FailedPrecondition(text) from e
    own = {"display_name": answers["name"], "jurisdiction": answers["country"]}
    mine = msgspec.structs.replace(contributor, id=hub.store.resources.own_contributor(), **own)
    hub.contributors.update(by, mine, tuple(own))
    try:
        return hub.tokens.create(by, Principal(name=owner, contributor=owner, role=Role.CONTRIBUTOR))[1]
    except AlreadyExists:
        return hub.tokens.rotate(by, owner, timedelta(0))[1]


def _write_settings(answers: Mapping[str, str], part: Path, directory: Path) -> config.Config:
    """Write certificates and settings, and return these as the hub will read them."""
    values = {
        "data": str(directory / "data"),
        **{name: answers[name] for name in ("listen", "http", "database", *_FILES)},
    }
    if not answers["tls_certificate"]:
        authority = Authority.create(part / "ca", f"hashhub pilot {answers['country']}")
        kind = "IP" if ":" in answers["host"] or answers["host"].replace(".", "").isdecimal() else "DNS"
        names = dict.fromkeys((f"{kind}:{answers['host']}", "DNS:localhost", "IP:127.0.0.1"))
        authority.issue("hub", tuple(names), days=90, server=True)
        values |= {"tls_certificate": str(directory / "ca/hub.pem"), "tls_key": str(directory / "ca/hub.key")}
    lines = [f"{name} = {_text(value)}\n" for name, value in values.items()]
    _write(part / "hashhub.toml", f"# {answers['name']}. All settings: docs/operate/config.md\n{''.join(lines)}")
    settings = config.load(part / "hashhub.toml", {})
    check_exposure(settings)
    return settings


def _write_texts(answers: Mapping[str, str], settings: config.Config, part: Path, directory: Path) -> None:
    own = not answers["tls_certificate"]
    listen, port = parse_address("listen", settings.listen)
    is_here = own and listen in {"0.0.0.0", "::", "127.0.0.1", "localhost"}  # noqa: S104 - what was answered
    files = (settings.tls_certificate, settings.tls_key, settings.database_password_file)
    read = {Path(file).parent for file in files if file and directory not in Path(file).parents}
    address = shown(answers["host"], port)
    values = {
        **answers,
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "directory": str(directory),
        "programs": str(Path(sys.executable).parent),
        "volumes": _text([f"{directory}:{directory}", *(f"{place}:{place}:ro" for place in sorted(read))]),
        "address": address,
        "server": f"localhost:{port}" if is_here else address,
        "ca_option": f" --ca-file {directory}/ca/authority.pem" if own else "",
        "ca_of_members": " --ca-file authority.pem" if own else "",
    }

    def filled(template: str, **more: str) -> str:
        return Template((_TEMPLATES / template).read_text("utf-8")).substitute(values | more)

    sources = (filled("source.txt", protocol=protocol) for protocol in listed(answers["sources"]))
    readers = (filled("reader.txt", reader=reader) for reader in listed(answers["readers"]))
    values |= {"sources": "".join(sources), "readers": "".join(readers)}
    for name in ("hashhub.service", "compose.yaml", "checklist.md"):
        _write(part / name, filled(name))


def listed(text: str) -> list[str]:
    """Return the names in a text with commas between."""
    return [name for name in map(str.strip, text.split(",")) if name]


def _write(path: Path, text: str) -> None:
    with written(path) as file:
        file.write(text.encode())


def _text(value: Any) -> str:
    """Return a value as JSON writes it, and TOML and YAML read it."""
    return msgspec.json.encode(value).decode()
