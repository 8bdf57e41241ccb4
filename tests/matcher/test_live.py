"""The live matcher against a dictionary, through every way its state can be replaced."""

from __future__ import annotations

import operator
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from hashhub.errors import FailedPrecondition, InvalidArgument, Reason
from hashhub.matcher import Matcher, state
from hashhub.matcher.snapshot import Directory, Snapshot, SnapshotWriter
from tests.examples import examples
from tests.patience import wait_until

Digests = NDArray[np.uint8]

# Sixty digests in three tight clusters: small enough that additions, withdrawals and repeats meet, near enough that
# searches find several.
_RNG = np.random.default_rng(11)
POOL = np.repeat(_RNG.integers(0, 256, (3, 32), dtype=np.uint8), 20, axis=0)
POOL[np.arange(60), np.arange(60) % 20] ^= np.arange(1, 61, dtype=np.uint8)
# And enough others, apart from everything, to make segments with tables of it.
BULK = _RNG.integers(0, 256, (4_500, 32), dtype=np.uint8)

EVERYTHING = np.concatenate([POOL, BULK])
EVERYTHING_BYTES = [d.tobytes() for d in EVERYTHING]

some = st.lists(st.integers(0, len(POOL) - 1), max_size=12)


def members(numbers: list[int]) -> Digests:
    return POOL[np.array(numbers, np.int64)]


