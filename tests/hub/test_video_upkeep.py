"""The frames of listed videos follow their entries: through snapshots, restarts, withdrawals, ages and deletion."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from hashhub.config import Config
from hashhub.hashes import FRAMES, VPDQ
from hashhub.hub import Hub
from hashhub.hub.backup import back_up, restore
from hashhub.model import Action, EntryState, MatchResult, Record, Verdict, WithdrawalReason
from hashhub.reconcile.extract import Extract, write
from hashhub.store import deletion
from hashhub.store import entries as entries_module
from hashhub.store import entry_writes as stored
from hashhub.store import schema as s
from tests.hub.conftest import OPERATOR, Desk, Open, item, writer
from tests.hub.test_videos import ask, listed, video

WHOLE = [range(100 * n, 100 * n + 20) for n in range(12)]


def answers(hub: Hub) -> list[MatchResult]:
    desk = Desk(hub)
    asked = [video(scenes, bits=9) for scenes in WHOLE] + [video([*range(5), *range(300, 330)]), video(range(5, 15))]
    return [ask(desk, frames) for frames in asked]


def counts(desk: Desk) -> tuple[int, int]:
    """How many videos there are, and how many digests of frames."""
    db = desk.hub.store.database
    return (
        db.fetch("SELECT count(*) FROM frames")[0][0],
        db.fetch("SELECT count(*) FROM hash WHERE algorithm = 8")[0][0],
    )


def test_snapshot_tail_restart_and_rebuild_answer_alike(open_hub: Open, sqlite_directory: Path) -> None:
    hub = open_hub()
    desk = Desk(hub)
    desk.hash_set("nl/known")
    half = [listed(n, scenes, external_id=f"v{n}") for n, scenes in enumerate(WHOLE)]
    desk.contribute("nl/known", *half[:8])
    hub.matcher.compact()
    # In the tail: more videos, another one under an id, one that is withdrawn.
    desk.contribute("nl/known", *half[8:], listed(20, range(5, 15), external_id="v1"))
    gone = next(e for e in desk.entries("nl/known", EntryState.ACTIVE) if e.external_id == "v2")
    hub.entries.withdraw(writer("nl"), "nl", "known", gone.id, WithdrawalReason.ERROR)
    by_tail = answers(hub)
    assert [r.verdict for r in by_tail].count(Verdict.NO_MATCH) == 2  # the replaced one, and the withdrawn one
    hub.matcher.compact()
    assert answers(hub) == by_tail
    assert answers(open_hub(publisher=False)) == by_tail
    hub.close()
    again = open_hub()  # from the snapshot
    assert answers(again) == by_tail
    count = again.matcher.count(VPDQ.name)
    again.close()
    shutil.rmtree(sqlite_directory / "matcher")
    rebuilt = open_hub()
    assert answers(rebuilt) == by_tail
    assert rebuilt.matcher.count(VPDQ.name) <= count


def test_a_source_withdraws_a_video_that_only_its_frames_name(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("nl/known")
    one, other = listed(1, range(20)), listed(2, range(40, 60))
    desk.contribute("nl/known", one, other)
    asked = Record(position="line 1", action=Action.WITHDRAW, frames=video(range(20)))
    nearly = Record(position="line 2", action=Action.WITHDRAW, frames=video(range(40, 61)))  # one frame more: another
    desk.contribute("nl/known", asked, nearly)
    assert [e.state for e in desk.entries("nl/known")] == [EntryState.WITHDRAWN, EntryState.ACTIVE]
    assert ask(desk, video(range(20))).verdict is Verdict.NO_MATCH
    assert ask(desk, video(range(40, 60))).verdict is Verdict.MATCH


def test_an_operators_quarantine_holds_by_frames_alone(any_desk: Desk) -> None:
    """A list that states the video again does not shed it; another video is not held up."""
    desk = any_desk
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(20)))
    (entry,) = desk.entries("nl/known")
    desk.hub.entries.quarantine(OPERATOR, "nl", "known", entry.id)
    again = listed(1, range(20), tags=("new",))
    done = desk.contribute("nl/known", again, listed(2, range(300, 320)))
    assert (done.counts.quarantined, done.counts.accepted) == (1, 1)
    assert ask(desk, video(range(20))).verdict is Verdict.NO_MATCH
    assert ask(desk, video(range(300, 320))).verdict is Verdict.MATCH


@pytest.fixture
def aging(any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose rows of withdrawn entries go by age, a few videos at a time."""
    monkeypatch.setattr(deletion, "MOST_FRAMES", 30)
    monkeypatch.setattr(stored, "VIDEOS_AT_ONCE", 2)
    any_desk.hub.keeper.config = Config(keep_withdrawn_days=30)
    return any_desk


