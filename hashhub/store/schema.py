"""The tables, and the small integers that stand for names in them.

    contributor ──< hash_set ──< import ──< staged_batch, finding, allocation
                        │           │
                        └───< entry >┘──< hash          hash is clustered by digest: looking one up and streaming all need no other index
                                │
                                ├──< reviewed >── review        which reviews count for which entries
                                └──> classification             shared rows
    change: the feed, by revision      revision: which history      request: replayed calls      token      metadata: one row of counters

Only small tables have foreign keys: checking one for each of some million rows would cost more than writing the rows, and the store
is the only writer. Times are milliseconds since 1970 in UTC. Codes are written to disk: never renumber one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from hashhub.model import ChangeKind, Disposition, EntryState, ImportState, ReviewKind

SCHEMA_VERSION: Final = "0002"  # the newest script in migrations/versions

ALGORITHM_CODES: Final = {"MD5": 1, "SHA1": 2, "SHA256": 3, "PDQ": 4, "PHASH": 5, "DHASH": 6, "PHOTODNA": 7}
ENTRY_STATES: Final = {EntryState.ACTIVE: 1, EntryState.QUARANTINED: 2, EntryState.WITHDRAWN: 3}
IMPORT_STATES: Final = {
    ImportState.OPEN: 1,
    ImportState.COMMITTING: 2,
    ImportState.COMMITTED: 3,
    ImportState.CANCELLED: 4,
}
DISPOSITIONS: Final = {
    Disposition.ACCEPTED: 1,
    Disposition.QUARANTINED: 2,
    Disposition.REJECTED: 3,
    Disposition.DUPLICATE: 4,
    Disposition.UNCHANGED: 5,
    Disposition.WITHDRAWN: 6,
    Disposition.NOTED: 7,
    Disposition.STAYS_WITHDRAWN: 8,
}
REVIEW_KINDS: Final = {
    ReviewKind.CONFIRMED: 1,
    ReviewKind.FALSE_POSITIVE: 2,
    ReviewKind.NOT_ILLEGAL_HERE: 3,
    ReviewKind.MISCLASSIFIED: 4,
    ReviewKind.DUPLICATE: 5,
    ReviewKind.SET_ASIDE: 6,
}
CHANGE_KINDS: Final[dict[str, int]] = {"STAGED": 1, ChangeKind.UPSERT: 2, ChangeKind.WITHDRAW: 3, "REVIEWED": 4}

# SQLite's integer primary key is 64 bits wide only under the name INTEGER. Names sort by code point on both databases.
_Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

tables: Final = sa.MetaData()


def _table(name: str, *columns: sa.Column[int] | sa.Column[str] | sa.schema.SchemaItem, rowid: bool = True) -> sa.Table:
    return sa.Table(name, tables, *columns, sqlite_with_rowid=rowid)


metadata: Final = _table(
    "metadata",
    sa.Column("key", sa.SmallInteger, primary_key=True, autoincrement=False),  # always 1
    sa.Column("database_id", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("registry_revision", sa.BigInteger, nullable=False),  # last change to contributors and hash sets
    sa.Column("next_entry", sa.BigInteger, nullable=False),
)

contributor: Final = _table(
    "contributor",
    sa.Column("id", _Name, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.Contributor
)

hash_set: Final = _table(
    "hash_set",
    sa.Column("key", _Key, primary_key=True),
    sa.Column("contributor", _Name, sa.ForeignKey("contributor.id"), nullable=False),
    sa.Column("id", _Name, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.HashSet
    # The last revision at which an entry was withdrawn and no newer statement took its place.
    sa.Column("withdraw_revision", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("contributor", "id", name="hash_set_name"),
)

token: Final = _table(
    "token",
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("name", _Name, nullable=False, unique=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.Principal
)

request: Final = _table(
    "request",
    sa.Column("id", _Name, primary_key=True),
    sa.Column("content_digest", sa.LargeBinary, nullable=False),
    sa.Column("result", sa.LargeBinary, nullable=False),  # MessagePack of what the first call returned
    sa.Column("create_time", sa.BigInteger, nullable=False, index=True),
)

classification: Final = _table(
    "classification",
    sa.Column("id", _Key, primary_key=True),
    sa.Column("content_digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.Classification
)

imports: Final = _table(
    "import",
    sa.Column("key", _Key, primary_key=True),
    sa.Column("id", _Name, nullable=False, unique=True),
    sa.Column("hash_set", _Key, sa.ForeignKey("hash_set.key"), nullable=False),
    sa.Column("connector", sa.Text, nullable=False),
    sa.Column("connector_version", sa.Text, nullable=False),
    sa.Column("source_digest", sa.Text, nullable=False),
    sa.Column("replace", sa.Boolean, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("batch_count", sa.Integer, nullable=False),
    sa.Column("finding_count", sa.Integer, nullable=False),
    sa.Column("counts", sa.LargeBinary, nullable=False),  # JSON of model.Counts
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("create_time", sa.BigInteger, nullable=False),
    sa.Column("commit_time", sa.BigInteger),
    sa.Column("lease", sa.Text, nullable=False),  # who commits it; empty: nobody
    sa.Column("lease_until", sa.BigInteger, nullable=False),
    sa.Index("import_source", "hash_set", "source_digest"),
)

staged_batch: Final = _table(
    "staged_batch",
    sa.Column("import", _Key, sa.ForeignKey("import.key"), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)

allocation: Final = _table(
    "allocation",
    sa.Column("first_entry", _Key, primary_key=True, autoincrement=False),
    sa.Column("last_entry", sa.BigInteger, nullable=False),
    sa.Column("import", _Key, sa.ForeignKey("import.key"), nullable=False, index=True),
)

finding: Final = _table(
    "finding",
    sa.Column("import", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("disposition", sa.SmallInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("entry", sa.BigInteger, nullable=False),  # 0: none
    rowid=False,
)

entry: Final = _table(
    "entry",
    sa.Column("id", _Key, primary_key=True, autoincrement=False),
    sa.Column("hash_set", sa.Integer, nullable=False),
    sa.Column("import", sa.Integer, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("external_id", _Name),  # NULL: the source has none
    sa.Column("classification", sa.Integer),
    sa.Column("flags", sa.SmallInteger, nullable=False),  # see packing
    sa.Column("hashes", sa.LargeBinary, nullable=False),  # see packing
    sa.Column("details", sa.LargeBinary),  # see packing; NULL: nothing beyond the columns
    sa.Column("reasons", sa.Text),  # JSON; NULL: none
    sa.Column("update_revision", sa.BigInteger, nullable=False),  # 0: unchanged since its import was committed
    sa.Index("entry_state", "hash_set", "state", "id"),
)
sa.Index(
    "entry_external_id",
    entry.c.hash_set,
    entry.c.external_id,
    sqlite_where=entry.c.external_id.is_not(None),
    postgresql_where=entry.c.external_id.is_not(None),
)

hash_: Final = _table(
    "hash",
    sa.Column("algorithm", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    rowid=False,
)

review: Final = _table(
    "review",
    sa.Column("id", _Key, primary_key=True),
    sa.Column("entry", sa.BigInteger, nullable=False),  # the one that it was stated about
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("create_time", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

# A review counts for the entry that it was stated about, and for those by which the contributor states the same item again. By hash set
# first: an import asks which of its set's entries have been reviewed.
reviewed: Final = _table(
    "reviewed",
    sa.Column("hash_set", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("review", sa.BigInteger, primary_key=True, autoincrement=False),
    rowid=False,
)

change: Final = _table(
    "change",
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("first_entry", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("last_entry", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("import", sa.BigInteger, nullable=False),  # 0: not from an import's commit
    rowid=False,
)
sa.Index(
    "change_staged",
    change.c["import"],
    sqlite_where=change.c.kind == sa.literal_column("1"),
    postgresql_where=change.c.kind == sa.literal_column("1"),
)

# Two databases with one past have the same stamps up to where they part: a restored backup that was written to has others.
revisions: Final = _table(
    "revision",
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("stamp", sa.BigInteger, nullable=False),  # random
    rowid=False,
)


def to_millis(t: datetime) -> int:
    """Return a time as the tables keep it."""
    return round(t.timestamp() * 1000)


def from_millis(millis: int) -> datetime:
    """Return the time in UTC that a table keeps."""
    return datetime.fromtimestamp(millis / 1000, UTC)
