"""`hashhub reconcile`: what databases share, and where they differ. `hashhub operation`: what the hub is working on.

Each question is put to the hub, which works on it beside everything else, or, with --extract, to an extract on this
machine, without a hub. The answers are the same.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.session import DONE, REFUSED, CommandGroup, Session, as_one, choice, command
from hashhub.cli.terminal import (
    clean,
    counted,
    csv_rows,
    minute,
    note,
    picked,
    plain,
    print_json,
    progress,
    say,
    table,
    tell,
    width,
)
from hashhub.errors import FailedPrecondition
from hashhub.local_files import TAKEN, check, make_directory, written
from hashhub.model import OperationState, Reliability
from hashhub.reconcile import tasks
from hashhub.reconcile.results import Agreement, Backend, By, Gap, Link, Omission, Overlap, Proportion

if TYPE_CHECKING:
    from hashhub.client import OperationHandle
    from hashhub.model import Operation

_SHOWN: Final = 20  # rows on a terminal
_SUGGESTED: Final = 10
_NARROW: Final = 80
_OPERATION_FIELDS: Final = ("done", "total", "doing", "create_time", "update_time", "end_time", "expire_time")


@main.group(cls=CommandGroup)
def reconcile() -> None:
    """Compare databases: overlap, contradictions and gaps.

    Statements and verdicts do not change. The hub answers one question at a time, in the background. Operators and
    auditors compare all hash sets, a contributor its own and those that others' terms let it list. --extract DIR
    reads an extract on this machine instead of asking a hub.
    """


@main.group(cls=CommandGroup)
def operation() -> None:
    """Background operations of the hub, and their results."""


class _Answer(NamedTuple):
    """A response, with what gives its rows, and the directory of its files where they are on this machine."""

    response: Any
    rows: Callable[[], Iterator[Link | Gap]]
    files: Path | None
    handle: OperationHandle[Any] | None


class _Question(NamedTuple):
    """Whose hash sets are looked at, and who answers: the hub, or an extract on this machine."""

    contributors: str
    min_reliability: Reliability | None
    extract_directory: Path | None
    no_wait: bool

    @property
    def whose(self) -> dict[str, Any]:
        """The fields of a task that say whose hash sets it is about."""
        names = tuple(name.strip() for name in self.contributors.split(",") if name.strip())
        return {"contributors": names, "min_reliability": self.min_reliability}


_question: Final = as_one(
    _Question,
    _Question._fields,
    click.option(
        "--contributors",
        metavar="ID,...",
        default="",
        help="Look at the hash sets of these only, separated by commas. Default: of all that are rated.",
    ),
    click.option(
        "--min-reliability",
        type=choice(Reliability),
        help="Leave out who has a lower reliability. Default: e, so that who is not rated (f) takes no part, unless "
        "nobody is; f with --contributors.",
    ),
    click.option(
        "--extract",
        "extract_directory",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Ask this extract instead of a hub.",
    ),
    click.option(
        "--no-wait",
        is_flag=True,
        help="Start it and tell its name; `hashhub operation get NAME` shows what came of it.",
    ),
)
_near_option = click.option(
    "--near", is_flag=True, help="Also by near perceptual hashes, counted apart from exact ones."
)


def _note_left_out(left_out: Sequence[Omission]) -> None:
    """Say whom an answer leaves out, and why."""
    for by_choice, why in ((True, "not asked for"), (False, "too low a reliability (--min-reliability f takes all)")):
        if some := [f"{x.contributor} ({x.reliability})" for x in left_out if x.by_choice is by_choice]:
            more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
            note(f"left out, {why}: {clean(', '.join(some[:_SHOWN]))}{more}")


_engine_option = click.option(
    "--engine",
    type=choice(Backend),
    default="duckdb",
    show_default=True,
    help="What computes it. ray: on the cluster that RAY_ADDRESS names, or one on this machine; of a hub, its own.",
)


@command(reconcile, "extract")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def extract(session: Session, *, directory: Path) -> None:
    """Bring an extract into DIR: Parquet files, for DuckDB, pandas, R and the commands here.

    It has the hash sets whose terms let their digests leave, and each download is on record in their history. Run it
    again to bring DIR up to date: only files that have changed are fetched, and the manifest comes last.
    """
    with session.connect() as hub, progress(unit_bytes=False) as bar:
        handle = hub.reconciliation.extract()
        made = _result(handle, bar)
        done = handle.download(directory, progress=bar)
    if session.print_if_json(
        {
            "directory": str(directory),
            "revision": made.revision,
            "hash_sets": made.hash_sets,
            "left_out": made.left_out,
            "fetched": len(done.fetched),
            "unchanged": done.unchanged,
            "bytes": done.size,
        }
    ):
        return
    tell(
        f"{clean(str(directory))}: {counted(len(made.hash_sets), 'hash set')} as of revision {made.revision}; "
        f"{counted(len(done.fetched), 'file')} fetched ({counted(done.size, 'byte')}), {done.unchanged} unchanged"
    )
    if made.left_out:
        tell(f"left out, for their terms let nothing leave: {', '.join(made.left_out)}")


@command(reconcile, "overlap")
@click.option("--by", type=choice(By), default="hash-set", show_default=True, help="What is compared.")
@_near_option
@_engine_option
@click.option("--svg", metavar="FILE", help="Also draw it into this file.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_question
def overlap(
    session: Session, question: _Question, *, by: By, near: bool, engine: Backend, svg: str | None, force: bool
) -> None:
    """Count what hash sets, contributors or jurisdictions share.

    Of each pair both directions: how many ACTIVE entries of one the other holds, too, by an exact digest, and with
    --near how many further ones by a near hash only.
    """
    if svg is not None:
        check(svg, replace=force, taken=TAKEN, field="svg")
    task = tasks.ComputeOverlap(by=by, near=near, engine=engine, **question.whose)
    with _answer(session, task, question) as answer:
        if svg is not None:
            chart = _drawn(answer.response)
            with written(svg, replace=force, taken=TAKEN, field="svg") as target:
                target.write(chart.encode())
        _show(session, answer)


@command(reconcile, "links")
@_near_option
@click.option("--out", metavar="FILE", help="Write all of them: CSV, or JSON lines where the name ends in .jsonl.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_question
def links(session: Session, question: _Question, *, near: bool, out: str | None, force: bool) -> None:
    """Find entries about the same media, each link with its reason.

    By an equal exact digest; with --near also by a perceptual hash that is near, which is weaker.
    """
    _rows_command(session, tasks.FindLinks(near=near, **question.whose), out, question, force=force)


@command(reconcile, "agreement")
@click.option("--confusions", is_flag=True, help="Also show what each states, by what the others' consensus is.")
@_engine_option
@_question
def agreement(session: Session, question: _Question, *, confusions: bool, engine: Backend) -> None:
    """Compare what several contributors state about the same items.

    Krippendorff's alpha by dimension, each contributor against the consensus of the others, and rows for a crosswalk
    that the data suggests. It suggests, and changes nothing.
    """
    with _answer(session, tasks.ComputeAgreement(engine=engine, **question.whose), question) as answer:
        if session.json:
            _show(session, answer)
        else:
            _show_agreement(answer.response, confusions=confusions)


@command(reconcile, "gaps")
@click.option("--jurisdiction", required=True, metavar="CC", help="Who lacks them, by its two letters (ISO 3166-1).")
@click.option("--near", is_flag=True, help="What it holds by a near perceptual hash is not lacking either.")
@click.option("--out", metavar="FILE", help="Write the work list: CSV, or JSON lines where the name ends in .jsonl.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_question
def gaps(session: Session, question: _Question, *, jurisdiction: str, near: bool, out: str | None, force: bool) -> None:
    """Find items that others hold and a jurisdiction lacks, as a work list of names of entries, without digests."""
    code = jurisdiction.upper()
    task = tasks.FindGaps(jurisdiction=code, near=near, **question.whose)
    if question.extract_directory is None:
        with session.connect() as hub:
            if not any(contributor.jurisdiction == code for contributor in hub.list_contributors()):
                note(f"no contributor of {clean(code)} is here, so that it lacks whatever others hold; is it the code?")
    _rows_command(session, task, out, question, force=force)


@command(reconcile, "report")
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Where the page goes.")
@click.option("--title", default="", metavar="TEXT", help="Title of the page.")
@click.option(
    "--jurisdiction",
    "jurisdictions",
    multiple=True,
    metavar="CC",
    help="Whose gaps are listed; repeatable. Default: all.",
)
@_near_option
@_question
def report(
    session: Session, question: _Question, *, out: Path, title: str, jurisdictions: tuple[str, ...], near: bool
) -> None:
    """Write one HTML page with tables and charts, to bring to a meeting. It holds no digest and loads nothing."""
    countries = tuple(j.upper() for j in jurisdictions)
    task = tasks.WriteReport(title=title, jurisdictions=countries, near=near, **question.whose)
    with _answer(session, task, question) as answer:
        if answer.handle is not None:
            answer.handle.download(out)
        elif answer.files is not None:
            make_directory(out, mode=0o777)
            for path in answer.files.iterdir():
                with written(out / path.name, replace=True, mode=0o666) as file:
                    file.write(path.read_bytes())
        files = [str(out / f.path) for f in answer.response.files]
    response = answer.response
    if not session.print_if_json({"files": files, "revision": response.revision, "left_out": response.left_out}):
        tell(f"as of revision {response.revision}: {clean(', '.join(files))}")


def _rows_command(
    session: Session, task: tasks.FindLinks | tasks.FindGaps, out: str | None, question: _Question, *, force: bool
) -> None:
    if out is not None:
        check(out, replace=force, taken=TAKEN)
    with _answer(session, task, question) as answer:
        if out is None:
            _show(session, answer)
            return
        with written(out, replace=force, taken=TAKEN) as target:
            count = _write_rows(target, answer.rows(), is_csv=not out.endswith(".jsonl"), kind=type(task))
    if session.print_if_json({"file": out, "rows": count, **_summary(answer.response)}):
        return
    _say_summary(answer.response)
    tell(f"{clean(out)}: {counted(count, 'row')}")


def _result(handle: OperationHandle[Any], bar: Callable[[int, int | None, str], None]) -> Any:
    try:
        return handle.result(progress=lambda done, total, doing: bar(done, total or None, doing))
    except KeyboardInterrupt:
        note(f"operation {handle.id} goes on; `hashhub operation cancel {handle.id}` ends it")
        raise


@contextmanager
def _answer(session: Session, task: tasks.Task, question: _Question) -> Iterator[_Answer]:
    """Have a task done, by the hub or here, and give its answer. Where nobody waits for it, the command ends here."""
    if question.extract_directory is not None:
        if question.no_wait:
            raise click.UsageError("--no-wait is about a hub; an extract on this machine is asked at once")
        with tempfile.TemporaryDirectory(prefix="hashhub-reconcile-") as out:
            answer = _local(task, question.extract_directory, Path(out))
            _note_left_out(_left_out_of(answer.response))
            yield answer
        return
    with session.connect() as hub:
        handle: OperationHandle[Any] = hub.reconciliation.start(task)
        if question.no_wait:
            _show_operations(session, [handle.operation])
            raise click.exceptions.Exit(DONE)
        with progress(unit_bytes=False) as bar:
            response = _result(handle, bar)
        _note_left_out(_left_out_of(response))
        yield _Answer(response, handle.rows, None, handle)


def _left_out_of(response: Any) -> Sequence[Omission]:
    left_out: Sequence[Omission] = (response.gaps if isinstance(response, tasks.GapsResult) else response).left_out
    return left_out


def _local(task: tasks.Task, directory: Path, out: Path) -> _Answer:
    from hashhub.reconcile.work import ask

    with progress(unit_bytes=False) as bar:
        response = ask(task, directory, out, progress=lambda done, total, doing: bar(done, total or None, doing))

    def rows() -> Iterator[Link | Gap]:
        decode = msgspec.json.Decoder(tasks.ROW_OF[tasks.method_of(task)]).decode
        with (out / tasks.ROWS).open("rb") as lines:
            for line in lines:
                yield decode(line)

    return _Answer(response, rows, out / tasks.FILES, None)


def _drawn(response: Overlap) -> str:
    """Return the chart as a file. Raises FailedPrecondition where there are too many for one."""
    from hashhub.pages import charts
    from hashhub.reconcile.report import MAX_MATRIX, overlap_map

    if len(response.names) > MAX_MATRIX:
        raise FailedPrecondition(
            f"a chart shows {MAX_MATRIX} at most, and there are {len(response.names)}; compare contributors or "
            "jurisdictions (--by), or leave --svg out"
        )
    return charts.standalone(overlap_map(response, {}))


def _write_rows(target: BinaryIO, rows: Iterable[Link | Gap], *, is_csv: bool, kind: type) -> int:
    """Write rows, and return how many. A column of CSV that holds several has spaces between them."""
    count = 0
    if not is_csv:
        for row in rows:
            target.write(json.dumps(plain(row)).encode() + b"\n")
            count += 1
        return count

    write = csv_rows(target)
    write((Link if kind is tasks.FindLinks else Gap).__struct_fields__)
    for row in rows:
        write([clean(" ".join(v) if isinstance(v, tuple) else str(v)) for v in msgspec.structs.astuple(row)])
        count += 1
    return count


# --- What is shown ----------------------------------------------------------------------------------------------------


def _show(session: Session, answer: _Answer) -> None:
    """Print a response; of rows the first ones, or, as JSON, all."""
    response = answer.response
    if isinstance(response, tasks.LinksResult | tasks.GapsResult):
        if session.json:
            for row in answer.rows():
                print_json(plain(row))
            return
        _say_summary(response)
        _show_rows(answer)
    elif session.json or not isinstance(response, Overlap | Agreement):
        print_json(plain(response))
    elif isinstance(response, Overlap):
        _show_overlap(response)
    else:
        _show_agreement(response)


def _summary(response: tasks.LinksResult | tasks.GapsResult) -> dict[str, Any]:
    if isinstance(response, tasks.LinksResult):
        fields = picked(response, "revision", "exact", "near")
    else:
        fields = picked(response.gaps, "jurisdiction", "revision", "items", "by_contributor", "by_verdict")
    return {**fields, "cut": response.is_cut, "left_out": plain(_left_out_of(response))}


def _say_summary(response: tasks.LinksResult | tasks.GapsResult) -> None:
    if isinstance(response, tasks.LinksResult):
        tell(
            f"as of revision {response.revision}: {counted(response.exact, 'link')} by an exact digest, "
            f"{response.near:,} by a near hash"
        )
    else:
        gaps = response.gaps
        tell(
            f"as of revision {gaps.revision}: {counted(gaps.items, 'item')} that others hold and "
            f"{gaps.jurisdiction} lacks"
        )
        if gaps.by_contributor:
            tell("held by: " + ", ".join(f"{name} {count:,}" for name, count in gaps.by_contributor.items()))
        if gaps.by_verdict:
            tell("stated as: " + ", ".join(f"{name} {count:,}" for name, count in gaps.by_verdict.items()))
    if response.is_cut:
        tell(f"only {response.rows:,} of them are kept as rows")


def _show_rows(answer: _Answer) -> None:
    shown: list[Link | Gap] = []
    for row in answer.rows():
        shown.append(row)
        if len(shown) > _SHOWN:
            break
    more, shown = len(shown) > _SHOWN, shown[:_SHOWN]
    if not shown:
        return
    if isinstance(answer.response, tasks.LinksResult):
        table(
            ("entry", "the same as", "why"),
            [(row.left, row.right, row.why) for row in shown if isinstance(row, Link)],
        )
    else:
        table(
            ("entries", "held by", "in", "stated as"),
            [
                tuple(" ".join(v) or "-" for v in (row.entries, row.contributors, row.jurisdictions, row.verdicts))
                for row in shown
                if isinstance(row, Gap)
            ],
        )
    if more:
        tell(f"the first {_SHOWN}; all of them: --out FILE, or --json")


def _show_overlap(overlap: Overlap) -> None:
    """Print a matrix if it fits into a line, otherwise the pairs that share anything."""
    names = overlap.names
    one = overlap.by.lower().replace("_", " ")
    tell(f"as of revision {overlap.revision}: {counted(len(names), one)}, ACTIVE entries")
    cells = {(c.left, c.right): c for c in overlap.cells}
    near = bool(overlap.max_distances)

    def text(left: str, right: str) -> str:
        if left == right:
            return "."
        cell = cells[left, right]
        return f"{cell.exact:,}+{cell.near:,}" if near else f"{cell.exact:,}"

    head = ("#", "name", "entries", "alone", *(str(i) for i in range(1, len(names) + 1)))
    rows = [
        (
            str(i),
            name,
            f"{overlap.entries[name]:,}",
            f"{overlap.alone[name]:,}",
            *(text(name, other) for other in names),
        )
        for i, name in enumerate(names, 1)
    ]
    widest = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    if sum(widest) + 2 * (len(head) - 1) <= (width() or _NARROW):
        table(head, rows)
        tell(f"each row: how many of its entries the {one} with that number holds, too")
    else:
        table(
            ("name", "entries", "alone"),
            [(name, f"{overlap.entries[name]:,}", f"{overlap.alone[name]:,}") for name in names],
        )
        sharing = sorted((c for c in overlap.cells if c.exact or c.near), key=lambda c: -(c.exact + c.near))
        say()
        table(
            ("of", "also in", "exact", *(("near",) if near else ()), "share"),
            [
                (
                    c.left,
                    c.right,
                    f"{c.exact:,}",
                    *((f"{c.near:,}",) if near else ()),
                    f"{(c.exact + c.near) / overlap.entries[c.left]:.1%}",
                )
                for c in sharing
            ],
        )
        if len(sharing) < len(overlap.cells):
            tell("pairs that are not listed share nothing")
    if near:
        limits = ", ".join(f"{name} {distance}" for name, distance in overlap.max_distances.items())
        tell(f"exact, and further ones by a near hash only, up to so many bits: {limits}")


def _show_agreement(agreement: Agreement, *, confusions: bool = False) -> None:
    tell(f"as of revision {agreement.revision}: {agreement.items:,} items that several contributors classified")
    if agreement.dimensions:
        table(
            ("dimension", "compared as", "items", "contributors", "alpha", "95 %"),
            [
                (
                    d.dimension,
                    d.metric,
                    f"{d.items:,}",
                    d.contributors,
                    "-" if d.alpha is None else f"{d.alpha:.3f}",
                    "-" if d.low is None or d.high is None else f"{d.low:.3f} to {d.high:.3f}",
                )
                for d in agreement.dimensions
            ],
        )
        tell(
            "alpha: 1 is full agreement, 0 what chance alone would give, below 0 more contradiction than that; - where "
            "it is not defined"
        )
    if agreement.contributors:
        say()
        table(
            ("contributor", "dimension", "as the others", "95 %"),
            [
                (c.contributor, c.dimension, f"{c.share.count:,} of {c.share.items:,}", _interval(c.share))
                for c in agreement.contributors
            ],
        )
    if confusions and agreement.confusions:
        say()
        table(
            ("contributor", "dimension", "the others", "it states", "items", "95 %"),
            [
                (
                    c.contributor,
                    c.dimension,
                    c.consensus,
                    c.stated,
                    f"{c.share.count:,} of {c.share.items:,}",
                    _interval(c.share),
                )
                for c in agreement.confusions
            ],
        )
    if agreement.suggestions:
        say()
        tell("what values of two schemes stand for the same items, the most surprising first:")
        table(
            ("value", "goes with", "items", "95 %", "the tables say"),
            [
                (
                    f"{s.scheme.partition('@')[0]}:{s.value}",
                    f"{s.other_scheme.partition('@')[0]}:{s.other_value}",
                    f"{s.share.count:,} of {s.share.items:,}",
                    _interval(s.share),
                    s.relation.lower().replace("_", " ") or "nothing",
                )
                for s in agreement.suggestions[:_SUGGESTED]
            ],
        )
        if len(agreement.suggestions) > _SUGGESTED:
            tell(f"{len(agreement.suggestions) - _SUGGESTED} more with --json")
    more = "" if confusions else "; what each states by the others' consensus: --confusions"
    tell(f"it suggests, and changes nothing; changes over time are in --json and in the report{more}")


def _interval(share: Proportion) -> str:
    return f"{100 * share.low:.0f} to {100 * share.high:.0f} %"


# --- Operations -------------------------------------------------------------------------------------------------------


@command(operation, "list")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N. Default: all that are kept.")
def list_operations(session: Session, *, limit: int | None) -> None:
    """List operations, the newest first. A contributor sees its own."""
    with session.connect() as hub:
        operations = []
        for handle in hub.list_operations():
            operations.append(handle.operation)
            if len(operations) == limit:
                break
    _show_operations(session, operations)


@command(operation, "get")
@click.argument("name", metavar="OPERATION")
@click.option("--wait", is_flag=True, help="Wait for its end.")
def get_operation(session: Session, *, name: str, wait: bool) -> None:
    """Show an operation, and what came of it. Exit code 1 if it failed."""
    with session.connect() as hub:
        handle = hub.get_operation(name)
        if wait:
            with progress(unit_bytes=False) as bar:
                handle.wait(progress=lambda done, total, doing: bar(done, total or None, doing))
        current = handle.operation
        _show_operations(session, [current])
        if current.state is OperationState.SUCCEEDED and not session.json:
            say()
            _show(session, _Answer(handle.result(), handle.rows, None, handle))
    if current.failure is not None:
        raise click.exceptions.Exit(REFUSED)


@command(operation, "cancel")
@click.argument("name", metavar="OPERATION")
def cancel_operation(session: Session, *, name: str) -> None:
    """Ask for an operation's end, which comes within seconds. One that has ended stays as it is."""
    with session.connect() as hub:
        _show_operations(session, [hub.get_operation(name).cancel()])


@command(operation, "delete")
@click.argument("name", metavar="OPERATION")
def delete_operation(session: Session, *, name: str) -> None:
    """Delete an operation that has ended, with its result."""
    with session.connect() as hub:
        hub.get_operation(name).delete()
    session.answer({"name": name, "deleted": True}, f"{clean(name)} is deleted")


def _show_operations(session: Session, operations: Sequence[Operation]) -> None:
    session.show(
        operations,
        ("operation", "what", "state", "who", "started"),
        lambda one: (one.id, one.method, _state_of(one), one.actor.name, minute(one.create_time)),
        empty="no operations",
        as_json=lambda one: {
            "name": one.id,
            "method": one.method,
            "state": one.state,
            "actor": one.actor.name,
            "contributor": one.actor.contributor,
            **picked(one, *_OPERATION_FIELDS),
            "error": plain(one.failure),
            "response": json.loads(one.response) if one.response else None,
        },
    )


def _state_of(one: Operation) -> str:
    if one.failure is not None:
        return f"{one.state.lower()}: {one.failure.message}"
    if one.state is not OperationState.RUNNING:
        return one.state.lower()
    share = f"{one.done} of {one.total} " if one.total else ""
    return f"running {share}{one.doing}".strip()
