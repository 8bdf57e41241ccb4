"""Which history a revision belongs to, which reviews count for which entries, when a hash set last lost something."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables and the column, and fill them with what the older tables say."""
    op.create_table(
        "revision",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("revision"),
        sqlite_with_rowid=False,
    )
    # Random, so that two copies of an older database that are migrated apart are two histories.
    op.execute(f"INSERT INTO revision SELECT revision, {secrets.randbits(63)} FROM metadata")  # noqa: S608 - a number
    op.create_table(
        "reviewed",
        sa.Column("hash_set", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("review", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("hash_set", "entry", "review"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO reviewed SELECT e.hash_set, e.id, r.id FROM review r JOIN entry e ON e.id = r.entry")
    op.drop_index("review_entry", "review")
    op.add_column("hash_set", sa.Column("withdraw_revision", sa.BigInteger(), server_default="0", nullable=False))
    # State 3 is WITHDRAWN; one that was superseded has another entry in its place.
    op.execute(
        "UPDATE hash_set SET withdraw_revision = (SELECT coalesce(max(e.update_revision), 0) FROM entry e "
        """WHERE e.hash_set = hash_set.key AND e.state = 3 AND e.reasons <> '["SUPERSEDED"]')"""
    )
