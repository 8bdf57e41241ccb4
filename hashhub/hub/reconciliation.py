"""Reconciliation at the hub: what is asked for, over which hash sets, and who reads what came of it.

Operators and auditors have everything. A contributor has what its terms let it see in a list, and for an extract, which
holds digests and leaves, what they let it take along; its own hash sets always. Its results are computed from those
hash sets only, so they are equal whether or not there are others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub import cancellation
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from hashhub.hub import access
from hashhub.hub.conflicts import Conflicts
from hashhub.hub.operations import Operations, way_out_of
from hashhub.hub.resources import GB_NOT_UK
from hashhub.model import ConflictFilter, ConflictState, Operation, Principal, Role
from hashhub.reconcile import apart, tasks
from hashhub.reconcile.results import Backend, ConflictTotals, Gap, Link, PairConflicts, Progress
from hashhub.reconcile.tasks import ExtractMade, ReportMade, ResultFile, Task
from hashhub.reconcile.work import Job

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.store import Store

_COUNTRY: Final = re.compile("[A-Z]{2}")
_PIECE: Final = 256 * 1024  # bytes of a file that are sent at a time
_MAX_COUNTRIES: Final = 300
_FORMAT: Final = "extract"  # as an export's event names it


class FilePiece(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a file, in order. `is_last`: the file ends with them."""

    path: str
    data: bytes
    is_last: bool


class Reconciliation:
    """Starts what is to be computed, and gives what came of it."""

    def __init__(self, store: Store, config: Config, run: Callable[[Job, Progress], bytes] = apart.run) -> None:
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
        """Return the next rows of a result and the position to go on at; 0 at the end.

        Raises NotFound; FailedPrecondition for an operation without rows, or that has not succeeded, or whose rows are
        gone; PermissionDenied (RESULT_WITHHELD); InvalidArgument for a position that no earlier answer gave.
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
        """Yield files of a result, one after the other; without `paths` all of them, in their order.

        `caller` returns the caller as it is now; terms are asked again before each file. Digests that leave are events,
        before the first byte. Raises as `rows` does, and NotFound for a path that the result does not have.
        """
        principal = caller()
        operation = self.operations.result(principal, operation_id)
        response = msgspec.json.decode(operation.response, type=tasks.RESPONSE_OF[operation.method])
        if not isinstance(response, ExtractMade | ReportMade):
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
        if isinstance(response, ExtractMade):
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
