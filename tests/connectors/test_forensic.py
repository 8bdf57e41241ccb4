"""Hash sets of forensic tools: what is read, what is not kept, and files that are made to deceive."""

from __future__ import annotations

import gzip
import io
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.connector import HEAD_BYTES, Certainty, Connector, discover
from hashhub.errors import MalformedSource
from hashhub.hashes import Hash
from hashhub.model import Record, Reject
from hashhub.testing.connectors import ConnectorContract, Trickle
from hashhub_connectors import sqlite_file
from hashhub_connectors.encase import EnCase
from hashhub_connectors.hashkeeper import HashKeeper
from hashhub_connectors.ilook import ILook
from hashhub_connectors.kdb import KDB
from hashhub_connectors.nsrl import NSRL

# Digests of the texts synthetic-1 and so on, or of nothing at all.
MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
BENIGN = ("purpose:benign",)

RDS2 = f""""SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\r
"{SHA1.upper()}","{MD5.upper()}","00000000","synthetic ""x"", y.txt",12345,1,"0",""\r
"{SHA1[:-1].upper()}","{MD5[:-1].upper()}","00000000","caf\u00e9.txt",1,1,"0",""\r
"","{MD5.upper()}","00000000","unmatched " quote.txt",1,1,"0",""\r
"","{MD5.upper()}","00000000","short"\r
"","","00000000","nothing",1,1,"0",""\r
"{SHA1.upper()}","","00000000","large",x,1,"0",""\r
"""
RDS2_OLD = f"""\ufeff"SHA-1","FileName","FileSize","ProductCode","OpSystemCode","MD4","MD5","CRC32","SpecialCode"
"{SHA1.upper()}","a, b",12,1,"WIN","{MD5.upper()}","{MD5.upper()}","00000000",""
"""
HASHKEEPER = f""""file_id","hashset_id","file_name","directory","hash","file_size","date_modified","time_modified",\
"time_zone","comments","date_accessed","time_accessed"
1,"2","a.dll","C:\\x","{MD5.upper()}",7,"1/2/2000","10:00","PST","a case","",""
2,"2","b.dll","C:\\x","",7,"1/2/2000","10:00","PST","","",""
"""
ILOOK_1 = f"""V1Hash,HashType,SetDescription,FileName,FilePath,FileSize
{MD5.upper()},?,a set,a.txt,C:\\x,7
"""
ILOOK_4 = f"""V4Hash,HashSHA1,FileName,FilePath,FileSize,HashSHA256,HashSHA384,HashSHA512,CreateTime,ModTime,\
LastAccessTime
{MD5},{SHA1},a.txt,C:\\x,7,{SHA256},{"ab" * 48},{"ab" * 64},,,
{MD5},,b.txt,C:\\x,,,,,,,
"""


def encase(*digests: bytes, stated: int | None = None) -> bytes:
    count = len(digests) if stated is None else stated
    header = b"HASH\r\n\xff\x00\x02\0\0\0\1\0\0\0" + count.to_bytes(4, "little")
    name = "synthetic".encode("utf-16-le")
    return (header.ljust(1032, b"\0") + name).ljust(1152, b"\0") + b"".join(d + b"\0\0" for d in digests)


def database(*statements: str | tuple[str, tuple[Any, ...]]) -> bytes:
    """The bytes of a database made by these statements."""
    with sqlite3.connect(":memory:") as connection:
        for statement in statements:
            connection.execute(*([statement] if isinstance(statement, str) else statement))
        connection.commit()
        made = connection.serialize()
    connection.close()
    return made


def kdb(*rows: tuple[Any, ...], version: str = "1", more: Iterable[str] = ()) -> bytes:
    return database(
        "CREATE TABLE db_properties (name TEXT NOT NULL, value TEXT)",
        ("INSERT INTO db_properties VALUES ('Schema Version', ?)", (version,)),
        "CREATE TABLE hashes (id INTEGER PRIMARY KEY AUTOINCREMENT, md5 BINARY(16) UNIQUE, sha1 BINARY(20), "
        "sha2_256 BINARY(32))",
        "CREATE TABLE file_names (name TEXT NOT NULL, hash_id INTEGER NOT NULL, PRIMARY KEY(name, hash_id))",
        "CREATE TABLE comments (comment TEXT NOT NULL, hash_id INTEGER NOT NULL, PRIMARY KEY(comment, hash_id))",
        "INSERT INTO comments VALUES ('a case', 1)",
        *(("INSERT INTO hashes (md5, sha1, sha2_256) VALUES (?, ?, ?)", row) for row in rows),
        *more,
    )


