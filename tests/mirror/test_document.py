"""docs/match/mirror.md names every table and column of a copy, and its queries run."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from hashhub.model import Marking
from tests.hub.conftest import digest, item
from tests.hub.receiving import mirroring
from tests.mirror.conftest import Site

PAGE: Final = (Path(__file__).parents[2] / "docs" / "match/mirror.md").read_text("utf-8")


def test_every_table_and_column_is_documented(site: Site, tmp_path: Path) -> None:
    with site.client(site.token(mirroring())) as client, client.mirror(tmp_path / "copy"):
        pass
    chapter = PAGE.partition("## Tables")[2].partition("## Another")[0]
    # Up to the next table's name: each begins with it in bold.
    parts = re.split(r"\*\*(\w+)\*\*", chapter)
    told = {name: set(re.findall(r"`(\w+)`", text)) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    with closing(sqlite3.connect(tmp_path / "copy" / "mirror.db")) as c:
        tables = [row[0] for row in c.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: {row[1] for row in c.execute(f"PRAGMA table_info({table})")} for table in tables}
    assert told.keys() == columns.keys()
    for table, names in columns.items():
        assert names - told[table] <= ({"entry"} if table == "review" else set()), table


def test_its_queries_run(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", item(1))
    directory = tmp_path / "copy"
    with site.client(site.token(mirroring())) as client, client.mirror(directory) as copy:
        copy.update()
    queries = [q for q in re.findall(r"((?:^    .*\n)+)", PAGE, re.MULTILINE) if "SELECT" in q]
    assert len(queries) == 2
    with closing(sqlite3.connect(directory / "mirror.db")) as c:
        [(complete, *_)] = c.execute(queries[0]).fetchall()
        assert complete == 1
        example = queries[1].replace("00000000000000000000000000000001", digest("MD5", 1).digest.hex())
        [(name, *_)] = c.execute(example).fetchall()
        assert name == "alpha/one"
