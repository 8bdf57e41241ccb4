"""Follows all peers of a directory, each in a thread of its own; who is joined or left meanwhile counts."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from hashhub.client import Client
from hashhub.edge_state import gauge_lines, write_report
from hashhub.errors import Cancelled, Conflict, HashHubError, NotFound
from hashhub.local_files import lock_file, make_directory, written
from hashhub.model import FeedPage, PeerReport, PeerStatus
from hashhub.peers.joining import offered
from hashhub.peers.state import Given, Peer, all_offers, names, opened
from hashhub.peers.taking import Taking
from hashhub.peers.ways import Ways

_log = logging.getLogger(__name__)
METRICS: Final = "peers.prom"
_LOOK_SECONDS: Final = 1.0
_FIRST_PAUSE: Final = 1.0  # seconds after a failure; doubles with each
_LONGEST_PAUSE: Final = 30.0
_METRICS_SECONDS: Final = 15.0


def run(directory: Path, hub: Client, own: str, stop: threading.Event, tell: Callable[[str], None]) -> None:
    """Follow until `stop` is set; `tell` is told of what goes wrong. `own`: the name of the hub.

    Raises Conflict where another process does the same here.
    """
    make_directory(directory, field="dir")
    lock = lock_file(directory / "run.lock")
    if lock is None:
        raise Conflict(f"another process follows the peers of {str(directory)!r} already; one is enough, and this ends")
    followers: dict[str, PeerFollower] = {}
    metrics_time = 0.0
    with lock:
        ways = Ways(all_offers(directory))
        try:
            while not stop.is_set():
                known = {peer.name: peer for peer, _ in all_offers(directory) if peer.address and not peer.is_left}
                for name in followers.keys() - known.keys():
                    followers.pop(name).end()
                    ways.drop(name)
                for name in known.keys() - followers.keys():
                    followers[name] = PeerFollower(directory, name, hub, own, ways, tell)
                if time.monotonic() - metrics_time > _METRICS_SECONDS:
                    keep_tokens(hub, known.values())
                    keep_given(directory, hub, known.values())
                    write_reports(directory)
                    metrics_time = time.monotonic()
                stop.wait(_LOOK_SECONDS)
        finally:
            for follower in followers.values():
                follower.stop()
            for follower in followers.values():
                follower.end()


class PeerFollower:
    """Follows one peer, on a thread."""

    def __init__(
        self, directory: Path, name: str, hub: Client, own: str, ways: Ways, tell: Callable[[str], None]
    ) -> None:
        self._directory, self._name, self._hub, self._own, self._ways = directory, name, hub, own, ways
        self._tell = tell
        self._stop = threading.Event()
        self._there: Client | None = None
        self._thread = threading.Thread(target=self._run, name=f"peer-{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it end."""
        self._stop.set()
        if self._there is not None:
            self._there.close()

    def end(self) -> None:
        """End it, and wait until it has."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                with opened(self._directory, self._name) as state, state.locked():
                    taking = Taking(state, self._hub, self._own, self._ways)
                    for _ in self._followed(taking):
                        pause = _FIRST_PAUSE
                continue
            except Cancelled:
                continue
            except HashHubError as e:
                self._tell(f"{self._name}: {e.message}")
            except Exception:  # noqa: BLE001 - it goes on, and says so
                _log.exception("peer %s: internal error", self._name)
            self._stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _followed(self, taking: Taking) -> Iterator[FeedPage]:
        """Yield pages that were taken, until the feed is to be read from elsewhere. Keeps why that is so."""
        with taking.connected(self._directory) as there:
            self._there = there
            if self._stop.is_set():
                return
            taking.check(there)
            pages = _gathered(there, taking)
            while True:
                try:
                    page = next(pages)
                except HashHubError as e:
                    if self._stop.is_set():
                        return
                    taking.note_error(e)
                    raise
                try:
                    taking.apply(page)
                    taking.check(there)
                except HashHubError as e:
                    if not self._stop.is_set():
                        taking.failed(PeerStatus.FAILED, e.message)
                    raise
                yield page
                if taking.position != page.position:
                    return


def _gathered(there: Client, taking: Taking) -> Iterator[FeedPage]:
    """Yield the pages of a feed as it goes on. What is followed says when to look: it has a page for each change, and a
    busy hub more of them than can be taken one by one.
    """
    yield from there.list_changes(taking.position)
    for page in there.follow_changes(taking.position):
        if page.revision > taking.revision or not page.changes:
            yield from there.list_changes(taking.position)


def keep_tokens(hub: Client, peers: Iterable[Peer]) -> None:
    """Let the tokens of peers that have used them, and so have their line, work on beyond its days."""
    ours = {peer.token for peer in peers}
    for token in hub.list_tokens():
        if token.name in ours and token.last_use_time is not None and token.expire_time is not None:
            hub.update_token(replace(token, expire_time=None), ["expire_time"])


def keep_given(directory: Path, hub: Client, peers: Iterable[Peer]) -> None:
    """Keep what goes to each peer, for those who list them."""
    for peer in peers:
        with suppress(NotFound), opened(directory, peer.name) as state:  # it is left meanwhile
            given = Given(offered=offered(hub, peer.token))
            if given != state.given():
                with state.transaction():
                    state.save(given)


def write_reports(directory: Path) -> None:
    """Write how far all peers are: for the hub, and as Prometheus' text, for the textfile collector of its node
    exporter.
    """
    reports = []
    for name in names(directory):
        with opened(directory, name) as state:
            peer, followed, offers, given = state.peer(), state.followed(), state.offers().values(), state.given()
            entries = state.count()
        problems = (text for offer in offers for text in (offer.problem, offer.waits))
        reports.append(
            PeerReport(
                name=name,
                status=followed.status if peer.address else PeerStatus.INVITED,
                detail="; ".join(filter(None, [followed.detail, *problems])),
                join_time=peer.join_time,
                answer_time=followed.answer_time,
                complete_time=followed.complete_time,
                entries=entries,
                taken=Counter(str(o.told.marking.tlp) for o in offers if o.is_taken),
                given=given.offered,
            )
        )
    write_report(directory, peers=reports)
    complete = {one.name: one.complete_time.timestamp() if one.complete_time else 0.0 for one in reports}
    lines = gauge_lines("peer", "peer", "complete_timestamp_seconds", "gauge", complete)
    lines += gauge_lines("peer", "peer", "entries", "gauge", {one.name: one.entries for one in reports})
    lines += gauge_lines("peer", "peer", "ok", "gauge", {one.name: one.status is PeerStatus.OK for one in reports})
    with written(directory / METRICS, replace=True, mode=0o644) as file:
        file.write("\n".join([*lines, ""]).encode())
