"""Two schemes side by side: how their values correspond, and what differs between two versions.

Everything is said dimension by dimension, in words, for people who align criteria. A value here is what it tells: in
each dimension the worlds that it allows (`dimensions.worlds`). A value that excludes nothing in a dimension, such as
`unclassified` or `not-shown`, leaves it open as one does that does not name it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.schemes import Scheme, SchemeValue
from hashhub.schemes.crosswalk import in_words, is_inside, written
from hashhub.schemes.dimensions import is_bundle, worlds


class Correspondence(StrEnum):
    """How what the left says stands to what the right says."""

    CORRESPONDS = "CORRESPONDS"  # both say the same
    BROADER = "BROADER"  # whatever is of the right is of the left, too; the left takes in more
    NARROWER = "NARROWER"  # whatever is of the left is of the right, too; the right takes in more
    OVERLAPS = "OVERLAPS"  # an item can be of both, and of either alone
    CONFLICTS = "CONFLICTS"  # no item is of both
    INCOMPARABLE = "INCOMPARABLE"  # nothing is told by both


MIRRORED: Final = {
    **{relation: relation for relation in Correspondence},
    Correspondence.BROADER: Correspondence.NARROWER,
    Correspondence.NARROWER: Correspondence.BROADER,
}
"""What the left is to the right, by what the right is to the left."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension of two values, which state `left` and `right` in it, and the same as a sentence."""

    dimension: str
    relation: Correspondence
    left: str
    right: str
    text: str


class CrosswalkRow(msgspec.Struct, frozen=True, kw_only=True):
    """How a value of the left scheme stands to one of the right, dimension by dimension.

    `is_written`: an export of an item with the left value into the right scheme writes the right one;
    `is_written_back`: the other way. Neither follows from the relation alone: nothing is written on the word of a
    draft, nor where several values remain possible.
    """

    left: str
    right: str
    relation: Correspondence
    lines: tuple[Line, ...]
    is_written: bool = False
    is_written_back: bool = False

    @property
    def why(self) -> str:
        """What makes the relation what it is, in a sentence for each dimension that has a part in it."""
        decisive = [line for line in self.lines if line.relation is Correspondence.CONFLICTS]
        lines = decisive or sorted(self.lines, key=lambda line: line.relation is Correspondence.INCOMPARABLE)
        return "; ".join(line.text for line in lines) or "neither says anything"


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """What differs in one point, such as the title: before and after, as text."""

    what: str
    before: str
    after: str

    @property
    def text(self) -> str:
        """The same in words."""
        return f"{self.what}: {self.before or 'nothing'} -> {self.after or 'nothing'}"


