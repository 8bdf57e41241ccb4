"""Copies in what was uploaded before: listed, removed, and there again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.desk.cases.clocks import ClockState
from hashhub.desk.cases.item import CaseItem
from hashhub.desk.cases.life import MOST_COPIES, CaseOutcome, Cases, CopyState
from hashhub.desk.cases.page import page
from hashhub.desk.records import Records
from hashhub.errors import FailedPrecondition, LimitExceeded, NotFound
from hashhub.hashing import hash_media
from hashhub.hashing.media import MediaHashes
from hashhub.hook import HookSettings
from hashhub.hook.archive import RememberedQuery, ScanOutcome, Source, scan_for_case, scan_memory
from hashhub.model import Effort
from hashhub.scans.engine import KnownFile, ListedFile
from hashhub.testing.pictures import picture
from tests.desk.cases.parts import SEED, encoded, opened, query
from tests.hashing.assets import MP4
from tests.hook import bucket_server
from tests.hook.conftest import HELD, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable


class InThisProcess:
    """Hashes as the pool's children do, where a test can say what is installed."""

    @contextmanager
    def room(self) -> Iterator[InThisProcess]:
        yield self

    def hash(self, content: IO[bytes], *, effort: Effort) -> MediaHashes:
        return hash_media(content, effort=effort)  # type: ignore[arg-type]

    def close(self) -> None:
        pass


