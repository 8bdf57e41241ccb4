"""How a command says which entries it means, and how it tells what was done to them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import click

from hashhub.cli.session import Session, as_one, choice, dry_run, options
from hashhub.cli.terminal import clean, note, show_path, table, tell
from hashhub.errors import InvalidArgument, NotFound
from hashhub.hashes import Hash, parse_pair
from hashhub.model import (
    MAX_SELECTED,
    MAX_TEXT,
    EntryAction,
    EntryChanges,
    EntryState,
    ImportState,
    Selection,
    WithdrawalReason,
)

if TYPE_CHECKING:
    from hashhub.client import Client

_LINE: Final = 4 * MAX_TEXT + 2  # bytes: no name, hash or id has more
_BOMS: Final = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_IMPORT_ID: Final = len("imp-") + 16
_SHORTEST: Final = 4  # characters of an import's id by which it may be called
_DONE: Final = {
    EntryAction.WITHDRAW: ("withdrawn", "would be withdrawn"),
    EntryAction.RESTORE: ("restored", "would be restored"),
    EntryAction.QUARANTINE: ("quarantined", "would be quarantined"),
    EntryAction.RELEASE: ("released", "would be released"),
}
_WHY: Final = {
    "ACTIVE": "match already",
    "QUARANTINED": "are in quarantine already",
    "WITHDRAWN": "are withdrawn",
    "WITHDRAWAL_PENDING": "you asked for that before: another person must agree",
    "SUPERSEDED": "a newer entry of the same item stands",
    "ERASED": "were erased, or their item was",
    "ROLE_NOT_ALLOWED": "only an operator may do that",
}

_OPTIONS: Final = (
    click.option("--hash-set", default="", metavar="CONTRIBUTOR/SET", help="Only entries of this hash set."),
    click.option("--contributor", default="", metavar="ID", help="Only entries of this contributor."),
    click.option(
        "--hash", "hashes", multiple=True, metavar="ALGORITHM:DIGEST", help="With this very hash; repeatable."
    ),
    click.option("--external-id", "external_ids", multiple=True, metavar="ID", help="With this own id; repeatable."),
    click.option(
        "--import",
        "imports",
        multiple=True,
        metavar="CONTRIBUTOR/SET/IMPORT",
        help="Of this import; repeatable. The first characters of its id suffice, and `latest` is the newest "
        "that was committed.",
    ),
    click.option("--state", "states", multiple=True, type=choice(EntryState), help="In this state; repeatable."),
    click.option(
        "--where",
        "conditions",
        multiple=True,
        metavar="DIMENSION=VALUE",
        help="That state this, such as verdict=csam or age_band=prepubescent; repeatable.",
    ),
    click.option("--tag", "tags", multiple=True, metavar="TEXT", help="With this tag; repeatable."),
    click.option("--series", "series", multiple=True, metavar="TEXT", help="Of this series; repeatable."),
    click.option("--text", default="", metavar="TEXT", help="With this text in an id, tag, series, position or extra."),
    click.option(
        "--names-from",
        metavar="FILE",
        help="With one of the names, or one of the hashes, in FILE: one a line; - is standard input.",
    ),
    click.option("--external-ids-from", metavar="FILE", help="With one of the own ids in FILE, one a line."),
)


def selecting(*, reason: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that choose entries; it gets what they say as `criteria`, for `selection_of`.

    `reason`: how it spells the option for the entries' reason codes.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*arguments: Any, **others: Any) -> None:
            names = [p for option in _OPTIONS for p in _parameters(option)]
            criteria = {name: others.pop(name) for name in [*names, "reasons"]}
            function(*arguments, criteria=criteria, **others)

        with_reason = click.option(
            reason, "reasons", multiple=True, metavar="CODE", help="For this reason, such as UNCLASSIFIED; repeatable."
        )
        return options(*_OPTIONS[:6], with_reason, *_OPTIONS[6:])(run)

    return decorate


def _parameters(option: Callable[[Callable[..., None]], Callable[..., None]]) -> list[str]:
    def nothing() -> None:
        """Carry the parameters."""

    return [p.name or "" for p in getattr(option(nothing), "__click_params__", [])]


def selection_of(hub: Client, criteria: dict[str, Any], names: tuple[str, ...] = ()) -> Selection:
    """Return the selection that options and names state. Raises UsageError, InvalidArgument, NotFound."""
    hashes = [_hash(text) for text in criteria["hashes"]]
    external_ids = list(criteria["external_ids"])
    chosen_names = list(names)
    if (file := criteria["names_from"]) is not None:
        more_names, more_hashes = _names_and_hashes(file)
        chosen_names += more_names
        hashes += more_hashes
        if not (more_names or more_hashes):
            raise InvalidArgument.field("names-from", f"{_called(file)} names nothing", "EMPTY")
    if (file := criteria["external_ids_from"]) is not None:
        more = [text for _, text in _lines(file, "external-ids-from")]
        external_ids += more
        if not more:
            raise InvalidArgument.field("external-ids-from", f"{_called(file)} names nothing", "EMPTY")
    dimensions: dict[str, list[str]] = {}
    for condition in criteria["conditions"]:
        name, equals, value = condition.partition("=")
        if not equals or not name or not value:
            raise click.UsageError(f"--where must be DIMENSION=VALUE, got {condition[:60]!r}")
        dimensions.setdefault(name.strip().lower().replace("-", "_"), []).append(value.strip())
    return Selection(
        contributor=criteria["contributor"],
        hash_set=criteria["hash_set"],
        names=tuple(dict.fromkeys(chosen_names)),
        hashes=tuple(dict.fromkeys(hashes)),
        external_ids=tuple(dict.fromkeys(external_ids)),
        imports=tuple(import_called(hub, name, committed=True) for name in criteria["imports"]),
        states=tuple(criteria["states"]),
        reasons=tuple(reason.upper().replace("-", "_") for reason in criteria["reasons"]),
        dimensions={name: tuple(values) for name, values in dimensions.items()},
        tags=tuple(criteria["tags"]),
        series=tuple(criteria["series"]),
        text=criteria["text"],
    )


def is_given(criteria: dict[str, Any]) -> bool:
    """Whether any option chooses entries."""
    return any(value for value in criteria.values())


def import_called(hub: Client, name: str, *, committed: bool = False) -> str:
    """Return the whole name of an import that is called by the first characters of its id, or as `latest`.

    `committed`: the latest is meant that was committed. A list that was only checked has findings, and no entry.
    Raises NotFound when there is none, InvalidArgument when there are several.
    """
    hash_set, slash, wanted = name.rpartition("/")
    if not slash or "/" not in hash_set or len(wanted) >= _IMPORT_ID:
        return name
    own = wanted if wanted.startswith("imp-") else f"imp-{wanted}"
    if wanted != "latest" and len(own) < len("imp-") + _SHORTEST:
        raise InvalidArgument.field("import", f"{wanted!r} is too short: give {_SHORTEST} characters of its id or more")
    fitting: list[str] = []
    for one in hub.list_imports(hash_set):
        if wanted == "latest":
            if committed and one.state is not ImportState.COMMITTED:
                continue
            return f"{hash_set}/{one.id}"
        if one.id.startswith(own):
            fitting.append(f"{hash_set}/{one.id}")
    if len(fitting) > 1:
        raise InvalidArgument.field("import", f"{len(fitting)} imports begin like that: {', '.join(fitting[:5])}")
    if not fitting and committed and wanted == "latest":
        raise NotFound(f"{hash_set[:150]} has no committed import yet; `hashhub findings {hash_set[:150]}` lists all")
    if not fitting:
        raise NotFound(f"there is no import {name[:150]!r}; `hashhub findings {hash_set[:150]}` lists them")
    return fitting[0]


class ChosenEntries(NamedTuple):
    """The entries that a command is about: one by name, or all that are named or selected."""

    names: tuple[str, ...]
    criteria: dict[str, Any]
    limit: int | None
    expect: int | None
    yes: bool
    validate_only: bool

    @property
    def single(self) -> str | None:
        """The entry, where it is one and nothing else is chosen. Raises UsageError when none is named at all."""
        if not self.names and not is_given(self.criteria):
            raise click.UsageError("name entries, or choose them with options such as --hash-set, --import or --hash")
        return self.names[0] if len(self.names) == 1 and not is_given(self.criteria) else None

    def change(
        self, session: Session, action: EntryAction, *, reason: WithdrawalReason | None = None, comment: str = ""
    ) -> None:
        """Say what would become of the entries, ask, and do it."""
        with session.connect() as hub:
            selection = selection_of(hub, self.criteria, self.names)
            carry_out = functools.partial(
                hub.change_entries, selection, action, reason=reason, comment=comment, limit=self.limit or 0
            )
            expect = self.expect
            # Who says how many there are has looked at them.
            if self.validate_only or (expect is None and not self.yes):
                would = carry_out(expected_count=expect, validate_only=True)
                if self.validate_only or not would.changed + would.pending:
                    _show(session, would)
                    return
                if not session.json:
                    _show(session, would, asking=True)
                count = would.changed + would.pending
                click.confirm(f"{action.value.capitalize()} {count:,} entries?", abort=True, err=True)
                # What came in since the question was asked was not agreed to.
                expect = would.selected
            _show(session, carry_out(expected_count=expect))


def one_or_many(
    *own: Callable[[Callable[..., None]], Callable[..., None]],
    reason: str = "--reason",
    yes: str = "With several entries: do not ask before it is done.",
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command what chooses entries, as `ChosenEntries`, and its own options. `yes`: the help of --yes."""
    others: tuple[Callable[[Any], Any], ...] = (
        click.argument("names", metavar="[CONTRIBUTOR/SET/ENTRY]...", nargs=-1),
        selecting(reason=reason),
        *own,
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N entries. Default: all."),
        click.option(
            "--expect", type=click.IntRange(min=0), metavar="N", help="Do nothing if more than N entries are selected."
        ),
        click.option("--yes", is_flag=True, help=yes),
        dry_run(),
    )

    return as_one(ChosenEntries, ChosenEntries._fields, *others)


