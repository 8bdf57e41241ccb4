"""`hashhub policy …`: which statements suffice for a verdict, why, and what another policy would change."""

from __future__ import annotations

import difflib
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from msgspec.structs import replace

from hashhub.cli import main
from hashhub.cli.match import DISTANCES, distances_of, queries_in
from hashhub.cli.session import COMMENT, CommandGroup, Session, command, dry_run, past
from hashhub.cli.terminal import COLOURS, clean, coloured, note, picked, plain, progress, say, table, tell
from hashhub.errors import InvalidArgument, NotFound
from hashhub.model import Effort, MatchOptions, Query, Verdict
from hashhub.scans.tree import opened

if TYPE_CHECKING:
    from hashhub.client import Client, PolicyVersion
    from hashhub.trust import ClauseTrace, Trace, Trial

_REASONS: Final = 2  # of a verdict in an example; --json has all of them
_SHOWN: Final = 5  # entries in one cell; --json has all of them


def _time_or_revision(text: str) -> datetime | int:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else past(text)


@main.group("policy", cls=CommandGroup)
def policy() -> None:
    """Policies: which statements suffice for a verdict."""


@command(policy, "list")
@click.argument("name", default="")
def list_policies(session: Session, *, name: str) -> None:
    """List the policies that the hub knows, or all versions of the policy NAME."""
    with session.connect() as hub:
        if not name:
            session.show(
                list(hub.list_policies()),
                ("policy", "version", "name"),
                lambda p: (p.id, p.version, p.display_name or "cannot be read"),
                as_json=lambda p: {"id": p.id, "display_name": p.display_name, "version": p.version},
            )
            return
        session.show(
            list(hub.list_policy_versions(name)),
            ("policy", "state", "put by", "put at", "name"),
            lambda v: (
                v.name,
                _state(v),
                v.actor or ("an operator" if v.create_time else "a file"),
                f"{v.create_time:%Y-%m-%d %H:%M}" if v.create_time else "-",
                v.display_name or v.fault,
            ),
        )


@command(policy, "show")
@click.argument("name", metavar="NAME[@VERSION]")
def show_policy(session: Session, *, name: str) -> None:
    """Print the text of a policy, as its file has it."""
    with session.connect() as hub:
        version = hub.get_policy(name)
    if session.print_if_json(version):
        return
    for line in version.text.splitlines():
        say(clean(line))
    note(f"{version.name}, {_state(version)}" + (f": {clean(version.fault)}" if version.fault else ""))