KDB_ROWS = (
    (bytes.fromhex(MD5), bytes.fromhex(SHA1), bytes.fromhex(SHA256)),
    (bytes(range(15)), None, None),
    (MD5.upper()[::-1], None, b""),
    (None, None, None),
    (None, 7, None),
)
MINIMAL = database(
    "CREATE TABLE FILE (sha256 TEXT, sha1 TEXT, md5 TEXT, crc32 TEXT, file_name TEXT, file_size INTEGER, "
    "package_id INTEGER)",
    ("INSERT INTO FILE VALUES (?, ?, ?, '00000000', 'a', 7, 1)", (SHA256.upper(), SHA1.upper(), MD5.upper())),
    ("INSERT INTO FILE VALUES (?, '', NULL, '00000000', 'b', -7, 1)", (SHA256[::-1].upper(),)),
    "INSERT INTO FILE VALUES ('', '', '', '', '', 0, 1)",
)
# Views over METADATA, as a full release has them.
FULL = database(
    "CREATE TABLE METADATA (object_id INTEGER, sha256 TEXT, sha1 TEXT, md5 TEXT, extension TEXT, bytes INTEGER)",
    "CREATE VIEW FILE AS SELECT UPPER(sha256) AS sha256, UPPER(sha1) AS sha1, UPPER(md5) AS md5, bytes AS file_size, "
    "object_id AS package_id FROM METADATA",
    "CREATE VIEW DISTINCT_HASH AS SELECT DISTINCT sha256, sha1, md5 FROM FILE",
    ("INSERT INTO METADATA VALUES (1, ?, ?, ?, 'txt', 7)", (SHA256, SHA1, MD5)),
)


def read(connector: Connector, data: bytes) -> list[Record | Reject]:
    return list(connector.read(io.BytesIO(data), {}))


def refusal(connector: Connector, data: bytes) -> MalformedSource:
    with pytest.raises(MalformedSource) as raised:
        read(connector, data)
    return raised.value


def records(connector: Connector, data: bytes) -> list[Record]:
    return [r for r in read(connector, data) if isinstance(r, Record)]


class TestNSRLRDS2(ConnectorContract):
    connector = NSRL()
    sample = RDS2.encode("latin-1")
    items = 6


class TestNSRLOldForm(ConnectorContract):
    connector = NSRL()
    sample = RDS2_OLD.encode()
    items = 1


class TestNSRLRDS3(ConnectorContract):
    connector = NSRL()
    sample = MINIMAL
    items = 3
    self_delimiting = True
    truncation_step = 997


class TestKDB(ConnectorContract):
    connector = KDB()
    sample = kdb(*KDB_ROWS)
    items = 5
    self_delimiting = True
    truncation_step = 997


class TestEnCase(ConnectorContract):
    connector = EnCase()
    sample = encase(bytes.fromhex(MD5), bytes(range(16)))
    items = 2
    self_delimiting = True
    truncation_step = 7


class TestEnCaseWithoutANumber(ConnectorContract):
    connector = EnCase()
    sample = encase(bytes.fromhex(MD5), bytes(range(16)), stated=0)
    items = 2
    truncation_step = 7


class TestHashKeeper(ConnectorContract):
    connector = HashKeeper()
    sample = HASHKEEPER.encode()
    items = 2


class TestILook1(ConnectorContract):
    connector = ILook()
    sample = ILOOK_1.encode()
    items = 1


class TestILook4(ConnectorContract):
    connector = ILook()
    sample = ILOOK_4.encode()
    items = 2


SAMPLES = [
    ("nsrl", RDS2.encode("latin-1"), Certainty.CERTAIN),
    ("nsrl", RDS2_OLD.encode(), Certainty.CERTAIN),
    ("nsrl", RDS2.encode("utf-16"), Certainty.CERTAIN),
    ("nsrl", MINIMAL, Certainty.LIKELY),
    ("nsrl", FULL, Certainty.LIKELY),
    ("kdb", kdb(*KDB_ROWS), Certainty.CERTAIN),
    ("encase", encase(), Certainty.CERTAIN),
    ("hashkeeper", HASHKEEPER.encode(), Certainty.CERTAIN),
    ("ilook", ILOOK_1.encode(), Certainty.CERTAIN),
    ("ilook", ILOOK_4.replace("\n", "\r\n").encode(), Certainty.CERTAIN),
]
OURS = ("nsrl", "kdb", "encase", "hashkeeper", "ilook")


