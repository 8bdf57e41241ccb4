"""Extracts made of what a test or a measurement says, without a hub: of synthetic digests only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from hashhub.hashes import ALGORITHMS
from hashhub.model import EntryState, Purpose, now
from hashhub.reconcile import extract as extracting
from hashhub.reconcile.columns import DIGEST_COLUMNS, FORMAT, HASH_SET_COLUMNS, bits_of
from hashhub.reconcile.extract import MANIFEST, Extract, ExtractFile, ExtractManifest
from hashhub.schemes.dimensions import DIMENSIONS, possible


class ListedSet(msgspec.Struct, frozen=True, kw_only=True):
    """A hash set, CONTRIBUTOR/SET, as an extract tells of it."""

    name: str
    jurisdiction: str = "NL"
    takes_from: tuple[str, ...] = ()
    purpose: Purpose = Purpose.CSAM
    scheme: str = ""
    reliability: str = "F"

    @property
    def contributor(self) -> str:
        """Whose it is."""
        return self.name.partition("/")[0]


class ListedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as an extract tells of it. `digests`: by algorithm, any text that stands for a digest."""

    hash_set: str
    digests: Mapping[str, str]
    dimensions: Mapping[str, tuple[str, ...]] = {}
    scheme: str | None = None
    value: str | None = None
    state: EntryState = EntryState.ACTIVE
    create_time: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    stated_time: datetime | None = None


def synthetic_digest(algorithm: str, text: str) -> bytes:
    """Return a digest of an algorithm's length that a text stands for."""
    return hashlib.shake_256(f"{algorithm} {text}".encode()).digest(ALGORITHMS[algorithm].digest_bytes)


def write_extract(directory: Path, sets: Sequence[ListedSet], entries: Iterable[ListedEntry]) -> Extract:
    """Write an extract; entries are numbered from 1 in their order."""
    pa = extracting.arrow()
    rows: dict[str, list[dict[str, Any]]] = {s.name: [] for s in sets}
    jurisdictions = {s.name: s.jurisdiction for s in sets}
    for number, entry in enumerate(entries, 1):
        rows[entry.hash_set] += [
            _row(number, entry, algorithm, text, jurisdictions[entry.hash_set])
            for algorithm, text in entry.digests.items()
        ]
    schema = extracting._digest_schema()
    tables = {name: pa.Table.from_pylist(of_set, schema) for name, of_set in rows.items() if of_set}
    return write_tables(directory, sets, tables)


def write_tables(directory: Path, sets: Sequence[ListedSet], tables: Mapping[str, Any]) -> Extract:
    """Write an extract of Arrow tables with the columns of a digest file, by hash set."""
    pa = extracting.arrow()
    files = []
    entries: dict[str, int] = {}
    for name, table in tables.items():
        entries[name] = len(table["number"].unique())
        file = _write(directory, f"digests/{name}", "0", table)
        files.append(msgspec.structs.replace(file, hash_set=name, entries=entries[name], active_entries=entries[name]))
    about = [
        {
            **dict.fromkeys(HASH_SET_COLUMNS, ""),
            "hash_set": s.name,
            "contributor": s.contributor,
            "jurisdiction": s.jurisdiction,
            "reliability": s.reliability,
            "takes_from": list(s.takes_from),
            "purpose": s.purpose.value,
            "scheme": s.scheme,
            "entries": entries.get(s.name, 0),
        }
        for s in sets
    ]
    types = {"takes_from": pa.list_(pa.string()), "entries": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in HASH_SET_COLUMNS])
    files.append(_write(directory, "", "hash_sets", pa.Table.from_pylist(about, schema)))
    files.append(_write(directory, "", "dimensions", extracting._dimensions()))
    manifest = ExtractManifest(
        format=FORMAT, database="synthetic", revision=7, head="00" * 32, create_time=now(), files=tuple(files)
    )
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return Extract.open(directory)


def _row(number: int, entry: ListedEntry, algorithm: str, text: str, jurisdiction: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(DIGEST_COLUMNS)
    row |= {
        "number": number,
        "hash_set": entry.hash_set,
        "contributor": entry.hash_set.partition("/")[0],
        "jurisdiction": jurisdiction,
        "state": entry.state.value,
        "algorithm": algorithm,
        "digest": synthetic_digest(algorithm, text),
        "scheme": entry.scheme,
        "value": entry.value,
        "is_unclassified": False,
        "revision": number,
        "create_time": entry.create_time,
        "stated_time": entry.stated_time or entry.create_time,
    }
    for dimension in DIMENSIONS:
        values = possible(dimension, entry.dimensions[dimension]) if dimension in entry.dimensions else ()
        is_law = dimension == "legal_status"
        row[f"d_{dimension}"] = list(values) if is_law else sum(bits_of(dimension)[v] for v in values)
    return row


def _write(directory: Path, folder: str, stem: str, table: Any) -> ExtractFile:
    part = directory / "part"
    directory.mkdir(parents=True, exist_ok=True)
    extracting.arrow().parquet.write_table(table, part, compression="zstd", store_schema=False)
    with part.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    target = directory / folder / f"{stem}-{digest[:16]}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    size = part.stat().st_size
    part.replace(target)
    return ExtractFile(path=target.relative_to(directory).as_posix(), digest=digest, size=size, rows=table.num_rows)