class ChangeOfValue(StrEnum):
    """What became of a value."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    CHANGED = "CHANGED"


class ValueDifference(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a value: of one that is CHANGED the dimensions and other points that differ, of any other all that
    it says. `meant_before`: values that had all of its present meaning before, while it had another itself: whoever
    still writes by the old table means something else.
    """

    value: str
    change: ChangeOfValue
    lines: tuple[Line, ...]
    changes: tuple[FieldChange, ...] = ()
    meant_before: tuple[str, ...] = ()

    @property
    def how(self) -> str:
        """All of it in words."""
        swapped = [f"means what {' and '.join(self.meant_before)} meant before"] if self.meant_before else []
        told = [*swapped, *(line.text for line in self.lines), *(change.text for change in self.changes)]
        return "; ".join(told) or "it says nothing"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two schemes, or two versions of one: in all, and value by value in the old order."""

    old: str
    new: str
    changes: tuple[FieldChange, ...]
    values: tuple[ValueDifference, ...]


class _Value:
    """A value and what it tells, worked out once."""

    def __init__(self, scheme: Scheme, value: SchemeValue, *, besides: Scheme) -> None:
        """`besides`: the scheme that it is laid beside; of another version of its own both are told by version."""
        self.name = value.value
        self.called = f"{scheme.name if scheme.id == besides.id else scheme.id} {value.value}"
        self._scheme = scheme
        self.stated = value.dimensions
        self.worlds = worlds(value.dimensions)
        self.told = scheme.claims[value.value]

    def words(self, dimension: str) -> str:
        return in_words(dimension, self.stated) if dimension in self.worlds else ""

    def written_as(self, target: Scheme) -> str | None:
        """Return the value of another scheme that an export writes for it, if any."""
        classification = self._scheme.resolve(self.name)
        return None if classification is None else written(classification, target)


def row_count(left: Scheme, right: Scheme) -> int:
    """Return how many rows the crosswalk has."""
    return len(left.values) * len(right.values)


def rows(left: Scheme, right: Scheme, start: int = 0) -> Iterator[CrosswalkRow]:
    """Yield the crosswalk, every value of the left with every one of the right, from row `start` on, lazily."""
    theirs = [_Value(right, value, besides=left) for value in right.values.values()]
    back: dict[str, str | None] = {}
    first, skipped = divmod(start, len(theirs))
    for of_left in list(left.values.values())[first:]:
        one = _Value(left, of_left, besides=right)
        there = one.written_as(right)
        for other in theirs[skipped:]:
            relation, lines = _compare(one, other)
            if other.name not in back:
                back[other.name] = other.written_as(left)
            yield CrosswalkRow(
                left=one.name,
                right=other.name,
                relation=relation,
                lines=lines,
                is_written=there == other.name,
                is_written_back=back[other.name] == one.name,
            )
        skipped = 0


def diff(old: Scheme, new: Scheme) -> Difference:
    """Return what differs between two schemes, value by value and dimension by dimension."""
    before = {value: _Value(old, table, besides=new) for value, table in old.values.items()}
    after = {value: _Value(new, table, besides=old) for value, table in new.values.items()}
    values = []
    for value, was in before.items():
        now = after.get(value)
        if now is None:
            lines = tuple(_line_of_diff(n, was, None) for n in sorted(was.worlds))
            values.append(ValueDifference(value=value, change=ChangeOfValue.REMOVED, lines=lines))
            continue
        lines = tuple(
            _line_of_diff(n, was, now)
            for n in sorted(was.worlds.keys() | now.worlds.keys())
            if was.words(n) != now.words(n)
        )
        changes = _changes(
            ("title", old.values[value].title, new.values[value].title),
            ("aliases", ", ".join(old.values[value].aliases), ", ".join(new.values[value].aliases)),
            ("note", old.values[value].note, new.values[value].note),
        )
        if lines or changes:
            values.append(
                ValueDifference(
                    value=value,
                    change=ChangeOfValue.CHANGED,
                    lines=lines,
                    changes=changes,
                    meant_before=_meant_before(now, before) if lines else (),
                )
            )
    for value, now in after.items():
        if value not in before:
            lines = tuple(_line_of_diff(n, None, now) for n in sorted(now.worlds))
            values.append(
                ValueDifference(
                    value=value, change=ChangeOfValue.ADDED, lines=lines, meant_before=_meant_before(now, before)
                )
            )
    return Difference(old=old.name, new=new.name, changes=_about(old, new), values=tuple(values))


def _about(old: Scheme, new: Scheme) -> tuple[FieldChange, ...]:
    yes = {True: "yes", False: "no"}
    return _changes(
        ("title", old.title, new.title),
        ("region", old.region, new.region),
        ("region_aliases", ", ".join(old.region_aliases), ", ".join(new.region_aliases)),
        ("status", old.status.lower(), new.status.lower()),
        ("source", "; ".join(old.source), "; ".join(new.source)),
        ("lossy", "; ".join(old.lossy), "; ".join(new.lossy)),
        ("value_required", yes[old.value_required], yes[new.value_required]),
        ("source_names", ", ".join(old.source_names), ", ".join(new.source_names)),
    )


def _changes(*points: tuple[str, str, str]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(what=what, before=a, after=b) for what, a, b in points if a != b)


def _meant_before(now: _Value, before: dict[str, _Value]) -> tuple[str, ...]:
    return tuple(v for v, was in before.items() if v != now.name and now.worlds and was.worlds == now.worlds)


def _compare(left: _Value, right: _Value) -> tuple[Correspondence, tuple[Line, ...]]:
    lines = tuple(_line(n, left, right) for n in sorted(left.worlds.keys() | right.worlds.keys()))
    a, b = left.told, right.told
    if a == b:
        is_alike = bool(a) or (bool(lines) and left.worlds == right.worlds)
        return Correspondence.CORRESPONDS if is_alike else Correspondence.INCOMPARABLE, lines
    if any(line.relation is Correspondence.CONFLICTS for line in lines):
        return Correspondence.CONFLICTS, lines
    if a.keys().isdisjoint(b):
        return Correspondence.INCOMPARABLE, lines
    if all(is_inside(n, b, a) for n in a):
        return Correspondence.BROADER, lines
    if all(is_inside(n, a, b) for n in b):
        return Correspondence.NARROWER, lines
    return Correspondence.OVERLAPS, lines


def _line(dimension: str, left: _Value, right: _Value) -> Line:
    """Return how two values of different schemes stand in a dimension that at least one of them states."""
    relation = _relation(dimension, left, right)
    says, also = left.words(dimension), right.words(dimension)
    match relation:
        case Correspondence.CORRESPONDS:
            text = f"both say {says}" if says == also else f"{says} is {also}"
        case Correspondence.BROADER:
            text = f"{left.called} says {says}; {right.called} is more exact: {also}"
        case Correspondence.NARROWER:
            text = f"{right.called} says {also}; {left.called} is more exact: {says}"
        case Correspondence.OVERLAPS:
            text = f"{left.called} says {says}, {right.called} {also}, which can hold together"
        case Correspondence.CONFLICTS:
            text = f"{left.called} says {says}, {right.called} {also}, which cannot both hold"
        case Correspondence.INCOMPARABLE:
            text = ", ".join(_alone(dimension, v) for v in (left, right) if dimension in v.worlds)
            if not (says and also):
                text = f"only {text}"
    return Line(dimension=dimension, relation=relation, left=says, right=also, text=f"{dimension}: {text}")


def _alone(dimension: str, value: _Value) -> str:
    remark = "" if dimension in value.told else " (which excludes nothing)"
    return f"{value.called} says {value.words(dimension)}{remark}"


def _relation(dimension: str, left: _Value, right: _Value) -> Correspondence:
    if dimension in left.worlds and dimension in right.worlds and left.worlds[dimension] == right.worlds[dimension]:
        return Correspondence.CORRESPONDS
    a, b = left.told, right.told
    if dimension not in a or dimension not in b:
        return Correspondence.INCOMPARABLE
    if is_inside(dimension, b, a):
        return Correspondence.BROADER
    if is_inside(dimension, a, b):
        return Correspondence.NARROWER
    if not is_bundle(dimension) and a[dimension].isdisjoint(b[dimension]):
        return Correspondence.CONFLICTS
    return Correspondence.OVERLAPS


def _line_of_diff(dimension: str, was: _Value | None, now: _Value | None) -> Line:
    before, after = (was.words(dimension) if was else ""), (now.words(dimension) if now else "")
    relation = _relation(dimension, was, now) if was is not None and now is not None else Correspondence.INCOMPARABLE
    if not before:
        text = f"{after}, of which nothing was said before" if was is not None else after
    elif not after:
        text = f"{before} before; nothing is said of it any more" if now is not None else before
    else:
        remark = {
            Correspondence.CORRESPONDS: "which means the same",
            Correspondence.BROADER: "which is more exact",
            Correspondence.NARROWER: "which takes in more",
            Correspondence.OVERLAPS: "which is something else, though both can hold",
            Correspondence.CONFLICTS: "which contradicts it",
            Correspondence.INCOMPARABLE: "of which one excludes nothing",
        }[relation]
        text = f"{before} before, {after} now, {remark}"
    return Line(dimension=dimension, relation=relation, left=before, right=after, text=f"{dimension}: {text}")
