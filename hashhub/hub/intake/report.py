"""The report of an import: how many items became what, and one line for each that was not simply accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hashhub.hub.intake.batch import CODE, DISPOSITIONS
from hashhub.hub.intake.decisions import ACCEPTED, QUARANTINED, REJECTED, UNCHANGED, WAITS
from hashhub.hygiene import ABOUT_SOURCE, Code
from hashhub.model import Counts, Disposition, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hashhub.hub.intake.batch import Batch
    from hashhub.hub.intake.hash_set import HashSetComparison
    from hashhub.hub.intake.source import SourceItems
    from hashhub.store import FindingRun

_SHORT: Final = 8  # lines; fewer take no less room as a run


def count(source: SourceItems, compared: HashSetComparison) -> Counts:
    """Return how many items became what."""
    became = np.bincount(source.decisions.outcome, minlength=WAITS + 1).tolist()
    return Counts(
        items=len(source) + source.reject_count,
        accepted=became[ACCEPTED],
        quarantined=became[QUARANTINED] + became[WAITS],
        rejected=became[REJECTED] + source.reject_count,
        duplicate=became[CODE[Disposition.DUPLICATE]],
        unchanged=became[CODE[Disposition.UNCHANGED]],
        withdrawn=became[CODE[Disposition.WITHDRAWN]],
        stays_withdrawn=became[CODE[Disposition.STAYS_WITHDRAWN]],
        noted=source.noted,
        superseded=len(compared.superseded),
        absent=len(compared.absent),
    )


def findings(
    source: SourceItems, compared: HashSetComparison, batches: Iterable[Batch], first_entry: int
) -> Iterator[Finding | FindingRun]:
    """Yield what became of every item that was not simply accepted, in the order of the source."""
    decisions = source.decisions
    raw_from = () if source.raw_from is None else (source.raw_from,)
    asides = np.array(sorted({*decisions.asides, *decisions.opinions, *raw_from}), np.int64)
    first, next_entry = 0, first_entry
    for batch in batches:
        outcome = decisions.outcome[first : first + len(batch)]
        becomes_entry = (outcome == ACCEPTED) | (outcome == QUARANTINED)
        entry_of = next_entry + np.cumsum(becomes_entry) - becomes_entry
        is_told = outcome != ACCEPTED
        here = asides[slice(*np.searchsorted(asides, (first, first + len(batch))))] - first
        with_more = [*batch.with_remarks, *here.tolist()]
        is_told[with_more] = True
        is_only_unchanged = outcome == UNCHANGED
        is_only_unchanged[with_more] = False
        is_only_unchanged &= is_told
        told = np.flatnonzero(is_told)
        # Nearly all lines of a list that comes again say that an item is unchanged: they go in runs.
        ends = np.flatnonzero(np.diff(is_only_unchanged[told])) + 1
        for places in np.split(told, ends) if len(told) else ():
            if is_only_unchanged[places[0]]:
                run = decisions.unchanged(batch.positions.of(places), decisions.refers_to[first + places])
                yield from (run,) if len(run.positions) >= _SHORT else run.findings()
                continue
            for place in places.tolist():
                entry = int(entry_of[place]) if first_entry and becomes_entry[place] else 0
                yield from _lines(source, compared, batch, first + place, place, entry)
        for reject in batch.rejects:
            disposition = Disposition.NOTED if reject.reason in ABOUT_SOURCE else Disposition.REJECTED
            yield Finding(reject.position, disposition, reject.reason, reject.detail)
        first += len(batch)
        next_entry += int(becomes_entry.sum())


def _lines(
    source: SourceItems, compared: HashSetComparison, batch: Batch, item: int, place: int, entry: int
) -> Iterator[Finding]:
    """Yield what became of one item; `place`: in its batch; `entry`: its id, 0 without one."""
    decisions = source.decisions
    waits = decisions.outcome[item] == WAITS
    disposition = Disposition.QUARANTINED if waits else DISPOSITIONS[decisions.outcome[item]]
    entry = int(decisions.refers_to[item]) if waits else entry
    position, said = batch.positions[place], batch.remarks(place)
    if disposition is not Disposition.ACCEPTED:
        why = decisions.remarks(item)
        if disposition in {Disposition.REJECTED, Disposition.QUARANTINED}:
            why = said.grounds + why
        details = [detail for _, detail in why]
        if disposition is Disposition.QUARANTINED and (holding := compared.holding(item)):
            details.append(f"{holding} matches until this one is released")
        if waits:
            details.append(f"{compared.name_of(entry)} has stated this before, and waits as before")
        yield Finding(position, disposition, why[0][0], "; ".join(details), entry)
    for reason, detail in said.asides:
        yield Finding(position, Disposition.NOTED, reason, detail, entry)
    if (aside := decisions.asides.get(item)) is not None:
        yield Finding(position, Disposition.NOTED, *aside, entry)
    if item == source.raw_from:
        value = batch.kinds[batch.kind_of[place]].value
        text = (
            f"the hash set has no scheme, so that {value[:40]!r} says nothing here; "
            "this value and all further ones are kept as the source gives them"
        )
        yield Finding(position, Disposition.NOTED, Code.UNKNOWN_VALUE, text, entry)
