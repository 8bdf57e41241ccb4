"""Contributing a source, or the parts of a release: the client's half of the first main path (see ARCHITECTURE.md).

    source ──(1) digest──> (2) open ──> (3) connector: records, rejects ──> (4) batches ──> (5) commit ──> (6) report
                             │                                                │
                             └── already committed: report, nothing else      └── stored items are skipped: the resume

A second run over the same bytes continues after the last item that the hub stored, however they were batched.
The connector reads on while batches are being sent.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from io import UnsupportedOperation
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final, TypedDict, Unpack

import msgspec

from hashhub import connector as connectors
from hashhub import v1, wire
from hashhub.client.sources import Release
from hashhub.client.transport import (
    Calls,
    Listing,
    Rpc,
    SendAhead,
    Transport,
    hash_set_name,
    import_name,
    listing,
    unread,
)
from hashhub.connector import Connector, LeftOut, check_options
from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    MalformedSource,
    NotFound,
    Unavailable,
)
from hashhub.hygiene import ABOUT_SOURCE, Code
from hashhub.item import FieldKind, of_kind
from hashhub.model import Disposition, Finding, Import, ImportState, Record, Reject, now
from hashhub.signing.manifest import Manifest, entries_root

# The rule of the cut: a run may go on behind batches that were cut by another.
BATCH_ITEMS: Final = 4_000
BATCH_BYTES: Final = 4 * 1024 * 1024

_HASH_BYTES: Final = 48  # of a hash on the wire, near enough
# Of a frame, counted double: reading the four parts that it has takes a server as long as twice the bytes of a text.
_FRAME_BYTES: Final = 96
_texts_of: Final = attrgetter(*(f.name for f in of_kind(FieldKind.TEXT)))
_TOLD_EVERY: Final = 1_000  # items
_PATIENCE: Final = 120.0  # seconds to keep trying when the hub goes away in the middle: longer than a restart takes
_COMMIT_TIMEOUT: Final = 3_600.0  # seconds; a commit writes every entry of the list
_POSITIONS_SHOWN: Final = 3
_REPORTED: Final = (
    Disposition.REJECTED,
    Disposition.QUARANTINED,
    Disposition.STAYS_WITHDRAWN,
    Disposition.WITHDRAWN,
    Disposition.NOTED,
    Disposition.DUPLICATE,
)
FINDINGS_READ: Final = 100_000  # a report reads at most this many; the counts of the import are complete in any case


class ImportPhase(StrEnum):
    """What an import is doing."""

    CHECKSUM = "CHECKSUM"
    SENDING = "SENDING"
    COMMITTING = "COMMITTING"


class ImportOptions(TypedDict, total=False):
    """How a source is contributed.

    `options`: of the connector. `replace`: the source is the full list; entries that it lacks are withdrawn, unless far
    too many would be (`allow_shrinking`). `validate_only`: say what would happen, and leave nothing. `keep_on_failure`:
    do not cancel an import whose source turns out to be damaged. `signature`: what `hashhub sign` wrote about it.
    """

    options: Mapping[str, str] | None
    replace: bool
    validate_only: bool
    allow_shrinking: bool
    keep_on_failure: bool
    signature: bytes


class ImportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import is: `done` of `total` bytes of the source in this phase, and the items read so far."""

    phase: ImportPhase
    done: int
    total: int
    items: int = 0


class FindingGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Findings of one disposition and reason, or field left out: how many, the first's places and sentence."""

    disposition: Disposition
    reason: str
    count: int
    positions: tuple[str, ...]
    detail: str


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a source.

    `repeated`: this source had been imported before, and nothing was done now. `resumed_batches`: how many batches an
    earlier run had stored. `groups` lists findings by disposition and reason, except ACCEPTED and UNCHANGED ones, which
    have a count only; `groups_complete` is False when there were more than FINDINGS_READ of them and only the first
    ones were read, or when the hub went away or was too busy right after the commit.
    """

    source: Import
    groups: tuple[FindingGroup, ...] = ()
    groups_complete: bool = True
    validate_only: bool = False
    repeated: bool = False
    resumed_batches: int = 0

    @property
    def unclassified(self) -> int:
        """How many items are quarantined because they lack a classification."""
        groups = (g for g in self.groups if g.disposition is Disposition.QUARANTINED and g.reason == Code.UNCLASSIFIED)
        return sum(g.count for g in groups)

    @property
    def is_refused(self) -> bool:
        """Whether items were given but not one of them was taken."""
        c = self.source.counts
        return c.items > 0 and c.rejected == c.items


class SourceChangedError(MalformedSource):
    """The source was written to while it was read, so its digest would describe other bytes."""


def contribute(
    transport: Transport,
    sources: Sequence[BinaryIO],
    *,
    connector: Connector | None,
    parent: str,
    progress: Callable[[ImportProgress], None],
    options: Mapping[str, str] | None = None,
    replace: bool = False,
    validate_only: bool = False,
    allow_shrinking: bool = False,
    keep_on_failure: bool = False,
    signature: bytes = b"",
) -> ImportReport:
    """Contribute all of seekable `sources` to the hash set named `parent`; see Client.import_source."""
    options = options or {}
    if connector is not None:
        check_options(connector, options)
    release = Release(sources)

    # (1) The digest identifies the source; it is taken of the bytes as they are given, those of a container included.
    try:
        before = release.written()
        total = release.size()
        digest = release.digest(
            lambda done: progress(ImportProgress(phase=ImportPhase.CHECKSUM, done=done, total=max(total, done)))
        )
        connector, options = release.recognise(connector, options)
    except OSError as e:
        raise _unreadable(e) from e
    check_options(connector, options)
    stated = release.hash_sets()
    name = "/".join(wire.parse_hash_set(parent))
    if name in {s.name for s in stated}:
        asked = v1.GetHashSetRequest(name=parent)
        here = wire.HASH_SET.from_pb(transport.call(asked))
        others = [s for s in stated if (s.name, s.create_time) != (name, here.create_time)]
        if len(others) < len(stated):  # exported of this very hash set: its own statements, and no floor for itself
            stated, options = others, release.read_as_own(name)
    terms = [s.marking for s in stated]

    # (2) Open, or find the import that these bytes, this connector and these options gave before.
    wanted = v1.Import(
        connector=connector.name,
        connector_version=connector.version + _options_mark(options),
        source_digest=digest,
        replace=replace,
        has_classifications=connector.has_classifications(options),
        terms=[wire.MARKING.to_pb(m) for i, m in enumerate(terms) if m not in terms[:i]],
        signature=signature,
    )
    request = v1.CreateImportRequest(parent=parent, request_id=str(uuid.uuid4()))
    getattr(request, "import").CopyFrom(wanted)  # a keyword of Python
    opened: v1.Import = transport.call(request)
    current = wire.IMPORT.from_pb(opened)
    if current.state is ImportState.COMMITTED:
        before_now = report(transport, opened.name, current)
        return msgspec.structs.replace(before_now, repeated=True)
    stored = opened.batch_count

    # (3) and (4) Read, cut, send.
    progress(
        ImportProgress(phase=ImportPhase.SENDING, done=0, total=total)
    )  # who watches knows that the import is open
    try:
        items = release.read()
        count = _send_batches(transport, opened, _counted(items, release, total, progress))
        if release.written() != before:
            raise SourceChangedError(
                "the file changed while it was read; import a finished file", position="end of source"
            )
    except InvalidArgument as e:
        if what := release.described():
            e.add_note(f"this is {what}")
        # The same bytes would fail again: nothing of it stays, unless somebody wants to look.
        if not keep_on_failure:
            _cancel(transport, opened.name, e)
        raise
    except OSError as e:
        raise _unreadable(e) from e

    # (5) Commit: until here nobody sees anything of it.
    progress(ImportProgress(phase=ImportPhase.COMMITTING, done=total, total=total))
    commit = v1.CommitImportRequest(
        name=opened.name, batch_count=count, allow_shrinking=allow_shrinking, validate_only=validate_only
    )
    committed = transport.call(commit, timeout=_COMMIT_TIMEOUT, retry_seconds=_PATIENCE)

    # (6) What happened to every item.
    done = wire.IMPORT.from_pb(committed)
    try:
        done_report = report(transport, opened.name, done)
    except (Unavailable, LimitExceeded):
        # What is committed is committed: a hub that stops or is too busy now must not make it look as if it were not.
        done_report = ImportReport(source=done, groups_complete=False)
    return msgspec.structs.replace(done_report, validate_only=validate_only, resumed_batches=stored)


def manifest_of(
    sources: Sequence[BinaryIO],
    *,
    connector: Connector | None,
    hash_set: str,
    options: Mapping[str, str] | None = None,
    replace: bool = False,
) -> tuple[Manifest, str]:
    """Return the manifest of what contributing seekable sources would state now, and the sources' digest. Raises as
    `contribute` for what cannot be read.
    """
    release = Release(sources)
    try:
        before = release.written()
        release.size()
        digest = release.digest(lambda _: None)
        connector, options = release.recognise(connector, options or {})
        check_options(connector, options)
        stated = [s for s in release.hash_sets() if s.name != hash_set]
        if len(stated) < len(release.hash_sets()):
            options = release.read_as_own(hash_set)
        count, root = entries_root(release.read())
        if release.written() != before:
            raise SourceChangedError("the file changed while it was read; sign a finished file", position="the end")
    except OSError as e:
        raise _unreadable(e) from e
    terms = [s.marking for s in stated]
    return Manifest(
        hash_set=hash_set,
        connector=connector.name,
        connector_version=connector.version + _options_mark(options),
        entry_count=count,
        entries_root=root,
        time=now(),
        replace=replace,
        terms=tuple(m for i, m in enumerate(terms) if m not in terms[:i]),
    ), digest


def report(transport: Transport, name: str, source: Import) -> ImportReport:
    """Read the report of the import with this resource name."""
    groups: dict[tuple[Disposition, str, str], FindingGroup] = {}
    complete = True
    for index, finding in enumerate(transport.items(findings(name, _REPORTED))):
        if index == FINDINGS_READ:
            complete = False
            break
        # What was left out is told field by field.
        field = finding.position if finding.reason == Code.FIELD_LEFT_OUT else ""
        key = (finding.disposition, finding.reason, field)
        g = groups.get(key)
        if g is None:
            g = FindingGroup(
                disposition=finding.disposition, reason=finding.reason, count=0, positions=(), detail=finding.detail
            )
        more = (finding.position,) if len(g.positions) < _POSITIONS_SHOWN else ()
        times = LeftOut.times(finding.detail) if field else 1
        groups[key] = msgspec.structs.replace(g, count=g.count + times, positions=g.positions + more)
    order = sorted(groups.values(), key=lambda g: (_REPORTED.index(g.disposition), -g.count, g.reason))
    return ImportReport(
        source=source, groups=tuple(order), groups_complete=complete, validate_only=source.is_only_checked
    )


def findings(name: str, dispositions: Iterable[Disposition]) -> Rpc[Iterable[Finding]]:
    """Return the call that lists the findings of the import with this resource name, in the order of the source."""
    request = v1.ListFindingsRequest(parent=name, dispositions=[wire.DISPOSITION.to_pb(one) for one in dispositions])
    return listing(request, lambda page: map(wire.FINDING.from_pb, page.findings))


def cut(items: Iterable[Record | Reject]) -> Iterator[v1.AddRecordsRequest]:
    """Yield batches of at most BATCH_ITEMS items; one of more than BATCH_BYTES ends with the item that exceeded it."""
    records: list[Record] = []
    rejects: list[Reject] = []
    size = 0
    for one in items:
        if isinstance(one, Record):
            records.append(one)
            size += _record_size(one)
        elif isinstance(one, Reject):
            rejects.append(one)
            size += len(one.position) + len(one.reason) + len(one.detail)
        else:
            raise InvalidArgument.field("items", f"must be Record or Reject, got {type(one).__name__}")
        if len(records) + len(rejects) == BATCH_ITEMS or size >= BATCH_BYTES:
            yield _batch(records, rejects)
            records, rejects, size = [], [], 0
    if records or rejects:
        yield _batch(records, rejects)


def _batch(records: Sequence[Record], rejects: Sequence[Reject]) -> v1.AddRecordsRequest:
    batch = v1.AddRecordsRequest(rejects=map(wire.REJECT.to_pb, rejects))
    if records:
        wire.columns_to_pb(records, batch.columns)
    return batch


def _record_size(record: Record) -> int:
    """Return about how many bytes a record has on the wire: its texts in characters, and its digests."""
    size = len(record.position) + _HASH_BYTES * len(record.hashes) + len("".join(_texts_of(record)))
    if record.tags:
        size += sum(map(len, record.tags))
    if record.faults or record.reviews:
        size += sum(len(f.algorithm) + len(f.reason) + len(f.detail) for f in record.faults)
        size += sum(len(r.author) + len(r.comment) for r in record.reviews)
    return size + _FRAME_BYTES * len(record.frames)


def _send_batches(transport: Transport, opened: v1.Import, items: Iterable[Record | Reject]) -> int:
    """Send the items but those that are stored, and return how many batches there are."""
    count = opened.batch_count
    with SendAhead(transport) as ahead:
        for batch in cut(_behind(items, opened.item_count)):
            batch.name = opened.name
            batch.batch_index = count
            ahead.send(Rpc(request=batch, read=unread, retry_seconds=_PATIENCE))
            count += 1
    return count


def _behind(items: Iterable[Record | Reject], count: int) -> Iterator[Record | Reject]:
    """Yield the items after the first `count`. Raises Conflict when there are fewer."""
    left = count
    for one in items:
        if left:
            left -= 1
        else:
            yield one
    if left:
        raise Conflict(
            f"the import holds {count} items, and the source gives only {count - left}: the format reads it otherwise "
            "now; cancel the import and import the source again"
        )


def _counted(
    items: Iterable[Record | Reject], source: Release, total: int, progress: Callable[[ImportProgress], None]
) -> Iterator[Record | Reject]:
    """Pass the items on, reporting progress about every thousand."""
    count = told = 0
    for item in items:
        is_aside = isinstance(item, Reject) and item.reason in ABOUT_SOURCE
        count += not is_aside
        if count - told >= _TOLD_EVERY:
            told = count
            progress(
                ImportProgress(phase=ImportPhase.SENDING, done=min(source.tell(), total), total=total, items=count)
            )
        yield item
    progress(ImportProgress(phase=ImportPhase.SENDING, done=total, total=total, items=count))


def _unreadable(error: OSError) -> InvalidArgument:
    if isinstance(error, UnsupportedOperation):
        return InvalidArgument.field(
            "source", "must be a file or a stream that can be read twice; copy a pipe to a file"
        )
    return InvalidArgument.field("source", f"reading failed ({error.strerror or type(error).__name__}); check the disk")


def _options_mark(options: Mapping[str, str]) -> str:
    """Return what marks these options in a connector's version: under other ones the same bytes give other records."""
    if not options:
        return ""
    try:
        text = msgspec.json.encode(sorted(options.items()))
    except UnicodeEncodeError as e:
        raise InvalidArgument.field("options", "must be valid Unicode text") from e
    return "+" + hashlib.sha256(text).hexdigest()[:12]


