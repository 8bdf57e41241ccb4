"""The compiled inner loops: arrays in, arrays out, by Numba, with the GIL released.

Two things are said to LLVM directly, in plain IR that every CPU runs: *prefetch*, because an index larger than the
caches is a list of cache misses that must overlap, and *one compare of 32 fingerprints*, because LLVM does not turn a
conditional append into vector code.

Rows are digests as native `uint64` words that hold the big-endian value of eight bytes each, so comparing words in
order is comparing bytes in order. Bit 0 of a row is the most significant bit of its first word.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from hashhub.kernel_cache import jit

LANES: Final = 32
"""Fingerprints compared at once: 64 bytes, one cache line. Fingerprint arrays are padded by this many, so that the last
load is legal.
"""

_PREFETCH_GROUPS: Final = 16
"""Groups fetched ahead. Measured flat between 8 and 32 at 1 M and 10 M."""
_SURVIVORS: Final = 4096
"""Candidates collected before their rows are read: enough to overlap the misses, small enough to stay in the
first-level cache.
"""
_SCAN_SHARE_LOG2: Final = 6
"""A query with more than n / 64 candidates is scanned instead: however digests cluster, none costs much more than a
scan. Beside a cluster of 100,000 in 1 M the tables alone took 350 to 430 ms, with this rule 12 to 21 ms. 64 is a
choice: a candidate costs two cache misses and up to 15 checks, a row read in order about 2 ns.
"""
_INSERTION: Final = 24
"""Below this many rows insertion sort beats partitioning."""


# --- What LLVM is told directly ---------------------------------------------------------------------------------------


@intrinsic
def _near(_context: Any, array: Any, _index: Any, _wanted: Any, _limit: Any) -> Any:
    """Return uint32: bit k is set where fingerprint `array[index + k]` is within `limit` bits of `wanted`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, index, wanted, limit = args
        vector = ir.VectorType(ir.IntType(16), LANES)
        data = context.make_array(signature.args[0])(context, builder, values).data
        loaded = builder.load(builder.bitcast(builder.gep(data, [index]), vector.as_pointer()), align=2)

        def splat(value: Any) -> Any:
            nothing = ir.Constant(vector, ir.Undefined)
            lane0 = ir.Constant(ir.IntType(32), 0)
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(builder.insert_element(nothing, value, lane0), nothing, everywhere)

        popcount = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{LANES}i16"
        )
        bits = builder.call(popcount, [builder.xor(loaded, splat(wanted))])
        return builder.bitcast(builder.icmp_unsigned("<=", bits, splat(limit)), ir.IntType(LANES))

    return types.uint32(array, types.int64, types.uint16, types.uint16), codegen


