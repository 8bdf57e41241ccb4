"""Contents of banks: entries by numbers, with what HMA's clients note of them.

What a client adds is an import of one item, whose external id holds the number and whose `extra` holds the notes. A
changed note is a new statement of the same item, which replaces the one before: the number stays. Disabled for good is
withdrawn; disabled until a time is noted, and not answered to HMA's clients before that time.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

import hashhub
from hashhub import v1
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound
from hashhub.hashes import Hash
from hashhub.partners import imports
from hashhub.partners.banks import FIRST_MADE, MADE, HMABank, content_number, external_id, no_content
from hashhub.partners.requests import PartnerRequest

_CONNECTOR: Final = "hma"
_KEY: Final = "hma"  # of the notes in `extra`
_DISABLED: Final = "disabled for good, by HMA's route"
_DELETED: Final = "deleted from its bank, by HMA's route"
_ENABLED: Final = 1
_MOST_NOTE: Final = 255  # characters
_MOST_YEARS: Final = 5
_METADATA: Final = {"content_id": str, "content_uri": str, "json": dict}
_LIVE: Final = frozenset({v1.EntryState.ENTRY_STATE_ACTIVE, v1.EntryState.ENTRY_STATE_QUARANTINED})


class Notes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client notes of a content. `disable_until_ts`: seconds since 1970."""

    note: str = ""
    metadata: dict[str, Any] = {}
    disable_until_ts: int = _ENABLED

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Notes:
        """Return the notes in a request's JSON. Raises InvalidArgument."""
        return cls(_note(said.get("note")), _metadata(said.get("metadata")))

    @classmethod
    def read_form(cls, fields: Mapping[str, str]) -> Notes:
        """Return the notes in a form's fields. Raises InvalidArgument."""
        metadata = None
        if "metadata" in fields:
            try:
                metadata = json.loads(fields["metadata"])
            except (ValueError, RecursionError) as e:
                raise InvalidArgument.field("metadata", "form field must be valid JSON", "NOT_JSON") from e
        return cls(_note(fields.get("note")), _metadata(metadata))

    @classmethod
    def of(cls, entry: v1.Entry) -> Notes:
        """Return the notes that an entry holds."""
        try:
            return msgspec.json.decode(entry.extra, type=_Extra).hma if f'"{_KEY}"' in entry.extra else cls()
        except msgspec.ValidationError:  # a list's own, by this name
            return cls()

    @property
    def extra(self) -> str:
        """The notes as an entry holds them."""
        return "" if self == Notes() else msgspec.json.encode({_KEY: self}).decode()


class _Extra(msgspec.Struct):
    hma: Notes = Notes()


def is_disabled(entry: v1.Entry, at: float) -> bool:
    """Whether an entry is not to be answered at this time (seconds since 1970)."""
    return Notes.of(entry).disable_until_ts > at


@dataclass(frozen=True, slots=True)
class Content:
    """An entry as a content of a bank."""

    bank: HMABank
    entry: v1.Entry

    @property
    def disable_until(self) -> int:
        """HMA's value: 0: for good, 1: enabled, otherwise until when."""
        return Notes.of(self.entry).disable_until_ts if self.entry.state in _LIVE else 0

    @property
    def summary(self) -> dict[str, Any]:
        """What HMA says of it always."""
        about = {"disable_until_ts": self.disable_until, "original_media_uri": None, "bank": self.bank.config}
        return {"id": self.bank.content_id(self.entry), **about}

    def shown(self, *, with_signals: bool, with_metadata: bool, names: Mapping[str, str]) -> dict[str, Any]:
        """Return the content as HMA shows it. `names`: types of signals by algorithm."""
        notes = Notes.of(self.entry)
        answer = self.summary
        if with_signals:
            answer["signals"] = {names.get(h.algorithm, h.algorithm.lower()): h.digest.hex() for h in self.entry.hashes}
        if with_metadata and notes.metadata:
            answer["metadata"] = {**dict.fromkeys((*_METADATA, "collab")), **notes.metadata}
        if notes.note:
            answer["note"] = notes.note
        return answer


async def add(request: PartnerRequest, bank: HMABank, signals: Mapping[str, Hash], notes: Notes) -> Content:
    """Add one item to a bank. Raises InvalidArgument when it is refused."""
    number = FIRST_MADE + secrets.randbelow(MADE)
    while await _find(request, bank, number):
        number = FIRST_MADE + secrets.randbelow(MADE)
    digests = [v1.Hash(algorithm=h.algorithm, digest=h.digest) for h in signals.values()]
    return Content(bank, await _state(request, bank, number, digests, notes))


async def get(request: PartnerRequest, bank: HMABank, content_id: str) -> Content:
    """Return a content of a bank. Raises NotFound, for a deleted one, too."""
    number = bank.own_number(content_id)
    if number >= FIRST_MADE:
        entries = await _find(request, bank, number)
    else:
        asked = v1.GetEntryRequest(name=f"{bank.resource}/entries/{number}")
        try:
            entry = await request.ask("ContributionService/GetEntry", asked, v1.Entry)
        except NotFound:
            entry = v1.Entry()
        entries = [entry] if entry.name and content_number(entry) == number else []
    standing = [e for e in entries if e.state in _LIVE or e.withdrawal.comment == _DISABLED]
    if not standing:
        raise no_content(content_id)
    return Content(bank, max(standing, key=lambda e: (e.state in _LIVE, e.create_revision)))


