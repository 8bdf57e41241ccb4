"""Uploads in places of one kind, a judge that knows what it is told, and workers over them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashhub.desk.hub import HubAnswer
from hashhub.desk.records import Records
from hashhub.errors import Unavailable
from hashhub.hashes import Hash
from hashhub.hook import Hook, HookSettings
from hashhub.hook.buckets import BucketWorker, HandledUpload, ObjectOutcome
from hashhub.hook.settings import BucketSettings
from hashhub.model import MatchResult, Query, Verdict
from tests.hook import bucket_server
from tests.hook.conftest import HELD

if TYPE_CHECKING:
    from hashhub.hashing.pool import MediaPool


class Answers:
    """A judge that knows what it is told, is away when it is told, and says who asked."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.is_away = False
        self.cannot_answer: set[str] = set()
        self.asked = 0

    def judge(self, query: Query) -> HubAnswer:
        self.asked += 1
        hashes = {h.text for h in query.hashes}
        if self.is_away or hashes & self.cannot_answer:
            raise Unavailable("the hub is away")
        verdict = Verdict.MATCH if hashes & self.known else Verdict.NO_MATCH
        return HubAnswer(result=MatchResult(verdict=verdict, reasons=()), policy="block@1", revision=1)

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass

    def know(self, content: bytes) -> None:
        self.known.add(digest_of(content))


def digest_of(content: bytes) -> str:
    return Hash("SHA256", sha256(content).digest()).text


class Scene:
    """Three places of one kind, with what an app, a worker and the public do there."""

    def __init__(self, kind: str, root: Path, url: str) -> None:
        self.kind, self.root = kind, root
        if kind == "folder":
            self.section = BucketSettings(
                quarantine=str(root / "incoming"), held=str(root / "held"), public=str(root / "public"),
                settle_seconds=0, jobs=2,
            )  # fmt: skip
            (root / "incoming").mkdir()
        else:
            self.app = bucket_server.client(url)
            self.bucket = f"app-{root.name}".replace("_", "-").lower()[:60].strip("-")
            self.app.create_bucket(Bucket=self.bucket)
            if kind == "versioned":
                self.app.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
            base = f"s3://{self.bucket}"
            self.section = BucketSettings(
                quarantine=f"{base}/incoming/", held=f"{base}/held/", public=f"{base}/public/",
                endpoint=url, path_style=True, jobs=2,
            )  # fmt: skip

    def upload(self, name: str, content: bytes) -> None:
        if self.kind == "folder":
            path = self.root / "incoming" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            self.app.put_object(Bucket=self.bucket, Key=f"incoming/{name}", Body=content, ContentType="image/jpeg")

    def remove(self, place: str, name: str) -> None:
        if self.kind == "folder":
            (self.root / place / name).unlink()
        else:
            self.app.delete_object(Bucket=self.bucket, Key=f"{place}/{name}")

    def contents(self, place: str) -> dict[str, bytes]:
        if self.kind == "folder":
            top = self.root / place
            return {str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}
        everything = bucket_server.contents(self.app, self.bucket)
        return {k.removeprefix(f"{place}/"): v for k, v in everything.items() if k.startswith(f"{place}/")}

    def held_names(self) -> list[str]:
        """What is kept, without references."""
        return sorted(f"{n.split('/')[0]}/{n.split('/', 2)[2]}" for n in self.contents("held"))


class Bench:
    """Workers over one scene, by one judge, with a clock of their own."""

    def __init__(self, scene: Scene, data: Path, hashers: MediaPool) -> None:
        self.scene, self.data, self._hashers = scene, data, hashers
        self.judge = Answers()
        self.now = 0.0
        self.handled: list[HandledUpload] = []
        self._open: list[Any] = []

    def worker(self, *, data: Path | None = None, is_recording: bool = False, **changed: Any) -> BucketWorker:
        bucket = {f: getattr(self.scene.section, f) for f in BucketSettings.__struct_fields__}
        section = BucketSettings(**bucket | {k: changed.pop(k) for k in list(changed) if k in bucket})
        usual: dict[str, Any] = {
            "policy": "block",
            "without_answer": HELD,
            "data": str(data or self.data),
            "hashing_processes": 1,
            "answer_seconds": 20.0,  # a loaded machine is no reason for another answer
            "bucket": section,
        }
        records = Records(data or self.data) if is_recording else None
        hook = Hook(HookSettings(**usual | changed), judge=self.judge, records=records)
        assert hook.hashing is not None
        hook.hashing.pool = self._hashers  # started once for all tests
        worker = BucketWorker(hook, self.handled.append, clock=lambda: self.now)
        self._open.append(worker)
        return worker

    def outcomes(self) -> list[tuple[str, ObjectOutcome]]:
        return sorted((h.name, h.outcome) for h in self.handled)

    def close(self) -> None:
        for opened in reversed(self._open):
            opened.close()
