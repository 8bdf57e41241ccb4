"""Banks: hash sets by names that HMA's clients know.

A contributor's own hash set is the bank NAME, which it chose or which is made of the id: `my-set` is MY_SET. Another's
is CONTRIBUTOR__NAME of ids, so that nobody can take a name that is somebody else's: no own name has two underscores in
a row. Ids with two hyphens in a row, of which several would come to the same, get a digest behind. Whatever a hash
set's id or its contributor's, no two banks that a caller sees have one name, and a name means the same set for good,
unless its own contributor renames it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import v1, wire
from hashhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    Unavailable,
)
from hashhub.model import BANK_NAME
from hashhub.partners.requests import PartnerRequest

_PAGE: Final = 1000
_SLUG: Final = 60  # characters of a hash set's id that are of its name
_TRIES: Final = 20  # ids for a bank's hash set, of which those of deleted ones are never free again
_NUMBER_BITS: Final = 33  # of a content in its bank; with 20 of the hash set below 2^53
FIRST_MADE: Final = 1 << 32  # numbers from here on are of contents that HMA's clients made, those below of all others
MADE: Final = 1 << 32  # so many
_EXTERNAL_ID: Final = re.compile(r"hma-([0-9]{10})")


@dataclass(frozen=True, slots=True)
class HMABank:
    """A hash set as a bank. `number`: of the hash set, unique in the hub. `own_name`: that its contributor gave it;
    empty: none.
    """

    contributor: str
    hash_set: str
    name: str
    ratio: float
    number: int
    own_name: str

    @classmethod
    def of(cls, pb: v1.HashSet, caller: str) -> HMABank:
        """Return the bank of a hash set, as a contributor's token sees it."""
        contributor, hash_set = wire.parse_hash_set(pb.name)
        ratio = pb.bank.enabled_ratio if pb.bank.HasField("enabled_ratio") else 1.0
        own = pb.bank.name if contributor == caller else ""
        name = own or _name_of(contributor, hash_set, caller)
        return cls(contributor, hash_set, name, ratio, pb.bank_number, pb.bank.name)

    @property
    def resource(self) -> str:
        """The hash set's name."""
        return wire.hash_set_name(self.contributor, self.hash_set)

    @property
    def config(self) -> dict[str, Any]:
        """The bank as HMA shows it."""
        return {"name": self.name, "matching_enabled_ratio": self.ratio}

    def content_id(self, entry: v1.Entry) -> int:
        """Return the number of a content: below 2^53, and unique in the hub."""
        if not self.number:
            raise Unavailable(f"the hub has no number for bank {self.name}: it has had a million hash sets")
        return (self.number - 1 << _NUMBER_BITS) + content_number(entry)

    def own_number(self, content_id: str) -> int:
        """Return the number of a content in this bank. Raises NotFound for one that is of no content here."""
        if content_id.isascii() and content_id.isdecimal() and len(content_id) <= 16:  # noqa: PLR2004 - of 2^53
            bank, number = divmod(int(content_id), 1 << _NUMBER_BITS)
            if bank == self.number - 1 and number:
                return number
        raise no_content(content_id)


def content_number(entry: v1.Entry) -> int:
    """Return the number of an entry as a content of its bank, which outlives the entry where the bank's client made it:
    then it stands in the external id.
    """
    given = _EXTERNAL_ID.fullmatch(entry.external_id)
    return int(given[1]) if given else wire.parse_entry(entry.name)[2]


def external_id(number: int) -> str:
    """Return the external id of a content that a client makes."""
    return f"hma-{number}"


def no_content(content_id: str) -> NotFound:
    """Return the error for a content that is not there."""
    return NotFound(f"content '{content_id[:20]}' not found", kind="Content", name=content_id[:20])


def _name_of(contributor: str, hash_set: str, caller: str) -> str:
    """Return the name that is made of ids."""
    is_doubtful = "--" in hash_set or (contributor != caller and "--" in contributor)
    parts = [hash_set] if contributor == caller and not is_doubtful else [contributor, hash_set]
    if is_doubtful:
        parts.append(hashlib.sha256(f"{contributor}/{hash_set}".encode()).hexdigest()[:16])
    return "__".join(part.upper().replace("-", "_") for part in parts)


async def listed(request: PartnerRequest) -> list[HMABank]:
    """Return the banks that the caller may see, by name of their hash sets."""
    found: list[HMABank] = []
    token = ""
    while True:
        page = await request.ask(
            "ContributorService/ListHashSets",
            v1.ListHashSetsRequest(parent="contributors/-", page_size=_PAGE, page_token=token),
            v1.ListHashSetsResponse,
        )
        found += [HMABank.of(one, request.contributor) for one in page.hash_sets]
        token = page.next_page_token
        if not token:
            return found


async def named(request: PartnerRequest, name: str) -> HMABank:
    """Return the bank of a name. Raises NotFound where the caller sees none."""
    for bank in await listed(request):
        if bank.name == name:
            return bank
    raise NotFound(f"bank '{name[:80]}' not found", kind="Bank", name=name[:80])


