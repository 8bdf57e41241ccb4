"""Lines of a report that say the same of one item after the other, in one row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table. Reports that were written before stay as they are: one row a line."""
    op.create_table(
        "finding_run",
        sa.Column("import", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("disposition", sa.SmallInteger(), nullable=False),
        sa.Column("lines", sa.LargeBinary(), nullable=False),
    )
