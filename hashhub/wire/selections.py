"""Which entries are meant, what is done to them, and what waits for somebody: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import (
    MAX_TEXT,
    EntryAction,
    EntryChanges,
    EntryState,
    QueueItem,
    QueueKind,
    Selection,
    SkippedEntries,
    WithdrawalReason,
)
from hashhub.wire import names
from hashhub.wire.entries import (
    entry_states_to_pb,
    hash_to_pb,
    withdrawal_reason_from_pb,
    withdrawal_reason_to_pb,
)
from hashhub.wire.fields import EnumMap, Sendable, build, checked, enums, read_hash, read_time, refuse, timestamp

_ACTION: Final = EnumMap(EntryAction, v1.EntryAction, "ENTRY_ACTION_")
_QUEUE_KIND: Final = EnumMap(QueueKind, v1.QueueKind, "QUEUE_KIND_")
_ENTRY_STATE: Final = EnumMap(EntryState, v1.EntryState, "ENTRY_STATE_")


def selection_to_pb(selection: Selection) -> v1.EntrySelection:
    """Return the message. Names are those that commands use."""
    for name in ("names", "external_ids", "imports", "reasons", "tags", "series"):
        if isinstance(getattr(selection, name), str):  # each of its characters would be a value
            raise InvalidArgument.field(f"selection.{name}", "must be a sequence of texts, and not one text alone")
    with Sendable("selection", expected="Selection, its hashes a sequence of Hash: hashhub.hashes.parse_pair(…)"):
        return v1.EntrySelection(
            parent=_parent_name(selection.hash_set or selection.contributor),
            names=[names.resource_name("Entry", name) for name in selection.names],
            hashes=map(hash_to_pb, selection.hashes),
            external_ids=selection.external_ids,
            imports=[names.resource_name("Import", name) for name in selection.imports],
            states=entry_states_to_pb(selection.states),
            reasons=selection.reasons,
            dimensions=[
                v1.DimensionCriterion(dimension=name, values=values) for name, values in selection.dimensions.items()
            ],
            tags=selection.tags,
            series=selection.series,
            text=selection.text,
        )


def selection_from_pb(pb: v1.EntrySelection, at: str = "selection") -> Selection:
    """Return the selection. Raises InvalidArgument with all that is wrong."""
    wrong: list[Violation] = []
    contributor, hash_set = (checked(wrong, _parse_parent, pb.parent, f"{at}.parent") if pb.parent else None) or (
        "",
        "",
    )
    chosen = [checked(wrong, names.parse_entry, name, f"{at}.names[{i}]") for i, name in enumerate(pb.names)]
    imports = [checked(wrong, names.parse_import, name, f"{at}.imports[{i}]") for i, name in enumerate(pb.imports)]
    dimensions: dict[str, tuple[str, ...]] = {}
    for i, criterion in enumerate(pb.dimensions):
        if criterion.dimension in dimensions:
            wrong.append(Violation(f"{at}.dimensions[{i}].dimension", "stands there twice", "NOT_ALLOWED"))
        dimensions[criterion.dimension] = tuple(criterion.values)
    for field in ("external_ids", "reasons", "tags", "series"):
        for i, text in enumerate(getattr(pb, field)):
            if not text or len(text) > MAX_TEXT or "\0" in text:
                problem = f"must be 1 to {MAX_TEXT} characters without NUL"
                wrong.append(Violation(f"{at}.{field}[{i}]", problem, "REQUIRED" if not text else "TOO_LONG"))
    hashes = tuple([read_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes)])
    try:
        states = enums(_ENTRY_STATE, pb.states, f"{at}.states")
    except InvalidArgument as e:
        states = ()
        wrong += e.violations
    refuse(wrong)
    return Selection(
        contributor=contributor,
        hash_set=hash_set,
        names=tuple("/".join(map(str, parts)) for parts in chosen if parts),
        hashes=hashes,
        external_ids=tuple(pb.external_ids),
        imports=tuple("/".join(parts) for parts in imports if parts),
        states=states,
        reasons=tuple(pb.reasons),
        dimensions=dimensions,
        tags=tuple(pb.tags),
        series=tuple(pb.series),
        text=pb.text,
    )


def entry_action_to_pb(action: EntryAction) -> v1.EntryAction:
    number: v1.EntryAction = _ACTION.to_pb(action)
    return number


def entry_action_from_pb(number: int, at: str = "action") -> EntryAction:
    """Return what is to be done. Raises InvalidArgument when it is not stated."""
    wrong: list[Violation] = []
    action = _ACTION.from_pb(number, at, wrong)
    refuse(wrong)
    return action


def optional_reason_to_pb(reason: WithdrawalReason | None) -> v1.WithdrawalReason:
    unstated: v1.WithdrawalReason = v1.WithdrawalReason.WITHDRAWAL_REASON_UNSPECIFIED
    return unstated if reason is None else withdrawal_reason_to_pb(reason)


def optional_reason_from_pb(number: int) -> WithdrawalReason | None:
    """Return why entries are withdrawn, None when that is not stated."""
    return withdrawal_reason_from_pb(number) if number else None


def entry_changes_to_pb(done: EntryChanges) -> v1.ChangeEntriesResponse:
    return v1.ChangeEntriesResponse(
        selected_count=done.selected,
        changed_count=done.changed,
        pending_count=done.pending,
        also_count=done.also,
        skipped=[
            v1.SkippedEntries(
                reason=x.reason, count=x.count, examples=[names.resource_name("Entry", n) for n in x.examples]
            )
            for x in done.skipped
        ],
        examples=[names.resource_name("Entry", name) for name in done.examples],
        unmatched_count=done.unmatched,
        unmatched_examples=done.unmatched_examples,
        change_revision=done.revision,
    )


def entry_changes_from_pb(pb: v1.ChangeEntriesResponse, action: EntryAction, *, validate_only: bool) -> EntryChanges:
    """Return what was done; the action and whether it was only tried stand in the request."""
    return EntryChanges(
        action=action,
        selected=pb.selected_count,
        changed=pb.changed_count,
        pending=pb.pending_count,
        also=pb.also_count,
        skipped=tuple(
            SkippedEntries(reason=x.reason, count=x.count, examples=tuple(map(_entry, x.examples))) for x in pb.skipped
        ),
        examples=tuple(map(_entry, pb.examples)),
        unmatched=pb.unmatched_count,
        unmatched_examples=tuple(pb.unmatched_examples),
        revision=pb.change_revision,
        validate_only=validate_only,
    )


def queue_item_to_pb(item: QueueItem) -> v1.QueueItem:
    return v1.QueueItem(
        kind=_QUEUE_KIND.to_pb(item.kind),
        parent=_parent_name(item.hash_set or item.contributor),
        reason=item.reason,
        count=item.count,
        is_capped=item.is_capped,
        example=_example_name(item),
        actor=names.token_name(item.actor) if item.actor else "",
        since=timestamp(item.since),
    )


def queue_item_from_pb(pb: v1.QueueItem, at: str = "queue_item") -> QueueItem:
    wrong: list[Violation] = []
    contributor, hash_set = checked(wrong, _parse_parent, pb.parent, f"{at}.parent") or ("", "")
    values = {
        "kind": _QUEUE_KIND.from_pb(pb.kind, f"{at}.kind", wrong),
        "hash_set": hash_set,
        "contributor": hash_set.partition("/")[0] or contributor,
        "reason": pb.reason,
        "count": pb.count,
        "is_capped": pb.is_capped,
        "name": "/".join(pb.example.split("/")[1::2]),
        "actor": (checked(wrong, names.parse_token, pb.actor, f"{at}.actor") or "") if pb.actor else "",
        "since": read_time(pb, "since", at, wrong),
    }
    return build(QueueItem, values, wrong, at, {})


def _entry(name: str) -> str:
    return "/".join(map(str, names.parse_entry(name)))


def _example_name(item: QueueItem) -> str:
    if item.kind is QueueKind.CONFLICT and "/" not in item.name:
        return names.conflict_name(item.name)
    if item.kind is QueueKind.WEBHOOK_FAILING and "/" in item.name:
        return names.resource_name("Webhook", item.name)
    kinds = {1: "Contributor", 2: "HashSet", 3: "Import" if item.kind is QueueKind.OPEN_IMPORT else "Entry"}
    return names.resource_name(kinds[item.name.count("/") + 1], item.name) if item.name else ""


def _parent_name(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR/SET` or `CONTRIBUTOR`; empty for an empty name."""
    return names.resource_name("HashSet" if "/" in name else "Contributor", name) if name else ""


def _parse_parent(name: str, field: str) -> tuple[str, str]:
    """Return the contributor and an empty text, or an empty text and `CONTRIBUTOR/SET`."""
    if "/hashSets/" in name:
        return "", "/".join(names.parse_hash_set(name, field))
    return names.parse_contributor(name, field), ""
