"""NCMEC's hash sharing XML: one document of `GET /v2/entries`, as `ncmec-xml` reads it.

An entry that came in this format keeps its member and id; another one has its contributor as the member, and an id made
of its hash set and own id, which is a loss. Who reads it takes each item for what its environment holds, so only
entries that make that claim are written, and only pictures and videos. Videos stand behind all images, so they wait in
a temporary file.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import BinaryIO, Final, NamedTuple, cast
from xml.sax.saxutils import escape, quoteattr

from hashhub import hashes
from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.errors import InvalidArgument
from hashhub.model import Entry, EntryState, Purpose
from hashhub_connectors import outgoing
from hashhub_connectors.ncmec_xml import NAMESPACE, SCHEME
from hashhub_connectors.outgoing import Output, PurposeCheck, Speller, UnsupportedFields, is_plain, unwritable

_WHAT: Final = "NCMEC's XML"
_FINGERPRINTS: Final = {"MD5": "md5", "SHA1": "sha1", "PHOTODNA": "pdna", "PDQ": "pdq"}
_OWN_ID: Final = re.compile(r"([^/]+)/(image|video)/(.+)", re.DOTALL)
_MEMBER: Final = re.compile(r"[0-9]{1,18}")
_KINDS: Final = ("image", "video")
_DELETED: Final = {"image": "deletedImage", "video": "deletedVideo"}
_IN_MEMORY: Final = 1 << 18  # bytes of videos, before they go to a temporary file


class _Identity(NamedTuple):
    kind: str
    member: str
    name: str
    id: str
    is_own: bool


class NCMECWriter:
    """Writes NCMEC's XML."""

    name = "ncmec-xml"
    version = "1"
    summary = "NCMEC Hash Sharing API v2, the XML of /v2/entries; deltas with deletedImage and deletedVideo"
    options: tuple[Option, ...] = (
        Option(
            "member",
            "the number by which NCMEC knows the contributor, as member of what did not come from NCMEC; the "
            "contributor's id unless given, which clients that expect a number refuse",
        ),
    )
    reads_back = "ncmec-xml"
    has_withdrawals = True
    suffix = ".xml"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write a document. Raises InvalidArgument for hash sets of several purposes, and of benign items."""
        check_options(self, options)
        number = _number(options.get("member", ""), exported)
        listing = PurposeCheck(exported, _WHAT, Purpose.CSAM, Purpose.EXPLOITATIVE, Purpose.TEST)
        values = Speller(_WHAT, SCHEME, exported)
        yield from outgoing.about_the_file(exported, _WHAT, listed=True)
        # An SpooledTemporaryFile is a BinaryIO to everybody but its stub.
        with cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY)) as videos:
            outputs = {"image": Output(target), "video": Output(videos)}
            images = outputs["image"]
            # Clients ask for the newest time stamp in the list, and get that of the export: none is newer.
            newest = f'maxTimestamp="{exported.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"'
            images.put(
                f'<?xml version="1.0" encoding="UTF-8"?>\n<queryResult xmlns="{NAMESPACE}">\n<images {newest}>\n'
            )
            for entry in entries:
                identity = _identity(entry, number)
                refused = outgoing.withheld(entry, exported, has_withdrawals=True)
                if refused is None and identity is not None and entry.state is EntryState.ACTIVE:
                    refused = listing.refuses(entry) or _no_fingerprint(entry)
                if refused is not None:
                    yield refused
                    continue
                if identity is None:
                    detail = "the format says whether an item is a picture or a video, and the entry does not"
                    yield Loss(entry.name, "entry", "UNKNOWN_MEDIA_TYPE", detail)
                    continue
                output = outputs[identity.kind]
                if entry.state is EntryState.WITHDRAWN:
                    tag = _DELETED[identity.kind]
                    time = _time(entry)
                    output.put(f"<{tag}>{_member(identity)}{time}<id>{escape(identity.id)}</id></{tag}>\n")
                    if not identity.is_own:
                        yield _rewritten(entry)
                    continue
                said = values.of(entry)
                _put(output, entry, identity, said.value)
                yield from _losses(entry, identity)
                if said.reason:
                    yield Loss(entry.name, "value", said.reason, said.detail)
            outputs["video"].flush()
            images.put(f"</images>\n<videos {newest}>\n")
            images.flush()
            videos.seek(0)
            shutil.copyfileobj(videos, target, _IN_MEMORY)
            images.put("</videos>\n</queryResult>\n")
            images.flush()


_NO_PLACE: Final = UnsupportedFields(_WHAT, "flags", "media_size", "series", "tags", "quality", "expire_time", "extra")


def _identity(entry: Entry, number: str) -> _Identity | None:
    """Return by what the document knows the entry; None where it is neither picture nor video.

    `number`: the contributor's at NCMEC, if it is known.
    """
    own = _OWN_ID.fullmatch(entry.external_id)
    member = entry.provenance.member
    if entry.provenance.connector == "ncmec-xml" and own is not None and is_plain(entry.external_id):
        member_id, kind, own_id = own.groups()
        is_usable = is_plain(member_id) and is_plain(own_id) and entry.media_type.partition("/")[0].lower() == kind
        if is_usable and (member == member_id or member.startswith(f"{member_id} ")):
            return _Identity(kind, member_id, member[len(member_id) + 1 :], own_id, is_own=True)
    kind = entry.media_type.partition("/")[0].lower()
    if kind not in _KINDS:
        return None
    # A number alone is the entry's; `x/` marks the contributor's own id, so that no two can be the same.
    usable = entry.external_id and is_plain(entry.external_id) and len(entry.external_id) <= _LONGEST_ID
    own_id = f"{entry.hash_set}/x/{entry.external_id}" if usable else f"{entry.hash_set}/{entry.id}"
    return _Identity(kind, number or entry.contributor, entry.contributor if number else "", own_id, is_own=False)


def _number(given: str, exported: Exported) -> str:
    """Return the option `member`. Raises InvalidArgument for no number, and for one that would be several members'."""
    if given and not _MEMBER.fullmatch(given):
        raise InvalidArgument.field("options.member", f"is {given[:40]!r}; expected a number, such as 9001", "PATTERN")
    if given and len({s.contributor for s in exported.hash_sets.values()}) > 1:
        raise InvalidArgument.field(
            "options.member", "is one number, and the hash sets have several contributors; export them to a file each",
            "CONTRADICTION",
        )  # fmt: skip
    return given


