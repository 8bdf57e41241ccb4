"""An extract on its way to somebody: the part that they may have, with a manifest of its own.

Digest files are handed over as they are, by a second name for the same bytes where the disk can do that: they are never
written over, so the copy stays whole while the server's own extract goes on. What lists all hash sets is written anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hashhub.cancellation import check
from hashhub.model import Definition
from hashhub.reconcile.extract import MANIFEST, arrow
from hashhub.reconcile.result_files import mapped
from hashhub.reconcile.tasks import ExtractMade
from hashhub.reconcile.tasks import ResultFile as Handed
from hashhub.writing import digest_of

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract, ExtractFile
    from hashhub.reconcile.results import Progress


def hand_over(
    extract: Extract,
    directory: Path,
    hash_sets: Collection[str] | None,
    left_out: tuple[str, ...],
    progress: Progress,
    defined: Sequence[Definition] = (),
) -> ExtractMade:
    """Put the part of these hash sets (None: all) and the store's schemes into a new directory."""
    with mapped():
        directory.mkdir(parents=True)
        files: list[ExtractFile] = []
        names: list[str] = []
        for step, file in enumerate(extract.files):
            check()
            progress(step, len(extract.files) + 1, "files")
            _link(extract.directory / file.path, directory / file.path)
            files.append(file)
        for file in extract.manifest.files:
            if file.hash_set:
                continue
            if hash_sets is None or not file.path.startswith("hash_sets-"):
                _link(extract.directory / file.path, directory / file.path)
                files.append(file)
            else:
                files.append(_only(extract.directory / file.path, directory, frozenset(hash_sets), file))
        # What they say, and not who put them or answers for them.
        said = tuple(Definition(kind=d.kind, id=d.id, version=d.version, text=d.text) for d in defined)
        ordered = tuple(sorted(files, key=lambda f: f.path))
        manifest = msgspec.structs.replace(extract.manifest, files=ordered, schemes=said)
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
        (directory / MANIFEST).write_bytes(content)
        handed = [Handed(path=f.path, sha256=f.digest, size=f.size) for f in manifest.files]
        handed.append(Handed(path=MANIFEST, sha256=digest_of(directory / MANIFEST), size=len(content)))
        with extract.connect() as connection:
            names = [row["hash_set"] for row in extract.hash_sets(connection)]
    return ExtractMade(revision=extract.revision, hash_sets=tuple(names), left_out=left_out, files=tuple(handed))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that cannot do that
        shutil.copyfile(source, target)


def _only(source: Path, directory: Path, hash_sets: frozenset[str], file: ExtractFile) -> ExtractFile:
    """Write the rows of these hash sets, and return the file."""
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
