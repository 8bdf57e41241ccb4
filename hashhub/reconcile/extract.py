"""The extract: the entries of the store as Parquet files (`columns`); only changed blocks are rewritten.

    write     the store -> a directory, block by block; files first, the manifest last
    Extract   a directory, or the part of it that a caller may have, as tables of DuckDB

A file's name contains part of its SHA-256, so nothing is overwritten: until the new manifest is there, all files of the
old one are. Files that no manifest names are removed afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.errors import (
    Conflict,
    DataLoss,
    FailedPrecondition,
    HashHubError,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
    missing_extra,
)
from hashhub.hashes import ALGORITHMS
from hashhub.local_files import digest_of, lock_file, put, sync
from hashhub.model import MAX_NUMBER, Classification, Contributor, Definition, EntryState, now, number_of
from hashhub.reconcile.columns import BLOCK_BITS, DIGEST_COLUMNS, FORMAT, HASH_SET_COLUMNS, bits_of
from hashhub.schemes.dimensions import DIMENSIONS
from hashhub.store import Position

if TYPE_CHECKING:
    from hashhub.reconcile.results import Progress
    from hashhub.store import IdSet, Registry, StandingEntries, Store

MANIFEST: Final = "manifest.json"
_LOCK: Final = ".writing"
_SET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATH: Final = re.compile(
    rf"digests/{_SET.pattern}/\d+-[0-9a-f]{{16}}\.parquet|(?:hash_sets|dimensions)-[0-9a-f]{{16}}\.parquet"
)
_ROW_GROUP: Final = 1 << 17  # rows; of one algorithm each, so that a reader passes over the algorithms it does not want
GATHERED: Final = 64 << 20  # bytes of digests that are held before they are written
_BITS: Final = {name: bits_of(name) for name in DIMENSIONS if name != "legal_status"}
_ROUNDS: Final = 3  # over what changed meanwhile
_NAMED: Final = 16  # hexadecimal digits of a file's SHA-256 in its name
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_MEMORY: Final = "1GB"  # that DuckDB takes before it goes to its temporary directory
_THREADS: Final = 2


class ExtractFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an extract, with its SHA-256 in hex. Of a digest file: its hash set, the jurisdiction that stands in
    it, its block, and how many entries it has, of which so many ACTIVE ones.
    """

    path: str
    digest: str
    size: int
    rows: int
    hash_set: str = ""
    jurisdiction: str = ""
    block: int = 0
    entries: int = 0
    active_entries: int = 0


class ExtractManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an extract is: of which database, at which revision (with the history's head there), in which files; what
    was taken back soon after may be missing. `schemes`: the store's own, in one that was handed over.
    """

    format: int
    database: str
    revision: int
    head: str
    create_time: datetime
    files: tuple[ExtractFile, ...]
    schemes: tuple[Definition, ...] = ()


class ExtractChange(msgspec.Struct, frozen=True, kw_only=True):
    """What `write` did: the manifest, how many files it wrote and how many stay as they were, entries in all."""

    manifest: ExtractManifest
    written: int
    unchanged: int
    entries: int


# --- Writing ----------------------------------------------------------------------------------------------------------


def write(store: Store, directory: Path, *, progress: Progress | None = None) -> ExtractChange:
    """Bring the extract in a directory up to the store's revision, or make one; only what has changed is written, by
    one process at a time, and one that is ended leaves what was there. Raises Conflict: another process writes there;
    LimitExceeded (DISK_FULL), Unavailable: the directory cannot be written; FailedPrecondition: `hashhub[reconcile]` is
    not installed.
    """
    arrow()
    with _disk(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_writer(directory):
        return _Writer(store, directory, progress).write()


class _Writer:
    """One run of `write`."""

    def __init__(self, store: Store, directory: Path, progress: Progress | None) -> None:
        self._store = store
        self._directory = directory
        self._progress = progress
        self._position = store.history.position()
        self._registry = store.resources.registry()
        self._steps = 0
        self._files: dict[tuple[str, int], ExtractFile] = {}

    def write(self) -> ExtractChange:
        self._take_over()
        taken_over = set(self._files.values())
        for number in range(_ROUNDS):
            self._write_blocks()
            before, latest = self._position, self._store.history.position()
            if latest == before or number == _ROUNDS - 1:
                break
            # What changed meanwhile: a pass over a large store takes minutes, the one after it is short.
            self._position, self._registry = latest, self._store.resources.registry()
            self._drop_changed(before.revision)
        of_digests = list(self._files.values())
        self._tell(self._steps, MANIFEST)
        tables = [self._write_table("hash_sets", _hash_sets(self._registry, of_digests))]
        tables += [self._write_table("dimensions", _dimensions())]
        manifest = ExtractManifest(
            format=FORMAT,
            database=self._store.database_id,
            revision=self._position.revision,
            head=self._position.digest.hex(),
            create_time=now(),
            files=tuple(sorted([*of_digests, *tables], key=lambda f: f.path)),
        )
        self._publish(manifest)
        self._remove_others(manifest)
        unchanged = len(taken_over & set(of_digests))
        return ExtractChange(
            manifest=manifest,
            written=len(manifest.files) - unchanged,
            unchanged=unchanged,
            entries=sum(f.entries for f in of_digests),
        )

    def _tell(self, steps: int, what: str) -> None:
        if self._progress is not None:
            self._progress(self._steps, steps + 1, what)

    def _take_over(self) -> None:
        """Begin with the files of the extract that is there already, and that still say what the store does."""
        try:
            manifest = read_manifest(self._directory)
        except HashHubError:  # none, a damaged one, or one of another format
            return
        at = Position(manifest.revision, bytes.fromhex(manifest.head))
        # A restored backup knows nothing of what this extract has from after it.
        if manifest.database == self._store.database_id and self._store.history.has_been_at(at):
            files = (f for f in manifest.files if f.hash_set and _is_whole(self._directory, f))
            self._files = {(f.hash_set, f.block): f for f in files}
            self._drop_changed(manifest.revision)

    def _drop_changed(self, after_revision: int) -> None:
        """Drop the files in which something changed since a revision."""
        for changed in self._store.extract.changed(after_revision, self._position.revision):
            touched = _blocks_of(changed.ids)
            for key in [k for k in self._files if k[1] in touched and changed.hash_set in {"", k[0]}]:
                del self._files[key]

    def _write_blocks(self) -> None:
        """Write each block that has no file yet, and drop the files of blocks that are no more."""
        wanted = {
            (name, block)
            for name, hash_set in self._registry.hash_sets.items()
            for block in self._store.extract.blocks(hash_set.contributor, hash_set.id, BLOCK_BITS)
        }
        self._files = {
            key: file
            for key, file in self._files.items()
            if key in wanted and file.jurisdiction == self._contributor(key[0]).jurisdiction
        }
        missing_blocks = sorted(wanted - self._files.keys())
        steps = self._steps + len(missing_blocks)
        for hash_set, block in missing_blocks:
            check()
            self._tell(steps, hash_set)
            self._steps += 1
            if (made := self._write_block(hash_set, block)) is not None:
                self._files[hash_set, block] = made

    def _contributor(self, hash_set: str) -> Contributor:
        return self._registry.contributors[hash_set.partition("/")[0]]

    def _write_block(self, hash_set: str, block: int) -> ExtractFile | None:
        """Write one block of a hash set; return None for an empty one."""
        contributor, set_id = hash_set.split("/")
        pages = self._store.extract.standing_entries(
            contributor, set_id, block << BLOCK_BITS, (block + 1 << BLOCK_BITS) - 1, revision=self._position.revision
        )
        rows = _Rows(self._store, hash_set, self._contributor(hash_set).jurisdiction)
        with self._new_file(rows.schema) as (path, parquet):
            for page in pages:
                check()
                rows.add(page)
                if rows.size >= GATHERED:
                    rows.flush(parquet)
            rows.flush(parquet)
        if not rows.count:
            path.unlink()
            return None
        file = self._named(path, f"digests/{hash_set}", f"{block}", rows.count)
        return msgspec.structs.replace(
            file,
            hash_set=hash_set,
            jurisdiction=self._contributor(hash_set).jurisdiction,
            block=block,
            entries=rows.entries,
            active_entries=rows.active_entries,
        )

    def _write_table(self, name: str, table: Any) -> ExtractFile:
        with self._new_file(table.schema) as (path, parquet), _disk(self._directory):
            parquet.write_table(table)
        return self._named(path, "", name, table.num_rows)

    @contextlib.contextmanager
    def _new_file(self, schema: Any) -> Iterator[tuple[Path, Any]]:
        """Give a writer for a file under a passing name; it is on the disk at the end."""
        pa = arrow()
        path = self._directory / f".part-{secrets.token_hex(8)}"
        try:
            with _disk(self._directory):
                # Readers see plain columns, not how they were made.
                parquet = pa.parquet.ParquetWriter(
                    path, schema, compression="zstd", compression_level=1, store_schema=False, use_dictionary=True
                )
            try:
                yield path, parquet
            finally:
                with _disk(self._directory):
                    parquet.close()
            with _disk(self._directory):
                sync(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _named(self, path: Path, folder: str, stem: str, rows: int) -> ExtractFile:
        """Give a finished file its own name."""
        with _disk(self._directory):
            digest = digest_of(path)
            name = f"{stem}-{digest[:_NAMED]}.parquet"
            target = self._directory / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            size = path.stat().st_size
            put(path, target)
        return ExtractFile(path=f"{folder}/{name}" if folder else name, digest=digest, size=size, rows=rows)

    def _publish(self, manifest: ExtractManifest) -> None:
        part = self._directory / f".part-{secrets.token_hex(8)}"
        with _disk(self._directory):
            for folder in {(self._directory / f.path).parent for f in manifest.files}:
                sync(folder)
            part.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
            sync(part)
            put(part, self._directory / MANIFEST)
            sync(self._directory)

    def _remove_others(self, manifest: ExtractManifest) -> None:
        """Remove files of earlier extracts and of runs that were broken off; whatever is not ours stays."""
        named = {f.path for f in manifest.files}
        with _disk(self._directory):
            for path in self._directory.glob(".part-*"):
                path.unlink()
            for path in [*self._directory.glob("*.parquet"), *self._directory.glob("digests/*/*/*.parquet")]:
                inside = path.relative_to(self._directory).as_posix()
                if inside not in named and _PATH.fullmatch(inside):
                    path.unlink()
            for folder in [*self._directory.glob("digests/*/*"), *self._directory.glob("digests/*")]:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()


def _blocks_of(ids: IdSet) -> Collection[int]:
    if ids.is_range:
        return range(number_of(ids.first) >> BLOCK_BITS, (number_of(ids.last) >> BLOCK_BITS) + 1)
    return {int(block) for piece in ids.pieces(1 << 20) for block in np.unique((piece & MAX_NUMBER) >> BLOCK_BITS)}


class _Rows:
    """Rows of one digest file on their way into it, by algorithm."""

    def __init__(self, store: Store, hash_set: str, jurisdiction: str) -> None:
        self._store = store
        self._hash_set = hash_set
        self._jurisdiction = jurisdiction
        self._gathered: dict[str, list[tuple[StandingEntries, NDArray[np.int64], NDArray[np.uint8]]]] = {}
        self.schema = _digest_schema()
        self.size = 0
        self.count = 0
        self.entries = 0
        self.active_entries = 0

    def add(self, page: StandingEntries) -> None:
        """Take in a page of entries."""
        self.entries += len(page.ids)
        self.active_entries += int(page.is_active.sum())
        for algorithm, at, digests in page.hashes:
            self._gathered.setdefault(algorithm, []).append((page, at, digests))
            self.count += len(at)
            self.size += digests.size

    def flush(self, parquet: Any) -> None:
        """Write the collected rows."""
        for algorithm in ALGORITHMS:
            parts = self._gathered.pop(algorithm, [])
            if parts:
                table = self._table(algorithm, parts)
                with _disk(None):
                    parquet.write_table(table, row_group_size=_ROW_GROUP)
        self.size = 0

    def _table(
        self, algorithm: str, parts: Sequence[tuple[StandingEntries, NDArray[np.int64], NDArray[np.uint8]]]
    ) -> Any:
        pa = arrow()
        ids = np.concatenate([page.ids[at] for page, at, _ in parts])
        digests = np.concatenate([matrix for _, _, matrix in parts])
        order = np.argsort(ids, kind="stable")
        count = len(ids)

        def column(name: str) -> Any:
            return np.concatenate([getattr(page, name)[at] for page, at, _ in parts])[order]

        def always(value: str) -> Any:
            return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), [value])

        width = ALGORITHMS[algorithm].digest_bytes
        flat = np.ascontiguousarray(digests[order])
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
        binary = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(flat)])
        states = pa.DictionaryArray.from_arrays(
            pa.array(column("is_active").astype(np.int8)), [EntryState.QUARANTINED.value, EntryState.ACTIVE.value]
        )
        imports, made = np.unique(column("imports"), return_inverse=True)
        times = [self._store.extract.commit_of(key)[1] for key in imports.tolist()]
        committed = pa.array(times, pa.timestamp("ms", "UTC")).take(pa.array(made))
        columns = {
            "number": pa.array(ids[order] & MAX_NUMBER),
            "hash_set": always(self._hash_set),
            "contributor": always(self._hash_set.partition("/")[0]),
            "jurisdiction": always(self._jurisdiction),
            "state": states,
            "algorithm": always(algorithm),
            "digest": binary,
            "revision": pa.array(column("revisions")),
            "is_unclassified": pa.array(column("is_unclassified")),
            "create_time": committed,
            "stated_time": committed
            if parts[0][0].stated_times is None
            else pa.array(column("stated_times"), pa.timestamp("ms", "UTC")),
            **_stated_columns(self._store, column("classifications")),
        }
        return pa.table([columns[name] for name in DIGEST_COLUMNS], schema=self.schema)


def _stated_columns(store: Store, keys: NDArray[np.int64]) -> dict[str, Any]:
    """Return the columns of rows whose classifications have these keys (0: none): few different ones make up all."""
    pa = arrow()
    distinct, which = np.unique(keys, return_inverse=True)
    stated = [store.entries.classification(key) if key else None for key in distinct.tolist()]
    at = pa.array(which.astype(np.int32))

    def words(values: list[str | None]) -> Any:
        # Only what is a value stands in the dictionary; a null there would be one.
        return pa.array(values, pa.string()).take(at).dictionary_encode()

    laws = [[] if c is None else list(c.dimensions.get("legal_status", ())) for c in stated]
    columns = {
        "scheme": words([None if c is None else f"{c.scheme}@{c.version}" for c in stated]),
        "value": words([None if c is None else c.value for c in stated]),
        "d_legal_status": pa.array(laws, pa.list_(pa.string())).take(at),
    }
    for name in _BITS:
        masks = np.array([0 if c is None else mask_of(c, name) for c in stated], np.int64)
        columns[f"d_{name}"] = pa.array(masks[which])
    return columns


def mask_of(classification: Classification, dimension: str) -> int:
    """Return the bits of values left possible in a dimension; 0 where nothing is stated, or a value is not known any
    more.
    """
    bits = _BITS[dimension]
    values = classification.dimensions.get(dimension, ())
    return sum(bits[v] for v in values) if all(v in bits for v in values) else 0


def _digest_schema() -> Any:
    pa = arrow()
    words = pa.dictionary(pa.int32(), pa.string())
    few = pa.dictionary(pa.int8(), pa.string())
    types = {
        **dict.fromkeys(("hash_set", "contributor", "jurisdiction", "state", "algorithm"), few),
        **dict.fromkeys(("scheme", "value"), words),
        "digest": pa.binary(),
        "is_unclassified": pa.bool_(),
        "create_time": pa.timestamp("ms", "UTC"),
        "stated_time": pa.timestamp("ms", "UTC"),
        "d_legal_status": pa.list_(pa.string()),
    }
    return pa.schema([(name, types.get(name, pa.int64())) for name in DIGEST_COLUMNS])


def _hash_sets(registry: Registry, files: Iterable[ExtractFile]) -> Any:
    entries: Counter[str] = Counter()
    for file in files:
        entries[file.hash_set] += file.entries
    rows = []
    for name, hash_set in sorted(registry.hash_sets.items()):
        contributor = registry.contributors[hash_set.contributor]
        rows.append(
            {
                "hash_set": name,
                "contributor": contributor.id,
                "jurisdiction": contributor.jurisdiction,
                "kind": contributor.kind.value,
                "reliability": contributor.reliability.value,
                "takes_from": list(contributor.takes_from),
                "purpose": hash_set.purpose.value,
                "scheme": hash_set.scheme,
                "tlp": hash_set.marking.tlp.value,
                "entries": entries[name],
            }
        )
    pa = arrow()
    types = {"takes_from": pa.list_(pa.string()), "entries": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in HASH_SET_COLUMNS])
    return pa.Table.from_pylist(rows, schema)


def _dimensions() -> Any:
    pa = arrow()
    rows = [
        {"dimension": name, "value": value, "bit": _BITS.get(name, {}).get(value), "meaning": meaning}
        for name, dimension in DIMENSIONS.items()
        for value, meaning in dimension.values.items()
    ]
    types = [("dimension", pa.string()), ("value", pa.string()), ("bit", pa.int64())]
    return pa.Table.from_pylist(rows, pa.schema([*types, ("meaning", pa.string())]))


# --- Reading ----------------------------------------------------------------------------------------------------------


class Extract:
    """An extract on disk, or the part of it that a caller may have."""

    def __init__(self, directory: Path, manifest: ExtractManifest, hash_sets: frozenset[str] | None = None) -> None:
        self.directory = directory
        self.manifest = manifest
        self.allowed = hash_sets
        """The only hash sets that are looked at; None: all."""

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the extract in a directory; its files must be there, their content is not read (`verify`).

        Raises NotFound when there is none, FailedPrecondition when it has another format, DataLoss when it is not
        whole.
        """
        manifest = read_manifest(directory)
        while missing_file := next((f.path for f in manifest.files if not _is_whole(directory, f)), ""):
            before, manifest = manifest, read_manifest(directory)
            if manifest == before:  # otherwise it was written anew in between
                raise _damaged(f"its file {missing_file} is missing or has another size")
        return cls(directory, manifest)

    @property
    def revision(self) -> int:
        """The store's revision that it shows."""
        return self.manifest.revision

    @property
    def files(self) -> tuple[ExtractFile, ...]:
        """The digest files that are looked at."""
        return tuple(f for f in self.manifest.files if f.hash_set and self._has(f.hash_set))

    def hash_sets(self) -> list[dict[str, Any]]:
        """Return what is known of the hash sets, HASH_SET_COLUMNS of each, by name. Raises what `connect` raises."""
        pa = arrow()  # a connection of DuckDB would take longer than this small table
        with self._reading(OSError, pa.ArrowException, KeyError):
            files = (pa.parquet.ParquetFile(path) for path in self._paths_of("hash_sets"))
            rows = [row for file in files for row in file.read().select(list(HASH_SET_COLUMNS)).to_pylist()]
        return sorted((row for row in rows if self._has(row["hash_set"])), key=lambda row: row["hash_set"])

    def source(self, files: Iterable[ExtractFile]) -> str:
        """Return what stands for the rows of digest files in a FROM clause on a connection from `connect`."""
        parquet = f"read_parquet({_texts(str(self.directory.resolve() / f.path) for f in files)})"
        # Numbers are of each hash set; what is asked needs one for each entry of them all.
        columns = "SELECT d.*, k.key << 32 | d.number AS entry"
        return f"({columns} FROM {parquet} d JOIN set_key k USING (hash_set))"

    def restricted(self, hash_sets: Collection[str]) -> Extract:
        """Return the part of this that has these hash sets (CONTRIBUTOR/SET) and no other; unknown ones add nothing."""
        allowed = frozenset(name for name in hash_sets if self._has(name))
        files = tuple(f for f in self.manifest.files if not f.hash_set or f.hash_set in allowed)
        return Extract(self.directory, msgspec.structs.replace(self.manifest, files=files), allowed)

    def _has(self, hash_set: str) -> bool:
        return self.allowed is None or hash_set in self.allowed

    def verify(self) -> None:
        """Compare all files with the manifest. Raises DataLoss, or Conflict when they were written anew meanwhile."""
        for file in self.manifest.files:
            check()
            with self._reading(OSError):
                digest = digest_of(self.directory / file.path)
            if digest != file.digest:
                raise _damaged(f"its file {file.path} was altered")

    @contextlib.contextmanager
    def connect(self, *, memory: str = _MEMORY, threads: int = _THREADS) -> Iterator[Any]:
        """Give a DuckDB connection with the views `digests`, `hash_sets` and `dimensions`. Rows of `digests` have a
        number `entry` besides, another one for each entry.

        It reads the extract's files and nothing else on this machine, and keeps within `memory` (DuckDB's spelling,
        `1GB`) by going to a temporary directory, which ends with it. What DuckDB raises in the body comes out as an
        error of hashhub's: Conflict when the extract was written anew meanwhile.
        """
        duckdb = _duckdb()
        with tempfile.TemporaryDirectory(prefix="hashhub-reconcile-") as temporary:
            connection = duckdb.connect(
                config={
                    "memory_limit": memory,
                    "threads": threads,
                    "temp_directory": temporary,
                    "preserve_insertion_order": False,
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                }
            )
            try:
                with self._reading(duckdb.Error):
                    self._register(connection)
                    yield connection
            finally:
                connection.close()

    def _register(self, connection: Any) -> None:
        paths = {name: self._paths_of(name) for name in ("hash_sets", "dimensions")}
        paths["digests"] = [str(self.directory.resolve() / f.path) for f in self.files]
        connection.execute("SET allowed_paths = " + _texts(p for some in paths.values() for p in some))
        connection.execute("SET enable_external_access = false")
        names = sorted({f.hash_set for f in self.files})
        connection.execute(
            "CREATE TEMP TABLE set_key AS SELECT unnest($1::VARCHAR[]) AS hash_set, "
            "generate_subscripts($1::VARCHAR[], 1) AS key",
            [names],
        )
        for name, files in paths.items():
            if files:
                where = ""
                if name == "hash_sets" and self.allowed is not None:
                    where = f" WHERE list_contains({_texts(sorted(self.allowed))}::VARCHAR[], hash_set)"
                source = self.source(self.files) if name == "digests" else f"read_parquet({_texts(files)})"
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {source}{where}")  # noqa: S608 - ours
            else:  # no hash set has entries, or none may be looked at
                columns = ", ".join(f"NULL::{kind} AS {column}" for column, kind in _SQL_TYPES.items())
                connection.execute(f"CREATE VIEW {name} AS SELECT {columns} WHERE false")

    def _paths_of(self, name: str) -> list[str]:
        return [
            str(self.directory.resolve() / f.path)
            for f in self.manifest.files
            if not f.hash_set and f.path.startswith(f"{name}-")
        ]

    @contextlib.contextmanager
    def _reading(self, *foreign: type[Exception]) -> Iterator[None]:
        """Turn an error of DuckDB, of Arrow or of the disk into one of ours."""
        try:
            yield
        except foreign as e:
            if any(not (self.directory / f.path).exists() for f in self.manifest.files):
                raise Conflict("the extract was written anew meanwhile; open it again, then retry") from e
            if "No space left" in str(e):
                raise _disk_full() from e
            if "OutOfMemory" in type(e).__name__:
                raise LimitExceeded(
                    "the memory that reconciliation may take is not enough for this extract; allow it more, or look at "
                    "fewer hash sets",
                    reason=Reason.TOO_LARGE,
                ) from e
            raise HashHubError(f"the extract could not be read ({type(e).__name__}); see the log") from e


_SQL_TYPES: Final = {
    name: {
        "entry": "BIGINT",
        "number": "BIGINT",
        "digest": "BLOB",
        "is_unclassified": "BOOLEAN",
        "create_time": "TIMESTAMPTZ",
        "stated_time": "TIMESTAMPTZ",
        "d_legal_status": "VARCHAR[]",
    }.get(name, "BIGINT" if name == "revision" or name.startswith("d_") else "VARCHAR")
    for name in (*DIGEST_COLUMNS, "entry")
}


def _texts(texts: Iterable[str]) -> str:
    quoted = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
    return f"[{quoted}]"


# --- Files ------------------------------------------------------------------------------------------------------------


def read_manifest(directory: Path) -> ExtractManifest:
    """Return the manifest of an extract. Raises HashHubError if it is not one."""
    path = directory / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            "there is no extract in this directory: make one with hashhub reconcile extract DIR", kind="Extract"
        ) from None
    except OSError as e:
        raise Unavailable("the extract's directory cannot be read; check its permissions") from e
    try:
        form = msgspec.json.decode(content, type=dict[str, Any]).get("format")
        if form != FORMAT:
            raise FailedPrecondition(
                f"the extract has format {str(form)[:20]}, this hashhub reads format {FORMAT}: write it anew with "
                "hashhub reconcile extract DIR"
            )
        manifest = msgspec.json.decode(content, type=ExtractManifest)
        bytes.fromhex(manifest.head)
    except (msgspec.MsgspecError, ValueError) as e:
        raise _damaged("its manifest cannot be read") from e
    for file in manifest.files:
        is_named = _PATH.fullmatch(file.path) is not None
        if not is_named or (file.path.rpartition("/")[0] != (f"digests/{file.hash_set}" if file.hash_set else "")):
            raise _damaged("its manifest names files that an extract does not have")
    return manifest


