"""How far contributors agree about the items that several of them classified. It suggests, and changes nothing.

    items      what each states of each item, in worlds        (items.py)
    alpha      one figure for each dimension                   (alpha.py)
    consensus  what the independent others say of an item      (consensus.py)
    compute    these together; drift, and rows for crosswalks  (here)

Statements are sets of what is possible. Two that overlap do not disagree, and who states nothing in a dimension takes
no part in it. Contributors with a source in common are never measured by each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.errors import InvalidArgument
from hashhub.intervals import wilson
from hashhub.model import number_of
from hashhub.reconcile import items as reading
from hashhub.reconcile.alpha import NOMINAL, ORDERED, ORDINAL, alpha
from hashhub.reconcile.comparison import silent
from hashhub.reconcile.consensus import Independence, consensus, others, pairs
from hashhub.reconcile.items import Items, Statements, distinct, world_names
from hashhub.reconcile.results import (
    Agreement,
    Backend,
    Confusion,
    ContributorAgreement,
    DimensionAgreement,
    Progress,
    Proportion,
    SuggestedRow,
)
from hashhub.schemes import SchemeRegistry
from hashhub.schemes.crosswalk import Relation, compare
from hashhub.schemes.dimensions import DIMENSIONS, GROUPS, worlds

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract

MIN_ITEMS: Final = 20  # items that carry a value and any of another scheme, from which a row is suggested
MIN_TOGETHER: Final = 5  # items that carry both values: fewer may be slips
MAX_SUGGESTIONS: Final = 500
_EXAMPLES: Final = 3
_ONE_TO_ONE: Final = 0.8  # lower bound of both shares from which two values are taken for one and the same
_NO_SLIP: Final = 0.05  # lower bound of the share from which two values that exclude each other are more than slips
_SELDOM: Final = 0.5  # upper bound of the share below which two values that mean the same seldom stand together
PAIRS: Final = 1 << 21  # of rows that are looked at together
_TWO_VOICES: Final = 1.5  # less is one voice: voices are fractions, and not quite whole
_SEED: Final = 20_261_125


def compute(
    extract: Extract,
    schemes: SchemeRegistry,
    *,
    engine: Backend = Backend.DUCKDB,
    progress: Progress | None = None,
) -> Agreement:
    """Return how far the contributors of an extract agree; equal for equal extracts, whatever the engine. `schemes` has
    the crosswalks. Raises FailedPrecondition without `hashhub[reconcile]` or `[ray]`, and as `Extract.connect`.
    """
    told = progress or silent
    told(0, 1, "items")
    with extract.connect() as connection:
        known = reading.read(extract, connection, engine)
        independence = Independence(known.contributors, known.takes_from)
        steps = len(known.by_dimension) + 2
        measures = _Measures([], [], [], [])
        for step, (dimension, statements) in enumerate(known.by_dimension.items()):
            check()
            told(step + 1, steps, dimension)
            _measure(dimension, statements, known, independence, measures)
        told(steps - 1, steps, "crosswalks")
        suggestions = _suggest(connection, known, independence, schemes)
    told(steps, steps, "done")
    return Agreement(
        revision=extract.revision,
        items=known.items,
        dimensions=tuple(measures.dimensions),
        contributors=tuple(measures.contributors),
        confusions=tuple(measures.confusions),
        drift=tuple(measures.drift),
        suggestions=suggestions,
    )


def proportion(count: int, items: int) -> Proportion:
    """Return the share with its interval. Of no items nothing is known: 0 to 1."""
    low, high = wilson(count, items) or (0.0, 1.0)
    return Proportion(count=count, items=items, low=low, high=high)


# --- Dimensions -------------------------------------------------------------------------------------------------------


class _Measures(NamedTuple):
    dimensions: list[DimensionAgreement]
    contributors: list[ContributorAgreement]
    confusions: list[Confusion]
    drift: list[ContributorAgreement]


def _measure(
    dimension: str,
    statements: Statements,
    known: Items,
    independence: Independence,
    measures: _Measures,
) -> None:
    """Add the measures of one dimension."""
    statements = _of_several(statements)
    heard = others(statements, independence)
    for metric in (ORDINAL, NOMINAL) if dimension in ORDERED else (NOMINAL,):
        figure = alpha(dimension, metric, statements, independence, heard, seed=_SEED)
        if not figure.items:
            return
        measures.dimensions.append(DimensionAgreement(dimension=dimension, metric=metric, **figure._asdict()))
    agreed = consensus(statements, independence, heard, seed=_SEED)
    has = agreed != 0
    judged = _AgreedRows(
        statements.contributor[has],
        statements.quarter[has],
        statements.mask[has],
        agreed[has],
        heard.voices[has] < _TWO_VOICES,
    )
    measures.contributors.extend(_shares(dimension, known, judged, judged.contributor.astype(np.int64), ""))
    by_quarter = judged.contributor.astype(np.int64) << 16 | judged.quarter
    measures.drift.extend(_shares(dimension, known, judged, by_quarter, "quarter"))
    measures.confusions.extend(_confusions(dimension, known, judged))


class _AgreedRows(NamedTuple):
    """What was stated where the others have a consensus, row by row. `is_by_one`: of one other."""

    contributor: NDArray[np.int32]
    quarter: NDArray[np.int16]
    stated: NDArray[np.uint16]
    consensus: NDArray[np.uint16]
    is_by_one: NDArray[np.bool_]


def _of_several(statements: Statements) -> Statements:
    """Leave out the items of which only one states anything."""
    item = statements.item
    is_several = np.zeros(len(item), np.bool_)
    equal = item[1:] == item[:-1]
    is_several[1:] |= equal
    is_several[:-1] |= equal
    return Statements(
        item[is_several],
        statements.contributor[is_several],
        statements.mask[is_several],
        statements.quarter[is_several],
    )


def _shares(
    dimension: str, known: Items, judged: _AgreedRows, group: NDArray[np.int64], by: str
) -> Iterator[ContributorAgreement]:
    """Give the shares of groups of rows: contributors, or contributor << 16 | quarter."""
    groups, at = np.unique(group, return_inverse=True)
    agrees = np.bincount(at, (judged.stated & judged.consensus) != 0, len(groups))
    by_one = np.bincount(at, judged.is_by_one, len(groups))
    columns = (groups, agrees, np.bincount(at, minlength=len(groups)), by_one)
    for number, count, items, alone in zip(*(column.astype(int).tolist() for column in columns), strict=True):
        yield ContributorAgreement(
            contributor=known.contributors[number >> 16 if by else number],
            dimension=dimension,
            share=proportion(count, items),
            period=f"{(number & 0xFFFF) // 4}-Q{number % 4 + 1}" if by else "",
            by_one_other=alone,
        )


def _confusions(dimension: str, known: Items, judged: _AgreedRows) -> Iterator[Confusion]:
    rows = judged.contributor.astype(np.int64) << 32 | judged.consensus.astype(np.int64) << 16 | judged.stated
    cells, count = np.unique(rows, return_counts=True)
    consensuses, at = np.unique(cells >> 16, return_inverse=True)
    items = np.bincount(at, count, len(consensuses)).astype(int)
    for cell, number, of in zip(cells.tolist(), count.tolist(), at.tolist(), strict=True):
        yield Confusion(
            contributor=known.contributors[cell >> 32],
            dimension=dimension,
            consensus=words_of(dimension, cell >> 16 & 0xFFFF),
            stated=words_of(dimension, cell & 0xFFFF),
            share=proportion(number, int(items[of])),
        )


def words_of(dimension: str, mask: int) -> str:
    """Return in words which worlds remain possible: by values and groups that mean just these, as few as there are."""
    names = world_names(dimension)
    left = frozenset(name for at, name in enumerate(names) if mask >> at & 1)
    if dimension.startswith("legal_status:"):
        return " or ".join(name for name in names if name in left)
    values: dict[str, tuple[str, ...]] = {value: (value,) for value in DIMENSIONS[dimension].values}
    values |= GROUPS.get(dimension, {})
    meanings = {word: worlds({dimension: some})[dimension] for word, some in values.items()}
    parts: list[str] = []
    # The widest first; of two that are equally wide the one that comes first in the dimension.
    for word, meaning in sorted(meanings.items(), key=lambda both: -len(both[1])):
        if meaning <= left:
            parts.append(word)
            left -= meaning
    # What is left are halves of a band, or what else a value with a wider meaning stands for.
    parts += [f"other {name}" if name in values else name for name in names if name in left]
    order = {word: at for at, word in enumerate([*values, *names])}
    return " or ".join(sorted(parts, key=lambda word: order.get(word, len(order))))


# --- Crosswalks -------------------------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    """Two values of different schemes that independent contributors gave to the same items, with the evidence."""

    low: int
    high: int
    contributors: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]


class _Row(NamedTuple):
    """A direction of a pair on its way to a suggestion; the key is that of `_keys`."""

    surprise: int
    share: Proportion
    value: int
    other: int
    key: int
    relation: str


def _suggest(
    connection: Any, known: Items, independence: Independence, schemes: SchemeRegistry
) -> tuple[SuggestedRow, ...]:
    """Return rows for crosswalks, the most surprising first."""
    rows = sorted(
        _rows(known, independence, schemes),
        key=lambda row: (row.surprise, -row.share.low, known.values[row.value], known.values[row.other]),
    )[:MAX_SUGGESTIONS]
    evidence = _evidence(connection, known, independence, sorted({row.key for row in rows}))
    return tuple(
        SuggestedRow(
            scheme=known.values[row.value][0],
            value=known.values[row.value][1],
            other_scheme=known.values[row.other][0],
            other_value=known.values[row.other][1],
            share=row.share,
            relation=row.relation,
            contributors=evidence[row.key].contributors,
            examples=tuple(
                example if row.value == evidence[row.key].low else (example[1], example[0])
                for example in evidence[row.key].examples
            ),
        )
        for row in rows
    )


def _rows(known: Items, independence: Independence, schemes: SchemeRegistry) -> Iterator[_Row]:
    count, scheme_of = len(known.values), known.scheme_of
    together: list[_KeyCounts] = []
    beside: list[_KeyCounts] = []
    for low, _, key in _keys(known, independence):
        item = known.carried.item[low].astype(np.int64)
        item, keys = np.divmod(distinct(item * count * count + key), count * count)
        together.append(_KeyCounts.of(keys))
        for value, other in ((keys // count, keys % count), (keys % count, keys // count)):
            of_item = distinct((item * count + value) * count + scheme_of[other])
            beside.append(_KeyCounts.of(of_item % (count * count)))
    items_beside = dict(zip(*(column.tolist() for column in _KeyCounts.sum(beside)), strict=True))
    for key, number in zip(*(column.tolist() for column in _KeyCounts.sum(together)), strict=True):
        a, b = divmod(key, count)
        forth = proportion(number, items_beside[a * count + int(scheme_of[b])])
        back = proportion(number, items_beside[b * count + int(scheme_of[a])])
        relation = _relation(schemes, known.values[a], known.values[b])
        for value, other, share in ((a, b, forth), (b, a, back)):
            if share.items >= MIN_ITEMS and share.count >= MIN_TOGETHER:
                is_one_to_one = min(forth.low, back.low) >= _ONE_TO_ONE
                yield _Row(_surprise(relation, share, is_one_to_one=is_one_to_one), share, value, other, key, relation)


class _KeyCounts(NamedTuple):
    """Distinct keys in order, and how often each occurs."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, keys: NDArray[np.int64]) -> _KeyCounts:
        return cls(*np.unique(keys, return_counts=True))

    @classmethod
    def sum(cls, parts: list[_KeyCounts]) -> _KeyCounts:
        keys = np.concatenate([np.zeros(0, np.int64), *(part.keys for part in parts)])
        counts = np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)])
        sums, at = np.unique(keys, return_inverse=True)
        return cls(sums, np.bincount(at, counts, len(sums)).astype(np.int64))


