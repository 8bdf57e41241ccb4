"""Importing through the client: nothing half-written, nothing twice, and a run that was cut off goes on where it
stopped.
"""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import v1, wire
from hashhub.client import Client, ImportPhase, ImportProgress, contribution
from hashhub.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    MalformedSource,
    NotFound,
)
from hashhub.hashes import parse_pair
from hashhub.model import (
    Disposition,
    EntryState,
    HashSet,
    Import,
    ImportState,
    MatchOptions,
    Principal,
    Query,
    Record,
    Reject,
    Role,
    Verdict,
)
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import ListItem, list_file, random_items, soiled

POLICY = MatchOptions(policy="any")


def write(path: Path, variant: str, items: list[ListItem]) -> Path:
    path.write_bytes(list_file(variant, items).data)
    return path


def query(item: ListItem, algorithm: str = "MD5") -> Query:
    return Query(hashes=(parse_pair(f"{algorithm}:{item.digest(algorithm)}"),))


class Breaking(io.FileIO):
    """A file on a disk that fails once `good` bytes were read, after `readings` readings of the file that went well."""

    def __init__(self, path: Path, good: int, readings: int = 1) -> None:
        super().__init__(path)
        self._allowed = readings
        self._readings = 0
        self._good = good

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if (offset, whence) == (0, 0):
            self._readings += 1
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)

    def readinto(self, buffer: object, /) -> int | None:
        self._check()
        return super().readinto(buffer)  # type: ignore[arg-type] # whatever the caller gave

    def _check(self) -> None:
        if self._readings > self._allowed and self.tell() >= self._good:
            raise OSError(5, "Input/output error")


item_sizes = st.lists(st.integers(0, 60), min_size=1, max_size=60)


@given(sizes=item_sizes, flip=st.integers(0, 7))
@settings(deadline=None)
def test_batches_hold_every_item_once_and_are_cut_alike(sizes: list[int], flip: int) -> None:
    hashes = (parse_pair("MD5:" + "ab" * 16),)
    items: list[Record | Reject] = [
        Reject(f"line {i}", "NO_HASH", "x" * size)
        if i % 8 == flip
        else Record(
            position=f"line {i}", hashes=hashes * (size + 1), series="s" * size * 10, external_id="x" * (size % 5)
        )
        for i, size in enumerate(sizes)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contribution, "BATCH_ITEMS", 7)
        patch.setattr(contribution, "BATCH_BYTES", 5_000)
        batches = list(contribution.cut(iter(items)))
        again = list(contribution.cut(iter(items)))
    assert batches == again
    records = [wire.columns_from_pb(b.columns) for b in batches]
    rejects = [wire.rejects_from_pb(b.rejects) for b in batches]
    assert [r for part in records for r in part] == [i for i in items if isinstance(i, Record)]
    assert [r for part in rejects for r in part] == [i for i in items if isinstance(i, Reject)]
    for batch, read in zip(batches, records, strict=True):
        assert 1 <= len(read) + len(batch.rejects) <= 7
        # Only the item that exceeded the limit may stand beyond it.
        last = max((m.ByteSize() for m in (*map(wire.record_to_pb, read), *batch.rejects)), default=0)
        assert batch.ByteSize() <= 5_000 + last + 500


def test_an_import_is_matchable_and_reported(operator: Client, tmp_path: Path) -> None:
    hash_set = operator.create_hash_set(HashSet(contributor="police-us", id="reported", scheme="vic-us")).name
    items = random_items(5_000, seed=1, values=("1", "2"))
    listed = list_file("vics-2.0", soiled(items, seed=1), dirty=True)
    source = tmp_path / "list.json"
    source.write_bytes(listed.data)
    seen: list[ImportProgress] = []
    report = operator.import_source(source, connector="vics", hash_set=hash_set, progress=seen.append)

    counts = report.source.counts
    assert report.source.state is ImportState.COMMITTED
    assert counts.items == listed.items
    assert counts.items == sum(
        (counts.accepted, counts.quarantined, counts.rejected, counts.duplicate, counts.unchanged, counts.withdrawn)
    )
    by_disposition = {d: sum(g.count for g in report.groups if g.disposition is d) for d in Disposition}
    assert by_disposition[Disposition.REJECTED] == counts.rejected > 0
    assert by_disposition[Disposition.QUARANTINED] == counts.quarantined > 0
    assert by_disposition[Disposition.DUPLICATE] == counts.duplicate > 0
    assert all(0 < len(g.positions) <= min(g.count, 3) for g in report.groups)
    assert operator.match(query(items[0]), POLICY).result.verdict is Verdict.MATCH

    phases = [p.phase for p in seen]
    assert phases == sorted(phases, key=list(ImportPhase).index)
    assert set(phases) == set(ImportPhase)
    sending = [p for p in seen if p.phase is ImportPhase.SENDING]
    assert sending[-1] == ImportProgress(
        phase=ImportPhase.SENDING, done=len(listed.data), total=len(listed.data), items=listed.items
    )
    assert [p.done for p in sending] == sorted(p.done for p in sending)

    again = operator.report(f"{hash_set}/{report.source.id}")
    assert (again.source, again.groups) == (report.source, report.groups)


