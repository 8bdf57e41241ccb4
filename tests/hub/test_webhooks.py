"""Webhooks: who is told of what, how often, signed how; and what becomes of calls that do not get through."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hashhub.config import Config
from hashhub.errors import AlreadyExists, InvalidArgument, LimitExceeded, NotFound, PermissionDenied
from hashhub.hub import Hub
from hashhub.hub import webhooks as module
from hashhub.hub.webhooks import GIVE_UP, MOST, MOST_EACH
from hashhub.model import (
    TLP,
    Actor,
    DeliveryError,
    DeliveryState,
    HashSet,
    Marking,
    Principal,
    Purpose,
    QueueKind,
    ReviewKind,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
    now,
)
from hashhub.store import leases
from hashhub.store import webhooks as store_module
from tests.hub.conftest import AUDITOR, OPERATOR, Desk, item, writer
from tests.hub.receiver import Receiver, receiver

ALPHA, BETA = writer("alpha"), writer("beta")


class Clock:
    """The time that webhooks go by: that of the test's beginning, or so much later. It stands still meanwhile, however
    long the machine takes.
    """

    def __init__(self) -> None:
        self._begun = now()
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return self._begun + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "now", made)
    for part in (leases, store_module):
        monkeypatch.setattr(part, "now", made)
    return made


@pytest.fixture
def somebody() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def hooked(database: str, tmp_path: Any, somebody: Receiver, clock: Clock) -> Iterator[Desk]:
    """A desk at a hub on each kind of database, with alpha/list and beta, whose rounds tests make themselves."""
    is_url = "://" in database
    config = Config(
        data=str(tmp_path / "hub") if is_url else database,
        database=database if is_url else "",
        webhook_allow="127.0.0.0/8",
        webhook_ports=f"443,{somebody.port}",
        webhook_gather_seconds=0,
    )
    with Hub.open(config) as hub:
        hub.follower.start()
        desk = Desk(hub)
        desk.contributor("beta")
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *[item(n) for n in range(30)])
        yield desk


def register(desk: Desk, url: str, *, who: Principal = ALPHA, name: str = "alpha/desk", **fields: Any) -> bytes:
    """Register a webhook and return the key that its secret stands for."""
    contributor, _, own = name.partition("/")
    wanted = Webhook(contributor=contributor, id=own, url=url, events=(WebhookEvent.ENTRY_DISPUTED,), **fields)
    _, secret = desk.hub.webhooks.create(who, wanted)
    assert secret.startswith("whsec_")
    return base64.b64decode(secret.removeprefix("whsec_"))


def dispute(
    desk: Desk,
    *entries: int,
    kind: ReviewKind = ReviewKind.FALSE_POSITIVE,
    who: Principal = BETA,
    name: str = "alpha/list",
) -> None:
    contributor, _, hash_set = name.partition("/")
    for entry in entries:
        desk.hub.reviews.create(who, contributor, hash_set, entry, kind, "SHA256 digest and a name")


def work(desk: Desk) -> None:
    """Make a round of the sender and wait for its calls."""
    desk.hub.sender.round()
    desk.hub.sender.settle()


def calls(desk: Desk, name: str = "alpha/desk") -> list[WebhookDelivery]:
    contributor, _, own = name.partition("/")
    return desk.hub.webhooks.deliveries(OPERATOR, contributor, own, 100, 0)[0]


def is_signed(headers: dict[str, str], body: bytes, key: bytes) -> bool:
    """As https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md says."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


def test_an_objection_is_told_signed_and_without_anything_but_names(hooked: Desk, somebody: Receiver) -> None:
    key = register(hooked, somebody.url)
    dispute(hooked, 3, 7)
    dispute(hooked, 7, kind=ReviewKind.NOT_ILLEGAL_HERE, who=OPERATOR)
    work(hooked)
    (call,) = somebody.received
    assert call.path == "/hook"
    assert is_signed(call.headers, call.body, key)
    assert not is_signed(call.headers, call.body + b" ", key)
    assert call.json["type"] == "entry.disputed"
    data = call.json["data"]
    assert data["entries"] == ["alpha/list/3", "alpha/list/7"]
    assert (data["count"], data["kinds"]) == (3, {"FALSE_POSITIVE": 2, "NOT_ILLEGAL_HERE": 1})
    assert set(data) == {"webhook", "count", "kinds", "entries", "hash_sets", "first_revision", "last_revision"}
    assert b"digest" not in call.body
    assert b"beta" not in call.body  # who objects is for the list of reviews to tell
    assert calls(hooked)[0].state is DeliveryState.DELIVERED
    work(hooked)
    assert len(somebody.received) == 1


