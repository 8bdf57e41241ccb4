"""The contribute path, `Contribute.commit`: from a connector's records to entries that match.

Two passes over the staged batches keep memory flat: the first collects digests and values as columns and decides what
becomes of every item, the second writes.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub import cancellation
from hashhub.answering.lookup import items_doubted
from hashhub.background import Background
from hashhub.errors import (
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Reason,
    Violation,
)
from hashhub.hub import access
from hashhub.hub.access import VisibleLists
from hashhub.hub.intake import Batch, Intake, NewEntries, Stager
from hashhub.hub.intake.identity import HeldItems
from hashhub.model import (
    MAX_BATCH,
    Disposition,
    Finding,
    HashSet,
    Import,
    ImportState,
    Principal,
    Record,
    Reject,
    ReviewKind,
    Role,
    now,
)
from hashhub.signing.manifest import leaf_of
from hashhub.store import EntryColumns, Origin, StaleCommit, trace_of
from hashhub.store.entry_codec import unpack_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hashhub.config import Config
    from hashhub.hashes import Hash
    from hashhub.hub.follow import Follower
    from hashhub.hub.health import Tally
    from hashhub.hub.schemes import Catalogue
    from hashhub.hub.signatures import Signatures
    from hashhub.matcher import Matcher
    from hashhub.schemes import Scheme
    from hashhub.store import Store
    from hashhub.store.comparison import Keys

DOUBTS_A_DAY: Final = 100
"""Of how many items a contributor's harmless verdicts weigh by themselves; those beyond wait for the operator's
acceptance. An entry counts as often as its hashes may be of different items (`items_doubted`), and of one list only
the first so many are counted.