async def update(request: PartnerRequest, content: Content, said: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a client says of a content over, and return the content as HMA does."""
    notes = Notes.of(content.entry)
    until = _until(said["disable_until_ts"]) if "disable_until_ts" in said else content.disable_until
    wanted = Notes(
        note=_note(said["note"]) if "note" in said else notes.note,
        metadata=notes.metadata,
        disable_until_ts=until if until > time.time() else _ENABLED,
    )
    is_own = content_number(content.entry) >= FIRST_MADE
    if wanted.extra != notes.extra and not is_own:
        told = (
            "cannot be noted of a content that came by a list, which the next list would undo; disable it for good "
            "(0), delete it, or correct the list"
        )
        raise InvalidArgument.field("note" if "note" in said else "disable_until_ts", told, "NOT_ALLOWED")
    entry = content.entry
    if until == 0 and wanted.extra != notes.extra and entry.state not in _LIVE:
        told = "the content is disabled for good; enable it first (disable_until_ts 1), then note that"
        raise FailedPrecondition(told)
    if until != 0 and entry.state not in _LIVE:
        asked = v1.RestoreEntryRequest(name=entry.name, comment="enabled again, by HMA's route")
        entry = await request.ask("ContributionService/RestoreEntry", asked, v1.Entry)
    if wanted.extra != notes.extra and entry.state in _LIVE:
        entry = await _state(request, content.bank, content_number(entry), entry.hashes, wanted)
    if until == 0 and entry.state in _LIVE:
        entry = await _withdraw(request, entry, _DISABLED)
    kept = Notes.of(entry)
    noted = {"user_metadata": kept.metadata or None, "note": kept.note or None}
    return {**Content(content.bank, entry).summary, "collab_metadata": {}, **noted}


async def delete(request: PartnerRequest, bank: HMABank, content_id: str) -> int:
    """Withdraw a content; return how many there were: 0 or 1."""
    try:
        content = await get(request, bank, content_id)
    except NotFound:
        return 0
    if content.entry.state in _LIVE:
        await _withdraw(request, content.entry, _DELETED)
    return 1


async def _withdraw(request: PartnerRequest, entry: v1.Entry, comment: str) -> v1.Entry:
    asked = v1.WithdrawEntryRequest(
        name=entry.name, reason=v1.WithdrawalReason.WITHDRAWAL_REASON_OTHER, comment=comment
    )
    withdrawn = await request.ask("ContributionService/WithdrawEntry", asked, v1.Entry)
    if withdrawn.state in _LIVE:
        raise FailedPrecondition(
            "so many contents were taken out of this bank today that a second person must agree; until then it "
            f"matches: let the operator, or another token of the contributor, withdraw {entry.name}, too"
        )
    return withdrawn


async def _find(request: PartnerRequest, bank: HMABank, number: int) -> list[v1.Entry]:
    """Return the entries with a content's number, whatever their state."""
    selection = v1.EntrySelection(parent=bank.resource, external_ids=[external_id(number)])
    asked = v1.SearchEntriesRequest(selection=selection, page_size=1000)
    return list((await request.ask("ContributionService/SearchEntries", asked, v1.SearchEntriesResponse)).entries)


async def _state(
    request: PartnerRequest, bank: HMABank, number: int, digests: Iterable[v1.Hash], notes: Notes
) -> v1.Entry:
    """State one item in an import of its own, and return its entry. Raises InvalidArgument where there is none."""
    action, own = v1.Action.ACTION_CONTRIBUTE, external_id(number)
    record = v1.Record(position="1", hashes=digests, action=action, external_id=own, extra=notes.extra)
    wanted = v1.Import(connector=_CONNECTOR, connector_version=hashhub.__version__, has_classifications=False)
    made = await imports.take(request, bank.resource, wanted, [record])
    live = [e for e in await _find(request, bank, number) if e.state in _LIVE]
    if live:
        return max(live, key=lambda e: e.create_revision)
    asked = v1.ListFindingsRequest(parent=made.name)
    findings = await request.ask("ContributionService/ListFindings", asked, v1.ListFindingsResponse)
    for finding in findings.findings:
        if finding.disposition == v1.Disposition.DISPOSITION_UNCHANGED and finding.entry:
            return await request.ask("ContributionService/GetEntry", v1.GetEntryRequest(name=finding.entry), v1.Entry)
    told = "; ".join(f"{f.reason}: {f.detail} {f.entry}".strip() for f in findings.findings)
    raise InvalidArgument.field("signal", f"nothing was added: {told or 'the item is not in the bank'}")


def _note(given: Any) -> str:
    if not given:
        return ""
    if not isinstance(given, str):
        raise InvalidArgument.field("note", "should be a string", "PATTERN")
    if len(given) > _MOST_NOTE:
        raise InvalidArgument.field("note", f"must be at most {_MOST_NOTE} characters", "TOO_LONG")
    return given


def _metadata(given: Any) -> dict[str, Any]:
    """Return the metadata; `collab` is for the server to say, and is dropped."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidArgument.field("metadata", "should be a json object", "PATTERN")
    said = {key: value for key, value in given.items() if key != "collab" and value is not None}
    for key, value in said.items():
        if key not in _METADATA or not isinstance(value, _METADATA[key]):
            known = ", ".join(f"{name} ({kind.__name__})" for name, kind in _METADATA.items())
            raise InvalidArgument.field("metadata", f"can have {known}; got {str(key)[:40]!r}", "PATTERN")
    return said


def _until(given: Any) -> int:
    try:
        until = int(given)
    except (TypeError, ValueError) as e:
        raise InvalidArgument.field("disable_until_ts", "must be seconds since 1970", "PATTERN") from e
    now = datetime.now(UTC)
    if not 0 <= until <= int(now.timestamp() + _MOST_YEARS * 365.25 * 86_400):
        raise InvalidArgument.field("disable_until_ts", "must be from now to 5 years in the future", "OUT_OF_RANGE")
    return until
