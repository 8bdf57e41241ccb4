"""Names of HMA's own types, of which its tests of the index's cache make some."""

from typing import Any

TMatchByBank = dict[str, list[dict[str, Any]]]
IndexCache = dict[str, Any]
