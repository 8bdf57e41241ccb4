"""How many uploads a second the bucket worker publishes, and how soon after they were put, by events and by polling.

    python -m bench.hook_bucket --objects 200

A store that speaks S3 and SQS (moto's server), the worker and the generator share the machine's cores. JPEGs, all
different, are put into a quarantine. Throughput: `--objects` are there before the worker begins. Latency: one at a time
is put, a random part of `--poll` seconds after the last was published; measured from before the PUT until the worker
says PUBLISHED. The judge knows nothing and answers at once: what is left is the store, moving, hashing.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bench import result
from bench.hook_sidecar import Instant, cpu_seconds
from hashhub.errors import HashHubError
from hashhub.hook import Action, Hook, HookSettings, WithoutAnswer
from hashhub.hook.buckets import BucketWorker, Handled, Outcome
from hashhub.hook.settings import BucketSettings
from hashhub.testing.pictures import picture
from tests.hook import bucket_server

_CHOICES: Final = WithoutAnswer(
    hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.ALLOW
)
_SECONDS: Final = 120.0  # for one upload to be published
_TOLD: Final = "s3:ObjectCreated:*"


class Quarantine:
    """A bucket of its own, the queue that it tells, and a worker."""

    def __init__(self, url: str, name: str, *, jobs: int, poll: float, has_events: bool) -> None:
        self._store = bucket_server.client(url)
        self._name = name
        self._store.create_bucket(Bucket=name)
        events = self._told(url) if has_events else ""
        self._settings = BucketSettings(
            quarantine=f"s3://{name}/incoming/", held=f"s3://{name}/held/", public=f"s3://{name}/public/",
            endpoint=url, path_style=True, jobs=jobs, poll_seconds=poll, events=events,
        )  # fmt: skip
        self._published = threading.Semaphore(0)
        self._begun = threading.Event()

    def _told(self, url: str) -> str:
        queues = bucket_server.client(url, "sqs")
        queue: str = queues.create_queue(QueueName=self._name)["QueueUrl"]
        asked = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        told = {"QueueArn": asked["Attributes"]["QueueArn"], "Events": [_TOLD]}
        told["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "incoming/"}]}}
        self._store.put_bucket_notification_configuration(
            Bucket=self._name, NotificationConfiguration={"QueueConfigurations": [told]}
        )
        return queue

    def put(self, name: str, content: bytes) -> None:
        self._store.put_object(Bucket=self._name, Key=f"incoming/{name}", Body=content)

    def wait(self) -> None:
        """Wait until one more upload is published."""
        assert self._published.acquire(timeout=_SECONDS), "nothing was published"

    def _handled(self, handled: Handled) -> None:
        assert handled.outcome is Outcome.PUBLISHED, handled
        self._published.release()

    @contextmanager
    def worker(self, data: Path) -> Iterator[None]:
        settings = HookSettings(policy="none", without_answer=_CHOICES, data=str(data), bucket=self._settings)
        wake = threading.Event()
        with Hook(settings, judge=Instant()) as hook, BucketWorker(hook, self._handled) as worker:
            thread = threading.Thread(target=worker.run, kwargs={"wake": wake, "on_trouble": _fail})
            thread.start()
            try:
                yield
            finally:
                worker.stop(wake)
                thread.join()


def _fail(error: HashHubError, _: float) -> None:
    raise error


def throughput(store: str, pictures: list[bytes], directory: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how many are published a second, once the processes that hash have started."""
    quarantine = Quarantine(store, "throughput", jobs=arguments.jobs, poll=0.2, has_events=False)
    warm = 2 * arguments.jobs
    for number in range(warm + arguments.objects):
        quarantine.put(f"{number:06}.jpg", _another(pictures, number))
    with quarantine.worker(directory):
        for _ in range(warm):
            quarantine.wait()
        began = time.perf_counter()
        before = _spent()
        for _ in range(arguments.objects):
            quarantine.wait()
        seconds = time.perf_counter() - began
        spent = {name: (after - before[name]) / arguments.objects * 1000 for name, after in _spent().items()}
    return {
        "what": "throughput",
        "objects": arguments.objects,
        "objects_per_second": arguments.objects / seconds,
        **spent,
        "load_after": os.getloadavg()[0],
    }


def _spent() -> dict[str, float]:
    """Return the CPU seconds so far of the worker with the processes that hash, and of the store."""
    own = psutil.Process()
    [store] = [child.pid for child in own.children() if "moto.server" in child.cmdline()]
    of_store = cpu_seconds(store)
    return {"worker_cpu_ms": cpu_seconds(own.pid) - of_store, "store_cpu_ms": of_store}


def latency(
    store: str, pictures: list[bytes], directory: Path, arguments: argparse.Namespace, *, has_events: bool
) -> dict[str, Any]:
    """Return how long after each PUT began the upload was published."""
    name = "by-event" if has_events else "by-poll"
    quarantine = Quarantine(store, name, jobs=arguments.jobs, poll=arguments.poll, has_events=has_events)
    moments = random.Random(result.SEED)
    times: list[float] = []
    with quarantine.worker(directory):
        for number in range(arguments.puts + 2):
            time.sleep(moments.uniform(0, arguments.poll))
            began = time.perf_counter()
            quarantine.put(f"{number:06}.jpg", _another(pictures, number))
            quarantine.wait()
            times.append(time.perf_counter() - began)
    p50, p95 = np.quantile(times[2:], (0.5, 0.95))  # the first start the processes that hash
    return {
        "what": name,
        "objects": arguments.puts,
        "p50_ms": float(p50) * 1000,
        "p95_ms": float(p95) * 1000,
        "longest_ms": max(times[2:]) * 1000,
        "load_after": os.getloadavg()[0],
    }


def _another(pictures: list[bytes], number: int) -> bytes:
    return pictures[number % len(pictures)] + number.to_bytes(8, "big")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--objects", type=int, default=200, help="published for throughput")
    parser.add_argument("--puts", type=int, default=30, help="put for latency, each way")
    parser.add_argument("--poll", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=2, default=(800, 600), help="of a picture, in pixels")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ.update(bucket_server.KEYS)
    pictures = []
    for seed in range(20):
        out = io.BytesIO()
        picture(seed, tuple(arguments.size)).save(out, "JPEG", quality=88)
        pictures.append(out.getvalue())
    with tempfile.TemporaryDirectory() as directory, bucket_server.store_server() as store:
        rows = [throughput(store, pictures, Path(directory) / "throughput", arguments)]
        for has_events in (True, False):
            data = Path(directory) / f"events-{has_events}"
            rows.append(latency(store, pictures, data, arguments, has_events=has_events))
    result.show(rows)
    parameters = {k: v for k, v in vars(arguments).items() if k != "out"}
    parameters["mean_bytes"] = round(float(np.mean([len(p) for p in pictures])))
    result.save("hook_bucket", parameters, rows, out=arguments.out, packages=("s3fs", "botocore", "moto", "numba"))


if __name__ == "__main__":
    main()
