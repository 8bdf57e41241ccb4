"""HashKeeper hash sets (`.hsh`): quoted CSV, the MD5 in the column `hash`.

Whether a set is one of known good or of known bad files stands in its other file (`.hke`), not here: the hash set's
purpose says it. Layout: The Sleuth Kit, tsk/hashdb/hk.c; md5deep, files.cpp.
"""

from __future__ import annotations

from hashhub_connectors.forensic_csv import LayoutCSV, ToolHeader


class HashKeeper(LayoutCSV):
    """Reads HashKeeper CSV."""

    name = "hashkeeper"
    summary = "HashKeeper hash sets (.hsh), CSV with MD5"
    whose = "HashKeeper's"
    expected = '"file_id","hashset_id","file_name","directory","hash","file_size", and further ones'
    layouts = (
        ToolHeader(("file_id", "hashset_id", "file_name", "directory", "hash"), (("MD5", "hash"),), "file_size"),
    )
