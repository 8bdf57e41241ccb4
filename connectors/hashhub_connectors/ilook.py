"""iLook hash sets of versions 1, 3 and 4: CSV whose first column is named for the version, and is the MD5.

Kept: MD5, SHA-1 and SHA-256, and the size. SHA-384 and SHA-512, names, paths, times and the set's description are not.
What the column HashType of version 1 may hold is not established; it is not read. Layout: md5deep, files.cpp, which
reads these three.
"""

from __future__ import annotations

from typing import Final

from hashhub_connectors.forensic_csv import LayoutCSV, ToolHeader

_LATER: Final = (("SHA1", "hashsha1"), ("SHA256", "hashsha256"))


class ILook(LayoutCSV):
    """Reads iLook CSV."""

    name = "ilook"
    summary = "iLook hash sets, CSV of versions 1, 3 and 4"
    whose = "iLook's"
    expected = "V1Hash,HashType,SetDescription,…, or V3Hash,HashSHA1,FileName,…, or V4Hash,HashSHA1,…"
    layouts = (
        ToolHeader(("v1hash", "hashtype", "filename"), (("MD5", "v1hash"),), "filesize"),
        *(
            ToolHeader(
                (column, "hashsha1", "filename"), (("MD5", column), *_LATER), "filesize", ("hashsha384", "hashsha512")
            )
            for column in ("v3hash", "v4hash")
        ),
    )
