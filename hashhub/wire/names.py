"""Resource names: the one place that knows how `contributors/{contributor}/hashSets/{hash_set}/…` is put together and
read.

Inside the hub things are known by their ids; whole names exist only on the wire. `X_name` makes the name of an X from
its ids; `parse_X` gives its ids back, `field` being the name's path in the request for the error. It raises
InvalidArgument for another shape. Whether the thing exists is for the hub to say, after it has looked at who asks.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from hashhub.errors import InvalidArgument, Violation
from hashhub.model import MAX_NUMBER, number_of

_ID: Final = "([a-z0-9-]{1,63})"
_OPAQUE: Final = "([A-Za-z0-9][A-Za-z0-9._@-]{0,127})"  # ids that the hub made, or that stand in data files
_NUMBER: Final = "([1-9][0-9]{0,18})"  # 19 digits: what an int64 can hold, and the check below refuses those above it
_MAX_INT64: Final = (1 << 63) - 1

_HASH_SET: Final = f"contributors/{_ID}/hashSets/{_ID}"
_ENTRY: Final = f"{_HASH_SET}/entries/{_NUMBER}"
_SET_SHAPE: Final = "contributors/{contributor}/hashSets/{hash_set}"
_KINDS: Final = {
    "Contributor": ("contributors/{contributor}", f"contributors/{_ID}", "contributors/{}"),
    "HashSet": (_SET_SHAPE, _HASH_SET, "hash-sets/{}/{}"),
    "Import": (f"{_SET_SHAPE}/imports/{{import}}", f"{_HASH_SET}/imports/{_OPAQUE}", "imports/{}/{}/{}"),
    "Entry": (f"{_SET_SHAPE}/entries/{{entry}}", _ENTRY, "entries/{}/{}/{}"),
    "Webhook": (
        "contributors/{contributor}/webhooks/{webhook}",
        f"contributors/{_ID}/webhooks/{_ID}",
        "webhooks/{}/{}",
    ),
    "Event": ("events/{revision}", f"events/{_NUMBER}", "events/{}"),
    "Conflict": ("conflicts/{conflict}", f"conflicts/{_ID}", "conflicts/{}"),
    "Group": ("groups/{group}", f"groups/{_ID}", "groups/{}"),
    "Token": ("tokens/{token}", f"tokens/{_OPAQUE}", "tokens/{}"),
    "Policy": ("policies/{policy}", f"policies/{_OPAQUE}", "policies/{}"),
    "Scheme": ("schemes/{scheme}", f"schemes/{_OPAQUE}", "schemes/{}"),
    "Review": (f"{_SET_SHAPE}/entries/{{entry}}/reviews/{{review}}", f"{_ENTRY}/reviews/{_NUMBER}", ""),
    "Author": (
        "contributors/{contributor}[/members/{member}]",
        f"contributors/{_ID}(?:/members/((?s:.){{1,1024}}))?",
        "",
    ),
    "Operation": ("operations/{operation}", f"operations/{_OPAQUE}", ""),
}
"""Of each kind: how its name looks, how it is read, and what events call it, where they are about it."""
_PATTERNS: Final = {kind: re.compile(pattern) for kind, (_, pattern, _) in _KINDS.items()}


contributor_name = "contributors/{}".format
group_name = "groups/{}".format
hash_set_name = "contributors/{}/hashSets/{}".format
import_name = "contributors/{}/hashSets/{}/imports/{}".format
webhook_name = "contributors/{}/webhooks/{}".format
conflict_name = "conflicts/{}".format
event_name = "events/{}".format
token_name = "tokens/{}".format
operation_name = "operations/{}".format
policy_name = "policies/{}".format
scheme_name = "schemes/{}@{}".format


def entry_name(contributor: str, hash_set: str, entry_id: int) -> str:
    return f"contributors/{contributor}/hashSets/{hash_set}/entries/{number_of(entry_id)}"


def review_name(contributor: str, hash_set: str, entry_id: int, review_id: int) -> str:
    return f"{entry_name(contributor, hash_set, entry_id)}/reviews/{number_of(review_id)}"


def author_name(author: str) -> str:
    """Return the resource name of a review's author: a contributor, or `CONTRIBUTOR/MEMBER` of its source."""
    contributor, slash, member = author.partition("/")
    return f"contributors/{contributor}/members/{member}" if slash else f"contributors/{contributor}"


