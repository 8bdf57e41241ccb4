"""What is asked of an extract on this machine, without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hashhub import schemes
from hashhub.errors import missing_extra

if TYPE_CHECKING:
    from hashhub.reconcile.results import Progress
    from hashhub.reconcile.tasks import Response, Task


def ask(task: Task, directory: Path, out: Path, *, progress: Progress) -> Response:
    """Do a task over the extract in `directory`, with rows and files in `out`. Raises FailedPrecondition without
    `hashhub[reconcile]`, and as `Extract.open`.
    """
    try:
        from hashhub.reconcile.extract import Extract
        from hashhub.reconcile.work import compute

        extract = Extract.open(directory)
        registry, _ = schemes.with_stored(schemes.load(), extract.manifest.schemes)
        return compute(task, extract, out, progress, registry)
    except ModuleNotFoundError as e:
        raise missing_extra(e, "reconcile") from e
