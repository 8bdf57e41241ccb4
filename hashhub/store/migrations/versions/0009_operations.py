"""Long-running operations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "operation",
        sa.Column("key", key, primary_key=True),
        sa.Column("id", name, nullable=False, unique=True),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("actor", name, nullable=False),
        sa.Column("contributor", name, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("hash_sets", sa.LargeBinary, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("doing", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("expire_time", sa.BigInteger),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("failure", sa.LargeBinary),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("is_cancelled", sa.Boolean, nullable=False),
        sa.Column("lease", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_operation_state", "operation", ["state"])
    op.create_index("ix_operation_contributor", "operation", ["contributor"])
