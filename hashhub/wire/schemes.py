"""Schemes, their crosswalk and their differences: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Definition, SchemeStatus, SignOff
from hashhub.schemes import Scheme
from hashhub.schemes.alignment import Change, ChangeOfValue, Correspondence, Difference, Line, Row, ValueDifference
from hashhub.wire import names
from hashhub.wire.entries import dimensions_to_pb
from hashhub.wire.fields import EnumMap, Sendable, read_time, refuse, timestamp

_CORRESPONDENCE: Final = EnumMap(Correspondence, v1.Correspondence, "CORRESPONDENCE_")
_CHANGE: Final = EnumMap(ChangeOfValue, v1.ValueChange, "VALUE_CHANGE_")


def scheme_to_pb(scheme: Scheme, definition: Definition | None, *, with_text: bool = False) -> v1.Scheme:
    """Return the message of a scheme, and of what the store says of it where it was put there."""
    with Sendable("scheme"):
        pb = v1.Scheme(
            name=names.scheme_name(scheme.id, scheme.version),
            title=scheme.title,
            region=scheme.region,
            draft=scheme.status is SchemeStatus.DRAFT,
            source="; ".join(scheme.source),
            values=(
                v1.SchemeValue(
                    value=v.value,
                    title=v.title,
                    dimensions=dimensions_to_pb(v.dimensions),
                    note=v.note,
                    aliases=v.aliases,
                )
                for v in scheme.values.values()
            ),
            lossy=scheme.lossy,
            region_aliases=scheme.region_aliases,
            source_names=scheme.source_names,
            value_required=scheme.value_required,
            text=scheme.text if with_text else "",
        )
        if definition is not None:
            pb.MergeFrom(
                v1.Scheme(
                    stored=True,
                    actor=names.token_name(definition.actor) if definition.actor else "",
                    create_time=timestamp(definition.create_time),
                    retire_time=timestamp(definition.retire_time),
                    sign_offs=map(_sign_off_to_pb, definition.sign_offs),
                )
            )
        return pb


def _sign_off_to_pb(sign_off: SignOff) -> v1.SignOff:
    return v1.SignOff(
        actor=names.token_name(sign_off.actor) if sign_off.actor else "",
        contributor=names.contributor_name(sign_off.contributor) if sign_off.contributor else "",
        time=timestamp(sign_off.time),
        comment=sign_off.comment,
    )


def sign_offs_from_pb(sign_offs: Iterable[v1.SignOff], at: str = "sign_offs") -> tuple[SignOff, ...]:
    wrong: list[Violation] = []
    read = [
        SignOff(
            actor=pb.actor.removeprefix("tokens/"),
            contributor=pb.contributor.removeprefix("contributors/"),
            time=time,
            comment=pb.comment,
        )
        for i, pb in enumerate(sign_offs)
        if (time := read_time(pb, "time", f"{at}[{i}]", wrong)) is not None
    ]
    refuse(wrong)
    return tuple(read)


def crosswalk_row_to_pb(row: Row) -> v1.CrosswalkRow:
    with Sendable("row"):
        return v1.CrosswalkRow(
            value=row.left,
            other_value=row.right,
            correspondence=_CORRESPONDENCE.to_pb(row.relation),
            dimensions=map(_line_to_pb, row.lines),
            written=row.is_written,
            written_back=row.is_written_back,
        )


def crosswalk_row_from_pb(pb: v1.CrosswalkRow, at: str = "row") -> Row:
    wrong: list[Violation] = []
    row = Row(
        left=pb.value,
        right=pb.other_value,
        relation=_CORRESPONDENCE.from_pb(pb.correspondence, f"{at}.correspondence", wrong),
        lines=_lines_from_pb(pb.dimensions, at, wrong),
        is_written=pb.written,
        is_written_back=pb.written_back,
    )
    refuse(wrong)
    return row


def difference_to_pb(difference: Difference) -> v1.DiffSchemesResponse:
    with Sendable("difference"):
        return v1.DiffSchemesResponse(
            name=f"schemes/{difference.old}",
            other_name=f"schemes/{difference.new}",
            texts=map(_text_to_pb, difference.changes),
            values=(
                v1.ValueDifference(
                    value=v.value,
                    change=_CHANGE.to_pb(v.change),
                    dimensions=map(_line_to_pb, v.lines),
                    texts=map(_text_to_pb, v.changes),
                    meant_before=v.meant_before,
                )
                for v in difference.values
            ),
        )


def difference_from_pb(pb: v1.DiffSchemesResponse, at: str = "difference") -> Difference:
    wrong: list[Violation] = []
    difference = Difference(
        old=names.parse_scheme(pb.name, f"{at}.name"),
        new=names.parse_scheme(pb.other_name, f"{at}.other_name"),
        changes=tuple(map(_text_from_pb, pb.texts)),
        values=tuple(
            ValueDifference(
                value=v.value,
                change=_CHANGE.from_pb(v.change, f"{at}.values[{i}].change", wrong),
                lines=_lines_from_pb(v.dimensions, f"{at}.values[{i}]", wrong),
                changes=tuple(map(_text_from_pb, v.texts)),
                meant_before=tuple(v.meant_before),
            )
            for i, v in enumerate(pb.values)
        ),
    )
    refuse(wrong)
    return difference


def _line_to_pb(line: Line) -> v1.DimensionLine:
    return v1.DimensionLine(
        dimension=line.dimension,
        correspondence=_CORRESPONDENCE.to_pb(line.relation),
        first=line.left,
        second=line.right,
        text=line.text,
    )


def _lines_from_pb(lines: Iterable[v1.DimensionLine], at: str, wrong: list[Violation]) -> tuple[Line, ...]:
    return tuple(
        Line(
            dimension=pb.dimension,
            relation=_CORRESPONDENCE.from_pb(pb.correspondence, f"{at}.dimensions[{i}].correspondence", wrong),
            left=pb.first,
            right=pb.second,
            text=pb.text,
        )
        for i, pb in enumerate(lines)
    )


def _text_to_pb(change: Change) -> v1.TextChange:
    return v1.TextChange(field=change.what, before=change.before, after=change.after)


def _text_from_pb(pb: v1.TextChange) -> Change:
    return Change(what=pb.field, before=pb.before, after=pb.after)
