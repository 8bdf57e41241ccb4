"""A hub that strangers share: the history, groups, tokens with several secrets, holds, withdrawals and why, sets of ids
in the feed.

What older entries, reviews and terms say is read as docs/decisions/0009 tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ACTIVE, _QUARANTINED, _COMMITTED, _UPSERT = 1, 2, 3, 2
_WITH_CLASSIFICATIONS = ("vics", "ncmec-xml", "icse-csv")  # formats; a CSV has them where it was mapped so
_FROM_OTHERS = {"IN_BENIGN_SET", "CONTRADICTORY_BINDING"}
# A finding's detail tells whose statement a contradictory binding came from.
_ANOTHERS = "another hash set of the hub binds"
_OWN = ("the item has two different digests", "items with one digest in common", "adds up to two")
_NOBODY = "unknown-recipients"  # an empty group: admits nobody


def upgrade() -> None:
    """Change the tables, then read what they hold anew."""
    _tables()
    c = op.get_bind()
    database_id, last = c.execute(sa.text("SELECT database_id, revision FROM metadata")).one()
    head = hashlib.sha256(b"hashhub-history-1\0" + database_id.encode()).digest()
    secret = os.urandom(32)
    c.execute(sa.text("UPDATE metadata SET head = :head, secret = :secret"), {"head": head, "secret": secret})
    is_new = not last and c.scalar(sa.text("SELECT count(*) FROM contributor")) == 0
    if not is_new:
        history = _History(c, last, head)
        own = _free("operator", _contributors(c))
        _reviews(c, own)
        _identities(c, own)
        _unclassified(c)
        accepted = _benign_sets(c, last + 1)
        history.add("HISTORY_BEGUN", facts={"benign_sets": tuple(accepted), "schema": "0003"})
        for name in accepted:
            history.add("HASH_SET_ACCEPTED", subject=f"hash-sets/{name}", facts={"accepted_revision": last + 1})
        _release(c, history)
        c.execute(sa.text("UPDATE metadata SET registry_revision = revision"))


class _History:
    """Appends events, encoded as version 1 says (hashhub/store/events.py)."""

    def __init__(self, c: sa.Connection, revision: int, head: bytes) -> None:
        self._c, self._revision, self._head = c, revision, head

    def add(
        self,
        kind: str,
        *,
        subject: str = "",
        reason: str = "",
        facts: dict[str, str | int | tuple[str, ...]] | None = None,
    ) -> int:
        self._revision += 1
        now = time.time_ns() // 1_000_000
        body = json.dumps(
            ["hashhub-event-1", self._revision, now, "system", "", "OPERATOR", kind, subject, reason, facts or {}, ""],
            separators=(",", ":"), sort_keys=True, ensure_ascii=False,
        ).encode()  # fmt: skip
        self._head = hashlib.sha256(self._head + body).digest()
        self._c.execute(
            sa.text(
                "INSERT INTO event (revision, time, actor, kind, subject, body, digest) "
                "VALUES (:revision, :time, 'system', :kind, :subject, :body, :digest)"
            ),
            {
                "revision": self._revision,
                "time": now,
                "kind": kind,
                "subject": subject,
                "body": body,
                "digest": self._head,
            },
        )
        self._c.execute(
            sa.text("UPDATE metadata SET revision = :revision, head = :head"),
            {"revision": self._revision, "head": self._head},
        )
        return self._revision


def _tables() -> None:
    op.create_table(
        "event",
        sa.Column("revision", _KEY, autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", _NAME, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("revision"),
    )
    op.create_index("event_actor", "event", ["actor", "revision"])
    op.create_index("event_subject", "event", ["subject", "revision"])
    op.create_table(
        "event_detail",
        sa.Column("revision", _KEY, autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("undo", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("revision"),
    )
    op.create_table(
        "contributor_group",
        sa.Column("id", _NAME, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "used_name",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", _NAME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "succession",
        sa.Column("earlier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("later", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("earlier", "later"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_succession_later", "succession", ["later"])
    op.create_table(
        "withdrawal",
        sa.Column("entry", _KEY, autoincrement=False, nullable=False),
        sa.Column("hash_set", sa.Integer(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.SmallInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("entry"),
    )
    op.create_index("withdrawal_time", "withdrawal", ["hash_set", "time"])
    op.create_table(
        "hold",
        sa.Column("entry", _KEY, autoincrement=False, nullable=False),
        sa.Column("contributor", _NAME, nullable=False),
        sa.Column("hash_set", sa.Integer(), nullable=False),
        sa.Column("effect", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("source_time", sa.Text(), nullable=False),
        sa.Column("traces", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("entry", "effect"),
    )
    op.create_index("ix_hold_contributor", "hold", ["contributor"])
    op.add_column("metadata", sa.Column("head", sa.LargeBinary(), server_default="", nullable=False))
    op.add_column("metadata", sa.Column("secret", sa.LargeBinary(), server_default="", nullable=False))
    op.add_column("metadata", sa.Column("own_contributor", sa.Text(), server_default="", nullable=False))
    op.add_column("entry", sa.Column("expire_time", sa.BigInteger(), nullable=True))
    op.create_index(
        "entry_expire_time",
        "entry",
        ["expire_time"],
        sqlite_where=sa.text("expire_time IS NOT NULL AND state != 3"),
        postgresql_where=sa.text("expire_time IS NOT NULL AND state != 3"),
    )
    op.add_column("import", sa.Column("has_classifications", sa.Boolean(), nullable=True))
    op.add_column("import", sa.Column("actor", sa.Text(), server_default="", nullable=False))
    op.add_column("import", sa.Column("open_revision", sa.BigInteger(), server_default="0", nullable=False))
    op.execute('UPDATE "import" SET open_revision = (SELECT revision FROM metadata)')  # when exactly is not known
    op.add_column("review", sa.Column("actor", sa.Text(), server_default="", nullable=False))
    op.add_column("review", sa.Column("role", sa.SmallInteger(), server_default="1", nullable=False))
    op.add_column("review", sa.Column("sets_aside", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("review", sa.Column("awaits_acceptance", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("review_author", "review", ["author", "create_time"])
    op.drop_index("change_staged", "change")
    op.rename_table("change", "change_before")
    op.create_table(
        "change",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("first_entry", sa.BigInteger(), nullable=False),
        sa.Column("last_entry", sa.BigInteger(), nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=True),
        sa.Column("import", sa.BigInteger(), nullable=False),
        sa.Column("hash_set", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("revision", "ordinal", name="change_rows"),
    )
    op.execute(
        "INSERT INTO change SELECT revision, row_number() OVER (PARTITION BY revision ORDER BY first_entry) - 1, kind, "
        "first_entry, "
        'last_entry, NULL, "import", 0 FROM change_before'
    )
    op.drop_table("change_before")
    op.create_index(
        "change_staged", "change", ["import"], sqlite_where=sa.text("kind = 1"), postgresql_where=sa.text("kind = 1")
    )
    op.drop_table("revision")
    op.rename_table("token", "token_before")
    op.create_table(
        "token",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("last_use_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="token_names"),
    )
    op.create_table(
        "secret",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("token", _NAME, nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["token"], ["token.name"]),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_secret_token", "secret", ["token"])
    op.execute("INSERT INTO token SELECT name, content, NULL FROM token_before")
    op.execute("INSERT INTO secret SELECT digest, name, NULL FROM token_before")
    op.execute("INSERT INTO used_name SELECT 'tokens', name FROM token_before")
    op.drop_table("token_before")


def _contributors(c: sa.Connection) -> set[str]:
    return set(c.execute(sa.text("SELECT id FROM contributor")).scalars())


def _identities(c: sa.Connection, own: str) -> None:
    """Let every token belong to a contributor, `own` being the hub's, and type the recipients of terms."""
    contributors = _contributors(c)
    tokens = {row[0]: json.loads(row[1]) for row in c.execute(sa.text("SELECT name, content FROM token")).all()}
    for name, token in tokens.items():
        role = token["role"]
        belongs_to = token.get("contributor") or (
            own if role in {"OPERATOR", "AUDITOR"} else _free(name.strip("-") or "consumer", contributors | {own})
        )
        if belongs_to not in contributors:
            contributors.add(belongs_to)
            if belongs_to == own:
                c.execute(sa.text("UPDATE metadata SET own_contributor = :own"), {"own": own})
            kind = "CLEARINGHOUSE" if belongs_to == own else "PLATFORM"
            shown = "This hub's operators" if belongs_to == own else name
            content = {"id": belongs_to, "display_name": shown, "kind": kind, "jurisdiction": "ZZ", "reliability": "F"}
            c.execute(
                sa.text("INSERT INTO contributor (id, content) VALUES (:id, :content)"),
                {"id": belongs_to, "content": json.dumps(content).encode()},
            )
        token |= {"contributor": belongs_to, "may_mirror": role != "CONSUMER"}  # who could read the feed still can
        c.execute(
            sa.text("UPDATE token SET content = :content WHERE name = :name"),
            {"name": name, "content": json.dumps(token).encode()},
        )
    has_nobody = False
    for key, content in c.execute(sa.text("SELECT key, content FROM hash_set")).all():
        hash_set = json.loads(content)
        marking = hash_set.get("marking") or {}
        recipients: list[str] = []
        for recipient in marking.get("recipients") or ():
            typed = [f"contributors/{recipient}"] if recipient in contributors else []
            typed += [f"tokens/{recipient}"] if recipient in tokens else []
            # Whoever it was meant to be, it is nobody here; and a list that names nobody must not become one that names
            # everybody.
            has_nobody |= not typed
            recipients += typed or [f"groups/{_NOBODY}"]
        if recipients:
            marking["recipients"] = list(dict.fromkeys(recipients))
            hash_set["marking"] = marking
            c.execute(
                sa.text("UPDATE hash_set SET content = :content WHERE key = :key"),
                {"key": key, "content": json.dumps(hash_set).encode()},
            )
    if has_nobody:
        group = {"id": _NOBODY, "display_name": "Recipients that this hub did not know when it was upgraded"}
        c.execute(
            sa.text("INSERT INTO contributor_group (id, content) VALUES (:id, :content)"),
            {"id": _NOBODY, "content": json.dumps(group).encode()},
        )
        c.execute(sa.text("INSERT INTO used_name (kind, id) VALUES ('groups', :id)"), {"id": _NOBODY})


