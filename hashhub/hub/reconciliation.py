"""Reconciliation at the hub: what is asked for, over which hash sets, and the operations that compute it.

Operators and auditors have everything. A contributor has what its terms let it see in a list, and for an extract take
along, and its own. Its results are computed from those only, so that they tell nothing of others.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub import cancellation
from hashhub.background import Background
from hashhub.errors import (
    Cancelled,
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    StatusCode,
    Unauthenticated,
)
from hashhub.holders import new_holder
from hashhub.hub import access
from hashhub.hub.conflicts import Conflicts
from hashhub.hub.resources import GB_NOT_UK
from hashhub.model import (
    ConflictFilter,
    ConflictState,
    EventKind,
    Failure,
    Operation,
    OperationState,
    Principal,
    Role,
    now,
)
from hashhub.reconcile import child_job, tasks
from hashhub.reconcile.child_job import failure_of
from hashhub.reconcile.results import Backend, ConflictTotals, Gap, Link, PairConflicts, Progress
from hashhub.reconcile.tasks import ExtractResult, ReportResult, ResultFile, Task
from hashhub.reconcile.work import Job, alone
from hashhub.store.operations import unknown

if TYPE_CHECKING:
    from hashhub.config import Config
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
_COUNTRY: Final = re.compile("[A-Z]{2}")
_PIECE: Final = 256 * 1024  # bytes of a file that are sent at a time
_MAX_COUNTRIES: Final = 300
_FORMAT: Final = "extract"  # as an export's event names it


Work = Callable[[Operation, Principal, Callable[[list[str]], None], "Progress"], bytes]
"""Does an operation for a principal, tells which hash sets it reads before it does, and returns its response."""


class FilePiece(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a file, in order. `is_last`: the file ends with them."""

    path: str
    data: bytes
    is_last: bool


class Reconciliation:
    """Starts what is to be computed, and gives what came of it."""

    def __init__(self, store: Store, config: Config, run: Callable[[Job, Progress], bytes] = child_job.run) -> None:
        """`run` does a job, and returns its response as JSON."""
        self._store = store
        self._config = config
        self.run = run
        self.operations = Operations(store, config, self._work)

    def start(self, principal: Principal, task: Task, request_id: str = "") -> Operation:
        """Let a task wait for its turn. Raises PermissionDenied, InvalidArgument, FailedPrecondition."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        self._check(task)
        return self.operations.start(principal, tasks.method_of(task), msgspec.json.encode(task), request_id)

    def _check(self, task: Task) -> None:
        match task:
            case tasks.FindGaps(jurisdiction=code):
                _check_country(code, "jurisdiction")
            case tasks.WriteReport():
                if len(task.jurisdictions) > _MAX_COUNTRIES:
                    raise InvalidArgument.field("jurisdictions", f"must be at most {_MAX_COUNTRIES}", "TOO_MANY")
                for index, code in enumerate(task.jurisdictions):
                    _check_country(code, f"jurisdictions[{index}]")
                if len(task.title) > tasks.MAX_TITLE:
                    raise InvalidArgument.field("title", f"must be at most {tasks.MAX_TITLE} characters", "TOO_LONG")
            case tasks.ComputeOverlap(engine=Backend.RAY) | tasks.ComputeAgreement(engine=Backend.RAY):
                if not self._config.ray_address:
                    raise FailedPrecondition(
                        "this server has no Ray cluster (setting ray_address); leave the engine out, or download an "
                        "extract and run it there: hashhub reconcile overlap --extract DIR --engine ray",
                        reason=Reason.MISSING_EXTRA,
                    )

    def _work(
        self, operation: Operation, caller: Principal, note: Callable[[list[str]], None], progress: Progress
    ) -> bytes:
        """Do one operation, with the rights that its caller has now."""
        task = tasks.task_from_json(operation.request)
        access.allow(caller, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        registry = self._store.resources.registry()
        listed = access.sight(caller, registry, access.DisclosureChannel.LIST).visible
        allowed = access.sight(caller, registry, way_out_of(operation.method)).visible
        note(sorted(allowed))
        is_overseer = caller.role in access.OVERSEERS
        job = Job(
            task=task,
            database=self._config.database_url() or str(Path(self._config.data).absolute()),
            base=str(self.operations.base),
            out=str(self.operations.directory(operation.id)),
            hash_sets=None if is_overseer else tuple(sorted(allowed)),
            left_out=tuple(sorted(listed - allowed)),
            schemes=self._config.schemes and str(Path(self._config.schemes).absolute()),
            ray_address=self._config.ray_address,
            conflicts=self._conflicts(caller) if isinstance(task, tasks.WriteReport) else None,
        )
        return self.run(job, progress)

    def _conflicts(self, caller: Principal) -> ConflictTotals:
        """Return those conflicts that the caller may know of and nobody has resolved, counted."""
        waiting = ConflictFilter(states=(ConflictState.OPEN, ConflictState.ASSIGNED))
        counted = Conflicts(self._store).summarise(caller, waiting)
        numbers: Counter[tuple[str, str, str, str]] = Counter()
        for c in counted.counts:
            numbers[c.kind, c.severity, c.left, c.right] += c.count
        return ConflictTotals(
            revision=self._store.revision() if counted.looked_upto is None else counted.looked_upto,
            counts=tuple(
                PairConflicts(kind=kind, severity=severity, left=left, right=right, count=number)
                for (kind, severity, left, right), number in sorted(numbers.items())
            ),
        )

    def rows(self, principal: Principal, operation_id: str, size: int, after: int) -> tuple[list[Link | Gap], int]:
        """Return the next rows of a result and the position to go on at; 0 at the end. Raises NotFound;
        FailedPrecondition for an operation without rows; PermissionDenied (RESULT_WITHHELD); InvalidArgument for a
        wrong position.
        """
        operation = self.operations.result(principal, operation_id)
        kind = tasks.ROW_OF.get(operation.method)
        if kind is None:
            raise FailedPrecondition(
                f"the result of {operation.method} has no rows; read the operation's response",
                reason=Reason.OPERATION_UNFINISHED,
            )
        decode = msgspec.json.Decoder(kind).decode
        try:
            with (self.operations.directory(operation_id) / tasks.ROWS).open("rb") as file:
                if after:
                    file.seek(after - 1)
                    if file.read(1) != b"\n":
                        raise InvalidArgument.field(
                            "page_token", "is damaged, or of another list; start again without it", "PAGE_TOKEN"
                        )
                lines = [line for _ in range(size) if (line := file.readline())]
                end = file.tell()
                has_more = bool(file.read(1))
        except OSError as e:
            raise _gone() from e
        return [decode(line) for line in lines], end if has_more else 0

    def files(self, caller: Callable[[], Principal], operation_id: str, paths: Sequence[str]) -> Iterator[FilePiece]:
        """Yield files of a result, one after the other; without `paths` all of them. `caller` returns the caller as it
        is now; terms are asked before each file. Digests that leave are events first. Raises as `rows`; NotFound for a
        path.
        """
        principal = caller()
        operation = self.operations.result(principal, operation_id)
        response = msgspec.json.decode(operation.response, type=tasks.RESPONSE_OF[operation.method])
        if not isinstance(response, ExtractResult | ReportResult):
            raise FailedPrecondition(
                f"the result of {operation.method} has no files; read the operation's response",
                reason=Reason.OPERATION_UNFINISHED,
            )
        known = {file.path: file for file in response.files}
        for path in paths:
            if path not in known:
                raise NotFound(f"operation {operation_id} has no file {path[:120]!r}; its response lists them")
        wanted = [known[path] for path in dict.fromkeys(paths)] if paths else list(response.files)
        directory = self.operations.directory(operation_id) / tasks.FILES
        if not all((directory / file.path).exists() for file in wanted):
            raise _gone()
        if isinstance(response, ExtractResult):
            self._note(principal, response.revision, wanted)
        for file in wanted:
            self.operations.result(caller(), operation_id)
            yield from _pieces(directory / file.path, file)

    def _note(self, principal: Principal, revision: int, files: Sequence[ResultFile]) -> None:
        """Write down which hash sets' digests leave."""
        count_by_set: dict[str, int] = {}
        for file in files:
            parts = PurePosixPath(file.path).parts
            if len(parts) > 3 and parts[0] == "digests":  # noqa: PLR2004 - digests/CONTRIBUTOR/SET/FILE
                name = f"{parts[1]}/{parts[2]}"
                count_by_set[name] = count_by_set.get(name, 0) + 1
        self._store.history.note_export(
            {
                f"hash-sets/{name}": {"format": _FORMAT, "revision": revision, "files": count}
                for name, count in sorted(count_by_set.items())
            },
            by=access.actor(principal),
            details={},
        )


