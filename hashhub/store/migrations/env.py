"""Alembic's entry: runs the scripts on the connection, and in the transaction, that hashhub.store.database hands
over.
"""

from __future__ import annotations

from alembic import context

_given = context.config.attributes
context.configure(connection=_given["connection"], target_metadata=_given["tables"])
with context.begin_transaction():
    context.run_migrations()