def _free(wanted: str, taken: set[str]) -> str:
    """Return the wanted id, or with a number the first that is free: a token must not come to belong to an organisation
    by its name.
    """
    number, candidate = 1, wanted
    while candidate in taken:
        number += 1
        candidate = f"{wanted[:58]}-{number}"
    return candidate


def _reviews(c: sa.Connection, operators: str) -> None:
    """Give what a source said a name within its contributor's: it was kept under whatever author the source named.

    Before tokens belong to contributors: one of these may come to be called like an operator's token.
    """
    by_sources = 'SELECT revision FROM "import" WHERE state = 3 AND revision > 0'
    c.execute(
        sa.text(
            "UPDATE review SET author = "  # noqa: S608 - our own text
            "(SELECT h.contributor FROM entry e JOIN hash_set h ON h.key = e.hash_set "
            "WHERE e.id = review.entry) || '/' || CASE WHEN trim(author) = '' THEN 'unnamed' ELSE author END "
            f"WHERE revision IN ({by_sources})"
        )
    )
    # The rest was written by tokens: a contributor's under its id, an operator's under its token's name.
    c.execute(
        sa.text(
            "UPDATE review SET role = 3, actor = author, author = :operators "  # noqa: S608 - our own text
            f"WHERE revision NOT IN ({by_sources}) AND author NOT IN (SELECT id FROM contributor)"
        ),
        {"operators": operators},
    )