def subject_name(subject: str) -> str:
    """Return the resource name of what an event is about, which the model calls `entries/alpha/list/7`."""
    collection, _, rest = subject.partition("/")
    kind = next((kind for kind, (_, _, called) in _KINDS.items() if called.partition("/")[0] == collection), "")
    name = resource_name(kind, rest)
    return subject if name == rest else name


def parse_subject(name: str, field: str = "subject") -> str:
    """Return what the model calls the subject with this resource name; empty for an empty name."""
    if not name:
        return ""
    subjects = {kind: (shape, subject) for kind, (shape, _, subject) in _KINDS.items() if subject}
    for kind, (_, subject) in subjects.items():
        parts = _PATTERNS[kind].fullmatch(name)
        if parts is not None:
            return subject.format(*parts.groups())
    raise _wrong(" or ".join(shape for shape, _ in subjects.values()), field, f"got {name[:120]!r}")


def resource_name(kind: str, name: str) -> str:
    """Return the resource name of what the model calls `name` (`alpha/list/7`), or `name` if it says too little."""
    has_name = kind in _KINDS and kind not in {"Author", "Event", "Review"}  # which the model calls otherwise
    collections, ids = _KINDS[kind][0].split("/")[::2] if has_name else [], name.split("/")
    if len(ids) != len(collections):
        return name
    return "/".join(f"{collection}/{one}" for collection, one in zip(collections, ids, strict=True))


def _parse_id(kind: str, name: str, field: str = "name") -> str:
    return _parse(kind, name, field)[0]


parse_contributor = partial(_parse_id, "Contributor")
parse_conflict = partial(_parse_id, "Conflict")
parse_group = partial(_parse_id, "Group")
parse_token = partial(_parse_id, "Token")
parse_operation = partial(_parse_id, "Operation")
parse_policy = partial(_parse_id, "Policy")
parse_scheme = partial(_parse_id, "Scheme")


def parse_contributor_or_all(name: str, field: str = "parent") -> str | None:
    """Return the contributor's id, or None for `contributors/-`: all of them."""
    return None if name == "contributors/-" else parse_contributor(name, field)


def parse_hash_set(name: str, field: str = "name") -> tuple[str, str]:
    contributor, hash_set = _parse("HashSet", name, field)
    return contributor, hash_set


def parse_import(name: str, field: str = "name") -> tuple[str, str, str]:
    contributor, hash_set, import_id = _parse("Import", name, field)
    return contributor, hash_set, import_id


def parse_entry(name: str, field: str = "name") -> tuple[str, str, int]:
    contributor, hash_set, number = _parse("Entry", name, field)
    return contributor, hash_set, _number(number, "Entry", field, MAX_NUMBER)


def parse_review(name: str, field: str = "name") -> tuple[str, str, int, int]:
    contributor, hash_set, *numbers = _parse("Review", name, field)
    entry, review = (_number(digits, "Review", field, MAX_NUMBER) for digits in numbers)
    return contributor, hash_set, entry, review


def parse_webhook(name: str, field: str = "name") -> tuple[str, str]:
    contributor, webhook = _parse("Webhook", name, field)
    return contributor, webhook


def parse_author(name: str, field: str = "author") -> str:
    """Return who states a review, as `author_name` takes it."""
    contributor, member = _parse("Author", name, field)
    return f"{contributor}/{member}" if member else contributor


def parse_event(name: str, field: str = "name") -> int:
    return _number(_parse("Event", name, field)[0], "Event", field, _MAX_INT64)


def _parse(kind: str, name: str, field: str) -> tuple[str, ...]:
    parts = _PATTERNS[kind].fullmatch(name)
    if parts is None:
        raise _wrong(_KINDS[kind][0], field, f"got {name[:120]!r}" if name else "it is missing")
    return parts.groups()


def _number(digits: str, kind: str, field: str, most: int) -> int:
    number = int(digits)
    if number > most:
        raise _wrong(_KINDS[kind][0], field, f"its number {digits} is too large")
    return number


def _wrong(shape: str, field: str, problem: str) -> InvalidArgument:
    description = f"must look like {shape}; {problem}"
    reason = "REQUIRED" if problem == "it is missing" else "RESOURCE_NAME"
    return InvalidArgument(f"{field}: {description}", violations=(Violation(field, description, reason),))