@command(policy, "diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
def diff_policies(session: Session, *, before: str, after: str) -> None:
    """Show how the policy B differs from A, in their texts and in what they do.

    Each is NAME, NAME@VERSION or a FILE that ends in .toml.
    """
    with session.connect() as hub:
        one, other = (_described(hub, x) for x in (before, after))
    texts, sentences = (
        list(difflib.unified_diff(a.splitlines(), b.splitlines(), one[0], other[0], lineterm=""))
        for a, b in zip(one[1:], other[1:], strict=True)
    )
    if session.print_if_json({"before": one[0], "after": other[0], "text": texts, "explanation": sentences}):
        return
    if not texts:
        tell(f"{clean(one[0])} and {clean(other[0])} have the same text.")
        return
    for line in texts:
        say(clean(line))
    say("")
    if not sentences:
        tell("They do the same.")
    for line in sentences[2:]:
        say(clean(line))


@command(policy, "put")
@click.argument("file", metavar="FILE")
@COMMENT
@dry_run()
def put_policy(session: Session, *, file: str, comment: str, validate_only: bool) -> None:
    """Put the policy that FILE describes into the hub, as its next version.

    It holds at once, in every process, for whoever pins no other version. Earlier versions can still be pinned.
    """
    text = _read(file)
    with session.connect() as hub:
        made = hub.put_policy(text, comment, validate_only=validate_only)
    if session.print_if_json(made):
        return
    done = "would be put" if validate_only else "holds"
    tell(clean(f"{made.name} {done}. Callers that name {made.id} without a version are answered by it."))


@command(policy, "retire")
@click.argument("name", metavar="NAME[@VERSION]")
@COMMENT
@dry_run()
def retire_policy(session: Session, *, name: str, comment: str, validate_only: bool) -> None:
    """Retire a version of a policy, or the current one: nothing is answered by it any more.

    Where it was the current one, the version before it is current again. Versions that come with hashhub or from files
    stay.
    """
    with session.connect() as hub:
        wanted = name if "@" in name else hub.get_policy(name).name
        retired = hub.retire_policy(wanted, comment, validate_only=validate_only)
        left = None
        if not validate_only:
            left = next((p for p in hub.list_policies() if p.id == retired.id), None)
    if session.print_if_json(retired):
        return
    if validate_only:
        tell(clean(f"{retired.name} would be retired."))
        return
    now = f"{left.id}@{left.version} is current." if left else f"There is no policy {retired.id} any more."
    tell(clean(f"{retired.name} is retired. {now}"))


@command(policy, "explain")
@click.argument("id", metavar="NAME[@VERSION]")
@click.option("--hash", "given", multiple=True, metavar="ALGORITHM:DIGEST", help="A hash of the item; repeatable.")
@click.option("--file", "file", metavar="FILE", help="The item: it is hashed on this machine, and stays there.")
@DISTANCES
def explain_policy(
    session: Session, *, id: str, given: tuple[str, ...], file: str | None, distances: tuple[str, ...]
) -> None:
    """Explain a policy clause by clause; with --hash or --file, its verdict on an item.

    Several hashes are of one item. Of each clause it is told whether it is met, and of each of its demands which
    entries fulfil it, and which do not and why.
    """
    from hashhub import hashes

    query = _query_of(file) if file is not None else Query(hashes=())
    query = replace(query, hashes=(*(hashes.parse_pair(text) for text in given), *query.hashes))
    with session.connect() as hub:
        if not query.hashes:
            version = hub.get_policy(id)
            if session.print_if_json(version):
                return
            for line in version.explanation.splitlines():
                tell(clean(line))
            return
        options = MatchOptions(policy=id, max_distances=distances_of(distances))
        explained = hub.explain_match(query, options)
    if session.print_if_json({**_plain_trace(explained.trace), "revision": explained.revision}):
        return
    _show_trace(explained.trace)


@command(policy, "simulate")
@click.argument("after", metavar="NEW")
@click.option("--against", "before", required=True, metavar="NAME[@VERSION]", help="The policy that it is to replace.")
@click.option("--hashes", "file", metavar="FILE", help="Judge these: one ALGORITHM:DIGEST a line; - is standard input.")
@click.option(
    "--since",
    type=_time_or_revision,
    metavar="TIME|REVISION",
    help="Judge the entries that became visible since then, by their own hashes; 12h is twelve hours ago, 0 is all.",
)
@click.option(
    "--hash-set",
    "hash_sets",
    multiple=True,
    metavar="CONTRIBUTOR/SET",
    help="Judge the entries of this hash set, by their own hashes; repeatable.",
)
@DISTANCES
def simulate_policy(
    session: Session,
    *,
    after: str,
    before: str,
    file: str | None,
    since: datetime | int | None,
    hash_sets: tuple[str, ...],
    distances: tuple[str, ...],
) -> None:
    """Compare the verdicts of the policy NEW with those of another, without storing anything.

    NEW is NAME, NAME@VERSION or a FILE that ends in .toml, which is judged without being stored. Every item is judged
    by both policies: it is told how many get which verdict by each, and of those that change some examples with the
    reasons. The hub works on it at a quarter of its pace, beside matching; stop it at any time.
    """
    by_entries = since is not None or bool(hash_sets)
    if (file is not None) == by_entries:
        raise click.UsageError("say what to judge: --hashes FILE, or --since and --hash-set, not both")
    is_text = after.endswith(".toml")
    queries = None
    if file is not None:  # labels come back in examples: lines can be found again, and no digest is shown
        queries = (replace(query, label=f"line {number}") for number, query in queries_in(file, "hashes"))
    max_distances = distances_of(distances)
    with session.connect() as hub, progress(unit_bytes=False) as bar:
        trial = hub.simulate_policy(
            before,
            "" if is_text else after,
            text=_read(after) if is_text else "",
            queries=queries,
            since=since,
            hash_sets=hash_sets,
            max_distances=max_distances,
            progress=lambda done, total: bar(done, total, "judging"),
        )
    if session.print_if_json(
        {
            "before": trial.before,
            "after": trial.after,
            "judged": trial.total,
            "changed": sum(c.count for c in trial.changes if c.before is not c.after),
            "changes": trial.changes,
            "revision": trial.revision,
        }
    ):
        return
    _show_trial(trial)


def _show_trial(trial: Trial) -> None:
    if not trial.total:
        tell("There is nothing to judge.")
        return
    verdicts = [v for v in Verdict if any(v in {c.before, c.after} for c in trial.changes)]
    counts = {(c.before, c.after): c.count for c in trial.changes}
    tell(f"By {clean(trial.before)} in rows, by {clean(trial.after)} in columns:")
    table(("verdict", *verdicts), [(b, *(f"{counts.get((b, a), 0):,}" for a in verdicts)) for b in verdicts])
    changed = [c for c in trial.changes if c.before is not c.after]
    tell(f"{sum(c.count for c in changed):,} of {trial.total:,} verdicts change.")
    for c in changed:
        say("")
        say(f"{c.before} becomes {c.after}: {c.count:,}, such as")
        for example in c.examples:
            say(f"  {clean(example.label)}")
            for name, reasons in ((trial.before, example.before), (trial.after, example.after)):
                told = [f"{r.text or r.code}{f' [{r.clause}]' if r.clause else ''}" for r in reasons[:_REASONS]]
                tell(f"    {name}: {clean('; '.join(told))}")


def _show_trace(trace: Trace) -> None:
    verdict = trace.judgement.verdict
    said = trace.conclusion.partition(": ")[2]
    tell(f"{coloured(verdict, COLOURS[verdict])} by {clean(trace.policy)}: {clean(said)}.")
    if trace.closeness:
        tell(f"Taken into account: {clean(trace.closeness)}.")
    if trace.entries:
        say("")
        table(("entry", "hit by", "claim"), [(e.entry, e.hit, e.claim or "counts") for e in trace.entries[:50]])
        if len(trace.entries) > 50:  # noqa: PLR2004 - as above
            tell(f"… {len(trace.entries)} entries in all; --json lists them")
    for c in trace.clauses:
        say("")
        tell(clean(f"[{c.id}] {'met' if c.is_met else 'not met'}: {c.title}"))
        table(("demand", "fulfilled by", "not by"), _demand_rows(c))
        for line in c.apart:
            tell(f"no two voices: {clean(line)}")
    disputes = [line for line in trace.disputes if line.text]
    if disputes:
        say("")
        table(("dispute", "what", "entries"), [(r.code, r.text, _few(r.entries, len(r.entries))) for r in disputes])


def _demand_rows(c: ClauseTrace) -> list[tuple[str, str, str]]:
    people = "1 contributor" if c.contributors == 1 else f"{c.contributors} independent contributors"
    rows = [(people, _few(c.entries, len(c.entries)), "-" if c.is_met else "too few fulfil what follows")]
    for d in c.demands:
        failed = [f"{f.entry}: {f.why}" for f in d.failed[:_SHOWN]]
        more = f"; {d.failed_count - len(failed)} more" if d.failed_count > len(failed) else ""
        rows.append((d.text, _few(d.fulfilled, d.fulfilled_count), ("; ".join(failed) or "-") + more))
    return rows


def _few(names: tuple[str, ...], count: int) -> str:
    more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "-") + more


