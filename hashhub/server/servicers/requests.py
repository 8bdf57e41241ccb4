"""What calls of several services have in common: who may make them, pages, masks, ids of requests.

    @served(READERS, wire.GROUP.to_pb, limiter="pages")
    def a_call(self, principal, request): ...

A method that does not say who may call it, or names a limiter that there is not, cannot be served, and the server does
not start. The role is the first of two checks: it needs nothing but the token and runs before the request is decoded.
The hub then checks ownership and terms, and for the change feed whether the token may mirror.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar, get_args

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from hashhub import v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.hub import Hub
from hashhub.model import Role
from hashhub.server import pages
from hashhub.server.admission import LimiterName
from hashhub.store import WriteOptions

OPERATOR: Final = frozenset({Role.OPERATOR})
WRITERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR})
READERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR, Role.AUDITOR})
OVERSEERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
MATCHERS: Final = frozenset({Role.OPERATOR, Role.CONTRIBUTOR, Role.CONSUMER})
EVERYBODY: Final = frozenset(Role) - {Role.PEER}  # of this hub
FEED_READERS: Final = frozenset(Role)
REVIEWERS: Final = WRITERS | {Role.PEER}
_TERMS: Final = tuple(v1.Marking.DESCRIPTOR.fields_by_name)
_MAX_REQUEST_ID: Final = 128  # characters; a UUID has 36

_F = TypeVar("_F", bound=Callable[..., Any])


def always(_: Any) -> bool:
    """Whatever is asked."""
    return True


class CallTerms(NamedTuple):
    """Who may make a call, the limiter in which it works, and whether a request takes a second person (`approvals`)."""

    roles: frozenset[Role]
    limiter: LimiterName
    grave: Callable[[Any], bool] | None = None


def served(
    roles: frozenset[Role],
    answer: Callable[[Any], Any] | None = None,
    *,
    limiter: LimiterName = "calls",
    resource: str = "",
    grave: Callable[[Any], bool] | None = None,
) -> Callable[[_F], _F]:
    """Let a servicer's method be called by these roles, in this limiter (`admission`).

    `answer`: makes the message of what the method returns. `resource`: the field of the request that holds what is
    written; violations are then told by the client's paths. `grave`: of which requests a second person is demanded.
    Raises ValueError where there is no such limiter: a call of the method would be the first to notice.
    """
    if limiter not in get_args(LimiterName):
        raise ValueError(f"there is no limiter {limiter!r}")

    def decorate(method: Any) -> Any:
        call = method if answer is None else _answering(method, answer, resource)
        call.terms = CallTerms(roles, limiter, grave)
        return call

    return decorate


def _answering(method: Any, answer: Callable[[Any], Any], resource: str) -> Any:
    @functools.wraps(method)
    def call(self: Service, principal: Any, request: Any, *rest: Any) -> Any:
        try:
            return answer(method(self, principal, request, *rest))
        except InvalidArgument as e:
            if resource:
                e.violations = _client_paths(e, request, resource)
            raise

    return call


def terms_of(method: Any) -> CallTerms:
    """Return what a method says of its call. Raises AttributeError where it says nothing."""
    terms: CallTerms = method.terms
    return terms


def named(
    roles: frozenset[Role],
    parse: Callable[[str], Any],
    do: Callable[[Hub], Callable[..., Any]],
    put: Callable[[Any], Any] | None = None,
    *,
    limiter: LimiterName = "calls",
) -> Any:
    """Return a method that gives the named ids to the use-case `do`; `put` makes the answer, None: it is empty."""

    @served(roles, limiter=limiter)
    def call(self: Service, principal: Any, request: Any) -> Any:
        made = do(self.hub)(principal, *_ids(parse(request.name)))
        return _answer_to(request)() if put is None else put(made)

    return call


def listed(
    roles: frozenset[Role],
    do: Callable[[Hub], Callable[..., Any]],
    put: Callable[[Any], Any],
    *,
    parent: Callable[[str, str], Any] | None = None,
    first: int | str = "",
    key: Callable[[Any], str] | None = None,
    limiter: LimiterName = "calls",
) -> Any:
    """Return the method of a call that lists what the use-case `do` gives.

    `parent`: reads the ids in the request's parent. `first`: the position before all. `key`: `do` gives all at once,
    to be sorted by this; otherwise a page, and the position behind it.
    """

    @served(roles, limiter=limiter)
    def call(self: Service, principal: Any, request: Any) -> Any:
        ids = () if parent is None else _ids(parent(request.parent, "parent"))
        answer = _answer_to(request)
        field = next(f for f in answer.DESCRIPTOR.fields if f.message_type is not None)
        page = Page(field.json_name, request, *ids)
        after = page.after(first)
        if key is None:
            items, after = do(self.hub)(principal, *ids, page.size, after)
        else:
            rest = [item for item in sorted(do(self.hub)(principal, *ids), key=key) if key(item) > after]
            items, after = rest[: page.size], key(rest[page.size - 1]) if len(rest) > page.size else ""
        return answer(**{field.name: map(put, items)}, next_page_token=page.token(after))

    return call


def _ids(parsed: Any) -> tuple[Any, ...]:
    return parsed if isinstance(parsed, tuple) else (parsed,)


def _answer_to(request: Message) -> Any:
    """Return the message that answers this one, which the contract names like it."""
    return getattr(v1, type(request).__name__.removesuffix("Request") + "Response")


class Service:
    """The calls of one service on a hub. `is_stopping` tells those that go on for long to end."""

    def __init__(self, hub: Hub, is_stopping: Callable[[], bool]) -> None:
        self.hub = hub
        self.is_stopping = is_stopping


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


def mask_of(mask: FieldMask, given: Message, fields: tuple[str, ...], fixed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the fields to take over: those of the mask; all for `*`; for an empty mask those that are set. One inside
    a field is named by its path, `marking.tlp`. `fixed` fields can be named, and the hub refuses them.
    """
    if not mask.paths:
        return tuple(path for path in _paths_set(given) if path.partition(".")[0] in (*fields, *fixed))
    if list(mask.paths) == ["*"]:
        return fields
    known = {*fields, *fixed, *(f"marking.{term}" for term in _TERMS if "marking" in fields)}
    unknown = [path for path in mask.paths if path not in known]
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


def only_masked(given: Any, mask: tuple[str, ...], otherwise: Any) -> Any:
    """Return `given` with every field outside the mask taken from `otherwise`, except its name."""
    patched = type(given)()
    patched.CopyFrom(otherwise)
    FieldMask(paths=mask).MergeMessage(given, patched, replace_message_field=True, replace_repeated_field=True)
    patched.name = given.name
    return patched


def _client_paths(error: InvalidArgument, request: Message, resource: str) -> tuple[Violation, ...]:
    """Return the hub's violations under the client's paths: what is no field of the request is one of its resource."""
    own = request.DESCRIPTOR.fields_by_name
    return tuple(
        v if re.split(r"[.\[]", v.field)[0] in own else Violation(f"{resource}.{v.field}", v.description, v.reason)
        for v in error.violations
    )


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
