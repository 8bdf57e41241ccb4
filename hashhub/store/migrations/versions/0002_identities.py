"""Identities of tokens: names in certificates that prove them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "identity",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", name, sa.ForeignKey("token.name"), nullable=False, index=True),
    )
