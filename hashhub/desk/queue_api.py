"""The queue over HTTP, for the app's own moderation page: metadata and decisions, and no route that gives out content.

    GET  /queue?limit=&skip=&state=      groups of uploads that wait
    GET  /queue/{reference}              one upload: hits, reasons, hashes, decisions, events
    POST /queue/{reference}/confirm      {"comment"?, "etag"?}
    POST /queue/{reference}/release      {"code", "comment"?, "etag"?}
    POST /queue/{reference}/withdraw     {"comment"?}
    POST /queue/{reference}/escalate     {"comment"}
    POST /queue/{reference}/reported     {"recipient", "filed_as"}

Each call needs `Authorization: Bearer` with a person's token, and acts as that person. A token never comes as a cookie
or in an address, so that no page of another origin can use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router

from hashhub.desk.people import People
from hashhub.desk.queue.reviews import ReviewSender
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import WAITING, ReviewQueue, RulingCode
from hashhub.desk.records import UploadState
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unauthenticated

if TYPE_CHECKING:
    from hashhub.desk.records import Records
    from hashhub.desk.settings import DeskSettings

MAX_BODY: Final = 8192
_STATUS: Final = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


class _Comment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    comment: str = ""


class _Confirmation(_Comment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    etag: str = ""


class _Release(_Confirmation, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: RulingCode


class _Filing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipient: str
    filed_as: str


def queue_router(records: Records, settings: DeskSettings) -> Router:
    """Return an application of the routes, to be mounted in one of your own where persons reach it."""
    return Router(routes=queue_routes(records, settings))


def queue_routes(records: Records, settings: DeskSettings) -> list[Route]:
    """Return the routes, as the sidecar has them."""
    api = _Api(records, settings)
    rulings = api.rulings
    routes = [Route("/queue", api.answer(api.listed), methods=["GET"])]
    routes.append(Route("/queue/{reference}", api.answer(api.one), methods=["GET"]))
    for name, body, ruling in (
        ("confirm", _Confirmation, rulings.confirm),
        ("release", _Release, rulings.release),
        ("withdraw", _Comment, rulings.withdraw),
        ("escalate", _Comment, rulings.escalate),
        ("reported", _Filing, rulings.reported),
    ):
        path = f"/queue/{{reference}}/{name}"
        routes.append(Route(path, api.answer(api.ruled(body, ruling)), methods=["POST"]))
    return routes


_Do = Callable[[Request, str, bytes], Any]


class _Api:
    def __init__(self, records: Records, settings: DeskSettings) -> None:
        self._people = People(records)
        self._queue = ReviewQueue(records, settings)
        self.rulings = Rulings(records, settings, queue=self._queue)
        self._reviews = ReviewSender(records, settings)

    def answer(self, do: _Do) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint: who asks, then the body in its bounds, then what is done, in a thread of its own."""

        async def endpoint(request: Request) -> Response:
            after = None
            try:
                token = _token(request)
                await run_in_threadpool(self._people.who, token)  # a stranger's body is not waited for
                body = await _body(request)
                said = await run_in_threadpool(self._done, do, request, token, body)
                status = 200
                if request.method == "POST":
                    after = BackgroundTask(run_in_threadpool, self._reviews.send)
            except HashHubError as e:
                status = 413 if e.reason == Reason.TOO_LARGE else _STATUS.get(e.code, 500)
                said = {"error": {"reason": e.reason, "message": e.message}}
            except ClientDisconnect:
                return Response(status_code=400)
            headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
            if status == 401:  # noqa: PLR2004 - HTTP's
                headers["WWW-Authenticate"] = "Bearer"
            return Response(msgspec.json.encode(said), status, headers, media_type="application/json", background=after)

        return endpoint

    def _done(self, do: _Do, request: Request, token: str, body: bytes) -> Any:
        # Asked anew: whoever was removed while their body came does nothing any more.
        return do(request, self._people.who(token).name, body)

    def listed(self, request: Request, _actor: str, _body: bytes) -> Any:
        """Answer with a page of the queue."""
        query = request.query_params
        try:
            states = tuple(UploadState(one.upper()) for one in query.getlist("state")) or WAITING
            limit, skip = int(query.get("limit", "50")), int(query.get("skip", "0"))
        except ValueError as e:
            raise InvalidArgument.field(
                "query", f"limit and skip are numbers, state one of {', '.join(UploadState)}"
            ) from e
        return self._queue.page(states=states, limit=limit, skip=skip)

    def one(self, request: Request, actor: str, _body: bytes) -> Any:
        """Answer with one upload."""
        return self._queue.get(_reference(request), actor=actor)

    def ruled(self, kind: type[msgspec.Struct], ruling: Callable[..., UploadState | None]) -> _Do:
        """Return what makes a ruling with the fields of a body of this kind."""

        def do(request: Request, actor: str, body: bytes) -> Any:
            reference, fields = _reference(request), msgspec.structs.asdict(_read(body, kind))
            state = ruling(reference, actor=actor, **fields)
            if state is None:  # a report was filed
                return {"reference": reference, **fields}
            return {
                "reference": reference,
                "state": state,
                "needs_second_person": self._queue.proposal(reference) is not None,
            }

        return do


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "give a person's token as Authorization: Bearer …; `hashhub hook queue people add` makes one",
            reason=Reason.TOKEN_MISSING,
        )
    return token.strip()


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise LimitExceeded(f"the body has more than {MAX_BODY} bytes", reason=Reason.TOO_LARGE)
    return bytes(body)


def _read(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise InvalidArgument.field("body", f"is not what this call takes: {e}") from e


def _reference(request: Request) -> str:
    reference: str = request.path_params["reference"]
    return reference
