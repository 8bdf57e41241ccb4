"""Schemes, their crosswalk and their differences: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.model import Definition, SchemeStatus, SignOff
from hashhub.schemes import Scheme, SchemeValue
from hashhub.schemes.alignment import CrosswalkRow, Difference, FieldChange, Line, ValueDifference
from hashhub.wire import names
from hashhub.wire.codec import MessageCodec, messages, name_of
from hashhub.wire.fields import Sendable, timestamp

_SIGN_OFFS: Final = messages(SignOff)
_VALUES: Final = messages(SchemeValue)
MessageCodec(SchemeValue, v1.SchemeValue)
MessageCodec(SignOff, v1.SignOff, actor=name_of("Token"), contributor=name_of("Contributor"))
MessageCodec(Line, v1.DimensionLine, relation="correspondence", left="first", right="second")
MessageCodec(FieldChange, v1.TextChange, what="field")
MessageCodec(ValueDifference, v1.ValueDifference, lines="dimensions", changes="texts")
CROSSWALK_ROW: Final = MessageCodec(
    CrosswalkRow,
    v1.CrosswalkRow,
    at="row",
    sends="",
    left="value",
    right="other_value",
    relation="correspondence",
    lines="dimensions",
    is_written="written",
    is_written_back="written_back",
)
DIFFERENCE: Final = MessageCodec(
    Difference,
    v1.DiffSchemesResponse,
    at="difference",
    sends="",
    old=name_of("Scheme", "name", is_required=True),
    new=name_of("Scheme", "other_name", is_required=True),
    changes="texts",
)


def scheme_to_pb(scheme: Scheme, definition: Definition | None, *, with_text: bool = False) -> v1.Scheme:
    """Return the message of a scheme, and of what the store says of it where it was put there."""
    with Sendable("scheme"):
        pb = v1.Scheme(
            name=names.scheme_name(scheme.id, scheme.version),
            title=scheme.title,
            region=scheme.region,
            draft=scheme.status is SchemeStatus.DRAFT,
            source="; ".join(scheme.source),
            values=_VALUES.put(tuple(scheme.values.values())),
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
                    sign_offs=_SIGN_OFFS.put(definition.sign_offs),
                )
            )
        return pb
