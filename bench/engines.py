"""The engines that `bench.matchers` compares, behind one small face.

Every engine takes the digests once, answers range searches, and says how it takes one more or loses one. What an engine
cannot do raises Unsupported, and its figure stays empty. Peers are used as their documentation says, on distinct
digests, with parameters that make them exact where they can be: an index of k chunks finds everything within r bits
when it flips r // k bits of each.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hashhub.matcher import Matcher

Digests = NDArray[np.uint8]
KNN: Final = 100
"""How many neighbours are asked of engines that only know nearest neighbours; those beyond the radius are dropped."""


class Unsupported(Exception):
    """The engine has no such operation."""


class Engine(Protocol):
    """What a benchmark asks of an engine; what one leaves out it cannot do."""

    @abstractmethod
    def build(self, base: Digests, directory: Path, threads: int) -> None:
        """Take all digests in; `directory` is the engine's own."""

    @abstractmethod
    def search(self, queries: Digests, max_distance: int) -> Any:
        """Answer all queries: what is timed. One query at a time for latencies."""

    @abstractmethod
    def found(self, answer: Any, max_distance: int, base: Digests) -> list[Digests]:
        """Return the digests that an answer names, for each query: not timed."""

    def use_threads(self, threads: int) -> None:
        """Search with so many threads from now on."""
        raise Unsupported

    def add(self, digest: Digests) -> None:
        """Make one more digest searchable."""
        raise Unsupported

    def withdraw(self, row: int, digest: Digests) -> None:
        """Make the digest in this row of the base unsearchable."""
        raise Unsupported

    def save(self, directory: Path) -> None:
        """Write the index to disk."""
        raise Unsupported

    def open(self, directory: Path) -> None:
        """Replace the index by the one on disk."""
        raise Unsupported

    def close(self) -> None:
        """Let go of threads and files."""
        return


class HashHub(Engine):
    """This repository's matcher over a mapped snapshot."""

    _matcher: Matcher

    def build(self, base: Digests, directory: Path, threads: int) -> None:
        from hashhub.matcher import Matcher

        self._algorithm = {32: "PDQ", 8: "PHASH"}[base.shape[1]]
        self._place = directory
        with Matcher(directory, threads=threads) as matcher:
            matcher.rebuild(1, [(self._algorithm, base)])
        self.open(directory)

    def search(self, queries: Digests, max_distance: int) -> Any:
        return self._matcher.search(self._algorithm, queries, max_distance=max_distance)

    def found(self, answer: Any, max_distance: int, base: Digests) -> list[Digests]:
        return [answer.digests[a:b] for a, b in pairwise(answer.lims)]

    def use_threads(self, threads: int) -> None:
        from hashhub.matcher import Matcher

        self._matcher.close()
        self._matcher = Matcher(self._place, publisher=False, threads=threads)

    def add(self, digest: Digests) -> None:
        self._matcher.apply(self._matcher.revision + 1, add={self._algorithm: digest[None]})

    def withdraw(self, row: int, digest: Digests) -> None:
        self._matcher.apply(self._matcher.revision + 1, withdraw={self._algorithm: digest[None]})

    def save(self, directory: Path) -> None:
        """`build` has saved it."""

    def open(self, directory: Path) -> None:
        from hashhub.matcher import Matcher

        self._matcher = Matcher(directory, publisher=False, threads=1)

    def close(self) -> None:
        self._matcher.close()


