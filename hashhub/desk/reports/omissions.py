"""Which parts of a draft a renderer has written, so that the rest is named."""

from __future__ import annotations

from hashhub.desk.reports.draft import Draft, Dropped, said


class OmissionTracker:
    """What became of each thing that a draft says. What nobody took is dropped; there is no third way."""

    def __init__(self, draft: Draft) -> None:
        self._said = [path for path, _ in said(draft)]
        self._taken: set[str] = set()
        self._why: dict[str, str] = {}

    def takes(self, *paths: str) -> None:
        """Note that these, and what lies below them, stand in the report."""
        self._taken.update(paths)

    def drops(self, path: str, why: str) -> None:
        """Note why this, and what lies below it, does not."""
        self._why[path] = why

    def dropped(self, otherwise: str) -> tuple[Dropped, ...]:
        """Return what the report lacks; `otherwise`: why, where nothing else was noted."""
        return tuple(
            Dropped(path, self._of(path) or otherwise)
            for path in self._said
            if self._of(path) or not any(_is_below(path, taken) for taken in self._taken)
        )

    def _of(self, path: str) -> str:
        return next((why for above, why in self._why.items() if _is_below(path, above)), "")


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))
