"""Uploads in buckets and folders that were published without an answer: they are checked again, and taken back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hashhub.desk.hub import HubAnswer
from hashhub.errors import PermissionDenied
from hashhub.hook import Action, WithoutAnswer
from hashhub.hook.buckets import BucketWorker, ObjectOutcome
from hashhub.hook.places import FolderPlace, S3Place, StoredObject
from hashhub.model import Query
from hashhub.scans.engine import UnreadableItem
from tests.hook.bucket_parts import Bench, digest_of
from tests.hook.conftest import HELD


def test_what_was_published_without_an_answer_is_taken_back_when_it_is_known(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    known, unknown = pictures
    at_work.judge.know(known)
    at_work.judge.is_away = True
    scene = at_work.scene
    scene.upload("known.jpg", known)
    scene.upload("new.jpg", unknown)
    choice = WithoutAnswer(
        hub_away=Action.ALLOW, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.ALLOW
    )
    at_work.worker(without_answer=choice).look_once()
    assert set(scene.contents("public")) == {"known.jpg", "new.jpg"}
    at_work.judge.is_away = False
    fresh = at_work.worker(without_answer=choice)
    at_work.now += 100
    fresh.look_once()
    assert scene.contents("public") == {"new.jpg": unknown}
    assert scene.held_names() == ["block/known.jpg"]
    assert ObjectOutcome.TAKEN_BACK in {h.outcome for h in at_work.handled}
    asked = at_work.judge.asked
    fresh.look_once()
    assert at_work.judge.asked == asked


def test_what_never_gets_an_answer_keeps_no_other_from_being_checked_again(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    at_work.scene.upload("never.jpg", pictures[1])
    at_work.judge.is_away = True
    worker = at_work.worker(without_answer=msgspec.structs.replace(HELD, hub_away=Action.ALLOW))
    worker.look_once()
    at_work.scene.upload("later.jpg", pictures[0])
    worker.look_once()
    assert set(at_work.scene.contents("public")) == {"never.jpg", "later.jpg"}
    at_work.judge.is_away = False
    at_work.judge.cannot_answer.add(digest_of(pictures[1]))
    at_work.judge.know(pictures[0])
    for _ in range(4):
        at_work.now += 700
        worker.look_once()
    assert set(at_work.scene.contents("public")) == {"never.jpg"}
    assert at_work.scene.held_names() == ["block/later.jpg"]


def test_no_name_of_an_upload_that_fails_keeps_another_from_being_checked_again(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called what the worker could call the other: its address."""
    at_work.scene.upload("known.jpg", pictures[0])
    at_work.judge.is_away = True
    worker = at_work.worker(without_answer=msgspec.structs.replace(HELD, hub_away=Action.ALLOW))
    worker.look_once()
    assert set(at_work.scene.contents("public")) == {"known.jpg"}
    at_work.judge.is_away = False
    at_work.judge.know(pictures[0])
    at_work.now += 700
    where = f"{worker.public.url.rstrip('/')}/known.jpg"
    refused = UnreadableItem(name=where, error=PermissionDenied("access is denied"))
    monkeypatch.setattr(worker.quarantine, "objects", lambda *_: iter([refused]))
    for _ in range(2):
        worker.look_once()
    assert at_work.scene.held_names() == ["block/known.jpg"]


def two_of_which_one_published(at_work: Bench, content: bytes) -> tuple[BucketWorker, BucketWorker]:
    """Return two workers, the first of which published an upload without an answer, as both do."""
    settings: dict[str, Any] = {"without_answer": msgspec.structs.replace(HELD, hub_away=Action.ALLOW)}
    at_work.judge.is_away = True
    worker, other = (at_work.worker(overwrite=True, **settings) for _ in range(2))
    at_work.scene.upload("a.jpg", content)
    worker.look_once()
    assert at_work.scene.contents("public") == {"a.jpg": content}
    return worker, other


def test_what_takes_the_name_of_an_upload_while_that_is_checked_again_is_checked_again_too(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    known, unknown = pictures
    scene = at_work.scene
    at_work.judge.know(known)
    worker, other = two_of_which_one_published(at_work, unknown)
    asks = at_work.judge.judge
    has_come: list[bool] = []

    def comes_meanwhile(query: Query) -> HubAnswer:
        if not has_come:
            has_come.append(True)
            at_work.judge.is_away = True
            scene.upload("a.jpg", known)
            for item in list(other.quarantine.objects()):
                assert isinstance(item, StoredObject)
                other.take(item)
            at_work.judge.is_away = False
            assert scene.contents("public") == {"a.jpg": known}
        return asks(query)

    at_work.judge.is_away = False
    at_work.judge.judge = comes_meanwhile  # type: ignore[method-assign]
    at_work.now += 1000
    worker.look_once()
    at_work.now += 1000
    worker.look_once()
    assert has_come
    assert scene.contents("public") == {}
    assert scene.held_names() == ["block/a.jpg"]


def test_what_is_published_while_what_had_its_name_is_checked_again_is_checked_again_too(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, unknown = pictures
    scene = at_work.scene
    at_work.judge.know(known)
    worker, other = two_of_which_one_published(at_work, unknown)
    scene.upload("a.jpg", known)
    place = FolderPlace if scene.kind == "folder" else S3Place
    publish = place.publish

    def as_the_hub_comes_back(self: Any, *given: Any, **named: Any) -> bool:
        at_work.judge.is_away = False
        at_work.now += 1000
        other._recheck()
        return publish(self, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(place, "publish", as_the_hub_comes_back)
        worker.look_once()
    assert scene.contents("public") == {"a.jpg": known}
    at_work.now += 1000
    worker.look_once()
    assert scene.contents("public") == {}


def test_what_changes_while_it_is_taken_back_is_checked_again(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, other_known = pictures
    scene = at_work.scene
    at_work.judge.know(known)
    at_work.judge.know(other_known)
    worker = at_work.worker(without_answer=msgspec.structs.replace(HELD, hub_away=Action.ALLOW))
    at_work.judge.is_away = True
    scene.upload("a.jpg", known)
    worker.look_once()
    place = FolderPlace if scene.kind == "folder" else S3Place
    take = place.take
    changes = iter([True])

    def changed_before(self: Any, *given: Any) -> bool:
        if next(changes, False):
            if scene.kind == "folder":
                (scene.root / "public" / "a.jpg").write_bytes(other_known)
            else:
                scene.app.put_object(Bucket=scene.bucket, Key="public/a.jpg", Body=other_known)
        return take(self, *given)

    monkeypatch.setattr(place, "take", changed_before)
    at_work.judge.is_away = False
    at_work.handled.clear()
    for _ in range(3):
        at_work.now += 1000
        worker.look_once()
    assert scene.contents("public") == {}
    assert scene.held_names() == ["block/a.jpg"]
    assert at_work.outcomes() == [("a.jpg", ObjectOutcome.TAKEN_BACK)]
