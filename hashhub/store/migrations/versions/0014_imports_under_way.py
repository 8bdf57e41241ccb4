"""An index over the imports that are not done: whether lists come in is asked every second."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the index."""
    under_way = sa.text("state < 3")
    op.create_index("import_under_way", "import", ["state"], sqlite_where=under_way, postgresql_where=under_way)