@pytest.mark.parametrize(("name", "data", "certainty"), SAMPLES)
def test_each_file_is_told_by_its_own_connector_alone(name: str, data: bytes, certainty: Certainty) -> None:
    guesses = {n: cast("Any", discover()[n]).detect(data[:HEAD_BYTES], "") for n in OURS}
    assert {n for n, guess in guesses.items() if guess is not None} == {name}
    assert guesses[name].certainty is certainty
    assert guesses[name].why


@given(st.binary(max_size=300))
def test_detection_never_raises(head: bytes) -> None:
    for name in OURS:
        for start in (b"", b"SQLite format 3\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"SHA-1"'):
            cast("Any", discover()[name]).detect(start + head, "x")


class TestWhatIsKept:
    def test_rds2_keeps_digests_and_size_and_says_once_what_is_left_out(self) -> None:
        first, *others = records(NSRL(), RDS2.encode("latin-1"))
        assert first.hashes == (Hash("MD5", bytes.fromhex(MD5)), Hash("SHA1", bytes.fromhex(SHA1)))
        assert (first.media_size, first.tags, first.value, first.external_id, first.extra) == (
            12345,
            BENIGN,
            "",
            "",
            "",
        )
        assert [f.algorithm for f in first.faults] == ["CRC32"]
        assert not any(f.algorithm == "CRC32" for r in others for f in r.faults)

    def test_rds2_accounts_for_what_it_cannot_read(self) -> None:
        reasons = {r.position: r.reason for r in read(NSRL(), RDS2.encode("latin-1")) if isinstance(r, Reject)}
        assert reasons == {
            "line 3": "DIGEST_WRONG_LENGTH",
            "line 4": "UNPARSABLE_LINE",
            "line 5": "WRONG_COLUMN_COUNT",
            "line 6": "NO_HASH",
        }

    def test_the_old_form_has_its_md5_elsewhere_and_an_md4_that_is_no_md5(self) -> None:
        old = RDS2_OLD.replace(f'"WIN","{MD5.upper()}"', f'"WIN","{"AB" * 16}"')
        (record,) = records(NSRL(), old.encode())
        assert record.hashes[0] == Hash("MD5", bytes.fromhex(MD5))
        assert sorted(f.algorithm for f in record.faults) == ["CRC32", "MD4"]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_encoding_and_line_ends_change_nothing(self, encoding: str, end: str) -> None:
        text = RDS2.replace("\r\n", end)
        assert read(NSRL(), text.encode(encoding)) == read(NSRL(), RDS2.encode("latin-1"))

    def test_rds3_minimal(self) -> None:
        first, second, nothing = read(NSRL(), MINIMAL)
        assert isinstance(first, Record)
        assert isinstance(second, Record)
        assert {h.algorithm for h in first.hashes} == {"MD5", "SHA1", "SHA256"}
        assert (first.position, first.media_size, first.tags) == ("FILE row 1", 7, BENIGN)
        assert [h.algorithm for h in second.hashes] == ["SHA256"]
        assert [f.reason for f in second.faults] == ["BAD_FIELD"]
        assert isinstance(nothing, Reject)

    def test_a_full_rds3_is_read_from_its_table_and_not_through_its_views(self) -> None:
        (record,) = records(NSRL(), FULL)
        assert (record.position, record.media_size) == ("METADATA row 1", 7)
        assert {h.algorithm for h in record.hashes} == {"MD5", "SHA1", "SHA256"}

    def test_kdb_reads_bytes_and_texts_and_no_comments(self) -> None:
        first, short, text, nothing, number = read(KDB(), kdb(*KDB_ROWS))
        assert isinstance(first, Record)
        assert [h.algorithm for h in first.hashes] == ["MD5", "SHA1", "SHA256"]
        assert isinstance(text, Record)
        assert text.hashes == (Hash("MD5", bytes.fromhex(MD5[::-1])),)
        assert [r.reason for r in (short, nothing, number) if isinstance(r, Reject)] == [
            "DIGEST_WRONG_LENGTH",
            "NO_HASH",
            "NO_HASH",
        ]
        assert "case" not in repr(read(KDB(), kdb(*KDB_ROWS)))

    def test_hashkeeper_keeps_nothing_of_the_case(self) -> None:
        (record,) = records(HashKeeper(), HASHKEEPER.encode())
        assert record == Record(position="line 2", hashes=(Hash("MD5", bytes.fromhex(MD5)),), media_size=7)

    def test_ilook_says_once_which_digests_no_hub_matches(self) -> None:
        first, second = records(ILook(), ILOOK_4.encode())
        assert [h.algorithm for h in first.hashes] == ["MD5", "SHA1", "SHA256"]
        assert [f.algorithm for f in first.faults] == ["HASHSHA384", "HASHSHA512"]
        assert second.faults == ()
        assert records(ILook(), ILOOK_1.encode())[0].hashes == (Hash("MD5", bytes.fromhex(MD5)),)

    @given(st.lists(st.binary(min_size=16, max_size=16), max_size=5))
    def test_encase_gives_every_digest(self, digests: list[bytes]) -> None:
        assert [r.hashes for r in records(EnCase(), encase(*digests))] == [(Hash("MD5", d),) for d in digests]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "text", ["INSERT INTO FILE VALUES (1);", "BEGIN;\nUPDATE x", "-- delta\n", "\ufeffdelete x"]
    )
    def test_a_delta_script_is_named_and_not_run(self, text: str) -> None:
        assert "SQL script" in refusal(NSRL(), text.encode()).message

    @pytest.mark.parametrize("connector", [NSRL(), HashKeeper(), ILook()])
    @pytest.mark.parametrize("data", [b"", b"\n\n", b"md5\n" + MD5.encode(), b'"SHA-1","MD5\n', b"\0" * 9])
    def test_other_headers(self, connector: Connector, data: bytes) -> None:
        assert refusal(connector, data).position

    def test_a_header_that_names_a_digest_twice(self) -> None:
        text = '"SHA-1","MD5","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\n'
        assert "md5 twice" in refusal(NSRL(), text.encode()).message

    def test_an_encase_set_with_fewer_hashes_than_it_states(self) -> None:
        assert "states 3 hashes" in refusal(EnCase(), encase(bytes(16), stated=3)).message

    def test_a_kdb_of_another_version(self) -> None:
        assert "'2'" in refusal(KDB(), kdb(version="2")).message
        assert "'none'" in refusal(KDB(), database("CREATE TABLE hashes (md5 BLOB)")).message

    def test_a_database_without_the_tables(self) -> None:
        assert "RDSv3" in refusal(NSRL(), database("CREATE TABLE x (md5 TEXT)")).message
        views = database("CREATE TABLE x (md5 TEXT)", "CREATE VIEW FILE AS SELECT md5 FROM x")
        assert "FILE is a view" in refusal(NSRL(), views).message

    def test_a_wrong_number_of_pages(self) -> None:
        cut = kdb(*KDB_ROWS)[:-4096]
        assert "cut off" in refusal(KDB(), cut).message


