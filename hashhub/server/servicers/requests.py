"""What requests of several services have in common: pages, masks, ids of requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from hashhub import v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.hub import Hub
from hashhub.server import pages
from hashhub.store import WriteOptions

_MAX_REQUEST_ID: Final = 128  # characters; a UUID has 36


class Service:
    """The calls of one service on a hub. `is_stopping` tells those that go on for long to end."""

    def __init__(self, hub: Hub, is_stopping: Callable[[], bool]) -> None:
        self._hub = hub
        self._is_stopping = is_stopping


class Page:
    """The paging of one request: its size, where it goes on, and the token for the next one."""

    def __init__(self, collection: str, request: Any, *filters: object) -> None:
        self._question = (collection, *filters)
        self._token = request.page_token
        self.size = pages.size(request.page_size)

    def after(self, first: Any) -> Any:
        """Return behind what the page begins, `first` where the request has no token. Raises InvalidArgument."""
        return pages.decode(self._token, first, *self._question)

    def token(self, after: int | str) -> str:
        """Return the token of the page behind `after`."""
        return pages.encode(after, *self._question)

    def of(self, everything: Any, key: Callable[[Any], str]) -> tuple[list[Any], str]:
        """Cut the page out of a short list that the hub gives as a whole."""
        after = self.after("")
        rest = [item for item in sorted(everything, key=key) if key(item) > after]
        return rest[: self.size], self.token(key(rest[self.size - 1]) if len(rest) > self.size else "")


def mask_of(mask: FieldMask, given: Message, fields: tuple[str, ...], fixed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the fields to take over: those of the mask; all for `*`; for an empty mask those that are set.

    A field inside one is named by its path, `marking.tlp`: the others stay. `fixed` fields can be named, and the hub
    refuses them.
    """
    if not mask.paths:
        return tuple(path for path in _paths_set(given) if path.partition(".")[0] in (*fields, *fixed))
    if list(mask.paths) == ["*"]:
        return fields
    unknown = [path for path in mask.paths if not _is_path(path, (*fields, *fixed))]
    if unknown:
        expected = f"can name {', '.join(fields)}, or `*` for all of them"
        raise InvalidArgument(
            f"update_mask: {expected}; got {', '.join(unknown)[:80]!r}",
            violations=tuple(
                Violation("update_mask", f"{expected}; got {path[:40]!r}", "UNKNOWN_FIELD") for path in unknown
            ),
        )
    return tuple(dict.fromkeys(mask.paths))


def _paths_set(given: Message) -> Iterator[str]:
    """Yield the fields that are set; of terms each one that is."""
    for field, value in given.ListFields():
        if isinstance(value, v1.Marking):
            yield from (f"{field.name}.{term.name}" for term, _ in value.ListFields())
        else:
            yield field.name


def _is_path(path: str, fields: tuple[str, ...]) -> bool:
    """Whether it names one of the fields, or one of the terms."""
    field, dot, term = path.partition(".")
    return field in fields and (not dot or (field == "marking" and term in v1.Marking.DESCRIPTOR.fields_by_name))


def only_masked(given: Any, mask: tuple[str, ...], otherwise: Any) -> Any:
    """Return `given` with every field outside the mask taken from `otherwise`, except its name."""
    patched = type(given)()
    patched.CopyFrom(otherwise)
    FieldMask(paths=mask).MergeMessage(given, patched, replace_message_field=True, replace_repeated_field=True)
    patched.name = given.name
    return patched


@contextmanager
def client_paths(request: Message, prefix: str) -> Iterator[None]:
    """Give the hub's violations the client's paths: what is no field of the request is one of its resource."""
    try:
        yield
    except InvalidArgument as e:
        own = request.DESCRIPTOR.fields_by_name
        e.violations = tuple(
            v if re.split(r"[.\[]", v.field)[0] in own else Violation(f"{prefix}.{v.field}", v.description, v.reason)
            for v in e.violations
        )
        raise


def write_options(request: Any) -> WriteOptions:
    """Return how the request's write is to be made. Raises InvalidArgument."""
    return {"validate_only": request.validate_only, "request_id": request_id_of(request)}


def request_id_of(request: Any) -> str:
    """Return the request's own id, "" for none. Raises InvalidArgument."""
    request_id: str = request.request_id
    if len(request_id) > _MAX_REQUEST_ID or "\0" in request_id:
        raise InvalidArgument.field(
            "request_id", f"must be at most {_MAX_REQUEST_ID} characters; a UUID is best", "TOO_LONG"
        )
    return request_id