def _pieces(path: Path, file: ResultFile) -> Iterator[FilePiece]:
    try:
        with path.open("rb") as source:
            while True:
                cancellation.check()
                data = source.read(_PIECE)
                is_last = source.tell() >= file.size
                yield FilePiece(path=file.path, data=data, is_last=is_last)
                if is_last:
                    return
                if not data:
                    raise _gone()
    except OSError as e:
        raise _gone() from e


def _gone() -> FailedPrecondition:
    return FailedPrecondition(
        "this result's rows and files are not kept any more, or are at another machine of this hub; start the "
        "operation again",
        reason=Reason.RESULT_GONE,
    )


def _check_country(code: str, field: str) -> None:
    if not _COUNTRY.fullmatch(code):
        raise InvalidArgument.field(
            field, f"must be two capitals of ISO 3166-1, such as NL; got {code[:10]!r}", "PATTERN"
        )
    if code == "UK":
        raise InvalidArgument.field(field, GB_NOT_UK, "PATTERN")


class Operations:
    """Long-running operations, one at a time for the whole hub, each in a child process and with the rights that the
    token which started it has then. Whoever reads a result must be allowed to see all that it was made of at that
    moment.
    """

    def __init__(self, store: Store, config: Config, work: Work) -> None:
        self._store = store
        self._work = work
        # The directory of the extract that this server keeps, and of the results.
        self.base = Path(config.data).absolute() / "reconcile"
        self._days = config.operation_days
        self.keep_withdrawn_days = config.keep_withdrawn_days or _EXTRACT_DAYS
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
        """Return an operation that succeeded. Raises NotFound, FailedPrecondition, PermissionDenied."""
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
            days = min(self._days, _EXTRACT_DAYS) if operation.method == "ExtractEntries" else self._days
            expiry = now() + timedelta(days=days)
            self._store.operations.finish(
                operation.id, lease, response=response, failure=failure, size=size, expire_time=expiry
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
            latest = purged[0].time - timedelta(days=min(_EXTRACT_DAYS, self.keep_withdrawn_days)) if purged else None
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
