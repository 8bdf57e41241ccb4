"""Pages of digests of what entries state; entries that are there already have none, and are compared by their rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "statement_page",
        sa.Column("first_entry", key, primary_key=True, autoincrement=False),
        sa.Column("last_entry", sa.BigInteger, nullable=False),
        sa.Column("hash_set", sa.Integer, nullable=False),
        sa.Column("import", sa.Integer, nullable=False),
        sa.Column("form", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("statement_page_set", "statement_page", ["hash_set", "first_entry"])
