"""`hashhub match`, `hashhub hash` and `hashhub scan`: who knows this, and what do they say it is?

Media files are hashed here, on this machine; only their hashes travel. A file that cannot be read is UNAVAILABLE, never
clean.
"""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec.structs import replace

from hashhub import hashes
from hashhub.cli.session import REFUSED, UNAVAILABLE, Session, command, exit_code
from hashhub.cli.terminal import COLOURS, clean, coloured, note, plain, print_json, progress, say, show_path, tell
from hashhub.errors import HashHubError, InvalidArgument, MalformedSource, NotFound, Reason
from hashhub.model import READINGS, EntryMatch, MatchOptions, MatchResult, Query, ReasonLine, Verdict

if TYPE_CHECKING:
    from hashhub.hashing import MediaHashes

_DEFAULT_POLICY: Final = "any"
_GROUP: Final = 64  # files hashed before their hashes are matched: verdicts, and a wrong token or policy, show early
_PENDING: Final = 32  # files being hashed or waiting for it, so that a large tree does not fill memory
_SHOWN: Final = 5  # matches printed for people; --json has all of them

_POLICY: Final = click.option(
    "--policy",
    envvar="HASHHUB_POLICY",
    default=_DEFAULT_POLICY,
    show_default=True,
    metavar="NAME",
    help="What suffices for a verdict; see `hashhub policy list`. This command assumes `any`, because a person reads "
    "its answer and everything known should be shown; programs must choose.",
)
_DISTANCES: Final = click.option(
    "--max-distance",
    "distances",
    multiple=True,
    metavar="ALGORITHM=N",
    help="Largest distance that still matches, inclusive, in the algorithm's unit; repeatable.",
)
_LIMIT: Final = click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="Most matches for one item, nearest first.",
)
_FAIL_ON: Final = click.option(
    "--fail-on",
    type=click.Choice(["match", "review"]),
    help="Exit with 1 if anything has this verdict; review includes match.",
)


@command(None, "match")
@click.option("--hash", "given", multiple=True, metavar="ALGORITHM:DIGEST", help="A hash to look up; repeatable.")
@click.option("--from-file", metavar="FILE", help="More hashes, one ALGORITHM:DIGEST a line; - is standard input.")
@_POLICY
@_DISTANCES
@_LIMIT
@_FAIL_ON
def match(
    session: Session,
    *,
    given: tuple[str, ...],
    from_file: str | None,
    policy: str,
    distances: tuple[str, ...],
    limit: int,
    fail_on: str | None,
) -> None:
    """Look hashes up.

    Each hash is one query and gets a verdict, its reasons, and the entries of every contributor that knows it.
    """
    if not given and from_file is None:
        raise click.UsageError("nothing to look up: give --hash ALGORITHM:DIGEST or --from-file FILE")
    options = _options(policy, distances, limit)
    tally = _Tally(session, options, fail_on)
    # All of the command line is checked before anything is asked.
    queries = [_query(text) for text in given]
    with session.connect() as hub:
        for answer in hub.match_hashes(_chain(queries, from_file), options):
            tally.show(answer.result, answer.policy, answer.revision)
    tally.finish("hash", "hashes")


@command(None, "hash", local=True)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--algorithm", "algorithms", multiple=True, metavar="NAME", help="Only these; repeatable.")
@click.option("--dihedral", is_flag=True, help="Also the hashes of the rotated and mirrored pictures.")
def hash_files(session: Session, *, files: tuple[str, ...], algorithms: tuple[str, ...], dihedral: bool) -> None:
    """Print the hashes of media files. Nothing leaves this machine."""
    from hashhub.hashing import hash_media, quiet_pillow

    quiet_pillow()
    worst = 0
    for file in files:
        path = Path(file)
        try:
            media = hash_media(regular_file(path), algorithms=algorithms or None, dihedral=dihedral)
        except HashHubError as e:
            if e.reason in {Reason.MISSING_EXTRA, Reason.UNKNOWN_ALGORITHM}:
                raise
            note(f"error: {clean(show_path(path))}: {clean(e.message)}")
            worst = max(worst, exit_code(e))
            continue
        qualities = [f.quality for f in media.frames if f.quality is not None]
        if session.json:
            print_json(
                {
                    "file": show_path(path),
                    "media_type": media.media_type,
                    "hashes": plain(media.hashes),
                    "quality": max(qualities, default=None),
                    "not_perceptual": media.not_perceptual,
                }
            )
            continue
        for value in media.hashes:
            say(f"{value.text}  {clean(show_path(path))}")
        if media.not_perceptual:
            note(f"note: {clean(show_path(path))}: {clean(media.not_perceptual)}")
        for frame in media.frames:
            if frame.is_low_quality:
                note(
                    f"note: {clean(show_path(path))}: PDQ quality {frame.quality} of 100; such hashes match by accident"
                )
                break
    if worst:
        raise click.exceptions.Exit(worst)