class LiveMatcher(RuleBasedStateMachine):
    """A publisher, a reader that adopts its snapshots, and a matcher in memory do the same as a set of digests."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.publisher = Matcher(self.path, compact_after=10**9, threads=1)
        self.reader = Matcher(self.path, publisher=False, threads=1)
        self.memory = Matcher(threads=1)
        self.model: set[bytes] = set()
        self.revision = 0
        self.missed: list[tuple[int, Digests, Digests]] = []  # what the reader has not been told yet

    def teardown(self) -> None:
        for matcher in (self.publisher, self.reader, self.memory):
            matcher.close()
        shutil.rmtree(self.path)

    def change(self, add: Digests, withdraw: Digests) -> None:
        self.revision += 1
        self.model -= {d.tobytes() for d in withdraw}
        self.model |= {d.tobytes() for d in add}
        for matcher in (self.publisher, self.memory):
            matcher.apply(self.revision, add={"PDQ": add}, withdraw={"PDQ": withdraw})
        self.missed.append((self.revision, add, withdraw))

    @initialize(bulk=st.booleans())
    def begin(self, *, bulk: bool) -> None:
        if bulk:
            self.change(BULK, POOL[:0])

    @rule(add=some, withdraw=some)
    def small_change(self, add: list[int], withdraw: list[int]) -> None:
        self.change(members(add), members(withdraw))

    @rule(first=st.integers(0, 4_400), step=st.integers(1, 50), add=st.booleans())
    def large_change(self, first: int, step: int, *, add: bool) -> None:
        part = BULK[first::step]
        self.change(*((part, POOL[:0]) if add else (POOL[:0], part)))

    @rule()
    def tell_the_reader(self) -> None:
        for revision, add, withdraw in self.missed:
            self.reader.apply(revision, add={"PDQ": add}, withdraw={"PDQ": withdraw})
        self.missed = []

    @rule()
    def tell_the_reader_again(self) -> None:
        """What it knows already, in the same order, changes nothing."""
        before = self.reader.revision
        for revision, add, withdraw in self.missed[:1]:
            self.reader.apply(revision, add={"PDQ": add}, withdraw={"PDQ": withdraw})
            self.reader.apply(revision, add={"PDQ": add}, withdraw={"PDQ": withdraw})
        assert self.reader.revision >= before

    @rule()
    def compact(self) -> None:
        self.publisher.compact()

    @rule()
    def merge_in_memory(self) -> None:
        self.memory.compact()
        self.reader.compact()

    @rule()
    def refresh(self) -> None:
        self.reader.refresh()

    def has_opened(self) -> bool:
        with suppress(FailedPrecondition):
            self.publisher = Matcher(self.path, compact_after=10**9, threads=1)
            return True
        return False

    @rule()
    def reopen_publisher(self) -> None:
        """A restart: what came after the snapshot is applied again, from its revision on."""
        history = self.publisher.status().snapshot_revision or 0
        before = self.contents(self.publisher)
        self.publisher.close()
        # Another thread of the tests may start a process just now, which has the lock with it until it is another
        # program.
        wait_until(self.has_opened)
        assert self.publisher.revision == history
        if self.publisher.revision < self.revision:
            self.publisher.rebuild(self.revision, [("PDQ", before)])

    @rule()
    def rebuild(self) -> None:
        rows = np.frombuffer(b"".join(self.model), np.uint8).reshape(-1, 32)
        chunks = [("PDQ", part) for part in (*np.array_split(rows, 7), rows[:5])]
        for matcher in (self.publisher, self.memory):
            matcher.rebuild(self.revision, chunks)

    def contents(self, matcher: Matcher) -> Digests:
        return EVERYTHING[matcher.contains("PDQ", EVERYTHING)]

    def check(self, matcher: Matcher) -> None:
        expected = np.array([d in self.model for d in EVERYTHING_BYTES])
        assert np.array_equal(matcher.contains("PDQ", EVERYTHING), expected)
        assert matcher.count("PDQ") == len(self.model)
        hits = matcher.search("PDQ", POOL[::7], max_distance=31)
        rows = np.frombuffer(b"".join(sorted(self.model)), np.uint8).reshape(-1, 32)
        for k, query in enumerate(POOL[::7]):
            far = np.bitwise_count(rows ^ query).sum(axis=1, dtype=np.int64)
            near = sorted((int(far[j]), rows[j].tobytes()) for j in np.flatnonzero(far <= 31))
            part = slice(int(hits.lims[k]), int(hits.lims[k + 1]))
            got = [(int(d), x.tobytes()) for d, x in zip(hits.distances[part], hits.digests[part], strict=True)]
            assert got == near

    @invariant()
    def publisher_and_memory_are_the_model(self) -> None:
        assert self.publisher.revision == self.memory.revision == self.revision
        self.check(self.publisher)
        self.check(self.memory)

    @precondition(lambda self: not self.missed or self.reader.revision == self.revision)
    @invariant()
    def an_informed_reader_is_the_model(self) -> None:
        self.check(self.reader)


TestLiveMatcher = LiveMatcher.TestCase
TestLiveMatcher.settings = settings(max_examples=examples(30), stateful_step_count=25, deadline=None)


class GatheredLog(LiveMatcher):
    """The same with a log whose small changes are put together all the time."""

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(state, "_GATHERED", 2)
        super().__init__()

    def teardown(self) -> None:
        self.patch.undo()
        super().teardown()


TestGatheredLog = GatheredLog.TestCase
TestGatheredLog.settings = TestLiveMatcher.settings


def test_what_tiny_changes_take_in_the_log_is_what_they_state(tmp_path: Path) -> None:
    """Each took 0.4 KB for an algorithm until the next snapshot, which comes after hundreds of thousands of digests."""
    with Matcher(tmp_path, compact_after=10**9, threads=1) as matcher:
        numbers = np.arange(3_000, dtype=np.int64)
        rows = np.zeros((len(numbers), 16), np.uint8)
        rows[:, :8] = numbers.view(np.uint8).reshape(-1, 8)
        for revision, row in enumerate(rows, 1):
            matcher.apply(revision, add={"MD5": row[None]})
            if revision % 3 == 0:
                matcher.apply(revision, withdraw={"MD5": row[None]})
        log = matcher._live._changes
        assert len(log) < 1_100
        assert sum(len(change.rows) for change in log) < len(rows) + 1_100
        expected = (numbers + 1) % 3 != 0
        assert np.array_equal(matcher.contains("MD5", rows), expected)
        matcher.compact()
        assert np.array_equal(matcher.contains("MD5", rows), expected)


def digests(seed: int, n: int) -> Digests:
    return np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)


def test_a_digest_in_both_parts_of_a_change_is_added() -> None:
    with Matcher() as matcher:
        matcher.apply(1, add={"PDQ": POOL[:1]}, withdraw={"PDQ": POOL[:1]})
        assert matcher.count("PDQ") == 1


def test_older_changes_are_part_of_the_state_already() -> None:
    with Matcher() as matcher:
        matcher.apply(5, withdraw={"PDQ": POOL[:1]})
        matcher.apply(4, add={"PDQ": POOL[:1]})
        assert matcher.count("PDQ") == 0
        assert matcher.revision == 5


def test_a_wrong_change_changes_nothing() -> None:
    with Matcher() as matcher:
        with pytest.raises(InvalidArgument):
            matcher.apply(1, add={"PDQ": POOL[:3], "MD5": POOL[:3]})
        assert matcher.revision == 0
        assert matcher.count("PDQ") == 0


def test_a_rebuild_cannot_go_back() -> None:
    with Matcher() as matcher:
        matcher.apply(7, add={"PDQ": POOL[:1]})
        with pytest.raises(FailedPrecondition):
            matcher.rebuild(6, [])
        assert matcher.count("PDQ") == 1


def test_changes_during_a_rebuild_survive_it(tmp_path: Path) -> None:
    for directory in (None, tmp_path):
        with Matcher(directory) as matcher:
            matcher.apply(1, add={"PDQ": POOL[:2]})

            def stream(matcher: Matcher = matcher) -> object:
                yield "PDQ", POOL[:2]
                matcher.apply(2, add={"PDQ": POOL[5:6]}, withdraw={"PDQ": POOL[:1]})
                assert matcher.contains("PDQ", POOL[:6]).tolist() == [False, True, False, False, False, True]
                yield "PDQ", POOL[2:4]

            matcher.rebuild(1, stream())  # type: ignore[arg-type] # a generator of pairs
            assert matcher.contains("PDQ", POOL[:6]).tolist() == [False, True, True, True, False, True]
            assert matcher.revision == 2


def test_one_revision_may_come_in_pieces(tmp_path: Path) -> None:
    """All but the last piece as the revision before: a snapshot in between is completed by tailing the revision
    again.
    """
    with Matcher(tmp_path) as matcher:
        matcher.apply(9, add={"PDQ": POOL[:10]})
        matcher.compact()
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 9
        matcher.apply(9, add={"PDQ": POOL[:10]})
        matcher.apply(10, add={"PDQ": POOL[10:20]})
        assert matcher.count("PDQ") == 20


def test_big_tails_are_merged_in_the_background() -> None:
    with Matcher() as matcher:
        for k in range(12):
            matcher.apply(k + 1, add={"PDQ": digests(k, 5_000)})
        patient = time.monotonic() + 180
        while (status := matcher.status().algorithms["PDQ"]).segments >= 8 and time.monotonic() < patient:
            time.sleep(0.01)
        assert status.segments < 8
        assert status.count == 60_000
        assert all(matcher.contains("PDQ", digests(k, 5_000)).all() for k in range(12))


def test_a_large_tail_is_published_in_the_background(tmp_path: Path) -> None:
    with Matcher(tmp_path, compact_after=6_000) as matcher:
        matcher.apply(1, add={"PDQ": digests(1, 5_000)})
        matcher.apply(2, add={"PDQ": digests(2, 5_000)})
        patient = time.monotonic() + 180
        while matcher.status().snapshot_revision != 2 and time.monotonic() < patient:
            time.sleep(0.01)
        assert matcher.status().snapshot_revision == 2
        assert matcher.status().pending == 0
        assert matcher.status().algorithms["PDQ"].tail == 0


def test_a_tail_that_still_grows_is_not_published_before_it_is_four_times_as_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot writes anew most of the one before: while a list comes in there is one, and not one for each part."""
    published = Queue[int]()
    publish = Directory.publish

    def noted(self: Directory, writer: SnapshotWriter, old: Snapshot | None) -> Snapshot:
        snapshot = publish(self, writer, old)
        published.put(snapshot.revision)
        return snapshot

    monkeypatch.setattr(Directory, "publish", noted)
    monkeypatch.setattr("hashhub.matcher.compaction._QUIET_SECONDS", 3600.0)
    with Matcher(tmp_path, compact_after=6_000) as matcher:
        for k in range(1, 5):
            matcher.apply(k, add={"PDQ": digests(k, 5_000)})
        patient = time.monotonic() + 180
        while matcher.status().algorithms["PDQ"].segments >= 4 and time.monotonic() < patient:
            time.sleep(0.01)
        assert matcher.status().algorithms["PDQ"].segments < 4, "so many were merged"
        assert published.empty()
        matcher.apply(5, add={"PDQ": digests(5, 5_000)})
        assert published.get(timeout=60) == 5