class _Faiss(Engine):
    """What all of FAISS's binary indexes share."""

    index: Any

    @abstractmethod
    def make(self, bits: int, n: int, base: Digests) -> Any:
        """Return the empty index."""

    def build(self, base: Digests, directory: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        self.index = self.make(8 * base.shape[1], len(base), base)
        self.index.add(base)

    def tune(self, max_distance: int) -> None:
        """Set what makes the search exact at this radius."""

    def search(self, queries: Digests, max_distance: int) -> Any:
        self.tune(max_distance)
        return self.index.range_search(queries, max_distance + 1)  # FAISS compares with <

    def found(self, answer: Any, max_distance: int, base: Digests) -> list[Digests]:
        lims, _, ids = answer
        return [base[np.unique(ids[a:b])] for a, b in pairwise(lims)]

    def use_threads(self, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)

    def add(self, digest: Digests) -> None:
        self.index.add(digest[None])

    def save(self, directory: Path) -> None:
        import faiss

        faiss.write_index_binary(self.index, str(directory / "faiss.index"))

    def open(self, directory: Path) -> None:
        import faiss

        self.index = faiss.read_index_binary(str(directory / "faiss.index"))


class Flat(_Faiss):
    """FAISS IndexBinaryFlat: compares everything."""

    def make(self, bits: int, n: int, base: Digests) -> Any:
        import faiss

        return faiss.IndexBinaryFlat(bits)

    def withdraw(self, row: int, digest: Digests) -> None:
        self.index.remove_ids(np.array([row], np.int64))


class MultiHash(_Faiss):
    """FAISS IndexBinaryMultiHash: `chunks` hash maps of `width` bits; optionally written and read again, which packs
    its maps.
    """

    def __init__(self, chunks: int, width: int, *, reloaded: bool = False) -> None:
        self.chunks, self.width, self.reloaded = chunks, width, reloaded

    def make(self, bits: int, n: int, base: Digests) -> Any:
        import faiss

        return faiss.IndexBinaryMultiHash(bits, self.chunks, self.width)

    def build(self, base: Digests, directory: Path, threads: int) -> None:
        super().build(base, directory, threads)
        if self.reloaded:
            self.save(directory)
            self.open(directory)

    def tune(self, max_distance: int) -> None:
        self.index.nflip = max_distance // self.chunks


class IVF(_Faiss):
    """FAISS IndexBinaryIVF with 4 * sqrt(n) lists, of which one in 32 is visited: approximate."""

    def make(self, bits: int, n: int, base: Digests) -> Any:
        import faiss

        lists = max(1, int(4 * np.sqrt(n)))
        self._quantizer = faiss.IndexBinaryFlat(bits)  # kept: the index only points to it
        index = faiss.IndexBinaryIVF(self._quantizer, bits, lists)
        index.cp.niter = 4
        index.train(base[:: max(1, n // (40 * lists))])
        index.nprobe = max(1, lists // 32)
        return index

    def withdraw(self, row: int, digest: Digests) -> None:
        self.index.remove_ids(np.array([row], np.int64))


class HNSW(_Faiss):
    """FAISS IndexBinaryHNSW, M = 16, efSearch = 128: approximate, nearest neighbours only."""

    def make(self, bits: int, n: int, base: Digests) -> Any:
        import faiss

        index = faiss.IndexBinaryHNSW(bits, 16)
        index.hnsw.efConstruction = 80
        index.hnsw.efSearch = 128
        return index

    def search(self, queries: Digests, max_distance: int) -> Any:
        return self.index.search(queries, KNN)

    def found(self, answer: Any, max_distance: int, base: Digests) -> list[Digests]:
        distances, ids = answer
        return [base[row[(d <= max_distance) & (row >= 0)]] for d, row in zip(distances, ids, strict=True)]


class ThreatExchange(Engine):
    """threatexchange's PDQIndex, as HMA uses it: MultiHash 16x16 with hexadecimal text at the border. Its radius is 31
    and fixed.
    """

    def build(self, base: Digests, directory: Path, threads: int) -> None:
        import faiss
        from threatexchange.signal_type.pdq.pdq_index import PDQIndex

        if base.shape[1] != 32:
            raise Unsupported
        faiss.omp_set_num_threads(threads)
        self.index = PDQIndex((row.tobytes().hex(), i) for i, row in enumerate(base))
        self._fresh = len(base)

    def search(self, queries: Digests, max_distance: int) -> Any:
        if max_distance != 31:
            raise Unsupported
        return [self.index.query(row.tobytes().hex()) for row in queries]

    def found(self, answer: Any, max_distance: int, base: Digests) -> list[Digests]:
        return [base[[match.metadata for match in found]] for found in answer]

    def use_threads(self, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)

    def add(self, digest: Digests) -> None:
        self.index.add(digest.tobytes().hex(), self._fresh)
        self._fresh += 1


class PyNear(Engine):
    """pynear's MIHBinaryIndex: exact within the radius, for at most KNN answers."""

    def build(self, base: Digests, directory: Path, threads: int) -> None:
        import pynear

        self.index = pynear.MIHBinaryIndex(base.shape[1] // 2)  # chunks of 16 bits
        self.index.set(base)

    def search(self, queries: Digests, max_distance: int) -> Any:
        return self.index.searchKNN_arrays(queries, KNN, max_distance)

    def found(self, answer: Any, max_distance: int, base: Digests) -> list[Digests]:
        ids, distances = answer
        return [base[row[(d <= max_distance) & (row >= 0)]] for d, row in zip(distances, ids, strict=True)]


class USearch(Engine):
    """usearch's HNSW over bits: approximate, nearest neighbours only."""

    def build(self, base: Digests, directory: Path, threads: int) -> None:
        self.index = self._empty(8 * base.shape[1])
        self._threads = 1
        self.index.add(np.arange(len(base)), base, threads=threads)
        self._fresh = len(base)

    @staticmethod
    def _empty(bits: int) -> Any:
        from usearch.index import Index, MetricKind, ScalarKind

        return Index(ndim=bits, metric=MetricKind.Hamming, dtype=ScalarKind.B1)

    def search(self, queries: Digests, max_distance: int) -> Any:
        return self.index.search(queries, KNN, threads=self._threads)

    def found(self, answer: Any, max_distance: int, base: Digests) -> list[Digests]:
        keys, distances = np.atleast_2d(answer.keys), np.atleast_2d(answer.distances)
        return [base[k[d <= max_distance].astype(np.int64)] for k, d in zip(keys, distances, strict=True)]

    def use_threads(self, threads: int) -> None:
        self._threads = threads

    def add(self, digest: Digests) -> None:
        self.index.add(self._fresh, digest)
        self._fresh += 1

    def withdraw(self, row: int, digest: Digests) -> None:
        self.index.remove(row)

    def save(self, directory: Path) -> None:
        self.index.save(str(directory / "usearch.index"))

    def open(self, directory: Path) -> None:
        index = self._empty(self.index.ndim)
        index.view(str(directory / "usearch.index"))
        self.index = index


ENGINES: Final[dict[str, Callable[[int], Engine]]] = {
    "hashhub": lambda _: HashHub(),
    "faiss-flat": lambda _: Flat(),
    "faiss-multihash-16": lambda bits: MultiHash(bits // 16, 16),
    "faiss-multihash-16-reloaded": lambda bits: MultiHash(bits // 16, 16, reloaded=True),
    "faiss-multihash-23": lambda bits: MultiHash(bits // 23, 23),
    "faiss-ivf": lambda _: IVF(),
    "faiss-hnsw": lambda _: HNSW(),
    "threatexchange": lambda _: ThreatExchange(),
    "pynear-mih": lambda _: PyNear(),
    "usearch": lambda _: USearch(),
}
"""By name: what makes the engine for digests of so many bits."""
