"""The tables, and the small integers that stand for names in them.

    contributor ──< hash_set ──< import ──< staged_batch, finding, allocation
                        │           │
                        └───< entry >┘──< hash    clustered by digest, so that looking up and streaming need no index
                                │                 frames, statement_page, review, succession, withdrawal, hold
                                └──> classification
    event ── event_detail: history, by revision    change: feed, by revision    metadata: one row, the head

Only small tables have foreign keys: checking one for each of some million rows would cost more than writing the rows,
and the store is the only writer. Times are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from hashhub.hashes import STORED
from hashhub.model import (
    ChangeKind,
    ConflictKind,
    ConflictState,
    DefinitionKind,
    DeliveryState,
    Disposition,
    EntryState,
    ImportState,
    OperationState,
    ReviewKind,
    Role,
    Severity,
    WithdrawalReason,
)

SCHEMA_VERSION: Final = "0005"  # the newest script in migrations/versions

ALGORITHM_CODES: Final = {a.name: a.code for a in STORED.values()}

_E = TypeVar("_E", bound=StrEnum)
_S = TypeVar("_S", bound=msgspec.Struct)


class Codes(dict[_E, int]):
    """An enum's members with the numbers that rows hold (`members`: by number): a new member comes last, none goes."""

    def __init__(self, members: type[_E], first: int = 1) -> None:
        """Number them from `first` on."""
        self.members: Final = dict(enumerate(members, first))
        super().__init__((member, code) for code, member in self.members.items())


ENTRY_STATES: Final = Codes(EntryState)
IMPORT_STATES: Final = Codes(ImportState)
DISPOSITIONS: Final = Codes(Disposition)
REVIEW_KINDS: Final = Codes(ReviewKind)
DELIVERY_STATES: Final = Codes(DeliveryState)
DEFINITION_KINDS: Final = Codes(DefinitionKind)
OPERATION_STATES: Final = Codes(OperationState)
ROLES: Final = Codes(Role)
WITHDRAWAL_REASONS: Final = Codes(WithdrawalReason)
CONFLICT_KINDS: Final = Codes(ConflictKind)
CONFLICT_STATES: Final = Codes(ConflictState)
SEVERITIES: Final = Codes(Severity, first=0)
# STAGED is for matchers only. REVIEWED: what others say of the entries changed; readers of the feed get an UPSERT.
CHANGE_KINDS: Final[dict[str, int]] = {"STAGED": 1, ChangeKind.UPSERT: 2, ChangeKind.WITHDRAW: 3, "REVIEWED": 4}

# What rows of the tables say.
ACTIVE: Final = ENTRY_STATES[EntryState.ACTIVE]
QUARANTINED: Final = ENTRY_STATES[EntryState.QUARANTINED]
WITHDRAWN: Final = ENTRY_STATES[EntryState.WITHDRAWN]
OPEN: Final = IMPORT_STATES[ImportState.OPEN]
COMMITTING: Final = IMPORT_STATES[ImportState.COMMITTING]
COMMITTED: Final = IMPORT_STATES[ImportState.COMMITTED]
CANCELLED: Final = IMPORT_STATES[ImportState.CANCELLED]
UPSERT: Final = CHANGE_KINDS[ChangeKind.UPSERT]
STAGED: Final = CHANGE_KINDS["STAGED"]
WITHDRAW: Final = CHANGE_KINDS[ChangeKind.WITHDRAW]
REVIEWED: Final = CHANGE_KINDS["REVIEWED"]
STAGED_AROUND: Final = (
    "SELECT 1 FROM allocation a WHERE e.id BETWEEN a.first_entry AND a.last_entry"  # true while e is invisible
)

# SQLite's integer primary key is 64 bits wide only under the name INTEGER. Names sort by code point on both databases.
_Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

tables: Final = sa.MetaData()


