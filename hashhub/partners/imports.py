"""What partners' clients contribute, as imports that end with the request."""

from __future__ import annotations

from collections.abc import Sequence

from hashhub import v1
from hashhub.errors import HashHubError
from hashhub.partners.requests import PartnerRequest


async def take(request: PartnerRequest, parent: str, wanted: v1.Import, records: Sequence[v1.Record]) -> v1.Import:
    """Return the committed import of some items into a hash set, or that of the same source before. Nothing of one that
    fails stays.
    """
    create = v1.CreateImportRequest(parent=parent)
    getattr(create, "import").CopyFrom(wanted)
    opened = await request.ask("ContributionService/CreateImport", create, v1.Import)
    if opened.state == v1.ImportState.IMPORT_STATE_COMMITTED:
        return opened
    try:
        if not opened.batch_count:
            added = v1.AddRecordsRequest(name=opened.name, records=records)
            await request.ask("ContributionService/AddRecords", added, v1.Import)
        commit = v1.CommitImportRequest(name=opened.name, batch_count=1)
        return await request.ask("ContributionService/CommitImport", commit, v1.Import)
    except HashHubError:
        await request.ask("ContributionService/CancelImport", v1.CancelImportRequest(name=opened.name), v1.Import)
        raise