def test_the_page_says_what_to_do_about_every_failure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "contribute/webhooks.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == set(DeliveryError)


def test_the_receiver_that_the_page_shows_takes_what_the_hub_sends(hooked: Desk, somebody: Receiver) -> None:
    page = (Path(__file__).parents[2] / "docs" / "contribute/webhooks.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    shown: dict[str, Any] = {}
    exec(code, shown)  # noqa: S102 - our own page
    verify = shown["verify"]
    key = register(hooked, somebody.url)
    _, secret = hooked.hub.webhooks.rotate(ALPHA, "alpha", "desk")
    dispute(hooked, 3)
    work(hooked)
    (call,) = somebody.received
    old = "whsec_" + base64.b64encode(key).decode()
    assert verify(secret, call.headers, call.body)
    assert verify(old, call.headers, call.body)
    assert not verify(secret, call.headers, call.body + b" ")
    assert not verify(secret, {**call.headers, "webhook-id": "msg_0"}, call.body)
    assert not verify(secret, {**call.headers, "webhook-timestamp": "1"}, call.body)
    assert not verify("whsec_" + base64.b64encode(bytes(32)).decode(), call.headers, call.body)
    example = json.loads(re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0])
    assert set(example) == set(call.json)
    assert set(example["data"]) == set(call.json["data"])


def test_what_is_no_objection_of_others_is_not_told(hooked: Desk, somebody: Receiver) -> None:
    dispute(hooked, 1)  # before anybody was to be told
    register(hooked, somebody.url)
    dispute(hooked, 2, kind=ReviewKind.CONFIRMED)
    dispute(hooked, 3, who=ALPHA)
    hooked.hash_set("gamma/list")
    hooked.contribute("gamma/list", item(99))
    (other,) = hooked.entries("gamma/list")
    dispute(hooked, other.id, name="gamma/list")
    work(hooked)
    assert somebody.received == []
    assert calls(hooked) == []


def test_a_thousand_objections_are_one_call(hooked: Desk, somebody: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "NAMES", 5)
    monkeypatch.setattr(store_module, "PAGE", 7)  # so that they are walked in several pieces
    register(hooked, somebody.url)
    for _ in range(4):
        dispute(hooked, *range(1, 11), who=OPERATOR)
    work(hooked)
    (call,) = somebody.received
    assert call.json["data"]["count"] == 40
    assert call.json["data"]["entries"] == [f"alpha/list/{n}" for n in range(1, 6)]


def test_what_happens_is_gathered_until_the_call_is_due(hooked: Desk, somebody: Receiver, clock: Clock) -> None:
    hooked.hub.sender.gather_time = timedelta(seconds=60)
    register(hooked, somebody.url)
    dispute(hooked, 1)
    work(hooked)
    dispute(hooked, 2)
    clock.ahead = timedelta(seconds=50)
    work(hooked)
    assert somebody.received == []
    clock.ahead = timedelta(seconds=61)
    work(hooked)
    assert [c.json["data"]["count"] for c in somebody.received] == [2]


def test_a_call_that_fails_is_made_again_as_it_was_and_in_order(hooked: Desk, somebody: Receiver, clock: Clock) -> None:
    key = register(hooked, somebody.url)
    somebody.answers = [(500, {}), (503, {"retry-after": "1800"}), (302, {"location": "http://127.0.0.1:1/"})]
    dispute(hooked, 1)
    for ahead in (0, 20, 20 + 1700, 20 + 1900, 3 * 3600):
        clock.ahead = timedelta(seconds=ahead)
        dispute(hooked, 2)  # waits behind the first
        work(hooked)
    first = somebody.received[:4]
    assert {c.headers["webhook-id"] for c in first} == {first[0].headers["webhook-id"]}
    assert {c.body for c in first} == {first[0].body}
    assert first[0].json["data"]["entries"] == ["alpha/list/1", "alpha/list/2"]
    assert all(is_signed(c.headers, c.body, key) for c in somebody.received)
    clock.ahead += timedelta(seconds=5)
    work(hooked)
    assert len(somebody.received) == 5
    assert somebody.received[4].json["data"]["count"] == 4  # all that happened meanwhile, in one
    newest, oldest = calls(hooked)
    assert (oldest.state, oldest.attempts, newest.attempts) == (DeliveryState.DELIVERED, 4, 1)


