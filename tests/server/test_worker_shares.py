"""A token's share is one of the hub: two real workers, connections to both, and one that is killed."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import grpc
import httpx
import psutil
import pytest

from hashhub import v1, wire
from hashhub.client import Client
from hashhub.errors import HashHubError, LimitExceeded, Reason, Unavailable
from hashhub.model import Contributor, ContributorKind, Principal, Role, Shares
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.patience import PATIENCE, wait_until
from tests.server.test_workers import scrape, workers

CHANNELS = 24  # so many connections that both workers have some
GET = "ContributorService/GetContributor"
FOLLOW = "ChangeService/FollowChanges"
ADD = "ContributionService/AddRecords"
MIB = 1 << 20


class Held:
    """A call that is let in and waits: a followed feed, or a call whose request does not come."""

    def __init__(self, channel: grpc.Channel, name: str, token: str) -> None:
        self._may_end = threading.Event()
        self._is_feed = name == FOLLOW
        metadata = (("authorization", f"Bearer {token}"),)
        self.call: Any
        if self._is_feed:
            ask: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/hashhub.v1.{name}", None, None)
            self.call = ask(b"", metadata=metadata, timeout=120)
        else:
            say: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(f"/hashhub.v1.{name}", None, None)
            self.call = say.future(self._nothing(), metadata=metadata, timeout=120)

    def _nothing(self) -> Iterator[bytes]:
        self._may_end.wait(120)
        yield from ()

    @property
    def error(self) -> HashHubError | None:
        """What it ended with; None while it goes on."""
        if not self.call.done():
            return None
        status = self.call.exception()
        assert isinstance(status, grpc.RpcError)
        return wire.status_to_error(status)

    def settle(self, seconds: float) -> None:
        """Wait until it is let in or refused: a feed says so; of others nothing is heard but that they were refused,
        mostly within so many seconds.
        """
        if self._is_feed:
            with suppress(grpc.RpcError):
                next(self.call)
        else:
            time.sleep(seconds)

    def is_refused(self) -> bool:
        wait_until(self.call.done)
        return isinstance(self.error, LimitExceeded) and self.error.reason is Reason.SHARE_EXCEEDED

    def end(self) -> None:
        self._may_end.set()
        self.call.cancel()


@contextmanager
def channels(hub: RunningHub) -> Iterator[list[grpc.Channel]]:
    """Connections of their own, which the kernel deals out to the workers."""
    with ExitStack() as opened:
        options = [("grpc.use_local_subchannel_pool", 1)]
        yield [opened.enter_context(grpc.insecure_channel(hub.address, options)) for _ in range(CHANNELS)]


def refused(hub: RunningHub, name: str) -> list[int]:
    """Return how many such calls each worker has refused, as it counts them."""
    lines = scrape(hub)
    line = f'hashhub_call_seconds_count{{code="RESOURCE_EXHAUSTED",method="{name}",worker="%d"}}'
    return [int(lines.get(line % worker, 0)) for worker in (0, 1)]


def shares_exceeded(hub: RunningHub) -> int:
    counted = {k: v for k, v in scrape(hub).items() if k.startswith('hashhub_refusals_total{reason="SHARE_EXCEEDED"')}
    return int(sum(counted.values()))


def settled(calls: list[Held], most: int) -> tuple[list[Held], list[Held]]:
    """Wait until no more than so many go on; return those, and the refused."""
    wait_until(lambda: sum(call.error is None for call in calls) <= most)
    time.sleep(0.5)  # nor does another end
    going_on = [call for call in calls if call.error is None]
    return going_on, [call for call in calls if call not in going_on]


def _open(opened: list[grpc.Channel], name: str, token: str, most: int) -> tuple[list[Held], list[Held]]:
    calls = []
    for channel in opened:
        calls.append(Held(channel, name, token))
        # One after the other: two that come to the edge of a share at once may refuse each other.
        calls[-1].settle(0.05)
    going_on, ended = settled(calls, most)
    for _ in range(100):  # where it was too busy to take them one after the other
        if len(going_on) == most:
            break
        calls.append(Held(opened[0], name, token))
        calls[-1].settle(0.05)
        going_on, ended = settled(calls, most)
    for call in ended:
        assert isinstance(call.error, LimitExceeded)
        assert call.error.reason is Reason.SHARE_EXCEEDED
        assert call.error.metadata["most"]
        assert call.error.retry_after
    return going_on, ended


def _begins(channel: grpc.Channel, name: str, token: str, going_on: list[Held], most: int) -> bool:
    """Make one more call where there is room for one; whether so many go on then."""
    going_on[:] = [call for call in going_on if call.error is None]
    if len(going_on) < most:
        going_on.append(Held(channel, name, token))
        going_on[-1].settle(0.3)
    return sum(call.error is None for call in going_on) == most


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    data = tmp_path_factory.mktemp("shares")
    (data / "hub.toml").write_text(
        "workers = 2\nthreads = 5\ntoken_calls = 5\ntoken_streams = 3\nmax_message_bytes = 4194304\n"
    )
    with running_hub(data / "data", "--config", str(data / "hub.toml")) as hub:
        with Client(hub.address, hub.token) as client:
            client.create_contributor(
                Contributor(id="home", display_name="Home", kind=ContributorKind.HOTLINE, jurisdiction="GB")
            )
        yield hub


@pytest.fixture(scope="module")
def all_told(hub: RunningHub) -> Callable[[list[grpc.Channel]], bool]:
    """Return a function that waits until a scrape has all that both workers had counted before, as they tell it now and
    then. It makes calls of its own at each, which no test makes otherwise, waits for those, and returns whether both
    workers were asked.
    """
    made = 0

    def told() -> list[int]:
        lines = scrape(hub)
        line = f'hashhub_call_seconds_count{{code="NOT_FOUND",method="{GET}",worker="%d"}}'
        return [int(lines.get(line % worker, 0)) for worker in (0, 1)]

    def wait(opened: list[grpc.Channel]) -> bool:
        nonlocal made
        before = told()
        asked = v1.GetContributorRequest(name="contributors/nobody").SerializeToString()
        for channel in opened:
            get: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/hashhub.v1.{GET}", None, None)
            with pytest.raises(grpc.RpcError):
                get(asked, metadata=(("authorization", f"Bearer {hub.token}"),), timeout=PATIENCE)
            made += 1
        try:
            wait_until(lambda: sum(told()) == made, PATIENCE / 6)
        except AssertionError:  # a worker was replaced, and took with it what it had counted and not told
            made = sum(told())
            return False
        return all(map(operator.gt, told(), before))

    return wait


@pytest.fixture
def new_token(hub: RunningHub, request: pytest.FixtureRequest) -> Callable[..., str]:
    def make(name: str, shares: Shares = Shares()) -> str:  # noqa: B008 - it is frozen
        name = f"{name}-{abs(hash(request.node.name)) % 10**9}"
        principal = Principal(name=name, role=Role.CONTRIBUTOR, contributor="home", may_mirror=True, shares=shares)
        with Client(hub.address, hub.token) as client:
            return client.create_token(principal)

    return make


def test_who_has_an_answer_may_make_the_next_call_at_once(hub: RunningHub, new_token: Callable[..., str]) -> None:
    token = new_token("one-by-one", Shares(calls=1))
    metadata = (("authorization", f"Bearer {token}"),)
    asked = v1.GetContributorRequest(name="contributors/home")
    with grpc.insecure_channel(hub.address) as channel:
        get: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/hashhub.v1.{GET}", None, None)
        for _ in range(500):
            get(asked.SerializeToString(), metadata=metadata, timeout=PATIENCE)
    with httpx.Client(base_url=f"http://{hub.http}", headers=dict(metadata), timeout=PATIENCE) as http:
        for _ in range(500):
            assert http.post(f"/hashhub.v1.{GET}", json={"name": asked.name}).status_code == 200


@pytest.mark.parametrize(
    ("name", "share", "own"),
    [
        (FOLLOW, 3, Shares()),
        (GET, 5, Shares()),
        (FOLLOW, 7, Shares(streams=7)),
        (GET, 2, Shares(calls=2)),
        (GET, 11, Shares(calls=11)),  # of which five wait at least: the token has three threads of each worker
        (ADD, 2, Shares(message_bytes=9 * MIB)),
    ],
)
def test_one_token_has_one_share_whatever_the_workers(
    hub: RunningHub,
    new_token: Callable[..., str],
    all_told: Callable[[list[grpc.Channel]], bool],
    name: str,
    share: int,
    own: Shares,
) -> None:
    token, other = new_token("one", own), new_token("other")
    with ExitStack() as stack:
        opened = stack.enter_context(channels(hub))
        while not all_told(opened):  # what other tests did; one that was silent for long has just been replaced
            opened = stack.enter_context(channels(hub))
        before, refusals = shares_exceeded(hub), refused(hub, name)
        going_on, ended = _open(opened, name, token, share)
        assert len(going_on) == share
        # What a worker counts reaches a scrape at the other within some seconds.
        wait_until(lambda: sum(refused(hub, name)) - sum(refusals) == len(ended))
        assert len(ended) >= CHANNELS - share
        wait_until(lambda: all(map(operator.gt, refused(hub, name), refusals)))  # at both workers
        wait_until(lambda: shares_exceeded(hub) - before == len(ended))
        request = v1.GetContributorRequest(name="contributors/home").SerializeToString()
        for channel in opened:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/hashhub.v1.{GET}", None, None)
            assert ask(request, metadata=(("authorization", f"Bearer {other}"),), timeout=PATIENCE)
        others = [Held(channel, name, other) for channel in opened[:2]]
        going_on.pop(0).end()  # it has a thread: one that waits in its lane would stay there till its turn
        wait_until(lambda: _begins(opened[-1], name, token, going_on, share))
        assert [call.error for call in others] == [None, None]
        for call in (*going_on, *others):
            call.end()


def test_many_at_once_are_never_more_than_the_share(hub: RunningHub, new_token: Callable[..., str]) -> None:
    token = new_token("one")
    with channels(hub) as opened:
        calls = [Held(channel, FOLLOW, token) for channel in opened for _ in range(4)]
        going_on, ended = settled(calls, 3)
        assert len(going_on) <= 3
        assert all(isinstance(call.error, LimitExceeded) for call in ended)
        for call in going_on:
            call.end()

        def are_three_let_in() -> bool:
            let_in, _ = _open(opened, FOLLOW, token, 3)
            for call in let_in:
                call.end()
            return len(let_in) == 3

        wait_until(are_three_let_in)  # nothing stays counted of all that, once the server has heard of it


@pytest.mark.parametrize("victim", [0, 1])
def test_what_a_killed_worker_held_can_be_taken_at_once(
    hub: RunningHub,
    new_token: Callable[..., str],
    all_told: Callable[[list[grpc.Channel]], bool],
    victim: int,
) -> None:
    token = new_token("one", Shares(streams=CHANNELS))
    with ExitStack() as stack:
        opened = stack.enter_context(channels(hub))
        while not all_told(opened):  # while a worker is replaced, all connections are the other's
            opened = stack.enter_context(channels(hub))
        going_on, _ = _open(opened, FOLLOW, token, CHANNELS)
        assert len(going_on) == CHANNELS
        assert Held(opened[0], FOLLOW, token).is_refused()
        wait_until(lambda: _process_of(hub, victim) is not None)  # a new one tells of itself within some seconds
        process = _process_of(hub, victim)
        assert process is not None
        process.kill()
        wait_until(lambda: any(call.error for call in going_on))
        time.sleep(0.5)  # the others of that worker end with it
        rest = [call for call in going_on if call.error is None]
        assert 0 < len(rest) < CHANNELS
        assert all(isinstance(call.error, Unavailable) for call in going_on if call not in rest)
        # At the one that is left, before the other has come again and long after.
        wait_until(lambda: _begins(opened[going_on.index(rest[0])], FOLLOW, token, rest, CHANNELS))
        assert all(Held(channel, FOLLOW, token).is_refused() for channel in opened)
        wait_until(lambda: len(workers(hub.data)) == 2 and _process_of(hub, victim) not in {None, process})
        with channels(hub) as later:
            assert all(Held(channel, FOLLOW, token).is_refused() for channel in later)
        for call in rest:
            call.end()


def _process_of(hub: RunningHub, worker: int) -> psutil.Process | None:
    """Return the process of a worker: the one that began when a scrape says so; None before the worker has told."""
    begun = scrape(hub).get(f'process_start_time_seconds{{worker="{worker}"}}')
    if begun is None:
        return None
    return min(workers(hub.data), key=lambda process: abs(process.create_time() - begun))
