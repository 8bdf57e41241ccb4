"""What an extract holds, when it is written anew, what survives a kill, and who sees what of it."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.errors import (
    Conflict,
    DataLoss,
    FailedPrecondition,
    HashHubError,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import (
    SYSTEM,
    Classification,
    Entry,
    EntryState,
    Review,
    ReviewKind,
    SchemeStatus,
    Withdrawal,
    WithdrawalReason,
    now,
    number_of,
)
from hashhub.reconcile import extract as extracts
from hashhub.reconcile.columns import DIGEST_COLUMNS, FORMAT, HASH_SET_COLUMNS, bits_of
from hashhub.reconcile.extract import MANIFEST, Extract, ExtractManifest, write
from hashhub.store import Origin, Store, TransitionCommand, WithdrawalByHand
from hashhub.store import entry_writes as outstanding_module
from hashhub.store.extract import ExtractRows
from tests.store.conftest import Filler

CSAM = Classification(
    scheme="vic-us",
    version="2",
    region="US",
    value="1",
    status=SchemeStatus.VERIFIED,
    dimensions={
        "verdict": ("csam",),
        "age_band": ("0-2", "prepubescent"),
        "act": ("of-an-earlier-version", "posing"),
        "legal_status": ("GB:illegal", "US:illegal"),
    },
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight numbers a block, so that a few entries make several."""
    monkeypatch.setattr(extracts, "BLOCK_BITS", 3)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "extract"


def rows(extract: Extract) -> list[tuple[Any, ...]]:
    with extract.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = ", ".join(DIGEST_COLUMNS)
        rows = f"SELECT {columns} FROM digests ORDER BY entry, algorithm, digest"  # noqa: S608
        return list(connection.execute(rows).fetchall())


def ids_of(store: Store, told: Iterable[tuple[Any, ...]]) -> list[int]:
    """Return the ids in the store of the entries that rows are of."""
    return [store.entries.id_of(f"{row[1]}/{row[0]}") for row in told]


def ids_in(store: Store, extract: Extract) -> set[int]:
    return set(ids_of(store, rows(extract)))


def standing(store: Store) -> dict[int, Entry]:
    return {
        e.id: e
        for s in store.resources.hash_sets().values()
        for e in store.entries.list_entries(s.contributor, s.id, (EntryState.ACTIVE, EntryState.QUARANTINED), 10_000)
    }


def files(directory: Path) -> dict[str, bytes]:
    return {
        p.relative_to(directory).as_posix(): p.read_bytes()
        for p in directory.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }


def withdraw(store: Store, entry_id: int) -> None:
    by_hand = WithdrawalByHand(Withdrawal(reason=WithdrawalReason.ERROR), Origin.OPERATOR, "WITHDRAWN_BY_OPERATOR")
    store.transitions.withdraw_by_hand([entry_id], by_hand, TransitionCommand(SYSTEM))