def _cancel(transport: Transport, name: str, cause: HashHubError) -> None:
    try:
        transport.call(v1.CancelImportRequest(name=name))
    except (Unavailable, FailedPrecondition, Conflict) as e:
        # The cause matters more; an import that stays open is invisible and is found again by its digest.
        cause.add_note(f"the import could not be cancelled either: {e.message}")


class ImportCalls(Calls):
    """Imports, and the outcomes of their items."""

    def import_source(
        self,
        source: Path | BinaryIO | Sequence[Path | BinaryIO],
        *,
        hash_set: str,
        connector: str | None = None,
        progress: Callable[[ImportProgress], None] | None = None,
        **how: Unpack[ImportOptions],
    ) -> ImportReport:
        """Contribute a source to `CONTRIBUTOR/SET` and return what became of every item.

        `source` is a regular file, or a seekable binary stream. It is read twice: for its digest, which makes the
        import idempotent, and for its items. A gzip file, or a ZIP archive with one list in it, is unpacked as it is
        read. `connector` is the name of the format; without it the file says what it is, and is refused
        (UNKNOWN_FORMAT) where that is not clear. Several sources are the parts of one release, in their order and in
        one format: all of them become visible together, or nothing does, and positions begin with the name of the part.
        A run that was cut off is resumed by calling this again with the same arguments. `how`: see ImportOptions.

        Raises MalformedSource or InvalidArgument when the source cannot be read to its end or the hub refuses it as a
        whole; the import is then cancelled and nothing of it stays, unless `keep_on_failure`. Raises Unavailable when
        the hub stays away; what it stored is kept for the resume.
        """
        parts = [source] if isinstance(source, Path) or not isinstance(source, Sequence) else source
        with ExitStack() as stack:
            return contribute(
                self._transport,
                [stack.enter_context(_opened(part)) if isinstance(part, Path) else part for part in parts],
                connector=None if connector is None else connectors.get(connector),
                parent=hash_set_name(hash_set),
                progress=progress or (lambda _: None),
                **how,
            )

    def get_import(self, name: str) -> Import:
        """Return the import `CONTRIBUTOR/SET/IMPORT`. Raises NotFound. Roles: operator, auditor, contributor."""
        return self._ask(v1.GetImportRequest(name=import_name(name)), wire.IMPORT.from_pb)

    def list_imports(self, hash_set: str) -> Listing[Import]:
        """Yield the imports of `CONTRIBUTOR/SET`, newest first. Roles: operator, auditor, contributor."""
        return self._list(v1.ListImportsRequest(parent=hash_set_name(hash_set)), "imports", wire.IMPORT.from_pb)

    def cancel_import(self, name: str) -> Import:
        """End the import `CONTRIBUTOR/SET/IMPORT`, which must not be committed; nothing of it stays.

        Roles: operator, contributor.
        """
        return self._ask(v1.CancelImportRequest(name=import_name(name)), wire.IMPORT.from_pb)

    def report(self, name: str) -> ImportReport:
        """Return once more what became of every item of `CONTRIBUTOR/SET/IMPORT`.

        Roles: operator, auditor, contributor.
        """
        return report(self._transport, import_name(name), self.get_import(name))

    def list_findings(self, name: str, dispositions: Iterable[Disposition] = ()) -> Listing[Finding]:
        """Yield the outcomes of items of `CONTRIBUTOR/SET/IMPORT`, except accepted ones, in the source's order."""
        return self._transport.items(findings(import_name(name), dispositions))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise NotFound(
            f"cannot read {str(path)!r}: {e.strerror or type(e).__name__}; check the path and its permissions"
        ) from e
