"""What commands call things, as resource names. Raises InvalidArgument (RESOURCE_NAME) for what cannot be one."""

from __future__ import annotations

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


def contributor(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR`."""
    return wire.contributor_name(*_parts(name, "CONTRIBUTOR"))


def conflict(name: str) -> str:
    """Return the resource name of `CONFLICT`."""
    return wire.conflict_name(*_parts(name, "CONFLICT"))


def group(name: str) -> str:
    """Return the resource name of `GROUP`."""
    return wire.group_name(*_parts(name, "GROUP"))


def token(name: str) -> str:
    """Return the resource name of `TOKEN`."""
    return wire.token_name(*_parts(name, "TOKEN"))


def policy(name: str) -> str:
    """Return the resource name of `NAME` or `NAME@VERSION`."""
    return wire.policy_name(*_parts(name, "NAME"))


def hash_set(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR/SET`."""
    return wire.hash_set_name(*_parts(name, "CONTRIBUTOR/SET"))


def webhook(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR/WEBHOOK`."""
    return wire.webhook_name(*_parts(name, "CONTRIBUTOR/WEBHOOK"))


def import_(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR/SET/IMPORT`."""
    return wire.import_name(*_parts(name, "CONTRIBUTOR/SET/IMPORT"))


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
