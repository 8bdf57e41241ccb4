"""`hashhub match` and `hashhub hash`: who knows this, and what do they say it is?

Media files are hashed on this machine; only their hashes travel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click

from hashhub import hashes
from hashhub.cli import main
from hashhub.cli.session import REFUSED, UNAVAILABLE, Session, as_one, choice, command, exit_code, spelled
from hashhub.cli.terminal import COLOURS, clean, coloured, note, plain, print_json, say, show_path, tell
from hashhub.errors import HashHubError, InvalidArgument, MalformedSource, NotFound, Reason
from hashhub.hits import how, where
from hashhub.model import Effort, EntryMatch, MatchOptions, MatchResult, Query, Verdict
from hashhub.scans.tree import opened
from hashhub.trust import ReasonCode

_DEFAULT_POLICY: Final = "any"
_SHOWN: Final = 5  # matches printed for people; --json has all of them


def distances_of(distances: tuple[str, ...]) -> dict[str, int]:
    """Return the distances that --max-distance states, by algorithm. Raises UsageError, InvalidArgument."""
    max_distances: dict[str, int] = {}
    for text in distances:
        name, _, number = text.partition("=")
        if not number.isdecimal():
            raise click.UsageError(f"--max-distance must be ALGORITHM=N, for example PDQ=20, got {text[:40]!r}")
        is_of_frames = name.upper() == hashes.VPDQ.name
        max_distances[hashes.VPDQ.name if is_of_frames else hashes.algorithm(name).name] = int(number)
    return max_distances


def match_options(policy: str, distances: tuple[str, ...], limit: int) -> MatchOptions:
    """Return what the options of a command say. Raises UsageError, InvalidArgument."""
    return MatchOptions(policy=policy, max_distances=distances_of(distances), match_limit=limit)


DISTANCES: Final = click.option(
    "--max-distance",
    "distances",
    multiple=True,
    metavar="ALGORITHM=N",
    help="Largest distance that still matches, inclusive, in the algorithm's unit; repeatable.",
)
MATCHING: Final = as_one(
    match_options,
    ("policy", "distances", "limit"),
    click.option(
        "--policy",
        envvar="HASHHUB_POLICY",
        default=_DEFAULT_POLICY,
        show_default=True,
        metavar="NAME",
        help="What suffices for a verdict; see `hashhub policy list`. This command assumes `any`, because a person "
        "reads its answer and everything known should be shown; programs must choose.",
    ),
    DISTANCES,
    click.option(
        "--limit",
        type=click.IntRange(1, 1000),
        default=100,
        show_default=True,
        help="Most matches for one item, nearest first.",
    ),
)
"""Gives a command the options of a match, as its second argument."""
FAIL_ON: Final = click.option(
    "--fail-on",
    type=click.Choice(["match", "review"]),
    help="Exit with 1 if anything has this verdict; review includes match.",
)


@command(main, "match")
@click.argument("files", nargs=-1, metavar="")
@click.option("--hash", "given", multiple=True, metavar="ALGORITHM:DIGEST", help="A hash to look up; repeatable.")
@click.option("--from-file", metavar="FILE", help="More hashes, one ALGORITHM:DIGEST a line; - is standard input.")
@MATCHING
@FAIL_ON
def match(
    session: Session,
    options: MatchOptions,
    *,
    files: tuple[str, ...],
    given: tuple[str, ...],
    from_file: str | None,
    fail_on: str | None,
) -> None:
    """Look hashes up.

    Each hash is one query and gets a verdict, its reasons, and the entries of every contributor that knows it.
    """
    if files:
        raise click.UsageError(
            f"{clean(files[0])!r}: hashes are given with --hash ALGORITHM:DIGEST, a file of hashes with --from-file; "
            "pictures and videos are looked up by `hashhub scan`"
        )
    if not given and from_file is None:
        raise click.UsageError("nothing to look up: give --hash ALGORITHM:DIGEST or --from-file FILE")
    tally = VerdictTally(session, options, fail_on)
    # All of the command line is checked before anything is asked.
    queries = [_query(text) for text in given]
    of_file = (query for _, query in queries_in(from_file, "from-file")) if from_file is not None else ()
    with session.connect() as hub:
        for answer in hub.match_hashes(chain(queries, of_file), options):
            tally.show(answer.result, answer.policy, answer.revision)
    tally.finish("hash", "hashes")


@command(main, "hash", local=True)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--algorithm", "algorithms", multiple=True, metavar="NAME", help="Only these; repeatable.")
@click.option(
    "--effort",
    type=choice(Effort),
    default=spelled(Effort.PLAIN),
    show_default=True,
    help="Which variants of a picture to hash as well: none; mirrored, turned and the usual ones; or crops, too.",
)
@click.option(
    "--frames",
    "show_frames",
    is_flag=True,
    help="Print the frames of a video as lines of vPDQ (number, quality, hash, seconds) instead of its hashes.",
)
def hash_files(
    session: Session,
    *,
    files: tuple[str, ...],
    algorithms: tuple[str, ...],
    effort: Effort,
    show_frames: bool,
) -> None:
    """Print the hashes of media files. Nothing leaves this machine.

    The hash of a variant has the variant's name in brackets behind the file's. What cannot be looked for with these
    hashes is told on stderr.
    """
    from hashhub import vpdq
    from hashhub.hashing import hash_media, quiet_pillow
    from hashhub.hashing.coverage import best_quality, coverage

    if show_frames and len(files) > 1 and not session.json:
        raise click.UsageError("--frames takes one file, so that the lines are those of one video")
    quiet_pillow()
    worst = 0
    for file in files:
        path = Path(file)
        name = clean(show_path(path))
        try:
            with opened(path) as stream:
                media = hash_media(stream, algorithms=algorithms or None, effort=effort)
        except HashHubError as e:
            if e.reason in {Reason.MISSING_EXTRA, Reason.UNKNOWN_ALGORITHM}:
                raise
            note(f"error: {name}: {clean(e.message)}")
            worst = max(worst, exit_code(e))
            continue
        query = media.query()
        covered = coverage(media, effort)
        if session.json:
            print_json(
                {
                    "file": show_path(path),
                    "media_type": media.media_type,
                    "hashes": plain(media.hashes),
                    "quality": best_quality(media),
                    "not_perceptual": media.not_perceptual,
                    "skipped": media.skipped,
                    "variants": plain(query.variants),
                    "coverage": plain(covered),
                    "frames": vpdq.render(media.video_frames).splitlines() if show_frames else [],
                }
            )
            continue
        if show_frames:
            if not media.video_frames:
                note(f"error: {name}: there are no frames of a video: {clean(media.not_perceptual or 'a picture')}")
                worst = max(worst, REFUSED)
            for line in vpdq.render(media.video_frames).splitlines():
                say(line)
            continue
        for value in query.hashes:
            say(f"{value.text}  {name}")
        for variant in query.variants:
            for value in variant.hashes:
                say(f"{value.text}  {name} ({variant.variant})")
        for gap in covered.gaps:
            note(f"note: {name}: {clean(gap.text or gap.code)}")
    if worst:
        raise click.exceptions.Exit(worst)


class VerdictTally:
    """Prints answers as they come, counts verdicts, and ends the command with the right exit code."""

    def __init__(self, session: Session, options: MatchOptions, fail_on: str | None) -> None:
        """`fail_on`: `match` or `review`, to exit with 1 then."""
        self._session = session
        self._options = options
        self._fail_on = fail_on
        self._verdicts: Counter[Verdict] = Counter()
        source = click.get_current_context().get_parameter_source("policy")
        self._is_policy_assumed = source is click.core.ParameterSource.DEFAULT
        self.revision = 0
        self._policy = options.policy  # with its version, once the hub has answered

    def show(self, result: MatchResult, policy: str, revision: int, *, more: Mapping[str, object] = {}) -> None:
        """Print one answer: an object in the documented shape, or a few lines for people. `more`: of the object."""
        self._verdicts[result.verdict] += 1
        self.revision = revision
        self._policy = policy or self._policy
        if self._session.json:
            print_json({**as_json(result, policy, revision), **more})
            return
        say(f"{coloured(f'{result.verdict:<11}', COLOURS[result.verdict])}  {clean(result.label)}")
        for reason in result.reasons:
            if reason.code == ReasonCode.NOTHING_KNOWN:  # that is what NO_MATCH means
                continue
            clause = f" [{policy}/{reason.clause}]" if reason.clause else ""
            tell(f"    {clean(reason.text or reason.code)}{clause}")
        for m in result.matches[:_SHOWN]:
            tell(f"    {_match_line(m)}")
            for line in where(m):
                tell(f"        {line}")
        if len(result.matches) > _SHOWN or result.truncated:
            or_more = "or more " if result.truncated else ""
            tell(f"    … {len(result.matches)} {or_more}matches in all; --json lists them")

    def summarise(self, one: str, many: str) -> None:
        """Print how many answers there were of each kind."""
        total = sum(self._verdicts.values())
        counts = ", ".join(f"{self._verdicts[v]:,} {v}" for v in Verdict if self._verdicts[v]) or "nothing"
        chosen = " (the default of this command; programs must choose)" if self._is_policy_assumed else ""
        what = one if total == 1 else many
        # Revision 0: the hub was not asked, because there was nothing that could be looked up.
        at = f", revision {self.revision}" if self.revision else ""
        summary = f"{total:,} {what}: {counts}. Policy {clean(self._policy)}{chosen}{at}."
        self.remark(summary)

    def remark(self, text: str) -> None:
        """Print a sentence beside the answers. In a pipe of JSON lines it would be a foreign body."""
        (note if self._session.json else tell)(text)

    def finish(self, one: str, many: str) -> None:
        """Print the summary and raise Exit with 1 or 3 where that is due."""
        self.summarise(one, many)
        self.end()

    def end(self) -> None:
        """Raise Exit with 1 or 3 where that is due."""
        bad = self._verdicts[Verdict.MATCH] if self._fail_on else 0
        bad += self._verdicts[Verdict.REVIEW] if self._fail_on == "review" else 0
        if bad:
            raise click.exceptions.Exit(REFUSED)
        if self._verdicts[Verdict.UNAVAILABLE]:
            raise click.exceptions.Exit(UNAVAILABLE)


def as_json(result: MatchResult, policy: str, revision: int) -> dict[str, Any]:
    """Return one answer in the shape that docs/json.md tells."""
    return {
        "query": result.label,
        "verdict": result.verdict,
        "reasons": plain(result.reasons),
        "policy": policy,
        "matches": [
            {
                "entry": m.entry.name,
                "contributor": m.entry.contributor,
                "hash_set": f"{m.entry.contributor}/{m.entry.hash_set}",
                "algorithm": m.algorithm,
                "distance": m.distance,
                "variant": m.variant,
                "classification": plain(m.entry.classification),
                "video": plain(m.video),
            }
            for m in result.matches
        ],
        "revision": revision,
    }


def _match_line(m: EntryMatch) -> str:
    c = m.entry.classification
    said = c.text if c else "no classification"
    reviews = "".join(f", {count} {kind.lower().replace('_', ' ')}" for kind, count in sorted(m.reviews.items()))
    return clean(f"{m.entry.name}  {how(m)}  {said}{reviews}  TLP:{m.marking.tlp.replace('_', '+')}")


def _query(text: str) -> Query:
    value = hashes.parse_pair(text)
    return Query(hashes=(value,), label=value.text)


def queries_in(file: str, option: str) -> Iterator[tuple[int, Query]]:
    """Yield the queries of a file with their line numbers. Raises MalformedSource, NotFound, InvalidArgument."""
    try:
        with click.open_file(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                try:
                    yield number, _query(line.strip())
                except InvalidArgument as e:
                    raise MalformedSource(e.message, position=f"line {number}") from e
    except OSError as e:
        raise NotFound(f"cannot read {file!r}: {e.strerror or type(e).__name__}; check the path") from e
    except UnicodeDecodeError as e:
        raise InvalidArgument.field(option, f"is not UTF-8 text (byte {e.start})") from e
