"""One job: the extract brought up to date, restricted to what its caller may have, and what was asked of it.

store ──(1) write──> BASE/extract ──(2) restrict──> (3) compute ──> response, and rows or files in `out`

Digest files are handed over as a second name for the same bytes where the disk can: they are never written over.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub import schemes
from hashhub.cancellation import check
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable, missing_extra
from hashhub.local_files import digest_of, lock_file
from hashhub.model import Definition, DefinitionKind, Reliability
from hashhub.reconcile import tasks
from hashhub.reconcile.results import By, ConflictTotals, Link, Omission, Progress
from hashhub.reconcile.tasks import Task
from hashhub.schemes import alignment

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract, ExtractFile

MAX_ROWS_BYTES: Final = 256 * 1024 * 1024  # of one result
MAX_CROSSWALKS: Final = 10  # in a report; `hashhub reconcile crosswalk` gives any
_MAX_PAIRS: Final = 1_000  # of values in one


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. `database`: as for `Store.open`. `base`: of the server's extract. `out`: directory to be made.
    `hash_sets`: the only ones looked at, or None. `left_out`: told with an extract. `schemes`: directory of more, or
    empty. `conflicts`: that the caller may know, for a report.
    """

    task: Task
    database: str
    base: str
    out: str
    hash_sets: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    schemes: str = ""
    ray_address: str = ""
    conflicts: ConflictTotals | None = None


def work(job: Job, progress: Progress) -> tasks.Response:
    """Do a job. Raises HashHubError."""
    from hashhub.reconcile import extract
    from hashhub.store import Store

    base = Path(job.base)
    with mapped():
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(job.out).mkdir(mode=0o700, parents=True)
    if job.ray_address == "local":
        os.environ.pop("RAY_ADDRESS", None)
    elif job.ray_address:
        os.environ["RAY_ADDRESS"] = job.ray_address
    # How much is written follows what is in all hash sets: whoever may not see all is not told.
    writing = progress if job.hash_sets is None else lambda *_: progress(0, 0, "preparing")
    with alone(base):
        store = Store.open(job.database, create=False)
        try:
            extract.write(store, base / "extract", progress=writing)
            names = {c.id: c.display_name for c in store.resources.contributors().values()}
            defined = [d for d in store.resources.registry().definitions if d.kind is DefinitionKind.SCHEME]
        finally:
            store.close()
        whole = extract.Extract.open(base / "extract")
        chosen = whole if job.hash_sets is None else whole.restricted(job.hash_sets)
        registry, _ = schemes.with_stored(schemes.load(Path(job.schemes) if job.schemes else None), defined)
        return compute(
            job.task,
            chosen,
            Path(job.out),
            progress,
            registry,
            hash_sets=job.hash_sets,
            left_out=job.left_out,
            names=names,
            conflicts=job.conflicts,
            defined=defined,
        )


def compute(
    task: Task,
    extract: Extract,
    out: Path,
    progress: Progress,
    registry: schemes.SchemeRegistry,
    *,
    hash_sets: tuple[str, ...] | None = None,
    left_out: tuple[str, ...] = (),
    names: Mapping[str, str] | None = None,
    conflicts: ConflictTotals | None = None,
    defined: Sequence[Definition] = (),
) -> tasks.Response:
    """Do what is asked over an extract; `out`: an existing directory. `hash_sets`, `left_out`: of an extract that is
    handed over. `names`: of contributors, for people. `conflicts`: for a report, None: unknown. `defined`: the store's
    schemes. Raises HashHubError.
    """
    extract, unheard = _choose(task, extract) if isinstance(task, tasks.Compare) else (extract, ())
    # Each is loaded only where it is asked for: some load the matcher's libraries.
    match task:
        case tasks.ExtractEntries():
            return hand_over(extract, out / tasks.FILES, hash_sets, left_out, progress, defined)
        case tasks.ComputeOverlap():
            from hashhub.reconcile import overlap

            shared = overlap.compute(extract, task.by, near=task.near, engine=task.engine, progress=progress)
            return msgspec.structs.replace(shared, left_out=unheard)
        case tasks.ComputeAgreement():
            from hashhub.reconcile import agreement

            agreed = agreement.compute(extract, registry, engine=task.engine, progress=progress)
            return msgspec.structs.replace(agreed, left_out=unheard)
        case tasks.FindLinks():
            from hashhub.reconcile import links

            kinds: Counter[bool] = Counter()
            rows = _counted(links.links(extract, near=task.near, progress=progress), kinds)
            count, is_cut = write_rows(rows, out)
            return tasks.LinksResult(
                revision=extract.revision,
                exact=kinds[True],
                near=kinds[False],
                rows=count,
                is_cut=is_cut,
                left_out=unheard,
            )
        case tasks.FindGaps():
            from hashhub.reconcile import gaps

            counts, items = gaps.gaps(extract, task.jurisdiction, near=task.near, progress=progress)
            count, is_cut = write_rows(items, out)
            counts = msgspec.structs.replace(counts, left_out=unheard)
            return tasks.GapsResult(gaps=counts, rows=count, is_cut=is_cut)
        case tasks.WriteReport():
            return _report(task, extract, out / tasks.FILES, progress, registry, names or {}, conflicts, unheard)