def _keys(
    known: Items, independence: Independence
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]]:
    """Give pairs of rows of `Items.carried` with values of different schemes: the row of the lower value, that of the
    higher, and lower * values + higher. In pieces, of which none shares an item with another; the items rise.
    """
    carried, count, scheme_of = known.carried, len(known.values), known.scheme_of
    if not len(carried.item):
        return
    bounds = np.flatnonzero(np.r_[True, carried.item[1:] != carried.item[:-1], True])
    sizes = np.diff(bounds)
    piece_of_item = np.cumsum(sizes * (sizes - 1) // 2 + sizes) // PAIRS
    ends = bounds[1:][np.r_[piece_of_item[1:] != piece_of_item[:-1], True]]
    for begin, end in pairwise([0, *ends.tolist()]):
        some = [[np.zeros(0, np.intp)] * 2]
        for left, right in pairs(carried.item[begin:end], carried.contributor[begin:end], independence):
            some.append([left + begin, right + begin])
        left, right = (np.concatenate(side) for side in zip(*some, strict=True))
        differs = scheme_of[carried.value[left]] != scheme_of[carried.value[right]]
        left, right = left[differs], right[differs]
        is_lower = carried.value[left] < carried.value[right]
        low, high = np.where(is_lower, left, right), np.where(is_lower, right, left)
        yield low, high, carried.value[low].astype(np.int64) * count + carried.value[high]


def _relation(schemes: SchemeRegistry, one: tuple[str, str], other: tuple[str, str]) -> str:
    """Return the relation of two values by the schemes' tables; empty where a value is not in them (any more)."""
    meanings = []
    for scheme, value in (one, other):
        try:
            meanings.append(schemes.get(scheme).values[value].dimensions)
        except (InvalidArgument, KeyError):
            return ""
    return str(compare(*meanings).relation)


def _surprise(relation: str, share: Proportion, *, is_one_to_one: bool) -> int:
    """Return in which order people should look at a row: what the tables exclude and data show, what data tie together
    and the tables do not, what the tables tie together and data do not, then the rest.
    """
    if relation == Relation.CONFLICT and share.low >= _NO_SLIP:
        return 0
    if is_one_to_one and relation != Relation.AGREE:
        return 1 if relation != Relation.IMPRECISE else 2
    if relation == Relation.AGREE:
        return 3 if share.high < _SELDOM else 6
    return 4 if relation != Relation.IMPRECISE else 5


def _evidence(connection: Any, known: Items, independence: Independence, wanted: list[int]) -> dict[int, _Pair]:
    """Return by key who carries the two values, and the first items' entries as examples. `wanted`: keys, in order."""
    carried, keys = known.carried, np.array(wanted, np.int64)
    spoke = np.zeros((len(keys), len(known.contributors)), np.bool_)
    examples: list[list[tuple[int, int]]] = [[] for _ in wanted]
    for low, high, key in _keys(known, independence) if wanted else ():
        at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        is_wanted = keys[at] == key
        at = at[is_wanted].astype(np.int16)  # sorted several times faster than wider ones
        lows, highs = low[is_wanted], high[is_wanted]
        for side in (lows, highs):
            spoke[at, carried.contributor[side]] = True
        order = np.argsort(at, kind="stable")
        starts = np.flatnonzero(np.r_[True, at[order][1:] != at[order][:-1]]) if len(at) else order
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            rows = order[start:end]
            if len(examples[at[rows[0]]]) < _EXAMPLES:
                rows = rows[np.lexsort((highs[rows], lows[rows], carried.item[lows[rows]]))][:_EXAMPLES]
                entries = zip(carried.entry[lows[rows]].tolist(), carried.entry[highs[rows]].tolist(), strict=True)
                examples[at[rows[0]]].extend(entries)
    names = _entry_names(connection, {entry for of_key in examples for both in of_key for entry in both})
    return {
        key: _Pair(
            *divmod(key, len(known.values)),
            tuple(known.contributors[person] for person in np.flatnonzero(spoke[at])),
            tuple((names[low], names[high]) for low, high in examples[at][:_EXAMPLES]),
        )
        for at, key in enumerate(wanted)
    }


def _entry_names(connection: Any, entries: set[int]) -> dict[int, str]:
    if not entries:
        return {}
    rows = connection.execute(
        "SELECT entry, any_value(hash_set) FROM digests WHERE entry IN "  # noqa: S608 - numbers
        f"({', '.join(map(str, sorted(entries)))}) GROUP BY entry"
    ).fetchall()
    return {entry: f"{hash_set}/{number_of(entry)}" for entry, hash_set in rows}
