"""Calls about imports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Unpack

from hashhub import connector as connectors
from hashhub import v1, wire
from hashhub.client import contribution, names
from hashhub.client.calls import Calls
from hashhub.client.contribution import ImportOptions, ImportProgress, ImportReport
from hashhub.errors import NotFound
from hashhub.model import Disposition, Finding, Import


class ImportCalls(Calls):
    """Contributing a source, and what became of its items."""

    def import_source(
        self,
        source: Path | BinaryIO | Sequence[Path | BinaryIO],
        *,
        hash_set: str,
        connector: str | None = None,
        progress: Callable[[ImportProgress], None] | None = None,
        **how: Unpack[ImportOptions],
    ) -> ImportReport:
        """Contribute a source to `CONTRIBUTOR/SET` and return what became of every item.

        `source` is a regular file, or a seekable binary stream. It is read twice: for its digest, which makes the
        import idempotent, and for its items. A gzip file, or a ZIP archive with one list in it, is unpacked as it is
        read. `connector` is the name of the format; without it the file says what it is, and is refused
        (UNKNOWN_FORMAT) where that is not clear. Several sources are the parts of one release, in their order and in
        one format: all of them become visible together, or nothing does, and positions begin with the name of the part.
        A run that was cut off is resumed by calling this again with the same arguments. `how`: see ImportOptions.

        Raises MalformedSource or InvalidArgument when the source cannot be read to its end or the hub refuses it as a
        whole; the import is then cancelled and nothing of it stays, unless `keep_on_failure`. Raises Unavailable when
        the hub stays away; what it stored is kept for the resume.
        """
        parts = [source] if isinstance(source, Path) or not isinstance(source, Sequence) else source
        with ExitStack() as stack:
            return contribution.contribute(
                self._transport,
                [stack.enter_context(_opened(part)) if isinstance(part, Path) else part for part in parts],
                connector=None if connector is None else connectors.get(connector),
                parent=names.hash_set(hash_set),
                progress=progress or (lambda _: None),
                **how,
            )

    def get_import(self, name: str) -> Import:
        """Return the import `CONTRIBUTOR/SET/IMPORT`. Raises NotFound. Roles: operator, auditor, contributor."""
        return self._ask(v1.GetImportRequest(name=names.import_(name)), wire.IMPORT.from_pb)

    def list_imports(self, hash_set: str) -> Iterator[Import]:
        """Yield the imports of `CONTRIBUTOR/SET`, newest first. Roles: operator, auditor, contributor."""
        return self._list(v1.ListImportsRequest(parent=names.hash_set(hash_set)), "imports", wire.IMPORT.from_pb)

    def cancel_import(self, name: str) -> Import:
        """End the import `CONTRIBUTOR/SET/IMPORT`, which must not be committed; nothing of it stays.

        Roles: operator, contributor.
        """
        return self._ask(v1.CancelImportRequest(name=names.import_(name)), wire.IMPORT.from_pb)

    def report(self, name: str) -> ImportReport:
        """Return once more what became of every item of `CONTRIBUTOR/SET/IMPORT`.

        Roles: operator, auditor, contributor.
        """
        return contribution.report(self._transport, names.import_(name), self.get_import(name))

    def list_findings(self, name: str, dispositions: Iterable[Disposition] = ()) -> Iterator[Finding]:
        """Yield what became of the items of `CONTRIBUTOR/SET/IMPORT`, in the source's order, but for accepted ones."""
        return self._transport.items(contribution.findings(names.import_(name), dispositions))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise NotFound(
            f"cannot read {str(path)!r}: {e.strerror or type(e).__name__}; check the path and its permissions"
        ) from e
