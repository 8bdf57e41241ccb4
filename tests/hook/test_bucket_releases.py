"""What people release of the uploads in buckets and folders is published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from hashhub.desk.decision import DecisionRecord
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.desk.settings import RecheckSettings
from hashhub.errors import PermissionDenied
from hashhub.hook import Action, Hook
from hashhub.hook.buckets import ObjectOutcome
from hashhub.hook.places import StoredObject
from hashhub.model import now
from tests.hook.bucket_parts import Bench, digest_of
from tests.hook.conftest import HELD


def test_what_people_release_is_published(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    known, _ = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    scene.upload("a/known.jpg", known)
    worker = at_work.worker()
    worker.look_once()
    [handled] = at_work.handled
    assert handled.decision is not None
    records = Records(at_work.data)
    records.write(
        "INSERT OR REPLACE INTO upload VALUES (?, '2026-01-01', 'RELEASED', 'bucket', 'a/known.jpg', '')",
        (handled.decision.reference,),
    )
    worker.look_once()
    worker.look_once()
    assert scene.contents("public") == {"a/known.jpg": known}
    assert scene.contents("held") == {}
    assert [e.kind for e in records.events(subject=handled.decision.reference)] == ["bucket.kept", "bucket.released"]
    records.close()


def test_waiting_uploads_fill_no_records_and_looks_pass_over_what_was_released(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    """A day without the hub is a thousand tries; a year of releases is a million rows."""
    at_work.judge.is_away = True
    at_work.scene.upload("new.jpg", pictures[1])
    worker = at_work.worker()
    records = Records(at_work.data)
    kept = msgspec.structs.replace(worker.hook.settings, recheck=RecheckSettings(seconds=3600.0))
    worker.hook = Hook(kept, judge=at_work.judge, records=records)
    worker.hook.hashing.pool = at_work._hashers  # type: ignore[union-attr]
    for _ in range(6):
        at_work.now += 700
        worker.look_once()
    assert ("new.jpg", ObjectOutcome.WAITING) in at_work.outcomes()
    assert records.count(*UploadState) == 0
    assert records.events() == []
    at_work.judge.is_away = False
    for number in range(20):
        values = (f"{number:020x}", "2026-01-01", "RELEASED", "bucket", "old.jpg", b"")
        records.write("INSERT INTO upload VALUES (?, ?, ?, ?, ?, ?)", values)
    at_work.now += 700
    worker.look_once()
    assert set(at_work.scene.contents("public")) == {"new.jpg"}
    assert records.rows("SELECT 1 FROM bucket_to_release") == []
    assert records.events() == []  # what was never kept is not said to be released
    worker.hook.hashing = None  # its processes are those of all tests
    worker.hook.close()


@pytest.mark.parametrize("place", ["public", "held"])
def test_what_the_store_refuses_keeps_nothing_else_from_being_released(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    at_work.judge.know(pictures[0])
    for name in ("a.jpg", "b.jpg"):
        at_work.scene.upload(name, pictures[0])
    if place == "public":  # published without an answer, and then not to be read
        at_work.scene.upload("c.jpg", pictures[1])
        at_work.judge.cannot_answer.add(digest_of(pictures[1]))
    worker = at_work.worker(without_answer=msgspec.structs.replace(HELD, hub_away=Action.ALLOW))
    worker.look_once()
    records = Records(at_work.data)
    for handled in at_work.handled:
        if handled.decision is not None and handled.outcome is ObjectOutcome.BLOCKED:
            checked = DecisionRecord(decision=handled.decision, time=now(), door="bucket", upload_id=handled.name)
            with records.transaction():
                records.add_upload(checked, UploadState.BLOCKED, max_records=10)
    for (reference,) in records.rows("SELECT reference FROM upload"):
        Rulings(records, worker.hook.settings).release(reference, code=RulingCode.OTHER, actor="ann", comment="x")
    of = type(worker.public)
    first = records.rows("SELECT upload_id FROM bucket_to_release JOIN upload USING (reference) LIMIT 1")[0][0]
    read, publish = of.read, of.publish

    def refuse_read(self: Any, stored: StoredObject) -> Iterator[bytes]:
        if stored.name == "c.jpg":
            raise PermissionDenied("access is denied")
        return read(self, stored)

    def refuse_publish(self: Any, name: str, into: Any, as_name: str, *, overwrite: bool) -> bool:
        if place == "held" and as_name == first:
            raise PermissionDenied("access is denied")
        return publish(self, name, into, as_name, overwrite=overwrite)

    monkeypatch.setattr(of, "read", refuse_read)
    monkeypatch.setattr(of, "publish", refuse_publish)
    at_work.judge.cannot_answer.clear()
    at_work.handled.clear()
    at_work.now += 1000  # the first look may have checked c.jpg again already, and would wait before it does so anew
    for _ in range(3):
        worker.look_once()
    refused = [("c.jpg" if place == "public" else first, ObjectOutcome.FAILED)]
    released = [(n, ObjectOutcome.RELEASED) for n in ("a.jpg", "b.jpg") if (n, ObjectOutcome.FAILED) not in refused]
    assert at_work.outcomes() == sorted(refused + released), "told once, and the others are there"
    monkeypatch.undo()
    at_work.now += 1000
    worker.look_once()
    assert set(at_work.scene.contents("public")) >= {"a.jpg", "b.jpg"}
    assert records.rows("SELECT 1 FROM bucket_unanswered") == []
    records.close()


def test_what_is_removed_after_all_while_others_are_published_is_not_published(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes many at a time, and each takes as long as the store does."""
    names = {"a.jpg", "b.jpg"}
    at_work.judge.know(pictures[0])
    for name in names:
        at_work.scene.upload(name, pictures[0])
    worker = at_work.worker(is_recording=True)
    worker.look_once()
    rulings = Rulings(worker.records, worker.hook.settings)
    references = {h.name: h.decision.reference for h in at_work.handled if h.decision is not None}
    for reference in references.values():
        rulings.release(reference, code=RulingCode.OTHER, comment="it may be seen", actor="ann")
    publish, removed = worker.publish, set[str]()

    def publish_while_another_is_removed(taken: StoredObject, name: str) -> bool:
        if not removed:
            [other] = names - {name}
            rulings.confirm(references[other], actor="ben")
            removed.add(other)
        return publish(taken, name)

    monkeypatch.setattr(worker, "publish", publish_while_another_is_removed)
    worker.look_once()
    worker.look_once()
    assert set(at_work.scene.contents("public")) == names - removed
    [other] = removed
    assert len(at_work.scene.contents("held")) == 1
    kinds = [event.kind for event in worker.records.events(subject=references[other])]
    assert "bucket.released" not in kinds