class TestScan:
    def files(self, directory: Path) -> list[ListedFile[Source]]:
        def stored(path: Path) -> ListedFile[Source]:
            return ListedFile(lambda: path.open("rb"), str(path), str(path.stat().st_mtime_ns))

        return [stored(path) for path in sorted(directory.iterdir())]

    def test_old_copies_are_listed_once_and_files_are_hashed_once(
        self, tmp_path: Path, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings]
    ) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        (archive / "copy.png").write_bytes(encoded(picture(SEED, (512, 384))))
        (archive / "other.jpg").write_bytes(jpeg(7))
        (archive / "text.txt").write_text("a text")
        (archive / "torn.jpg").write_bytes(jpeg(7)[:3000])
        case = opened(cases, item)

        def scan(name: str) -> Any:
            return scan_for_case(make_settings(), cases, name, self.files(archive), place="archive", actor="ann")

        first = scan(case.name)
        assert (first.scan.looked, first.scan.copies, first.new_copies, first.remembered) == (4, 1, 1, 0)
        assert [Path(u.place).name for u in first.unread] == ["torn.jpg"]
        again = scan(case.name)
        assert (again.scan.copies, again.new_copies, again.remembered) == (1, 0, 3)
        assert [c.state for c in cases.copies.listed(case.name)] == [CopyState.THERE]
        cases.confirm(case.name, actor="bob", reason="looked")
        with pytest.raises(FailedPrecondition, match="1 copy is not recorded as removed"):
            cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done")
        cases.taken_down(case.name, (), actor="bob", reason="deleted")
        with pytest.raises(FailedPrecondition, match="1 file could not be read"):
            cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done")
        (archive / "torn.jpg").unlink()
        back = scan(case.name)
        assert back.new_copies == 1, "it was recorded as removed, and is there"
        (archive / "copy.png").unlink()
        scan(case.name)
        cases.taken_down(case.name, (), actor="bob", reason="deleted now")
        record = cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done")
        assert record.is_complete
        assert [c.standing for c in record.case.clocks] == [ClockState.MET]
        assert "Complete." in page(record)

    def test_a_scan_that_was_cut_off_goes_on(
        self, tmp_path: Path, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings]
    ) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        for name, seed in (("a.jpg", SEED), ("b.jpg", 7), ("c.jpg", 8)):
            (archive / name).write_bytes(jpeg(seed))
        case = opened(cases, item)

        def cut() -> Iterator[ListedFile[Source]]:
            yield from self.files(archive)
            raise KeyboardInterrupt

        settings = make_settings()
        with pytest.raises(KeyboardInterrupt):
            scan_for_case(settings, cases, case.name, cut(), place="archive", actor="ann")
        assert cases.copies.scans(case.name) == [], "a look that did not end is none"
        done = scan_for_case(settings, cases, case.name, self.files(archive), place="archive", actor="ann")
        assert done.scan.copies == 1
        assert done.remembered >= 1

    def test_a_look_for_a_case_that_ends_meanwhile_is_none(
        self, tmp_path: Path, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings]
    ) -> None:
        """What comes after the end is compared with nothing: the record must not say that it was looked through."""
        archive = tmp_path / "archive"
        archive.mkdir()
        copy = encoded(picture(SEED, (512, 384)))
        for number in range(8):
            (archive / f"{number}.png").write_bytes(copy)
        case = opened(cases, item)

        def ended_meanwhile() -> Iterator[ListedFile[Source]]:
            *files, last = self.files(archive)
            yield from files
            cases.close(case.name, CaseOutcome.REJECTED, actor="bob", reason="not ours")
            yield last

        with pytest.raises(FailedPrecondition, match="ended while"):
            scan_for_case(make_settings(), cases, case.name, ended_meanwhile(), place="archive", actor="ann")
        assert cases.copies.scans(case.name) == []
        assert cases.copies.listed(case.name), "what was noticed before stays"

    def test_what_was_looked_at_in_part_is_named_and_keeps_the_record_from_being_complete(
        self, tmp_path: Path, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings]
    ) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        (archive / "moving.jpg").write_bytes(jpeg(7) + MP4)  # the film of a motion photo is not looked at
        (archive / "still.jpg").write_bytes(jpeg(8))
        case = opened(cases, item)
        cases.confirm(case.name, actor="bob", reason="looked")

        def scan() -> ScanOutcome:
            return scan_for_case(make_settings(), cases, case.name, self.files(archive), place="archive", actor="ann")

        for remembered in (0, 2):
            outcome = scan()
            assert (outcome.scan.unread, outcome.scan.partly, outcome.remembered) == (0, 1, remembered)
            [partial] = outcome.scan.partial
            assert Path(partial.place).name == "moving.jpg"
            assert "motion photo" in partial.why
            record = cases.record(case.name)
            assert record.scans[-1] == outcome.scan
            assert "of archive, 1 file was looked at in part only" in record.missing
            assert "moving.jpg" in page(record)
            assert [clock.standing for clock in record.case.clocks] == [ClockState.RUNNING]
            with pytest.raises(FailedPrecondition, match="1 file was looked at in part only"):
                cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done")
        (archive / "moving.jpg").unlink()
        assert scan().scan.partial == ()
        assert cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done").is_complete

    def test_a_video_whose_frames_nothing_here_reads_was_looked_at_in_part_only(
        self, tmp_path: Path, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr("hashhub.hashing.media.can_read_videos", lambda: False)  # as without the extra
        monkeypatch.setattr("hashhub.hook.archive.media_pool", lambda *_, **__: InThisProcess())
        archive = tmp_path / "archive"
        archive.mkdir()
        (archive / "film.mp4").write_bytes(MP4)
        (archive / "text.txt").write_text("a text")
        case = opened(cases, item)
        for remembered in (0, 2):
            done = scan_for_case(make_settings(), cases, case.name, self.files(archive), place="archive", actor="ann")
            assert (done.scan.unread, done.scan.partly, done.remembered) == (0, 1, remembered)
            [partial] = done.scan.partial
            assert Path(partial.place).name == "film.mp4"
            assert "only identical files were looked for" in partial.why
            assert not done.scan.is_whole

    def test_what_was_looked_at_in_part_is_counted_without_bound_and_named_up_to_one(
        self, tmp_path: Path, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr("hashhub.hook.archive.MOST_NAMED", 2)
        archive = tmp_path / "archive"
        archive.mkdir()
        for number in range(4):
            (archive / f"{number}.jpg").write_bytes(jpeg(7, (96, 64)) + MP4 + bytes([number]))
        case = opened(cases, item)
        done = scan_for_case(make_settings(), cases, case.name, self.files(archive), place="archive", actor="ann")
        assert (done.scan.partly, len(done.scan.partial)) == (4, 2)
        [scan] = cases.record(case.name).scans
        assert (scan.partly, len(scan.partial)) == (4, 2)
        assert "2 more" in page(cases.record(case.name))

    def test_what_a_scan_that_was_cut_off_looked_at_in_part_is_not_forgotten(
        self, tmp_path: Path, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings]
    ) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            (archive / name).write_bytes(jpeg(7) + MP4)
        case = opened(cases, item)

        def cut() -> Iterator[ListedFile[Source]]:
            yield from self.files(archive)
            raise KeyboardInterrupt

        settings = make_settings()
        with pytest.raises(KeyboardInterrupt):
            scan_for_case(settings, cases, case.name, cut(), place="archive", actor="ann")
        done = scan_for_case(settings, cases, case.name, self.files(archive), place="archive", actor="ann")
        assert done.remembered >= 1
        assert done.scan.partly == 3

    def test_a_place_that_the_case_does_not_list_is_refused(self, cases: Cases, item: CaseItem) -> None:
        case = opened(cases, item, places=("a", "b"))
        with pytest.raises(NotFound):
            cases.taken_down(case.name, ("a", "c"), actor="ann", reason="x")
        assert cases.get(case.name).copies_there == 2, "nothing of it was recorded"
        assert cases.taken_down(case.name, ("a",), actor="ann", reason="no copy", stays=True) == 1
        assert cases.get(case.name).copies_there == 1

    def test_copies_of_one_case_are_bounded(
        self, cases: Cases, item: CaseItem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert MOST_COPIES == 100_000
        monkeypatch.setattr("hashhub.desk.cases.life.MOST_COPIES", 2)
        case = opened(cases, item, places=("a", "b"))
        with pytest.raises(LimitExceeded):
            cases.copies.add(case.name, "c", "MD5 exactly", actor="ann")


def test_copies_in_a_bucket_are_found_and_what_is_too_large_is_unread(
    bucket_store: str, records: Records, cases: Cases, item: CaseItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket_server.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("hashhub.scans.engine.YOUNG_SECONDS", -60.0)  # the files are of this moment
    app = bucket_server.client(bucket_store)
    app.create_bucket(Bucket="cases")
    contents = {
        "media/copy.png": encoded(picture(SEED, (512, 384))),
        "media/other.jpg": jpeg(7),
        "media/large.jpg": jpeg(SEED) + b"\0" * 2_000_000,
        "elsewhere/copy.jpg": jpeg(SEED),
    }
    for key, content in contents.items():
        app.put_object(Bucket="cases", Key=key, Body=content)
    case = opened(cases, item)
    file = tmp_path / "hook.toml"
    file.write_text(
        f'policy = "block"\ndata = "{tmp_path / "hook"}"\nmax_bytes = 1000000\nhashing_processes = 1\n'
        '[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\nno_perceptual_hash = "allow"\n'
        f'[bucket]\nendpoint = "{bucket_store}"\npath_style = true\n'
    )
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "copy.jpg").write_bytes(jpeg(SEED))
    line = ["hook", "case", "scan", case.name, "s3://cases/media/", str(folder), "--settings", str(file), "--json"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["scan"]["place"] == f"s3://cases/media/, {folder}"
    assert (told["scan"]["looked"], told["scan"]["copies"]) == (4, 2)
    assert {c["place"] for c in told["copies"]} == {"s3://cases/media/copy.png", str(folder / "copy.jpg")}
    assert [u["place"] for u in told["unread"]] == ["s3://cases/media/large.jpg"]
    again = json.loads(CliRunner().invoke(main, line).stdout)
    assert (again["remembered"], again["new_copies"]) == (3, 0)
    for place in ("s3://none/", "s3://cases/medai/"):  # a prefix that nothing has is no place either
        missing = CliRunner().invoke(main, ["hook", "case", "scan", case.name, place, "--settings", str(file)])
        assert missing.exit_code != 0
        assert "Traceback" not in missing.output
    assert len(cases.copies.scans(case.name)) == 2, "a look at what is not there is none"


def test_a_place_that_may_keep_one_file_says_nothing_of_another(cases: Cases, item: CaseItem) -> None:
    case = opened(cases, item)
    cases.confirm(case.name, actor="bob", reason="it is so")
    cases.copies.add(case.name, "a.jpg", "PDQ at distance 28", actor="ann")
    cases.taken_down(case.name, ("a.jpg",), actor="ann", reason="another picture", stays=True)
    assert not cases.copies.add(case.name, "a.jpg", "PDQ at distance 28", actor="ann")
    [copy] = cases.copies.listed(case.name)
    assert copy.state is CopyState.STAYS
    assert cases.copies.add(case.name, "a.jpg", "SHA256 exactly", actor="ann")
    [copy] = cases.copies.listed(case.name)
    assert (copy.state, copy.how) == (CopyState.THERE, "SHA256 exactly")
    cases.taken_down(case.name, ("a.jpg",), actor="ann", reason="it may stay", stays=True)
    assert not cases.copies.add(case.name, "a.jpg", "SHA256 exactly", actor="ann")


def test_what_was_remembered_before_gaps_were_is_read_again(tmp_path: Path) -> None:
    """Of such an object nobody can say whether all of it was looked at."""
    settings = HookSettings(policy="block", without_answer=HELD, data=str(tmp_path))
    asked = query(jpeg(7, (96, 64)))
    listed = ListedFile(None, "a.jpg", "1")
    with scan_memory(settings) as memory:
        memory.remember(listed, RememberedQuery(asked), reference="upload-1")
    with scan_memory(settings) as memory:
        assert memory.recall(listed) == KnownFile(RememberedQuery(asked), "upload-1")
    with sqlite3.connect(tmp_path / "scan.db") as database:
        database.execute("UPDATE object SET hashes = ?", (msgspec.msgpack.encode(asked),))
    database.close()
    with scan_memory(settings) as memory:
        assert memory.recall(listed) == KnownFile(reference="upload-1")
