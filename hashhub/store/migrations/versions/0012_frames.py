"""Frames of videos."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the table."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "frames",
        sa.Column("entry", key, primary_key=True, autoincrement=False),
        sa.Column("frame_count", sa.Integer, nullable=False),
        sa.Column("digest_count", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
