"""Whether a decision over a file that is met again is what is recorded of it already (pure)."""

from __future__ import annotations

from hashhub.desk.decision import DecisionRecord, severest
from hashhub.desk.records import UploadState
from hashhub.hashes import is_exact


def is_same(state: UploadState, recorded: DecisionRecord, checked: DecisionRecord) -> bool:
    """Return whether a decision says of a file what is recorded of it already.

    What a person has decided stands for as long as nobody else speaks about the file, and nothing worse is to be done
    with what they released: the hub may say less of it since it was told of their decision, or more.
    """
    is_to_be_kept_yet = checked.decision.is_kept and not recorded.decision.is_kept
    if is_to_be_kept_yet or _exact(recorded) != _exact(checked):
        return False
    if state in {UploadState.RELEASED, UploadState.REMOVED}:
        before, after = recorded.decision.action, checked.decision.action
        is_worse = state is UploadState.RELEASED and severest(before, after) is not before
        return not is_worse and _speakers(checked) <= _speakers(recorded)
    return _said(recorded) == _said(checked)


def is_same_and_more(state: UploadState, recorded: DecisionRecord, checked: DecisionRecord) -> bool:
    """Return whether a decision says of a file that waits for a person all that is recorded of it, and more."""
    before, after = recorded.decision, checked.decision
    return (
        state in {UploadState.HELD, UploadState.BLOCKED}
        and (before.is_kept or not after.is_kept)
        and _exact(recorded) == _exact(checked)
        and (before.action, before.verdict, before.no_answer) == (after.action, after.verdict, after.no_answer)
        and _speakers(recorded) < _speakers(checked)
    )


def _exact(checked: DecisionRecord) -> frozenset[str]:
    return frozenset(h.text for h in checked.hashes if is_exact(h.algorithm))


def _speakers(checked: DecisionRecord) -> frozenset[str]:
    """Return the entries and cases that speak about an upload."""
    if checked.result is None:
        return frozenset()
    cases = (line.clause for line in checked.result.reasons if line.code.startswith("CASE_"))
    return frozenset([*(m.entry.name for m in checked.result.matches), *cases])


def _said(checked: DecisionRecord) -> tuple[object, ...]:
    """Return what was decided, and by whose statements. Sentences may tell times, and revisions move on."""
    decision, result = checked.decision, checked.result
    if result is None:
        return decision.action, decision.verdict, decision.no_answer
    lines = frozenset((line.code, line.clause, frozenset(line.entries)) for line in result.reasons)
    entries = frozenset(
        (m.entry.name, m.entry.state, (c.scheme, c.value) if (c := m.entry.classification) else None)
        for m in result.matches
    )
    return decision.action, decision.verdict, decision.no_answer, lines, entries