def test_each_row_says_what_the_store_says(filled: Store, fill: Filler, here: Path) -> None:
    fill.register(filled, "beta", "other")
    key = filled.stage.classification_ids([CSAM])[0]
    import_id = fill.begin(filled)
    fill.stage(filled, import_id, range(20), classification=key)
    fill.stage(filled, import_id, range(20, 25), state=EntryState.QUARANTINED, reasons=("UNCLASSIFIED",))
    filled.commits.finish_commit(import_id, counts=extracted_counts(25))
    fill.contribute(filled, range(10, 30), "beta", "other")
    told: list[tuple[int, int]] = []
    done = write(filled, here, progress=lambda n, of, _what: told.append((n, of)))
    assert told == [(n, len(told)) for n in range(len(told))]
    extract = Extract.open(here)
    extract.verify()
    assert extract.revision == filled.revision()
    times = {
        f"{i.contributor}/{i.hash_set}": i.commit_time
        for contributor, set_id in (("alpha", "list"), ("beta", "other"))
        for i in filled.imports.list_imports(contributor, set_id, 10)
    }
    expected = []
    for e in standing(filled).values():
        stated = e.classification
        mask = {name: 0 for name in DIGEST_COLUMNS if name.startswith("d_") and name != "d_legal_status"}
        if stated is not None:
            mask["d_verdict"] = bits_of("verdict")["csam"]
            mask["d_age_band"] = bits_of("age_band")["0-2"] | bits_of("age_band")["prepubescent"]
        for h in e.hashes:
            row: dict[str, Any] = {
                "number": number_of(e.id),
                "hash_set": f"{e.contributor}/{e.hash_set}",
                "contributor": e.contributor,
                "jurisdiction": "GB",
                "state": e.state.value,
                "algorithm": h.algorithm,
                "digest": h.digest,
                "scheme": stated and "vic-us@2",
                "value": stated and "1",
                "is_unclassified": "UNCLASSIFIED" in e.reasons,
                "revision": e.update_revision,
                "create_time": times[f"{e.contributor}/{e.hash_set}"],
                "stated_time": times[f"{e.contributor}/{e.hash_set}"],
                **mask,
                "d_legal_status": list(stated.dimensions["legal_status"]) if stated else [],
            }
            expected.append(tuple(row[name] for name in DIGEST_COLUMNS))
    told_rows = rows(extract)
    assert told_rows == sorted(expected, key=lambda row: (row[1], row[0], row[5], row[6]))
    assert set(ids_of(filled, told_rows)) == set(standing(filled))
    assert done.entries == 45
    with extract.connect() as connection:
        # Both hash sets have the same numbers; `entry` is another one for each entry.
        distinct = connection.execute(
            "SELECT count(DISTINCT entry), count(DISTINCT (hash_set, number)), "
            "count(DISTINCT (entry, hash_set, number)), count(DISTINCT number) FROM digests"
        ).fetchone()
        assert distinct == (45, 45, 45, 25)
        told_sets = {row["hash_set"]: row for row in extract.hash_sets()}
        bits = connection.execute("SELECT dimension, value, bit FROM dimensions WHERE bit IS NOT NULL").fetchall()
    assert list(told_sets) == ["alpha/list", "beta/other"]
    assert list(told_sets["beta/other"]) == list(HASH_SET_COLUMNS)
    assert told_sets["beta/other"]["entries"] == 20
    assert {(d, v): b for d, v, b in bits if d == "verdict"} == {
        ("verdict", v): b for v, b in bits_of("verdict").items()
    }


def extracted_counts(items: int) -> Any:
    from hashhub.model import Counts

    return Counts(items=items, accepted=items)


def test_only_what_changed_is_written_anew(filled: Store, fill: Filler, here: Path) -> None:
    fill.register(filled, "beta", "other")
    ids = fill.contribute(filled, range(30))
    fill.contribute(filled, range(40), "beta", "other")
    first = write(filled, here)
    again = write(filled, here)
    assert again.written == 2  # the two small tables, which come out the same
    assert again.manifest.files == first.manifest.files
    filled.transitions.quarantine([ids[10]], TransitionCommand(SYSTEM))
    moved = write(filled, here)
    assert [f for f in moved.manifest.files if f.hash_set and f not in first.manifest.files] == [
        f for f in moved.manifest.files if (f.hash_set, f.block) == ("alpha/list", number_of(ids[10]) >> 3)
    ]
    # A review changes nothing that stands here.
    filled.entries.add_review(Review(id=0, entry_id=ids[0], author="beta", kind=ReviewKind.CONFIRMED))
    reviewed = write(filled, here)
    assert {f for f in reviewed.manifest.files if f.hash_set} == {f for f in moved.manifest.files if f.hash_set}
    # Who moves to another country takes all entries along.
    filled.resources.update_contributor("beta", {"jurisdiction": "NL"}, lambda _: None)
    emigrated = write(filled, here)
    before = {f for f in moved.manifest.files if f.hash_set == "beta/other"}
    after = {f for f in emigrated.manifest.files if f.hash_set == "beta/other"}
    assert not before & after
    assert {row[3] for row in rows(Extract.open(here)) if row[1] == "beta/other"} == {"NL"}
    assert {f for f in emigrated.manifest.files if f.hash_set == "alpha/list"} == {
        f for f in moved.manifest.files if f.hash_set == "alpha/list"
    }
    assert set(files(here)) == {MANIFEST, *(f.path for f in emigrated.manifest.files)}


