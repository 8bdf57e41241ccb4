"""Common parts of all commands: the hub's address, the token, output, errors and exit codes.

    --server  HASHHUB_SERVER      127.0.0.1:8470
    --token-file  HASHHUB_TOKEN_FILE  HASHHUB_TOKEN      or of `hashhub login`; for a hub here then DATA/operator.token
    exit code 0 done, 1 refused (or matched, where asked), 2 usage, 3 unavailable
    an error with --json   {"error": {"reason", "message", "hint"}} on stdout, besides the lines on stderr

The operator's token in the data directory is never sent to another machine.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, Final, TypeVar

import click
import msgspec

from hashhub.addresses import is_this_machine
from hashhub.cli.logins import login_file, secret_of
from hashhub.cli.terminal import clean, note, plain, print_json, say, table
from hashhub.config import Config
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.local_files import named_file

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.model import Marking

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130  # what shells expect after Ctrl-C: 128 + SIGINT

_DEFAULT_SERVER: Final = Config().listen

_HINTS: Final = {
    Reason.TOKEN_MISSING: (
        "give --token-file FILE or set HASHHUB_TOKEN_FILE; `hashhub serve` wrote one to DATA/operator.token"
    ),
    Reason.TOKEN_UNKNOWN: "the token was deleted, or belongs to another hub; see `hashhub token list`",
    Reason.TOKEN_EXPIRED: "operators extend it by `hashhub token update NAME --expires 90d`; people log in again",
    Reason.SECRET_REPLACED: "whoever rotated the token has the new secret; if nobody did, tell the operator at once",
    Reason.LIST_SHRANK: "compare the list with the last one; if it is right, run again with --allow-shrinking",
    Reason.SELECTION_GREW: "run it with --dry-run again, and give the number that it says with --expect",
    Reason.UNKNOWN_FORMAT: "see `hashhub formats list`",
    Reason.UNKNOWN_SCHEME: "see `hashhub scheme list`",
    Reason.DISTANCE_REQUIRED: "name one, for example --max-distance PHOTODNA=N",
    Reason.MATCHER_NOT_READY: "the hub is still starting; try again in a moment",
}

_JSON: Final = "hashhub.json"  # in a context: whether JSON is asked for

E = TypeVar("E", bound=StrEnum)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The common options of one run."""

    server: str
    json: bool
    verbose: bool
    token_file: str | None
    tls: bool | None
    ca_file: str | None
    certificate: str | None = None
    key: str | None = None

    def show(
        self,
        values: Iterable[T],
        columns: Sequence[str],
        row: Callable[[T], Sequence[object]],
        *,
        empty: str = "none",
        as_json: Callable[[T], object] = plain,
    ) -> None:
        """Print values: as JSON one object a line, otherwise a table of their rows, or `empty`."""
        if self.json:
            for value in values:
                print_json(as_json(value))
        else:
            table(columns, [row(value) for value in values], empty=empty)

    def print_if_json(self, value: object, *, err: bool = False) -> bool:
        """Print a value where JSON is asked for; return whether it is. `err`: on stderr."""
        if self.json:
            print_json(plain(value), err=err)
        return self.json

    def answer(self, value: object, *lines: str) -> None:
        """Print a value as JSON, or lines for people."""
        if not self.print_if_json(value):
            for line in lines:
                say(line)

    def show_deleted(self, name: str, **fields: object) -> None:
        """Say that a resource was deleted."""
        self.answer({**(fields or {"name": name}), "deleted": True}, f"deleted {clean(name)}")

    def connect(self, *, token: str = "", **options: float) -> Client:
        """Return a client for the hub. `token`: instead of what is given or found; `options`: of Client. Raises
        InvalidArgument when a file that was named cannot be read.
        """
        from hashhub.client import Client

        if bool(self.certificate) != bool(self.key):
            raise click.UsageError("--certificate and --key, its private key, must be given together")
        if self.certificate and self.token_file:
            raise click.UsageError("--certificate and --token-file, or their variables, say twice who calls; give one")
        ca = named_file("ca-file", self.ca_file) if self.ca_file else None
        own = (self.certificate, self.key) if self.certificate and self.key else None
        token = token or ("" if own else self.secret())
        return Client(self.server, token, tls=self.tls, ca_certificates=ca, certificate=own, **options)

    def secret(self) -> str:
        """Return the secret of the token that is given, or found; empty without. Raises InvalidArgument."""
        from hashhub.client import is_loopback

        if self.token_file:
            return named_file("token-file", self.token_file).decode("utf-8", "replace").strip()
        if token := os.environ.get("HASHHUB_TOKEN", "").strip():
            return token
        host = self.server.rpartition(":")[0].strip("[]") or self.server
        local = is_loopback(self.server) or (self.tls is not False and is_this_machine(host))
        operators = Path(os.environ.get("HASHHUB_DATA") or Config().data) / "operator.token"
        for file in (login_file(self.server), *([operators] if local else [])):
            with contextlib.suppress(OSError, ValueError):  # another user's, or none: the hub says that one is missing
                text, _, until = file.read_text("utf-8").strip().partition(" ")
                if not until or _is_ahead(until):
                    return secret_of(self.server, text)
                note("note: the login is over and is not used; log in again with `hashhub login`")
        return ""