def _table(name: str, *columns: sa.Column[int] | sa.Column[str] | sa.schema.SchemaItem, rowid: bool = True) -> sa.Table:
    return sa.Table(name, tables, *columns, sqlite_with_rowid=rowid)


def _partial_index(name: str, *columns: sa.Column[Any], where: sa.ColumnElement[bool] | sa.TextClause) -> None:
    """Index the rows of a table for which a condition holds."""
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


metadata: Final = _table(
    "metadata",
    sa.Column("key", sa.SmallInteger, primary_key=True, autoincrement=False),  # always 1
    sa.Column("database_id", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # Last change to what `Registry` holds, or to a token
    sa.Column("registry_revision", sa.BigInteger, nullable=False),
    sa.Column("head", sa.LargeBinary, nullable=False),  # digest of the history's last event
    # Random; signs positions and blinds what is left of erased values
    sa.Column("secret", sa.LargeBinary, nullable=False),
    # The hub's operators; empty: not yet made
    sa.Column("own_contributor", sa.Text, nullable=False, server_default=""),
    # Revisions whose withdrawals are not all written into the entries' rows, with commas between (store.entry_writes).
    sa.Column("outstanding", sa.Text, nullable=False, server_default=""),
    # What other hubs call this one; empty: it has no name yet
    sa.Column("hub", sa.Text, nullable=False, server_default=""),
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
    # Numbers of the next entry and the next review, which are in their ids behind the key (model.entry_id).
    sa.Column("next_entry", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("next_review", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("retention", sa.LargeBinary),  # JSON of model.Retention; NULL: nothing is set
    # The revision that deleted it, 0: it is there. The row stays, so that its name and key are never given again.
    sa.Column("delete_revision", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("deletion", sa.LargeBinary),  # JSON of store.deletion.DeletionProgress while rows are being deleted
    sa.UniqueConstraint("contributor", "id", name="hash_set_name"),
)

contributor_group: Final = _table(
    "contributor_group",
    sa.Column("id", _Name, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.Group
)

token: Final = _table(
    "token",
    sa.Column("name", _Name, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.Principal, without the time of its last use
    sa.Column("last_use_time", sa.BigInteger),
)

secret: Final = _table(
    "secret",
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("token", _Name, sa.ForeignKey("token.name"), nullable=False, index=True),
    sa.Column("expire_time", sa.BigInteger),  # of this secret, once another one has taken its place
)

# Of a token: names in certificates that prove it, as `URI:…` and `DNS:…`, and values of a claim, as `OIDC:…`.
identity: Final = _table(
    "identity",
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("token", _Name, sa.ForeignKey("token.name"), nullable=False, index=True),
)

# Calls that a first person has made, and that wait until a second one makes them, too.
approval: Final = _table(
    "approval",
    sa.Column("id", _Name, primary_key=True),  # SHA-256 of the call and its request, in hexadecimal
    sa.Column("call", sa.Text, nullable=False),
    sa.Column("token", _Name, nullable=False),
    sa.Column("contributor", _Name, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("create_time", sa.BigInteger, nullable=False),
    rowid=False,
)

# A name that terms may have held must never mean somebody else.
used_name: Final = _table(
    "used_name",
    sa.Column("kind", sa.Text, primary_key=True),  # groups, tokens
    sa.Column("id", _Name, primary_key=True),
    rowid=False,
)

# The smallest of the numbers that stand for the entries which a token learned of on a day (hub/match.py).
learned: Final = _table(
    "learned",
    sa.Column("token", _Name, primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),  # since 1970
    sa.Column("smallest", sa.LargeBinary, nullable=False),
    rowid=False,
)

# Where readers of the feed were that keep a time (store/tokens.py). Not in backups: a restored hub must not go on from
# where it was before, since it has undone what they were told after that.
feed_position: Final = _table(
    "feed_position",
    sa.Column("token", _Name, primary_key=True),
    sa.Column("reader", _Name, primary_key=True),
    sa.Column("time", sa.BigInteger, primary_key=True, autoincrement=False),  # seconds since 1970, or LAST
    sa.Column("revision", sa.BigInteger, nullable=False),  # that the reader had all of
    sa.Column("mark", sa.BigInteger, nullable=False),  # of the position
    sa.Column("position", sa.Text, nullable=False),
    rowid=False,
)

request: Final = _table(
    "request",
    sa.Column("id", _Name, primary_key=True),  # ACTOR/REQUEST_ID
    sa.Column("content_digest", sa.LargeBinary, nullable=False),
    sa.Column("result", sa.LargeBinary, nullable=False),  # MessagePack of what the first call returned
    sa.Column("create_time", sa.BigInteger, nullable=False, index=True),
)

# Versions of schemes and policies that somebody put into the hub, besides those that come with it or in files.
definition: Final = _table(
    "definition",
    sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("id", _Name, primary_key=True),
    sa.Column("version", _Name, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.Definition
)

# Long-running operations. No statement and no verdict depends on one, so they move no revision.
operation: Final = _table(
    "operation",
    sa.Column("key", _Key, primary_key=True),  # in the order in which they were started
    sa.Column("id", _Name, nullable=False, unique=True),
    sa.Column("state", sa.SmallInteger, nullable=False, index=True),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),  # JSON
    sa.Column("actor", _Name, nullable=False),
    sa.Column("contributor", _Name, nullable=False, index=True),
    sa.Column("role", sa.SmallInteger, nullable=False),
    sa.Column("hash_sets", sa.LargeBinary, nullable=False, default=b"[]"),  # JSON: names
    sa.Column("done", sa.BigInteger, nullable=False, default=0),
    sa.Column("total", sa.BigInteger, nullable=False, default=0),
    sa.Column("doing", sa.Text, nullable=False, default=""),
    sa.Column("create_time", sa.BigInteger, nullable=False),
    sa.Column("update_time", sa.BigInteger, nullable=False),
    sa.Column("end_time", sa.BigInteger),
    sa.Column("expire_time", sa.BigInteger),
    sa.Column("response", sa.LargeBinary, nullable=False, default=b""),  # JSON; empty: none
    sa.Column("failure", sa.LargeBinary),  # JSON of model.Failure; NULL: none
    sa.Column("size", sa.BigInteger, nullable=False, default=0),
    sa.Column("is_cancelled", sa.Boolean, nullable=False, default=False),
    sa.Column("lease", sa.Text, nullable=False, default=""),  # who runs it; empty: nobody
    sa.Column("lease_until", sa.BigInteger, nullable=False, default=0),
)

webhook: Final = _table(
    "webhook",
    sa.Column("key", _Key, primary_key=True),
    sa.Column("contributor", _Name, sa.ForeignKey("contributor.id"), nullable=False),
    sa.Column("id", _Name, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of model.Webhook
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("old_secret", sa.LargeBinary),
    sa.Column("old_secret_until", sa.BigInteger),
    sa.UniqueConstraint("contributor", "id", name="webhook_name"),
)

# Calls of webhooks. Until the first attempt what happens is added to `content`.
delivery: Final = _table(
    "delivery",
    sa.Column("key", _Key, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("webhook", _Key, sa.ForeignKey("webhook.key"), nullable=False),
    sa.Column("event", sa.Text, nullable=False),  # empty: a test
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON of store.webhooks.NotificationSummary
    sa.Column("create_time", sa.BigInteger, nullable=False),
    sa.Column("due_time", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("first_attempt_time", sa.BigInteger),
    sa.Column("last_attempt_time", sa.BigInteger),
    sa.Column("status", sa.SmallInteger, nullable=False, default=0),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Index("delivery_webhook", "webhook", "key"),
)
_partial_index("delivery_pending", delivery.c.webhook, delivery.c.key, where=delivery.c.state == sa.literal_column("1"))

# One row: which process makes the calls, and up to which revision it has looked for what is to be told.
sender: Final = _table(
    "sender",
    sa.Column("key", sa.SmallInteger, primary_key=True, autoincrement=False),  # always 1
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("lease", sa.Text, nullable=False),
    sa.Column("lease_until", sa.BigInteger, nullable=False),
    sa.Column("conflict_sequence", sa.BigInteger, nullable=False),  # likewise, of conflicts
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
    sa.Column("batch_count", sa.Integer, nullable=False, default=0),
    sa.Column("finding_count", sa.Integer, nullable=False, default=0),
    sa.Column("counts", sa.LargeBinary, nullable=False),  # JSON of model.Counts
    sa.Column("revision", sa.BigInteger, nullable=False, default=0),
    sa.Column("create_time", sa.BigInteger, nullable=False),
    sa.Column("commit_time", sa.BigInteger),
    sa.Column("lease", sa.Text, nullable=False, default=""),  # who commits it; empty: nobody
    sa.Column("lease_until", sa.BigInteger, nullable=False, default=0),
    sa.Column("has_classifications", sa.Boolean),  # NULL: the contributor did not say
    sa.Column("terms", sa.LargeBinary),  # JSON of model.Marking, several; NULL: the source states none
    sa.Column("actor", sa.Text, nullable=False, server_default=""),  # the token that opened it
    sa.Column("open_revision", sa.BigInteger, nullable=False, server_default="0"),  # the last one when it was opened
    # What an open import holds, and when it was last added to.
    sa.Column("staged_items", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("staged_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("touch_time", sa.BigInteger, nullable=False, server_default="0"),
    # What its contributor signed, the id of the key, and the time that the signer states; NULL: nobody did.
    sa.Column("signature", sa.LargeBinary),
    sa.Column("signing_key", sa.Text, nullable=False, server_default=""),
    sa.Column("sign_time", sa.BigInteger),
    sa.Index("import_source", "hash_set", "source_digest"),
)
# Those that are OPEN or COMMITTING: few of all that there ever were, and asked for again and again.
UNDER_WAY: Final = imports.c.state < sa.literal_column("3")
_partial_index("import_under_way", imports.c.state, where=UNDER_WAY)

staged_batch: Final = _table(
    "staged_batch",
    sa.Column("import", _Key, sa.ForeignKey("import.key"), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)

# The leaves of the canonical entries of each batch, one after the other, where a signature is given or demanded.
entry_leaves: Final = _table(
    "entry_leaves",
    sa.Column("import", _Key, sa.ForeignKey("import.key"), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True),
    sa.Column("leaves", sa.LargeBinary, nullable=False),
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

finding_run: Final = _table(
    "finding_run",
    sa.Column("import", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),  # of its first line
    sa.Column("last", sa.Integer, nullable=False),  # ordinal of its last line
    sa.Column("disposition", sa.SmallInteger, nullable=False),
    sa.Column("lines", sa.LargeBinary, nullable=False),  # see reports
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
    sa.Column("flags", sa.SmallInteger, nullable=False),  # see entry_codec
    sa.Column("hashes", sa.LargeBinary, nullable=False),  # see entry_codec
    sa.Column("details", sa.LargeBinary),  # see entry_codec; NULL: nothing beyond the columns
    sa.Column("reasons", sa.Text),  # JSON; NULL: none
    sa.Column("update_revision", sa.BigInteger, nullable=False),  # 0: unchanged since its import was committed
    sa.Column("expire_time", sa.BigInteger),
    sa.Index("entry_state", "hash_set", "state", "id"),
)
# Without those that are withdrawn, so that a look for what has expired does not meet all that ever did.
_EXPIRES: Final = sa.and_(entry.c.expire_time.is_not(None), entry.c.state != sa.literal_column("3"))
_partial_index("entry_expire_time", entry.c.expire_time, where=_EXPIRES)
_partial_index("entry_external_id", entry.c.hash_set, entry.c.external_id, where=entry.c.external_id.is_not(None))

hash_: Final = _table(
    "hash",
    sa.Column("algorithm", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    rowid=False,
)

# The frames of entries that are videos. The digests of those that match are in `hash`, too, as algorithm VPDQ.
frames: Final = _table(
    "frames",
    sa.Column("entry", _Key, primary_key=True, autoincrement=False),
    sa.Column("frame_count", sa.Integer, nullable=False),
    sa.Column("digest_count", sa.Integer, nullable=False),  # distinct digests of quality enough to match
    sa.Column("content", sa.LargeBinary, nullable=False),  # see hashhub.frames
)

# What the entries of one piece of an import state, as digests (store.entry_writes).
statement_page: Final = _table(
    "statement_page",
    sa.Column("first_entry", _Key, primary_key=True, autoincrement=False),
    sa.Column("last_entry", sa.BigInteger, nullable=False),
    sa.Column("hash_set", sa.Integer, nullable=False),
    sa.Column("import", sa.Integer, nullable=False),
    sa.Column("form", sa.Integer, nullable=False),  # see store.entry_writes
    sa.Column("content", sa.LargeBinary, nullable=False),  # likewise
    # Of its entries' rows as they were staged, see store.events
    sa.Column("imprints", sa.LargeBinary, nullable=False),
    sa.Index("statement_page_set", "hash_set", "first_entry"),
)

review: Final = _table(
    "review",
    sa.Column("id", _Key, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.BigInteger, nullable=False),  # the one that it was stated about
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("create_time", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False, server_default=""),
    sa.Column("role", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("sets_aside", sa.BigInteger, nullable=False, server_default="0"),  # a review's id; 0: none
    sa.Column("awaits_acceptance", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("item_count", sa.Integer, nullable=False, server_default="0"),  # of how many it may be, of an objection
    sa.Index("review_author", "author", "create_time"),
)

# A review counts for the entry that it was stated about, and for those by which the contributor states the same item
# again. By hash set first: an import asks which of its set's entries have been reviewed.
reviewed: Final = _table(
    "reviewed",
    sa.Column("hash_set", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("review", sa.BigInteger, primary_key=True, autoincrement=False),
    rowid=False,
)

# Which entry took which one's place, about the same item.
succession: Final = _table(
    "succession",
    sa.Column("earlier", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("later", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
    rowid=False,
)

# Of entries that somebody withdrew by hand, or asked to withdraw.
withdrawal: Final = _table(
    "withdrawal",
    sa.Column("entry", _Key, primary_key=True, autoincrement=False),
    sa.Column("hash_set", sa.Integer, nullable=False),
    sa.Column("reason", sa.SmallInteger, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("role", sa.SmallInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("pending", sa.Boolean, nullable=False),
    sa.Index("withdrawal_time", "hash_set", "time"),
)
# Few of many wait for a second person.
_partial_index("withdrawal_pending", withdrawal.c.hash_set, withdrawal.c.entry, where=sa.text("pending"))

# What keeps an item's entry from being active although a list states it. Its identity is the entry's, or, once that was
# erased, `traces`.
hold: Final = _table(
    "hold",
    sa.Column("entry", _Key, primary_key=True, autoincrement=False),
    sa.Column("contributor", _Name, nullable=False, index=True),
    sa.Column("hash_set", sa.Integer, nullable=False),  # 0: in all sets of the contributor
    # 2: quarantined, 3: withdrawn, as ENTRY_STATES; a withdrawal does not end the operator's quarantine
    sa.Column("effect", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("origin", sa.Text, nullable=False),  # store.holds.Origin
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("source_time", sa.Text, nullable=False),  # of a source's own deletion message
    sa.Column("traces", sa.LargeBinary),  # keyed traces, 16 bytes each
)

# One row for a set of entries, whatever its size: `ids` is a 64-bit Roaring bitmap in its portable form, NULL for the
# whole range.
change: Final = _table(
    "change",
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("first_entry", sa.BigInteger, nullable=False),
    sa.Column("last_entry", sa.BigInteger, nullable=False),
    sa.Column("ids", sa.LargeBinary),
    sa.Column("import", sa.BigInteger, nullable=False),  # 0: not from an import's commit
    sa.Column("hash_set", sa.Integer, nullable=False),  # of all its entries
)
_partial_index("change_staged", change.c["import"], where=change.c.kind == sa.literal_column("1"))

# Entries that a large withdrawal is about; see store.entry_writes.
outstanding: Final = _table(
    "outstanding",
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash_set", sa.Integer, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("first_entry", sa.BigInteger, nullable=False),
    sa.Column("last_entry", sa.BigInteger, nullable=False),
    sa.Column("ids", sa.LargeBinary),  # as in `change`
    sa.Column("origin", sa.Text, nullable=False),  # of the holds that come with it; empty: none
    sa.Column("source_times", sa.LargeBinary),  # MessagePack; NULL: the source gives none
    sa.Column("withdrawal", sa.LargeBinary),  # JSON of model.Withdrawal; NULL: nobody withdrew them by hand
    sa.Column("withdraw_time", sa.BigInteger, nullable=False, server_default="0"),
)


# Two databases with one past have the same digests up to where they part: a restored backup that was written to has
# others.
event: Final = _table(
    "event",
    sa.Column("revision", _Key, primary_key=True, autoincrement=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", _Name, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # the canonical encoding, see store.events
    # Root of the log's tree with this event; up to `log.chained_revision` SHA-256 of the one before and the body
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False, server_default=""),  # of its leaf; never erased
    # See store.events; NULL: it left no row that decides otherwise than it was
    sa.Column("imprints", sa.LargeBinary),
    sa.Index("event_actor", "actor", "revision"),
    sa.Index("event_subject", "subject", "revision"),
    sa.Index("event_time", "time", "revision"),  # clocks go back, so that revisions are in no order of times
)

# The Merkle trees over the events, one after the other: each begins behind a restored backup, a mended break or a lost
# key. The event of a revision is the leaf `revision - first_revision` of the last one that has begun by then.
log: Final = _table(
    "log",
    sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),  # from 1 on
    sa.Column("first_revision", sa.BigInteger, nullable=False),
    # Up to which the events' digests are those of release 0.1.0
    sa.Column("chained_revision", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("verifier_key", sa.Text, nullable=False, server_default=""),  # of its checkpoints; empty: none was signed
)
tile: Final = _table(
    "tile",
    sa.Column("log", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),  # up to 256; the last tile of a level grows
)

# What may have to be erased; the event holds a commitment to `salt` and `content`.
event_detail: Final = _table(
    "event_detail",
    sa.Column("revision", _Key, primary_key=True, autoincrement=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON: text by name
    sa.Column("undo", sa.LargeBinary),  # MessagePack: what stood before, for a revert; NULL: nothing
)

# Two hash sets' statements about one item that cannot both hold. Derived from the entries, and no digest of theirs is
# in it: `item` and `grounds` are keyed traces under the hub's secret, emptied once an entry was erased.
conflict: Final = _table(
    "conflict",
    sa.Column("id", _Key, primary_key=True),
    sa.Column("name", _Name, nullable=False, unique=True),  # random: a number would tell how many there are
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("dimension", sa.Text, nullable=False),
    sa.Column("gravity", sa.SmallInteger, nullable=False),  # as SEVERITIES, whatever the parties' reliability
    sa.Column("item", sa.LargeBinary, nullable=False, index=True),
    sa.Column("left_set", sa.Integer, nullable=False),  # the lower key
    sa.Column("right_set", sa.Integer, nullable=False),
    sa.Column("left_count", sa.Integer, nullable=False),
    sa.Column("right_count", sa.Integer, nullable=False),
    sa.Column("grounds", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("assignee", _Name, nullable=False, default=""),
    sa.Column("resolved_grounds", sa.LargeBinary, nullable=False, default=b""),  # empty: no operator has closed it
    sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),  # of its last opening
    sa.Column("open_time", sa.BigInteger, nullable=False),
    sa.Column("update_time", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("ended_by", sa.Text, nullable=False),
    sa.Column("ended_side", sa.SmallInteger, nullable=False),  # 0: none, 1: left, 2: right
    sa.Index("conflict_pair", "left_set", "right_set", "state", "kind", "gravity"),
    sa.Index("conflict_right", "right_set", "left_set"),
)

# Some of the entries on each side of a conflict.
conflict_entry: Final = _table(
    "conflict_entry",
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("conflict", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
    sa.Column("side", sa.SmallInteger, nullable=False),  # 1: left, 2: right
    rowid=False,
)

conflict_resolution: Final = _table(
    "conflict_resolution",
    sa.Column("id", _Key, primary_key=True),
    sa.Column("conflict", sa.BigInteger, nullable=False, index=True),
    sa.Column("contributor", _Name, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("role", sa.SmallInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("decided_for", sa.Text, nullable=False),
    sa.Column("closes", sa.Boolean, nullable=False),
    sa.Column("grounds", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

# Up to which change, and which of its entries, conflicts were looked for.
conflict_progress: Final = _table(
    "conflict_progress",
    sa.Column("key", sa.SmallInteger, primary_key=True, autoincrement=False),  # always 1
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("entry", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),  # the last one given
)


class ComparedTable(NamedTuple):
    """A table by whose rows it is decided what matches, who may what, and who sees what: `hashhub doctor` compares it
    with the history. `lead`: the column that rows are told by, or several with something between; `left_out`: columns
    that are not compared, and why.
    """

    lead: tuple[str, ...]
    left_out: Mapping[str, str] = MappingProxyType({})


_WORDS: Final = {"comment": "words, which are erased with an entry"}
DECIDING: Final[Mapping[str, ComparedTable]] = {
    "contributor": ComparedTable(("id",)),
    "hash_set": ComparedTable(
        ("contributor", "/", "id"),
        {
            "withdraw_revision": "spares readers of the feed a look at changes",
            "next_entry": "a counter: a number that is given twice is refused by the tables",
            "next_review": "likewise",
            "deletion": "how far the deletion of its rows is",
        },
    ),
    "contributor_group": ComparedTable(("id",)),
    "token": ComparedTable(("name",), {"last_use_time": "told only"}),
    "secret": ComparedTable(("token",)),
    "identity": ComparedTable(("token",)),
    "approval": ComparedTable(("id",)),
    "definition": ComparedTable(("id", "@", "version")),
    "webhook": ComparedTable(("contributor", "/", "id")),
    "entry": ComparedTable(("id",)),
    "statement_page": ComparedTable(("first_entry",)),
    "review": ComparedTable(("id",), _WORDS),
    "reviewed": ComparedTable(("entry",)),
    "withdrawal": ComparedTable(("entry",), _WORDS),
    "hold": ComparedTable(("entry",)),
    "change": ComparedTable(("revision",)),
    "conflict_resolution": ComparedTable(("conflict",), _WORDS),
}


def to_millis(t: datetime) -> int:
    """Return a time as the tables keep it."""
    return round(t.timestamp() * 1000)


def from_millis(millis: int) -> datetime:
    """Return the time in UTC that a table keeps."""
    return datetime.fromtimestamp(millis / 1000, UTC)


def time_of(millis: int | None) -> datetime | None:
    """Return the time in UTC that a table keeps, or None for NULL."""
    return None if millis is None else from_millis(millis)


def struct_of(kind: type[_S], row: Any, **converted: Any) -> _S:
    """Build a struct from a row's columns of its fields' names, but for those that are `converted`."""
    same = {x: getattr(row, x) for x in kind.__struct_fields__ if x not in converted}
    return kind(**same, **converted)
