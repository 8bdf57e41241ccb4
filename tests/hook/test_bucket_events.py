"""Events of a bucket make an upload be looked at sooner, and decide nothing: whether they come, twice, late, or forged.

moto's server delivers what is put into a bucket to a queue, as the bucket's notification configuration says.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument
from hashhub.hook.bucket_events import keys_of
from hashhub.hook.buckets import BucketWorker, ObjectOutcome
from hashhub.hook.places import S3Place
from hashhub.hook.settings import BucketSettings
from tests.hook import bucket_server
from tests.hook.bucket_parts import Bench, Scene
from tests.patience import wait_until

if TYPE_CHECKING:
    from hashhub.hashing.pool import MediaPool

pytestmark = pytest.mark.timeout(120)
NEVER = 1e9


def record(bucket: str, key: str, event: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}}}


@pytest.fixture
def at_work(bucket_store: str, tmp_path: Path, hashers: MediaPool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name, value in bucket_server.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("hashhub.hook.bucket_events.WAIT_SECONDS", 1)
    bench = Bench(Scene("bucket", tmp_path, bucket_store), tmp_path / "data", hashers)
    yield bench
    bench.close()


class Told:
    """A queue, and a bucket that tells it what is put into it, or does not."""

    def __init__(self, bench: Bench, *, visible_after: int = 3, tells: bool = True) -> None:
        scene = bench.scene
        self.bench, self.bucket = bench, scene.bucket
        self.sqs = bucket_server.client(scene.section.endpoint, "sqs")
        given = {"VisibilityTimeout": str(visible_after)}
        self.url = self.sqs.create_queue(QueueName=scene.bucket, Attributes=given)["QueueUrl"]
        if tells:
            arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"][
                "QueueArn"
            ]
            scene.app.put_bucket_notification_configuration(
                Bucket=scene.bucket,
                NotificationConfiguration={
                    "QueueConfigurations": [
                        {
                            "QueueArn": arn,
                            "Events": ["s3:ObjectCreated:*"],
                            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "incoming/"}]}},
                        }
                    ]
                },
            )

    def say(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self.sqs.send_message(QueueUrl=self.url, MessageBody=text)

    def say_put(self, *keys: str) -> None:
        self.say({"Records": [record(self.bucket, key) for key in keys]})

    def names(self, place: str) -> set[str]:
        """What is there by a listing alone: reading it, too, would come upon what has just been moved."""
        listed = self.bench.scene.app.list_objects_v2(Bucket=self.bucket, Prefix=f"{place}/").get("Contents", ())
        return {item["Key"].removeprefix(f"{place}/") for item in listed}

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        given = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(given[name]) for name in names)

    def worker(self, **changed: Any) -> BucketWorker:
        return self.bench.worker(**{"events": self.url, "poll_seconds": 0.1, "relist_seconds": NEVER} | changed)


@contextmanager
def running(worker: BucketWorker, troubles: list[HashHubError] | None = None) -> Iterator[None]:
    wake = threading.Event()
    failed: list[BaseException] = []

    def on_trouble(error: HashHubError, _: float) -> None:
        if troubles is not None:
            troubles.append(error)

    def run() -> None:
        try:
            worker.run(wake=wake, on_trouble=on_trouble)
        except BaseException as e:  # noqa: BLE001 - raised again in the test's own thread
            failed.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        worker.stop(wake)
        thread.join()
    if failed:
        raise failed[0]


def test_what_events_tell_of_is_taken_at_once(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    known, unknown = pictures
    at_work.judge.know(known)
    told = Told(at_work)
    names = ["a.jpg", "a b+c%2F&?#.jpg", "ünï/日本.jpg", "x/" * 30 + "deep.jpg"]
    with running(told.worker()):
        wait_until(lambda: told.left() == 0)  # what the store said when notifications were configured
        for name in names:
            at_work.scene.upload(name, unknown)
        at_work.scene.upload("known.jpg", known)
        wait_until(lambda: len(at_work.handled) == len(names) + 1)
        wait_until(lambda: told.left() == 0)
    assert at_work.scene.contents("public") == dict.fromkeys(names, unknown)
    assert at_work.scene.held_names() == ["block/known.jpg"]


def test_events_that_are_lost_doubled_late_or_forged_change_nothing(
    at_work: Bench,
    pictures: tuple[bytes, bytes],
) -> None:
    known, unknown = pictures
    at_work.judge.know(known)
    told = Told(at_work, tells=False)
    scene = at_work.scene
    scene.upload("lost.jpg", unknown)
    worker = told.worker()
    with running(worker):
        wait_until(lambda: "lost.jpg" in told.names("public"))  # the first look lists
        wait_until(lambda: at_work.handled)
        told.say_put("incoming/late.jpg")
        told.say_put(
            "incoming/never.jpg", "held/block/x/known.jpg", "public/lost.jpg", "elsewhere/lost.jpg", "incoming/"
        )
        told.say({"Records": [record("another-bucket", "incoming/twice.jpg")]})
        told.say({"Records": [record(told.bucket, "incoming/twice.jpg", "ObjectRemoved:Delete")]})
        told.say({"Records": []})
        wait_until(lambda: told.left() == 0)
        assert [h.name for h in at_work.handled] == ["lost.jpg"]
        scene.upload("twice.jpg", unknown)
        scene.upload("late.jpg", known)
        for _ in range(5):
            told.say_put("incoming/twice.jpg", "incoming/twice.jpg")
        wait_until(lambda: "twice.jpg" in told.names("public"))
        wait_until(lambda: told.left() == 0)
        assert told.names("incoming") == {"late.jpg"}  # its event came before it did
        at_work.now += 2 * NEVER
        wait_until(lambda: len(at_work.handled) == 3)
    assert scene.held_names() == ["block/late.jpg"]
    assert sorted(h.name for h in at_work.handled) == ["late.jpg", "lost.jpg", "twice.jpg"]


def test_what_is_not_understood_is_said_once_and_left(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    told = Told(at_work, visible_after=1, tells=False)
    for message in ("no JSON", "[" * 100_000, {"Type": "SubscriptionConfirmation", "Message": "You have chosen"}):
        told.say(message)
    troubles: list[HashHubError] = []
    with running(told.worker(), troubles):
        wait_until(lambda: len(troubles) == 3)
        time.sleep(2.5)  # they come again
        at_work.scene.upload("a.jpg", pictures[1])
        told.say_put("incoming/a.jpg")
        wait_until(lambda: told.names("public"))
        wait_until(lambda: told.left() == 3)
    assert len(troubles) == 3
    assert all("not understood" in t.message for t in troubles)


def test_a_flood_of_forged_events_starves_nobody(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    told = Told(at_work, tells=False)
    for first in range(0, 600, 30):
        told.say_put(*(f"incoming/{first + i}.jpg" for i in range(30)))
    with running(told.worker()):
        at_work.scene.upload("untold.jpg", pictures[1])
        wait_until(lambda: told.names("public"))  # long before it would be listed


def test_while_the_hub_is_away_messages_wait_as_well(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    _, unknown = pictures
    at_work.judge.is_away = True
    told = Told(at_work, visible_after=2)
    names = [f"{number}.jpg" for number in range(12)]
    with running(told.worker(jobs=1)):
        wait_until(lambda: told.left() == 0)
        for name in names:
            at_work.scene.upload(name, unknown + name.encode())
        wait_until(lambda: [h.outcome for h in at_work.handled].count(ObjectOutcome.WAITING) >= 3)
        time.sleep(1)
        assert told.left() >= 5  # not looked at, so not deleted
        at_work.judge.is_away = False

        def are_public() -> bool:
            at_work.now += 700  # whatever waits is due
            return told.names("public") == set(names)

        wait_until(are_public)
        wait_until(lambda: told.left() == 0)


def test_a_message_stays_until_what_it_names_was_taken(
    at_work: Bench,
    pictures: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that is killed in the middle has deleted nothing that it has not done."""
    told = Told(at_work, visible_after=1, tells=False)
    scene = at_work.scene
    taking, go_on = threading.Event(), threading.Event()
    whole = S3Place.take

    def slow(self: S3Place, *given: Any) -> bool:
        taking.set()
        assert go_on.wait(180)
        return whole(self, *given)

    monkeypatch.setattr(S3Place, "take", slow)
    with running(told.worker()):
        time.sleep(0.5)  # its first look is over
        scene.upload("a.jpg", pictures[1])
        told.say_put("incoming/a.jpg", "incoming/gone.jpg")
        assert taking.wait(180)
        time.sleep(2.5)  # it comes again meanwhile, and is not taken for done
        assert told.left() == 1
        go_on.set()
        wait_until(lambda: told.names("public"))
        wait_until(lambda: told.left() == 0)
    assert [h.outcome for h in at_work.handled] == [ObjectOutcome.PUBLISHED]