def _is_ahead(until: str) -> bool:
    try:
        return datetime.now(UTC) < datetime.fromisoformat(until)
    except (TypeError, ValueError):  # TypeError: it names no time zone
        return False


class _UsageInJson(click.UsageError):
    """A wrong command line, told as JSON."""

    def __init__(self, error: click.UsageError) -> None:
        super().__init__(error.format_message(), error.ctx)

    def show(self, file: IO[Any] | None = None) -> None:
        path = self.ctx.command_path if self.ctx is not None else "hashhub"
        print_error("USAGE", self.message, f"see `{path} --help`")
        super().show(file)


class CommandGroup(click.Group):
    """A group of commands.

    `default`: the command that is meant where none is named: `backup DIR` is `backup create DIR`.
    """

    def __init__(self, *arguments: Any, default: str = "", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default in where no command is named."""
        if self.default:
            named = {*self.commands, *ctx.help_option_names}
            if args[0] not in named if args else not self.no_args_is_help:
                args = [self.default, *args]
        return super().parse_args(ctx, args)


class LazyGroup(CommandGroup):
    """A group whose commands are loaded when one is first asked for.

    `load`: imports the modules that add them.
    """

    def __init__(self, *arguments: Any, load: Callable[[], None], **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._load = load

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        """The commands, by name."""
        self._load()
        return self._commands

    @commands.setter
    def commands(self, commands: MutableMapping[str, click.Command]) -> None:
        self._commands = commands

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether JSON is asked for."""
        ctx.meta[_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; say in JSON what is wrong with its command line, where JSON was asked for."""
        try:
            return super().invoke(ctx)
        except click.UsageError as e:
            if ctx.meta[_JSON]:
                raise _UsageInJson(e) from e
            raise

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command of a part, without loading the others."""
        self._commands[name or cmd.name or ""] = cmd


def print_error(reason: str, message: str, hint: str, **more: object) -> None:
    """Print an error as the one JSON object that stands for it."""
    print_json({"error": {"reason": reason, "message": message, "hint": hint, **more}})


def command(
    group: click.Group, name: str, *, local: bool = False
) -> Callable[[Callable[Concatenate[Session, ...], None]], click.Command]:
    """Make a function a command of `group`. It gets a Session first; HashHubError ends it with a line and an exit code.
    `local`: it asks no hub, and takes the same options all the same, so that scripts can give them to all.
    """

    def decorate(function: Callable[Concatenate[Session, ...], None]) -> click.Command:
        @functools.wraps(function)
        def run(**given: Any) -> None:
            session = Session(**{name: given.pop(name) for name in Session.__struct_fields__})
            with _output_checked():
                try:
                    function(session, **given)
                except HashHubError as e:
                    _report(e, session, local=local)
                    raise click.exceptions.Exit(exit_code(e)) from e
                except click.Abort:
                    if session.json:
                        print_error(
                            "NOT_CONFIRMED", "nothing was done: it was not confirmed", "give --yes to go on unasked"
                        )
                    raise
                except KeyboardInterrupt as e:
                    if session.json:
                        print_error("INTERRUPTED", "interrupted", "")
                    note("interrupted")
                    raise click.exceptions.Exit(INTERRUPTED) from e

        made = click.command(name)(run)
        made.params += _common_options(local=local)
        group.add_command(made)
        return made

    return decorate


@contextlib.contextmanager
def _output_checked() -> Iterator[None]:
    """Say that output cannot be written, errors included: a full disk must not look like an answer."""
    try:
        yield
    except OSError as e:
        if e.errno == errno.EPIPE:  # the reader has seen enough; click ends quietly
            raise
        note(f"error: the output cannot be written: {e.strerror or type(e).__name__}; make room and run it again")
        # What is still buffered would fail again at the interpreter's end, and change the exit code.
        with contextlib.suppress(OSError):  # where stdout is no file, nothing is flushed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(UNAVAILABLE) from e


def exit_code(error: HashHubError) -> int:
    """Return 3 when the question could not be answered now, 1 when it was answered with a refusal."""
    if isinstance(error, Unavailable) or (
        isinstance(error, LimitExceeded) and error.reason is Reason.TOO_MANY_REQUESTS
    ):
        return UNAVAILABLE
    return UNAVAILABLE if error.reason is Reason.INTERNAL else REFUSED


NEVER: Final = datetime.max.replace(tzinfo=UTC)  # what `moment` gives for `never`; see `expiry_or_none`
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def span(text: str) -> timedelta:
    """Return the time span that an option states: `30d`, `12h`, `90m`, `45s`, `0`."""
    match = re.fullmatch(r"([0-9]{1,6})([dhms])|0", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no time span; write it like 30d, 12h, 90m, 45s or 0")
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match[1] else timedelta(0)


def moment(text: str, *, needs_zone: bool = False) -> datetime:
    """Return the time that an option states: `2027-01-31` (UTC), `2027-01-31T12:00:00Z`, from now on (`30d`), `now`, or
    `never` (NEVER). `needs_zone`: refuse a time of day that does not say by which clock.
    """
    if text == "never":
        return NEVER
    try:
        if text == "now" or re.fullmatch(r"[0-9]+[dhms]", text):
            return datetime.now(UTC) + span("0" if text == "now" else text)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as e:
        expected = "2027-01-31, 2027-01-31T12:00:00Z, 30d, now or never"
        raise click.BadParameter(f"{text!r} is no time; write it like {expected}") from e
    if needs_zone and time.tzinfo is None and len(text) > len("2027-01-31"):
        raise click.BadParameter(f"{text!r} has no time zone; write it like 2027-01-31T12:00:00Z or …T13:00:00+01:00")
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def past(text: str) -> datetime:
    """Return the time that an option states: in RFC 3339, or a day, UTC where it does not say; or how long ago it was:
    `30m`, `12h`, `7d`.
    """
    try:
        ago = re.fullmatch(r"[0-9]{1,6}[dhms]", text)
        time = datetime.now(UTC) - span(text) if ago else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as e:
        raise click.BadParameter(f"{text!r} is no time such as 2026-05-01T08:00Z, or 12h for twelve hours ago") from e
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def expiry_or_none(time: datetime) -> datetime | None:
    """Return the time, None for NEVER."""
    return None if time == NEVER else time


class _Member(click.Choice[E]):
    """A member of an enumeration, as an option spells it."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        return super().normalize_choice(spelled(choice) if isinstance(choice, StrEnum) else choice, ctx)


def choice(kind: type[E], *, but: E | None = None) -> click.Choice[E]:
    """Return the members of an enumeration, but one, as an option writes them: LAW_ENFORCEMENT as law-enforcement."""
    return _Member([v for v in kind if v is not but], case_sensitive=False)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given. Raises InvalidArgument when none is."""
    fields = {name: value for name, value in options.items() if value is not None}
    if not fields:
        raise InvalidArgument.field("options", "nothing to change was given; name at least one option", "REQUIRED")
    return fields


def clear(options: dict[str, Any], **lists: str) -> None:
    """Empty the lists, values of `lists`, whose `--clear-NAME` was given. Raises UsageError where one is named too."""
    for name, field in lists.items():
        if options.pop(f"clear_{name}"):
            if options[field]:
                raise click.UsageError(f"naming and clearing {name} exclude each other")
            options[field] = ()


def spelled(value: StrEnum) -> str:
    """Return how an option writes this value."""
    return value.value.lower().replace("_", "-")


def terms_of(marking: Marking) -> str:
    """Return what terms say, in words; not their legal basis, which is a sentence of its own."""
    terms = [f"TLP:{marking.tlp.replace('_', '+')}"]
    terms += [f"for {', '.join(marking.permitted_purposes)}"] if marking.permitted_purposes else []
    terms += [f"only {', '.join(marking.recipients)}"] if marking.recipients else []
    terms += ["bulk"] if marking.bulk else []
    terms += [f"up to {name} {distance}" for name, distance in sorted(marking.max_distances.items())]
    terms += ["may be passed on"] if marking.redistribution else []
    terms += ["existence disclosed"] if marking.disclose_existence else []
    terms += [f"until {marking.expire_time:%Y-%m-%d %H:%MZ}"] if marking.expire_time else []
    return "; ".join(terms)


def chosen(kind: type[E], text: str) -> E:
    """Return the member that an option spells: `false-positive` is FALSE_POSITIVE."""
    return kind(text.upper().replace("-", "_"))


def options(*given: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that gives a command several options."""

    def decorate(function: F) -> F:
        for option in reversed(given):
            function = option(function)
        return function

    return decorate


def directory_option(kind: str, text: str) -> Callable[[F], F]:
    """Return the option --dir of commands that keep sources or peers."""
    variable, path = f"HASHHUB_{kind.upper()}", click.Path(file_okay=False, path_type=Path)
    told: dict[str, Any] = {"help": f"{text} ({variable}).", "metavar": "DIR", "default": f"hashhub-{kind}"}
    return click.option("--dir", "directory", type=path, envvar=variable, show_default=True, **told)


def as_one(
    kind: Callable[..., object], names: Iterable[str], *given: Callable[[Callable[..., None]], Callable[..., None]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command several options as one value, its second argument: `kind` of `names`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(session: Session, **others: Any) -> None:
            function(session, kind(**{name: others.pop(name) for name in names}), **others)

        return options(*given)(run)

    return decorate


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Have whatever is written be for this user alone: lists are regulated data."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


several: Final = functools.partial(click.option, multiple=True, callback=lambda _, __, given: given or None)
"""An option that may be repeated, None when it is not given."""


COMMENT: Final = click.option("--comment", default="", metavar="TEXT", help="Why, for the history; no case data.")


def dry_run(text: str = "Say what would be done, and change nothing.") -> Callable[[F], F]:
    """Return the option by which a command only says what it would do. Both names are taken everywhere: the field's own
    `--dry-run`, and the API's `validate_only`.
    """
    return click.option("--dry-run", "--validate-only", "validate_only", is_flag=True, help=text)


def _common_options(*, local: bool) -> list[click.Parameter]:
    def file(name: str, text: str, envvar: str | None = None) -> click.Option:
        return click.Option([name], metavar="FILE", envvar=envvar, hidden=local, help=text)

    return [
        click.Option(["--json"], is_flag=True, help="Print JSON, one object a line."),
        click.Option(
            ["--server"],
            metavar="HOST:PORT",
            envvar="HASHHUB_SERVER",
            default=_DEFAULT_SERVER,
            show_default=not local,
            help="Not used: this command asks no hub." if local else "Address of the hub (HASHHUB_SERVER).",
        ),
        file(
            "--token-file",
            "File with the bearer token (HASHHUB_TOKEN_FILE). Otherwise the token in HASHHUB_TOKEN, or what "
            "`hashhub login` got; for a hub on this machine, then DATA/operator.token.",
            "HASHHUB_TOKEN_FILE",
        ),
        click.Option(
            ["--tls/--no-tls"],
            default=None,
            hidden=local,
            help="Encrypt the connection. By default always, except on this machine.",
        ),
        file("--ca-file", "PEM file with the authorities to trust instead of the system's."),
        file(
            "--certificate",
            "PEM file with a client certificate, instead of a token (HASHHUB_CERTIFICATE).",
            "HASHHUB_CERTIFICATE",
        ),
        file("--key", "PEM file with the certificate's private key (HASHHUB_KEY).", "HASHHUB_KEY"),
        click.Option(["--verbose"], is_flag=True, help="With an error, show its details and its causes."),
    ]


def _hint(error: HashHubError, *, local: bool) -> str:
    """Return what helps besides what the message says, empty if nothing is known. Hints on tokens are about a hub's."""
    if error.metadata.get("tokenOf") == "person":
        return ""
    if error.reason is Reason.SERVER_UNAVAILABLE and not local:
        from hashhub.client.transport import Unreachable

        if isinstance(error, Unreachable):
            return "its address is that of --server HOST:PORT, or else of HASHHUB_SERVER"
    return _HINTS.get(error.reason, "")


def _report(error: HashHubError, session: Session, *, local: bool) -> None:
    hint = _hint(error, local=local)
    remarks = list(getattr(error, "__notes__", ()))
    request = error.metadata.get("requestId")
    if session.json:
        more = {"notes": remarks, "request_id": request}
        print_error(error.reason, error.message, hint, **{name: value for name, value in more.items() if value})
    note(f"error: {clean(error.message)}")
    if hint:
        note(f"hint: {hint}")
    if request:
        note(f"request id: {clean(request)}")
    for remark in remarks:
        note(f"note: {clean(remark)}")
    if not session.verbose:
        return
    note(f"reason: {error.code} {error.reason}")
    for key, value in error.metadata.items():
        note(f"  {clean(key)}: {clean(value)}")
    if isinstance(error, InvalidArgument):
        for v in error.violations:
            note(f"  {clean(v.field)}: {clean(v.description)} ({v.reason})")
    note("".join(traceback.format_exception(error)).rstrip())
