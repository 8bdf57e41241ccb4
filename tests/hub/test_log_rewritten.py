"""The log as others see it: what root changes is found out by whoever kept a checkpoint, and no two are signed of one
size.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from hashhub import v1
from hashhub.client.log import followed_checkpoint
from hashhub.config import Config
from hashhub.errors import DataLoss, FailedPrecondition, Reason
from hashhub.hub import log as module
from hashhub.hub.log import LAST, TransparencyLog
from hashhub.model import SYSTEM, EventKind
from hashhub.store import Store
from hashhub.store import schema as s
from hashhub.store.events import EMPTY_TREE, Events, append_event, grow, write_tiles
from hashhub.tlog.checkpoint import parse_checkpoint
from hashhub.tlog.tree import entry_of, leaf_hash

TIMES = 20


def write(store: Store, count: int = 1) -> None:
    for _ in range(count):
        with store.database.write_in_order() as c:
            append_event(c, SYSTEM, EventKind.HUB_NAMED, subject="hub", facts={"number": count})


def asked(log: TransparencyLog) -> Callable[[v1.GetCheckpointRequest], v1.Checkpoint]:
    return lambda request: v1.Checkpoint(**log.view(request.known_size)._asdict())


def opened(directory: Path, **settings: Any) -> tuple[Store, TransparencyLog]:
    store = Store.open(directory)
    return store, TransparencyLog(store, Config(data=str(directory), **settings))


def rewrite(c: sa.Connection, events: list[dict[str, Any]]) -> None:
    """Make the tables say that these events were all, as somebody who knows how they are made."""
    for table in (s.event, s.tile):
        c.execute(sa.delete(table))
    tree = EMPTY_TREE
    for revision, event in enumerate(events, 1):
        body = msgspec.json.decode(event["body"])
        body[1], body[2] = revision, event["time"]
        encoded = msgspec.json.encode(body)
        tree, changed = grow(tree, [leaf_hash(entry_of(event["salt"], encoded))])
        write_tiles(c, 1, changed)
        row = {**event, "revision": revision, "body": encoded, "digest": tree.root}
        c.execute(sa.insert(s.event).values(**row))
    c.execute(sa.update(s.metadata).values(head=tree.root, revision=len(events)))
    c.execute(sa.delete(s.event_detail))


def deleted(events: list[dict[str, Any]], known: int, chance: Random) -> None:
    del events[chance.randrange(known)]


def reordered(events: list[dict[str, Any]], known: int, chance: Random) -> None:
    one = chance.randrange(known - 1)
    events[one], events[one + 1] = events[one + 1], events[one]


def backdated(events: list[dict[str, Any]], known: int, chance: Random) -> None:
    events[chance.randrange(known)]["time"] -= 1


def forked(events: list[dict[str, Any]], known: int, chance: Random) -> None:
    for event in events[chance.randrange(known) :]:
        event["salt"] = chance.randbytes(32)


def rolled_back(events: list[dict[str, Any]], known: int, chance: Random) -> None:
    del events[chance.randrange(known) :]


def rows_restated(events: list[dict[str, Any]], known: int, chance: Random) -> None:
    """A table that decides was changed, and the event says that it left it so."""
    one = events[chance.randrange(known)]
    body = msgspec.json.decode(one["body"])
    body[11] = chance.randbytes(32).hex()
    one["body"] = msgspec.json.encode(body)


def appended(events: list[dict[str, Any]], known: int, chance: Random) -> None:
    """Honest work."""
    events += [{**events[-1], "salt": chance.randbytes(32)} for _ in range(chance.randrange(300))]


@pytest.mark.parametrize("edit", [deleted, reordered, backdated, forked, rolled_back, rows_restated, appended])
def test_what_root_rewrites_is_told_by_two_checkpoints(tmp_path: Path, edit: Callable[..., None]) -> None:
    """Root has the key, and removes what the hub knows of the checkpoint that somebody else has kept."""
    store, log = opened(tmp_path)
    write(store, 30)
    kept = followed_checkpoint(asked(log), None)
    write(store, 10)
    with store.database.write() as c:
        before = [dict(row) for row in c.execute(sa.select(s.event).order_by(s.event.c.revision)).mappings()]
    for seed in range(TIMES):
        events = [dict(event) for event in before]
        edit(events, 30, Random(seed))
        with store.database.write() as c:
            rewrite(c, events)
            c.execute(sa.update(s.log).values(verifier_key=""))
        (tmp_path / LAST).unlink(missing_ok=True)
        if edit is appended:
            shown = followed_checkpoint(asked(log), kept)
            assert shown.checkpoint.size == len(events)
            continue
        with pytest.raises(DataLoss) as told:
            followed_checkpoint(asked(log), kept)
        assert told.value.reason is Reason.LOG_INCONSISTENT
        assert told.value.metadata["known"] == kept.note
        assert parse_checkpoint(told.value.metadata["shown"].encode())[0].size == len(events)
    store.close()


class KilledError(BaseException):
    """The process ends here."""


def test_whatever_a_kill_leaves_no_two_checkpoints_of_one_size_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each step of signing, then gone on with: half of the time with the database of before."""
    data = tmp_path / "data"
    store, _ = opened(data)
    write(store, 3)
    store.close()
    signed: dict[tuple[str, int], bytes] = {}
    steps = [0]

    def step(work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            steps[0] -= 1
            if steps[0] == 0:
                raise KilledError
            done = work(*arguments, **options)
            steps[0] -= 1
            if steps[0] == 0:
                raise KilledError
            return done

        return counted

    for name in ("sync", "new_private_key", "root_at", "consistency_proof", "parse_checkpoint"):
        monkeypatch.setattr(module, name, step(getattr(module, name)))
    for name in ("note_verifier_key", "begin_log"):
        monkeypatch.setattr(Events, name, step(getattr(Events, name)))
    for kill in range(1, 2 * TIMES + 1):
        shutil.copyfile(data / "hashhub.db", tmp_path / "before.db")
        steps[0] = kill % TIMES
        store, log = opened(data)
        try:
            write(store, kill % 3)
            if kill % 5 == 0:
                log.begin(comment="a backup was restored")
            note = parse_checkpoint(log.view(2).checkpoint.encode())[0]
            assert signed.setdefault((note.origin, note.size), note.root) == note.root
        except KilledError:
            pass
        except FailedPrecondition as e:
            assert e.reason is Reason.LOG_WITHHELD
        finally:
            steps[0] = 0
            store.history.verify_history(store.database_id)
            store.close()
        if kill % 2:
            for path in data.glob("hashhub.db*"):
                path.unlink()
            shutil.copyfile(tmp_path / "before.db", data / "hashhub.db")
    assert len({origin for origin, _ in signed}) > 3
