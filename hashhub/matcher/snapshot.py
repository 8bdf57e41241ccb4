"""Snapshots on disk: written aside, visible at once or not at all, and checked.

    DIRECTORY/
      CURRENT                          the name of the current snapshot, replaced atomically
      publisher.lock                   held by the one process that may write here
      recheck.lock, DAMAGED            see `compaction.Recheck`
      snapshots/<revision>-<random>/
        manifest.json                  everything about the files below, and its own digest
        <segment>.rows  .directory  .start  .fingerprints  .ids
        <segment>.withdrawn            bitmap of withdrawn rows; absent when there are none
        <segment>.owners               numbers of sets of hash sets' keys, which stand in the manifest

A snapshot is a list of segments, oldest first, which never change: a new one hard-links the files of those it keeps.
Files are written with `write`, never through a mapping: a full disk is an error, not a signal that kills.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import DataLoss, FailedPrecondition, LimitExceeded, Reason, Unavailable
from hashhub.hashes import SEARCHED
from hashhub.local_files import is_in_the_way, lock_file, obstacle, open_file, read_file, sync
from hashhub.matcher.index import (
    Owners,
    Progress,
    Rows,
    Segment,
    SegmentParts,
    Space,
    directory_of,
    has_tables,
    space,
    tables,
)

FORMAT: Final = 2
"""Changes whenever an older program could misread the files."""
KEPT: Final = 2
"""Snapshots on disk: the current one, and the one before for processes that are about to open it and as a spare."""
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "rows": np.dtype("<u8"),
    "directory": np.dtype("<u4"),
    "start": np.dtype("<u4"),
    "fingerprints": np.dtype("<u2"),
    "ids": np.dtype("<u4"),
    "withdrawn": np.dtype("u1"),
    "owners": np.dtype("<u4"),
}
_WRITE_BYTES: Final = 1 << 24
"""Bytes handed to one write and one digest update: large enough to be cheap, small enough to stay warm between the
two.
"""
_HUGE_PAGE: Final = 1 << 21
"""Bytes, on x86-64; elsewhere a multiple or a part of it does no harm."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An opened snapshot. segments: by algorithm, oldest first; `name` is its directory's."""

    name: str
    revision: int
    segments: Mapping[str, tuple[Segment, ...]]
    manifest: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of all its files."""
        return sum(int(f["bytes"]) for s in self.manifest["segments"] for f in s["files"].values())


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's errors into ours."""
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise LimitExceeded(
                f"the disk is full while {doing}; free some space: until then matching goes on from memory",
                reason=Reason.DISK_FULL,
            ) from e
        raise Unavailable(_what_is_wrong(doing, e)) from e


def _what_is_wrong(doing: str, error: OSError) -> str:
    what = obstacle(error, "the matcher")
    if is_in_the_way(error):
        return f"{what}: move it away; what belongs there is made anew from the database"
    return f"the matcher's directory failed while {doing} ({what}); check its disk and permissions"