async def own(request: PartnerRequest, name: str) -> HMABank:
    """Return the bank of a name whose contents the caller may have to do with. Raises NotFound; PermissionDenied for
    another contributor's.
    """
    bank = await named(request, name)
    if bank.contributor != request.contributor and not request.oversees:
        told = f"bank {bank.name} is another contributor's, and its contents are told in answers only"
        raise PermissionDenied(told, reason=Reason.NOT_YOUR_CONTRIBUTOR)
    return bank


async def create(request: PartnerRequest, said: Mapping[str, Any], purpose: str) -> HMABank:
    """Create a bank as HMA's clients ask for it. Its terms let nobody have it but its own contributor, as at an HMA of
    one's own, until that contributor says more.
    """
    name = _checked_name(said.get("name"))
    ratio = _ratio(said)
    if not request.contributor:
        told = "this token belongs to no contributor, so that a bank would be nobody's; use one that does"
        raise PermissionDenied(told)
    if not purpose:
        told = (
            "no bank is created here until the operator says what being in one states (setting hma_purpose); or create "
            "a hash set by `hashhub hash-set create`, which is a bank then"
        )
        raise InvalidArgument.field("name", told, "REQUIRED")
    if any(bank.name == name for bank in await listed(request)):
        raise _exists(name)
    slug = re.sub("-+", "-", name.lower().replace("_", "-").strip("-"))[:_SLUG].strip("-") or "bank"
    owner = f"contributors/{request.contributor}"
    wanted = v1.HashSet(
        display_name=name,
        purpose=f"PURPOSE_{purpose.upper()}",
        marking=v1.Marking(tlp=v1.Tlp.TLP_RED, recipients=[owner]),
        bank=v1.Bank(name=name, enabled_ratio=ratio),
    )
    for number in range(1, _TRIES + 1):
        id_ = slug if number == 1 else f"{slug}-{number}"
        asked = v1.CreateHashSetRequest(parent=owner, hash_set_id=id_, hash_set=wanted)
        try:
            made = await request.ask("ContributorService/CreateHashSet", asked, v1.HashSet)
        except AlreadyExists:
            continue
        return HMABank.of(made, request.contributor)
    raise _exists(name)


async def update(request: PartnerRequest, bank: HMABank, said: Mapping[str, Any]) -> HMABank:
    """Take a name and a ratio over."""
    name = bank.own_name
    if (given := said.get("name")) is not None and given != bank.name:
        name = _checked_name(given)
        if bank.contributor != request.contributor:
            raise PermissionDenied(f"bank {bank.name} is another contributor's; its own token renames it")
    wanted = v1.Bank(name=name, enabled_ratio=_ratio(said, bank.ratio))
    changed = v1.HashSet(name=bank.resource, bank=wanted)
    asked = v1.UpdateHashSetRequest(hash_set=changed, update_mask=FieldMask(paths=["bank"]))
    return HMABank.of(await request.ask("ContributorService/UpdateHashSet", asked, v1.HashSet), request.contributor)


async def delete(request: PartnerRequest, name: str) -> None:
    """Delete a bank's hash set, with what it holds; one that is not there is deleted already."""
    try:
        bank = await named(request, name)
    except NotFound:
        return
    asked = v1.DeleteHashSetRequest(name=bank.resource, comment="deleted as a bank, by HMA's route")
    deleted = await request.ask("ContributorService/DeleteHashSet", asked, v1.DeleteHashSetResponse)
    if deleted.pending:
        raise FailedPrecondition(
            f"bank {name} holds so many contents that a second person must agree; until then it matches: let the "
            f"operator, or another token of {bank.contributor}, delete it, too"
        )


def _exists(name: str) -> AlreadyExists:
    return AlreadyExists(f"Bank {name} already exists", kind="Bank", name=name)


def _checked_name(name: Any) -> str:
    if isinstance(name, str) and BANK_NAME.fullmatch(name) and "__" not in name:
        return name
    expected = "must be 1 to 255 of A-Z, 0-9 and single underscores, not beginning with a digit"
    raise InvalidArgument.field("name", f"{expected}; two underscores stand behind another contributor", "PATTERN")


def _ratio(said: Mapping[str, Any], otherwise: float = 1.0) -> float:
    """Return the ratio that is asked for. HMA's client Coop sends it as a text."""
    given = said.get("enabled_ratio")
    if given is None:
        enabled = said.get("enabled")
        return otherwise if enabled is None else float(enabled not in (False, 0, "false", "0"))
    try:
        ratio = float(given)
    except (TypeError, ValueError):
        ratio = -1.0
    if isinstance(given, bool) or not 0 <= ratio <= 1:
        raise InvalidArgument.field("enabled_ratio", "must be a number from 0 to 1", "OUT_OF_RANGE")
    return ratio