Each counts when it is stated, whether or not anybody lists the item: then no order of statements makes more of them
weigh, and the remark on an entry tells its contributor nothing of what it may not see.
"""
_SHA256: Final = re.compile("[0-9a-f]{64}")
_FRAMES_BYTES: Final = 4096  # of frames that take about as long to write as an entry
_TIMES: Final = 3  # that a commit is decided anew before its caller is told to come again
_LOOK_SECONDS: Final = 0.2  # between two looks whether the hub is ready
PIECE: Final = 10_000  # entries written at a time: other writers wait for one piece at most, well under half a second


class Contribute:
    """Imports: open, add, commit, cancel, report."""

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        catalogue: Catalogue,
        follower: Follower,
        signatures: Signatures,
        tally: Tally,
        config: Config,
    ) -> None:
        self._store = store
        self._signatures = signatures
        self._matcher = matcher
        self._catalogue = catalogue
        self._follower = follower
        self._tally = tally
        self._config = config
        # What a commit leaves to do once it is visible: nobody who contributes a list need wait for that.
        self.tidying = Background("tidy", self._tidy, complaint="what imports leave behind is not tidied up")
        # One commit at a time in a process: a commit takes a core and a few hundred megabytes.
        self._committing = threading.Lock()

    def open(
        self, principal: Principal, import_: Import, *, validate_only: bool = False, request_id: str = ""
    ) -> Import:
        """Open an import, or return the one of the same source (OPEN: go on at `batch_count`; COMMITTED: nothing is
        left to do), unless entries of its hash set have been withdrawn since. What was withdrawn by hand stays so.
        Raises NotFound, PermissionDenied, InvalidArgument.
        """
        access.allow_writing(principal, import_.contributor)
        self._store.resources.get_hash_set(import_.contributor, import_.hash_set)
        wrong = [
            Violation(f"import.{field}", "must not be empty", "REQUIRED")
            for field in ("connector", "connector_version")
            if not getattr(import_, field)
        ]
        digest = import_.source_digest.lower()
        if not _SHA256.fullmatch(digest):
            text = "must be the source's SHA-256 as 64 hexadecimal digits"
            wrong.append(Violation("import.source_digest", text, "PATTERN"))
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong))
        opened = msgspec.structs.replace(
            import_,
            id=f"imp-{secrets.token_hex(10)}",
            source_digest=digest,
            state=ImportState.OPEN,
            actor=principal.name,
            create_time=now(),
            signing_key="",
        )
        sign_time = None
        if import_.signature:
            manifest, key = self._signatures.check(opened, is_opened=True)
            opened, sign_time = msgspec.structs.replace(opened, signing_key=key), manifest.time
        if validate_only:
            return opened
        return self._store.imports.create_import(
            opened, sign_time=sign_time, request_id=request_id, most_open=self._config.max_open_imports
        )

    def add(
        self, principal: Principal, import_id: str, index: int, records: Sequence[Record], rejects: Sequence[Reject]
    ) -> Import:
        """Check the records of one batch and stage it, atomically. Raises FailedPrecondition (IMPORT_CLOSED;
        IMPORT_INCOMPLETE: a batch was left out), Conflict for another batch under this index, LimitExceeded beyond
        MAX_BATCH items.
        """
        import_ = self._mine(principal, import_id)
        if len(records) + len(rejects) > MAX_BATCH:
            raise LimitExceeded(
                f"a batch holds at most {MAX_BATCH} items, got {len(records) + len(rejects)}; send smaller ones",
                reason=Reason.TOO_LARGE,
            )
        stager = Stager()
        for record in records:
            stager.add(record)
        payload = stager.staged(rejects)
        demanded = self._store.resources.hash_sets()[f"{import_.contributor}/{import_.hash_set}"].require_signature
        leaves = b"".join(map(leaf_of, records)) if demanded or import_.signature else None
        with self._tally.phase("stage"):
            opened = self._store.imports.put_batch(
                import_id,
                index,
                payload,
                leaves,
                items=len(records) + len(rejects),
                most_bytes=self._config.max_staged_bytes,
            )
        self._tally.add("batches")
        self._tally.add("bytes", number=len(payload))
        return opened

    def commit(
        self,
        principal: Principal,
        import_id: str,
        *,
        batch_count: int,
        allow_shrinking: bool = False,
        validate_only: bool = False,
    ) -> Import:
        """Make the import's entries visible, atomically, and account for every item.

            (1)  connector and client turned bytes into batches, (2) `open` and (3), (4) `add` checked and staged them
            (5)  resolve raw values in the hash set's scheme and decide what becomes of every item (`intake`)
            (6)  write entries and hashes in pieces that are not visible yet; the matchers already take the digests in
            (7)  move the revision in one small transaction: all of it is visible, what it replaces is withdrawn
            (8)  return the counts; `findings` lists what became of each item that was not simply accepted

        A commit that fails, is cut off or whose caller goes away before (7) leaves nothing visible; committing again
        starts over from the staged batches. So does one during which what it decided on moved. Committing a COMMITTED
        import returns it. With `validate_only` steps (5) and (8) happen and the import is cancelled.

        Raises FailedPrecondition: IMPORT_INCOMPLETE when `batch_count` differs from what is stored, IMPORT_CLOSED after
        a cancellation, LIST_SHRANK when a replacing list keeps too few entries and `allow_shrinking` is False,
        CONTRIBUTOR_RETIRED, SIGNATURE_REQUIRED, SIGNATURE_REFUSED. Conflict when another process is committing into the
        same hash set, or entries are moved again and again.
        """
        import_ = self._mine(principal, import_id)
        if import_.state is ImportState.COMMITTED:
            self._follower.catch_up()
            return import_
        if import_.batch_count != batch_count:
            raise FailedPrecondition(
                f"the import has {import_.batch_count} batches, the caller counted {batch_count}; send the missing "
                "ones and commit again",
                reason=Reason.IMPORT_INCOMPLETE,
                metadata={"batchCount": str(import_.batch_count)},
            )
        with self._committing:
            for times in range(1, _TIMES + 1):
                try:
                    done = self._commit(
                        principal, import_, allow_shrinking=allow_shrinking, validate_only=validate_only
                    )
                    break
                except StaleCommit:
                    if times == _TIMES:
                        raise
            if done.state is ImportState.COMMITTED:
                with self._tally.phase("follow"):
                    self._follower.catch_up()
        self.tidying.wake()
        return done  # (8)

    def _commit(self, principal: Principal, import_: Import, *, allow_shrinking: bool, validate_only: bool) -> Import:
        """Take the steps (5) to (7) of `commit` once. Raises StaleCommit when what was decided on moved before (7)."""
        import_id = import_.id
        import_ = self._store.commits.begin_commit(import_id, by=access.actor(principal))
        if import_.state is ImportState.COMMITTED:
            return import_  # by another process meanwhile
        try:
            hash_set = self._store.resources.get_hash_set(import_.contributor, import_.hash_set)
            with self._tally.phase("signature"):
                self._signatures.check_commit(import_, hash_set)
            # Only now: what others committed into the same hash set before must be compared with.
            intake = Intake(
                self._store,
                hash_set,
                self._scheme(hash_set),
                partial(self._held_items, import_),
                replace=import_.replace,
                has_classifications=import_.has_classifications,
                terms=import_.terms,
                keep_alive=partial(self._go_on, import_id),
            )
            with self._tally.phase("decide"):
                intake.decide(lambda: self._batches(import_id))  # (5)
            if import_.replace and not allow_shrinking:
                self._guard(intake)
            if validate_only:
                report = intake.findings(self._batches(import_id), 0)
                return self._store.imports.cancel_import(import_id, counts=intake.counts, findings=report)
            first = self._store.stage.allocate_entries(import_id, intake.entry_count) if intake.entry_count else 0
            with self._tally.phase("write"):
                reviews, harmless = self._write(principal, import_, intake, first)  # (6)
            compared = intake.compared
            with self._tally.phase("publish"):
                done = self._store.commits.finish_commit(  # (7)
                    import_id,
                    counts=intake.counts,
                    supersede=compared.superseded,
                    absent=compared.absent,
                    withdraw=compared.withdrawn,
                    reviews=reviews,
                    restated=intake.restated(first),
                    deletion_times=compared.deletion_times,
                    lift=intake.overtaken,
                    doubting=harmless,
                    daily_doubts=DOUBTS_A_DAY,
                    unchanged=intake.unchanged,
                )
        except BaseException:
            # The database may be what failed: the lease then runs out by itself.
            with contextlib.suppress(HashHubError):
                self._store.leases.release_commit(import_id)
            raise
        self._tally.committed(done.counts)
        return done

    def cancel(self, principal: Principal, import_id: str) -> Import:
        """End an import, whichever process is at it. Raises FailedPrecondition when it is committed."""
        self._mine(principal, import_id)
        return self._store.imports.cancel_import(import_id, is_asked_for=True)

    def get(self, principal: Principal, import_id: str) -> Import:
        """Return an import. Raises NotFound."""
        return self._mine(principal, import_id, write=False)

    def list(
        self, principal: Principal, contributor: str, hash_set: str, page_size: int, after: str
    ) -> tuple[list[Import], str]:
        """Return a hash set's imports, newest first, and where to go on."""
        access.allow_reading(principal, contributor)
        self._store.resources.get_hash_set(contributor, hash_set)
        imports = self._store.imports.list_imports(contributor, hash_set, page_size + 1, after)
        imports = [msgspec.structs.replace(import_, signature=b"") for import_ in imports]
        return imports[:page_size], imports[page_size - 1].id if len(imports) > page_size else ""

    def findings(
        self, principal: Principal, import_id: str, page_size: int, after: int, dispositions: Sequence[Disposition] = ()
    ) -> tuple[Sequence[Finding], int]:
        """Return an import's findings behind the first `after`, and where to go on (0: no more)."""
        self._mine(principal, import_id, write=False)
        lines = self._store.imports.findings(import_id, page_size + 1, after - 1, tuple(dispositions) or None)
        return [f for _, f in lines[:page_size]], lines[page_size - 1][0] + 1 if len(lines) > page_size else 0

    def _mine(self, principal: Principal, import_id: str, *, write: bool = True) -> Import:
        access.allow(principal, Role.OPERATOR, Role.CONTRIBUTOR, *(() if write else (Role.AUDITOR,)))
        try:
            import_ = self._store.imports.get_import(import_id)
            (access.allow_writing if write else access.allow_reading)(principal, import_.contributor)
        except (NotFound, PermissionDenied):
            # The same answer whether or not it exists: ids of others' imports must not be probed.
            raise NotFound(
                f"there is no import {import_id[:40]!r} that this token may use", kind="Import", name=import_id
            ) from None
        return import_

    def _scheme(self, hash_set: HashSet) -> Scheme | None:
        if not hash_set.scheme:
            return None
        try:
            return self._catalogue.now().schemes.get(hash_set.scheme)
        except InvalidArgument as e:
            raise FailedPrecondition(
                f"the hub cannot use the scheme {hash_set.scheme} of the hash set, so that nobody can say what the "
                "list's values mean; ask the operator, whom `hashhub status` tells why, and commit again",
                reason=Reason.SCHEME_UNUSABLE,
            ) from e

    def _held_items(self, import_: Import, keys: Iterable[Keys] | None) -> HeldItems:
        """Return what lists of this hash set must not bring back, of items with one of the keys; None: all of it."""
        name = (import_.contributor, import_.hash_set)
        holds = self._store.holds.of_set(*name) if keys is None else self._store.comparison.holds_about(*name, keys)
        first_sent, commits = self._store.imports.source_revisions(
            import_.contributor, import_.hash_set, import_.source_digest
        )
        # What the source deletes by itself it may state again further on.
        deletions = {h.revision for h in holds if h.origin is Origin.SOURCE}
        newer = {revision for revision in deletions.difference(commits) if revision > first_sent}
        return HeldItems(holds, partial(trace_of, self._store.secret), newer=newer)

    def _tidy(self) -> None:
        while not self._follower.readiness.is_ready:  # at the start uploads come first
            if self.tidying.wait(_LOOK_SECONDS):
                return
        self._store.commits.tidy(self.tidying.wait)

    def _go_on(self, import_id: str) -> None:
        """Raise if the commit's caller has gone; otherwise renew its lease."""
        cancellation.check()
        self._store.leases.renew_commit(import_id)

    def _batches(self, import_id: str) -> Iterator[Batch]:
        for staged in self._store.imports.batches(import_id):
            cancellation.check()
            yield Batch.read(staged)

    def _guard(self, intake: Intake) -> None:
        live = intake.compared.live_count
        remaining = live - len(intake.compared.absent)
        if live and remaining < self._config.shrink_guard * live:
            raise FailedPrecondition(
                f"the replacing list keeps {remaining} of {live} entries, less than {self._config.shrink_guard:.0%}; "
                "check that the file is complete, then commit again with allow_shrinking if it is",
                reason=Reason.LIST_SHRANK,
                metadata={"kept": str(remaining), "active": str(live)},
            )

    def _write(
        self, principal: Principal, import_: Import, intake: Intake, first: int
    ) -> tuple[Sequence[tuple[int, str, ReviewKind, str]], Sequence[tuple[int, int]]]:
        """Write entries, hashes and findings in pieces; return the source's reviews, and who claims no harm."""
        import_id, harmless = import_.id, list[int]()
        counted: list[tuple[Sequence[Hash], bytes]] = []
        reviews = list(intake.compared.reviews)
        if intake.entry_count:
            ids = self._classification_ids(import_id, intake)
            # While the database takes pieces in, the next is put together, and the matcher takes in those before.
            with ThreadPoolExecutor(1, "stage") as beside:
                staging: Future[None] | None = None
                for piece in _pieces(intake.entries(self._batches(import_id), first)):
                    for new in piece:
                        columns, first_ones = new.columns, new.harmless[: DOUBTS_A_DAY - len(counted)]
                        at = [columns.ids.index(entry) for entry in first_ones]
                        counted += [(unpack_hashes(columns.hashes[i]), columns.frames[i] or b"") for i in at]
                        harmless += new.harmless
                        reviews += new.reviews
                    columns = _joined(piece, ids)
                    if staging is not None:
                        staging.result()
                    cancellation.check()
                    staging = beside.submit(self._store.stage.stage_entries, import_id, columns)
                    self._follower.take_in()
                if staging is not None:
                    staging.result()
            self._follower.catch_up()
        self._store.stage.add_findings(import_id, intake.findings(self._batches(import_id), first))
        as_contributor = msgspec.structs.replace(principal, role=Role.CONTRIBUTOR, contributor=import_.contributor)
        lists = VisibleLists(self._store, as_contributor)
        counts = items_doubted(lists, self._matcher, import_.contributor, counted)
        return reviews, list(zip_longest(harmless, counts, fillvalue=DOUBTS_A_DAY + 1))

    def _classification_ids(self, import_id: str, intake: Intake) -> Sequence[int | None]:
        """Return under which id each of the intake's classifications is stored, storing those that are new."""
        ids: list[int | None] = []
        classifications = intake.classifications()
        for start in range(0, len(classifications), PIECE):
            some = classifications[start : start + PIECE]
            self._go_on(import_id)
            stored = iter(self._store.stage.classification_ids([c for c in some if c is not None]))
            ids += [None if c is None else next(stored) for c in some]
        return ids


def _pieces(entries: Iterable[NewEntries]) -> Iterator[list[NewEntries]]:
    """Yield the entries of batches in pieces that are written at a time."""
    piece: list[NewEntries] = []
    weight = 0
    for new in entries:
        piece.append(new)
        weight += _weight(new)
        if weight >= PIECE:
            yield piece
            piece, weight = [], 0
    if piece:
        yield piece


def _joined(piece: Sequence[NewEntries], classification_ids: Sequence[int | None]) -> EntryColumns:
    """Return the entries of a piece, with their classifications by stored ids."""
    columns = EntryColumns(*(list(chain.from_iterable(part)) for part in zip(*(n.columns for n in piece), strict=True)))
    classifications = [classification_ids[number] for number in columns.classifications if number is not None]
    return columns._replace(classifications=classifications)


def _weight(new: NewEntries) -> int:
    """Return how many entries without frames take as long to write."""
    return len(new.columns.ids) + sum(len(packed) for packed in new.columns.frames if packed) // _FRAMES_BYTES