def rooted(data: bytes, statement: str, *values: str) -> bytes:
    """The database with its schema rewritten by hand, as no SQL could."""
    with sqlite3.connect(":memory:") as connection:
        connection.deserialize(data)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(statement, values)
        connection.commit()
        made = connection.serialize()
    connection.close()
    return made


BOMB = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT hex(i) AS md5, hex(i) AS sha1, hex(i) AS sha256 FROM n"
)


class TestHostileDatabases:
    def test_a_view_that_never_ends_is_not_asked(self) -> None:
        began = time.monotonic()
        assert "view" in refusal(NSRL(), database(f"CREATE VIEW FILE AS {BOMB}")).message
        refusal(KDB(), database("CREATE TABLE x (y)", f"CREATE VIEW hashes AS {BOMB}"))
        assert time.monotonic() - began < 20

    def test_a_view_that_the_schema_calls_a_table_is_not_asked(self) -> None:
        plain = database("CREATE TABLE FILE (md5 TEXT)")
        disguised = rooted(plain, "UPDATE sqlite_master SET sql = ?", f"CREATE VIEW FILE AS {BOMB}")
        assert refusal(NSRL(), disguised).position

    def test_a_virtual_table_is_not_opened(self) -> None:
        sql = "INSERT INTO sqlite_master VALUES ('table', 'FILE', 'FILE', 0, ?)"
        made = rooted(database("CREATE TABLE x (md5 TEXT)"), sql, "CREATE VIRTUAL TABLE FILE USING anything(md5, sha1)")
        assert "FILE is a view" in refusal(NSRL(), made).message

    def test_computed_columns_are_not_computed(self) -> None:
        made = database(
            "CREATE TABLE FILE (x TEXT, md5 TEXT GENERATED ALWAYS AS (hex(zeroblob(16))), sha1 TEXT, sha256 TEXT)",
            "INSERT INTO FILE (x) VALUES (1)",
        )
        assert refusal(NSRL(), made).position

    def test_a_huge_value_is_refused(self) -> None:
        made = kdb((b"x" * (2 << 20), None, None))
        assert "longer than" in refusal(KDB(), made).message

    def test_more_rows_than_the_file_can_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "MIN_ROW", 1 << 30)
        assert "more rows" in refusal(KDB(), kdb(*KDB_ROWS)).message

    def test_a_tree_whose_branches_meet_again_ends(self) -> None:
        """Interior pages may name one child many times: few pages, and more rows than anybody could read."""
        page, levels, fan = 4096, 6, 300
        data = bytearray(kdb(*((n.to_bytes(16), None, None) for n in range(2_000))))
        root = next(start for start in range(page, len(data), page) if data[start] == 5)  # an interior page of a table
        leaf = next(start for start in range(page, len(data), page) if data[start] == 13) // page + 1
        first = len(data) // page + 1
        for level in range(levels):
            child = first + level + 1 if level < levels - 1 else leaf
            cells = b"".join(child.to_bytes(4) + b"\x01" for _ in range(fan))
            content = page - len(cells)
            head = b"\x05\0\0" + fan.to_bytes(2) + content.to_bytes(2) + b"\0" + child.to_bytes(4)
            places = b"".join((content + 5 * i).to_bytes(2) for i in range(fan))
            data += (head + places).ljust(content, b"\0") + cells
        data[root : root + page] = data[(first - 1) * page : first * page]
        data[28:32] = (len(data) // page).to_bytes(4)
        began = time.monotonic()
        assert "more rows" in refusal(KDB(), bytes(data)).message
        assert time.monotonic() - began < 20

    def test_steps_between_two_rows_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "STEP", 1)
        monkeypatch.setattr(sqlite_file, "MOST_LOOKS_AT_TABLES", 3)
        assert "too many steps" in refusal(KDB(), kdb(*KDB_ROWS)).message

    def test_nothing_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "set.kdb"
        path.write_bytes(kdb(*KDB_ROWS))
        path.chmod(0o400)
        with path.open("rb") as source:
            assert len(list(KDB().read(source, {}))) == 5
        assert [p.name for p in tmp_path.iterdir()] == ["set.kdb"]
        assert path.read_bytes() == kdb(*KDB_ROWS)


