"""The log: the events so far become its leaves; behind each break that was mended a new one begins."""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import op

from hashhub.store import schema as s
from hashhub.store.events import EMPTY_TREE, LEAF_SALT_BYTES, grow, write_tiles
from hashhub.tlog.tree import Growth, entry_of, leaf_hash

revision = "0004"
down_revision = "0003"

_PAGE = 10_000


def upgrade() -> None:
    """Create both tables, and draw the salts. Digests stay as they are: a start verifies them as the chain they are."""
    op.add_column("event", sa.Column("salt", sa.LargeBinary, nullable=False, server_default=""))
    op.create_table(
        "log",
        sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("first_revision", sa.BigInteger, nullable=False),
        sa.Column("chained_revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("verifier_key", sa.Text, nullable=False, server_default=""),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tile",
        sa.Column("log", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    c, t = op.get_bind(), s.event
    last = c.scalar(sa.select(s.metadata.c.revision))
    salted = sa.update(t).where(t.c.revision == sa.bindparam("at")).values(salt=sa.bindparam("drawn"))
    number, after, tree = 0, 0, EMPTY_TREE
    while rows := c.execute(
        sa.select(t.c.revision, t.c.body, t.c.kind).where(t.c.revision > after).order_by(t.c.revision).limit(_PAGE)
    ).all():
        leaves: list[bytes] = []
        salts = [{"at": row[0], "drawn": os.urandom(LEAF_SALT_BYTES)} for row in rows]
        c.execute(salted, salts)
        for (at, body, kind), salt in zip(rows, salts, strict=True):
            if not number or kind == "HISTORY_MENDED":
                tree, leaves = _append(c, number, tree, leaves), []
                number, tree = number + 1, EMPTY_TREE
                c.execute(sa.insert(s.log).values(number=number, first_revision=at, chained_revision=last))
            leaves.append(leaf_hash(entry_of(salt["drawn"], body)))
        tree = _append(c, number, tree, leaves)
        after = rows[-1][0]
    if not number:
        c.execute(sa.insert(s.log).values(number=1, first_revision=1))


def _append(c: sa.Connection, number: int, tree: Growth, leaves: list[bytes]) -> Growth:
    grown, changed = grow(tree, leaves)
    if changed:
        write_tiles(c, number, changed)
    return grown