def test_a_call_is_given_up_after_three_days_and_that_is_said(hooked: Desk, somebody: Receiver, clock: Clock) -> None:
    register(hooked, somebody.url)
    somebody.answers = [(500, {})] * 1000
    dispute(hooked, 1)
    work(hooked)
    (waiting,) = calls(hooked)
    assert (waiting.state, waiting.status, waiting.error) == (DeliveryState.PENDING, 500, DeliveryError.STATUS)
    while calls(hooked)[0].state is DeliveryState.PENDING:
        assert clock.ahead < GIVE_UP + timedelta(hours=8)
        clock.ahead += timedelta(hours=1)
        work(hooked)
    assert clock.ahead > GIVE_UP - timedelta(hours=8)
    assert 10 < calls(hooked)[0].attempts < 30
    made = len(somebody.received)
    clock.ahead += timedelta(days=1)
    work(hooked)
    assert len(somebody.received) == made
    assert any("alpha/desk" in w and "1 given up" in w for w in hooked.hub.status(OPERATOR).warnings)
    (queued,) = [q for q in hooked.hub.queue.list(ALPHA) if q.kind is QueueKind.WEBHOOK_FAILING]
    assert (queued.name, queued.reason, queued.contributor) == ("alpha/desk", "STATUS", "alpha")
    assert not [q for q in hooked.hub.queue.list(BETA) if q.kind is QueueKind.WEBHOOK_FAILING]


def test_what_may_not_be_told_any_more_is_not(hooked: Desk, somebody: Receiver) -> None:
    register(hooked, somebody.url)
    dispute(hooked, 1)
    hooked.hub.store.resources.retire_contributor("alpha", by=Actor("operator", "", OPERATOR.role))
    work(hooked)
    assert somebody.received == []
    assert [c.state for c in calls(hooked)] == [DeliveryState.DROPPED]


def test_an_operators_webhook_is_told_of_all_and_is_nobody_elses(hooked: Desk, somebody: Receiver) -> None:
    hooked.contributor("operator")
    member = writer("operator")
    with pytest.raises(PermissionDenied):
        register(hooked, somebody.url, who=ALPHA, all_contributors=True)
    register(hooked, somebody.url, who=OPERATOR, name="operator/all", all_contributors=True)
    dispute(hooked, 4)
    work(hooked)
    (call,) = somebody.received
    assert call.json["data"]["entries"] == ["alpha/list/4"]
    # A contributor's token of the same organisation must not send it elsewhere, nor know of it.
    moved = Webhook(contributor="operator", id="all", url=somebody.url, events=(WebhookEvent.ENTRY_DISPUTED,))
    for refused in (
        lambda: hooked.hub.webhooks.update(member, moved, ["url"]),
        lambda: hooked.hub.webhooks.get(member, "operator", "all"),
        lambda: hooked.hub.webhooks.rotate(member, "operator", "all"),
        lambda: hooked.hub.webhooks.delete(member, "operator", "all"),
        lambda: hooked.hub.webhooks.test(member, "operator", "all"),
    ):
        with pytest.raises(NotFound):
            refused()
    assert hooked.hub.webhooks.list(member, None) == []
    assert [w.name for w in hooked.hub.webhooks.list(AUDITOR, None)] == ["operator/all"]
    with pytest.raises(InvalidArgument):
        hooked.hub.webhooks.update(OPERATOR, moved, ["all_contributors"])


def test_a_restart_goes_on_where_it_was_and_tells_nothing_twice(hooked: Desk, somebody: Receiver, clock: Clock) -> None:
    register(hooked, somebody.url)
    somebody.answers = [(500, {})]
    dispute(hooked, 1)
    work(hooked)
    # A process that ends without giving its lease up: the next one begins once that has run out.
    again = module.WebhookSender(hooked.hub.store, hooked.hub.outbound, 0.0)
    clock.ahead = timedelta(seconds=15)
    again.round()
    again.settle()
    assert len(somebody.received) == 1
    clock.ahead = timedelta(seconds=45)
    again.round()
    again.settle()
    work(hooked)  # the one that was taken for dead calls no more
    assert len(somebody.received) == 2
    assert somebody.received[0].headers["webhook-id"] == somebody.received[1].headers["webhook-id"]
    clock.ahead = timedelta(seconds=75)
    work(hooked)
    again.close()
    assert len(somebody.received) == 2


