"""A new database: the tables of hashhub/store/schema.py as they are now, and the rows that it begins with.

It is run for new databases alone, which are then at the newest version. Those of 0.1.0 are at this one: what the schema
gets from then on stands there, and in a later script for them.
"""

from __future__ import annotations

import os
import uuid

import sqlalchemy as sa
from alembic import context, op

from hashhub.store import schema
from hashhub.store.events import genesis

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything, and the rows of which there is always one."""
    c = op.get_bind()
    tables: sa.MetaData = context.config.attributes["tables"]
    tables.create_all(c)
    if c.dialect.name == "postgresql":  # a batch is compressed already
        c.execute(sa.text("ALTER TABLE staged_batch ALTER COLUMN payload SET STORAGE EXTERNAL"))
    database_id = str(uuid.uuid4())
    c.execute(
        sa.insert(schema.metadata).values(
            key=1,
            database_id=database_id,
            revision=0,
            registry_revision=0,
            secret=os.urandom(32),
            head=genesis(database_id),
        )
    )
    c.execute(sa.insert(schema.log).values(number=1, first_revision=1))
    c.execute(sa.insert(schema.conflict_progress).values(key=1, revision=0, ordinal=0, entry=0, sequence=0))
    c.execute(sa.insert(schema.sender).values(key=1, revision=0, lease="", lease_until=0, conflict_sequence=0))
