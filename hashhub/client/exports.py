"""Calls for exports: entries of the hub, and the file that a writer makes of them.

hub ──(1) what may leave, at which revision──> (2) entries in pieces ──> (3) writer ──> file
                                                                            │
                                                                            └── losses, counted by field and reason
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final

import msgspec

from hashhub import schemes, v1, wire
from hashhub.client.definitions import SchemeCalls
from hashhub.client.transport import Calls, Rpc, hash_set_name, unread
from hashhub.connector import Exported, Loss, Writer, check_options, get_writer, reading_options
from hashhub.errors import InvalidArgument, Unavailable
from hashhub.model import Entry, HashSet, now
from hashhub.schemes import Scheme, SchemeValue


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """An export that has begun. `left_out`: hash sets that the terms keep, with how many active entries each has.

    `position`: where the next export of changes goes on; empty for one by a policy. `entry_count`: at most so many
    entries follow. `entries`: read it to its end once; it raises HashHubError, and then nothing of it is of use.
    """

    revision: int
    hash_sets: tuple[HashSet, ...]
    left_out: tuple[tuple[str, int], ...]
    position: str
    entry_count: int
    is_delta: bool
    entries: Iterator[Entry]


class LossGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Losses of one field for one reason: how many, the first entries concerned, and an example's sentence."""

    field: str
    reason: str
    count: int
    entries: tuple[str, ...]
    detail: str


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an export: `taken` entries were read, of which `written` are in the file.

    `losses` are in order of field and reason; those of the file as a whole name no entry. `reads_back` is the connector
    that reads the file, with the options `reading`.
    """

    revision: int
    hash_sets: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...]
    position: str
    is_delta: bool
    taken: int
    written: int
    losses: tuple[LossGroup, ...]
    reads_back: str
    reading: Mapping[str, str]

    @property
    def is_lossless(self) -> bool:
        """Whether the file says everything, of everything that was asked for."""
        return not self.losses and not self.left_out


_EXAMPLES: Final = 3


class ExportCalls(Calls):
    """Exports."""

    def export_entries(
        self,
        *,
        hash_sets: Sequence[str] = (),
        policy: str = "",
        position: str = "",
        file_format: str = "",
        recipient: str = "",
    ) -> Export:
        """Begin an export of `CONTRIBUTOR/SET`s, of what satisfies a policy by itself, or of changes since a position.

        `recipient`: `contributors/ID`, or somebody outside in words. It is written down in the hub's history. Raises
        PermissionDenied where the terms let nothing leave, NotFound, InvalidArgument.
        """
        request = v1.ExportEntriesRequest(
            hash_sets=map(hash_set_name, hash_sets),
            policy=policy,
            position=position if position.isascii() else "?",
            format=file_format,
            recipient=recipient,
        )
        answers = self._transport.stream(Rpc(request=request, read=unread))
        head = next(answers, None)
        if head is None:
            raise Unavailable("the hub ended the export before it began; try again")

        def entries() -> Iterator[Entry]:
            for answer in answers:
                try:
                    yield from wire.exported_from_pb(answer)
                except InvalidArgument as e:
                    raise Unavailable(
                        f"the hub's answer cannot be read ({e.message}); is it of another version?"
                    ) from e

        return Export(
            revision=head.revision,
            hash_sets=tuple(wire.HASH_SET.from_pb(s, f"hash_sets[{i}]") for i, s in enumerate(head.hash_sets)),
            left_out=tuple(
                ("/".join(wire.parse_hash_set(x.hash_set, f"left_out[{i}]")), x.entry_count)
                for i, x in enumerate(head.left_out)
            ),
            position=head.next_position,
            entry_count=head.entry_count,
            is_delta=head.delta,
            entries=entries(),
        )

    def export(
        self,
        target: BinaryIO,
        *,
        writer: str | Writer,
        options: Mapping[str, str] | None = None,
        hash_sets: Sequence[str] = (),
        policy: str = "",
        position: str = "",
        recipient: str = "",
        on_loss: Callable[[Loss], None] = lambda _: None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> ExportReport:
        """Write a file of entries to `target`, streaming, and return what it does not say.

        `writer`: an installed one's name, or one. Selection, recipient and errors as in `export_entries`; besides,
        InvalidArgument for the writer's options and for hash sets that it does not take. After an error `target` holds
        no file. `on_loss` is told each loss; `progress` the entries read, and how many there are at most.
        """
        chosen = get_writer(writer) if isinstance(writer, str) else writer
        given = dict(options or {})
        check_options(chosen, given)
        for _ in chosen.write((), io.BytesIO(), Exported({}, {}, now()), given):  # before the hub notes an export
            pass
        known = self._schemes()
        export = self.export_entries(
            hash_sets=hash_sets, policy=policy, position=position, file_format=chosen.name, recipient=recipient
        )
        exported = Exported(
            hash_sets={s.name: s for s in export.hash_sets},
            schemes=known,
            time=now(),
            is_delta=export.is_delta,
        )
        taken = left = 0

        def counted() -> Iterator[Entry]:
            nonlocal taken
            for entry in export.entries:
                taken += 1
                if taken % 1000 == 0:
                    progress(taken, max(export.entry_count, taken))
                yield entry

        losses: dict[tuple[str, str], LossGroup] = {}
        for loss in chosen.write(counted(), target, exported, given):
            left += loss.field == "entry"
            on_loss(loss)
            key = (loss.field, loss.reason)
            if (group := losses.get(key)) is None:
                examples = (loss.entry,) if loss.entry else ()
                losses[key] = LossGroup(
                    field=loss.field, reason=loss.reason, count=1, entries=examples, detail=loss.detail
                )
            else:
                more = (loss.entry,) if len(group.entries) < _EXAMPLES and loss.entry else ()
                losses[key] = msgspec.structs.replace(group, count=group.count + 1, entries=group.entries + more)
        progress(taken, taken)
        return ExportReport(
            revision=export.revision,
            hash_sets=tuple(s.name for s in export.hash_sets),
            left_out=export.left_out,
            position=export.position,
            is_delta=export.is_delta,
            taken=taken,
            written=taken - left,
            losses=tuple(losses[key] for key in sorted(losses)),
            reads_back=chosen.reads_back,
            reading=reading_options(chosen, exported, given),
        )

    def _schemes(self) -> dict[str, Scheme]:
        """Return by id the schemes that come with hashhub, and those that the hub's operator added."""
        known = {s.name: s for s in schemes.load().list()}
        for table in SchemeCalls(self._transport).list_schemes():
            if table.id not in known:
                known[table.id] = schemes.of_values(
                    table.id,
                    region=table.region,
                    status=table.status,
                    title=table.title,
                    source=table.source,
                    values=(SchemeValue(value=v.value, title=v.title, dimensions=v.dimensions) for v in table.values),
                    is_retired=table.retire_time is not None,
                )
        registry = schemes.SchemeRegistry(known.values())
        return {s.id: registry.get(s.id) for s in registry.list()}