def _choose(task: tasks.Compare, extract: Extract) -> tuple[Extract, tuple[Omission, ...]]:
    """Return the chosen hash sets, and the omissions. Raises InvalidArgument for a contributor without hash sets."""
    hash_sets = extract.hash_sets()
    reliability_of = {row["contributor"]: Reliability(row["reliability"]) for row in hash_sets}
    if unknown := sorted(set(task.contributors) - reliability_of.keys()):
        raise InvalidArgument.field(
            "contributors", f"no hash set of {unknown[0][:63]!r} is among those that are compared", "NOT_FOUND"
        )
    is_rated = any(reliability < Reliability.F for reliability in reliability_of.values())
    least = task.min_reliability or (Reliability.E if is_rated and not task.contributors else Reliability.F)
    asked = task.contributors or reliability_of
    left_out = tuple(
        Omission(contributor=name, reliability=reliability, by_choice=name not in asked)
        for name, reliability in sorted(reliability_of.items())
        if name not in asked or reliability > least
    )
    gone = {x.contributor for x in left_out}
    chosen = [row["hash_set"] for row in hash_sets if row["contributor"] not in gone]
    return (extract.restricted(chosen) if gone else extract), left_out


def _report(
    task: tasks.WriteReport,
    extract: Extract,
    directory: Path,
    progress: Progress,
    registry: schemes.SchemeRegistry,
    names: Mapping[str, str],
    conflicts: ConflictTotals | None,
    left_out: tuple[Omission, ...],
) -> tasks.ReportResult:
    """Compute the contents of the page, and write it."""
    from hashhub.reconcile import agreement, gaps, overlap, report

    hash_sets = extract.hash_sets()
    present = sorted({row["jurisdiction"] for row in hash_sets})
    wanted = task.jurisdictions or tuple(present)
    steps = len(wanted) + 3
    progress(0, steps, "overlap")
    shared = overlap.compute(extract, By.CONTRIBUTOR, near=task.near)
    progress(1, steps, "agreement")
    agreed = agreement.compute(extract, registry)
    lacking = []
    for step, jurisdiction in enumerate(wanted):
        progress(2 + step, steps, f"gaps of {jurisdiction}")
        counts, items = gaps.gaps(extract, jurisdiction, near=task.near)
        del items  # with it goes the connection that it holds
        lacking.append(counts)
    if conflicts is not None:
        heard = {row["contributor"] for row in hash_sets}
        counted = tuple(c for c in conflicts.counts if {c.left, c.right} <= heard)
        conflicts = msgspec.structs.replace(conflicts, counts=counted)
    progress(steps - 1, steps, "page")
    html = report.page(
        title=task.title or "What the databases share, and where they differ",
        revision=extract.revision,
        overlap=shared,
        agreement=agreed,
        gaps=lacking,
        conflicts=conflicts,
        left_out=left_out,
        time=extract.manifest.create_time,
        crosswalks=_crosswalks(sorted({row["scheme"] for row in hash_sets if row["scheme"]}), registry),
        names={name: names[name] for name in (*shared.names, *(x.contributor for x in left_out)) if name in names},
    )
    report.write(directory, html)
    return tasks.ReportResult(revision=extract.revision, files=files_in(directory), left_out=left_out)


def _crosswalks(names: Iterable[str], registry: schemes.SchemeRegistry) -> list[tuple[schemes.Scheme, schemes.Scheme]]:
    """Return each two of these schemes, the first MAX_CROSSWALKS; none that is not known here or has too many pairs."""
    by_name = {scheme.name: scheme for scheme in registry.list()}
    known = [by_name[name] for name in names if name in by_name]
    couples = islice(combinations(known, 2), MAX_CROSSWALKS)
    return [(left, right) for left, right in couples if alignment.row_count(left, right) <= _MAX_PAIRS]


