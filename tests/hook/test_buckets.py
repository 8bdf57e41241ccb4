"""Uploads in buckets (moto's server, over HTTP) and in folders: what is published is what was read and allowed, and
nothing is lost, whatever happens in between.
"""

from __future__ import annotations

import gzip
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import Records
from hashhub.errors import Conflict, FailedPrecondition, HashHubError, InvalidArgument, PermissionDenied, Unavailable
from hashhub.hook import HookSettings, NoAnswer
from hashhub.hook.buckets import BucketWorker, ObjectOutcome
from hashhub.hook.places import FolderPlace, S3Place, StoredObject
from hashhub.hook.settings import BucketSettings
from hashhub.model import now
from tests.hook import bucket_server
from tests.hook.bucket_parts import Bench, digest_of

if TYPE_CHECKING:
    from tests.hook.conftest import Listed

WITH_DIGEST = b"known by its digest"


@pytest.mark.parametrize("scene", ["folder", "bucket", "versioned"], indirect=True)
def test_what_is_allowed_is_published_and_what_is_not_stays_private(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    known, unknown = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    uploads = {"a/known.jpg": known, "b.jpg": unknown, "cut.jpg": unknown[:500], "empty": b"", "text": b"a text"}
    for name, content in uploads.items():
        scene.upload(name, content)
    worker = at_work.worker()
    worker.look_once()
    assert scene.contents("public") == {"b.jpg": unknown, "text": b"a text", "empty": b""}
    assert scene.held_names() == ["block/a/known.jpg", "hold/cut.jpg"]
    assert scene.contents("incoming") == {}
    for handled in at_work.handled:  # where it is said to be, it is
        if handled.outcome in {ObjectOutcome.BLOCKED, ObjectOutcome.HELD}:
            assert handled.decision is not None
            assert handled.decision.reference in handled.where
            assert handled.where.endswith(handled.name)
    records = Records(at_work.data)
    assert len(records.events()) >= 2
    for event in records.events():  # which stay: the row has the name
        assert event.details["where"].endswith(f"/{event.subject}")
        assert "known" not in str(event)
    records.close()
    if scene.kind != "folder":
        head = scene.app.head_object(Bucket=scene.bucket, Key="public/b.jpg")
        assert head["ContentType"] == "image/jpeg"  # the app's headers go along
    at_work.handled.clear()
    worker.look_once()
    assert at_work.handled == []


@pytest.mark.parametrize("scene", ["folder", "bucket", "versioned"], indirect=True)
def test_what_is_written_between_reading_and_publishing_is_never_published_unread(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, unknown = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    place = FolderPlace if scene.kind == "folder" else S3Place
    scene.upload("picture.jpg", unknown)
    writes = iter([True])

    def after(method: str) -> Callable[..., Any]:
        whole = getattr(place, method)

        def then_overwrite(self: Any, *given: Any, **named: Any) -> Any:
            done = whole(self, *given, **named)
            if next(writes, False):
                scene.upload("picture.jpg", known)
            return done

        return then_overwrite

    for method in ("take", "publish"):
        writes = iter([True])
        scene.upload("picture.jpg", unknown)
        with monkeypatch.context() as patched:
            patched.setattr(place, method, after(method))
            at_work.worker(overwrite=True).look_once()
        assert set(scene.contents("public").values()) <= {unknown}
        at_work.worker(overwrite=True).look_once()
        assert scene.contents("public") == {"picture.jpg": unknown}
        assert set(scene.held_names()) == {"block/picture.jpg"}
        assert scene.contents("incoming") == {}


@pytest.mark.parametrize("step", ["take", "look", "remove", "read", "publish", "move"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step_it_goes_on(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    known, unknown = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    place = FolderPlace if scene.kind == "folder" else S3Place
    scene.upload("known.jpg", known)
    scene.upload("new.jpg", unknown)
    whole = getattr(place, step)

    def killed(self: Any, *given: Any, **named: Any) -> Any:
        if when == "after":
            done = whole(self, *given, **named)
            if step == "read":
                list(done)
        raise SystemExit

    worker = at_work.worker(jobs=1)
    stored = {name: worker.quarantine.look(name) for name in ("known.jpg", "new.jpg")}
    kills = 0
    with monkeypatch.context() as patched:
        patched.setattr(place, step, killed)
        for upload in stored.values():
            assert upload is not None
            try:
                worker.take(upload)
            except SystemExit:
                kills += 1
    assert kills == (1 if step in {"publish", "move"} else 2)  # what is allowed is not moved, the rest not published
    worker.close()  # the kernel lets go of its lock as of a killed one's
    fresh = at_work.worker()
    fresh.look_once()
    fresh.look_once()
    assert scene.contents("public") == {"new.jpg": unknown}
    assert scene.held_names() == ["block/known.jpg"]
    assert scene.contents("incoming") == {}


def test_two_workers_share_without_harm(at_work: Bench, pictures: tuple[bytes, bytes], tmp_path: Path) -> None:
    """On one machine, and with data directories of their own as on two."""
    known, unknown = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    for number in range(6):
        scene.upload(f"{number}.jpg", unknown + bytes([number]))
    scene.upload("known.jpg", known)
    workers = [at_work.worker(), at_work.worker(), at_work.worker(data=tmp_path / "elsewhere")]
    threads = [threading.Thread(target=worker.look_once) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scene.contents("public") == {f"{n}.jpg": unknown + bytes([n]) for n in range(6)}
    assert set(scene.held_names()) == {"block/known.jpg"}  # by two of them at once: twice at most, never lost
    assert scene.contents("incoming") == {}


def test_what_was_begun_elsewhere_is_taken_over_when_its_lease_ends(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    scene = at_work.scene
    scene.upload("new.jpg", pictures[1])
    worker = at_work.worker()
    stored = worker.quarantine.look("new.jpg")
    assert stored is not None
    assert worker.quarantine.take(stored, worker.held, "checking/0badcafe-1/new.jpg")
    assert worker.quarantine.remove(stored)
    worker.look_once()
    assert scene.contents("public") == {}
    real = __import__("time").time
    with pytest.MonkeyPatch.context() as later:
        later.setattr("hashhub.hook.buckets.time.time", lambda: real() + 901)
        worker.look_once()
    assert scene.contents("public") == {"new.jpg": pictures[1]}
    assert scene.contents("held") == {}


def test_while_the_hub_is_away_uploads_wait_and_then_are_checked(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    known, unknown = pictures
    at_work.judge.know(known)
    at_work.judge.is_away = True
    scene = at_work.scene
    for number in range(20):
        scene.upload(f"{number}.jpg", unknown + bytes([number]))
    scene.upload("known.jpg", known)
    worker = at_work.worker()
    for _ in range(5):
        worker.look_once()
    assert at_work.judge.asked < 20  # twice for each upload that is tried: an outage is not asked about for each
    assert scene.contents("public") == {}
    assert len(scene.contents("incoming")) + len(scene.contents("held")) == 21
    at_work.judge.is_away = False
    for _ in range(4):
        at_work.now += 700
        worker.look_once()
    assert len(scene.contents("public")) == 20
    assert scene.held_names() == ["block/known.jpg"]


def upload_hostile(at_work: Bench, count: int, content: bytes) -> None:
    """Upload files that never get an answer, named so that they come before all others."""
    for number in range(count):
        hostile = content + b"hostile" + bytes([number])
        at_work.judge.cannot_answer.add(digest_of(hostile))
        at_work.scene.upload(f"0-hostile-{number}.jpg", hostile)


@pytest.mark.parametrize("scene", ["folder"], indirect=True)
def test_an_upload_that_never_gets_an_answer_does_not_stop_others(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    _, unknown = pictures
    scene = at_work.scene
    upload_hostile(at_work, 4, unknown)
    worker = at_work.worker()
    for number in range(60):
        scene.upload(f"{number}.jpg", unknown + bytes([number]))
        worker.look_once()
        at_work.now += 60
    for number in range(60, 140):  # while others have answers: otherwise it may be the hub that is away
        scene.upload(f"{number}.jpg", unknown + bytes([number]))
        at_work.now += 700
        for _ in range(3):
            worker.look_once()
            at_work.now += 11
    assert len(scene.contents("public")) == 140
    assert scene.held_names() == [f"hold/0-hostile-{n}.jpg" for n in range(4)]


@pytest.mark.parametrize("scene", ["folder"], indirect=True)
def test_so_many_that_never_get_an_answer_that_one_of_them_is_always_due_do_not_stop_others(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    _, unknown = pictures
    scene = at_work.scene
    upload_hostile(at_work, 70, unknown)
    worker = at_work.worker()
    for _ in range(70):
        worker.look_once()
        at_work.now += 11
    for number in range(5):
        scene.upload(f"{number}.jpg", unknown + bytes([number]))
    for _ in range(150):
        worker.look_once()
        at_work.now += 11
    assert len(scene.contents("public")) == 5


def test_a_name_that_is_taken_is_not_replaced_unless_it_may_be(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    one, other = pictures
    scene = at_work.scene
    scene.upload("a.jpg", one)
    at_work.worker().look_once()
    scene.upload("a.jpg", other)
    scene.upload("a.jpg.d/b.jpg", other)
    at_work.worker().look_once()
    assert scene.contents("public") == {"a.jpg": one, "a.jpg.d/b.jpg": other}
    assert scene.held_names() == ["hold/a.jpg"]
    assert ("a.jpg", ObjectOutcome.NAME_TAKEN) in at_work.outcomes()
    worker = at_work.worker()
    queue = ReviewQueue(worker.records, worker.hook.settings)
    rulings = Rulings(worker.records, worker.hook.settings, queue=queue)
    [waiting] = queue.page().groups
    reference = waiting.uploads[0].reference
    held = queue.get(reference)
    assert (held.upload_id, held.size_bytes, held.reasons[0].code) == ("a.jpg", len(other), "NAME_TAKEN")
    assert digest_of(other) in held.hashes
    for _ in range(2):  # the name is still taken: it waits for a person again, and is lost at no time
        rulings.release(reference, code=RulingCode.OTHER, actor="ann", comment="it may be published")
        worker.look_once()
        assert queue.get(reference).state == "HELD"
        assert scene.held_names() == ["hold/a.jpg"]
    scene.remove("public", "a.jpg")
    rulings.release(reference, code=RulingCode.OTHER, actor="ann", comment="the other one is gone")
    worker.look_once()
    assert queue.get(reference).state == "RELEASED"
    assert scene.contents("public")["a.jpg"] == other
    assert scene.held_names() == []
    scene.upload("a.jpg", one)
    at_work.worker(overwrite=True).look_once()
    assert scene.contents("public")["a.jpg"] == one


def test_names_of_strangers(at_work: Bench, pictures: tuple[bytes, bytes], tmp_path: Path) -> None:
    _, unknown = pictures
    scene = at_work.scene
    long = "x" * (1024 - len("incoming/")) if scene.kind != "folder" else "/".join(["y" * 255] * 3)
    names = [
        "public/a.jpg",
        "ünï/日本.jpg",
        "a b+c%2F&?#.jpg",
        "held/checking/x",
        ".hashhub-partial-1",
    ]
    for name in [*names, long]:
        scene.upload(name, unknown)
    if scene.kind == "folder":
        names.append("line\nbreak.jpg")  # moto has none of these
        scene.upload(names[-1], unknown)
        (tmp_path / "secret").write_bytes(b"of the machine")
        (tmp_path / "incoming/link.jpg").symlink_to(tmp_path / "secret")
        (tmp_path / "incoming/folder").symlink_to(tmp_path)
        os.mkfifo(tmp_path / "incoming/pipe")
    else:
        scene.upload("a/../../public/up.jpg", unknown)
    at_work.worker().look_once()
    published = scene.contents("public")
    assert set(names) <= set(published)
    assert set(published.values()) == {unknown}
    failed = [name for name, outcome in at_work.outcomes() if outcome is ObjectOutcome.FAILED]
    if scene.kind == "folder":
        assert failed == ["folder", "link.jpg", "pipe"]
        assert long in published
    else:
        assert failed == ["a/../../public/up.jpg", long]
        assert set(scene.contents("incoming")) == set(failed)  # not lost either
        assert set(published) == set(names)


def test_an_object_beyond_the_limit_is_not_downloaded(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = at_work.scene
    scene.upload("large.bin", bytes(5000))
    place = FolderPlace if scene.kind == "folder" else S3Place
    worker = at_work.worker(max_bytes=1000)
    if scene.kind != "folder":
        monkeypatch.setattr(place, "read", lambda *_: pytest.fail("it was downloaded"))
    worker.look_once()
    [handled] = at_work.handled
    assert handled.decision is not None
    assert (handled.outcome, handled.decision.no_answer) == (ObjectOutcome.HELD, NoAnswer.TOO_LARGE)
    assert scene.held_names() == ["hold/large.bin"]
    assert at_work.judge.asked == 0


def test_one_object_that_may_not_be_read_does_not_stop_the_rest(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = at_work.scene
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        scene.upload(name, pictures[1])
    place = FolderPlace if scene.kind == "folder" else S3Place
    whole = place.take
    tries = []

    def refusing(self: Any, stored: StoredObject, into: Any, name: str) -> bool:
        if stored.name == "b.jpg":
            tries.append(stored.name)
            raise PermissionDenied("access is denied")
        return bool(whole(self, stored, into, name))

    monkeypatch.setattr(place, "take", refusing)
    worker = at_work.worker()
    for _ in range(5):
        worker.look_once()
    assert set(scene.contents("public")) == {"a.jpg", "c.jpg"}
    assert set(scene.contents("incoming")) == {"b.jpg"}
    assert (len(tries), at_work.outcomes().count(("b.jpg", ObjectOutcome.FAILED))) == (1, 1)
    at_work.now += 11
    worker.look_once()
    assert len(tries) == 2


@pytest.mark.parametrize("scene", ["folder"], indirect=True)
def test_a_name_that_is_no_text_is_refused(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    path = at_work.scene.root / "incoming" / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(pictures[0])
    worker = at_work.worker()
    worker.look_once()
    [handled] = at_work.handled
    assert (handled.outcome, "UTF-8" in handled.reason) == (ObjectOutcome.FAILED, True)
    assert path.read_bytes() == pictures[0]


def test_places_that_are_in_each_other_are_refused(tmp_path: Path) -> None:
    for section in (
        {"quarantine": "s3://app/in", "held": "s3://app/held", "public": "s3://app/in/public"},
        {"quarantine": "s3://app/in", "held": "s3://app/in/", "public": "s3://app/public"},
        {"quarantine": "s3://app", "held": "s3://other/held", "public": "s3://app/public"},
        {"quarantine": str(tmp_path / "in"), "held": str(tmp_path / "in/../in/x"), "public": str(tmp_path / "p")},
        {"quarantine": str(tmp_path / "in"), "held": str(tmp_path / "h"), "public": "s3://app/public"},
    ):
        with pytest.raises(InvalidArgument, match=r"bucket\."):
            BucketSettings(**section)  # type: ignore[arg-type]
    BucketSettings(quarantine="s3://app/in", held="s3://app/in-held", public="s3://app/in-public")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(InvalidArgument):
        BucketSettings(quarantine=str(tmp_path / "in"), held=str(tmp_path / "h"), public=str(tmp_path / "link/p"))


def test_data_in_a_place_and_missing_places_are_refused(at_work: Bench, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="needs held"):
        at_work.worker(held="")
    if at_work.scene.kind == "folder":
        with pytest.raises(InvalidArgument, match="data"):
            at_work.worker(data=tmp_path / "public/data")


def test_a_bucket_that_is_not_there_or_a_store_that_is_away_says_so(
    bucket_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket_server.KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FailedPrecondition, match="no such bucket"):
        list(S3Place("s3://nowhere-at-all/x", BucketSettings(endpoint=bucket_store, path_style=True)).objects())
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    away = S3Place("s3://nowhere-at-all/x", BucketSettings(endpoint="http://127.0.0.1:9", path_style=True))
    away._store.files.retries = 1
    with pytest.raises(Unavailable, match="cannot be reached"):
        list(away.objects())


def test_a_listing_that_repeats_itself_ends(bucket_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = S3Place("s3://app/x", BucketSettings(endpoint=bucket_store, path_style=True))
    from datetime import UTC, datetime

    item = {"Key": "x/a", "Size": 1, "ETag": '"e"', "LastModified": datetime.now(UTC)}
    page = {"Contents": [item], "IsTruncated": True, "NextContinuationToken": "again"}
    monkeypatch.setattr(place, "call", lambda *_, **__: page)
    with pytest.raises(Unavailable, match="does not come to an end"):
        list(place.objects())
    monkeypatch.setattr(place, "call", lambda *_, **__: {**page, "Contents": []})
    with pytest.raises(Unavailable, match="does not come to an end"):
        list(place.objects())


def test_a_store_that_goes_away_in_the_middle_is_asked_again_with_new_credentials(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = at_work.scene
    worker = at_work.worker(poll_seconds=0.1)
    wake = threading.Event()
    place = type(worker.quarantine)
    listed = place.objects
    looks = 0
    troubles: list[HashHubError] = []

    def objects(self: Any, below: str = "") -> Any:
        nonlocal looks
        if not below:
            looks += 1
            if looks == 2:
                scene.upload("a.jpg", pictures[1])
                raise Unavailable("the store refuses the credentials (ExpiredToken)")
            if looks == 4:
                worker.stop(wake)
        return listed(self, below)

    monkeypatch.setattr(place, "objects", objects)

    def told(error: HashHubError, _: float) -> None:
        troubles.append(error)
        wake.set()

    worker.run(wake=wake, on_trouble=told)
    worker.drain()
    assert len(troubles) == 1
    assert set(scene.contents("public")) == {"a.jpg"}


def test_against_a_real_hub(at_work: Bench, listed: Listed, make_settings: Callable[..., HookSettings]) -> None:
    from hashhub.hook import open_hook

    scene = at_work.scene
    scene.upload("known.jpg", listed.known)
    scene.upload("new.jpg", listed.unknown)
    with open_hook(make_settings(bucket=scene.section)) as hook, BucketWorker(hook, at_work.handled.append) as worker:
        worker.look_once()
    assert scene.contents("public") == {"new.jpg": listed.unknown}
    assert scene.held_names() == ["block/known.jpg"]


@pytest.mark.parametrize("scene", ["bucket", "versioned"], indirect=True)
def test_what_a_reader_would_decode_into_other_bytes_is_not_published(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    """An uploader may add a Content-Encoding to a presigned request; browsers then show what nobody has read."""
    known, unknown = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    for name, encoding in (("a.jpg", "gzip"), ("b.jpg", "aws-chunked, GZIP"), ("c.jpg", "aws-chunked")):
        content = gzip.compress(known) if "gzip" in encoding.lower() else unknown
        key = f"incoming/{name}"
        scene.app.put_object(
            Bucket=scene.bucket, Key=key, Body=content, ContentType="image/jpeg", ContentEncoding=encoding
        )
    at_work.worker().look_once()
    assert scene.contents("public") == {"c.jpg": unknown}
    assert set(scene.contents("incoming")) == {"a.jpg", "b.jpg"}
    told = {handled.name: handled for handled in at_work.handled}
    assert told["a.jpg"].outcome is told["b.jpg"].outcome is ObjectOutcome.FAILED
    assert "Content-Encoding" in told["a.jpg"].reason


def test_a_publisher_that_is_killed_leaves_no_part_where_everybody_reads(tmp_path: Path) -> None:
    """At each call that writes, links or renames: what is there is the whole upload by its name, or nothing."""
    content = b"synthetic" * 1000
    calls = ("write", "fchmod", "fsync", "link", "unlink")
    for call in calls:
        for is_after in (False, True):
            root = tmp_path / f"{call}-{is_after}"
            held, public = FolderPlace(str(root / "held")), FolderPlace(str(root / "public"))
            held._write("checking/a/a.jpg", iter([content]), mode=0o600, folder_mode=0o700)
            child = os.fork()
            if not child:
                whole = getattr(os, call)

                def killed(*given: Any, **named: Any) -> Any:
                    if is_after:  # noqa: B023 - called within the turn
                        whole(*given, **named)  # noqa: B023
                    os.kill(os.getpid(), signal.SIGKILL)

                setattr(os, call, killed)
                held.publish("checking/a/a.jpg", public, "a.jpg", overwrite=False)
                os._exit(0)
            os.waitpid(child, 0)
            there = {path.name: path.read_bytes() for path in (root / "public").rglob("*")}
            assert there in ({}, {"a.jpg": content}), (call, is_after)
            assert held.publish("checking/a/a.jpg", public, "a.jpg", overwrite=False)
            assert [path.name for path in (root / "public").rglob("*")] == ["a.jpg"]


def test_two_workers_that_took_one_upload_do_not_both_go_on(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, _ = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    scene.upload("known.jpg", known)
    workers = [at_work.worker(jobs=1), at_work.worker(jobs=1)]
    place = FolderPlace if scene.kind == "folder" else S3Place
    take = place.take
    have_taken = threading.Barrier(2)

    def both_have(self: Any, *given: Any) -> bool:
        done = take(self, *given)
        have_taken.wait(180)
        return done

    monkeypatch.setattr(place, "take", both_have)
    remove, turn = place.remove, threading.Lock()

    def one_after_the_other(self: Any, stored: StoredObject) -> bool:
        with turn:
            return remove(self, stored)

    monkeypatch.setattr(place, "remove", one_after_the_other)
    stored = workers[0].quarantine.look("known.jpg")
    assert stored is not None
    threads = [threading.Thread(target=worker.take, args=(stored,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scene.held_names() == ["block/known.jpg"]


@pytest.mark.parametrize("step", ["before the note", "before the move", "within the move"])
def test_what_was_recorded_before_the_kill_is_not_recorded_twice(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Else persons have one upload twice in the queue, one of them nowhere, and figures count both."""
    known, _ = pictures
    at_work.judge.know(known)
    scene = at_work.scene
    place = FolderPlace if scene.kind == "folder" else S3Place
    if step == "within the move" and scene.kind == "folder":
        pytest.skip("a file is renamed: it is at one place or the other")
    scene.upload("known.jpg", known)

    def killed(*_: Any, **__: Any) -> Any:
        raise SystemExit

    worker = at_work.worker(is_recording=True)
    stored = worker.quarantine.look("known.jpg")
    assert stored is not None
    with monkeypatch.context() as patched:
        if step == "before the note":
            patched.setattr(worker, "keep", killed)
        elif step == "before the move":
            patched.setattr(place, "move", killed)
        else:
            call = S3Place.call
            patched.setattr(
                S3Place,
                "call",
                lambda self, name, **given: killed() if name == "delete_object" and "held/checking" in given["Key"]
                else call(self, name, **given),
            )  # fmt: skip
        with pytest.raises(SystemExit):
            worker.take(stored)
    worker.close()
    at_work.worker(is_recording=True).look_once()
    assert scene.held_names() == ["block/known.jpg"]
    records = Records(at_work.data)
    [(reference,)] = records.rows("SELECT reference FROM upload")
    assert list(scene.contents("held")) == [f"block/{reference}/known.jpg"]
    kinds = [event.kind for event in records.events()]
    assert (kinds.count("upload.blocked"), kinds.count("bucket.kept")) == (1, 1)
    records.close()
    # The same again is another upload.
    scene.upload("known.jpg", known)
    at_work.worker(is_recording=True).look_once()
    assert scene.held_names() == ["block/known.jpg"] * 2


def test_a_file_that_grows_as_fast_as_it_is_read_is_let_go_of(tmp_path: Path) -> None:
    """Else who appends to an upload fills the disk with the copy of it, and a thread never comes back."""
    path = tmp_path / "incoming/a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"x" * 1000)
    place = FolderPlace(str(path.parent))
    stored = place.look("a.jpg")
    assert stored is not None

    def read_while_it_grows() -> None:
        for number, _ in enumerate(place.read(stored)):
            assert number < 5
            with path.open("ab") as file:
                file.write(b"x" * (2 << 20))

    with pytest.raises(Conflict, match="changed"):
        read_while_it_grows()
    held = FolderPlace(str(tmp_path / "held"))
    assert not place.take(stored, held, "checking/a.jpg")
    assert list(held.objects()) == []


def of_tomorrow(at_work: Bench, name: str, content: bytes, days: int = 1) -> Path:
    """Write an upload whose time is yet to come."""
    if at_work.scene.kind != "folder":
        pytest.skip("an object of a bucket is there at once")
    path = at_work.scene.root / "incoming" / name
    path.write_bytes(content)
    later = now().timestamp() + days * 86_400
    os.utime(path, (later, later))
    return path


@pytest.mark.parametrize("days", [1, 400])
def test_a_file_of_tomorrow_is_taken_once_it_has_rested(
    at_work: Bench, pictures: tuple[bytes, bytes], days: int
) -> None:
    """Its uploader's clock is ahead and its time came with it, or this machine's clock was set back."""
    scene = at_work.scene
    of_tomorrow(at_work, "a.jpg", b"half", days)
    worker = at_work.worker(settle_seconds=10)
    worker.look()
    worker.drain()
    of_tomorrow(at_work, "a.jpg", pictures[1], days)  # it was not whole yet
    for at_work.now in (9.0, 18.0):
        worker.look()
        worker.drain()
    assert at_work.handled == []
    at_work.now = 20.0
    worker.look()
    worker.drain()
    assert scene.contents("public") == {"a.jpg": pictures[1]}
    assert not worker.resting


def test_one_look_waits_for_a_file_of_tomorrow(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    """A worker that is started by a timer, each time anew, would else never take it."""
    of_tomorrow(at_work, "a.jpg", pictures[1])
    worker = at_work.worker(settle_seconds=1)
    worker.clock = time.monotonic
    worker.look_once()
    assert at_work.scene.contents("public") == {"a.jpg": pictures[1]}


def test_a_file_of_tomorrow_is_taken_however_long_it_is_until_the_next_look(
    at_work: Bench, pictures: tuple[bytes, bytes]
) -> None:
    of_tomorrow(at_work, "a.jpg", pictures[1])
    worker = at_work.worker(settle_seconds=10)
    for at_work.now in (0.0, 3600.0):
        worker.look()
        worker.drain()
    assert at_work.scene.contents("public") == {"a.jpg": pictures[1]}


def test_a_file_of_tomorrow_that_is_gone_makes_room_for_another(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.hook.buckets.MOST_RESTING", 1)
    worker = at_work.worker(settle_seconds=10)
    gone = of_tomorrow(at_work, "a.jpg", pictures[1])
    worker.look()
    gone.unlink()
    of_tomorrow(at_work, "b.jpg", pictures[1])
    for at_work.now in (11.0, 12.0, 21.0):  # there is room from the second on
        worker.look()
        worker.drain()
        assert at_work.scene.contents("public") == {}
    at_work.now = 22.0
    worker.look()
    worker.drain()
    assert at_work.scene.contents("public") == {"b.jpg": pictures[1]}
