"""What the files of an extract hold.

    DIR/manifest.json                                     format, database, revision, and every file with its SHA-256
    DIR/hash_sets-SHA.parquet                             one row a hash set
    DIR/dimensions-SHA.parquet                            what each bit of a dimension's column stands for
    DIR/digests/CONTRIBUTOR/SET/BLOCK-SHA.parquet         one row an entry and digest, by blocks of numbers

SHA is the beginning of the file's SHA-256, so no file is ever written over. ACTIVE and QUARANTINED entries are in it.
"""

from __future__ import annotations

from typing import Final

from hashhub.schemes.dimensions import DIMENSIONS

FORMAT: Final = 2  # of the manifest and the columns; a reader refuses another
BLOCK_BITS: Final = 18  # a block holds the entries whose numbers have the same bits above these

DIGEST_COLUMNS: Final[dict[str, str]] = {
    "number": "int64; CONTRIBUTOR/SET/NUMBER is the entry's name",
    "hash_set": "text, CONTRIBUTOR/SET",
    "contributor": "text",
    "jurisdiction": "text, ISO 3166-1 alpha-2 of the contributor",
    "state": "text, ACTIVE or QUARANTINED",
    "algorithm": "text",
    "digest": "bytes",
    "scheme": "text, ID@VERSION; null: not classified",
    "value": "text, the raw value; null: not classified",
    "is_unclassified": "boolean; true: its source could have classified it and did not, so only the listing is known",
    "revision": "int64, of the last change to the entry",
    "create_time": "timestamp in UTC, when the entry's import was committed",
    "stated_time": "timestamp in UTC, the source's own time of the item; without one, create_time",
    **{
        f"d_{name}": "int64, bits of the values that remain possible (dimensions.parquet); 0: nothing is stated"
        for name in DIMENSIONS
        if name != "legal_status"
    },
    "d_legal_status": "list of text, JURISDICTION:STATUS; empty: nothing is stated",
}
"""Columns of a digest file by name: their type and meaning. An entry's other columns are the same in all its rows."""

HASH_SET_COLUMNS: Final[dict[str, str]] = {
    "hash_set": "text, CONTRIBUTOR/SET",
    "contributor": "text",
    "jurisdiction": "text, ISO 3166-1 alpha-2 of the contributor",
    "kind": "text, what kind of organisation the contributor is",
    "reliability": "text, A to F, the operator's word about the contributor",
    "takes_from": "list of text, contributors whose material it takes",
    "purpose": "text, what being in the hash set means",
    "scheme": "text, ID@VERSION; empty: none",
    "tlp": "text, the label of its terms",
    "entries": "int64, of its entries in this extract",
}
"""Columns of hash_sets.parquet by name: their type and meaning."""


def bits_of(dimension: str) -> dict[str, int]:
    """Return the bit of each value of a dimension, in its order. Not for `legal_status`, which has no closed list."""
    return {value: 1 << position for position, value in enumerate(DIMENSIONS[dimension].values)}
