"""What partners hold and a jurisdiction lacks, as a work list.

Only statements that claim harm or leave it open count, on both sides: a benign or test entry is no gap and fills none,
or one contributor could hide from its country what all others warn of. Each entry is asked for by its own digests: one
that binds two files together hides neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hashhub.cancellation import check
from hashhub.errors import InvalidArgument
from hashhub.matcher import NearDigests
from hashhub.model import Purpose, number_of
from hashhub.reconcile import comparison, items
from hashhub.reconcile.columns import bits_of
from hashhub.reconcile.comparison import PERCEPTUAL, GroupSet, insert
from hashhub.reconcile.extract import arrow
from hashhub.reconcile.results import By, Gap, Gaps, Progress
from hashhub.schemes.dimensions import words
from hashhub.trust.policy import COUNTABLE

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract

MOST_NAMED: Final = 1_000  # entries of one item that are named
_JURISDICTION: Final = re.compile(r"[A-Z]{2}")
_VERDICTS: Final = bits_of("verdict")
_OPEN: Final = "unclassified"
_CLAIMS: Final = f"(d_verdict = 0 OR d_verdict & {sum(_VERDICTS[v] for v in COUNTABLE)} <> 0)"
# What being in a hash set states of an entry that has no classification; see trust.decision.
_PURPOSES: Final = {Purpose.CSAM.value: "csam", Purpose.EXPLOITATIVE.value: "exploitative"}


def gaps(
    extract: Extract, jurisdiction: str, *, near: bool = False, progress: Progress | None = None
) -> tuple[Gaps, Iterator[Gap]]:
    """Return what a jurisdiction lacks of what others hold: the counts, and the items one by one, by the first of
    their entries by hash set and number.

    Entries are of one item as `reconcile.items` joins them. `near`: leave out what the jurisdiction
    holds by a near perceptual hash only. Read the items to their end, or close the iterator: until then it holds a
    connection. Raises InvalidArgument unless `jurisdiction` is an ISO 3166-1 alpha-2 code, and what `Extract.connect`
    raises.
    """
    if not _JURISDICTION.fullmatch(jurisdiction):
        raise InvalidArgument.field(
            "jurisdiction", "must be an ISO 3166-1 alpha-2 code in capitals, such as GB", "PATTERN"
        )
    work = _work(extract, jurisdiction, near=near, told=progress or comparison.silent)
    counted = next(work)
    assert isinstance(counted, Gaps)  # noqa: S101 - what comes first
    return counted, (gap for gap in work if isinstance(gap, Gap))


def _work(extract: Extract, jurisdiction: str, *, near: bool, told: Progress) -> Iterator[Gaps | Gap]:
    """Yield the counts, then the items."""
    algorithms = tuple(PERCEPTUAL) if near else ()
    steps = 2 + len(algorithms)
    with extract.connect() as connection:
        rows = {row["hash_set"]: row for row in extract.hash_sets()}
        claiming = [row for row in rows.values() if row["purpose"] in _PURPOSES]
        groups = comparison.groups_of(extract, claiming, By.HASH_SET)
        own = groups.only(lambda name: rows[name]["jurisdiction"] == jurisdiction)
        partners = groups.only(lambda name: rows[name]["jurisdiction"] != jurisdiction)
        told(0, steps, "exact digests")
        ours, theirs = (comparison.exact_rows(extract, one, where=_CLAIMS) for one in (own, partners))
        connection.execute(
            "CREATE TEMP TABLE held AS "  # noqa: S608 - our own text
            f"WITH o AS (SELECT DISTINCT algorithm, digest FROM ({ours})) SELECT DISTINCT entry FROM ({theirs}) "
            "SEMI JOIN o USING (algorithm, digest)"
        )
        for step, algorithm in enumerate(algorithms):
            told(1 + step, steps, f"near {algorithm} hashes")
            _add_near(extract, own, partners, connection, algorithm)
        told(steps - 1, steps, "items")
        _gather(extract, jurisdiction, partners, rows, connection)
        yield _counted(extract, jurisdiction, connection, algorithms, groups, rows)
        yield from _items(connection, groups, rows)


def _add_near(extract: Extract, own: GroupSet, partners: GroupSet, connection: Any, algorithm: str) -> None:
    """Add to the table `held` the partners' entries that have a digest near one of the jurisdiction's."""
    ours = [digests for *_, digests in comparison.perceptual_digests(extract, own, connection, algorithm, _CLAIMS)]
    theirs = list(comparison.perceptual_digests(extract, partners, connection, algorithm, _CLAIMS))
    if not ours or not theirs:
        return
    entries, _, digests = (np.concatenate(parts) for parts in zip(*theirs, strict=True))
    del theirs
    index = NearDigests(algorithm, np.concatenate([*ours, digests]))
    is_ours = np.zeros(len(index), np.bool_)
    for part in ours:
        is_ours[index.places(part)] = True
    places = index.places(digests)
    is_near = np.zeros(len(index), np.bool_)
    for near in index.near(PERCEPTUAL[algorithm], np.unique(places)):
        is_near[near.left[is_ours[near.right]]] = True
    insert(connection, "held", arrow().table({"entry": np.unique(entries[is_near[places]])}))


def _gather(
    extract: Extract, jurisdiction: str, partners: GroupSet, rows: Mapping[str, Mapping[str, Any]], connection: Any
) -> None:
    """Fill the table `gap`: each entry that the jurisdiction lacks, with its item, hash set and verdict."""
    lacking = "entry NOT IN (SELECT entry FROM held)"
    purposes = ", ".join(f"'{purpose}'" for purpose in _PURPOSES)
    theirs = f"purpose IN ({purposes}) AND jurisdiction <> '{jurisdiction}'"
    items.join(extract, connection, items.exact_rows(theirs, f"{_CLAIMS} AND {lacking}"))
    connection.execute(
        "CREATE TEMP TABLE item AS SELECT entry, min(entry) OVER (PARTITION BY item) AS item FROM members"
    )
    connection.execute("CREATE TEMP TABLE gap (item BIGINT, entry BIGINT, g INTEGER, verdict BIGINT)")
    for g, (name, files) in enumerate(zip(partners.names, partners.files, strict=True)):
        check()
        if not files:
            continue
        by_purpose = _VERDICTS[_PURPOSES[rows[name]["purpose"]]]
        verdict = (
            f"CASE WHEN is_unclassified THEN {_VERDICTS[_OPEN]} WHEN d_verdict <> 0 THEN d_verdict "
            f"WHEN scheme IS NULL THEN {by_purpose} ELSE {_VERDICTS[_OPEN]} END"
        )
        connection.execute(
            f"INSERT INTO gap SELECT coalesce(i.item, e.entry), e.entry, {g}, e.verdict FROM "  # noqa: S608 - ours
            f"(SELECT entry, any_value({verdict}) AS verdict FROM {extract.source(files)} "
            f"WHERE state = 'ACTIVE' AND {_CLAIMS} AND {lacking} GROUP BY entry) e LEFT JOIN item i USING (entry)"
        )


def _counted(
    extract: Extract,
    jurisdiction: str,
    connection: Any,
    algorithms: Sequence[str],
    groups: GroupSet,
    rows: Mapping[str, Mapping[str, Any]],
) -> Gaps:
    contributor_of = {g: rows[name]["contributor"] for g, name in enumerate(groups.names)}
    connection.execute("CREATE TEMP TABLE whose (g INTEGER, contributor VARCHAR)")
    insert(
        connection,
        "whose",
        arrow().table(
            {
                "g": arrow().array(list(contributor_of), arrow().int32()),
                "contributor": arrow().array(list(contributor_of.values()), arrow().string()),
            }
        ),
    )
    # Distinct rows first, then their number: DuckDB counts distinct values of a group in memory only.
    count = connection.execute("SELECT count(*) FROM (SELECT DISTINCT item FROM gap)").fetchone()[0]
    by_contributor = connection.execute(
        "SELECT contributor, count(*) FROM (SELECT DISTINCT contributor, item FROM gap JOIN whose USING (g)) "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    by_verdict = connection.execute(
        "SELECT verdict, count(*) FROM (SELECT DISTINCT verdict, item FROM gap) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return Gaps(
        jurisdiction=jurisdiction,
        revision=extract.revision,
        items=count,
        by_contributor=dict(by_contributor),
        by_verdict={_words(mask): count for mask, count in by_verdict},
        max_distances={name: PERCEPTUAL[name] for name in algorithms},
    )


def _items(connection: Any, groups: GroupSet, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Gap]:
    """Yield each item with its entries by hash set and number."""
    # Sorted and gathered here: DuckDB cannot put lists that it gathers on the disk.
    query = "SELECT item, entry, g, verdict FROM gap ORDER BY item, entry"
    for _, of_item in groupby(comparison.rows(connection, query), key=itemgetter(0)):
        entries: list[str] = []
        count, sets, verdicts = 0, set(), set()
        for _, entry, g, verdict in of_item:
            count += 1
            if count <= MOST_NAMED:
                entries.append(f"{groups.names[g]}/{number_of(entry)}")
            sets.add(g)
            verdicts.add(verdict)
        holders = [rows[groups.names[g]] for g in sets]
        yield Gap(
            entries=tuple(entries),
            jurisdictions=tuple(sorted({row["jurisdiction"] for row in holders})),
            contributors=tuple(sorted({row["contributor"] for row in holders})),
            verdicts=tuple(_words(mask) for mask in sorted(verdicts)),
            entry_count=count,
        )


def _words(mask: int) -> str:
    return words("verdict", [value for value, bit in _VERDICTS.items() if mask & bit])