def test_a_large_segment_is_not_written_anew_before_the_list_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten million digests written anew in the middle of a commit of one million take a core from everybody else."""

    def published(revision: int) -> list[str | None]:
        """The names of the segments, once the snapshot has come so far."""
        patient = time.monotonic() + 180
        while matcher.status().snapshot_revision != revision and time.monotonic() < patient:
            time.sleep(0.01)
        assert matcher.status().snapshot_revision == revision
        return [segment.name for segment in matcher._live.now.segments["SHA256"]]

    with Matcher(tmp_path, compact_after=5_000) as matcher:
        matcher.apply(1, add={"SHA256": digests(1, 50_000)})
        (large,) = published(1)
        monkeypatch.setattr("hashhub.matcher.compaction._QUIET_SECONDS", 3600.0)  # changes come in
        matcher.apply(2, add={"SHA256": digests(2, 20_000)})
        assert [name == large for name in published(2)] == [True, False]
        matcher.apply(3, add={"SHA256": digests(3, 20_000)})
        assert [name == large for name in published(3)] == [True, False], "the small ones are together"
        matcher.apply(4, add={"SHA256": digests(4, 20_000)})
        assert len(published(4)) == 1, "sixty thousand are more than fifty"
        matcher.apply(5, add={"SHA256": digests(5, 20_000)})
        assert len(published(5)) == 2
        monkeypatch.setattr("hashhub.matcher.compaction._QUIET_SECONDS", 0.0)
        matcher.apply(6, add={"SHA256": digests(6, 5_000)})
        assert len(published(6)) == 1, "an eighth of it has come since, and nothing else is to do"
        for k in range(1, 6):
            assert matcher.contains("SHA256", digests(k, 20_000)).all()


def test_a_revision_without_digests_disturbs_no_quiet(tmp_path: Path) -> None:
    with Matcher(tmp_path) as matcher:
        matcher.apply(1, add={"PDQ": digests(1, 10)})
        seconds = matcher._compaction._seconds_to_quiet()
        matcher.apply(2)
        assert matcher._compaction._seconds_to_quiet() <= seconds


def test_what_is_applied_again_moves_the_snapshot_too(tmp_path: Path) -> None:
    """A list that comes again with other words about the same digests: a start must not read all of it once more."""
    with Matcher(tmp_path, compact_after=6_000) as matcher:
        for revision in (2, 4, 6):
            matcher.apply(revision - 1, add={"PDQ": digests(1, 5_000)})
            matcher.apply(revision, add={"PDQ": digests(2, 5_000)})
            patient = time.monotonic() + 180
            while matcher.status().snapshot_revision != revision and time.monotonic() < patient:
                time.sleep(0.01)
            assert matcher.status().snapshot_revision == revision
        assert matcher._live._changes == []
    with Matcher(tmp_path) as matcher:
        assert matcher.revision == 6
        assert matcher.count("PDQ") == 10_000


def test_searches_never_see_a_gap_while_everything_moves(tmp_path: Path) -> None:
    """Threads search for what is always there and never there, during changes, merges, snapshots and rebuilds."""
    always, never, other = digests(1, 6_000), digests(2, 100), digests(3, 3_000)
    with Matcher(tmp_path, compact_after=4_000, threads=2) as matcher:
        matcher.apply(1, add={"PDQ": always})
        stop = threading.Event()
        faults: list[str] = []
        searches = [0, 0, 0]

        def look(number: int) -> None:
            rng = np.random.default_rng(number)
            while not stop.is_set():
                picked = always[rng.choice(len(always), 20)]
                if len(matcher.search("PDQ", picked ^ np.uint8(1), max_distance=32)) != 20:
                    faults.append("a digest was missed")
                if matcher.search("PDQ", never[:5], max_distance=31).lims[-1] or matcher.contains("PDQ", never).any():
                    faults.append("a digest came from nowhere")
                searches[number] += 1

        threads = [threading.Thread(target=look, args=(k,)) for k in range(3)]
        for thread in threads:
            thread.start()
        patient = time.monotonic() + 300
        for k in range(12):
            part = other[k * 250 : (k + 1) * 250]
            matcher.apply(2 * k + 2, add={"PDQ": part})
            matcher.apply(2 * k + 3, withdraw={"PDQ": part[::2]})
            if k % 4 == 1:
                matcher.compact()
            if k == 10:
                matcher.rebuild(matcher.revision, [("PDQ", always), ("PDQ", other[: 11 * 250])])
            searched = list(searches)
            while any(map(operator.le, searches, searched)) and time.monotonic() < patient:
                time.sleep(0.001)  # until each thread has searched between this change and the next
        stop.set()
        for thread in threads:
            thread.join()
        assert not faults
        assert all(count >= 12 for count in searches)


def test_status_and_explain_before_anything() -> None:
    with Matcher() as matcher:
        assert matcher.status().algorithms == {}
        assert matcher.explain("PDQ", None).count == 0
        assert len(matcher.search("PDQ", POOL[:2], max_distance=31)) == 0
        with pytest.raises(InvalidArgument) as raised:
            matcher.count("NOPE")
        assert raised.value.reason is Reason.UNKNOWN_ALGORITHM