def test_the_same_list_twice_is_one_import(operator: Client, hash_set: str, tmp_path: Path) -> None:
    source = write(tmp_path / "list", "md5sum", random_items(10, seed=2))
    first = operator.import_source(source, connector="hash-lines", hash_set=hash_set)
    second = operator.import_source(source, connector="hash-lines", hash_set=hash_set)
    assert not first.repeated
    assert second.repeated
    assert second.source == first.source
    assert len(list(operator.list_imports(hash_set))) == 1


def test_other_options_make_another_import(operator: Client, hash_set: str, tmp_path: Path) -> None:
    """The same bytes under another reading are other statements: they must not be taken for imported already."""
    source = write(tmp_path / "list", "plain-sha256", random_items(10, seed=3, algorithms=("SHA256",)))
    first = operator.import_source(source, connector="hash-lines", hash_set=hash_set, options={"algorithm": "SHA256"})
    second = operator.import_source(source, connector="hash-lines", hash_set=hash_set, options={"algorithm": "PDQ"})
    assert not second.repeated
    assert second.source.id != first.source.id


def test_a_run_that_was_cut_off_is_resumed(operator: Client, hash_set: str, tmp_path: Path) -> None:
    items = random_items(20_000, seed=4)
    source = write(tmp_path / "list", "md5sum", items)
    whole = source.stat().st_size
    with Breaking(source, whole // 2) as broken, pytest.raises(InvalidArgument, match="reading failed"):
        operator.import_source(broken, connector="hash-lines", hash_set=hash_set)
    (left,) = operator.list_imports(hash_set)
    assert left.state is ImportState.OPEN
    assert 0 < left.batch_count < 10
    assert operator.match(query(items[0]), POLICY).result.verdict is Verdict.NO_MATCH

    report = operator.import_source(source, connector="hash-lines", hash_set=hash_set)
    assert report.resumed_batches == left.batch_count
    assert report.source.id == left.id
    assert report.source.counts.accepted == report.source.counts.items == 20_000
    answers = operator.match_hashes(map(query, (items[0], items[10_000], items[-1])), POLICY)
    assert [a.result.verdict for a in answers] == [Verdict.MATCH] * 3


@pytest.mark.parametrize(
    ("variant", "connector", "earlier", "later"),
    [
        ("md5sum", "hash-lines", 2_000, 4_000),
        ("md5sum", "hash-lines", 4_000, 2_999),
        ("vics-2.0", "vics", 2_000, 4_000),
    ],
)
def test_a_run_is_resumed_however_an_earlier_version_cut_its_batches(
    operator: Client,
    hash_set: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    connector: str,
    earlier: int,
    later: int,
) -> None:
    """What lies between both versions' batches must not be missing, nor come twice."""
    source = write(tmp_path / "list", variant, random_items(20_000, seed=14))
    monkeypatch.setattr(contribution, "BATCH_ITEMS", earlier)
    left = cut_off(operator, hash_set, source, connector)
    assert left.item_count == left.batch_count * earlier > 0

    monkeypatch.setattr(contribution, "BATCH_ITEMS", later)
    report = operator.import_source(source, connector=connector, hash_set=hash_set)
    counts = report.source.counts
    assert (report.source.id, report.resumed_batches) == (left.id, left.batch_count)
    assert (counts.items, counts.accepted + counts.quarantined, counts.duplicate) == (20_000, 20_000, 0)


def test_a_run_that_nobody_knows_how_to_go_on_with(
    operator: Client, hub: RunningHub, hash_set: str, tmp_path: Path
) -> None:
    """Where the hub has more items than there are somebody looks."""
    source = write(tmp_path / "list", "md5sum", random_items(20_000, seed=15))
    left = cut_off(operator, hash_set, source, "hash-lines")
    with closing(sqlite3.connect(hub.data / "hashhub.db")) as database, database:
        database.execute('UPDATE "import" SET staged_items = ? WHERE id = ?', (50_000, left.id))
    with pytest.raises(Conflict, match="holds 50000 items, and the source gives only 20001"):  # with what was left out
        operator.import_source(source, connector="hash-lines", hash_set=hash_set)


def cut_off(operator: Client, hash_set: str, source: Path, connector: str) -> Import:
    """Import half of a source, and return what is left open."""
    with Breaking(source, source.stat().st_size // 2) as broken, pytest.raises(InvalidArgument, match="reading failed"):
        operator.import_source(broken, connector=connector, hash_set=hash_set)
    (left,) = operator.list_imports(hash_set)
    assert left.state is ImportState.OPEN
    return left


@pytest.mark.parametrize("keep", [False, True])
def test_a_damaged_source_leaves_nothing_visible(operator: Client, hash_set: str, tmp_path: Path, keep: bool) -> None:
    items = random_items(3_000, seed=5 + keep)
    source = tmp_path / "list.json"
    source.write_bytes(list_file("vics-2.0", items).data[:-200])
    with pytest.raises(MalformedSource) as caught:
        operator.import_source(source, connector="vics", hash_set=hash_set, keep_on_failure=keep)
    assert caught.value.position.startswith("value[")
    (left,) = operator.list_imports(hash_set)
    assert left.state is (ImportState.OPEN if keep else ImportState.CANCELLED)
    assert operator.match(query(items[0]), POLICY).result.verdict is Verdict.NO_MATCH
    assert list(operator.list_entries(hash_set)) == []


def test_a_cancelled_list_can_be_given_again(operator: Client, hash_set: str, tmp_path: Path) -> None:
    source = write(tmp_path / "list", "md5sum", random_items(10, seed=7))
    checked = operator.import_source(source, connector="hash-lines", hash_set=hash_set, validate_only=True)
    assert checked.validate_only
    assert checked.source.counts.accepted == 10
    assert list(operator.list_entries(hash_set)) == []
    assert operator.import_source(source, connector="hash-lines", hash_set=hash_set).source.counts.accepted == 10
    assert len(list(operator.list_entries(hash_set))) == 10


def test_a_list_is_read_page_by_page(operator: Client, hash_set: str, tmp_path: Path) -> None:
    source = write(tmp_path / "list", "md5sum", random_items(25, seed=14))
    operator.import_source(source, connector="hash-lines", hash_set=hash_set)
    whole = list(operator.list_entries(hash_set))
    first = operator.list_entries(hash_set).page(10)
    assert first.items == tuple(whole[:10])
    entries = operator.list_entries(hash_set)
    assert next(entries) == whole[0]
    second = entries.page(10, first.next)
    assert second.items == tuple(whole[10:20])
    assert list(entries) == whole[1:]
    last = operator.list_entries(hash_set).page(10, second.next)
    assert (last.items, last.next) == (tuple(whole[20:]), "")
    with pytest.raises(InvalidArgument, match="page_token"):
        operator.list_entries(hash_set, [EntryState.ACTIVE]).page(10, first.next)


def test_a_dry_run_reports_what_would_be_refused(operator: Client, hash_set: str, tmp_path: Path) -> None:
    source = write(tmp_path / "list", "vics-2.0", soiled(random_items(100, seed=8), seed=8))
    checked = operator.import_source(source, connector="vics", hash_set=hash_set, validate_only=True)
    assert checked.source.state is ImportState.CANCELLED
    rejected = sum(g.count for g in checked.groups if g.disposition is Disposition.REJECTED)
    assert rejected == checked.source.counts.rejected > 0


def test_a_full_list_that_shrank_is_refused_until_insisted(operator: Client, hash_set: str, tmp_path: Path) -> None:
    items = random_items(100, seed=9)
    operator.import_source(write(tmp_path / "all", "md5sum", items), connector="hash-lines", hash_set=hash_set)
    few = write(tmp_path / "few", "md5sum", items[:3])
    with pytest.raises(FailedPrecondition, match="keeps 3 of 100"):
        operator.import_source(few, connector="hash-lines", hash_set=hash_set, replace=True)
    assert operator.match(query(items[50]), POLICY).result.verdict is Verdict.MATCH
    report = operator.import_source(few, connector="hash-lines", hash_set=hash_set, replace=True, allow_shrinking=True)
    assert (report.source.counts.unchanged, report.source.counts.absent) == (3, 97)
    assert operator.match(query(items[50]), POLICY).result.verdict is Verdict.NO_MATCH
    assert operator.match(query(items[0]), POLICY).result.verdict is Verdict.MATCH


def test_a_file_that_is_being_written_is_refused(operator: Client, hash_set: str, tmp_path: Path) -> None:
    source = write(tmp_path / "list", "md5sum", random_items(100, seed=10))

    def append(progress: ImportProgress) -> None:
        if progress.phase is ImportPhase.SENDING:
            with source.open("ab") as out:
                out.write(b"# more\n")
            os.utime(source)

    with pytest.raises(MalformedSource, match="changed while it was read"):
        operator.import_source(source, connector="hash-lines", hash_set=hash_set, progress=append)
    assert list(operator.list_entries(hash_set)) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"connector": "no-such-format"}, InvalidArgument),
        ({"hash_set": "police-us/no-such-set"}, NotFound),
        ({"hash_set": "police-us"}, InvalidArgument),
        ({"options": {"no-such-option": "1"}}, InvalidArgument),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(
    operator: Client, hash_set: str, tmp_path: Path, change: dict[str, object], error: type[HashHubError]
) -> None:
    source = write(tmp_path / "list", "md5sum", random_items(3, seed=11))
    arguments: dict[str, object] = {"connector": "hash-lines", "hash_set": hash_set, **change}
    call: Callable[..., object] = operator.import_source
    with pytest.raises(error):
        call(source, **arguments)
    assert list(operator.list_imports(hash_set)) == []


