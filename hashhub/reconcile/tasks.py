"""What can be asked of reconciliation, and what each answers with: one struct each, named as the calls are.

Links and gaps are rows in a file beside it (`ROWS`); an extract and a report are files.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hashhub.model import Reliability
from hashhub.reconcile.results import Agreement, Backend, By, Gap, Gaps, Link, Omission, Overlap

ROWS: Final = "rows.jsonl"
"""In a result's directory: a JSON object a line, each a Link or a Gap."""
FILES: Final = "files"
"""In a result's directory: the directory of its files."""
MAX_TITLE: Final = 200  # characters


class ExtractEntries(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Write an extract, to be downloaded."""


class Compare(msgspec.Struct, frozen=True, kw_only=True):
    """Whose hash sets are looked at: of these contributors, or all, of at least this reliability. Without it, of all
    who were asked for; else of those that somebody has rated (A to E), or all where nobody is.
    """

    contributors: tuple[str, ...] = ()
    min_reliability: Reliability | None = None


class ComputeOverlap(Compare, frozen=True, kw_only=True, tag=True):
    """Count the items that several hold."""

    by: By = By.HASH_SET
    near: bool = False
    engine: Backend = Backend.DUCKDB


class ComputeAgreement(Compare, frozen=True, kw_only=True, tag=True):
    """Compare the statements of several contributors about the same items."""

    engine: Backend = Backend.DUCKDB


class FindLinks(Compare, frozen=True, kw_only=True, tag=True):
    """Find entries about the same media."""

    near: bool = False


class FindGaps(Compare, frozen=True, kw_only=True, tag=True):
    """Find the items that others hold and a jurisdiction (ISO 3166-1 alpha-2) lacks."""

    jurisdiction: str
    near: bool = False


class WriteReport(Compare, frozen=True, kw_only=True, tag=True):
    """Write a page for people. `jurisdictions`: those whose gaps are listed; empty: all."""

    title: str = ""
    jurisdictions: tuple[str, ...] = ()
    near: bool = False


Task = ExtractEntries | ComputeOverlap | ComputeAgreement | FindLinks | FindGaps | WriteReport


class ResultFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a result: its path, with `/`, its SHA-256 in hex and its size in bytes."""

    path: str
    sha256: str
    size: int


class ExtractResult(msgspec.Struct, frozen=True, kw_only=True):
    """An extract to download, the manifest last. `left_out`: hash sets whose terms let nothing leave."""

    revision: int
    hash_sets: tuple[str, ...]
    left_out: tuple[str, ...]
    files: tuple[ResultFile, ...]


class LinksResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many links there are; `is_cut`: more than are kept as rows."""

    revision: int
    exact: int
    near: int
    rows: int
    is_cut: bool = False
    left_out: tuple[Omission, ...] = ()


class GapsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What is lacking, in numbers; `is_cut`: more than are kept as rows."""

    gaps: Gaps
    rows: int
    is_cut: bool = False


class ReportResult(msgspec.Struct, frozen=True, kw_only=True):
    """A page for people, to download."""

    revision: int
    files: tuple[ResultFile, ...]
    left_out: tuple[Omission, ...] = ()


Response = ExtractResult | Overlap | Agreement | LinksResult | GapsResult | ReportResult
RESPONSE_OF: Final[dict[str, type[msgspec.Struct]]] = {
    "ExtractEntries": ExtractResult,
    "ComputeOverlap": Overlap,
    "ComputeAgreement": Agreement,
    "FindLinks": LinksResult,
    "FindGaps": GapsResult,
    "WriteReport": ReportResult,
}
"""By method, the type of its answer."""
ROW_OF: Final[dict[str, type[Link | Gap]]] = {"FindLinks": Link, "FindGaps": Gap}
"""By method, the type of its rows."""
_DECODER: Final = msgspec.json.Decoder(Task)


def method_of(task: Task) -> str:
    """Return the name of the call that asks for it."""
    return type(task).__name__


def task_from_json(text: bytes) -> Task:
    """Return the task that was kept as JSON."""
    task: Task = _DECODER.decode(text)
    return task
