"""An upload as it was recorded: what it hit, and what can still be asked about it by what is kept."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from hashhub.errors import NotFound
from hashhub.hashes import VPDQ, Hash, is_exact
from hashhub.hook.decision import Checked, read_checked
from hashhub.hook.records import UploadState
from hashhub.model import Query, VariantHashes

if TYPE_CHECKING:
    from hashhub.hook.records import Records


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that an upload hit: `exact`, by a digest of the file itself."""

    entry: str
    algorithm: str
    distance: int
    variant: str = ""
    exact: bool = False


class Recorded(NamedTuple):
    """The row of an upload."""

    state: UploadState
    time: datetime
    door: str
    upload_id: str
    checked: Checked


def recorded(records: Records, reference: str) -> Recorded:
    """Return what is on record of an upload. Raises NotFound."""
    rows = records.rows("SELECT state, time, door, upload_id, checked FROM upload WHERE reference = ?", (reference,))
    if not rows:
        raise NotFound(f"there is no upload {reference[:40]!r} in the queue; see `hashhub hook queue list`")
    state, time, door, upload_id, blob = rows[0]
    return Recorded(UploadState(state), datetime.fromisoformat(time), door, upload_id, read_checked(blob))


def hits_of(checked: Checked) -> tuple[Hit, ...]:
    """Return the entries that an upload hit, in the answer's order."""
    if checked.result is None:
        return ()
    return tuple(
        Hit(
            entry=match.entry.name,
            algorithm=match.algorithm,
            distance=match.distance,
            variant=match.variant,
            exact=not match.variant and is_exact(match.algorithm),
        )
        for match in checked.result.matches
    )


def lists_of(checked: Checked) -> tuple[str, ...]:
    """Return the lists that have an entry which an upload hit, in the answer's order."""
    return tuple(dict.fromkeys(hit.entry.rpartition("/")[0] for hit in hits_of(checked)))


def asked_again(checked: Checked) -> Query | None:
    """Return what to ask about an upload by what is kept of it; None where that is not what was hit."""
    matches = checked.result.matches if checked.result is not None else ()
    is_picture = checked.media_type.startswith("image/")
    if not checked.hashes or (not is_picture and any(match.video is not None for match in matches)):
        return None
    digests: dict[str, set[Hash]] = {}
    for match in matches:
        h = Hash("PDQ" if match.algorithm == VPDQ.name else match.algorithm, match.query_digest)
        if match.variant and h not in checked.hashes:
            digests.setdefault(match.variant, set()).add(h)
    return Query(
        hashes=checked.hashes,
        variants=tuple(VariantHashes(variant, tuple(sorted(some))) for variant, some in sorted(digests.items())),
    )