def _unclassified(c: sa.Connection) -> None:
    """Mark entries without a classification where their format has them: nobody said that they are harmful."""
    formats = ", ".join(f"'{name}'" for name in _WITH_CLASSIFICATIONS)
    sources = (
        f'SELECT i.key FROM "import" i WHERE i.connector IN ({formats}) '  # noqa: S608 - our own text
        "OR (i.connector = 'csv' AND EXISTS "
        '(SELECT 1 FROM entry x WHERE x.hash_set = i.hash_set AND x."import" = i.key AND x.classification IS NOT NULL))'
    )
    harmful = [
        key
        for key, content in c.execute(sa.text("SELECT key, content FROM hash_set")).all()
        if json.loads(content).get("purpose", "CSAM") in {"CSAM", "EXPLOITATIVE"}
    ]
    imports = [row[0] for row in c.execute(sa.text(sources))]
    for key in harmful:
        for import_key in imports:
            where = 'WHERE hash_set = :hash_set AND "import" = :import AND classification IS NULL AND state = :state'
            wanted = {"hash_set": key, "import": import_key}
            c.execute(
                sa.text(f"UPDATE entry SET reasons = '[\"UNCLASSIFIED\"]' {where}"),  # noqa: S608 - our own text
                {**wanted, "state": _ACTIVE},
            )
            waiting = c.execute(
                sa.text(f"SELECT id, reasons FROM entry {where}"),  # noqa: S608 - our own text
                {**wanted, "state": _QUARANTINED},
            ).all()
            for entry, reasons in waiting:
                codes = json.loads(reasons or "[]")
                if "UNCLASSIFIED" not in codes:
                    c.execute(
                        sa.text("UPDATE entry SET reasons = :reasons WHERE id = :id"),
                        {"id": entry, "reasons": json.dumps([*codes, "UNCLASSIFIED"], separators=(",", ":"))},
                    )


