"""Times of events in blocks of revisions, so that the history since a time is looked for where it can be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the index."""
    op.create_index("event_block", "event", [sa.text("(revision / 1000)"), "time"])