@command(None, "scan")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_POLICY
@_DISTANCES
@_LIMIT
@_FAIL_ON
@click.option("--dihedral", is_flag=True, help="Also look the rotated and mirrored pictures up; hashing takes longer.")
def scan(
    session: Session,
    *,
    paths: tuple[str, ...],
    policy: str,
    distances: tuple[str, ...],
    limit: int,
    fail_on: str | None,
    dihedral: bool,
) -> None:
    """Hash files on this machine and look them up.

    A directory at PATH is scanned with all that is below; only hashes leave this machine. A file that cannot be read
    has the verdict UNAVAILABLE and makes the exit code 3. Links to directories are not followed.
    """
    from hashhub.hashing import hash_media, quiet_pillow

    quiet_pillow()
    options = _options(policy, distances, limit)
    tally = _Tally(session, options, fail_on)
    files = list(_files(paths))
    with (
        session.connect() as hub,
        ThreadPoolExecutor(os.cpu_count() or 1, "hashhub-scan") as hashers,
        progress(unit_bytes=False) as bar,
    ):
        done = 0
        for group in _hashed(files, hashers, lambda path: hash_media(path, dihedral=dihedral)):
            readable = [(path, media) for path, media in group if not isinstance(media, HashHubError)]
            # Without labels: a file's name may be case data, and stays here.
            queries = [Query(hashes=media.hashes) for _, media in readable]
            answers = iter(list(hub.match_hashes(queries, options)))
            for path, media in group:
                if isinstance(media, HashHubError):
                    reason = ReasonLine(code=media.reason, text=media.message)
                    unavailable = MatchResult(verdict=Verdict.UNAVAILABLE, reasons=(reason,), label=show_path(path))
                    tally.show(unavailable, options.policy, tally.revision)
                else:
                    answer = next(answers)
                    result = replace(_remark_quality(answer.result, media), label=show_path(path))
                    tally.show(result, answer.policy, answer.revision)
            done += len(group)
            bar(done, len(files), "scanning")
    tally.finish("file", "files")


def _remark_quality(result: MatchResult, media: MediaHashes) -> MatchResult:
    """Say, as the hub does for media that it hashes, when near matches mean little."""
    if not media.frames or not all(frame.is_low_quality for frame in media.frames):
        return result
    quality = max(frame.quality or 0 for frame in media.frames)
    text = f"PDQ quality {quality} of 100: a blank or nearly blank picture; near matches say little about it"
    return replace(result, reasons=(*result.reasons, ReasonLine(code="LOW_QUALITY", text=text)))


class _Tally:
    """Prints answers as they come, counts verdicts, and ends the command with the right exit code."""

    def __init__(self, session: Session, options: MatchOptions, fail_on: str | None) -> None:
        self._session = session
        self._options = options
        self._fail_on = fail_on
        self._verdicts: Counter[Verdict] = Counter()
        self.revision = 0

    def show(self, result: MatchResult, policy: str, revision: int) -> None:
        """Print one answer: an object in the documented shape, or a few lines for people."""
        self._verdicts[result.verdict] += 1
        self.revision = revision
        if self._session.json:
            print_json(as_json(result, policy, revision))
            return
        say(f"{coloured(f'{result.verdict:<11}', COLOURS[result.verdict])}  {clean(result.label)}")
        if result.verdict is Verdict.NO_MATCH:
            return
        for reason in result.reasons:
            clause = f" [{policy}/{reason.clause}]" if reason.clause else ""
            tell(f"    {clean(reason.text or reason.code)}{clause}")
        for m in result.matches[:_SHOWN]:
            tell(f"    {_match_line(m)}")
        if len(result.matches) > _SHOWN or result.truncated:
            more = "or more " if result.truncated else ""
            tell(f"    … {len(result.matches)} {more}matches in all; --json lists them")

    def finish(self, one: str, many: str) -> None:
        """Print the summary and raise Exit with 1 or 3 where that is due."""
        total = sum(self._verdicts.values())
        counts = ", ".join(f"{self._verdicts[v]:,} {v}" for v in Verdict if self._verdicts[v]) or "nothing"
        chosen = (
            "" if self._options.policy != _DEFAULT_POLICY else " (the default of this command; programs must choose)"
        )
        what = one if total == 1 else many
        # Revision 0: the hub was not asked, because there was nothing that could be looked up.
        at = f", revision {self.revision}" if self.revision else ""
        summary = f"{total:,} {what}: {counts}. Policy {clean(self._options.policy)}{chosen}{at}."
        # In a pipe of JSON lines the summary would be a foreign body.
        (note if self._session.json else tell)(summary)
        bad = self._verdicts[Verdict.MATCH] if self._fail_on else 0
        bad += self._verdicts[Verdict.REVIEW] if self._fail_on == "review" else 0
        if bad:
            raise click.exceptions.Exit(REFUSED)
        if self._verdicts[Verdict.UNAVAILABLE]:
            raise click.exceptions.Exit(UNAVAILABLE)


