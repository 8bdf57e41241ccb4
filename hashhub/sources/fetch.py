"""One fetch of one source, in seven steps.

(1) go on with what a fetch before has staged, or begin: after the position, or with the full list
(2) ask for page after page, and stage each with the place to go on from
(3) make one document of them, and read it here: what is wrong with it is told before the hub sees anything
(4) where it may withdraw, let the hub say what would become of it
(5) hold it where it drops too much, or comes after a silence; a person applies it
(6) import it, as any list
(7) move the position
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import uniform
from typing import BinaryIO, Final, cast

import msgspec
from msgspec.structs import replace

from hashhub import connector as connectors
from hashhub.client import Client, ImportReport
from hashhub.edge_state import DATABASE
from hashhub.errors import Cancelled, FailedPrecondition, HashHubError, InvalidArgument, MalformedSource
from hashhub.hygiene import Code
from hashhub.model import Action, Counts, EntryState, Record, SourceStatus, now
from hashhub.sources.misp import MISP
from hashhub.sources.ncmec import NCMEC
from hashhub.sources.protocol import FetchPosition, PartnerProtocol
from hashhub.sources.settings import SourceSettings, load, path_of
from hashhub.sources.state import Fetch, Progress, SourceState
from hashhub.sources.stopncii import StopNCII
from hashhub.sources.taxii import TAXII
from hashhub.sources.threatexchange import ThreatExchange

_PROTOCOLS: Final[dict[str, type[PartnerProtocol]]] = {
    "stopncii": StopNCII, "ncmec": NCMEC, "threatexchange": ThreatExchange, "taxii": TAXII, "misp": MISP,
}  # fmt: skip
_TOKEN_LIFE: Final = timedelta(hours=12)  # for which a partner can be asked to go on: NCMEC's, the shortest known
_FIRST_PAUSE: Final = 30.0  # seconds after a failure; doubles with each
_LONGEST_PAUSE: Final = 6 * 3_600.0
_JITTER: Final = 0.1
_ROUNDING: Final = 1e-9  # 7 / 0.07 is a little less than 100


def protocol_of(settings: SourceSettings) -> PartnerProtocol:
    """Return the protocol of a source. Raises InvalidArgument for credentials that are not its own."""
    protocol = _PROTOCOLS[settings.protocol](settings)
    connectors.check_options(connectors.get(protocol.connector), settings.options)
    return protocol


@contextmanager
def opened(directory: Path, name: str) -> Iterator[SourceState]:
    """Give the state of a source."""
    with SourceState(path_of(directory, name, DATABASE)) as state:
        yield state


def fetch(
    directory: Path, name: str, hub: Client, *, full: bool = False, is_cancelled: Callable[[], bool] = lambda: False
) -> Progress:
    """Fetch a source once and return how far it is then; HELD is no error. `full`: begin again with the full list.

    What fails is kept as the source's state and raised: see `Partner.get`, `Client.import_source`; Conflict where
    another process fetches it.
    """
    settings = load(directory, name)
    with opened(directory, name) as state, state.locked():
        return _Fetching(directory, settings, state, hub, is_cancelled).kept(lambda fetching: fetching.run(full=full))


def apply(directory: Path, name: str, hub: Client) -> Progress:
    """Apply what is held, as it was fetched. Raises FailedPrecondition where nothing is."""
    settings = load(directory, name)
    with opened(directory, name) as state, state.locked():
        progress = state.progress()
        if progress.status is not SourceStatus.HELD or progress.settings != _mark(settings):
            raise FailedPrecondition(f"nothing of {name!r} is held; see `hashhub source show {name}`")
        return _Fetching(directory, settings, state, hub, lambda: False).kept(lambda fetching: fetching.apply())


@dataclass
class _Fetching:
    """A fetch of a source that is locked."""

    _directory: Path
    _settings: SourceSettings
    _state: SourceState
    _hub: Client
    _is_cancelled: Callable[[], bool]

    def __post_init__(self) -> None:
        self._protocol = protocol_of(self._settings)
        self._progress = self._state.progress()

    def kept(self, work: Callable[[_Fetching], Progress]) -> Progress:
        """Do the work; what it fails with is part of the state."""
        try:
            return work(self)
        except Cancelled:
            raise
        except HashHubError as e:
            failed = self._failed(e)
            # What may succeed later goes on from where it is; what is wrong with one answer may be wrong with all.
            (self._state.begin if isinstance(e, InvalidArgument) else self._state.save)(failed)
            raise

    def run(self, *, full: bool) -> Progress:
        """Do steps (1) to (7)."""
        self._hub.get_hash_set(self._settings.hash_set)  # before hours of paging for nothing
        self._begin(full=full)  # (1)
        if not self._fetch.is_complete:
            self._stage_pages()  # (2)
        if not self._state.has_news() and not self._fetch.is_anew:
            return self._finished(None)
        with self._document() as document:  # (3)
            silent = self._progress.silent_since(now(), self._settings.silence)
            if silent or (self._has_entries(1) if self._replaces else self._has_removals(document)):
                report = self._import(document, validate_only=True)  # (4)
                if not report.repeated and (why := self._why_held(report, silent)):
                    return self._held(why, report.source.counts)  # (5)
            return self._finished(self._import(document))  # (6), (7)

    def apply(self) -> Progress:
        """Do steps (6) and (7) of what is staged."""
        with self._document() as document:
            return self._finished(self._import(document, allow_shrinking=True))

    @property
    def _fetch(self) -> Fetch:
        assert self._progress.fetch is not None  # noqa: S101 - set by `_begin`, or held
        return self._progress.fetch

    @property
    def _replaces(self) -> bool:
        return self._protocol.is_list or self._fetch.is_anew

    def _begin(self, *, full: bool) -> None:
        at, before = now(), self._progress
        mark = _mark(self._settings)
        if before.settings != mark:  # of another partner, or another hash set: what was applied says nothing
            before = Progress(settings=mark)
        is_anew = full or not before.cursor or self._is_too_old(before, at)
        under_way = None if full or before.status is SourceStatus.HELD else before.fetch
        if under_way is not None and (under_way.is_complete or at - under_way.begin_time < _TOKEN_LIFE):
            self._progress = before
            return
        begun = Fetch(begin_time=at, is_anew=is_anew, cursor="" if is_anew else before.cursor)
        if before.status is SourceStatus.HELD:  # what was held is fetched anew, and cannot be applied any more
            before = replace(before, status=SourceStatus.OK, detail="", would=None)
        self._progress = replace(before, fetch=begun, fetches=before.fetches + 1)
        self._state.begin(self._progress)

    def _is_too_old(self, progress: Progress, at: datetime) -> bool:
        """Whether the position is no use any more, or a full list is due."""
        lapses, settings = self._protocol.lapses_after, self._settings
        if lapses and (progress.success_time is None or at - progress.success_time > lapses):
            return True
        seconds = settings.most_full_seconds
        most = self._protocol.full_after if seconds is None else timedelta(seconds=seconds)
        return most is not None and bool(most) and (progress.full_time is None or at - progress.full_time > most)

    def _stage_pages(self) -> None:
        fetch, settings = self._fetch, self._settings
        position = FetchPosition(
            cursor="" if fetch.is_anew else self._progress.cursor,
            token=fetch.token,
            reached=fetch.cursor if fetch.pages else "",
            page=fetch.pages,
            keys=lambda: self._state.keys(kept=not fetch.is_anew),
        )
        with self._protocol.partner(self._is_cancelled) as partner:
            for page in self._protocol.pages(partner, position):
                size = fetch.size + sum(len(content) for _, content in page.records)
                fetch = replace(
                    fetch,
                    token=page.token,
                    cursor=page.cursor,
                    pages=fetch.pages + 1,
                    size=size,
                    is_complete=not page.token,
                )
                if fetch.pages > settings.pages or size > settings.fetch_bytes:
                    raise MalformedSource(
                        f"the partner's answers do not end: {fetch.pages:,} pages, {size:,} bytes; expected at most "
                        f"{settings.pages:,} and {settings.fetch_bytes:,}, by the settings pages and fetch_bytes",
                        position=f"page {fetch.pages}",
                    )
                self._progress = replace(self._progress, fetch=fetch)
                if not self._state.stage(self._progress, page.records):
                    raise MalformedSource(
                        "the partner names a further page that it named before, so that its answers would never end; "
                        "ask the partner",
                        position=f"page {fetch.pages}",
                    )
                if self._is_cancelled():
                    raise Cancelled("the fetch was ended; the next one goes on from there")

    @contextmanager
    def _document(self) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile(dir=self._directory) as document:
            contents = self._state.contents(kept=self._protocol.is_kept and not self._fetch.is_anew)
            for piece in self._protocol.document(contents):
                document.write(piece)
            document.flush()
            yield cast("BinaryIO", document)

    def _has_removals(self, document: BinaryIO) -> bool:
        """Whether an item of the document is a withdrawal. Raises MalformedSource."""
        document.seek(0)
        read = connectors.get(self._protocol.connector).read(document, self._settings.options)
        return any(isinstance(one, Record) and one.action is Action.WITHDRAW for one in read)

    def _import(
        self, document: BinaryIO, *, validate_only: bool = False, allow_shrinking: bool = False
    ) -> ImportReport:
        return self._hub.import_source(
            document,
            hash_set=self._settings.hash_set,
            connector=self._protocol.connector,
            options=self._settings.options,
            replace=self._replaces,
            validate_only=validate_only,
            allow_shrinking=allow_shrinking or validate_only,
        )

    def _why_held(self, report: ImportReport, silent: datetime | None) -> str:
        """Return why what was fetched waits for a person; empty where it need not."""
        counts, share = report.source.counts, self._settings.drop
        dropped = counts.absent + _withdrawn(report)
        if dropped and (not share or not self._has_entries(int(dropped / share + _ROUNDING) + 1)):
            entries = "entry" if dropped == 1 else "entries"
            return (
                f"it would withdraw {dropped:,} {entries}, {share:.0%} of the hash set or more; ask the partner, then "
                "apply it or fetch again"
            )
        if silent is not None and self._is_news(counts, dropped):
            return (
                f"it brings changes after nothing had changed since {silent:%Y-%m-%d %H:%MZ}, unusually long; look "
                "whether it still is the partner's list, then apply it or fetch again"
            )
        return ""

    def _is_news(self, counts: Counts, dropped: int) -> bool:
        """Whether an import changes something: what follows a position does, and a full list may restate all."""
        return not self._fetch.is_anew or bool(dropped or counts.accepted or counts.superseded)

    def _has_entries(self, count: int) -> bool:
        """Whether the hash set has so many entries that stand; no more are read."""
        entries = self._hub.list_entries(self._settings.hash_set, (EntryState.ACTIVE, EntryState.QUARANTINED))
        return any(number >= count for number, _ in enumerate(entries, 1))

    def _held(self, why: str, would: Counts) -> Progress:
        self._progress = replace(
            self._progress,
            status=SourceStatus.HELD,
            detail=why,
            would=would,
            end_time=now(),
            next_time=None,
            failures_in_a_row=0,
        )
        self._state.save(self._progress)
        return self._progress

    def _finished(self, report: ImportReport | None) -> Progress:
        at, fetch, before = now(), self._fetch, self._progress
        name = before.last_import
        if report is not None:
            name = f"{self._settings.hash_set}/{report.source.id}"
        is_new = report is not None and name != before.last_import  # or it was committed, and then came a kill
        counts = report.source.counts if report is not None and is_new else Counts()
        dropped = counts.absent + _withdrawn(report) if report is not None and is_new else 0
        pause = self._settings.interval_seconds * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
        done = replace(
            before,
            cursor=fetch.cursor,
            fetch=None,
            would=None,
            end_time=at,
            success_time=at,
            full_time=at if fetch.is_anew else before.full_time,
            next_time=at + timedelta(seconds=pause),
            failures_in_a_row=0,
            last_import=name,
            last=counts,
            total=_sum(before.total, counts),
        )
        if is_new and self._is_news(counts, dropped):
            done = done.with_news(at)
        silent = done.silent_since(at, self._settings.silence)
        done = replace(
            done,
            status=SourceStatus.OK if silent is None else SourceStatus.SILENT,
            detail="" if silent is None else f"nothing has changed since {silent:%Y-%m-%d %H:%MZ}, unusually long",
        )
        self._state.finish(done, keeps_earlier=self._protocol.is_kept and not fetch.is_anew)
        return done

    def _failed(self, error: HashHubError) -> Progress:
        times = self._progress.failures_in_a_row + 1
        pause = min(_FIRST_PAUSE * 2 ** min(times - 1, 20), _LONGEST_PAUSE) * uniform(1, 1 + _JITTER)  # noqa: S311 - no secret
        fetch = None if isinstance(error, InvalidArgument) else self._progress.fetch
        return replace(
            self._progress,
            fetch=fetch,
            status=SourceStatus.FAILED,
            detail=error.message,
            would=None,
            end_time=now(),
            next_time=now() + timedelta(seconds=max(pause, error.retry_after or 0.0)),
            failures=self._progress.failures + 1,
            failures_in_a_row=times,
        )


def _withdrawn(report: ImportReport) -> int:
    """Return how many of the list's withdrawals met an entry, or all of them where that is not known."""
    groups = [g for g in report.groups if g.reason == Code.WITHDRAWN_BY_SOURCE]
    return sum(g.count for g in groups) if report.groups_complete else report.source.counts.withdrawn


def _sum(total: Counts, more: Counts) -> Counts:
    return Counts(**{name: getattr(total, name) + getattr(more, name) for name in Counts.__struct_fields__})


def _mark(settings: SourceSettings) -> str:
    """Return what tells of which partner and hash set a position is."""
    told = (settings.protocol, settings.url, settings.hash_set, sorted(settings.options.items()))
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16]
