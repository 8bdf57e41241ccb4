"""Calls about classification schemes: their versions, and how they correspond."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from hashhub import v1, wire
from hashhub.client.calls import Calls
from hashhub.model import SchemeStatus, SignOff
from hashhub.schemes import SchemeValue
from hashhub.schemes.alignment import CrosswalkRow, Difference
from hashhub.wire.codec import FieldCodec, MessageCodec, name_of


class SchemeTable(msgspec.Struct, frozen=True, kw_only=True):
    """A classification scheme as the hub knows it. `id` is `id@version`; a DRAFT table never leads to an automatic
    block.

    `stored`: somebody put it into the hub's store, where `actor`, `create_time`, `sign_offs` and `retire_time` say who
    did what with it; which token it was is told to operators and auditors. `text`: its TOML, where one scheme was asked
    for. The rest is as in its file (docs/reconcile/schemes.md).
    """

    id: str
    title: str
    region: str
    status: SchemeStatus
    source: str
    values: tuple[SchemeValue, ...]
    lossy: tuple[str, ...] = ()
    region_aliases: tuple[str, ...] = ()
    source_names: tuple[str, ...] = ()
    value_required: bool = False
    stored: bool = False
    actor: str = ""
    create_time: datetime | None = None
    retire_time: datetime | None = None
    sign_offs: tuple[SignOff, ...] = ()
    text: str = ""


_SCHEME: Final = MessageCodec(
    SchemeTable,
    v1.Scheme,
    at="scheme",
    id=name_of("Scheme", "name", is_required=True),
    status=FieldCodec(str, lambda pb, *_: SchemeStatus.DRAFT if pb.draft else SchemeStatus.VERIFIED),
    actor=name_of("Token"),
)


class SchemeCalls(Calls):
    """Classification schemes. They are named ID@VERSION; where a version need not be told, ID is the one that a new
    hash set would get.
    """

    def list_schemes(self) -> Iterator[SchemeTable]:
        """Yield the classification schemes in order of name."""
        return self._list(v1.ListSchemesRequest(), "schemes", _SCHEME.from_pb)

    def get_scheme(self, scheme: str) -> SchemeTable:
        """Return a scheme with its text. Raises NotFound."""
        return self._ask(v1.GetSchemeRequest(name=f"schemes/{scheme}"), _SCHEME.from_pb)

    def put_scheme(self, text: str, comment: str = "", *, validate_only: bool = False) -> SchemeTable:
        """Put a version of a scheme, given as TOML, into the store. It is a draft until somebody else signs it off.
        Raises AlreadyExists when there is that version. Role: operator.
        """
        return self._ask(v1.PutSchemeRequest(text=text, comment=comment, validate_only=validate_only), _SCHEME.from_pb)

    def sign_off_scheme(self, scheme: str, comment: str, *, validate_only: bool = False) -> SchemeTable:
        """Answer for a version that another token put. Role: operator."""
        request = v1.SignOffSchemeRequest(name=f"schemes/{scheme}", comment=comment, validate_only=validate_only)
        return self._ask(request, _SCHEME.from_pb)

    def retire_scheme(self, scheme: str, comment: str = "", *, validate_only: bool = False) -> SchemeTable:
        """Let no new hash set take a version of the store. Role: operator."""
        request = v1.RetireSchemeRequest(name=f"schemes/{scheme}", comment=comment, validate_only=validate_only)
        return self._ask(request, _SCHEME.from_pb)

    def compare_schemes(self, scheme: str, other: str) -> Iterator[CrosswalkRow]:
        """Yield how every value of one scheme stands to every value of another, in the order of the schemes. Raises
        NotFound.
        """
        request = v1.CompareSchemesRequest(name=f"schemes/{scheme}", other_name=f"schemes/{other}")
        return self._list(request, "rows", wire.CROSSWALK_ROW.from_pb)

    def diff_schemes(self, old: str, new: str) -> Difference:
        """Return what differs between two schemes, or two versions of one. Raises NotFound."""
        request = v1.DiffSchemesRequest(name=f"schemes/{old}", other_name=f"schemes/{new}")
        return self._ask(request, wire.DIFFERENCE.from_pb)