def as_json(result: MatchResult, policy: str, revision: int) -> dict[str, Any]:
    """Return one answer in the shape that docs/cli.md tells."""
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
            }
            for m in result.matches
        ],
        "revision": revision,
    }


def _match_line(m: EntryMatch) -> str:
    c = m.entry.classification
    said = f"{c.scheme}@{c.version} {c.value}" if c else "no classification"
    reviews = "".join(f", {count} {kind.lower().replace('_', ' ')}" for kind, count in sorted(m.reviews.items()))
    near = "exactly" if m.distance == 0 else f"at distance {m.distance}"
    if m.variant:
        near += f" by its {'reading' if m.variant in READINGS else 'variant'} {m.variant}"
    return clean(f"{m.entry.name}  {m.algorithm} {near}  {said}{reviews}  TLP:{m.marking.tlp.replace('_', '+')}")


def _options(policy: str, distances: tuple[str, ...], limit: int) -> MatchOptions:
    return MatchOptions(policy=policy, max_distances=distances_of(distances), match_limit=limit)


def distances_of(distances: tuple[str, ...]) -> dict[str, int]:
    """Return the distances that --max-distance states, by algorithm. Raises UsageError, InvalidArgument."""
    max_distances: dict[str, int] = {}
    for text in distances:
        name, _, number = text.partition("=")
        if not number.isdecimal():
            raise click.UsageError(f"--max-distance must be ALGORITHM=N, for example PDQ=20, got {text[:40]!r}")
        max_distances[hashes.algorithm(name).name] = int(number)
    return max_distances


def _query(text: str) -> Query:
    value = hashes.parse_pair(text)
    return Query(hashes=(value,), label=value.text)


def _chain(queries: Iterable[Query], from_file: str | None) -> Iterator[Query]:
    yield from queries
    if from_file is not None:
        yield from (query for _, query in queries_in(from_file, "from-file"))


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


def _files(paths: Iterable[str]) -> Iterator[Path]:
    """Yield the files at and below `paths`, sorted within each directory. A path that does not exist is yielded as
    well.
    """
    for given in paths:
        path = Path(given)
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for some paths that cannot be looked at
            yield path
            continue
        # A directory that cannot be listed hides files; it must not pass as empty.
        problems: list[OSError] = []
        for folder, folders, names in os.walk(path, onerror=problems.append):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names))
        yield from (Path(e.filename) for e in problems)


def regular_file(path: Path) -> Path:
    """Return the path unless reading it could go on for ever, as with pipes and devices. Raises InvalidArgument."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return path  # opening it will say what is wrong
    if not stat.S_ISREG(kind):
        raise InvalidArgument("not a regular file, so it was not read", reason=Reason.UNREADABLE_MEDIA)
    return path


def _hashed(
    files: Iterable[Path], hashers: ThreadPoolExecutor, hash_one: Any
) -> Iterator[list[tuple[Path, MediaHashes | HashHubError]]]:
    """Yield groups of files with their hashes or why there are none, in the order of the files."""

    def attempt(path: Path) -> MediaHashes | HashHubError:
        try:
            media: MediaHashes = hash_one(regular_file(path))
        except HashHubError as e:
            if e.reason is Reason.MISSING_EXTRA:
                raise
            return e
        return media

    pending: deque[tuple[Path, Future[MediaHashes | HashHubError]]] = deque()
    group: list[tuple[Path, MediaHashes | HashHubError]] = []

    def settle() -> None:
        path, future = pending.popleft()
        group.append((path, future.result()))

    for file in files:
        pending.append((file, hashers.submit(attempt, file)))
        if len(pending) >= _PENDING:
            settle()
        if len(group) >= _GROUP:
            yield group
            group = []
    while pending:
        settle()
    if group:
        yield group


COMMANDS: Final = (match, hash_files, scan)