def test_frames_go_with_entries_by_age(aging: Desk) -> None:
    desk = aging
    desk.hash_set("nl/known")
    desk.contribute("nl/known", *(listed(n, scenes) for n, scenes in enumerate(WHOLE)), item(1))
    assert counts(desk) == (12, 12 * 20)
    # The new list has two of them.
    desk.contribute("nl/known", listed(1, WHOLE[1]), listed(2, WHOLE[2]), replace=True, allow_shrinking=True)
    assert len(desk.entries("nl/known", EntryState.WITHDRAWN)) == 11
    assert counts(desk) == (12, 12 * 20)  # what is withdrawn can be restored
    with desk.hub.store.database.write() as c:
        c.execute(sa.update(s.event).values(time=s.event.c.time - 31 * 86_400_000))
    desk.hub.keeper.apply_ages()
    assert counts(desk) == (2, 2 * 20)
    assert [ask(desk, video(scenes)).verdict is Verdict.MATCH for scenes in WHOLE[:4]] == [False, True, True, False]


def test_an_extract_has_no_frames_for_hashes(any_desk: Desk, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    desk = any_desk
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(20)), item(7, frames=video(range(40, 60))), item(8))
    write(desk.hub.store, tmp_path / "extract")
    extract = Extract.open(tmp_path / "extract")
    extract.verify()
    with extract.connect() as connection:
        names = {row[0] for row in connection.execute("SELECT DISTINCT algorithm FROM digests").fetchall()}
    assert names == {"MD5", "SHA1"}  # no VPDQ, and not what stands for all frames


def test_a_backup_has_the_frames(desk: Desk, sqlite_directory: Path, tmp_path: Path) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", *(listed(n, scenes) for n, scenes in enumerate(WHOLE)))
    before = answers(desk.hub)
    back_up(Config(data=str(sqlite_directory)), tmp_path / "copy", lambda *_: None)
    new = Config(data=str(tmp_path / "new"))
    restore(tmp_path / "copy", new, None, lambda *_: None)
    with Hub.open(new) as hub:
        hub.start()
        assert answers(hub) == before
        (first, *_) = Desk(hub).entries("nl/known")
        assert hub.entries.get(writer("nl"), "nl", "known", first.id).frames == video(WHOLE[0])


def test_every_place_that_deletes_hashes_knows_of_frames() -> None:
    """Who adds one has to think of videos: this list says who did."""
    root = Path(entries_module.__file__).parent
    places = {path.name for path in root.glob("*.py") if ".delete_hashes(" in path.read_text("utf-8")}
    assert places == {"deletion.py", "entry_writes.py", "stage.py"}
    deleting = [path.name for path in root.glob("*.py") if "DELETE FROM hash " in path.read_text("utf-8")]
    assert deleting == ["database.py"]
    for name in places:
        assert "delete_frames" in (root / name).read_text("utf-8")
    assert s.ALGORITHM_CODES[VPDQ.name] == 8
    assert s.ALGORITHM_CODES[FRAMES.name] == 9
