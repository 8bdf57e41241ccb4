"""What entries are known by, in the pages of what they state; pages that are there already have none, and the entries'
rows are read.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column."""
    op.add_column("statement_page", sa.Column("known_by", sa.LargeBinary))
