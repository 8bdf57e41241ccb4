"""Uploads decided over on an event loop, by a real copy and real child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of
from hashhub.desk.cases.life import Cases
from hashhub.desk.records import Records, UploadState
from hashhub.desk.settings import Mode
from hashhub.errors import Cancelled
from hashhub.hashing import hash_media, pool
from hashhub.hook import Action, Decision, Hook, HookSettings, NoAnswer, open_hook
from hashhub.hook.local import Sync
from hashhub.hook.settings import LocalSettings
from hashhub.model import Effort, Verdict, now
from tests.hook.conftest import Listed, jpeg
from tests.hook.test_hashing import plain, stop_child
from tests.patience import wait_until


@pytest.fixture
def settings(make_settings: Callable[..., HookSettings], listed: Listed, tmp_path: Path) -> HookSettings:
    token_file = tmp_path / "mirror.token"
    token_file.write_text(listed.mirror_token)
    settings = make_settings(mode=Mode.LOCAL, token_file=str(token_file), local=LocalSettings(follow=False))
    with Sync(settings) as sync:
        sync.update()
    return settings


@pytest.fixture
def hook(settings: HookSettings) -> Iterator[Hook]:
    with open_hook(settings) as hook:
        hook.check(jpeg(100))  # the child is there, and the cases were looked at once
        yield hook


async def deciding(hook: Hook, content: bytes) -> Decision:
    with hook.receive(door="asgi") as upload:
        upload.write(content)
        return await upload.adecide()


def test_what_nothing_is_known_of_and_what_is_listed(hook: Hook, listed: Listed) -> None:
    for content in (listed.unknown, jpeg(101)):
        decision = asyncio.run(deciding(hook, content))
        assert (decision.action, decision.verdict) == (Action.ALLOW, Verdict.NO_MATCH)
    decision = asyncio.run(deciding(hook, listed.known))
    assert (decision.action, decision.verdict) == (Action.BLOCK, Verdict.MATCH)
    assert hook.state_of(decision.reference) is UploadState.BLOCKED
    decision = asyncio.run(deciding(hook, jpeg(109)[:3000]))  # held as chosen: recorded
    assert (decision.action, hook.state_of(decision.reference)) == (Action.HOLD, UploadState.HELD)


def test_a_case_stops_the_next_upload(hook: Hook, settings: HookSettings) -> None:
    content = jpeg(103)
    assert asyncio.run(deciding(hook, jpeg(104))).action is Action.ALLOW
    records = Records(Path(settings.data))  # as another process has them
    try:
        item = item_of(hash_media(content, effort=Effort.STANDARD))
        case = Cases(records, settings.case).open(
            item,
            purpose=CasePurpose.INTIMATE_IMAGE,
            complaint="T-1",
            reason="came by the form",
            actor="ann",
            receive_time=now(),
        )
    finally:
        records.close()
    decision = asyncio.run(deciding(hook, content))
    assert (decision.action, decision.reasons[0].clause) == (Action.HOLD, case.name)
    assert asyncio.run(deciding(hook, jpeg(105))).action is Action.ALLOW


def test_the_loop_does_not_wait_for_who_has_the_records(hook: Hook) -> None:
    records = hook.records
    assert records is not None
    is_held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with records.transaction():
            is_held.set()
            assert go_on.wait(180)

    async def run() -> Decision:
        task = asyncio.create_task(deciding(hook, jpeg(106)))
        await asyncio.sleep(0.2)  # only a loop that goes on gets further
        assert not task.done()
        go_on.set()
        return await task

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(180)
    try:
        assert asyncio.run(run()).action is Action.ALLOW
    finally:
        go_on.set()
        holder.join()


def test_a_task_that_is_cancelled_leaves_nothing(hook: Hook) -> None:
    assert hook.hashing is not None
    hashes, hashed, counted = hook.hashing, hook.hashing.hashed, hook.counts.total()

    stop_child(hashes)

    async def run() -> None:
        task = asyncio.create_task(deciding(hook, plain(11)))
        await asyncio.to_thread(wait_until, lambda: hashes.hashed > hashed)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    wait_until(lambda: hook.memory_bytes == 0)
    assert hook.counts.total() <= counted  # they may have been written meanwhile
    assert asyncio.run(deciding(hook, jpeg(107))).action is Action.ALLOW


def test_one_that_another_thread_abandons_ends(hook: Hook) -> None:
    assert hook.hashing is not None
    stop_child(hook.hashing)

    async def run() -> None:
        with hook.receive(door="asgi") as upload:
            upload.write(plain(12))
            task = asyncio.create_task(upload.adecide())
            await asyncio.sleep(0.05)
            await asyncio.to_thread(upload.abandon)
            with pytest.raises(Cancelled):
                await task

    asyncio.run(run())
    wait_until(lambda: hook.memory_bytes == 0)


def test_a_child_that_dies_takes_its_upload_only(hook: Hook) -> None:
    assert hook.hashing is not None
    [child] = [hook.hashing.pool.children.get()]
    hook.hashing.pool.children.put(child)
    hashes, hashed = hook.hashing, hook.hashing.hashed
    stop_child(hashes)

    async def run() -> Decision:
        task = asyncio.create_task(deciding(hook, plain(13)))
        await asyncio.to_thread(wait_until, lambda: hashes.hashed > hashed)
        os.kill(child.id[0], signal.SIGKILL)
        return await task

    decision = asyncio.run(run())
    assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.UNREADABLE)
    assert asyncio.run(deciding(hook, jpeg(108))).action is Action.ALLOW


def test_several_at_once_each_get_their_own(hook: Hook, listed: Listed) -> None:
    async def run() -> list[Decision]:
        contents = [jpeg(110), listed.known, jpeg(111), jpeg(110), jpeg(112)]
        return await asyncio.gather(*(deciding(hook, content) for content in contents))

    actions = [decision.action for decision in asyncio.run(run())]
    assert actions == [Action.ALLOW, Action.BLOCK, Action.ALLOW, Action.ALLOW, Action.ALLOW]
    assert hook.memory_bytes == 0


def test_what_the_system_takes_in_parts_only_is_hashed_all_the_same(
    settings: HookSettings, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SEND_BYTES", 4096)
    with open_hook(settings) as hook:
        for content, action in ((listed.known, Action.BLOCK), (jpeg(113, (1600, 1200)), Action.ALLOW)):
            assert asyncio.run(deciding(hook, content)).action is action
            assert hook.check(content + b"\0").action is asyncio.run(deciding(hook, content + b"\1")).action
