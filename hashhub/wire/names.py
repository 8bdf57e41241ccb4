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
_SHAPES: Final = {
    "contributors/{contributor}": re.compile(f"contributors/{_ID}"),
    "contributors/{contributor}/hashSets/{hash_set}": re.compile(_HASH_SET),
    "contributors/{contributor}/hashSets/{hash_set}/imports/{import}": re.compile(f"{_HASH_SET}/imports/{_OPAQUE}"),
    "contributors/{contributor}/hashSets/{hash_set}/entries/{entry}": re.compile(f"{_HASH_SET}/entries/{_NUMBER}"),
    "contributors/{contributor}/hashSets/{hash_set}/entries/{entry}/reviews/{review}": re.compile(
        f"{_HASH_SET}/entries/{_NUMBER}/reviews/{_NUMBER}"
    ),
    "contributors/{contributor}[/members/{member}]": re.compile(
        f"contributors/{_ID}(?:/members/(.{{1,1024}}))?", re.DOTALL
    ),
    "contributors/{contributor}/webhooks/{webhook}": re.compile(f"contributors/{_ID}/webhooks/{_ID}"),
    "conflicts/{conflict}": re.compile(f"conflicts/{_ID}"),
    "groups/{group}": re.compile(f"groups/{_ID}"),
    "events/{revision}": re.compile(f"events/{_NUMBER}"),
    "tokens/{token}": re.compile(f"tokens/{_OPAQUE}"),
    "policies/{policy}": re.compile(f"policies/{_OPAQUE}"),
    "schemes/{scheme}": re.compile(f"schemes/{_OPAQUE}"),
    "operations/{operation}": re.compile(f"operations/{_OPAQUE}"),
}
(
    _CONTRIBUTOR, _SET, _IMPORT, _ENTRY, _REVIEW, _AUTHOR, _WEBHOOK, _CONFLICT,
    _GROUP, _EVENT, _TOKEN, _POLICY, _SCHEME,
    _OPERATION,
) = _SHAPES  # fmt: skip
_SUBJECTS: Final = {
    _CONTRIBUTOR: "contributors/{}",
    _SET: "hash-sets/{}/{}",
    _IMPORT: "imports/{}/{}/{}",
    _ENTRY: "entries/{}/{}/{}",
    _WEBHOOK: "webhooks/{}/{}",
    _EVENT: "events/{}",
    _CONFLICT: "conflicts/{}",
    _GROUP: "groups/{}",
    _TOKEN: "tokens/{}",
    _POLICY: "policies/{}",
    _SCHEME: "schemes/{}",
}
_KINDS: Final = {
    "Contributor": _CONTRIBUTOR,
    "HashSet": _SET,
    "Import": _IMPORT,
    "Entry": _ENTRY,
    "Webhook": _WEBHOOK,
    "Conflict": _CONFLICT,
    "Group": _GROUP,
    "Token": _TOKEN,
    "Policy": _POLICY,
    "Scheme": _SCHEME,
    "Operation": _OPERATION,
}


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
    ids = rest.split("/")
    match collection, ids:
        case "hash-sets", [contributor, hash_set]:
            return hash_set_name(contributor, hash_set)
        case "webhooks", [contributor, webhook]:
            return webhook_name(contributor, webhook)
        case "imports", [contributor, hash_set, import_id]:
            return import_name(contributor, hash_set, import_id)
        case "entries", [contributor, hash_set, entry_id]:
            return f"contributors/{contributor}/hashSets/{hash_set}/entries/{entry_id}"
    return subject


def parse_subject(name: str, field: str = "subject") -> str:
    """Return what the model calls the subject with this resource name; empty for an empty name."""
    if not name:
        return ""
    for shape, subject in _SUBJECTS.items():
        parts = _SHAPES[shape].fullmatch(name)
        if parts is not None:
            return subject.format(*parts.groups())
    raise _wrong(" or ".join(_SUBJECTS), field, f"got {name[:120]!r}")


def resource_name(kind: str, name: str) -> str:
    """Return the resource name of what the model calls `name` (`alpha/list/7`), or `name` if it says too little."""
    collections, ids = _KINDS[kind].split("/")[::2] if kind in _KINDS else [], name.split("/")
    if len(ids) != len(collections):
        return name
    return "/".join(f"{collection}/{one}" for collection, one in zip(collections, ids, strict=True))


def _parse_id(shape: str, name: str, field: str = "name") -> str:
    return _parse(shape, name, field)[0]


parse_contributor = partial(_parse_id, _CONTRIBUTOR)
parse_conflict = partial(_parse_id, _CONFLICT)
parse_group = partial(_parse_id, _GROUP)
parse_token = partial(_parse_id, _TOKEN)
parse_operation = partial(_parse_id, _OPERATION)
parse_policy = partial(_parse_id, _POLICY)
parse_scheme = partial(_parse_id, _SCHEME)


def parse_contributor_or_all(name: str, field: str = "parent") -> str | None:
    """Return the contributor's id, or None for `contributors/-`: all of them."""
    return None if name == "contributors/-" else parse_contributor(name, field)


def parse_hash_set(name: str, field: str = "name") -> tuple[str, str]:
    contributor, hash_set = _parse(_SET, name, field)
    return contributor, hash_set


def parse_import(name: str, field: str = "name") -> tuple[str, str, str]:
    contributor, hash_set, import_id = _parse(_IMPORT, name, field)
    return contributor, hash_set, import_id


def parse_entry(name: str, field: str = "name") -> tuple[str, str, int]:
    contributor, hash_set, number = _parse(_ENTRY, name, field)
    return contributor, hash_set, _number(number, _ENTRY, field, MAX_NUMBER)


def parse_review(name: str, field: str = "name") -> tuple[str, str, int, int]:
    contributor, hash_set, *numbers = _parse(_REVIEW, name, field)
    entry, review = (_number(digits, _REVIEW, field, MAX_NUMBER) for digits in numbers)
    return contributor, hash_set, entry, review


def parse_webhook(name: str, field: str = "name") -> tuple[str, str]:
    contributor, webhook = _parse(_WEBHOOK, name, field)
    return contributor, webhook


def parse_author(name: str, field: str = "author") -> str:
    """Return who states a review, as `author_name` takes it."""
    contributor, member = _parse(_AUTHOR, name, field)
    return f"{contributor}/{member}" if member else contributor


def parse_event(name: str, field: str = "name") -> int:
    return _number(_parse(_EVENT, name, field)[0], _EVENT, field, _MAX_INT64)


def _parse(shape: str, name: str, field: str) -> tuple[str, ...]:
    parts = _SHAPES[shape].fullmatch(name)
    if parts is None:
        raise _wrong(shape, field, f"got {name[:120]!r}" if name else "it is missing")
    return parts.groups()


def _number(digits: str, shape: str, field: str, most: int) -> int:
    number = int(digits)
    if number > most:
        raise _wrong(shape, field, f"its number {digits} is too large")
    return number


def _wrong(shape: str, field: str, problem: str) -> InvalidArgument:
    description = f"must look like {shape}; {problem}"
    reason = "REQUIRED" if problem == "it is missing" else "RESOURCE_NAME"
    return InvalidArgument(f"{field}: {description}", violations=(Violation(field, description, reason),))
