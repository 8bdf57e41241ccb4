"""Items and what each contributor states of them: from an extract to arrays, one row a contributor and item.

Entries are of one item when they share an exact digest, directly or over others. Where it would so have two digests of
one algorithm, an entry belongs to its strongest digest, and a weaker one to the stronger that most contributors bind it
to (to none in a tie): nobody joins two items of others. A contributor's statement is what its entries leave possible
together; nothing where they contradict one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.hashes import ALGORITHMS
from hashhub.model import EntryState, Purpose
from hashhub.reconcile.columns import bits_of
from hashhub.reconcile.comparison import components
from hashhub.reconcile.engines import run
from hashhub.reconcile.extract import arrow
from hashhub.reconcile.results import Backend
from hashhub.schemes.dimensions import DIMENSIONS, every_world, is_bundle, worlds

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract

_EXACT: Final = sorted((a for a in ALGORITHMS.values() if not a.is_perceptual), key=lambda a: a.digest_bytes)
ROWS_AT_ONCE: Final = 12_000_000  # of digests that are joined together: some 700 MB
_LEGAL: Final = ("illegal", "not-illegal")  # the worlds of a legal_status, in bits
COMPARED: Final = tuple(
    sorted(
        (name for name in DIMENSIONS if not is_bundle(name) and name != "legal_status"),
        key=lambda name: name != "age_band",
    )
)
"""Dimensions with a column of bits in which statements can contradict each other, age first. Not `context`: its facts
hold together, and who does not state one does not deny it.
"""


class Statements(NamedTuple):
    """What is stated in one dimension: row by row, ordered by item and then contributor, at most one row for both.

    item: int32; which item. contributor: int32; index into `Items.contributors`. mask: uint16; bits of the worlds that
    remain possible, never none and never all. quarter: int16; year * 4 + quarter - 1.
    """

    item: NDArray[np.int32]
    contributor: NDArray[np.int32]
    mask: NDArray[np.uint16]
    quarter: NDArray[np.int16]


class CarriedValues(NamedTuple):
    """Raw values, by item and contributor; who carries two of one scheme, carries none. value: index into
    `Items.values`. entry: one of those that carry it.
    """

    item: NDArray[np.int32]
    contributor: NDArray[np.int32]
    value: NDArray[np.int32]
    entry: NDArray[np.int64]


class Items(NamedTuple):
    """What several contributors hold. `takes_from`: by contributor. `values`: (ID@VERSION, value). `items`: of which at
    least two contributors state something in one dimension, or carry a value.
    """

    items: int
    contributors: tuple[str, ...]
    takes_from: Mapping[str, tuple[str, ...]]
    by_dimension: Mapping[str, Statements]
    values: tuple[tuple[str, str], ...]
    carried: CarriedValues

    @property
    def scheme_of(self) -> NDArray[np.int64]:
        """By number of a value, the number of its scheme; in the order of their names, as the values are."""
        names = [scheme for scheme, _ in self.values]
        return np.unique(names, return_inverse=True)[1] if names else np.zeros(0, np.int64)


def world_names(dimension: str) -> tuple[str, ...]:
    """Return the worlds of a dimension in the order of their bits in `Statements.mask`: that of the dimension."""
    if dimension.startswith("legal_status:"):
        return _LEGAL
    order = list(DIMENSIONS[dimension].values)

    def place(world: str) -> tuple[int, str]:
        value = world.partition("/")[0]
        return order.index(value), world

    return tuple(sorted(every_world(dimension), key=place))


def mask_of(dimension: str, stated: frozenset[str]) -> int:
    """Return the bits of worlds in a dimension."""
    return sum(1 << at for at, world in enumerate(world_names(dimension)) if world in stated)


def read(extract: Extract, connection: Any, engine: Backend) -> Items:
    """Return the items of an extract, over a connection that its `connect` gave.

    Only ACTIVE entries count, and none of hash sets for tests. A statement is what the entry itself says: what being in
    its hash set means is not taken for one.
    """
    sets = connection.execute("SELECT contributor, takes_from FROM hash_sets").fetchall()
    contributors = tuple(sorted({name for name, _ in sets}))
    takes_from = {name: tuple(names or ()) for name, names in sets}
    join(extract, connection, exact_rows(f"purpose <> '{Purpose.TEST}'"), engine)
    check()
    return _fetch(connection, contributors, takes_from)


def exact_rows(hash_sets: str, where: str = "true") -> str:
    """Return a SELECT of the exact digests of ACTIVE entries, by conditions on hash sets and on digests (`where`)."""
    return (
        "SELECT * FROM digests SEMI JOIN "  # noqa: S608 - names of our own
        f"(SELECT hash_set FROM hash_sets WHERE {hash_sets}) AS chosen USING (hash_set) "
        f"WHERE state = '{EntryState.ACTIVE}' AND algorithm IN ({', '.join(repr(a.name) for a in _EXACT)}) "
        f"AND ({where})"
    )


def join(extract: Extract, connection: Any, rows: str, engine: Backend = Backend.DUCKDB) -> None:
    """Make the table `members` (entry, item) of `exact_rows`' rows: each entry that shares an item with another."""
    connection.execute(
        "CREATE TEMP TABLE codes AS SELECT contributor, "
        "(row_number() OVER (ORDER BY contributor) - 1)::INTEGER AS code "
        "FROM (SELECT DISTINCT contributor FROM hash_sets)"
    )
    connection.execute(
        f"CREATE TEMP VIEW exact AS SELECT * FROM ({rows}) JOIN codes USING (contributor)"  # noqa: S608 - our own text
    )
    parts = max(1, -(-sum(f.rows for f in extract.files) // ROWS_AT_ONCE))
    connection.execute("CREATE TEMP TABLE edges (entry BIGINT, low BIGINT, algorithm VARCHAR)")
    for table in run(extract, [_edges(rows, part, parts) for part in range(parts)], connection, engine):
        connection.register("more", table)
        connection.execute("INSERT INTO edges SELECT entry, low, algorithm FROM more")
        connection.unregister("more")
    edges = connection.execute("SELECT DISTINCT entry, low FROM edges WHERE entry <> low").fetchnumpy()
    entries, joined = components(_plain(edges["entry"], np.int64), _plain(edges["low"], np.int64))
    _register(connection, "joined", entry=entries, item=joined)
    # Any algorithm of an entry's leads to one of its rows, which are alike in all that is read of them later.
    connection.execute(
        "CREATE TEMP TABLE members AS SELECT entry, item, algorithm FROM joined "
        "JOIN (SELECT entry, min(algorithm) AS algorithm FROM edges GROUP BY entry) USING (entry)"
    )
    connection.unregister("joined")
    connection.execute("DROP TABLE edges")
    connection.execute(
        "CREATE TEMP TABLE contradictory AS SELECT DISTINCT item FROM (SELECT item FROM "
        "(SELECT entry, exact.algorithm, hash(digest) AS h, item FROM exact JOIN members USING (entry)) "
        "GROUP BY item, algorithm HAVING min(h) <> max(h))"
    )
    if connection.execute("SELECT count(*) FROM contradictory").fetchone()[0]:
        _part(connection)


def _edges(rows: str, part: int, parts: int) -> str:
    """Return a SELECT of entries that share a digest, the least that has it, the algorithm; of one part of `parts`."""
    of_part = f" AND hash(digest) % {parts} = {part}" if parts > 1 else ""
    # Most digests are nobody else's: their 64-bit hashes tell that at a third of the cost of the digests themselves.
    return (
        "WITH d AS NOT MATERIALIZED "  # noqa: S608 - our own text
        f"(SELECT entry, algorithm, digest, hash(digest) AS h FROM ({rows}{of_part})), "
        "c AS (SELECT h FROM d GROUP BY h HAVING min(entry) <> max(entry)), "
        "r AS MATERIALIZED (SELECT entry, algorithm, digest FROM d SEMI JOIN c USING (h)), "
        "k AS (SELECT algorithm, digest, min(entry) AS low FROM r GROUP BY algorithm, digest "
        "HAVING min(entry) <> max(entry)) "
        "SELECT entry, low, min(algorithm)::VARCHAR AS algorithm FROM r JOIN k USING (algorithm, digest) "
        "GROUP BY entry, low"
    )


def _part(connection: Any) -> None:
    """Give the entries of contradictory items their items anew."""
    cases = " ".join(f"WHEN '{a.name}' THEN {strength}" for strength, a in enumerate(_EXACT))
    strength_of = f"CASE exact.algorithm {cases} END"
    rows = connection.execute(
        f"SELECT entry, code, {strength_of} AS strength, "  # noqa: S608 - names of our own
        "dense_rank() OVER (ORDER BY exact.algorithm, digest) - 1 AS digest FROM exact JOIN members USING (entry) "
        "JOIN contradictory USING (item) ORDER BY entry, strength DESC, digest"
    ).fetchnumpy()
    entry, code = _plain(rows["entry"], np.int64), _plain(rows["code"], np.int64)
    strength, digest = _plain(rows["strength"], np.int64), _plain(rows["digest"], np.int64)
    is_first = _is_start(entry)
    strongest = digest[is_first]  # by entry
    at = np.cumsum(is_first) - 1
    target = _follow(digest, strongest[at], code, strength < strength[is_first][at])
    _register(connection, "parted", entry=entry[is_first], item=target[strongest])
    connection.execute(
        "UPDATE members SET item = parted.item + (SELECT max(item) + 1 FROM members) FROM parted "
        "WHERE members.entry = parted.entry"
    )
    connection.unregister("parted")


def _follow(
    digest: NDArray[np.int64], stronger: NDArray[np.int64], code: NDArray[np.int64], is_weaker: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return for each digest the end of its chain of stronger digests; rows bind `digest` to `stronger`."""
    target = np.arange(int(digest.max()) + 1)
    votes = np.unique(np.stack([digest, stronger, code])[:, is_weaker], axis=1)
    if not votes.shape[1]:
        return target
    bindings, count = np.unique(votes[:2], axis=1, return_counts=True)
    order = np.lexsort((-count, bindings[0]))
    weaker, bound, count = bindings[0][order], bindings[1][order], count[order]
    is_first = np.r_[True, weaker[1:] != weaker[:-1]]
    is_tie = np.r_[(weaker[1:] == weaker[:-1]) & (count[1:] == count[:-1]), False]
    chosen = is_first & ~is_tie
    target[weaker[chosen]] = bound[chosen]
    for _ in _EXACT:  # each step is to a stronger algorithm
        target = target[target]
    return target


def _fetch(connection: Any, contributors: tuple[str, ...], takes_from: Mapping[str, tuple[str, ...]]) -> Items:
    connection.execute(
        "CREATE TEMP TABLE spoken AS SELECT entry, item, code, scheme, value, stated_time, "  # noqa: S608 - ours
        + ", ".join(f"d_{name}::USMALLINT AS d_{name}" for name in COMPARED)
        + ", d_legal_status FROM exact JOIN members USING (entry, algorithm)"
    )
    connection.execute(
        "CREATE TEMP TABLE numbered AS SELECT item, (row_number() OVER (ORDER BY item) - 1)::INTEGER AS number "
        "FROM (SELECT item FROM spoken GROUP BY item HAVING min(code) <> max(code))"
    )
    connection.execute(
        "CREATE TEMP TABLE quarters AS SELECT stated_time, "
        "(year(stated_time AT TIME ZONE 'UTC') * 4 + quarter(stated_time AT TIME ZONE 'UTC') - 1)::SMALLINT AS quarter "
        "FROM (SELECT DISTINCT stated_time FROM spoken)"
    )
    by_dimension = {name: _statements(connection, name) for name in COMPARED}
    by_dimension |= _legal_statements(connection)
    values, carried = _values(connection)
    return Items(
        items=_items_of_several([*by_dimension.values(), carried]),
        contributors=contributors,
        takes_from=takes_from,
        by_dimension={n: s for n, s in by_dimension.items() if len(s.item)},
        values=values,
        carried=carried,
    )


def _statements(connection: Any, dimension: str) -> Statements:
    rows = connection.execute(
        f"SELECT number, code, d_{dimension} AS bits, quarter FROM spoken JOIN numbered USING (item) "  # noqa: S608
        f"JOIN quarters USING (stated_time) WHERE d_{dimension} <> 0"
    ).fetchnumpy()
    return _merged(rows, _masks_of_bits(dimension)[_plain(rows["bits"], np.int64)])


def _masks_of_bits(dimension: str) -> NDArray[np.uint16]:
    """Return by bits of values the bits of worlds; 0 where these are all, which says nothing."""
    values = bits_of(dimension)
    mask_of_value = {v: mask_of(dimension, worlds({dimension: (v,)})[dimension]) for v in values}
    masks = np.zeros(1 << len(values), np.uint16)
    for value, bit in values.items():
        masks[np.arange(len(masks)) & bit != 0] |= np.uint16(mask_of_value[value])
    masks[masks == mask_of(dimension, every_world(dimension))] = 0
    return masks


def _legal_statements(connection: Any) -> dict[str, Statements]:
    rows = connection.execute(
        "SELECT number, code, quarter, entry, split_part(law, ':', 1) AS jurisdiction, "  # noqa: S608 - our own text
        f"bit_or(CASE split_part(law, ':', 2) WHEN '{_LEGAL[0]}' THEN 1 WHEN '{_LEGAL[1]}' THEN 2 ELSE 3 END) AS bits "
        "FROM (SELECT *, unnest(d_legal_status) AS law FROM spoken) JOIN numbered USING (item) "
        "JOIN quarters USING (stated_time) GROUP BY number, code, quarter, entry, jurisdiction"
    ).fetchnumpy()
    bits = _plain(rows["bits"], np.int64).astype(np.uint16)
    bits[bits == 3] = 0  # noqa: PLR2004 - both: nothing is said
    jurisdictions = np.asarray(rows["jurisdiction"], dtype=str)
    statements: dict[str, Statements] = {}
    for jurisdiction in np.unique(jurisdictions):
        of_it = jurisdictions == jurisdiction
        part = {name: np.asarray(column)[of_it] for name, column in rows.items()}
        statements[f"legal_status:{jurisdiction}"] = _merged(part, bits[of_it])
    return statements


def _merged(rows: Mapping[str, Any], mask: NDArray[np.uint16]) -> Statements:
    """Merge a contributor's statements into one: the possibilities common to all, as of the last."""
    said = mask != 0
    item = _plain(rows["number"], np.int32)[said]
    contributor = _plain(rows["code"], np.int32)[said]
    quarter = _plain(rows["quarter"], np.int16)[said]
    mask = mask[said]
    order = np.lexsort((contributor, item))
    item, contributor, mask, quarter = item[order], contributor[order], mask[order], quarter[order]
    starts = np.flatnonzero(_is_start(item, contributor))
    if not len(starts):
        return Statements(item, contributor, mask, quarter)
    merged = np.bitwise_and.reduceat(mask, starts)
    last = np.maximum.reduceat(quarter, starts)
    held = merged != 0
    return Statements(item[starts][held], contributor[starts][held], merged[held], last[held])


def _values(connection: Any) -> tuple[tuple[tuple[str, str], ...], CarriedValues]:
    names = connection.execute(
        "SELECT DISTINCT scheme, value FROM spoken WHERE scheme <> '' AND value IS NOT NULL ORDER BY scheme, value"
    ).fetchall()
    _register(
        connection,
        "names",
        scheme=arrow().array([scheme for scheme, _ in names], "string"),
        value=arrow().array([value for _, value in names], "string"),
        name=np.arange(len(names), dtype=np.int32),
    )
    rows = connection.execute(
        "SELECT number, code, min(name) AS name, min(entry) AS entry FROM spoken JOIN numbered USING (item) "
        "JOIN names USING (scheme, value) GROUP BY number, code, scheme HAVING min(name) = max(name) "
        "ORDER BY number, code, min(name)"
    ).fetchnumpy()
    connection.unregister("names")
    return tuple((str(s), str(v)) for s, v in names), CarriedValues(
        _plain(rows["number"], np.int32),
        _plain(rows["code"], np.int32),
        _plain(rows["name"], np.int32),
        _plain(rows["entry"], np.int64),
    )


def _items_of_several(parts: Sequence[Statements | CarriedValues]) -> int:
    several = np.zeros(max((int(part.item[-1]) for part in parts if len(part.item)), default=-1) + 1, np.bool_)
    for part in parts:
        starts = _is_start(part.item, part.contributor)
        item = part.item[starts]
        several[item[1:][item[1:] == item[:-1]]] = True
    return int(several.sum())


def _is_start(*keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a row differs from the one before it."""
    starts = np.zeros(len(keys[0]), np.bool_)
    starts[:1] = True
    for key in keys:
        starts[1:] |= key[1:] != key[:-1]
    return starts


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct values in order. NumPy's `unique` hashes, which takes three times as long for millions."""
    ordered = np.sort(values)
    return ordered[_is_start(ordered)]


def _plain(column: Any, kind: type[Any]) -> NDArray[Any]:
    """Return a column without nulls as an array; DuckDB gives masked ones where it is unsure."""
    return np.ma.getdata(column).astype(kind, copy=False)


def _register(connection: Any, table: str, /, **columns: Any) -> None:
    connection.register(table, arrow().table(columns))