def test_a_queue_that_is_not_there_or_goes_away(at_work: Bench, pictures: tuple[bytes, bytes]) -> None:
    told = Told(at_work, tells=False)
    with pytest.raises(FailedPrecondition, match="no such queue"), running(told.worker(events=f"{told.url}-not")):
        pass
    troubles: list[HashHubError] = []
    worker = told.worker()
    with running(worker, troubles):
        wait_until(lambda: worker._hears)
        told.sqs.delete_queue(QueueUrl=told.url)
        wait_until(lambda: troubles)
        at_work.scene.upload("a.jpg", pictures[1])
        wait_until(lambda: told.names("public"))  # listed as often as without events
    assert [type(t) for t in troubles] == [FailedPrecondition]


def test_forms_of_messages() -> None:
    created = {"Records": [record("app", "in/ü +%.jpg"), record("app", "in/ü +%.jpg"), record("other", "in/b")]}
    assert keys_of(json.dumps(created), "app") == ("in/ü +%.jpg",)
    assert keys_of(json.dumps({"Type": "Notification", "Message": json.dumps(created)}), "app") == ("in/ü +%.jpg",)
    minio = {"EventName": "s3:ObjectCreated:Put", "Records": [record("app", "in/c", "s3:ObjectCreated:Put")]}
    assert keys_of(json.dumps(minio), "app") == ("in/c",)
    bridge = {"detail-type": "Object Created", "source": "aws.s3", "detail": {"bucket": {"name": "app"}}}
    bridge["detail"]["object"] = {"key": "in/a+b %41.jpg"}  # type: ignore[index]
    assert keys_of(json.dumps(bridge), "app") == ("in/a+b %41.jpg",)
    assert keys_of(json.dumps(bridge | {"detail-type": "Object Deleted"}), "app") == ()
    assert keys_of('{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "app"}', "app") == ()
    many = {"Records": [record("app", f"in/{n}") for n in range(5_000)]}
    assert len(keys_of(json.dumps(many), "app") or ()) == 1_000
    for strange in (
        "",
        "[]",
        "{}",
        '{"Records": [{}]}',
        '{"Message": "x"}',
        json.dumps({"Records": [{"eventName": "x"}]}),
    ):
        assert keys_of(strange, "app") is None
    no_text = json.dumps(created).replace("%C3%BC", "%FF")
    assert keys_of(no_text, "app") is None


