"""What was not looked for is in the answer, at each door, in the queue and in the records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import Records
from hashhub.hashing import hash_media
from hashhub.hook import Action, HookSettings, WithoutAnswer, open_hook
from hashhub.model import Effort, Query
from hashhub.testing.videos import clip, encoded
from tests.hook.conftest import Listed, MakeHook, jpeg

TURNED = "mirrored or turned copies"


@pytest.mark.parametrize("hashing", ["HERE", "HUB"])
def test_of_each_kind_of_upload(make_hook: MakeHook, listed: Listed, hashing: str) -> None:
    video = encoded(clip(3, seconds=2, size=(160, 120)), "mp4")
    hook = make_hook(hashing=hashing)
    told = {
        name: hook.check(upload).coverage.unsearched
        for name, upload in (
            ("picture", listed.unknown),
            ("video", video),
            ("text", b"synthetic"),
            ("cut off", jpeg(5)[:900]),
            ("hashes", Query(hashes=tuple(h for h in hash_media(jpeg(5)).hashes if h.algorithm == "PDQ"))),
        )
    }
    assert all(told.values())
    assert not any(TURNED in text for text in told["picture"])
    assert any(text.startswith("cut copies") for text in told["picture"])
    assert any(TURNED in text for text in told["video"])
    assert any(TURNED in text for text in told["hashes"])
    assert told["text"] == told["cut off"] == ("copies that differ from a listed file in anything",)
    plain = make_hook(effort=Effort.PLAIN).check(listed.unknown).coverage
    assert TURNED in plain.unsearched


def test_of_what_waits_for_a_person(make_settings: Callable[..., HookSettings], tmp_path: Path) -> None:
    held = WithoutAnswer(
        hub_away=Action.HOLD, unreadable=Action.HOLD, too_large=Action.HOLD, no_perceptual_hash=Action.HOLD
    )
    settings = make_settings(without_answer=held, on_frames_skipped=Action.HOLD)
    with open_hook(settings) as hook:
        decision = hook.check(b"synthetic")
    assert decision.action is Action.HOLD
    records = Records(Path(settings.data))
    try:
        seen = ReviewQueue(records, settings).get(decision.reference)
    finally:
        records.close()
    assert seen.coverage == decision.coverage
    assert seen.coverage.unsearched