def test_endpoints_that_never_answer_hold_up_nobody_else(hooked: Desk, somebody: Receiver) -> None:
    stuck = threading.Event()
    with receiver() as slow:
        slow.on_request = stuck.wait
        hooked.hub.outbound.ports |= {slow.port}
        for n in range(5):
            register(hooked, slow.url, name=f"alpha/slow-{n}")
        register(hooked, somebody.url, who=BETA, name="beta/quick")
        hooked.hash_set("beta/own")
        hooked.contribute("beta/own", item(50))
        (entry,) = hooked.entries("beta/own")
        dispute(hooked, 1)
        dispute(hooked, entry.id, name="beta/own", who=ALPHA)
        try:
            hooked.hub.sender.round()
            assert len(hooked.hub.sender.in_flight) <= MOST_EACH + 1
            while not somebody.received:  # it is called while the others' answers are waited for
                threading.Event().wait(0.01)
            assert sum(owner == "alpha" for owner, _ in hooked.hub.sender.in_flight.values()) == MOST_EACH
        finally:
            stuck.set()
        hooked.hub.sender.settle()
    assert len(somebody.received) == 1


def test_a_secret_is_rotated_with_both_signing_for_a_while(hooked: Desk, somebody: Receiver, clock: Clock) -> None:
    old = register(hooked, somebody.url)
    rotated, secret = hooked.hub.webhooks.rotate(ALPHA, "alpha", "desk", timedelta(hours=1))
    new = base64.b64decode(secret.removeprefix("whsec_"))
    assert rotated.old_secret_until is not None
    dispute(hooked, 1)
    work(hooked)
    clock.ahead = timedelta(hours=2)
    dispute(hooked, 2)
    work(hooked)
    during, after = somebody.received
    assert is_signed(during.headers, during.body, old)
    assert is_signed(during.headers, during.body, new)
    assert is_signed(after.headers, after.body, new)
    assert not is_signed(after.headers, after.body, old)
    history = hooked.hub.history.list(OPERATOR, "webhooks/alpha/desk", "", None, 10, 0)[0]
    assert [e.kind for e in history] == ["WEBHOOK_ROTATED", "WEBHOOK_CREATED"]
    for key in (old, new):
        told = json.dumps([e.details for e in history])
        assert base64.b64encode(key).decode() not in told


def test_a_test_says_what_came_back_and_is_not_repeated_at_once(hooked: Desk, somebody: Receiver, clock: Clock) -> None:
    key = register(hooked, somebody.url)
    tested = hooked.hub.webhooks.test(ALPHA, "alpha", "desk")
    assert (tested.state, tested.status, tested.event) == (DeliveryState.DELIVERED, 204, None)
    (call,) = somebody.received
    assert call.json["type"] == "ping"
    assert is_signed(call.headers, call.body, key)
    with pytest.raises(LimitExceeded) as refused:
        hooked.hub.webhooks.test(ALPHA, "alpha", "desk")
    assert refused.value.retry_after
    clock.ahead = timedelta(seconds=11)
    somebody.answers = [(302, {"location": somebody.url})]
    tested = hooked.hub.webhooks.test(ALPHA, "alpha", "desk")
    assert (tested.state, tested.status, tested.error) == (DeliveryState.GIVEN_UP, 302, DeliveryError.STATUS)
    assert len(somebody.received) == 2  # the redirect was not followed
    work(hooked)
    assert len(somebody.received) == 2  # nor is a test made again


def test_webhooks_are_few_and_their_names_are_taken_once(hooked: Desk, somebody: Receiver) -> None:
    for n in range(MOST):
        register(hooked, somebody.url, name=f"alpha/w{n}")
    with pytest.raises(AlreadyExists):
        register(hooked, somebody.url, name="alpha/w0")
    with pytest.raises(LimitExceeded):
        register(hooked, somebody.url, name="alpha/one-more")
    hooked.hub.webhooks.delete(ALPHA, "alpha", "w0")
    register(hooked, somebody.url, name="alpha/one-more")


def test_a_deleted_webhook_is_told_of_nothing_that_waits(hooked: Desk, somebody: Receiver) -> None:
    register(hooked, somebody.url)
    dispute(hooked, 1)
    hooked.hub.sender.gather_time = timedelta(days=1)
    work(hooked)
    hooked.hub.webhooks.delete(ALPHA, "alpha", "desk")
    register(hooked, somebody.url)
    work(hooked)
    assert calls(hooked) == []


def test_what_a_stolen_token_registered_goes_with_its_revert(hooked: Desk, somebody: Receiver) -> None:
    begun = now()
    register(hooked, somebody.url)
    changed = Webhook(contributor="alpha", id="desk", url=somebody.url + "2", events=(WebhookEvent.ENTRY_DISPUTED,))
    hooked.hub.webhooks.update(ALPHA, changed, ["url"])
    preview = hooked.hub.history.revert(OPERATOR, ALPHA.name, begun, validate_only=True)
    assert [r.reverted for r in preview] == [True, True]
    hooked.hub.history.revert(OPERATOR, ALPHA.name, begun, comment="stolen")
    assert hooked.hub.webhooks.list(OPERATOR, None) == []


