"""What partners' clients contribute, as imports that end with the request."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from hashhub import v1
from hashhub.errors import HashHubError
from hashhub.partners.requests import PartnerRequest


async def open_one(
    request: PartnerRequest, parent: str, wanted: v1.Import, *, validate_only: bool = False
) -> v1.Import:
    """Open an import into a hash set, or see whether it could be."""
    # Of its own, also when the same is sent again at the same time: one request would else cancel another's import.
    wanted.source_digest = secrets.token_hex(32)
    create = v1.CreateImportRequest(parent=parent, validate_only=validate_only)
    getattr(create, "import").CopyFrom(wanted)
    return await request.ask("ContributionService/CreateImport", create, v1.Import)


async def take(request: PartnerRequest, parent: str, wanted: v1.Import, records: Sequence[v1.Record]) -> v1.Import:
    """Return the committed import of some items into a hash set. Nothing of one that fails stays."""
    opened = await open_one(request, parent, wanted)
    try:
        added = v1.AddRecordsRequest(name=opened.name, records=records)
        await request.ask("ContributionService/AddRecords", added, v1.Import)
        commit = v1.CommitImportRequest(name=opened.name, batch_count=1)
        return await request.ask("ContributionService/CommitImport", commit, v1.Import)
    except HashHubError:
        await request.ask("ContributionService/CancelImport", v1.CancelImportRequest(name=opened.name), v1.Import)
        raise