@contextmanager
def alone(base: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes from the extract in `base`. Raises Unavailable when it is in use and `wait` is false."""
    with mapped():
        lock = lock_file(base / "LOCK", wait=wait)
    if lock is None:
        raise Unavailable("the extract is in use; retry in a moment", retry_after=1.0)
    with lock:
        yield


def _counted(rows: Iterable[Link], kinds: Counter[bool]) -> Iterator[Link]:
    for row in rows:
        kinds[row.is_exact] += 1
        yield row


def write_rows(rows: Iterable[msgspec.Struct], out: Path) -> tuple[int, bool]:
    """Write rows, a JSON object a line, and return how many, and whether there are more than are kept. All are read."""
    count = size = 0
    is_cut = False
    encode = msgspec.json.Encoder().encode
    with mapped(), (out / tasks.ROWS).open("wb") as file:
        for row in rows:
            line = encode(row) + b"\n"
            is_cut |= size + len(line) > MAX_ROWS_BYTES
            if not is_cut:
                file.write(line)
                size += len(line)
                count += 1
    return count, is_cut


def files_in(directory: Path) -> tuple[tasks.ResultFile, ...]:
    """Return the files of a directory by path, with their digests."""
    with mapped():
        return tuple(
            tasks.ResultFile(
                path=path.relative_to(directory).as_posix(), sha256=digest_of(path), size=path.stat().st_size
            )
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        )


@contextmanager
def mapped() -> Iterator[None]:
    """Turn errors of the disk into HashHubError."""
    try:
        yield
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise LimitExceeded(
                "the disk of the data directory is full: free some space, then start the operation again",
                reason=Reason.DISK_FULL,
            ) from e
        raise HashHubError(f"the data directory cannot be used ({e.strerror}); see its permissions") from e


def hand_over(
    extract: Extract,
    directory: Path,
    hash_sets: Collection[str] | None,
    left_out: tuple[str, ...],
    progress: Progress,
    defined: Sequence[Definition] = (),
) -> tasks.ExtractResult:
    """Put the part of these hash sets (None: all) and the store's schemes into a new directory."""
    from hashhub.reconcile.extract import MANIFEST

    with mapped():
        directory.mkdir(parents=True)
        files: list[ExtractFile] = []
        wanted = (*extract.files, *(f for f in extract.manifest.files if not f.hash_set))
        for step, file in enumerate(wanted):
            check()
            progress(step, len(wanted) + 1, "files")
            source = extract.directory / file.path
            if hash_sets is None or not file.path.startswith("hash_sets-"):
                _link(source, directory / file.path)
                files.append(file)
            else:
                files.append(_only(source, directory, frozenset(hash_sets), file))
        # What they say, and not who put them or answers for them.
        said = tuple(Definition(kind=d.kind, id=d.id, version=d.version, text=d.text) for d in defined)
        ordered = tuple(sorted(files, key=lambda f: f.path))
        manifest = msgspec.structs.replace(extract.manifest, files=ordered, schemes=said)
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
        (directory / MANIFEST).write_bytes(content)
        handed = [tasks.ResultFile(path=f.path, sha256=f.digest, size=f.size) for f in manifest.files]
        handed.append(tasks.ResultFile(path=MANIFEST, sha256=digest_of(directory / MANIFEST), size=len(content)))
    names = tuple(row["hash_set"] for row in extract.hash_sets())
    return tasks.ExtractResult(revision=extract.revision, hash_sets=names, left_out=left_out, files=tuple(handed))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that cannot do that
        shutil.copyfile(source, target)


def _only(source: Path, directory: Path, hash_sets: frozenset[str], file: ExtractFile) -> ExtractFile:
    """Write the rows of these hash sets, and return the file."""
    from hashhub.reconcile.extract import arrow

    pa = arrow()
    table = pa.parquet.read_table(source)
    rows = table.filter(pa.array([name in hash_sets for name in table["hash_set"].to_pylist()], pa.bool_()))
    part = directory / "hash_sets.part"
    pa.parquet.write_table(rows, part, compression="zstd", store_schema=False)
    digest = digest_of(part)
    path = f"hash_sets-{digest[:16]}.parquet"
    part.replace(directory / path)
    return msgspec.structs.replace(
        file, path=path, digest=digest, size=(directory / path).stat().st_size, rows=rows.num_rows
    )


def ask(task: Task, directory: Path, out: Path, *, progress: Progress) -> tasks.Response:
    """Do a task over the extract in `directory`, with rows and files in `out`. Raises FailedPrecondition without
    `hashhub[reconcile]`, and as `Extract.open`.
    """
    try:
        from hashhub.reconcile.extract import Extract

        extract = Extract.open(directory)
        registry, _ = schemes.with_stored(schemes.load(), extract.manifest.schemes)
        return compute(task, extract, out, progress, registry)
    except ModuleNotFoundError as e:
        raise missing_extra(e, "reconcile") from e
