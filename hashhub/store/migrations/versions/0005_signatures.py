"""What contributors sign, and the leaves by which single entries are proved to be in it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns and the table; nothing is signed yet."""
    op.add_column("import", sa.Column("signature", sa.LargeBinary))
    op.add_column("import", sa.Column("signing_key", sa.Text, nullable=False, server_default=""))
    op.add_column("import", sa.Column("sign_time", sa.BigInteger))
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "entry_leaves",
        sa.Column("import", key, sa.ForeignKey("import.key"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True),
        sa.Column("leaves", sa.LargeBinary, nullable=False),
    )
