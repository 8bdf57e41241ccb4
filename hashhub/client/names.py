"""What commands call things, as resource names. Raises InvalidArgument (RESOURCE_NAME) for what cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hashhub import wire
from hashhub.errors import InvalidArgument


def _parts(name: str, shape: str) -> list[str]:
    parts = name.split("/")
    if not name.isascii():
        raise InvalidArgument.field(
            "name", f"expected {shape} in the letters a-z, digits and -, got {name[:200]!r}", "RESOURCE_NAME"
        )
    if len(parts) != shape.count("/") + 1 or not all(parts):
        raise InvalidArgument.field("name", f"expected {shape}, got {name[:200]!r}", "RESOURCE_NAME")
    return parts


def _named(shape: str, make: Callable[..., str]) -> Callable[[str], str]:
    """Return what makes a resource name of what commands call it."""
    return lambda name: make(*_parts(name, shape))


contributor: Final = _named("CONTRIBUTOR", wire.contributor_name)
conflict: Final = _named("CONFLICT", wire.conflict_name)
group: Final = _named("GROUP", wire.group_name)
token: Final = _named("TOKEN", wire.token_name)
policy: Final = _named("NAME", wire.policy_name)  # or NAME@VERSION
hash_set: Final = _named("CONTRIBUTOR/SET", wire.hash_set_name)
webhook: Final = _named("CONTRIBUTOR/WEBHOOK", wire.webhook_name)
import_: Final = _named("CONTRIBUTOR/SET/IMPORT", wire.import_name)


def entry(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR/SET/ENTRY`."""
    contributor_id, hash_set_id, entry_id = _parts(name, "CONTRIBUTOR/SET/ENTRY")
    if not entry_id.isdecimal() or not entry_id.isascii():
        raise InvalidArgument.field(
            "name", f"expected CONTRIBUTOR/SET/ENTRY with a number, got {name[:200]!r}", "RESOURCE_NAME"
        )
    return wire.entry_name(contributor_id, hash_set_id, int(entry_id))


def subject(name: str) -> str:
    """Return the resource name of what events are about, as commands write it."""
    parts = name.split("/")
    if not name or parts[0] in {"tokens", "groups", "events", "policies", "schemes", "conflicts"}:
        return name
    match parts:
        case ["webhooks", _, _]:
            return webhook(name.removeprefix("webhooks/"))
        case [_]:
            return contributor(name)
        case [_, _]:
            return hash_set(name)
        case [_, _, last] if not last.isdecimal():
            return import_(name)
    return entry(name)