def _is_whole(directory: Path, file: ExtractFile) -> bool:
    try:
        return (directory / file.path).stat().st_size == file.size
    except OSError:
        return False


def _damaged(what: str) -> DataLoss:
    return DataLoss(f"the extract is damaged: {what}; write it anew into an empty directory")


@contextlib.contextmanager
def _only_writer(directory: Path) -> Iterator[None]:
    with _disk(directory):
        file = lock_file(directory / _LOCK)
    if file is None:
        raise Conflict("another process is writing this extract; retry when it is done", retry_after=5.0)
    with file:
        yield


@contextlib.contextmanager
def _disk(directory: Path | None) -> Iterator[None]:
    """Turn errors of the disk into HashHubError."""
    try:
        yield
    except OSError as e:
        if e.errno in _FULL or "No space left" in str(e):
            raise _disk_full() from e
        what = "cannot be written" if directory is None or directory.exists() else "cannot be created"
        raise Unavailable(f"the extract's directory {what}; check its disk and permissions", retry_after=5.0) from e


def _disk_full() -> LimitExceeded:
    return LimitExceeded("the disk of the extract is full: free some space, then retry", reason=Reason.DISK_FULL)


def arrow() -> Any:
    """Return the module pyarrow. Raises FailedPrecondition where it is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as e:
        raise missing_extra(e, "reconcile", what="reconciliation") from e
    return pa


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as e:
        raise missing_extra(e, "reconcile", what="reconciliation") from e
    return duckdb
