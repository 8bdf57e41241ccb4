"""Withdrawals that are visible before they are written into their entries' rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table and the column."""
    op.create_table(
        "outstanding",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash_set", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("first_entry", sa.BigInteger(), nullable=False),
        sa.Column("last_entry", sa.BigInteger(), nullable=False),
        sa.Column("ids", sa.LargeBinary()),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("source_times", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("revision", "ordinal"),
    )
    op.add_column("metadata", sa.Column("outstanding", sa.Text(), server_default="", nullable=False))
