"""Calls for reconciliation: conflicts, comparisons, and the operations that they start.

    start ──> OperationHandle ──wait──> result, typed; rows, one after the other; files, into a directory

A handle is the operation's name and a connection: another program that knows the name goes on with it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, cast

import msgspec

from hashhub import v1, wire
from hashhub.client.transport import Calls, Listing, Rpc, Transport, conflict_name, contributor_name, listing, unread
from hashhub.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    PermissionDenied,
    Reason,
    Unavailable,
)
from hashhub.local_files import put
from hashhub.model import (
    Conflict,
    ConflictChanges,
    ConflictFilter,
    ConflictOrder,
    ConflictReason,
    ConflictSummary,
    Operation,
    OperationState,
    Reliability,
)
from hashhub.reconcile import tasks
from hashhub.reconcile.results import Agreement, Backend, By, Gap, Link, Overlap, Progress
from hashhub.reconcile.tasks import ExtractResult, GapsResult, LinksResult, ReportResult, ResultFile, Task

_POLL_SECONDS: Final = 0.2
_EVERYTHING: Final = ConflictFilter()


class ConflictCalls(Calls):
    """Conflicts: reading, assigning, resolving, reopening. A contributor knows those that entries of its own are in."""

    def list_conflicts(self, wanted: ConflictFilter = _EVERYTHING, *, limit: int | None = None) -> Listing[Conflict]:
        """Yield conflicts, those that were opened last first, without statements and resolutions."""
        request = v1.ListConflictsRequest(filter=wire.CONFLICT_FILTER.to_pb(wanted))
        return self._list(request, "conflicts", wire.CONFLICT.from_pb, limit)

    def await_conflicts(self, timeout: float = 60.0) -> bool:
        """Wait until conflicts were looked for up to the hub's revision at the call; return False after `timeout`
        seconds. Roles: operator, auditor; raises PermissionDenied for others, who are not told.
        """
        request = v1.ListConflictsRequest(page_size=1)
        until = time.monotonic() + timeout
        target: int | None = None
        while True:
            page = self._transport.call(request)
            target = page.revision if target is None else target
            if not page.HasField("looked_revision"):
                raise PermissionDenied(
                    "how far the hub has looked for conflicts is told to operators and auditors only; look again in a "
                    "minute"
                )
            if page.looked_revision >= target:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)

    def get_conflict(self, name: str) -> Conflict:
        """Return a conflict with the statements of each side and its comments."""
        return self._ask(v1.GetConflictRequest(name=conflict_name(name)), wire.CONFLICT.from_pb)

    def summarise_conflicts(
        self, wanted: ConflictFilter = _EVERYTHING, *, counts_only: bool = False
    ) -> ConflictSummary:
        """Return how many conflicts there are, by pair of contributors, kind, severity and state, and, unless
        `counts_only`, which contributors have most.
        """
        request = v1.SummariseConflictsRequest(filter=wire.CONFLICT_FILTER.to_pb(wanted), counts_only=counts_only)
        return self._ask(request, wire.CONFLICT_SUMMARY.from_pb)

    def assign_conflict(self, name: str, assignee: str, *, etag: str = "", validate_only: bool = False) -> Conflict:
        """Assign a conflict to a party (`contributors/ID`) or a person by any name; empty: unassign. Role: operator.

        `etag`: as read; raises Conflict when somebody did something to it, or a party states something else, by now.
        """
        request = v1.AssignConflictRequest(
            name=conflict_name(name), assignee=assignee, etag=etag, validate_only=validate_only
        )
        return self._ask(request, wire.CONFLICT.from_pb)

    def resolve_conflict(
        self,
        name: str,
        reason: ConflictReason,
        comment: str,
        *,
        decided_for: str = "",
        etag: str = "",
        validate_only: bool = False,
    ) -> Conflict:
        """Say what a conflict comes to. An operator's word closes it; a contributor's is its view.

        `decided_for`: the contributor that is right, with DECIDED_FOR. `etag`: as read; raises Conflict when the
        parties state something else by now.
        """
        request = v1.ResolveConflictRequest(
            name=conflict_name(name),
            reason=wire.CONFLICT_REASON.to_pb(reason),
            comment=comment,
            decided_for=contributor_name(decided_for) if decided_for else "",
            etag=etag,
            validate_only=validate_only,
        )
        return self._ask(request, wire.CONFLICT.from_pb)

    def reopen_conflict(self, name: str, comment: str, *, etag: str = "", validate_only: bool = False) -> Conflict:
        """Reopen a conflict; one that is open stays so. `etag`: as in assign_conflict. Role: operator."""
        request = v1.ReopenConflictRequest(
            name=conflict_name(name), comment=comment, etag=etag, validate_only=validate_only
        )
        return self._ask(request, wire.CONFLICT.from_pb)

    def change_conflicts(
        self, wanted: ConflictFilter, order: ConflictOrder, *, validate_only: bool = False, request_id: str = ""
    ) -> Listing[ConflictChanges]:
        """Assign, resolve or reopen all conflicts that fit, each on its own record, and yield what was done to some at
        a time (`with_next` adds them up); without states in the filter, those that the action is about. What is only
        tried says what would be done. `request_id`: of all of it, to go on where it was cut off. Role: operator.
        """
        request = wire.CONFLICT_ORDER.to_pb(
            order, filter=wire.CONFLICT_FILTER.to_pb(wanted), validate_only=validate_only
        )
        request.request_id = request_id or str(uuid.uuid4())

        def read(pb: v1.ChangeConflictsResponse) -> list[ConflictChanges]:
            return [wire.CONFLICT_CHANGES.from_pb(pb, action=order.action, validate_only=validate_only)]

        return self._transport.items(listing(request, read))


_WAIT_SECONDS: Final = 10  # of one call; the hub answers sooner when the operation ends
LOOK_SECONDS: Final = 2.0  # between looks, where the hub has no place for those who wait
_AWAY_SECONDS: Final = 60.0  # that a hub may be away, to be started again, while somebody waits for an operation
_FILES_AT_ONCE: Final = 500
_MANIFEST: Final = "manifest.json"
_PATH: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/){0,4}[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OURS: Final = ("digests/*/*/*.parquet", "hash_sets-*.parquet", "dimensions-*.parquet")

T = TypeVar("T")


class OperationHandle(Calls, Generic[T]):
    """One operation of the hub. Every method raises HashHubError."""

    def __init__(self, transport: Transport, operation: Operation) -> None:
        super().__init__(transport)
        self.operation = operation
        """What was last heard of it."""

    @property
    def id(self) -> str:
        """By which commands name it."""
        return self.operation.id

    def refresh(self) -> Operation:
        """Ask how far it is."""
        self.operation = self._ask(v1.GetOperationRequest(name=self._name), _operation)
        return self.operation

    def wait(self, timeout: float | None = None, *, progress: Progress | None = None) -> Operation:
        """Return the operation once it has ended, however it did. `progress` is told how far it is.

        Raises Unavailable (DEADLINE_EXCEEDED) when that takes more than `timeout` seconds; it then goes on.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self.operation.has_ended:
            self._tell(progress)
            left = _WAIT_SECONDS if until is None else until - time.monotonic()
            if left <= 0:
                raise Unavailable(
                    f"operation {self.id} has not ended yet; wait longer, or see `hashhub operation get {self.id}`",
                    reason=Reason.DEADLINE_EXCEEDED,
                )
            # Told of each step where somebody looks at them, and otherwise of the end.
            seconds = min(left, 1.0 if progress is not None else _WAIT_SECONDS)
            request = v1.WaitOperationRequest(name=self._name, timeout=timedelta(seconds=seconds))
            try:
                answer = self._transport.call(request, timeout=45.0, retry_seconds=_AWAY_SECONDS)
            except LimitExceeded:  # as many wait at the hub as may: look again in a while
                time.sleep(min(left, LOOK_SECONDS))
                self.refresh()
            else:
                self.operation = _operation(answer)
        self._tell(progress)
        return self.operation

    def _tell(self, progress: Progress | None) -> None:
        if progress is not None:
            waits = self.operation.state is OperationState.WAITING
            doing = "waiting for its turn" if waits else self.operation.doing or "starting"
            progress(self.operation.done, self.operation.total, doing)

    def result(self, timeout: float | None = None, *, progress: Progress | None = None) -> T:
        """Wait for the end and return the result. Raises the operation's error."""
        operation = self.wait(timeout, progress=progress)
        if operation.failure is not None:
            failure = operation.failure
            raise wire.error_of(failure.code, failure.reason, failure.message)
        if not operation.response:  # it was listed, and is not told in full there
            operation = self.refresh()
        response: Any = msgspec.json.decode(operation.response, type=tasks.RESPONSE_OF[operation.method])
        return cast("T", response)

    def rows(self) -> Listing[Link | Gap]:
        """Yield the links or gaps that it found."""
        request = v1.ReadResultRequest(name=self._name)

        def read(page: v1.ReadResultResponse) -> Iterator[Link | Gap]:
            return chain(map(wire.LINK.from_pb, page.links), map(wire.GAP.from_pb, page.gaps))

        return self._transport.items(listing(request, read))

    def download(self, directory: Path, *, progress: Progress | None = None) -> Downloaded:
        """Put the files of its result into a directory, those that are not there yet; a manifest comes last.

        In an extract's directory, files of an earlier extract are removed in the end, and nothing else. What was broken
        off goes on when it is called again. Raises DataLoss when a file is not what the hub said.
        """
        made: Any = self.result()
        if not isinstance(made, ExtractResult | ReportResult):
            raise FailedPrecondition(
                f"the result of {self.operation.method} has no files", reason=Reason.OPERATION_UNFINISHED
            )
        for file in made.files:
            if not _PATH.fullmatch(file.path):
                raise DataLoss(f"the hub names a file that no result has: {file.path[:80]!r}")
        with _disk(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for part in directory.glob(".part-*"):
                part.unlink()
            missing = [f for f in made.files if not _is_there(directory / f.path, f)]
        ordered = [f for f in missing if f.path != _MANIFEST] + [f for f in missing if f.path == _MANIFEST]
        total = sum(f.size for f in ordered)
        done = 0
        for start in range(0, len(ordered), _FILES_AT_ONCE):
            for file in self._fetch(directory, ordered[start : start + _FILES_AT_ONCE]):
                done += file.size
                if progress is not None:
                    progress(done, total, "downloading")
        if isinstance(made, ExtractResult):
            _remove_others(directory, {f.path for f in made.files})
        return Downloaded(fetched=tuple(f.path for f in ordered), unchanged=len(made.files) - len(ordered), size=total)

    def _fetch(self, directory: Path, files: Sequence[ResultFile]) -> Iterator[ResultFile]:
        request = v1.ReadFilesRequest(name=self._name, paths=[f.path for f in files])
        answers = self._transport.stream(Rpc(request=request, read=unread))
        for file in files:
            part = directory / f".part-{secrets.token_hex(8)}"
            digest = hashlib.sha256()
            try:
                with _disk(directory), part.open("wb") as target:
                    for answer in answers:
                        if answer.path != file.path:
                            raise DataLoss("the hub sends other files than were asked for; try again")
                        target.write(answer.data)
                        digest.update(answer.data)
                        if answer.last:
                            break
                    target.flush()
                    os.fsync(target.fileno())
                if digest.hexdigest() != file.sha256:
                    raise DataLoss(f"{file.path} is not what the hub said it is; run it again")
                with _disk(directory):
                    (directory / file.path).parent.mkdir(parents=True, exist_ok=True)
                    put(part, directory / file.path)
            finally:
                part.unlink(missing_ok=True)
            yield file

    def cancel(self) -> Operation:
        """Ask for its end."""
        self.operation = self._ask(v1.CancelOperationRequest(name=self._name), _operation)
        return self.operation

    def delete(self) -> None:
        """Delete it, once it has ended, with its result."""
        self._transport.call(v1.DeleteOperationRequest(name=self._name), repeatable=False)

    @property
    def _name(self) -> str:
        return wire.operation_name(self.operation.id)


class Downloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a download did: which files it fetched, with how many bytes, and how many were there already."""

    fetched: tuple[str, ...]
    unchanged: int
    size: int


class OperationCalls(Calls):
    """Operations of the token's contributor, by any of its tokens."""

    def get_operation(self, operation_id: str) -> OperationHandle[Any]:
        """Return an operation. Raises NotFound."""
        name = wire.operation_name(operation_id)
        wire.parse_operation(name)
        return OperationHandle(self._transport, self._ask(v1.GetOperationRequest(name=name), _operation))

    def list_operations(self) -> Listing[OperationHandle[Any]]:
        """Yield operations, the newest first."""

        def read(pb: v1.Operation) -> OperationHandle[Any]:
            return OperationHandle(self._transport, _operation(pb))

        return self._list(v1.ListOperationsRequest(), "operations", read)


class HashSetChoice(TypedDict, total=False):
    """Which hash sets are compared, by their contributors; see `tasks.Compare`."""

    contributors: tuple[str, ...]
    min_reliability: Reliability | None


class ReconciliationCalls(Calls):
    """Comparisons of databases. Each call starts an operation and returns at once."""

    def extract(self) -> OperationHandle[ExtractResult]:
        """Write an extract; `download` brings it here."""
        return self.start(tasks.ExtractEntries())

    def overlap(
        self,
        by: By = By.HASH_SET,
        *,
        near: bool = False,
        engine: Backend = Backend.DUCKDB,
        **whose: Unpack[HashSetChoice],
    ) -> OperationHandle[Overlap]:
        """Count the items that hash sets, contributors or jurisdictions share."""
        return self.start(tasks.ComputeOverlap(by=by, near=near, engine=engine, **whose))

    def agreement(
        self, *, engine: Backend = Backend.DUCKDB, **whose: Unpack[HashSetChoice]
    ) -> OperationHandle[Agreement]:
        """Compare the statements of several contributors about the same items."""
        return self.start(tasks.ComputeAgreement(engine=engine, **whose))

    def links(self, *, near: bool = False, **whose: Unpack[HashSetChoice]) -> OperationHandle[LinksResult]:
        """Find entries about the same media; `rows` gives them."""
        return self.start(tasks.FindLinks(near=near, **whose))

    def gaps(
        self, jurisdiction: str, *, near: bool = False, **whose: Unpack[HashSetChoice]
    ) -> OperationHandle[GapsResult]:
        """Find the items that others hold and a jurisdiction lacks; `rows` gives them."""
        return self.start(tasks.FindGaps(jurisdiction=jurisdiction, near=near, **whose))

    def report(
        self, *, title: str = "", jurisdictions: Sequence[str] = (), near: bool = False, **whose: Unpack[HashSetChoice]
    ) -> OperationHandle[ReportResult]:
        """Write a page for people; `download` brings it here."""
        return self.start(tasks.WriteReport(title=title, jurisdictions=tuple(jurisdictions), near=near, **whose))

    def start(self, task: Task) -> OperationHandle[Any]:
        """Start the operation of a task."""
        return OperationHandle(self._transport, self._ask(wire.task_to_pb(task), _operation))


def _operation(pb: v1.Operation) -> Operation:
    try:
        return wire.operation_from_pb(pb)
    except InvalidArgument as e:
        raise Unavailable(f"the hub's answer cannot be read ({e.message}); is it of another version?") from e


def _is_there(path: Path, file: ResultFile) -> bool:
    try:
        if path.stat().st_size != file.size:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def _remove_others(directory: Path, named: set[str]) -> None:
    with _disk(directory):
        for pattern in _OURS:
            for path in directory.glob(pattern):
                if path.relative_to(directory).as_posix() not in named:
                    path.unlink()
        for folder in [*directory.glob("digests/*/*"), *directory.glob("digests/*")]:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def _disk(directory: Path) -> Iterator[None]:
    """Turn errors of the disk into HashHubError."""
    try:
        yield
    except OSError as e:
        cause = e.strerror or type(e).__name__
        raise InvalidArgument.field("directory", f"{str(directory)!r} cannot be written: {cause}") from e
