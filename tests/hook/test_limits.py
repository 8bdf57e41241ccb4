"""What one upload may cost is the same at a hook and at a hub, unless somebody sets it otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from hashhub.config import Config
from hashhub.hashing.coverage import least
from hashhub.hashing.structure import Limits
from hashhub.hook import HookSettings, open_hook
from hashhub.hook.archive import item_of_file
from hashhub.hook.hashing import UploadHasher
from hashhub.hub.match import Match
from hashhub.model import Effort, MatchOptions


class Pools:
    """Notes with which limits pools are made, in place of making them."""

    def __init__(self) -> None:
        self.made: list[tuple[float, int, Limits]] = []

    def __call__(self, *, seconds: float, memory_bytes: int, limits: Limits, **_: Any) -> Any:
        self.made.append((seconds, memory_bytes, limits))
        return None


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Pools:
    pools = Pools()
    for module in ("hashhub.hashing.pool", "hashhub.hub.match"):
        monkeypatch.setattr(f"{module}.MediaPool", pools)
    return pools


def test_a_hook_gives_a_file_what_a_hub_gives_it(pools: Pools, make_settings: Callable[..., HookSettings]) -> None:
    config = Config()
    # The size of a request bounds what a hub takes; it is named in the settings, and told.
    settings = make_settings(max_bytes=config.max_media_bytes)
    none = cast("Any", None)
    Match(none, none, none, none, config, none, none)
    hashing = UploadHasher(settings)
    hashing._threads.shutdown()
    with pytest.raises(AttributeError):  # there is no pool
        item_of_file(settings, none)
    [hub, *hooks] = pools.made
    assert len(hooks) == 2
    assert {hub} == set(hooks)


def test_a_hook_looks_for_what_a_hub_looks_for() -> None:
    [usual] = [field.default for field in msgspec.structs.fields(HookSettings) if field.name == "effort"]
    assert usual is MatchOptions(policy="any").effort
    assert least(usual, Effort(Config().max_effort.upper())) is usual


@pytest.mark.parametrize(("gib", "is_said"), [(2, True), (8, False)])
def test_a_machine_that_has_less_memory_than_one_file_may_take_is_warned_of(
    make_settings: Callable[..., HookSettings],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    gib: int,
    is_said: bool,
) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gib << 18}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    monkeypatch.setattr("hashhub.hook.factory.Path.read_text", lambda *_: "0::/none\nmax")
    with open_hook(make_settings()):
        pass
    assert (f"there are {gib << 30} here" in caplog.text) == is_said


def test_who_sets_it_otherwise_is_told_what_that_means(
    make_settings: Callable[..., HookSettings], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.hook.factory._memory_bytes", lambda: 1 << 40)
    with caplog.at_level(logging.INFO, "hashhub.hook"), open_hook(make_settings()):
        pass
    assert "media_" not in caplog.text
    with caplog.at_level(logging.INFO, "hashhub.hook"), open_hook(make_settings(media_seconds=3.0)):
        pass
    assert "media_seconds is 3 here, and 20 at a hub that does not set it" in caplog.text
    assert "media_memory_bytes" not in caplog.text
