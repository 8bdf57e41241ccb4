"""Webhooks and their calls; retention and deletion of hash sets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the tables and columns. What happened before is told to nobody: the sender begins at the present."""
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "webhook",
        sa.Column("key", key, primary_key=True),
        sa.Column("contributor", name, sa.ForeignKey("contributor.id"), nullable=False),
        sa.Column("id", name, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("old_secret", sa.LargeBinary),
        sa.Column("old_secret_until", sa.BigInteger),
        sa.UniqueConstraint("contributor", "id", name="webhook_name"),
    )
    op.create_table(
        "delivery",
        sa.Column("key", key, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("webhook", key, sa.ForeignKey("webhook.key"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("due_time", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_attempt_time", sa.BigInteger),
        sa.Column("last_attempt_time", sa.BigInteger),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_index("delivery_webhook", "delivery", ["webhook", "key"])
    op.create_index(
        "delivery_pending",
        "delivery",
        ["webhook", "key"],
        sqlite_where=sa.text("state = 1"),
        postgresql_where=sa.text("state = 1"),
    )
    op.create_table(
        "sender",
        sa.Column("key", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("conflict_sequence", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO sender SELECT 1, revision, '', 0, 0 FROM metadata")
    op.add_column("hash_set", sa.Column("retention", sa.LargeBinary))
    op.add_column("hash_set", sa.Column("delete_revision", sa.BigInteger, server_default="0", nullable=False))
    op.add_column("hash_set", sa.Column("deletion", sa.LargeBinary))
