"""What an open import holds, and when it was last added to, so that it can expire and has its share of the disk."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_OPEN, _COMMITTING = 1, 2
_COLUMNS = ("staged_items", "staged_bytes", "touch_time")


def upgrade() -> None:
    """Add the columns. Imports that are open count as touched now: their time begins with this version."""
    for name in _COLUMNS:
        op.add_column("import", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    is_open = f"state IN ({_OPEN}, {_COMMITTING})"
    size = 'coalesce((SELECT sum(length(b.payload)) FROM staged_batch b WHERE b."import" = "import".key), 0)'
    op.execute(f'UPDATE "import" SET touch_time = {round(time.time() * 1000)} WHERE {is_open}')  # noqa: S608 - our own
    op.execute(f'UPDATE "import" SET staged_bytes = {size} WHERE {is_open}')  # noqa: S608 - likewise