@pytest.mark.parametrize("who", ["owner", "operator", "auditor", "other"])
def test_who_may_read_and_write(hooked: Desk, somebody: Receiver, who: str) -> None:
    register(hooked, somebody.url)
    caller = {"owner": ALPHA, "operator": OPERATOR, "auditor": AUDITOR, "other": BETA}[who]
    known = Webhook(contributor="alpha", id="desk", url=somebody.url, events=(WebhookEvent.ENTRY_DISPUTED,))
    reads: list[Callable[[], object]] = [
        lambda: hooked.hub.webhooks.get(caller, "alpha", "desk"),
        lambda: hooked.hub.webhooks.list(caller, "alpha"),
        lambda: hooked.hub.webhooks.deliveries(caller, "alpha", "desk", 10, 0),
    ]
    writes: list[Callable[[], object]] = [
        lambda: hooked.hub.webhooks.update(caller, known, ["url"]),
        lambda: hooked.hub.webhooks.rotate(caller, "alpha", "desk"),
        lambda: hooked.hub.webhooks.test(caller, "alpha", "desk"),
        lambda: hooked.hub.webhooks.delete(caller, "alpha", "desk"),
    ]
    for allowed, uses in ((who != "other", reads), (who in {"owner", "operator"}, writes)):
        for use in uses:
            if allowed:
                use()
            else:
                with pytest.raises(PermissionDenied):
                    use()


def _conflict(desk: Desk, *, terms: Marking | None = None) -> None:
    """Let alpha/list and gamma/benign contradict each other about one item, and have that found."""
    desk.hash_set("gamma/benign", purpose=Purpose.BENIGN, marking=terms or Marking(bulk=True))
    desk.contribute("gamma/benign", item(1), item(2))
    assert desk.hub.finder is not None
    desk.hub.finder.catch_up()


def _told_of_conflicts(desk: Desk, somebody: Receiver) -> None:
    wanted = (WebhookEvent.CONFLICT_OPENED,)
    for who, contributor, everything in ((ALPHA, "alpha", False), (BETA, "beta", False), (OPERATOR, "operator", True)):
        new = Webhook(
            contributor=contributor,
            id="c",
            url=f"{somebody.url}-{contributor}",
            events=wanted,
            all_contributors=everything,
        )
        desk.hub.webhooks.create(who, new)


def test_a_conflict_is_told_to_its_parties_and_to_operators(hooked: Desk, somebody: Receiver) -> None:
    hooked.contributor("operator")
    _told_of_conflicts(hooked, somebody)
    _conflict(hooked)
    work(hooked)
    assert sorted(c.path for c in somebody.received) == ["/hook-alpha", "/hook-operator"]
    for call in somebody.received:
        assert call.json["type"] == "conflict.opened"
        data = call.json["data"]
        assert (data["count"], data["hash_sets"]) == (2, ["alpha/list", "gamma/benign"])
        assert len(data["conflicts"]) == 2
        assert data["kinds"] == {"BENIGN_AGAINST_HARMFUL": 2}
    work(hooked)
    assert len(somebody.received) == 2


def test_of_a_conflict_that_terms_hide_its_other_party_learns_nothing(hooked: Desk, somebody: Receiver) -> None:
    hooked.contributor("operator")
    _told_of_conflicts(hooked, somebody)
    _conflict(hooked, terms=Marking(tlp=TLP.RED, recipients=("contributors/beta",)))
    work(hooked)
    assert [c.path for c in somebody.received] == ["/hook-operator"]
    assert calls(hooked, "alpha/c") == []  # not even that there was one


def test_a_conflict_that_terms_have_hidden_since_is_not_told(hooked: Desk, somebody: Receiver) -> None:
    hooked.contributor("operator")
    _told_of_conflicts(hooked, somebody)
    hooked.hub.sender.gather_time = timedelta(seconds=60)
    _conflict(hooked)
    work(hooked)
    assert [c.state for c in calls(hooked, "alpha/c")] == [DeliveryState.PENDING]
    closed = HashSet(contributor="gamma", id="benign", marking=Marking(tlp=TLP.RED, recipients=("contributors/beta",)))
    hooked.hub.hash_sets.update(OPERATOR, closed, ["marking"])
    for call in hooked.hub.store.webhooks.due(now() + timedelta(days=1)):
        hooked.hub.sender.attempt(call)
    assert [c.path for c in somebody.received] == ["/hook-operator"]
    assert [c.state for c in calls(hooked, "alpha/c")] == [DeliveryState.DROPPED]
