"""Uploads, cases and judges that a queue is tested with."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of_hashes
from hashhub.desk.cases.life import Cases
from hashhub.desk.hub import HubAnswer
from hashhub.desk.queue.reviews import FeedbackState
from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import Records
from hashhub.desk.settings import QueueSettings
from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.hook import HookSettings
from hashhub.hook.examiner import HubJudge
from hashhub.model import MatchResult, Principal, Query, Role, Verdict
from tests.hook.conftest import HELD
from tests.hook.waiting import checked, put

if TYPE_CHECKING:
    from tests.hook.conftest import Listed

A, B, C = "police-nl/known/1", "hotline-de/known/1", "hotline-de/known/2"


def settings_in(directory: Path, **given: Any) -> HookSettings:
    return HookSettings(
        policy="block",
        without_answer=HELD,
        data=str(directory / "hook"),
        hub="127.0.0.1:1",
        queue=QueueSettings(**given),
    )


class Says:
    """A judge that answers what it is told to."""

    def __init__(self, *hits: Any, verdict: Verdict = Verdict.MATCH) -> None:
        self.hits, self.verdict, self.queries = hits, verdict, list[Query]()

    def judge(self, query: Query) -> HubAnswer:
        self.queries.append(query)
        return HubAnswer(result=MatchResult(verdict=self.verdict, matches=self.hits), policy="block@1", revision=9)

    def revision(self) -> int:
        return 9

    def close(self) -> None:
        pass


def told(queue: ReviewQueue, reference: str) -> list[tuple[str, str, FeedbackState]]:
    return [(f.entry, f.kind, f.state) for f in queue.get(reference).feedback]


def case_about(cases: Cases, *hashes: Hash) -> str:
    opened = cases.open(
        item_of_hashes(hashes),
        purpose=CasePurpose.INTIMATE_IMAGE,
        complaint="T-1",
        reason="asked for",
        actor="ann",
        receive_time=datetime.now(UTC),
    )
    return opened.name


def listed_upload(settings: HookSettings, records: Records, content: bytes) -> tuple[str, list[str]]:
    """Put what the real hub answers about an upload into the queue; return its reference and the entries hit."""
    judge = HubJudge(settings)
    query = hash_media(content).query()
    result = judge.judge(query).result
    judge.close()
    one = checked(*result.matches, hashes=query.hashes, upload_id="secret-account/secret-name.jpg")
    return put(records, one, "BLOCKED"), sorted({m.entry.name for m in result.matches})


_MEMBER = itertools.count()


def contributor_token(listed: Listed, contributor: str = "app") -> str:
    name = f"reviewer-{next(_MEMBER)}"
    return listed.operator.create_token(Principal(name=name, role=Role.CONTRIBUTOR, contributor=contributor))
