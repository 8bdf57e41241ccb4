"""Local mode: a hook decides in its own process, by a copy of what its token may hold. docs/hook/local.md.

    hub ── feed ──> Sync ──> copy/mirror.db, copy/index ──> LocalJudge, in each of an app's processes
                    (one process at a time)

The answer comes out of the code that answers at the hub (`hashhub.answering`), with the policy as the hub has it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec

from hashhub import cancellation, trust
from hashhub.answering.answer import answers, check_queries
from hashhub.background import Background
from hashhub.client.mirror import KeptPolicy
from hashhub.desk.hub import HubAnswer, client_of
from hashhub.errors import (
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
    Violation,
)
from hashhub.hashes import SEARCHED
from hashhub.hook.copy import COPY, DIRECTORY, SYNC, Index, ListCopy
from hashhub.hook.examiner import EmptyListWarning, options_of, query_of_nothing
from hashhub.local_files import is_in_the_way, obstacle
from hashhub.matcher import warm_up
from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.client.mirror import OnPage
    from hashhub.hook.copy import CopyMoment, CopyReader
    from hashhub.hook.settings import HookSettings
    from hashhub.model import Query
    from hashhub.trust import Policy

_log = logging.getLogger(__name__)

IN_BULK: Final = (
    "It has the hash sets that their terms let this token hold in bulk (hashhub hash-set update NAME --bulk); by "
    'mode = "ONLINE" others are asked about, too'
)
_LOOK_SECONDS: Final = 0.1  # between two looks whether the copy has changed
_BLIND_SECONDS: Final = 5.0  # without a look that went well, after which nothing is answered
_TAKE_OVER_SECONDS: Final = 5.0  # between two tries to become the process that syncs
_POLICY_SECONDS: Final = 60.0  # between two looks at a policy while nothing changes at the hub
_CALL_SECONDS: Final = 60.0
_START_SECONDS: Final = 10.0  # for a policy at the first start
_CLOCKS: Final = 60.0  # seconds by which a clock may go wrong before the copy's age counts as unknown
JOURNAL_PAGES: Final = 1_000  # of the feed that the journal holds beyond the snapshot: some 100 MB at most
_CALLER: Final = "hook"
wall_clock: Final = time.time


def running_seconds() -> float:
    """Return seconds that this machine ran, also asleep; no clock that is set changes them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ListCopyState(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy holds. `policy`: NAME@VERSION; `index_digests`: how many different digests can be hit."""

    revision: int
    complete_time: datetime | None
    policy: str
    entries: int
    hash_sets: int
    index_digests: int
    lines: int
    seconds: float


class Sync:
    """Keeps copy, index and policy up to date; one process at a time. Use it as a context manager, or close it."""

    def __init__(self, settings: HookSettings, *, client: Client | None = None) -> None:
        """`client`: one to use in place of its own, closed with it. Raises FailedPrecondition (DATA_IN_USE) beside
        another process, and what opening a copy raises.
        """
        directory = Path(settings.data) / COPY
        self._reference = settings.policy
        self._copy = ListCopy(directory)
        self._policy_at = float("-inf")
        self._policy_revision = -1
        self._trimmed = 0
        self._begun = time.monotonic()
        self._is_stopped = threading.Event()
        make_directories(directory)
        try:
            self.index = Index(self._copy, directory / DIRECTORY, publisher=True)
        except FailedPrecondition as e:
            raise FailedPrecondition(
                "another process keeps this copy: `hashhub hook sync --follow`, or an app whose hook does so by "
                "itself; end it, or let it do the work",
                reason=e.reason,
            ) from e
        with ExitStack() as opened:
            opened.callback(self.index.close)
            self._client = client or client_of(settings, timeout=_CALL_SECONDS)
            opened.callback(self._client.close)
            self.mirror = self._client.mirror(directory, journal=True)
            opened.pop_all()  # `close` closes them

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """Let `follow` return, from another thread."""
        self._is_stopped.set()
        self._client.close()

    def close(self) -> None:
        """Close the files and the connection."""
        self.mirror.close()
        self.index.close()
        self._client.close()

    def start_over(self) -> None:
        """Replace what the copy holds, for another token or another hub; it stays until everything was given anew."""
        self.mirror.start_over()

    def reindex(self) -> None:
        """Write the index anew from the copy."""
        self.index.rebuild()

    def update(self, on_page: OnPage | None = None) -> None:
        """Bring policy, copy and index up to date. Raises InvalidArgument for a policy that cannot be used."""
        _readable(self.fetch_policy())
        self.mirror.update(self._then(on_page))

    def follow(self, on_page: OnPage | None = None) -> None:
        """Bring them up to date and keep them so, through restarts of the hub, until `stop`."""
        self.mirror.follow(self._then(on_page), stop=self._is_stopped)

    def state(self) -> ListCopyState:
        """Return what there is now."""
        copied = self.mirror.state()
        policies: list[KeptPolicy | None] = []
        self.index.look(lambda look: policies.append(look.policy(self._reference)))
        policy = policies[0] if policies else None
        return ListCopyState(
            revision=copied.complete_revision,
            complete_time=copied.complete_time,
            policy=policy.name if policy is not None else "",
            entries=copied.entries,
            hash_sets=copied.hash_sets,
            index_digests=sum(self.index.matcher.count(name) for name in SEARCHED),
            lines=copied.lines,
            seconds=round(time.monotonic() - self._begun, 3),
        )

    def _then(self, on_page: OnPage | None) -> OnPage:
        def after_page(lines: int, is_complete: bool) -> None:  # noqa: FBT001 - the mirror's signature
            revisions: list[int] = []
            try:
                self.index.look(lambda look: revisions.append(look.moment.revision))
                self.trim()
            except HashHubError as e:
                # `follow` takes what is unavailable for the hub's, and goes on without a word.
                _log.warning("the index beside the copy cannot be brought up to date: %s", e.message)
                raise
            if is_complete and revisions:
                self._look_at_policy(revisions[0])
            if on_page is not None:
                on_page(lines, is_complete)

        return after_page

    def trim(self) -> None:
        """Drop what of the journal the snapshots have."""
        matcher = self.index.matcher
        if matcher.revision - (matcher.snapshot_revision or 0) > JOURNAL_PAGES:
            # A list that is stated again changes no digest, so that the matcher alone sees no reason for a snapshot.
            matcher.compact()
        snapshot = matcher.snapshot_revision or 0
        if snapshot > self._trimmed:
            self.mirror.trim_journal(snapshot)
            self._trimmed = snapshot

    def _look_at_policy(self, revision: int) -> None:
        """Look whether the policy has changed: what is put at the hub is a revision of its own."""
        if revision == self._policy_revision and time.monotonic() - self._policy_at < _POLICY_SECONDS:
            return
        try:
            self.fetch_policy()
        except (Unavailable, LimitExceeded) as e:
            if not self._is_stopped.is_set():
                _log.warning("the policy could not be looked at: %s", e.message)  # again after the next page
            return
        self._policy_revision = revision

    def fetch_policy(self) -> KeptPolicy:
        """Keep the hub's policy beside the copy, and return it."""
        policy = _fetched(self._client, self._reference)
        self.mirror.put_policy(policy)
        self._policy_at = time.monotonic()
        return policy


class _LocalState(NamedTuple):
    """The state of copy and policy that answers are based on, as last read."""

    moment: CopyMoment
    heard: datetime  # by the hub's copy: when it was last complete
    heard_at: float  # the same in seconds since 1970
    born: float  # by `running_seconds`, when the copy was complete last, as the clock said at first sight
    policy: Policy | None
    policy_name: str  # NAME@VERSION
    fault: str  # why there is none


class LocalJudge:
    """Answers by the copy, without the hub; keeps it up to date if the settings say so and no other process does."""

    def __init__(self, settings: HookSettings) -> None:
        """Raises Unavailable without a policy and a hub, InvalidArgument for one that a copy cannot use."""
        self._options = options_of(settings)
        check_queries((query_of_nothing(),), self._options)  # from here on it is the query that may be wrong
        self._stale_after = settings.local.stale_after_seconds
        self._stale_limit = settings.local.stale_limit_seconds
        directory = Path(settings.data) / COPY
        self._copy = ListCopy(directory)
        self._check_policy(settings)
        self._parsed: tuple[KeptPolicy | None, Policy | None, str] = (None, None, "")
        self._state: _LocalState | None = None
        self._emptiness = EmptyListWarning(f"the copy has no entry, or only such whose terms have ended. {IN_BULK}")
        self._failure: HashHubError | None = None
        self._looked = time.monotonic()
        self.process_id = os.getpid()
        make_directories(directory)
        self.index = Index(self._copy, directory / DIRECTORY, publisher=False)
        self._following = _CopyFollower(settings) if settings.local.follow else None
        self._thread = Background(
            "hook-copy",
            self._look,
            complaint="the copy of the hub's lists cannot be read",
            pause=_LOOK_SECONDS,
            longest_pause=1.0,
        )
        warm_up()
        try:
            self.catch_up()
        except HashHubError as e:
            self._failure = e  # answered with until a look goes well
        self._thread.start(at_once=False)
        if self._following is not None:
            self._following.start()

    def judge(self, query: Query) -> HubAnswer:
        """Answer one query. Raises Unavailable without a copy, InvalidArgument for hashes that no hub takes."""
        cancellation.check()
        _check_digests(query)
        check_queries((query,), self._options)
        state = self._ready()
        if state.policy is None:
            raise Unavailable(state.fault, reason=Reason.POLICY_UNREADABLE)
        matcher = self.index.matcher
        with self._copy.look() as look:
            [result] = answers(look, matcher, [query], self._options, state.policy, caller=_CALLER).results
        stale_since, is_past_limit = self._age(state)
        return HubAnswer(
            result=result,
            policy=state.policy_name,
            revision=state.moment.revision,
            stale_since=stale_since,
            is_past_limit=is_past_limit,
        )

    def revision(self) -> int:
        """Return the hub's revision that the copy is at; 0 before it was complete."""
        state = self._state
        return 0 if state is None else state.moment.revision

    def close(self) -> None:
        """Stop following, and let go of the files."""
        if self._following is not None:
            self._following.close()
        self._thread.close()
        self.index.close()

    def catch_up(self) -> None:
        """Take in what the copy has now, which otherwise happens within a tenth of a second. Raises Unavailable."""
        looked = time.monotonic()
        if self.index.look(self._take_in):
            self._looked = looked
            self._failure = None
        else:
            self._failure = Unavailable(
                f"the copy of the hub's lists is not complete yet; {SYNC}, or wait for it",
                reason=Reason.MATCHER_NOT_READY,
                retry_after=1.0,
            )

    def _look(self) -> None:
        try:
            self.catch_up()
        except HashHubError as e:
            self._failure = e
            raise

    def _take_in(self, look: CopyReader) -> None:
        stored = look.policy(self._options.policy)
        if stored != self._parsed[0]:
            self._parsed = (stored, *_parsed(stored, self._options.policy))
        _, policy, fault = self._parsed
        heard = look.moment.complete_time
        assert heard is not None  # noqa: S101 - there is nothing to take in before
        name = f"{policy.name}@{policy.version}" if policy is not None else ""
        before, heard_at = self._state, heard.timestamp()
        is_known = before is not None and before.heard == heard
        born = before.born if before is not None and is_known else running_seconds() - max(0.0, wall_clock() - heard_at)
        self._state = _LocalState(look.moment, heard, heard_at, born, policy, name, fault)
        self._emptiness.note(is_listed=look.has_any())

    def _ready(self) -> _LocalState:
        """Return the state to answer by. Raises Unavailable where that may lack something."""
        if os.getpid() != self.process_id:
            raise FailedPrecondition(
                "the hook was opened before this process was forked off; open it in each worker of the app"
            )
        state, failure = self._state, self._failure
        if state is not None and time.monotonic() - self._looked <= _BLIND_SECONDS:
            return state
        if failure is not None:
            raise failure
        raise Unavailable(
            "the copy of the hub's lists has not been read for some seconds; is this machine overloaded?",
            reason=Reason.MATCHER_NOT_READY,
            retry_after=1.0,
        )

    def _age(self, state: _LocalState) -> tuple[datetime | None, bool]:
        """Return since when the copy is stale, if it is, and whether that is too long."""
        age = wall_clock() - state.heard_at
        if age < -_CLOCKS:  # a clock was set back: how old the copy is cannot be told
            return state.heard, True
        age = max(age, running_seconds() - state.born)  # one that was set back makes no copy younger
        return (state.heard if age > self._stale_after else None), age > self._stale_limit

    def _check_policy(self, settings: HookSettings) -> None:
        stored = None
        try:
            with self._copy.look() as look:
                stored = look.policy(settings.policy)
        except Unavailable:
            pass  # there is no copy yet
        if stored is None:
            with client_of(settings, timeout=_START_SECONDS) as client:
                try:
                    stored = _fetched(client, settings.policy)
                except (Unavailable, LimitExceeded) as e:
                    raise Unavailable(
                        f"policy {settings.policy} was never fetched, and the hub cannot be asked for it "
                        f"({e.message}); {SYNC} while the hub is there",
                        reason=Reason.POLICY_UNREADABLE,
                    ) from e
        _readable(stored)


class _CopyFollower:
    """Keeps the copy from within an app, whenever no other process does."""

    def __init__(self, settings: HookSettings) -> None:
        self._settings = settings
        self._sync: Sync | None = None
        self._is_stopping = False
        self._thread = Background(
            "hook-sync",
            self._round,
            complaint="the copy of the hub's lists is not kept up to date",
            pause=_TAKE_OVER_SECONDS,
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._thread.tell_to_stop()
        self._is_stopping = True
        if (sync := self._sync) is not None:
            sync.stop()
        self._thread.close()

    def _round(self) -> None:
        try:
            sync = Sync(self._settings)
        except FailedPrecondition as e:
            if e.reason is Reason.DATA_IN_USE:
                return  # another process does it
            raise
        with sync:
            self._sync = sync  # before the look: `close` stops what it finds
            try:
                if not self._is_stopping:
                    sync.follow()
            except HashHubError:
                if not self._is_stopping:
                    raise
            finally:
                self._sync = None


def make_directories(directory: Path) -> None:
    """Make the directory of a copy and that of the hook above it, for their owner only. Raises InvalidArgument."""
    try:
        for one in (directory.parent, directory, directory / DIRECTORY):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        what = "move it away" if is_in_the_way(e) else "check its disk and permissions"
        raise InvalidArgument.field(
            "data", f"is a directory that cannot be used: {obstacle(e, 'the hook')}; {what}", "NOT_ALLOWED"
        ) from e


def _fetched(client: Client, reference: str) -> KeptPolicy:
    """Return a policy as the hub has it now. Raises Unavailable and LimitExceeded while it cannot be asked."""
    try:
        version = client.get_policy(reference)
    except (NotFound, InvalidArgument) as e:
        return KeptPolicy(reference=reference, name=reference, text="", fault=e.message, time=now())
    fault = version.fault
    if version.retire_time is not None:
        fault = f"policy {version.name} was retired"
    return KeptPolicy(reference=reference, name=version.name, text=version.text, fault=fault, time=now())


def _parsed(stored: KeptPolicy | None, reference: str) -> tuple[Policy | None, str]:
    """Return what a kept policy says, or why nothing can be decided by it."""
    if stored is None:
        return None, f"policy {reference} is not in the copy; {SYNC} with these settings"
    if stored.fault:
        return None, f"{stored.fault}; name another policy in the settings, then {SYNC}"
    try:
        version = int(stored.name.partition("@")[2])
        policy = trust.parse(stored.text.encode(), f"policy {stored.name}", version=version)
    except (HashHubError, ValueError) as e:
        told = e.message if isinstance(e, HashHubError) else "its name has no version"
        return (
            None,
            f"policy {stored.name} of the hub cannot be read here ({told}); install the hub's version of hashhub",
        )
    if policy.reads_statement_times:
        return None, (
            f"policy {stored.name} asks how long ago entries were stated, which a copy does not know; name another "
            "policy, or set the mode to ONLINE"
        )
    return policy, ""


def _readable(stored: KeptPolicy) -> None:
    """Raise InvalidArgument where nothing can be decided by a policy."""
    policy, fault = _parsed(stored, stored.reference)
    if policy is None:
        raise InvalidArgument.field("policy", fault, "INVALID")


def _check_digests(query: Query) -> None:
    """Raise InvalidArgument for unknown algorithms and lengths, which at a hub the wire refuses."""
    for h in (*query.hashes, *(h for variant in query.variants for h in variant.hashes)):
        of = SEARCHED.get(h.algorithm)
        if of is None or len(h.digest) != of.digest_bytes:
            text = "is not known" if of is None else f"takes digests of {of.digest_bytes} bytes, got {len(h.digest)}"
            raise InvalidArgument(
                f"hashes: {h.algorithm[:40]} {text}", violations=(Violation("hashes", text, "WRONG_LENGTH"),)
            )
