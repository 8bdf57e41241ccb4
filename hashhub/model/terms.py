"""What terms let whom have (docs/terms.md has the table in words). Pure: `hashhub.hub.access` enforces it at every way
out, and whoever changes terms can be told beforehand what will become of whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.model.resources import TLP, Group, HashSet, Principal, Role

OVERSEERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})


def reads_all_of(principal: Principal, contributor: str) -> bool:
    """Whether no terms keep anything of this contributor from the principal: overseers, and itself. Of a peer's
    contributor another hub holds the token.
    """
    is_own = bool(principal.contributor and principal.contributor == contributor)
    return principal.role in OVERSEERS or (is_own and principal.role is not Role.PEER)


class DisclosureChannel(StrEnum):
    """A way by which entries leave the hub."""

    ANSWER = "ANSWER"  # the answer to a query that hit them; their reviews and their history
    LIST = "LIST"  # a list of entries that others stated
    FEED = "FEED"  # the change feed, and the copy that a mirror keeps of it
    EXPORT = "EXPORT"  # another hub, or a file that is meant to leave


def permits(
    principal: Principal,
    hash_set: HashSet,
    groups: Mapping[str, Group],
    way_out: DisclosureChannel,
    at: datetime,
    *,
    has_origin: bool = True,
) -> bool:
    """Whether the hash set's terms let the principal have its entries by this way out at this time.

    The contributor itself and the operators and auditors of this hub always may. For all others each of these must
    hold, and what is not known refuses:

    (1) the terms have not expired;
    (2) the caller has stated one of the permitted purposes, if any are named;
    (3) it is one of the recipients (contributor, member of a group, token), if any are named; TLP:RED without any
        admits nobody;
    (4) it does not act for others where the label is TLP:AMBER+STRICT;
    (5) the terms allow bulk, unless the entries only answer a query;
    (6) what is to leave the hub may be passed on: CLEAR that names no recipients always; GREEN, AMBER, and CLEAR that
        names some, with `redistribution`; AMBER+STRICT and RED never.

    By every way a peer is another hub, and joined to this one's community: it has GREEN, and CLEAR of which it is a
    recipient, without `redistribution`, unless the entries came from another hub themselves (`has_origin`).
    """
    return not refusal(principal, hash_set, groups, way_out, at, has_origin=has_origin)


def refusal(
    principal: Principal,
    hash_set: HashSet,
    groups: Mapping[str, Group],
    way_out: DisclosureChannel,
    at: datetime,
    *,
    has_origin: bool = True,
) -> str:
    """Return why `permits` refuses, empty where it does not."""
    if reads_all_of(principal, hash_set.contributor):
        return ""
    marking = hash_set.marking
    if marking.expire_time is not None and marking.expire_time <= at:  # (1)
        return "the terms have expired"
    if marking.permitted_purposes and not set(marking.permitted_purposes) & set(principal.purposes):  # (2)
        return "it has stated none of the permitted purposes"
    is_named = any(_is_meant(principal, recipient, groups) for recipient in marking.recipients)
    if (marking.recipients or marking.tlp is TLP.RED) and not is_named:  # (3)
        return "it is none of the recipients"
    if marking.tlp is TLP.AMBER_STRICT and principal.acts_for_others:  # (4)
        return f"it acts for others, and the label is {marking.tlp}"
    is_peer = principal.role is Role.PEER
    if way_out is DisclosureChannel.ANSWER and not is_peer:
        return ""
    if not marking.bulk:  # (5)
        return "the terms allow no bulk"
    if way_out is not DisclosureChannel.EXPORT and not is_peer:
        return ""
    if marking.tlp in {TLP.AMBER_STRICT, TLP.RED}:  # (6)
        return f"what is {marking.tlp} leaves no hub"
    may_leave = marking.redistribution or (marking.tlp is TLP.CLEAR and not marking.recipients)
    if is_peer and not has_origin:
        may_leave = may_leave or marking.tlp in {TLP.CLEAR, TLP.GREEN}
    return "" if may_leave else "the terms allow no redistribution"


def withheld(
    token: Principal,
    hash_set: HashSet,
    groups: Mapping[str, Group],
    way_out: DisclosureChannel,
    at: datetime,
    *,
    has_origin: bool = True,
) -> str:
    """Return why a token that works has nothing of a hash set by this way out, empty where it has."""
    if way_out is DisclosureChannel.FEED and not token.may_mirror:
        return "the token may not mirror"
    if way_out is not DisclosureChannel.FEED and token.role is Role.PEER:
        return "another hub reads the change feed only"
    is_handed_on = way_out is DisclosureChannel.EXPORT and token.contributor != hash_set.contributor
    reader = without_oversight(token) if is_handed_on else token  # as `may_export` does
    return refusal(reader, hash_set, groups, way_out, at, has_origin=has_origin)


def without_oversight(principal: Principal) -> Principal:
    """Return the principal as one whom terms apply to."""
    if principal.role not in OVERSEERS:
        return principal
    return msgspec.structs.replace(principal, role=Role.CONSUMER)


def _is_meant(principal: Principal, recipient: str, groups: Mapping[str, Group]) -> bool:
    collection, _, name = recipient.partition("/")
    if collection == "groups":
        return name in groups and bool(principal.contributor) and principal.contributor in groups[name].members
    return {"contributors": principal.contributor, "tokens": principal.name}.get(collection) == name
