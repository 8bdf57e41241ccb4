"""Schemes and policies in the store: versions that somebody put, beside those in files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the table."""
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "definition",
        sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("id", name, primary_key=True),
        sa.Column("version", name, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