_LONGEST_ID: Final = 800  # characters; with the contributor, the kind and the hash set it must stay below 1024


def _member(identity: _Identity) -> str:
    return f"<member id={quoteattr(identity.member)}>{escape(identity.name)}</member>"


def _time(entry: Entry) -> str:
    time = entry.source_time
    return f"<timestamp>{escape(time)}</timestamp>" if time and is_plain(time) else ""


def _no_fingerprint(entry: Entry) -> Loss | None:
    if any(h.algorithm in _FINGERPRINTS for h in entry.hashes):
        return None
    return Loss(entry.name, "entry", "NO_HASH", f"the entry has no digest of {', '.join(_FINGERPRINTS)}")


def _put(output: Output, entry: Entry, identity: _Identity, value: str) -> None:
    first: dict[str, str] = {}
    for h in entry.hashes:
        if (tag := _FINGERPRINTS.get(h.algorithm)) is not None and tag not in first:
            first[tag] = f"<{tag}>{hashes.encode(h)}</{tag}>"
    classification = f"<classification>{escape(value)}</classification>" if value else ""
    output.put(
        f"<{identity.kind}>{_member(identity)}{_time(entry)}<id>{escape(identity.id)}</id>{classification}"
        f"<fingerprints>{''.join(first.values())}</fingerprints></{identity.kind}>\n"
    )


def _losses(entry: Entry, identity: _Identity) -> Iterator[Loss]:
    yield from outgoing.no_place_for_others(entry, _WHAT, _FINGERPRINTS)
    if not identity.is_own:
        yield _rewritten(entry)
        yield Loss(
            entry.name, "member", "REWRITTEN", f"{_WHAT} names a member for each item: the contributor is written"
        )
    if entry.media_type != identity.kind:
        yield Loss(entry.name, "media_type", "NO_PLACE", f"{_WHAT} tells picture and video apart, and no more")
    if entry.source_time and not is_plain(entry.source_time):
        yield unwritable(entry, "source_time")
    yield from _NO_PLACE.losses(entry)


def _rewritten(entry: Entry) -> Loss:
    return Loss(
        entry.name,
        "external_id",
        "REWRITTEN",
        f"{_WHAT} knows items by member and id: the contributor, the hash set and its own id or number are written",
    )
