"""What the hub is called among hubs, and positions of readers of the feed that keep a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column and the table; the hub has no name yet."""
    op.add_column("metadata", sa.Column("hub", sa.Text, nullable=False, server_default=""))
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "feed_position",
        sa.Column("token", name, primary_key=True),
        sa.Column("reader", name, primary_key=True),
        sa.Column("time", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("mark", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
