"""Conflicts between statements about one item, and how far they were looked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the tables. Conflicts between entries that are there already are looked for from the first change on."""
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "conflict",
        sa.Column("id", key, primary_key=True),
        sa.Column("name", name, nullable=False, unique=True),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("dimension", sa.Text, nullable=False),
        sa.Column("gravity", sa.SmallInteger, nullable=False),
        sa.Column("item", sa.LargeBinary, nullable=False),
        sa.Column("left_set", sa.Integer, nullable=False),
        sa.Column("right_set", sa.Integer, nullable=False),
        sa.Column("left_count", sa.Integer, nullable=False),
        sa.Column("right_count", sa.Integer, nullable=False),
        sa.Column("grounds", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("assignee", name, nullable=False),
        sa.Column("resolved_grounds", sa.LargeBinary, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("open_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("ended_by", sa.Text, nullable=False),
        sa.Column("ended_side", sa.SmallInteger, nullable=False),
    )
    op.create_index("ix_conflict_item", "conflict", ["item"])
    op.create_index("conflict_pair", "conflict", ["left_set", "right_set", "state", "kind", "gravity"])
    op.create_index("conflict_right", "conflict", ["right_set", "left_set"])
    op.create_table(
        "conflict_entry",
        sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("conflict", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("side", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_conflict_entry_conflict", "conflict_entry", ["conflict"])
    op.create_table(
        "conflict_resolution",
        sa.Column("id", key, primary_key=True),
        sa.Column("conflict", sa.BigInteger, nullable=False),
        sa.Column("contributor", name, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("decided_for", sa.Text, nullable=False),
        sa.Column("closes", sa.Boolean, nullable=False),
        sa.Column("grounds", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_conflict_resolution_conflict", "conflict_resolution", ["conflict"])
    progress = op.create_table(
        "conflict_progress",
        sa.Column("key", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("entry", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(progress, [{"key": 1, "revision": 0, "ordinal": 0, "entry": 0, "sequence": 0}])