def _show(session: Session, done: EntryChanges, *, asking: bool = False) -> None:
    if session.print_if_json(done):
        return
    did, would = _DONE[done.action]
    rows: list[tuple[str, object, str]] = [("selected", f"{done.selected:,}", "")]
    if done.changed or not done.pending:
        rows.append((would if done.validate_only else did, f"{done.changed:,}", ", ".join(done.examples[:2])))
    if done.pending:
        meaning = "still match until a second person agrees"
        rows.append(("would be pending" if done.validate_only else "pending", f"{done.pending:,}", meaning))
    if done.also:
        rows.append(("also", f"{done.also:,}", "further entries of the same items"))
    rows += [
        (f"left: {x.reason}", f"{x.count:,}", _WHY.get(x.reason, "") + f"; {x.examples[0]}" if x.examples else "")
        for x in done.skipped
    ]
    if done.unmatched:
        told = ", ".join(done.unmatched_examples[:2])
        rows.append(("without an entry", f"{done.unmatched:,}", told))
    table(("outcome", "entries", "for example"), rows)
    if asking:
        return
    if done.validate_only:
        tell(f"Nothing was done. To do it: the same command with --expect {done.selected} instead of --dry-run.")
    elif done.pending:
        note(
            f"{done.pending:,} entries STILL MATCH: so many withdrawals in a day need a second person. They are "
            "withdrawn once an operator, or another token of the contributor, runs the same command."
        )
    elif done.revision:
        tell(f"Done at revision {done.revision}.")
    if not done.selected:
        note("no entry is meant by this")