def test_a_missing_file_is_not_found(operator: Client, hash_set: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No such file"):
        operator.import_source(tmp_path / "nothing", connector="hash-lines", hash_set=hash_set)


def test_a_source_in_memory_is_as_good_as_a_file(operator: Client, hash_set: str) -> None:
    source = io.BytesIO(list_file("md5sum", random_items(3, seed=91)).data)
    source.seek(5)  # wherever it stands: it is read from the beginning
    assert operator.import_source(source, connector="hash-lines", hash_set=hash_set).source.counts.items == 3


def test_a_source_that_can_be_read_only_once_is_refused(operator: Client, hash_set: str) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(InvalidArgument, match="read twice"):
        operator.import_source(pipe, connector="hash-lines", hash_set=hash_set)


def test_a_source_that_fails_while_its_digest_is_taken_is_refused(
    operator: Client, hash_set: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "list", "md5sum", random_items(3, seed=92))
    with Breaking(source, good=0, readings=0) as broken, pytest.raises(InvalidArgument, match="reading failed"):
        operator.import_source(broken, connector="hash-lines", hash_set=hash_set)


def test_resources_round_trip(operator: Client, hash_set: str, hub: RunningHub) -> None:
    contributor = operator.get_contributor("police-us")
    assert contributor in list(operator.list_contributors())
    assert operator.get_hash_set(hash_set) in list(operator.list_hash_sets("police-us"))
    with pytest.raises(AlreadyExists):
        operator.create_contributor(contributor)
    assert {p.id for p in operator.list_policies()} >= {"any", "block"}
    scheme = next(s for s in operator.list_schemes() if s.id.startswith("vic-us@"))
    assert [v.value for v in scheme.values] == ["0", "1", "2", "3", "4", "5"]
    reader = Principal(name="reader", role=Role.CONSUMER, contributor="police-us", purposes=("moderation",))
    with Client(hub.address, operator.create_token(reader)) as consumer:
        assert consumer.match(query(random_items(1, seed=12)[0]), POLICY).result.verdict is Verdict.NO_MATCH
        with pytest.raises(HashHubError):
            consumer.status()
    (known,) = (t for t in operator.list_tokens() if t.name == "reader")
    assert (known.role, known.contributor, known.purposes) == (reader.role, reader.contributor, reader.purposes)
    assert known.create_time is not None
    operator.delete_token("reader")
    assert "reader" not in {t.name for t in operator.list_tokens()}


def test_names_are_checked_before_they_are_sent(operator: Client) -> None:
    for name in ("", "police-us", "police-us/set", "police-us/set/x", "a/b/c/1", "police-us//1"):
        with pytest.raises(InvalidArgument, match="CONTRIBUTOR/SET/ENTRY"):
            operator.get_entry(name)


def test_a_batch_is_what_the_contract_calls_one() -> None:
    assert isinstance(next(contribution.cut([Reject("line 1", "NO_HASH", "none")])), v1.AddRecordsRequest)