def test_an_extract_kept_up_to_date_equals_one_made_anew(
    filled: Store, fill: Filler, here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(outstanding_module, "LARGE", 3)
    chance = random.Random(0)
    fill.register(filled, "beta", "other")
    sets = [("alpha", "list"), ("beta", "other")]
    erased: list[bytes] = []

    def contribute() -> None:
        owner = chance.choice(sets)
        live = [e.id for e in standing(filled).values() if (e.contributor, e.hash_set) == owner]
        import_id = fill.begin(filled, *owner)
        count = chance.randint(0, 12)
        if count:
            state = chance.choice([EntryState.ACTIVE, EntryState.QUARANTINED])
            fill.stage(filled, import_id, [chance.randint(0, 60) for _ in range(count)], state=state)
        gone = sorted(chance.sample(live, min(len(live), chance.choice([0, 2, 6]))))
        filled.commits.finish_commit(import_id, counts=extracted_counts(count), absent=gone)

    def move() -> None:
        live = list(standing(filled).values())
        if not live:
            return
        e = chance.choice(live)
        match chance.choice(["withdraw", "quarantine", "release", "erase", "many", "review"]):
            case "withdraw":
                withdraw(filled, e.id)
            case "quarantine" if e.state is EntryState.ACTIVE:
                filled.transitions.quarantine([e.id], TransitionCommand(SYSTEM))
            case "release" if e.state is EntryState.QUARANTINED:
                filled.transitions.release([e.id], TransitionCommand(SYSTEM))
            case "erase":
                withdraw(filled, e.id)
                filled.deletions.erase(e.id, by=SYSTEM)
                erased.extend(h.digest for h in e.hashes)
            case "many":
                filled.transitions.withdraw([x.id for x in live[:5]], "EXPIRED")
            case "review":
                filled.entries.add_review(Review(id=0, entry_id=e.id, author="beta", kind=ReviewKind.CONFIRMED))

    def restore() -> None:
        gone = filled.entries.list_entries(*chance.choice(sets), (EntryState.WITHDRAWN,), 1000)
        alive = [e.id for e in gone if e.hashes and e.reasons != ("SUPERSEDED",)]
        if alive:
            filled.transitions.restore(chance.sample(alive, 1), TransitionCommand(SYSTEM))

    for number in range(9 if filled.kind == "SQLITE" else 5):
        for _ in range(chance.randint(1, 3)):
            chance.choice([contribute, contribute, move, move, restore])()
        # Somebody is always in the middle of something.
        half_way = fill.begin(filled, *sets[number % 2])
        fill.stage(filled, half_way, [chance.randint(100, 200)])
        write(filled, here)
        kept = Extract.open(here)
        kept.verify()
        assert ids_in(filled, kept) == set(standing(filled))
        fresh = tmp_path / f"fresh-{number}"
        write(filled, fresh)
        # A file's name holds part of its SHA-256: what has the same names has the same content.
        assert {f.path for f in kept.manifest.files} == {f.path for f in Extract.open(fresh).manifest.files}
        filled.imports.cancel_import(half_way)
    content = b"".join(files(here).values())
    live_digests = {h.digest for e in standing(filled).values() for h in e.hashes}
    assert all(d not in content for d in erased if d not in live_digests)


def test_what_expires_is_not_in_it_even_before_it_is_swept(filled: Store, fill: Filler, here: Path) -> None:
    fill.contribute(filled, range(3), expire_time=now() - timedelta(seconds=1))
    kept = fill.contribute(filled, range(3, 6), expire_time=now() + timedelta(days=1))
    write(filled, here)
    assert ids_in(filled, Extract.open(here)) == set(kept)


@pytest.mark.parametrize("times", [1, 2, 9])
def test_what_changes_while_it_is_written_is_taken_in(
    filled: Store, fill: Filler, here: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Somebody commits and withdraws during each pass, and in the end forever."""
    before = fill.contribute(filled, range(20))
    at = {filled.revision(): set(before)}
    blocks = ExtractRows.blocks
    calls = itertools.count()

    def meanwhile(self: ExtractRows, *asked: Any) -> list[int]:
        listed = blocks(self, *asked)
        if (call := next(calls)) < times:
            fill.contribute(filled, range(20 + 9 * call, 29 + 9 * call))
            withdraw(filled, before[call])
            at[filled.revision()] = set(standing(filled))
        return listed

    monkeypatch.setattr(ExtractRows, "blocks", meanwhile)
    done = write(filled, here)
    extract = Extract.open(here)
    extract.verify()
    ids = ids_in(filled, extract)
    if times < 3:
        assert ids == at[filled.revision()] == at[extract.revision]
    else:
        assert ids <= at[extract.revision]
        assert at[extract.revision] - ids <= set(before)
        assert next(calls) == 3  # it does not run after them forever
    assert {f.path for f in done.manifest.files} == set(files(here)) - {MANIFEST}
    monkeypatch.undo()
    monkeypatch.setattr(extracts, "BLOCK_BITS", 3)
    write(filled, here)
    assert ids_in(filled, Extract.open(here)) == set(standing(filled))


def test_a_large_withdrawal_that_no_row_says_yet(
    filled: Store, fill: Filler, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outstanding_module, "LARGE", 3)
    ids = fill.contribute(filled, range(20))
    write(filled, here)
    monkeypatch.setattr(outstanding_module.DeferredWithdrawals, "settle", lambda *_, **__: None)
    import_id = fill.begin(filled)
    filled.commits.finish_commit(import_id, counts=extracted_counts(0), absent=ids[:15])
    write(filled, here)
    assert ids_in(filled, Extract.open(here)) == set(ids[15:])


def test_a_kill_at_any_moment_leaves_the_old_extract_or_the_new_one(
    filled: Store, fill: Filler, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if filled.kind != "SQLITE":
        pytest.skip("it is about files, and one database is enough")
    ids = fill.contribute(filled, range(9))
    write(filled, here)
    old = rows(Extract.open(here))
    withdraw(filled, ids[3])
    fill.contribute(filled, range(20, 24))
    write(filled, tmp_path / "new")
    new = rows(Extract.open(tmp_path / "new"))
    moments = 0
    for moment in range(200):
        trial = tmp_path / f"trial-{moment}"
        shutil.copytree(here, trial)
        with monkeypatch.context() as patch:
            steps = itertools.count()
            for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "write_bytes"), (os, "fsync")):
                patch.setattr(owner, name, killed_at(moment, steps, getattr(owner, name)))
            try:
                write(filled, trial)
            except Killed:
                moments += 1
                ended = False
            else:
                ended = True
        extract = Extract.open(trial)
        extract.verify()
        assert rows(extract) in (old, new)
        # Whatever was left behind is cleared by the next one.
        write(filled, trial)
        assert set(files(trial)) == set(files(tmp_path / "new"))
        assert not list(trial.glob(".part-*"))
        if ended:
            break
    assert moments > 12


class Killed(BaseException):
    pass


def killed_at(moment: int, steps: Iterator[int], real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if next(steps) >= moment:
            raise Killed
        return real(*args, **kwargs)

    return call


def test_a_full_disk_is_told_and_leaves_the_old_extract(
    filled: Store, fill: Filler, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill.contribute(filled, range(5))
    write(filled, here)
    before = files(here)
    fill.contribute(filled, range(5, 9))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LimitExceeded) as e:
            write(filled, here)
        assert e.value.reason is Reason.DISK_FULL
    assert files(here) == before
    blocked = here.with_name("file")
    blocked.write_text("")
    with pytest.raises(Unavailable, match="directory"):
        write(filled, blocked)


def test_a_restored_backup_or_another_database_means_all_anew(
    sqlite_directory: Path, fill: Filler, here: Path, tmp_path: Path
) -> None:
    store = Store.open(sqlite_directory)
    fill.register(store)
    fill.contribute(store, range(8))
    store.close()
    backup = shutil.copytree(sqlite_directory, tmp_path / "backup")
    store = Store.open(sqlite_directory)
    fill.contribute(store, range(20, 30))
    first = write(store, here)
    store.close()
    # It goes on from the backup to a higher revision than the extract's.
    restored = Store.open(backup)
    for number in range(40, 46):
        fill.contribute(restored, [number])
    assert restored.revision() > first.manifest.revision
    done = write(restored, here)
    assert done.unchanged == 0
    assert ids_in(restored, Extract.open(here)) == set(standing(restored))
    restored.close()
    other = Store.open(tmp_path / "other")
    fill.register(other)
    fill.contribute(other, range(3))
    assert write(other, here).unchanged == 0
    assert ids_in(other, Extract.open(here)) == set(standing(other))
    assert len(standing(other)) == 3
    other.close()


@pytest.fixture
def three(fill: Filler, sqlite_directory: Path, here: Path) -> Iterator[Store]:
    """A store with three hash sets, and its extract."""
    store = Store.open(sqlite_directory)
    for contributor in ("alpha", "beta", "gamma"):
        fill.register(store, contributor)
        fill.contribute(store, range(10), contributor)
    write(store, here)
    yield store
    store.close()


def test_a_restricted_extract_shows_nothing_else(three: Store, here: Path) -> None:
    whole = Extract.open(here)
    part = whole.restricted(["alpha/list", "gamma/list", "delta/none"])
    assert {f.hash_set for f in part.files} == {"alpha/list", "gamma/list"}
    assert "beta" not in repr(part.manifest)
    assert part.restricted(["beta/list", "gamma/list"]).files == whole.restricted(["gamma/list"]).files
    with part.connect() as connection:
        assert {row[0] for row in connection.execute("SELECT DISTINCT hash_set FROM digests").fetchall()} == {
            "alpha/list",
            "gamma/list",
        }
        assert [row["hash_set"] for row in part.hash_sets()] == ["alpha/list", "gamma/list"]
        hidden = [f for f in whole.files if f.hash_set == "beta/list"]
    with pytest.raises(HashHubError), part.connect() as connection:
        connection.execute(f"SELECT * FROM {whole.source(hidden)}")  # noqa: S608
    nothing = whole.restricted([])
    assert rows(nothing) == []
    assert nothing.hash_sets() == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '{}/stolen.csv'",
        "ATTACH '{}/other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ],
)
def test_a_connection_reaches_nothing_else(three: Store, here: Path, tmp_path: Path, statement: str) -> None:
    with pytest.raises(HashHubError), Extract.open(here).connect() as connection:
        connection.execute(statement.format(tmp_path))
    assert not (tmp_path / "stolen.csv").exists()


def test_an_extract_that_is_written_anew_while_it_is_read(three: Store, fill: Filler, here: Path) -> None:
    old = Extract.open(here)
    fill.contribute(three, range(20, 30), "alpha")
    fill.contribute(three, [5], "beta")
    three.resources.update_contributor("gamma", {"jurisdiction": "NL"}, lambda _: None)
    write(three, here)
    with pytest.raises(Conflict, match="open it again"):
        rows(old)
    with pytest.raises(Conflict):
        old.verify()


def test_opening_waits_out_a_writer(three: Store, fill: Filler, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest is read, then another process writes anew, and only then are the files looked for."""
    read = extracts.read_manifest
    reads: list[int] = []

    def interrupted(directory: Path) -> ExtractManifest:
        manifest = read(directory)
        reads.append(manifest.revision)
        if len(reads) == 1:
            monkeypatch.setattr(extracts, "read_manifest", read)
            fill.contribute(three, [77], "beta")
            write(three, here)
            monkeypatch.setattr(extracts, "read_manifest", interrupted)
        return manifest

    monkeypatch.setattr(extracts, "read_manifest", interrupted)
    assert Extract.open(here).revision == three.revision()
    assert len(reads) == 2


def test_one_process_writes_at_a_time(three: Store, here: Path) -> None:
    def again(*_: Any) -> None:
        with pytest.raises(Conflict, match="another process"):
            write(three, here)

    write(three, here, progress=again)
    write(three, here)


def test_what_is_no_extract(three: Store, here: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Extract.open(tmp_path / "nothing")
    manifest = json.loads((here / MANIFEST).read_text())
    assert manifest["format"] == FORMAT

    def told(**changed: Any) -> Path:
        (here / MANIFEST).write_text(json.dumps({**manifest, **changed}))
        return here

    with pytest.raises(FailedPrecondition, match="format 99"):
        Extract.open(told(format=99))
    for text in ("", "[]", "nonsense", '{"format": 1}', '{"format": 1, "head": "zz"}'):
        (here / MANIFEST).write_text(text)
        with pytest.raises((DataLoss, FailedPrecondition)):
            Extract.open(here)
    for path in ("../secret.parquet", "/etc/passwd", "digests/a/b/../../../x.parquet", "digests/beta/list/0.parquet"):
        file = {**manifest["files"][0], "path": path}
        with pytest.raises(DataLoss):
            Extract.open(told(files=[file]))
    swapped = [{**f, "hash_set": "alpha/list"} if f["hash_set"] else f for f in manifest["files"]]
    with pytest.raises(DataLoss):
        Extract.open(told(files=swapped))
    extract = Extract.open(told())
    chosen = here / extract.files[0].path
    content = bytearray(chosen.read_bytes())
    content[len(content) // 2] ^= 1
    chosen.write_bytes(content)
    with pytest.raises(DataLoss, match="altered"):
        extract.verify()
    chosen.write_bytes(content[:-1])
    with pytest.raises(DataLoss, match="another size"):
        Extract.open(here)
    # Writing mends what has another size.
    write(three, here)
    Extract.open(here).verify()


def test_a_damaged_file_is_no_foreign_error(three: Store, here: Path) -> None:
    extract = Extract.open(here)
    path = here / extract.files[0].path
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(HashHubError) as e:
        rows(extract)
    assert str(here) not in e.value.message


def test_what_is_not_ours_in_the_directory_stays(three: Store, here: Path) -> None:
    notes = [here / "notes.txt", here / "digests" / "own.parquet", here / "mine-0123456789abcdef.parquet"]
    for path in notes:
        path.write_text("mine")
    withdraw(three, min(standing(three)))
    write(three, here)
    assert all(path.read_text() == "mine" for path in notes)


def test_hashes_of_all_shapes(filled: Store, fill: Filler, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries with many hashes, of every algorithm, in no order, gathered in several rounds."""
    monkeypatch.setattr(extracts, "GATHERED", 1000)
    chance = random.Random(1)
    from hashhub.model import Record
    from tests.rows import EntryRow, pack_entries

    import_id = fill.begin(filled)
    first = filled.stage.allocate_entries(import_id, 40)
    stated = {
        first + n: tuple(
            Hash(a.name, chance.randbytes(a.digest_bytes))
            for a in chance.choices(list(ALGORITHMS.values()), k=chance.randint(1, 9))
        )
        for n in range(40)
    }
    filled.stage.stage_entries(
        import_id,
        pack_entries(EntryRow(n, EntryState.ACTIVE, Record(position="x", hashes=h)) for n, h in stated.items()),
    )
    filled.commits.finish_commit(import_id, counts=extracted_counts(40))
    write(filled, here)
    told: dict[int, list[tuple[str, bytes]]] = {}
    told_rows = rows(Extract.open(here))
    for id_, row in zip(ids_of(filled, told_rows), told_rows, strict=True):
        told.setdefault(id_, []).append((row[5], row[6]))
    assert told == {n: sorted((h.algorithm, h.digest) for h in hashes) for n, hashes in stated.items()}


def test_pages_of_two_states_meet_every_entry_once(
    filled: Store, fill: Filler, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hashhub.store import extract

    monkeypatch.setattr(extract, "PAGE", 3)
    monkeypatch.setattr(extracts, "BLOCK_BITS", 10)
    chance = random.Random(3)
    for _ in range(12):
        state = chance.choice([EntryState.ACTIVE, EntryState.QUARANTINED])
        fill.contribute(filled, range(chance.randint(1, 9)), state=state)
    write(filled, here)
    told = [row for row in rows(Extract.open(here)) if row[5] == "MD5"]
    assert ids_of(filled, told) == sorted(standing(filled))


def test_changes_are_read_page_by_page(filled: Store, fill: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    from hashhub.store import extract

    monkeypatch.setattr(extract, "CHANGE_PAGE", 2)
    start = filled.revision()
    ids = [i for n in range(5) for i in fill.contribute(filled, [n, n + 100])]
    upto = filled.revision()
    fill.contribute(filled, [7])
    changed = list(filled.extract.changed(start, upto))
    assert {c.hash_set for c in changed} == {"alpha/list"}
    assert {int(i) for c in changed for piece in c.ids.pieces(10) for i in piece} == set(ids)
    assert not list(filled.extract.changed(upto, upto))


def test_a_manifest_round_trips() -> None:
    manifest = ExtractManifest(format=1, database="x", revision=1, head="", create_time=now(), files=())
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=ExtractManifest) == manifest