class Directory:
    """The snapshots under one path. One publisher at a time, any number of readers, in any number of processes."""

    def __init__(self, path: Path, *, publisher: bool) -> None:
        """Create the directory if needed; a publisher takes its lock and clears what was interrupted. Raises
        FailedPrecondition (DATA_IN_USE) when another process publishes here, Unavailable.
        """
        self._path = path
        self._snapshots = path / "snapshots"
        self._lock: FileIO | None = None
        self._recheck: FileIO | None = None
        with disk_errors("opening"):
            self._snapshots.mkdir(parents=True, exist_ok=True)
            if publisher:
                self._lock = lock_file(self._path / "publisher.lock", 0o666)
                if self._lock is None:
                    raise FailedPrecondition(
                        "another process already publishes in this matcher directory; open it with publisher=False, or "
                        "stop the other",
                        reason=Reason.DATA_IN_USE,
                    )
                try:
                    for left in self._snapshots.glob(".building-*"):
                        shutil.rmtree(left, ignore_errors=True)
                    for left in self._path.glob(".CURRENT-*"):
                        left.unlink(missing_ok=True)
                    self.remove_old()
                except BaseException:
                    self.close()
                    raise

    def close(self) -> None:
        """Release the locks."""
        for lock in (self._lock, self._recheck):
            if lock is not None:
                lock.close()
        self._lock = self._recheck = None

    def may_recheck(self) -> bool:
        """Whether this process is the one that compares the files again; it is from then on."""
        with disk_errors("taking a lock"):
            self._recheck = self._recheck or lock_file(self._path / "recheck.lock", 0o666)
        return self._recheck is not None

    def awaits_publisher(self) -> bool:
        """Whether another process publishes here, and has not given its snapshots up for want of room."""
        if self._lock is not None or self.current() is None:
            return False
        with disk_errors("taking a lock"):
            lock = lock_file(self._path / "publisher.lock", 0o666)
        if lock is not None:
            lock.close()
        return lock is None

    def mark_damaged(self, segment: str) -> None:
        """Name a damaged segment to the other processes; each finds it by itself where that cannot be written."""
        with suppress(OSError):
            (self._path / "DAMAGED").write_text(segment, encoding="ascii")

    def marked_damaged(self) -> str:
        """Return the segment that a process found damaged, empty for none."""
        try:
            return (self._path / "DAMAGED").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""

    def unmark_damaged(self) -> None:
        """Forget which segment was damaged: no snapshot has it any more."""
        with suppress(OSError):
            (self._path / "DAMAGED").unlink()

    def stamp(self) -> tuple[int, int] | None:
        """Return what changes when another snapshot becomes current: one stat. None when there is none."""
        try:
            status = (self._path / "CURRENT").stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def current(self) -> str | None:
        """Return the name of the current snapshot, or None."""
        try:
            return read_file(self._path / "CURRENT").decode("ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def names(self) -> list[str]:
        """Return the names of all snapshots, newest revision first, the current one before all."""
        current = self.current()
        with disk_errors("listing"):
            numbered = [p.name for p in self._snapshots.iterdir() if p.is_dir() and p.name.split("-")[0].isdecimal()]
        return sorted(numbered, key=lambda name: (name == current, int(name.split("-")[0])), reverse=True)

    def open(self, name: str, known: Snapshot | None = None) -> Snapshot:
        """Map one snapshot after checking its manifest and the sizes of its files; `verify` reads their contents.

        known: an opened snapshot; the segments that both have stay mapped where they are, and so in every cache.
        Raises DataLoss when anything is not as the manifest says.
        """
        mapped = {s.name: s.parts for segments in known.segments.values() for s in segments} if known else {}
        path = self._snapshots / name
        manifest = _read_manifest(path)
        segments: dict[str, list[Segment]] = {}
        try:
            revision = int(manifest["revision"])
            for entry in manifest["segments"]:
                of = space(str(entry["algorithm"]))
                segments.setdefault(of.algorithm.name, []).append(
                    _open_segment(path, entry, of, mapped.get(str(entry["name"])))
                )
        except (KeyError, TypeError, ValueError) as e:
            raise DataLoss("the snapshot's manifest describes its files wrongly; rebuild it from the store") from e
        return Snapshot(name, revision, {k: tuple(v) for k, v in segments.items()}, manifest)

    def verify(self, snapshot: Snapshot, progress: Progress | None = None) -> None:
        """Read every file of the snapshot and compare its SHA-256. Raises DataLoss at the first that differs."""
        total, done = max(1, snapshot.nbytes), 0
        buffer = bytearray(_WRITE_BYTES)
        view = memoryview(buffer)
        for entry in snapshot.manifest["segments"]:
            for part, described in entry["files"].items():
                digest = hashlib.sha256()
                try:
                    path = self._snapshots / snapshot.name / f"{entry['name']}.{part}"
                    with os.fdopen(open_file(path, os.O_RDONLY), "rb", buffering=0) as file:
                        while n := file.readinto(buffer):
                            digest.update(view[:n])
                            done += n
                            if progress:
                                progress("verify", done / total)
                except OSError as e:
                    raise DataLoss(f"a snapshot's {part} file cannot be read; rebuild it from the store") from e
                if digest.hexdigest() != described["sha256"]:
                    raise DataLoss(
                        f"a snapshot's {part} file of {described['bytes']} bytes does not match its digest; rebuild it "
                        "from the store",
                        metadata={"algorithm": str(entry["algorithm"]), "part": part},
                    )

    def set_aside(self, name: str) -> None:
        """Rename a damaged snapshot out of the way, for whoever wants to look at it; only the last one is kept."""
        for older in self._snapshots.glob("damaged-*"):
            shutil.rmtree(older, ignore_errors=True)
        with suppress(OSError):
            (self._snapshots / name).rename(self._snapshots / f"damaged-{name}")

    def clear(self) -> None:
        """Remove all snapshots, on a disk that has no room for another one; whoever has one mapped keeps its pages.
        Raises Unavailable when one stays, which the next start would take for a sound one.
        """
        with disk_errors("removing snapshots"):
            (self._path / "CURRENT").unlink(missing_ok=True)
            for path in self._snapshots.iterdir():
                shutil.rmtree(path)

    def writer(self, revision: int) -> SnapshotWriter:
        """Return a writer for a new snapshot of the store at `revision`."""
        return SnapshotWriter(self._snapshots, revision)

    def publish(self, written: SnapshotWriter, known: Snapshot | None) -> Snapshot:
        """Make the written snapshot current, and open it. known: as in `open`.

        Files and directory are synced before the rename, the parent after it, and only then CURRENT is replaced.
        """
        with disk_errors("publishing a snapshot"):
            name = written.finish()
            try:
                self._make_current(name)
            except BaseException:
                # On a full disk it is tried again and again: each time a whole snapshot would stay.
                if self.current() != name:
                    shutil.rmtree(self._snapshots / name, ignore_errors=True)
                raise
        return self.open(name, known)

    def remove_old(self) -> None:
        """Remove all but the newest KEPT: once the current one is in use, for the one before is read until then."""
        for old in self.names()[KEPT:]:
            shutil.rmtree(self._snapshots / old, ignore_errors=True)

    def _make_current(self, name: str) -> None:
        pointer = self._path / f".CURRENT-{secrets.token_hex(4)}"
        try:
            with pointer.open("w", encoding="ascii") as file:
                file.write(name + "\n")
                file.flush()
                os.fsync(file.fileno())
            pointer.replace(self._path / "CURRENT")
        except BaseException:
            pointer.unlink(missing_ok=True)
            raise
        sync(self._path)


class SnapshotWriter:
    """A snapshot being written. `finish` or `abandon` ends it."""

    def __init__(self, snapshots: Path, revision: int) -> None:
        """Create the temporary directory. Raises LimitExceeded (DISK_FULL) or Unavailable, as all methods do."""
        self._snapshots = snapshots
        self._revision = revision
        self._path = snapshots / f".building-{secrets.token_hex(6)}"
        self._entries: list[dict[str, Any]] = []
        with disk_errors("writing a snapshot"):
            self._path.mkdir()

    def build(self, of: Space, rows: Rows, owners: Owners, threads: int, progress: Progress | None = None) -> None:
        """Add a segment of these sorted distinct rows and their owners; `threads` tables at most are in memory."""
        layout = has_tables(of, len(rows))
        entry = _entry(of, secrets.token_hex(8), len(rows))
        with disk_errors("writing a snapshot"):
            self._write(entry, "rows", rows)
            self._write(entry, "directory", directory_of(rows))
            self._write_owners(entry, owners)
            if layout is not None:
                names = ("start", "fingerprints", "ids")
                files = [self._open(entry, part) for part in names]
                try:
                    for parts in tables(layout, rows, threads, progress):
                        for k, file in enumerate(files):
                            file.append(parts[k])
                    for name, file in zip(names, files, strict=True):
                        entry["files"][name] = file.finish()
                finally:
                    for file in files:
                        file.close()
        self._entries.append(entry)

    def keep(self, segment: Segment, older: Snapshot, dead: NDArray[np.uint8]) -> None:
        """Add an older snapshot's segment, but for its withdrawn bits (uint8[ceil(n / 8)]) and its owners since."""
        before = next(e for e in older.manifest["segments"] if e["name"] == segment.name)
        entry = _entry(segment.space, str(before["name"]), segment.count)
        with disk_errors("writing a snapshot"):
            for part, described in before["files"].items():
                if part != "withdrawn" and not (part == "owners" and segment.owners.is_changed):
                    source = self._snapshots / older.name / f"{segment.name}.{part}"
                    _link(source, self._path / source.name)
                    entry["files"][part] = described
            if dead.any():
                self._write(entry, "withdrawn", dead)
            if segment.owners.is_changed:
                self._write_owners(entry, segment.owners)
            else:
                entry["owners"] = before["owners"]
        self._entries.append(entry)

    def finish(self) -> str:
        """Write the manifest, make everything durable and give the snapshot its name, which is returned."""
        body = {
            "format": FORMAT,
            "revision": self._revision,
            "permutations": {e["algorithm"]: list(space(e["algorithm"]).permutation) for e in self._entries},
            "segments": self._entries,
        }
        text = json.dumps({"sha256": _digest_of(body), **body}, indent=1, sort_keys=True)
        with (self._path / "manifest.json").open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync(self._path)
        name = f"{self._revision}-{secrets.token_hex(4)}"
        self._path.rename(self._snapshots / name)
        sync(self._snapshots)
        return name

    def abandon(self) -> None:
        """Remove what was written; does nothing after `finish`."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _write_owners(self, entry: dict[str, Any], owners: Owners) -> None:
        self._write(entry, "owners", owners.numbers.copy())  # before the sets, of which there may be more meanwhile
        entry["owners"] = [sorted(keys) for keys in owners.sets]

    def _write(self, entry: dict[str, Any], part: str, values: NDArray[Any]) -> None:
        file = self._open(entry, part)
        try:
            file.append(values)
            entry["files"][part] = file.finish()
        finally:
            file.close()

    def _open(self, entry: dict[str, Any], part: str) -> _File:
        return _File(self._path / f"{entry['name']}.{part}", _DTYPES[part])


class _File:
    """A file that digests what is written to it."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._file = path.open("wb", buffering=0)
        self._dtype = dtype
        self._digest = hashlib.sha256()
        self._bytes = 0
        # What does not fill a huge page yet. Written whole, each becomes one in the page cache.
        self._rest = bytearray()

    def append(self, values: NDArray[Any]) -> None:
        data = memoryview(np.ascontiguousarray(values, self._dtype).view(np.uint8).reshape(-1).data)
        self._bytes += len(data)
        if self._rest:
            missing = _HUGE_PAGE - len(self._rest)
            self._rest += data[:missing]
            data = data[missing:]
            if len(self._rest) < _HUGE_PAGE:
                return
            self._write(memoryview(self._rest))
        whole = len(data) - len(data) % _HUGE_PAGE
        for at in range(0, whole, _WRITE_BYTES):
            self._write(data[at : min(at + _WRITE_BYTES, whole)])
        self._rest = bytearray(data[whole:])

    def _write(self, piece: memoryview) -> None:
        self._digest.update(piece)
        while piece:
            piece = piece[self._file.write(piece) :]

    def finish(self) -> dict[str, Any]:
        self._write(memoryview(self._rest))
        os.fsync(self._file.fileno())
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


def _entry(of: Space, name: str, count: int) -> dict[str, Any]:
    layout = has_tables(of, count)
    return {
        "name": name,
        "algorithm": of.algorithm.name,
        "count": count,
        "words": of.words,
        "tables": layout.tables if layout else 0,
        "addressBits": layout.address_bits if layout else 0,
        "files": {},
    }


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(read_file(path / "manifest.json").decode("ascii"))
        if not isinstance(manifest, dict):
            raise DataLoss("the snapshot's manifest is not an object; rebuild the snapshot from the store")
        claimed = manifest.pop("sha256", None)
    except (OSError, ValueError) as e:  # also UnicodeDecodeError and JSONDecodeError
        raise DataLoss("the snapshot's manifest cannot be read; rebuild the snapshot from the store") from e
    if claimed != _digest_of(manifest):
        raise DataLoss("the snapshot's manifest does not match its digest; rebuild the snapshot from the store")
    if manifest.get("format") != FORMAT:
        raise DataLoss(
            f"the snapshot has format {manifest.get('format')!r}, this version reads {FORMAT}; rebuild it from the "
            "store"
        )
    orders = manifest.get("permutations")
    if not isinstance(orders, dict) or any(
        name not in SEARCHED or order != list(space(name).permutation) for name, order in orders.items()
    ):
        raise DataLoss("the snapshot orders its bits in another way; rebuild it from the store")
    return manifest


def _open_segment(path: Path, entry: dict[str, Any], of: Space, known: SegmentParts | None) -> Segment:
    name, count, files = str(entry["name"]), int(entry["count"]), entry["files"]
    if (entry["words"], entry["tables"], entry["addressBits"]) != tuple(
        _entry(of, name, count)[key] for key in ("words", "tables", "addressBits")
    ):
        raise DataLoss("the snapshot was built with other tables than this version uses; rebuild it from the store")

    def mapped(part: str) -> NDArray[Any]:
        dtype = _DTYPES[part]
        if part not in files:
            return np.empty(0, dtype)
        file = path / f"{name}.{part}"
        wanted = int(files[part]["bytes"])
        try:
            size = file.stat().st_size
            if size != wanted:
                raise DataLoss(
                    f"a snapshot's {part} file has {size} bytes instead of {wanted}; rebuild it from the store"
                )
            # A zero-length file cannot be mapped.
            return _mapped(file, dtype) if size else np.empty(0, dtype)
        except OSError as e:
            raise DataLoss(f"a snapshot's {part} file is missing; rebuild it from the store") from e

    dead = np.array(mapped("withdrawn")) if "withdrawn" in files else None
    if dead is not None and len(dead) != -(-count // 8):
        raise DataLoss("a snapshot's withdrawn bits do not fit its rows; rebuild it from the store")
    parts = known or SegmentParts(
        mapped("rows").reshape(count, of.words),
        mapped("directory"),
        mapped("start"),
        mapped("fingerprints"),
        mapped("ids"),
    )
    owners = Owners.stored(mapped("owners"), entry["owners"], mapped("owners"))
    if len(owners.numbers) != count:
        raise DataLoss("a snapshot's owners do not fit its rows; rebuild it from the store")
    return Segment(of, parts, dead, name, owners)


def _mapped(file: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Map a file, in huge pages where there are some: they save a third of a search of ten million digests."""
    with file.open("rb") as source:
        # Private and never written, so that mapped and other arrays are one type to the compiler.
        mapping = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_COPY)
    with suppress(AttributeError, OSError):  # a system that knows none
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapping, dtype)


def _digest_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as e:
        if e.errno not in {errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK}:
            raise
        shutil.copyfile(source, target)  # a file system without hard links