def test_settings_of_events() -> None:
    usual = {"quarantine": "s3://app/in", "held": "s3://app/held", "public": "s3://app/public"}
    BucketSettings(**usual, events="https://sqs.eu-west-1.amazonaws.com/1/app")  # type: ignore[arg-type]
    for wrong in ("app-uploads", "https://sqs.eu-west-1.amazonaws.com", "arn:aws:sqs:eu-west-1:1:app"):
        with pytest.raises(InvalidArgument, match=r"bucket\.events"):
            BucketSettings(**usual, events=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"bucket\.events"):
        BucketSettings(
            quarantine="in", held="held", public="public", events="https://sqs.eu-west-1.amazonaws.com/1/app"
        )


@pytest.mark.parametrize("becomes", ["another", "nothing"])
def test_what_changes_between_its_event_and_its_move_is_not_published_by_the_old_decision(
    at_work: Bench, pictures: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    known, harmless = pictures
    at_work.judge.know(known)
    told = Told(at_work, visible_after=1)
    scene = at_work.scene
    whole, changed = S3Place.take, list[str]()

    def overtaken(self: S3Place, *given: Any) -> bool:
        if not changed:
            changed.append(becomes)
            if becomes == "another":
                scene.upload("a.jpg", known)
            else:
                scene.app.delete_object(Bucket=scene.bucket, Key="incoming/a.jpg")
        return whole(self, *given)

    monkeypatch.setattr(S3Place, "take", overtaken)
    with running(told.worker()):
        scene.upload("a.jpg", harmless)
        wait_until(lambda: bool(changed))
        if becomes == "another":
            wait_until(lambda: told.names("held"))
        scene.upload("b.jpg", harmless)
        wait_until(lambda: "b.jpg" in told.names("public"))
        wait_until(lambda: told.left() == 0)
    assert told.names("public") == {"b.jpg"}
    assert scene.contents("held") == {} if becomes == "nothing" else known in scene.contents("held").values()
