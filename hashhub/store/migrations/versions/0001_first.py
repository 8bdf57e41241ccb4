"""The first tables."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create everything, and the one row of counters."""
    op.create_table(
        "change",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_entry", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("import", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("revision", "first_entry"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "change_staged",
        "change",
        ["import"],
        sqlite_where=sa.text("kind = 1"),
        postgresql_where=sa.text("kind = 1"),
    )
    op.create_table(
        "classification",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("content_digest", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("content_digest"),
    )
    op.create_table(
        "contributor",
        sa.Column("id", _NAME, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "entry",
        sa.Column("id", _KEY, autoincrement=False, nullable=False),
        sa.Column("hash_set", sa.Integer(), nullable=False),
        sa.Column("import", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("external_id", _NAME, nullable=True),
        sa.Column("classification", sa.Integer(), nullable=True),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=True),
        sa.Column("reasons", sa.Text(), nullable=True),
        sa.Column("update_revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "entry_external_id",
        "entry",
        ["hash_set", "external_id"],
        sqlite_where=sa.text("external_id IS NOT NULL"),
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_index("entry_state", "entry", ["hash_set", "state", "id"])
    op.create_table(
        "finding",
        sa.Column("import", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("disposition", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("import", "ordinal"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "hash",
        sa.Column("algorithm", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("algorithm", "digest", "entry"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metadata",
        sa.Column("key", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("database_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("registry_revision", sa.BigInteger(), nullable=False),
        sa.Column("next_entry", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "request",
        sa.Column("id", _NAME, nullable=False),
        sa.Column("content_digest", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_request_create_time", "request", ["create_time"])
    op.create_table(
        "review",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("review_entry", "review", ["entry", "id"])
    op.create_table(
        "token",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "hash_set",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("contributor", _NAME, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["contributor"], ["contributor.id"]),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("contributor", "id", name="hash_set_name"),
    )
    op.create_table(
        "import",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("hash_set", _KEY, nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("connector_version", sa.Text(), nullable=False),
        sa.Column("source_digest", sa.Text(), nullable=False),
        sa.Column("replace", sa.Boolean(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("batch_count", sa.Integer(), nullable=False),
        sa.Column("finding_count", sa.Integer(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("commit_time", sa.BigInteger(), nullable=True),
        sa.Column("lease", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["hash_set"], ["hash_set.key"]),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("import_source", "import", ["hash_set", "source_digest"])
    op.create_table(
        "allocation",
        sa.Column("first_entry", _KEY, autoincrement=False, nullable=False),
        sa.Column("last_entry", sa.BigInteger(), nullable=False),
        sa.Column("import", _KEY, nullable=False),
        sa.ForeignKeyConstraint(["import"], ["import.key"]),
        sa.PrimaryKeyConstraint("first_entry"),
    )
    op.create_index("ix_allocation_import", "allocation", ["import"])
    op.create_table(
        "staged_batch",
        sa.Column("import", _KEY, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["import"], ["import.key"]),
        sa.PrimaryKeyConstraint("import", "index"),
    )
    op.bulk_insert(
        sa.table(
            "metadata", *(sa.column(x) for x in ("key", "database_id", "revision", "registry_revision", "next_entry"))
        ),
        [{"key": 1, "database_id": str(uuid.uuid4()), "revision": 0, "registry_revision": 0, "next_entry": 1}],
    )