def _hash(text: str) -> Hash:
    try:
        return parse_pair(text)
    except InvalidArgument as e:
        raise click.UsageError(f"--hash must be ALGORITHM:DIGEST, got {clean(text[:60])!r}: {e.message}") from e


def _names_and_hashes(file: str) -> tuple[list[str], list[Hash]]:
    """Return the names or the hashes of a file, which holds one kind."""
    names: list[str] = []
    hashes: list[Hash] = []
    for number, text in _lines(file, "names-from"):
        if text.count("/") == 2 and text.rpartition("/")[2].isdecimal() and ":" not in text:  # noqa: PLR2004 - a name
            names.append(text)
        else:
            try:
                hashes.append(parse_pair(text))
            except InvalidArgument as e:
                raise InvalidArgument.field(
                    "names-from",
                    f"line {number} of {_called(file)} is neither CONTRIBUTOR/SET/ENTRY nor ALGORITHM:DIGEST; own ids "
                    "go with --external-ids-from",
                    "RESOURCE_NAME",
                ) from e
        if names and hashes:
            raise InvalidArgument.field(
                "names-from",
                f"line {number} of {_called(file)} is of another kind than those before: one file holds names, or "
                "hashes",
                "NOT_ALLOWED",
            )
    return names, hashes


def _lines(file: str, option: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that are not empty, with their numbers, without the spaces around them."""
    try:
        # `-` is standard input, which stays open.
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as source:
            yield from _read(source, file, option)
    except OSError as e:
        raise NotFound(f"cannot read {_called(file)}: {e.strerror or type(e).__name__}") from e


def _read(source: BinaryIO, file: str, option: str) -> Iterator[tuple[int, str]]:
    count = number = 0
    while line := source.readline(_LINE):
        number += 1
        if number == 1 and any(line.startswith(mark) for mark, _ in _BOMS):
            raise InvalidArgument.field(option, f"{_called(file)} is UTF-16; save it as UTF-8", "NOT_ENCODED")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as e:
            text = f"line {number} of {_called(file)} is not UTF-8; save the file as UTF-8"
            raise InvalidArgument.field(option, text, "NOT_ENCODED") from e
        if len(line) == _LINE and not line.endswith(b"\n"):
            raise InvalidArgument.field(option, f"line {number} of {_called(file)} is too long", "TOO_LONG")
        if not text:
            continue
        count += 1
        if count > MAX_SELECTED:
            raise InvalidArgument.field(
                option,
                f"{_called(file)} has more than {MAX_SELECTED:,} lines; split it, or choose by --import",
                "TOO_MANY",
            )
        yield number, text


def _called(file: str) -> str:
    return "standard input" if file == "-" else show_path(Path(file))