def _benign_sets(c: sa.Connection, revision: int) -> list[str]:
    """Accept the benign sets as they are, so that what they did yesterday they do tomorrow; return their names for the
    operator.
    """
    names: list[str] = []
    for key, contributor, set_id, content in c.execute(
        sa.text("SELECT key, contributor, id, content FROM hash_set ORDER BY contributor, id")
    ).all():
        hash_set = json.loads(content)
        if hash_set.get("purpose") == "BENIGN":
            names.append(f"{contributor}/{set_id}")
            hash_set["accepted_revision"] = revision
            c.execute(
                sa.text("UPDATE hash_set SET content = :content WHERE key = :key"),
                {"key": key, "content": json.dumps(hash_set).encode()},
            )
    return names


def _release(c: sa.Connection, history: _History) -> None:
    """Let entries match whose every reason for quarantine was somebody else's statement."""
    released: dict[str, list[int]] = {}
    rows = c.execute(
        sa.text(
            'SELECT e.id, e.reasons, h.contributor, h.id, e."import" '
            "FROM entry e JOIN hash_set h ON h.key = e.hash_set "
            "WHERE e.state = 2 AND (e.reasons LIKE '%IN_BENIGN_SET%' OR e.reasons LIKE '%CONTRADICTORY_BINDING%') "
            "ORDER BY e.id"
        )
    ).all()
    suspects = {row[0]: row for row in rows if set(json.loads(row[1] or "[]")) <= _FROM_OTHERS}
    details = {
        entry: detail
        for import_key in {row[4] for row in suspects.values()}
        for entry, detail in c.execute(
            sa.text('SELECT entry, detail FROM finding WHERE "import" = :import AND disposition = 2'),
            {"import": import_key},
        )
        if entry in suspects
    }
    for entry, reasons, contributor, set_id, _ in suspects.values():
        detail = details.get(entry, "")
        if "CONTRADICTORY_BINDING" in reasons and (_ANOTHERS not in detail or any(text in detail for text in _OWN)):
            continue
        released.setdefault(f"{contributor}/{set_id}", []).append(entry)
    for name, entries in released.items():
        at = history.add(
            "ENTRIES_RELEASED", subject=f"hash-sets/{name}", reason="OTHERS_STATEMENTS", facts={"entries": len(entries)}
        )
        for ordinal, entry in enumerate(entries):
            c.execute(
                sa.text("UPDATE entry SET state = 1, reasons = NULL, update_revision = :revision WHERE id = :id"),
                {"revision": at, "id": entry},
            )
            c.execute(
                sa.text(
                    'INSERT INTO change (revision, ordinal, kind, first_entry, last_entry, ids, "import", hash_set) '
                    "SELECT :revision, :ordinal, 2, :id, :id, NULL, 0, hash_set FROM entry WHERE id = :id"
                ),
                {"revision": at, "ordinal": ordinal, "id": entry},
            )
