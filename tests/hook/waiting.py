"""Uploads as the core leaves them in the records, for the tests of what comes after."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from hashhub.desk.records import Records
from hashhub.hashes import Hash
from hashhub.hook import Action, Decision, DecisionRecord, HookSettings, NoAnswer
from hashhub.model import Entry, EntryMatch, EntryState, MatchResult, Provenance, ReasonLine, Verdict, now

AWAY = Decision(
    action=Action.HOLD,
    verdict=Verdict.UNAVAILABLE,
    reasons=(ReasonLine(code="SERVER_UNAVAILABLE", text="the hub is away"),),
    reference="",
    no_answer=NoAnswer.HUB_AWAY,
)


def records_of(settings: HookSettings) -> Records:
    return Records(Path(settings.data))


def hit(entry: str, algorithm: str = "MD5", distance: int = 0, variant: str = "") -> EntryMatch:
    contributor, hash_set, number = entry.split("/")
    return EntryMatch(
        entry=Entry(
            id=int(number),
            contributor=contributor,
            hash_set=hash_set,
            hashes=(),
            state=EntryState.ACTIVE,
            provenance=Provenance(
                import_id="1", connector="hash-lines", connector_version="1", source_digest="", position="line 1"
            ),
        ),
        algorithm=algorithm,
        distance=distance,
        query_digest=b"\0" * (16 if algorithm == "MD5" else 32),
        variant=variant,
    )


def checked(*hits: EntryMatch, verdict: Verdict = Verdict.MATCH, upload_id: str = "", **given: Any) -> DecisionRecord:
    """A decision with these hits; without any, one without an answer."""
    reference = secrets.token_hex(10)
    if hits:
        decision = Decision(
            action=Action.BLOCK if verdict is Verdict.MATCH else Action.HOLD,
            verdict=verdict,
            reasons=(ReasonLine(code="LISTED", text="listed"),),
            reference=reference,
            policy="block@1",
            revision=7,
        )
        result = MatchResult(verdict=verdict, matches=hits)
    else:
        decision, result = msgspec.structs.replace(AWAY, reference=reference), None
    usual: dict[str, Any] = {
        "time": now(),
        "door": "test",
        "hashes": (Hash("SHA256", secrets.token_bytes(32)),),
        "upload_id": upload_id,
    }
    return DecisionRecord(decision=decision, result=result, **usual | given)


def put(records: Records, one: DecisionRecord, state: str = "HELD", time: datetime | None = None) -> str:
    """Write the row that the core writes, and return its reference."""
    reference = one.decision.reference
    records.write(
        "INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?, ?)",
        (reference, (time or one.time).isoformat(), state, one.door, one.upload_id, msgspec.msgpack.encode(one)),
    )
    return reference
