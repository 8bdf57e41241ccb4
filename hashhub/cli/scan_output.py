"""The directory of `scan --out DIR`, held by one run, and the page that it writes for people.

    DIR/state.sqlite            each file's stamp and hashes; SQLite's lock holds it for one run
    DIR/results.partial.jsonl   the answers of the run under way, or of one that was cut short
    DIR/results.jsonl           the answers of the last complete run
    DIR/report.html             the same for people

It belongs to one user and nobody else can write into it, since whoever could would decide what is looked up.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias

from hashhub.cli.terminal import show_path
from hashhub.errors import InvalidArgument
from hashhub.hits import how, where
from hashhub.local_files import put
from hashhub.model import Coverage, Effort, MatchResult, Verdict
from hashhub.pages import charts
from hashhub.scans.engine import ScanMemory
from hashhub.scans.findings import GREEN, GREY, MOST_COUNTED, MOST_ROWS, RED, VIOLET, YELLOW, Findings

if TYPE_CHECKING:
    from hashhub.hashing import MediaHashes

    FileHashes: TypeAlias = tuple[Effort, MediaHashes, MediaHashes | None]
    """Of effort PLAIN or STANDARD, of which the first is said, and those of effort THOROUGH, if they were wanted."""


STATE: Final = "state.sqlite"
RESULTS: Final = "results.jsonl"
PARTIAL: Final = "results.partial.jsonl"
REPORT: Final = "report.html"
_OWN: Final = frozenset({STATE, f"{STATE}-wal", f"{STATE}-shm", f"{STATE}-journal", RESULTS, PARTIAL, REPORT})


@contextmanager
def scan_directory(directory: Path) -> Iterator[ScanMemory[FileHashes]]:
    """Hold the directory for one run, make it if need be, and open its memory.

    Raises:
        InvalidArgument: the directory or a file of it belongs to somebody else, or others can write there.
        Conflict: another run holds it.
        HashHubError: the memory cannot be used.
    """
    from hashhub.hashing import MediaHashes
    from hashhub.hashing.coverage import software

    _check_directory(directory)
    for name in (STATE, RESULTS, REPORT):  # before hours of hashing
        with suppress(FileNotFoundError):
            _check_own(name, (directory / name).lstat())
    kind = tuple[Effort, MediaHashes, MediaHashes | None]
    memory: ScanMemory[FileHashes] = ScanMemory(directory / STATE, kind, hashed_by=software(), is_shared=False)
    with memory:
        yield memory


@contextmanager
def partial_results(directory: Path) -> Iterator[IO[str]]:
    """Write results, in ASCII, which take the place of those of the last run when the block ends without an error."""
    partial = directory / PARTIAL
    try:
        partial.unlink(missing_ok=True)
        file = partial.open("x", encoding="ascii")
    except OSError as e:
        raise _unusable(f"has a file {PARTIAL} that cannot be used ({e.strerror}); name another directory") from e
    with file:
        partial.chmod(0o600)
        yield file
        file.flush()
        os.fsync(file.fileno())
    put(partial, directory / RESULTS)


def _check_directory(directory: Path) -> None:
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        status = directory.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise _unusable("is not a directory")
        if status.st_uid != os.geteuid():
            raise _unusable(f"belongs to another user (uid {status.st_uid}); name one of your own")
        strangers = [name for name in os.listdir(directory) if name not in _OWN]  # noqa: PTH208
        if strangers and not (directory / STATE).exists():
            raise _unusable("holds other files than those of a scan; name an empty or a new one")
        if stat.S_IMODE(status.st_mode) & 0o077:
            if status.st_mode & 0o022:
                raise _unusable("can be written by others; take their access away (chmod 700), or name another one")
            directory.chmod(0o700)
    except (OSError, ValueError) as e:
        cause = e.strerror if isinstance(e, OSError) and e.strerror else type(e).__name__
        raise _unusable(f"cannot be used: {cause}") from e


def _check_own(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        raise _unusable(f"has a file {name} that is somebody else's, or is also elsewhere; name another directory")


def _unusable(what: str) -> InvalidArgument:
    return InvalidArgument.field("out", what, "NOT_ALLOWED")


_OTHER_FOLDERS: Final = "other folders"
_DISTANCES: Final = 32  # PDQ's default limit is 31
_COLOURS: Final[dict[str, str]] = {
    Verdict.MATCH: RED,
    Verdict.REVIEW: YELLOW,
    Verdict.BENIGN: GREEN,
    Verdict.NO_MATCH: GREY,
    Verdict.UNAVAILABLE: VIOLET,
}


class FileFindings(Findings):
    """What a scan of files has come to. `cpu_seconds`: of hashing, in all processes."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self._tops = [Path(path) for path in paths]
        self.gaps: Counter[str] = Counter()  # files by the code of what was not looked for
        self.unavailable: Counter[str] = Counter()  # files by the code of why there is no answer
        self.algorithms: Counter[str] = Counter()  # files by what was looked for
        self.variants: Counter[str] = Counter()
        self.folders: dict[str, Counter[Verdict]] = {}
        self.distances: Counter[int] = Counter()  # hits by PDQ, each file's nearest
        self.hits: list[tuple[str, ...]] = []  # file, verdict, entry, classification, how, TLP
        self.hit_count = self.hashed = 0
        self.lost: list[str] = []  # of earlier runs; the first MOST_ROWS
        self.cpu_seconds = 0.0

    def add(self, path: Path, result: MatchResult, covered: Coverage, policy: str, revision: int) -> None:
        """Count one answer. `revision`: 0 where the hub was not asked."""
        self.count(result.verdict, policy, revision)
        self._folder(path)[result.verdict] += 1
        self.algorithms.update(covered.algorithms)
        self.variants.update(covered.variants)
        if result.verdict is Verdict.UNAVAILABLE:
            self.unavailable.update({reason.code for reason in result.reasons})
            self.leave(show_path(path), "; ".join(r.text or r.code for r in result.reasons))
        else:
            self.gaps.update({gap.code for gap in covered.gaps})
        if result.verdict not in {Verdict.MATCH, Verdict.REVIEW}:
            return
        near = [match.distance for match in result.matches if match.algorithm == "PDQ"]
        if near:
            self.distances[min(near)] += 1
        self.hit_count += max(1, len(result.matches))
        room = MOST_ROWS - len(self.hits)
        for match in result.matches[:room]:
            c = match.entry.classification
            means = c.text if c else "none"
            by = "; ".join([how(match), *where(match)])
            tlp = match.marking.tlp.replace("_", "+")
            self.hits.append((show_path(path), result.verdict, match.entry.name, means, by, tlp))
        if not result.matches and room:
            told = "; ".join(reason.text or reason.code for reason in result.reasons)
            self.hits.append((show_path(path), result.verdict, "", "", told, ""))

    def lose(self, name: str) -> None:
        """Count a file of an earlier run that is not there any more."""
        self.gone += 1
        if len(self.lost) < MOST_ROWS:
            self.lost.append(name)

    def _folder(self, path: Path) -> Counter[Verdict]:
        """Return the counts of the folder directly below what was scanned that the file is in."""
        name = show_path(path.parent)
        for top in self._tops:
            if path.is_relative_to(top):
                below = path.relative_to(top).parts
                name = show_path(top / below[0] if len(below) > 1 else top)
                break
        if name not in self.folders and len(self.folders) >= MOST_COUNTED:
            name = _OTHER_FOLDERS
        return self.folders.setdefault(name, Counter())

    def page(
        self,
        options: Mapping[str, str],
        *,
        seconds: float,
        match_seconds: float,
        skipped: Mapping[str, int],
    ) -> str:
        """Return the page. `seconds`: on the clock, `match_seconds` of them waiting for the hub."""
        most = max(_DISTANCES, *self.distances, 0)
        by_folder = sorted(self.folders.items(), key=lambda folder: (folder[0] == _OTHER_FOLDERS, folder[0]))
        return self.rendered(
            "cli/scan_report.html",
            "files by verdict",
            _COLOURS,
            command="scan",
            place=", ".join(map(show_path, self._tops)),
            options=options,
            seconds=seconds,
            match_seconds=match_seconds,
            distances=charts.columns("files by distance", [self.distances[d] for d in range(most + 1)]),
            verdicts=[f"#{verdict}" for verdict in Verdict],
            folders=[(name, *(counts[v] for v in Verdict), counts.total()) for name, counts in by_folder],
            looked_for=[
                *self.algorithms.most_common(),
                *((f"variant {name}", count) for name, count in self.variants.most_common()),
            ],
            not_looked_for=[
                *self.gaps.most_common(),
                *((f"unavailable: {code}", count) for code, count in self.unavailable.most_common()),
                *((f"skipped: {what}", count) for what, count in sorted(skipped.items())),
            ],
        )
