"""Withdrawals of many entries by hand: who made one that is still to be written into the rows, and which ones wait."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns and the index."""
    op.add_column("outstanding", sa.Column("withdrawal", sa.LargeBinary()))
    op.add_column("outstanding", sa.Column("withdraw_time", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index(
        "withdrawal_pending",
        "withdrawal",
        ["hash_set", "entry"],
        sqlite_where=sa.text("pending"),
        postgresql_where=sa.text("pending"),
    )