@intrinsic
def _prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Ask for the cache line of `array[index]` of a one-dimensional array; never faults, whatever the index."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
        )
        # For reading, data, into the second level (locality 2): a query asks for more lines at once than the first
        # level can wait for. Worth about a tenth at 10 M against locality 3.
        builder.call(function, [builder.bitcast(builder.gep(data, [args[1]]), byte), number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def _popcount(_context: Any, _value: Any) -> Any:
    """Return the number of one bits of a uint64."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def _lowest(_context: Any, _value: Any) -> Any:
    """Return the index of the lowest one bit of a non-zero uint32."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint32(types.uint32), codegen


# --- Rows -------------------------------------------------------------------------------------------------------------


@jit
def pack(digests: NDArray[np.uint8], images: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    """Write each digest (uint8[n, 8 w], w 1 or 4) as a row; `images` (uint64[8 w, 256, w]): of each byte value."""
    n, width = digests.shape
    for k in range(n):
        # Four names instead of an inner loop, so that they stay in registers.
        a = b = c = d = np.uint64(0)
        for byte in range(width):
            value = digests[k, byte]
            a |= images[byte, value, 0]
            if width > 8:  # noqa: PLR2004 - bytes of a word
                b |= images[byte, value, 1]
                c |= images[byte, value, 2]
                d |= images[byte, value, 3]
        out[k, 0] = a
        if width > 8:  # noqa: PLR2004 - bytes of a word
            out[k, 1] = b
            out[k, 2] = c
            out[k, 3] = d


@jit
def unpack(rows: NDArray[np.uint64], at: NDArray[np.int64], images: NDArray[np.uint64], out: NDArray[np.uint8]) -> None:
    """Write the digests of the rows `at` to `out` (uint8[k, digest_bytes]); `images` undoes `pack`, or is empty."""
    width = out.shape[1]
    moved = images.shape[0] > 0
    words = images.shape[2]
    for k in range(at.shape[0]):
        row = at[k]
        if not moved:
            for byte in range(width):
                out[k, byte] = np.uint8((rows[row, byte >> 3] >> np.uint64(56 - 8 * (byte & 7))) & np.uint64(0xFF))
            continue
        for word in range(words):
            value = np.uint64(0)
            for byte in range(8 * words):
                own = np.int64((rows[row, byte >> 3] >> np.uint64(56 - 8 * (byte & 7))) & np.uint64(0xFF))
                value |= images[byte, own, word]
            for byte in range(8):
                out[k, 8 * word + byte] = np.uint8((value >> np.uint64(56 - 8 * byte)) & np.uint64(0xFF))


@jit
def _field(rows: NDArray[np.uint64], k: int, offset: int, width: int) -> int:
    """Return `width` (1 to 32) bits of row k from bit `offset`, as int64."""
    word, bit = offset >> 6, offset & 63
    value = rows[k, word] << np.uint64(bit)
    if bit + width > 64:  # noqa: PLR2004 - bits of a word
        value |= rows[k, word + 1] >> np.uint64(64 - bit)
    return np.int64(value >> np.uint64(64 - width))  # type: ignore[return-value] # Numba's integers


@jit
def _prefix(rows: NDArray[np.uint64], k: int, bits: int) -> int:
    """Return the first `bits` (0 to 32) bits of row k, as int64."""
    first = rows[k, 0] >> np.uint64(32)
    return np.int64(first >> np.uint64(32 - bits))  # type: ignore[return-value] # Numba's integers


@jit
def _less(a: NDArray[np.uint64], i: int, b: NDArray[np.uint64], j: int) -> bool:
    """Whether row i of `a` sorts before row j of `b`. Rows go by index: a view would cost an atomic reference count."""
    for w in range(a.shape[1]):
        if a[i, w] != b[j, w]:
            return a[i, w] < b[j, w]  # type: ignore[no-any-return] # a NumPy bool
    return False


@jit
def _equal(a: NDArray[np.uint64], i: int, b: NDArray[np.uint64], j: int) -> bool:
    for w in range(a.shape[1]):  # noqa: SIM110 - Numba compiles no generator expressions
        if a[i, w] != b[j, w]:
            return False
    return True


@jit
def is_set(bitmap: NDArray[np.uint8], k: int) -> bool:
    """Whether bit `k` of the bitmap is one."""
    return (bitmap[k >> 3] >> np.uint8(k & 7)) & np.uint8(1) != 0  # type: ignore[no-any-return] # a NumPy bool


@jit
def set_bits(bitmap: NDArray[np.uint8], rows: NDArray[np.int64], value: bool) -> int:  # noqa: FBT001 - no keywords
    """Set the bits of `rows` to `value`, skipping negative ones. Returns how many changed."""
    changed = 0
    for k in rows:
        if k >= 0 and is_set(bitmap, k) != value:
            bitmap[k >> 3] ^= np.uint8(1 << (k & 7))
            changed += 1
    return changed


@jit
def count_prefixes(
    rows: NDArray[np.uint64], dead: NDArray[np.uint8], first: int, last: int, bits: int, counts: NDArray[np.int64]
) -> None:
    """Add to `counts` (int64[2**bits]) living rows `first` (inclusive) to `last` (exclusive) by their first bits."""
    for k in range(first, last):
        if not is_set(dead, k):
            counts[_prefix(rows, k, bits)] += 1


@jit
def scatter(
    rows: NDArray[np.uint64],
    dead: NDArray[np.uint8],
    first: int,
    last: int,
    bits: int,
    cursor: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> None:
    """Copy the living rows of a range to `out`, each at the cursor of its prefix, which moves on."""
    words = rows.shape[1]
    for k in range(first, last):
        if not is_set(dead, k):
            bucket = _prefix(rows, k, bits)
            at = cursor[bucket]
            cursor[bucket] = at + 1
            for w in range(words):
                out[at, w] = rows[k, w]


@jit
def _copy(rows: NDArray[np.uint64], source: int, target: int) -> None:
    for w in range(rows.shape[1]):
        rows[target, w] = rows[source, w]


@jit
def _swap(rows: NDArray[np.uint64], a: int, b: int) -> None:
    for w in range(rows.shape[1]):
        rows[a, w], rows[b, w] = rows[b, w], rows[a, w]


@jit
def _sift(rows: NDArray[np.uint64], first: int, root: int, n: int) -> None:
    while True:
        child = 2 * root + 1
        if child >= n:
            return
        if child + 1 < n and _less(rows, first + child, rows, first + child + 1):
            child += 1
        if not _less(rows, first + root, rows, first + child):
            return
        _swap(rows, first + root, first + child)
        root = child


@jit
def _heap_sort(rows: NDArray[np.uint64], first: int, last: int) -> None:
    n = last - first
    for root in range(n // 2 - 1, -1, -1):
        _sift(rows, first, root, n)
    for end in range(n - 1, 0, -1):
        _swap(rows, first, first + end)
        _sift(rows, first, 0, end)


@jit
def _sort(rows: NDArray[np.uint64], first: int, last: int) -> None:
    """Sort rows `first` to `last` (exclusive) in place: quicksort that turns to heap sort when partitions go wrong."""
    stack = np.empty((128, 3), np.int64)
    depth = 0
    budget = 2
    size = last - first
    while size > 1:
        size >>= 1
        budget += 2
    stack[0, 0], stack[0, 1], stack[0, 2] = first, last, budget
    depth = 1
    while depth:
        depth -= 1
        low, high, left = stack[depth, 0], stack[depth, 1], stack[depth, 2]
        while high - low > _INSERTION:
            if left == 0:
                _heap_sort(rows, low, high)
                low = high
                break
            left -= 1
            middle = low + (high - low) // 2
            if _less(rows, middle, rows, low):
                _swap(rows, middle, low)
            if _less(rows, high - 1, rows, low):
                _swap(rows, high - 1, low)
            if _less(rows, high - 1, rows, middle):
                _swap(rows, high - 1, middle)
            _swap(rows, low, middle)  # the median of three leads
            i, j = low, high
            while True:
                i += 1
                while i < high and _less(rows, i, rows, low):
                    i += 1
                j -= 1
                while _less(rows, low, rows, j):
                    j -= 1
                if i >= j:
                    break
                _swap(rows, i, j)
            _swap(rows, low, j)
            # The larger part waits, so the stack stays as deep as the logarithm of the size.
            if j - low < high - j - 1:
                stack[depth, 0], stack[depth, 1], stack[depth, 2] = j + 1, high, left
                high = j
            else:
                stack[depth, 0], stack[depth, 1], stack[depth, 2] = low, j, left
                low = j + 1
            depth += 1
        for k in range(low + 1, high):
            at = k
            while at > low and _less(rows, at, rows, at - 1):
                _swap(rows, at, at - 1)
                at -= 1


@jit
def sort_buckets(
    rows: NDArray[np.uint64], bounds: NDArray[np.int64], first: int, last: int, distinct_by_bucket: NDArray[np.int64]
) -> None:
    """Sort buckets `first` to `last` (exclusive) in place, drop duplicates and count in `distinct_by_bucket`."""
    for b in range(first, last):
        low, high = bounds[b], bounds[b + 1]
        _sort(rows, low, high)
        at = low
        for k in range(low, high):
            if k == low or not _equal(rows, k, rows, at - 1):
                if at != k:
                    _copy(rows, k, at)
                at += 1
        distinct_by_bucket[b] = at - low


@jit
def close_gaps(rows: NDArray[np.uint64], bounds: NDArray[np.int64], distinct_by_bucket: NDArray[np.int64]) -> int:
    """Move the distinct rows of all buckets together. Returns their number."""
    at = 0
    for b in range(distinct_by_bucket.shape[0]):
        for k in range(bounds[b], bounds[b] + distinct_by_bucket[b]):
            if at != k:
                _copy(rows, k, at)
            at += 1
    return at


@jit
def merge(
    a: NDArray[np.uint64],
    a_dead: NDArray[np.uint8],
    b: NDArray[np.uint64],
    b_dead: NDArray[np.uint8],
    out: NDArray[np.uint64],
    at: NDArray[np.int64],
    most: int,
) -> None:
    """Merge the living rows of `a` and `b`, each sorted and distinct, into `out`, which has room for all rows of both.

    `at` (int64[3]): how far `a`, `b` and `out` have come; goes on from there, by at most `most` rows of `a` and `b`. A
    row in both is written once, if it lives in either.
    """
    i, j, k = at[0], at[1], at[2]
    n, m = a.shape[0], b.shape[0]
    words = a.shape[1]
    for _ in range(most):
        if i == n and j == m:
            break
        # A row that is not to stay is overwritten by the next one: no branch that is hard to foresee.
        if j == m or (i < n and not _less(b, j, a, i)):
            lives = not is_set(a_dead, i)
            if j < m and _equal(a, i, b, j):
                lives = lives or not is_set(b_dead, j)
                j += 1
            for w in range(words):
                out[k, w] = a[i, w]
            i += 1
        else:
            lives = not is_set(b_dead, j)
            for w in range(words):
                out[k, w] = b[j, w]
            j += 1
        k += lives
    at[0], at[1], at[2] = i, j, k


@jit
def fill_directory(rows: NDArray[np.uint64], bits: int, directory: NDArray[np.uint32]) -> None:
    """Write to `directory` (uint32[2**bits + 1]) where each prefix starts among the sorted rows."""
    at = 0
    for prefix in range(directory.shape[0] - 1):
        while at < rows.shape[0] and _prefix(rows, at, bits) < prefix:
            at += 1
        directory[prefix] = at
    directory[directory.shape[0] - 1] = rows.shape[0]


@jit
def locate(
    queries: NDArray[np.uint64],
    rows: NDArray[np.uint64],
    directory: NDArray[np.uint32],
    bits: int,
    out: NDArray[np.int64],
) -> None:
    """Write the row equal to each query, living or not, or -1. The rows are sorted; both sides have the same width."""
    n = queries.shape[0]
    words = rows.shape[1]
    flat = rows.reshape(-1)
    for k in range(n):
        # Three waves of independent misses: directory, rows, comparisons.
        if k + 16 < n:
            _prefetch(directory, _prefix(queries, k + 16, bits))
        if k + 8 < n:
            _prefetch(flat, np.int64(directory[_prefix(queries, k + 8, bits)]) * words)
        prefix = _prefix(queries, k, bits)
        low, high = np.int64(directory[prefix]), np.int64(directory[prefix + 1])
        while low < high:
            middle = (low + high) >> np.int64(1)
            if _less(rows, middle, queries, k):
                low = middle + np.int64(1)
            else:
                high = middle
        end = np.int64(directory[prefix + 1])
        out[k] = low if low < end and _equal(rows, low, queries, k) else -1


@jit
def _append(
    count: int,
    query: int,
    row: int,
    distance: int,
    out_query: NDArray[np.int64],
    out_row: NDArray[np.int64],
    out_distance: NDArray[np.int32],
) -> int:
    """Write a match behind the first `count`, if there is room, and return how many there are now, written or not."""
    if count < out_row.shape[0]:
        out_query[count] = query
        out_row[count] = row
        out_distance[count] = distance
    return count + 1


@jit
def look_up(
    queries: NDArray[np.uint64],
    rows: NDArray[np.uint64],
    dead: NDArray[np.uint8],
    directory: NDArray[np.uint32],
    bits: int,
    out_query: NDArray[np.int64],
    out_row: NDArray[np.int64],
    out_distance: NDArray[np.int32],
) -> int:
    """Find the living row equal to each query. Results and return value as `search_tables`."""
    at = np.empty(queries.shape[0], np.int64)
    locate(queries, rows, directory, bits, at)
    count = 0
    for k in range(at.shape[0]):
        if at[k] >= 0 and not is_set(dead, at[k]):
            count = _append(count, k, at[k], 0, out_query, out_row, out_distance)
    return count


# --- Tables: multi-index hashing with fingerprints --------------------------------------------------------------------


@jit
def build_table(
    rows: NDArray[np.uint64],
    address: int,
    address_bits: int,
    fingerprint: int,
    buffer: NDArray[np.uint64],
    start: NDArray[np.uint32],
    fingerprints: NDArray[np.uint16],
    ids: NDArray[np.uint32],
) -> None:
    """Group all rows by the `address_bits` bits from bit `address`, in row order within a group.

    buffer: uint64[n], overwritten. start: uint32[2**address_bits + 1]. fingerprints: uint16[n + LANES], the 16 bits
    from bit `fingerprint`.
    ids: uint32[n], or empty when the address leads the row: sorted rows are then in this order already.

    Two passes over half of the address each. Writing straight to 65,536 groups would miss the cache twice for every
    row; a few hundred open places stay in it, and the second pass sorts parts that do too.
    """
    n = rows.shape[0]
    low_bits = address_bits >> 1
    low_mask = (1 << low_bits) - 1
    parts = 1 << (address_bits - low_bits)
    bounds = np.zeros(parts + 1, np.int64)
    for k in range(n):
        bounds[(_field(rows, k, address, address_bits) >> low_bits) + 1] += 1
    for part in range(parts):
        bounds[part + 1] += bounds[part]
    cursor = bounds[:-1].copy()
    for k in range(n):
        group = _field(rows, k, address, address_bits)
        part = group >> low_bits
        at = cursor[part]
        cursor[part] = at + 1
        value = _field(rows, k, fingerprint, 16)
        buffer[at] = (np.uint64(group & low_mask) << np.uint64(48)) | np.uint64((value << 32) | k)
    keep_ids = ids.shape[0] > 0
    place = np.empty(low_mask + 1, np.int64)
    for part in range(parts):
        place[:] = 0
        for k in range(bounds[part], bounds[part + 1]):
            place[np.int64(buffer[k] >> np.uint64(48))] += 1
        total = bounds[part]
        for group in range(low_mask + 1):
            size = place[group]
            place[group] = total
            start[(part << low_bits) + group] = total
            total += size
        for k in range(bounds[part], bounds[part + 1]):
            entry = buffer[k]
            group = np.int64(entry >> np.uint64(48))
            at = place[group]
            place[group] = at + 1
            fingerprints[at] = np.uint16((entry >> np.uint64(32)) & np.uint64(0xFFFF))
            if keep_ids:
                ids[at] = np.uint32(entry & np.uint64(0xFFFFFFFF))
    start[parts << low_bits] = n
    fingerprints[n:] = 0


@jit
def _accepts(
    rows: NDArray[np.uint64],
    row: int,
    queries: NDArray[np.uint64],
    query: int,
    table: int,
    shape: NDArray[np.int64],
    address_bits: int,
) -> bool:
    """Whether this table finds the row for the query: the same two conditions that the scan applies."""
    near = np.int64(
        _popcount(
            np.uint64(
                _field(rows, row, shape[0, table], address_bits) ^ _field(queries, query, shape[0, table], address_bits)
            )
        )
    )
    if near > shape[2, table]:
        return False
    rest = np.int64(
        _popcount(np.uint64(_field(rows, row, shape[1, table], 16) ^ _field(queries, query, shape[1, table], 16)))
    )
    return near + rest <= shape[3, table]  # type: ignore[no-any-return] # a NumPy bool


@jit
def _scan(
    queries: NDArray[np.uint64],
    k: int,
    rows: NDArray[np.uint64],
    dead: NDArray[np.uint8],
    max_distance: int,
    count: int,
    out_query: NDArray[np.int64],
    out_row: NDArray[np.int64],
    out_distance: NDArray[np.int32],
) -> int:
    """Compare every row with query k and append the matches after the first `count`."""
    words = rows.shape[1]
    for row in range(rows.shape[0]):
        distance = np.int64(0)
        for w in range(words):
            distance += np.int64(_popcount(rows[row, w] ^ queries[k, w]))
        if distance <= max_distance and not is_set(dead, row):
            count = _append(count, k, row, distance, out_query, out_row, out_distance)
    return count


@jit
def search_tables(
    queries: NDArray[np.uint64],
    rows: NDArray[np.uint64],
    dead: NDArray[np.uint8],
    start: NDArray[np.uint32],
    fingerprints: NDArray[np.uint16],
    ids: NDArray[np.uint32],
    shape: NDArray[np.int64],
    address_bits: int,
    masks: NDArray[np.int64],
    weights: NDArray[np.int64],
    max_distance: int,
    out_query: NDArray[np.int64],
    out_row: NDArray[np.int64],
    out_distance: NDArray[np.int32],
) -> int:
    """Find every living row within `max_distance` bits of each query, once.

    start: uint32[m * (2**address_bits + 1)], fingerprints: uint16[m * (n + LANES)], ids: uint32[(m - 1) * n]: one table
    after the other. shape: int64[4, m]: address bit, fingerprint bit, largest distance in the address (-1: the table is
    not used), largest distance in address and fingerprint together. masks: the addresses' flips by ascending weight, at
    least all those up to the largest shape[2]; weights: their numbers of one bits.

    Returns how many were found; only as many as fit are written, so a caller whose arrays were too short repeats with
    longer ones.
    """
    tables = shape.shape[1]
    n, words = rows.shape
    stride = n + LANES
    groups = (1 << address_bits) + 1
    # How many masks each table uses, and so how many groups one query visits.
    used = np.zeros(tables, np.int64)
    visits = 0
    for t in range(tables):
        while used[t] < masks.shape[0] and weights[used[t]] <= shape[2, t]:
            used[t] += 1
        visits += used[t]
    low = np.empty(visits + _PREFETCH_GROUPS, np.int64)
    high = np.empty(visits, np.int64)
    low[visits:] = 0
    lines = _lines_of_most(n, address_bits)
    survivor = np.empty(_SURVIVORS + LANES, np.int64)
    by_table = np.empty(_SURVIVORS + LANES, np.int64)
    flat = rows.reshape(-1)
    budget = max(_SURVIVORS, n >> _SCAN_SHARE_LOG2)
    count = 0
    for k in range(queries.shape[0]):
        count_before = count
        candidates = 0
        # (1) Where the groups lie, as positions in `fingerprints`.
        v = 0
        for t in range(tables):
            address = _field(queries, k, shape[0, t], address_bits)
            for mask in masks[: used[t]]:
                _prefetch(start, t * groups + (address ^ mask))
        for t in range(tables):
            address = _field(queries, k, shape[0, t], address_bits)
            base = t * stride
            for mask in masks[: used[t]]:
                at = t * groups + (address ^ mask)
                low[v] = base + np.int64(start[at])
                high[v] = base + np.int64(start[at + 1])
                v += 1
        for ahead in range(min(_PREFETCH_GROUPS, visits)):
            for line in range(lines):
                _prefetch(fingerprints, (low[ahead] & -LANES) + line * LANES)
        # (2) Scan their fingerprints; what survives waits with its id on the way. As many lines of each are fetched as
        # most groups have: the processor would guess wrong where the loop ends with each group.
        v = 0
        waiting = fetched = 0
        for t in range(tables):
            wanted = np.uint16(_field(queries, k, shape[1, t], 16))
            base = t * stride
            to_ids = -base if t == 0 else (t - 1) * n - base
            before = waiting
            for m in range(used[t]):
                ahead = low[v + _PREFETCH_GROUPS] & -LANES
                for line in range(lines):
                    _prefetch(fingerprints, ahead + line * LANES)
                limit = np.uint16(min(16, shape[3, t] - weights[m]))
                end = high[v]
                for p in range(low[v], end, LANES):
                    hits = _near(fingerprints, p, wanted, limit)
                    if hits == 0:
                        continue
                    if end - p < LANES:
                        hits &= np.uint32((1 << (end - p)) - 1)
                    while hits:
                        at = p + np.int64(_lowest(hits)) + to_ids
                        survivor[waiting] = at
                        by_table[waiting] = t
                        if t:
                            _prefetch(ids, at)
                        waiting += 1
                        hits &= hits - np.uint32(1)
                    if waiting >= _SURVIVORS:
                        candidates += waiting
                        if candidates > budget:
                            break
                        _fetch_rows(flat, words, ids, survivor, by_table, fetched, waiting)
                        count = _verify(
                            queries, k, rows, dead, shape, address_bits, max_distance, survivor, by_table, waiting,
                            count, out_query, out_row, out_distance,
                        )  # fmt: skip
                        waiting = fetched = before = 0
                if candidates > budget:
                    break
                v += 1
            if candidates > budget:
                break
            # The ids of the table before have arrived.
            _fetch_rows(flat, words, ids, survivor, by_table, fetched, before)
            fetched = before
        # (3) Read the survivors' rows; beside a large cluster read all rows instead, in order and once each.
        if candidates > budget:
            count = _scan(queries, k, rows, dead, max_distance, count_before, out_query, out_row, out_distance)
            continue
        _fetch_rows(flat, words, ids, survivor, by_table, fetched, waiting)
        count = _verify(
            queries, k, rows, dead, shape, address_bits, max_distance, survivor, by_table, waiting,
            count, out_query, out_row, out_distance,
        )  # fmt: skip
    return count


@jit
def _lines_of_most(n: int, address_bits: int) -> int:
    """Return how many cache lines, of LANES fingerprints each, nine of ten groups lie in."""
    size = n / (1 << address_bits)
    # A group begins anywhere in its first line; both that and its size vary.
    return np.int64((size + LANES / 2 + 1.5 * np.sqrt(size + LANES**2 / 12)) / LANES) + 1  # type: ignore[return-value]


@jit
def _fetch_rows(
    flat: NDArray[np.uint64],
    words: int,
    ids: NDArray[np.uint32],
    survivor: NDArray[np.int64],
    by_table: NDArray[np.int64],
    begin: int,
    end: int,
) -> None:
    """Turn the survivors `begin` (inclusive) to `end` (exclusive) into rows, and ask for these."""
    for s in range(begin, end):
        if by_table[s]:
            survivor[s] = np.int64(ids[survivor[s]])
        _prefetch(flat, survivor[s] * words)


@jit
def _verify(
    queries: NDArray[np.uint64],
    k: int,
    rows: NDArray[np.uint64],
    dead: NDArray[np.uint8],
    shape: NDArray[np.int64],
    address_bits: int,
    max_distance: int,
    survivor: NDArray[np.int64],
    by_table: NDArray[np.int64],
    waiting: int,
    count: int,
    out_query: NDArray[np.int64],
    out_row: NDArray[np.int64],
    out_distance: NDArray[np.int32],
) -> int:
    """Compare the survivors' whole rows and append the matches, each from the first table that finds it only."""
    words = rows.shape[1]
    for s in range(waiting):
        row = survivor[s]
        distance = np.int64(0)
        for w in range(words):
            distance += np.int64(_popcount(rows[row, w] ^ queries[k, w]))
        if distance > max_distance or is_set(dead, row):
            continue
        first = True
        for t in range(by_table[s]):
            if _accepts(rows, row, queries, k, t, shape, address_bits):
                first = False
                break
        if first:
            count = _append(count, k, row, distance, out_query, out_row, out_distance)
    return count


# --- Scans ------------------------------------------------------------------------------------------------------------


@jit
def scan_hamming(
    queries: NDArray[np.uint64],
    rows: NDArray[np.uint64],
    dead: NDArray[np.uint8],
    max_distance: int,
    out_query: NDArray[np.int64],
    out_row: NDArray[np.int64],
    out_distance: NDArray[np.int32],
) -> int:
    """Compare every row with every query. Results and return value as `search_tables`."""
    count = 0
    for k in range(queries.shape[0]):
        count = _scan(queries, k, rows, dead, max_distance, count, out_query, out_row, out_distance)
    return count


@jit
def scan_euclidean(
    queries: NDArray[np.uint8],
    rows: NDArray[np.uint8],
    dead: NDArray[np.uint8],
    max_distance: int,
    out_query: NDArray[np.int64],
    out_row: NDArray[np.int64],
    out_distance: NDArray[np.int32],
) -> int:
    """Compare every row with every query by the sum of squared differences of their bytes. Results as `search_tables`.

    A third of the bytes decides most rows; integer arithmetic keeps the boundary exact.
    """
    width = rows.shape[1]
    third = width // 3
    count = 0
    for k in range(queries.shape[0]):
        for row in range(rows.shape[0]):
            distance = np.int32(0)
            for b in range(third):
                difference = np.int32(rows[row, b]) - np.int32(queries[k, b])
                distance += difference * difference
            if distance > max_distance:
                continue
            for b in range(third, width):
                difference = np.int32(rows[row, b]) - np.int32(queries[k, b])
                distance += difference * difference
            if distance <= max_distance and not is_set(dead, row):
                count = _append(count, k, row, distance, out_query, out_row, out_distance)
    return count
