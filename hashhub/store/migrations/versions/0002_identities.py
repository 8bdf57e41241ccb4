"""Identities of tokens, and calls that wait for a second person."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both tables."""
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "identity",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", name, sa.ForeignKey("token.name"), nullable=False, index=True),
    )
    op.create_table(
        "approval",
        sa.Column("id", name, primary_key=True),
        sa.Column("call", sa.Text, nullable=False),
        sa.Column("token", name, nullable=False),
        sa.Column("contributor", name, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
