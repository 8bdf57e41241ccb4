"""`hashhub scan`: match the files of a tree.

    files ── stamp ──┬─ known from an earlier run (--out) ───────────────────┐
                     └─ opened by a thread, hashed by a child process ── kept ┴─ matched in groups ── told, counted
                                                     └── missed, and effort thorough: hashed again with crops

Files are hashed here, and only hashes leave the machine. A file that cannot be read is UNAVAILABLE, never clean, and so
is a directory that cannot be listed. Hashes are remembered with --out, answers are not: lists grow.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias

import click
import msgspec
from msgspec.structs import replace

from hashhub.cli import main
from hashhub.cli.match import FAIL_ON, MATCHING, VerdictTally, as_json
from hashhub.cli.scan_output import PARTIAL, REPORT, FileFindings, partial_results, scan_directory
from hashhub.cli.session import Session, choice, command, spelled
from hashhub.cli.terminal import ProgressDisplay, clean, is_terminal, json_line, note, plain, progress, show_path
from hashhub.errors import HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.hashes import VPDQ
from hashhub.local_files import text_written
from hashhub.model import Coverage, Effort, MatchOptions, MatchResult, Query, ReasonLine, Verdict
from hashhub.scans.engine import KnownFile, ListedFile, ScanEngine, ScanMemory, ScannedItem, UnreadableItem
from hashhub.scans.tree import Tree, listed, opened
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.cli.scan_output import FileHashes
    from hashhub.client import Client
    from hashhub.client.match import Matched
    from hashhub.hashing import MediaHashes
    from hashhub.hashing.pool import MediaPool

    _Read: TypeAlias = ScannedItem["_File", FileHashes, None]

GROUP: Final = 256  # files matched in one call at most
GROUP_PARTS: Final = 15_000  # of a call's message, of which the hub takes 100,000; a video more has 80,000 at most
_GROUP_SECONDS: Final = 1.0  # for which a file waits for others: verdicts, and a wrong token, show early
AHEAD: Final = 4  # files handed out for each child, so that none is idle while answers are waited for
_FILE_SECONDS: Final = 300.0  # CPU time for one file; a feature film's frames take as long
_FILE_MEMORY: Final = 4 << 30
_FIRST_PAUSE: Final = 1.0  # before a hub that is away is asked again; doubles each time
_LONGEST_PAUSE: Final = 30.0
_GONE_SHOWN: Final = 5  # names of files that are gone, for people; the report has more
_EXTRA: Final = re.compile(r"pip install 'hashhub\[[a-z]+\]'")


@command(main, "scan")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@MATCHING
@FAIL_ON
@click.option(
    "--effort",
    type=choice(Effort),
    default=spelled(Effort.STANDARD),
    show_default=True,
    help="Which variants of a picture to look up as well: none; how other tools read it, mirrored, turned, without its "
    "border, the photograph in a screenshot; or, where those are not known, crops, too.",
)
@click.option(
    "--out",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write results.jsonl and report.html there, and remember hashes: the same command continues a scan that was "
    "cut short, and hashes only what is new or has changed.",
)
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Files hashed at a time; default: all cores.")
@click.option(
    "--file-seconds",
    type=click.FloatRange(min=0.01),
    default=_FILE_SECONDS,
    show_default=True,
    metavar="N",
    help="CPU time that one file may take; one that needs more is UNAVAILABLE.",
)
@click.option(
    "--wait-for-hub",
    "patience",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="For how long to ask again when the hub goes away in the middle.",
)
def scan(
    session: Session,
    options: MatchOptions,
    *,
    paths: tuple[str, ...],
    fail_on: str | None,
    effort: Effort,
    directory: Path | None,
    jobs: int | None,
    file_seconds: float,
    patience: float,
) -> None:
    """Hash files on this machine and look them up.

    A directory at PATH is scanned with all that is below; only hashes leave this machine. Answers come in the order in
    which files are done. A file that cannot be read has the verdict UNAVAILABLE and makes the exit code 3, and so has a
    directory that cannot be listed. Links to files are followed, links to directories are not, and are counted.
    """
    from hashhub.hashing import DEFAULT_LIMITS
    from hashhub.hashing.pool import MediaPool

    if not session.verbose:  # what became of a file is its answer
        logging.getLogger("hashhub.hashing").setLevel(logging.CRITICAL)
    if effort is not Effort.PLAIN:  # a file may be a picture out of a listed video
        options.max_distances.setdefault(VPDQ.name, VPDQ.default_max_distance or 0)
    workers = jobs or len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        memory = own = None
        if directory is not None:
            memory = stack.enter_context(scan_directory(directory))
            status = directory.stat()
            own = (status.st_dev, status.st_ino)
        hub = stack.enter_context(session.connect())
        pool = MediaPool(
            children=workers, max_queued=0, seconds=file_seconds, memory_bytes=_FILE_MEMORY, limits=DEFAULT_LIMITS
        )
        tally = VerdictTally(session, options, fail_on)
        run = ScanRun(
            paths=paths,
            tree=Tree(paths, own=own),
            pool=pool,
            directory=directory,
            memory=memory,
            ask=RetryingHub(hub, options, patience),
            tally=tally,
            effort=effort,
            jobs=workers,
        )
        stack.enter_context(run.engine)
        stack.callback(pool.close)  # before the threads that wait for it are
        try:
            with contextlib.ExitStack() as files:
                if directory is not None:
                    run.results = files.enter_context(partial_results(directory))
                with progress(unit_bytes=False) as bar, _counted(paths, own) as total:
                    run.go(bar, total)
        except (KeyboardInterrupt, HashHubError):
            run.cut_short()
            raise
        distances = click.get_current_context().params["distances"]
        settings = {
            "Hub": session.server,
            "Policy": ", ".join(run.findings.policies) or options.policy,
            "Effort": spelled(effort),
            **({"Largest distances": ", ".join(distances)} if distances else {}),
        }
        run.finish(settings)
    tally.end()


class _File(msgspec.Struct, kw_only=True):
    """A file on its way. `thorough`: its hashes of effort THOROUGH, once they are wanted. `is_missed`: nothing of
    `media` is known. `error`: why there are no hashes. `is_new`: they were computed just now.
    """

    path: Path
    media: MediaHashes | None = None
    thorough: MediaHashes | None = None
    error: HashHubError | None = None
    is_missed: bool = False
    is_new: bool = False
    cpu_seconds: float = 0.0

    @property
    def wanted(self) -> MediaHashes:
        """The hashes to ask about; only of a file without an error."""
        media = self.thorough if self.is_missed else self.media
        assert media is not None  # noqa: S101 - for mypy
        return media


class RetryingHub:
    """The hub, asked again for a while when it goes away in the middle. `seconds`: spent waiting for it so far."""

    def __init__(self, hub: Client, options: MatchOptions, patience: float) -> None:
        self._hub = hub
        self.options = options
        self._patience = patience
        self._has_answered = False
        self.seconds = 0.0

    def __call__(self, queries: list[Query]) -> list[Matched]:
        """Return the answers, in order. Raises HashHubError, Unavailable after some time only if it has answered."""
        begun = time.monotonic()
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    answers = list(self._hub.match_hashes(queries, self.options))
                except HashHubError as e:
                    pause = max(pause, e.retry_after or 0.0)
                    is_lasting = not isinstance(e, Unavailable) and e.retry_after is None
                    if is_lasting or not self._has_answered or time.monotonic() - begun + pause > self._patience:
                        raise
                    note(f"note: {clean(e.message)}; asking again in {pause:.0f} s")
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                else:
                    self._has_answered = True
                    return answers
        finally:
            self.seconds += time.monotonic() - begun


@dataclass(kw_only=True)
class ScanRun:
    """One run of the command."""

    paths: tuple[str, ...]
    tree: Tree
    pool: MediaPool
    directory: Path | None
    memory: ScanMemory[FileHashes] | None
    ask: RetryingHub
    tally: VerdictTally
    effort: Effort
    jobs: int
    results: IO[str] | None = None

    def __post_init__(self) -> None:
        self._first_effort = Effort.PLAIN if self.effort is Effort.PLAIN else Effort.STANDARD
        self.engine = ScanEngine(self._listing(), self._read, memory=self.memory, jobs=self.jobs, ahead=AHEAD)
        self._ready: list[_Read] = []
        self._parts = 0
        self._begun = time.monotonic()
        self._extras: dict[str, None] = {}
        self.findings = FileFindings(self.paths)

    def go(self, bar: ProgressDisplay, total: Callable[[], int | None]) -> None:
        """Answer for every file. Raises HashHubError when no further one can be answered for."""
        since = shown = time.monotonic()
        rate = ""
        for read in self.engine:
            now = time.monotonic()
            if read is not None:
                if not self._ready:
                    since = now
                self.take(read)
            is_full = len(self._ready) >= GROUP or self._parts >= GROUP_PARTS
            if self._ready and (is_full or now - since >= _GROUP_SECONDS or not self.engine.under_way):
                self._match()
            if now - shown >= 1:
                shown = now
                rate = f" ({self.findings.total / (now - self._begun):,.0f} files/s)"
            bar(self.findings.total, total(), f"scanning{rate}")

    def _listing(self) -> Iterator[ListedFile[_File]]:
        for path in self.tree:
            if isinstance(path, UnreadableItem):
                yield ListedFile(_File(path=Path(path.name), error=path.error), os.path.abspath(path.name))  # noqa: PTH100
            else:
                yield listed(path, _File(path=path))

    def _read(self, file: _File, known: KnownFile[FileHashes]) -> None:
        """Give a file its hashes, or say why there are none."""
        if file.error is not None or file.thorough is not None:
            return
        if not file.is_missed and known.hashes is not None and known.hashes[0] in {self._first_effort, Effort.STANDARD}:
            _, file.media, file.thorough = known.hashes
            if self.effort is Effort.PLAIN:  # without the variants that an earlier run wanted
                frames = tuple(replace(frame, variants=()) for frame in file.media.frames)
                file.media = replace(file.media, frames=frames)
            return
        try:
            media = self.hash(file, Effort.THOROUGH if file.is_missed else self._first_effort)
        except HashHubError as e:
            file.error = e
        except Exception as e:  # noqa: BLE001 - one file's trouble is no other's
            file.error = HashHubError(f"the file could not be hashed ({type(e).__name__}); see --verbose")
        else:
            file.is_new = True
            if not file.is_missed:
                file.media = media
            elif file.media is not None and media.digests == file.media.digests:
                file.thorough = media
            else:
                file.error = InvalidArgument(
                    "the file changed while it was scanned; treat it as not checked, and scan it again",
                    reason=Reason.UNREADABLE_MEDIA,
                )

    def hash(self, file: _File, effort: Effort) -> MediaHashes:
        """Return the hashes of a file, from a child process."""
        with opened(file.path) as stream, self.pool.room() as place:
            try:
                return place.hash(stream, effort=effort)
            finally:
                file.cpu_seconds += place.cpu_seconds

    def take(self, read: _Read) -> None:
        """Take a file that was read. Raises HashHubError when hashing is not possible at all."""
        file, findings = read.listed.item, self.findings
        self._ready.append(read)
        if file.error is not None:
            if file.error.reason is Reason.MISSING_EXTRA:
                raise file.error
            return
        media = file.wanted
        self._parts += message_parts(media.query())
        if file.is_new and self.memory is not None:
            hashes = self._first_effort, file.media or media, file.thorough
            self.memory.remember(read.listed, hashes, begun=read.begun)
        if file.is_missed:
            return
        if file.is_new:
            findings.hashed += 1
            findings.size += media.size_bytes
        else:
            findings.known += 1

    def _match(self) -> None:
        """Match what is ready, and tell the answers, except where a miss is not the last word."""
        group, self._ready, self._parts = self._ready, [], 0
        asked = [self._query(read.listed.item) for read in group if read.listed.item.error is None]
        # Without labels: a file's name may be case data, and stays here.
        queries = [query for query, _ in asked]
        answers = iter(zip(self.ask(queries) if queries else (), asked, strict=True))
        for read in group:
            file = read.listed.item
            if file.error is not None:
                self._tell_error(file, file.error)
                continue
            answer, (_, covered) = next(answers)
            if answer.result.verdict is Verdict.NO_MATCH and self._look_closer(read):
                continue
            self._tell(file, answer.result, covered, answer.policy, answer.revision)
        if self.results is not None:
            self.results.flush()

    def _query(self, file: _File) -> tuple[Query, Coverage]:
        """Return what to ask about a file, and what is looked for with it."""
        from hashhub.hashing.coverage import coverage

        query = file.wanted.query()
        return query, coverage(file.wanted, self.effort, query=query)

    def _look_closer(self, read: _Read) -> bool:
        """Go on with the crops of a missed picture, if they are wanted; return whether that is so."""
        file = read.listed.item
        if self.effort is not Effort.THOROUGH or file.is_missed or file.media is None or not file.media.frames:
            return False
        file.is_missed = True
        self.engine.submit(read.listed, read.known)
        return True

    def _tell_error(self, file: _File, error: HashHubError) -> None:
        from hashhub.hashing.coverage import nothing_looked_for

        reason = ReasonLine(code=error.reason, text=error.message)
        result = MatchResult(verdict=Verdict.UNAVAILABLE, reasons=(reason,))
        file.media = file.thorough = None
        self._tell(file, result, nothing_looked_for(reason, self.effort), self.ask.options.policy, 0)

    def _tell(self, file: _File, result: MatchResult, covered: Coverage, policy: str, revision: int) -> None:
        from hashhub.hashing.coverage import remarked

        self.findings.cpu_seconds += file.cpu_seconds
        result = replace(remarked(result, covered), label=show_path(file.path))
        for gap in covered.gaps:
            self._extras.update(dict.fromkeys(_EXTRA.findall(gap.text)))
        more = _more(file, covered)
        self.tally.show(result, policy, revision or self.tally.revision, more=more)
        self.findings.add(file.path, result, covered, policy, revision)
        if self.results is not None:
            self.results.write(json_line({**as_json(result, policy, revision or self.tally.revision), **more}) + "\n")

    def cut_short(self) -> None:
        """Say what there is of a run that does not come to its end, and how to go on."""
        if self.findings.total:
            self.tally.summarise("file", "files")
        if self.directory is not None:
            self.tally.remark(
                "The scan was cut short. Run the same command again to continue: what was hashed is not hashed again. "
                f"Answers so far: {clean(show_path(self.directory / PARTIAL))}."
            )

    def finish(self, settings: dict[str, str]) -> None:
        """Print the summary and write the report."""
        self.tally.summarise("file", "files")
        findings = self.findings
        for code, what in (
            (ReasonCode.EXACT_ONLY, "looked for by identical digest only"),
            (ReasonCode.LOW_QUALITY, "blank or nearly blank"),
            (ReasonCode.FRAMES_SKIPPED, "looked for by some of their frames only"),
            (ReasonCode.VARIANTS_SKIPPED, "looked for without some or all of the variants that were asked for"),
        ):
            if findings.gaps[code]:
                self.tally.remark(f"Of these, {findings.gaps[code]:,} {what} ({code}).")
        for what, count in sorted(self.tree.skipped.items()):
            self.tally.remark(f"Not scanned: {count:,} {what}.")
        for extra in self._extras:
            self.tally.remark(f"More could be looked for with a further library: {extra}.")
        if self.directory is None or self.memory is None:
            return
        for path in self.memory.gone(map(os.path.abspath, self.paths)):
            if _is_gone(path):
                findings.lose(show_path(Path(path)))
        page = findings.page(
            settings,
            seconds=time.monotonic() - self._begun,
            match_seconds=self.ask.seconds,
            skipped=self.tree.skipped,
        )
        with text_written(self.directory / REPORT, encoding="ascii") as report:
            report.write(page)
        self.tally.remark(f"Hashed {findings.hashed:,}; {findings.known:,} had not changed since they were hashed.")
        if findings.gone:
            named = ", ".join(map(clean, findings.lost[:_GONE_SHOWN]))
            more = ", …" if findings.gone > _GONE_SHOWN else ""
            self.tally.remark(f"Gone since an earlier run: {findings.gone:,} ({named}{more}).")
        self.tally.remark(f"Report: {clean(show_path(self.directory / REPORT))}")


def _more(file: _File, covered: Coverage) -> dict[str, object]:
    """Return what an answer about a file says beside one about hashes."""
    name, shown = os.fsencode(file.path), show_path(file.path)
    media = file.media
    return {
        "file": shown,
        "file_bytes": None if shown.encode() == name else name.hex(),
        "size": None if media is None else media.size_bytes,
        "media_type": "" if media is None else media.media_type,
        "digests": [] if media is None else plain(media.digests),
        "coverage": plain(covered),
    }


def message_parts(query: Query) -> int:
    """Return how many values of fields the query has in a message, or a few more."""
    of_variants = sum(1 + len(variant.hashes) + len(variant.frames) for variant in query.variants)
    return 4 + 4 * (len(query.hashes) + of_variants + len(query.frames))


def _is_gone(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # it cannot be looked at, which its directory's own answer says
    return False


@contextlib.contextmanager
def _counted(paths: tuple[str, ...], own: tuple[int, int] | None) -> Iterator[Callable[[], int | None]]:
    """Count the files beside the scan, for who watches; give how many there are, None until that is known."""
    counted: list[int] = []
    is_over = threading.Event()

    def count() -> None:
        number = 0
        for _ in Tree(paths, own=own):
            number += 1
            if is_over.is_set():
                return
        counted.append(number)

    if is_terminal(sys.stderr):
        threading.Thread(target=count, name="hashhub-scan-count", daemon=True).start()
    try:
        yield lambda: counted[0] if counted else None
    finally:
        is_over.set()
