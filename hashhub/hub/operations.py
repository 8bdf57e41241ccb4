"""Long-running operations: who sees which, and the thread that has them done, one at a time for the whole hub.

An operation is done in a child process, with the rights of the token that started it as they are when its turn comes.
What it read is kept with it, and whoever reads the result must be allowed to see all of that at that moment.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub import cancellation
from hashhub.background import Background
from hashhub.errors import (
    Cancelled,
    Conflict,
    FailedPrecondition,
    HashHubError,
    PermissionDenied,
    Reason,
    StatusCode,
    Unauthenticated,
)
from hashhub.holders import new_holder
from hashhub.hub import access
from hashhub.model import EventKind, Failure, Operation, OperationState, Principal, Role, now
from hashhub.reconcile.apart import failure_of
from hashhub.reconcile.work import alone
from hashhub.store.operations import unknown

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.reconcile.results import Progress
    from hashhub.store import Store

_log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0  # between looks whether another process has started one
_TIDY_SECONDS: Final = 60.0
WAIT_LOOK_SECONDS: Final = 0.25
_LONGEST_WAIT: Final = timedelta(seconds=20)  # of one call: below the deadline that most clients set
_EXTRACT_DAYS: Final = 1.0  # what is withdrawn meanwhile is still in the files of an extract
_CANCELLED: Final = Failure(
    code=StatusCode.CANCELLED,
    reason=Reason.OPERATION_CANCELLED,
    message="the operation was cancelled; it has no result",
)
_ROLES: Final = (Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)

Work = Callable[[Operation, Principal, Callable[[list[str]], None], "Progress"], bytes]
"""Does an operation for a principal, tells which hash sets it reads before it does, and returns its response."""


class Operations:
    """The operations of a hub."""

    def __init__(self, store: Store, config: Config, work: Work) -> None:
        self._store = store
        self._work = work
        # The directory of the extract that this server keeps, and of the results.
        self.base = Path(config.data).absolute() / "reconcile"
        self._days = config.operation_days
        self._keep_withdrawn_days = config.keep_withdrawn_days or _EXTRACT_DAYS
        self._max_bytes = config.max_operation_bytes
        self._tidy_due = 0.0
        self._erased_upto = -1
        self.thread = Background(
            "operations", self.round, complaint="operations are not worked on", pause=_LOOK_SECONDS, longest_pause=5.0
        )

    # What callers ask

    def start(self, principal: Principal, method: str, request: bytes, request_id: str = "") -> Operation:
        """Let an operation wait for its turn. Raises LimitExceeded when enough of them wait."""
        access.allow(principal, *_ROLES)
        operation = self._store.operations.create(method, request, by=access.actor(principal), request_id=request_id)
        _log.info("%s started operation %s: %s", principal.name, operation.id, method)
        self.thread.wake()
        return operation

    def get(self, principal: Principal, operation_id: str) -> Operation:
        """Return an operation as the caller may see it. Raises NotFound for another contributor's."""
        access.allow(principal, *_ROLES)
        return self._shown(principal, self._of(principal, operation_id))

    def list(self, principal: Principal, size: int, before: int) -> tuple[list[Operation], int]:
        """Return operations, the newest first, and the position to go on at; 0 at the end."""
        access.allow(principal, *_ROLES)
        contributor = None if principal.role in access.OVERSEERS else principal.contributor
        operations, after = self._store.operations.list(contributor, size, before)
        return [self._shown(principal, o) for o in operations], after

    def wait(
        self,
        principal: Principal,
        operation_id: str,
        timeout: timedelta | None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> Operation:
        """Return the operation once it has ended, after `timeout` (at most 20 s), or when the server stops."""
        longest = _LONGEST_WAIT if timeout is None else min(timeout, _LONGEST_WAIT)  # none at all is a time, too
        until = time.monotonic() + longest.total_seconds()
        while True:
            operation = self.get(principal, operation_id)
            if operation.has_ended or time.monotonic() >= until or is_stopping():
                return operation
            cancellation.check()
            time.sleep(WAIT_LOOK_SECONDS)

    def cancel(self, principal: Principal, operation_id: str) -> Operation:
        """Ask for an operation's end; one that has ended stays as it is. Raises NotFound, PermissionDenied."""
        access.allow(principal, *_ROLES)
        self._allow_changing(principal, self._of(principal, operation_id))
        operation = self._store.operations.cancel(operation_id, _CANCELLED, now() + timedelta(days=self._days))
        _log.info("%s cancelled operation %s", principal.name, operation_id)
        return self._shown(principal, operation)

    def delete(self, principal: Principal, operation_id: str) -> None:
        """Forget an operation that has ended, and its result. Raises NotFound, PermissionDenied, FailedPrecondition."""
        access.allow(principal, *_ROLES)
        self._allow_changing(principal, self._of(principal, operation_id))
        self._store.operations.delete(operation_id)
        _log.info("%s deleted operation %s", principal.name, operation_id)
        shutil.rmtree(self.directory(operation_id), ignore_errors=True)

    def result(self, principal: Principal, operation_id: str) -> Operation:
        """Return an operation that succeeded, to a caller that may see its result.

        Raises NotFound, FailedPrecondition (OPERATION_UNFINISHED), PermissionDenied (RESULT_WITHHELD).
        """
        operation = self.get(principal, operation_id)
        if operation.failure is not None and operation.failure.reason == Reason.RESULT_WITHHELD:
            raise PermissionDenied(operation.failure.message, reason=Reason.RESULT_WITHHELD)
        if operation.state is not OperationState.SUCCEEDED:
            what = "ended without a result" if operation.has_ended else "has not ended"
            raise FailedPrecondition(
                f"operation {operation.id} {what}; see `hashhub operation get {operation.id}`",
                reason=Reason.OPERATION_UNFINISHED,
            )
        return operation

    def directory(self, operation_id: str) -> Path:
        """Return where rows and files of a result are."""
        return self.base / "results" / operation_id

    def _of(self, principal: Principal, operation_id: str) -> Operation:
        operation = self._store.operations.get(operation_id)
        if principal.role in access.OVERSEERS:
            return operation
        by = operation.actor
        if by.role in access.OVERSEERS or not principal.contributor or by.contributor != principal.contributor:
            raise unknown(operation_id)
        return operation

    def _allow_changing(self, principal: Principal, operation: Operation) -> None:
        """An auditor writes nothing: it ends only what it started itself."""
        if principal.role is Role.AUDITOR and operation.actor.name != principal.name:
            access.allow(principal, Role.OPERATOR)

    def _shown(self, principal: Principal, operation: Operation) -> Operation:
        """Return the operation without its result when the caller may not see all that this is about any more."""
        if principal.role in access.OVERSEERS or operation.state is not OperationState.SUCCEEDED:
            return operation
        seen = access.sight(principal, self._store.resources.registry(), way_out_of(operation.method)).visible
        if seen.issuperset(operation.hash_sets):
            return operation
        failure = Failure(
            code=StatusCode.PERMISSION_DENIED,
            reason=Reason.RESULT_WITHHELD,
            message="terms have changed since this operation ran, and this token may not see all that its result is "
            "about; start the operation again",
        )
        return msgspec.structs.replace(
            operation, state=OperationState.FAILED, response=b"", failure=failure, size=0, hash_sets=()
        )

    # The thread

    def round(self) -> None:
        """Do one operation if one waits and none runs, and drop what is kept long enough."""
        if time.monotonic() >= self._tidy_due:
            self._tidy_due = time.monotonic() + _TIDY_SECONDS
            self.tidy()
        if not self._store.operations.has_waiting():
            return
        lease = new_holder()
        operation = self._store.operations.claim(lease)
        if operation is not None:
            self._do(operation, lease)
            self.thread.wake()  # the next one need not wait for the pause

    def _do(self, operation: Operation, lease: str) -> None:
        out = self.directory(operation.id)
        response, failure, size = b"", None, 0
        try:
            response = self._work(
                operation,
                self._caller(operation),
                lambda names: self._store.operations.note_hash_sets(operation.id, lease, names),
                lambda done, total, doing: self._tell(operation.id, lease, done, total, doing),
            )
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        except HashHubError as e:
            failure = failure_of(e)
        except OSError as e:
            failure = failure_of(HashHubError(f"the result cannot be kept: {e.strerror}"))
        except Exception:  # noqa: BLE001 - whatever it is, the operation ends, and says so
            _log.exception("operation %s failed", operation.id)
            failure = failure_of(HashHubError("the operation failed; see the server's log"))
        if failure is not None:
            shutil.rmtree(out, ignore_errors=True)
            _log.warning("operation %s of %s ended: %s", operation.id, operation.actor.name, failure.message)
        try:
            self._store.operations.finish(
                operation.id,
                lease,
                response=response,
                failure=failure,
                size=size,
                expire_time=self._expiry(operation.method),
            )
        except Conflict:  # somebody took this process for dead, and ended it
            shutil.rmtree(out, ignore_errors=True)
            return
        if failure is None:
            _log.info("operation %s of %s succeeded", operation.id, operation.actor.name)

    def _tell(self, operation_id: str, lease: str, done: int, total: int, doing: str) -> None:
        if self.thread.is_stopping:
            raise Conflict(
                "the server that ran this operation stopped in the middle; start the operation again",
                reason=Reason.OPERATION_ABORTED,
            )
        try:
            goes_on = self._store.operations.renew(operation_id, lease, done, total, doing)
        except Conflict:
            raise
        except HashHubError as e:  # a database that is away for a moment; the lease lasts longer
            _log.warning("the progress of operation %s is not written: %s", operation_id, e.message)
            return
        if not goes_on:
            raise Cancelled(_CANCELLED.message)

    def _caller(self, operation: Operation) -> Principal:
        """Return the token that started it, as it is now. Raises Unauthenticated once it does not work any more."""
        for token in self._store.tokens.list_tokens():
            if token.name == operation.actor.name and access.works(self._store, token):
                return token
        raise Unauthenticated(
            f"token {operation.actor.name}, which started this operation, does not work any more; start it again with "
            "another",
            reason=Reason.TOKEN_EXPIRED,
        )

    def _expiry(self, method: str) -> datetime:
        days = min(self._days, _EXTRACT_DAYS) if method == "ExtractEntries" else self._days
        return now() + timedelta(days=days)

    def tidy(self) -> None:
        """Drop results that are too old or too many, files that no operation names, and those with erased digests."""
        operations = self._store.operations
        operations.expire(now(), self._max_bytes)
        results = self.base / "results"
        with contextlib.suppress(FileNotFoundError):
            names = {path.name for path in results.iterdir()}
            for name in names - operations.ids():  # looked at afterwards: a new one is not taken for forgotten
                shutil.rmtree(results / name, ignore_errors=True)
        self._drop_erased()

    def _drop_erased(self) -> None:
        """Drop the extracts that hold what was erased, or went by age, since they were written."""
        revision = self._store.revision()
        own = self.base / "extract" / "manifest.json"
        manifests = [own, *self.base.glob("results/*/files/manifest.json")]
        revisions = [r for r in map(_revision_of, manifests) if r is not None]
        since = max(min(revisions, default=revision), self._erased_upto)
        if revision <= since:
            return
        kinds = [EventKind.ENTRY_ERASED, EventKind.HASH_SET_ERASED]
        if self._store.history.list_events(kinds=kinds, after_revision=since, limit=1):
            to_drop = manifests
        else:
            purged = self._store.retention.last_purge(since)
            latest = purged[0].time - timedelta(days=min(_EXTRACT_DAYS, self._keep_withdrawn_days)) if purged else None
            to_drop = [path for path in manifests if latest is not None and _was_written_before(path, latest)]
        if own in to_drop:
            try:
                with alone(self.base, wait=False):
                    shutil.rmtree(self.base / "extract", ignore_errors=True)
            except HashHubError:
                return  # in use: at the next look
        for path in to_drop:
            if path != own:
                shutil.rmtree(path.parent, ignore_errors=True)
        if to_drop:
            _log.info("%d extracts were dropped: they held what is erased or deleted", len(to_drop))
        self._erased_upto = revision

    def close(self) -> None:
        """End what runs here as aborted, and take up nothing more."""
        self.thread.close()


def _revision_of(manifest: Path) -> int | None:
    """Return the revision of an extract; 0 when that cannot be read, None when there is none."""
    try:
        return int(msgspec.json.decode(manifest.read_bytes())["revision"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError):
        return 0


def _was_written_before(manifest: Path, time: datetime) -> bool:
    """Whether an extract holds what stood before a time; also where that cannot be read."""
    try:
        return manifest.stat().st_mtime < time.timestamp()
    except FileNotFoundError:
        return False


def way_out_of(method: str) -> access.DisclosureChannel:
    """Return by which way out the result of a method leaves the hub: the files of an extract hold digests."""
    return access.DisclosureChannel.EXPORT if method == "ExtractEntries" else access.DisclosureChannel.LIST