class TestWhereADatabaseComesFrom:
    def test_a_file_is_read_where_it_lies(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "MAX_SPOOL", 0)
        path = tmp_path / "a ?#%20 set.db"
        path.write_bytes(MINIMAL)
        with path.open("rb") as source:
            assert list(NSRL().read(source, {})) == read_spooled(MINIMAL, monkeypatch)

    def test_a_stream_is_copied_up_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "MAX_SPOOL", 1000)
        message = refusal(NSRL(), MINIMAL).message
        assert "give the path of the file" in message

    def test_a_compressed_file_is_not_mistaken_for_what_it_holds(self, tmp_path: Path) -> None:
        path = tmp_path / "set.kdb.gz"
        path.write_bytes(gzip.compress(kdb(*KDB_ROWS)))
        with gzip.open(path) as source:
            assert len(list(KDB().read(cast("BinaryIO", source), {}))) == 5

    def test_a_file_that_was_replaced_under_its_name_is_not_read_for_it(self, tmp_path: Path) -> None:
        path = tmp_path / "set.kdb"
        path.write_bytes(kdb(*KDB_ROWS))
        with path.open("rb") as source:
            path.unlink()
            path.write_bytes(kdb())
            assert len(list(KDB().read(source, {}))) == 5

    @pytest.mark.parametrize("suffix", ["-wal", "-journal"])
    def test_unfinished_writes_beside_it_are_not_ignored(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / "set.kdb"
        path.write_bytes(kdb(*KDB_ROWS))
        (tmp_path / f"set.kdb{suffix}").write_bytes(b"x")
        with path.open("rb") as source, pytest.raises(MalformedSource, match="unfinished writes"):
            list(KDB().read(source, {}))

    def test_space_that_autopsy_reserves_behind_the_pages_is_no_damage(self) -> None:
        assert len(read(KDB(), kdb(*KDB_ROWS) + bytes(1 << 20))) == 5

    def test_rows_are_streamed(self) -> None:
        many = kdb(*((n.to_bytes(16), None, None) for n in range(5_000)))
        first = next(iter(KDB().read(cast("BinaryIO", Trickle(many, 1 << 16)), {})))
        assert first.position == "hashes row 1"


def read_spooled(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[Record | Reject]:
    monkeypatch.setattr(sqlite_file, "MAX_SPOOL", 1 << 30)
    return read(NSRL(), data)
