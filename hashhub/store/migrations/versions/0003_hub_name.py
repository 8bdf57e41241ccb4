"""What the hub is called among hubs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; the hub has no name yet."""
    op.add_column("metadata", sa.Column("hub", sa.Text, nullable=False, server_default=""))