def _plain_trace(trace: Trace) -> dict[str, object]:
    return {
        "policy": trace.policy,
        "verdict": trace.judgement.verdict,
        **picked(trace, "conclusion", "closeness"),
        "reasons": plain(trace.judgement.reasons),
        **picked(trace, "entries", "clauses", "disputes"),
    }


def _state(version: PolicyVersion) -> str:
    if version.retire_time is not None:
        return "retired"
    state = "current" if version.is_current else "earlier"
    return f"{state}, cannot be read" if version.fault else state


def _described(hub: Client, wanted: str) -> tuple[str, str, str]:
    """Return a policy's name, text and explanation. A file's is explained here."""
    if not wanted.endswith(".toml"):
        version = hub.get_policy(wanted)
        return version.name, version.text, version.explanation
    from hashhub import trust

    text = _read(wanted)
    made = trust.parse(text.encode(), wanted)
    return wanted, text, trust.explain(made)


def _read(file: str) -> str:
    try:
        return Path(file).read_bytes().decode("utf-8")
    except OSError as e:
        raise NotFound(f"cannot read {file!r}: {e.strerror or type(e).__name__}; check the path") from e
    except ValueError as e:
        raise InvalidArgument.field("file", f"{file!r} is not UTF-8 text; save it as UTF-8") from e


def _query_of(file: str) -> Query:
    from hashhub.hashing import hash_media, quiet_pillow

    quiet_pillow()
    with opened(Path(file)) as stream:
        return hash_media(stream, effort=Effort.STANDARD).query()
