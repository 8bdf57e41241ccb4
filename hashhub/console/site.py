"""A site of pages for people who are signed in: what is asked of each request before a page module sees it.

1. the host is ours                        or 421: no other name leads here (DNS rebinding)
2. a POST comes from a page of ours        by Sec-Fetch-Site, or Origin
3. a session, by the cookie                or to the sign-in; what asks for news by itself keeps none alive
4. who it is, asked of the hub anew        whoever was removed is out
5. the form, in its bounds and in time, with the session's token
6. the screen's action or page, in a thread
7. headers: nothing is kept, framed, or loaded from elsewhere
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from hashhub.console.forms import Input
from hashhub.console.pages import FOLDER, HEADERS, READER, Reader, _, locale_of, render
from hashhub.console.sessions import BrowserSession
from hashhub.console.visit import FORM_BYTES, Screen, SiteSettings, Visit, status_of
from hashhub.errors import (
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
)

_log = logging.getLogger("hashhub.console")
_FORM_SECONDS: Final = 60.0
_BYTES_PER_SECOND: Final = 128 * 1024  # of a large upload, at least
_FIELDS: Final = 1_000
_STATIC: Final = {"console.css", "htmx-2.0.11.min.js"}


class Site:
    """The application of a site; `routes` are to be mounted at the root of a server."""

    def __init__(
        self,
        settings: SiteSettings,
        screens: Iterable[Screen],
        *,
        visit: Callable[[SiteSettings, BrowserSession, Request], Visit],
    ) -> None:
        """`visit`: makes one of a session, in a thread; raises Unauthenticated where its secret works no more."""
        self.settings, self.sessions, self.prefix = settings, settings.sessions, settings.prefix
        self._visit = visit
        self._hosts = {urlsplit(origin).netloc for origin in settings.origins}
        prefix = settings.prefix
        frame = (
            Screen(
                f"{prefix}/reader",
                _show_reader,
                "hashhub whoami",
                "operate/console.md",
                keep=_keep_reader,
                leave=_leave,
            ),
        )
        self.routes: list[BaseRoute] = [
            *(Route(s.path, self._guarded(self._of_screen(s)), methods=["GET", "POST"]) for s in (*screens, *frame)),
            Route(f"{prefix}/sign-in", self._guarded(self._show_sign_in)),
            Route(f"{prefix}/static/{{name}}", self._guarded(_static)),
            *(
                Route(prefix + place.partition(" ")[2], self._guarded(partial(answer, self)), methods=place.split()[:1])
                for way in settings.ways
                for place, answer in way.answers.items()
            ),
            Route(f"{prefix}/{{rest:path}}", self._guarded(self._nothing), methods=["GET", "POST"]),
        ]

    def begin(self, request: Request, secret: str, *, ends: float | None = None) -> BrowserSession:
        """Begin a session under a new key; one that this browser had ends."""
        if old := self._session(request, is_used=False):
            self.sessions.end(old.digest)
        reader = Reader(locale=locale_of(request.headers.get("accept-language", "")))
        return self.sessions.begin(secret, reader, ends=ends)

    def signed_in(self, response: Response, session: BrowserSession) -> Response:
        """Give a browser the session's cookie."""
        response.set_cookie(self.settings.cookie, session.key, secure=True, httponly=True, samesite="strict")
        return response

    def own_path(self, path: str) -> str:
        """Return a path of this site as it is, its front page instead of any other."""
        is_own = path.isascii() and path.isprintable() and path.startswith(f"{self.prefix}/") and "\\" not in path
        return path if is_own and not path.startswith("//") else f"{self.prefix}/"

    def _session(self, request: Request, *, is_used: bool) -> BrowserSession | None:
        key = request.cookies.get(self.settings.cookie, "")
        return self.sessions.find(key, is_used=is_used) if key else None

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            READER.set(Reader(locale=locale_of(request.headers.get("accept-language", ""))))
            try:
                if request.headers.get("host", "").lower() not in self._hosts:
                    return _plain(421, "This is not the address of these pages; use the one that their operator names.")
                if request.method == "POST" and not self._is_own_page(request):
                    raise PermissionDenied("this form was sent from another site; open the page here, and send it")
                response = await answer(request)
            except HashHubError as e:
                response = self.refusal(e)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception:  # noqa: BLE001 - nothing above says it in words that are safe to show
                _log.exception("unexpected error in a page")
                response = self.refusal(HashHubError(_("something went wrong here; the log has it, try again")))
            response.headers.update({k: v for k, v in HEADERS.items() if k not in response.headers})
            return response

        return endpoint

    def refusal(self, error: HashHubError, visit: Visit | None = None) -> Response:
        """Return the page of an error."""
        status = status_of(error)
        return HTMLResponse(render("refusal.html", site=self.settings, visit=visit, error=error, status=status), status)

    def _is_own_page(self, request: Request) -> bool:
        fetched = request.headers.get("sec-fetch-site")
        if fetched is not None:
            return fetched == "same-origin"
        # Of an older browser. A page of ours sends no referrer, for which some say that their origin is null.
        return request.headers.get("origin", "null") in {"null", *self.settings.origins}

    def _of_screen(self, screen: Screen) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            is_live = "hx-request" in request.headers
            session = await run_in_threadpool(self._session, request, is_used=not is_live)
            try:
                if session is None:
                    raise Unauthenticated(_("your session has ended; sign in again"))
                READER.set(session.reader)
                visit = await run_in_threadpool(self._visit, self.settings, session, request)
            except Unauthenticated as e:
                if session is not None:
                    await run_in_threadpool(self.sessions.end, session.digest)
                if is_live or request.method == "POST":
                    return self.refusal(e)
                back = quote(request.url.path, safe="/")
                return RedirectResponse(f"{self.prefix}/sign-in?next={back}", 303)
            visit.screen = screen
            if request.method != "POST":
                return await run_in_threadpool(self._shown, screen, visit)
            async with _form(request, screen.body, _FORM_SECONDS, in_memory=screen.in_memory) as fields:
                if not hmac.compare_digest(str(fields.get("form_token", "")).encode(), session.form_token.encode()):
                    raise PermissionDenied(_("this form is not of your session; load its page again, and send it"))
                visit.take(fields)
                return await run_in_threadpool(self._acted, screen, visit)

        return answer

    def _shown(self, screen: Screen, visit: Visit) -> Response:
        try:
            if screen.is_item and not visit.is_live:
                self.sessions.looked(visit.who, more=1)
            return screen.show(visit)
        except Unauthenticated:
            raise
        except HashHubError as e:
            return self.refusal(e, visit)

    def _acted(self, screen: Screen, visit: Visit) -> Response:
        try:
            action = screen.actions.get(visit.form["do"])
            if action is None:
                raise InvalidArgument.field("do", "must be one of this page's buttons; load the page again")
            return action(visit)
        except Unauthenticated:
            raise
        except HashHubError as e:
            visit.refused = e
        return self._shown(screen, visit)

    async def _show_sign_in(self, request: Request) -> Response:
        back = self.own_path(request.query_params.get("next", ""))
        return HTMLResponse(render("sign_in.html", site=self.settings, visit=None, back=back))

    async def _nothing(self, _request: Request) -> Response:
        raise NotFound(_("there is no such page"))


class _MemoryParser(MultiPartParser):
    """Keeps files in memory, however large: a form's own bound is the only one."""

    spool_max_size = 0


@asynccontextmanager
async def _form(request: Request, most: int, seconds: float, *, in_memory: bool = False) -> AsyncIterator[FormData]:
    """Read a form within its bounds of bytes and time; its files are closed in the end."""
    left = most

    async def bounded() -> Any:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            text = _("this is more than the {most} that a form takes").format(most=f"{most / (1 << 20):,.0f} MiB")
            raise LimitExceeded(text, reason=Reason.TOO_LARGE)
        return message

    own = Request(request.scope, bounded)
    bounds: Any = {"max_files": 4, "max_fields": _FIELDS, "max_part_size": FORM_BYTES}
    is_multipart = own.headers.get("content-type", "").startswith("multipart/form-data")
    try:
        async with asyncio.timeout(max(seconds, most / _BYTES_PER_SECOND)):
            if in_memory and is_multipart:
                fields = await _MemoryParser(own.headers, own.stream(), **bounds).parse()
            else:
                fields = await own.form(**bounds)
    except MultiPartException as e:
        raise InvalidArgument(_("the form cannot be read; load its page again")) from e
    except TimeoutError as e:
        raise LimitExceeded(_("the form took too long to arrive"), reason=Reason.SLOW_SENDER) from e
    try:
        yield fields
    finally:
        await fields.close()


async def read_form(request: Request) -> Any:
    """Return the fields of a form of nobody yet, such as a sign-in: 16 KiB within ten seconds. Raises HashHubError."""
    async with _form(request, 16 * 1024, 10.0) as fields:
        return fields


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise NotFound(_("there is no such page"))
    kind = mimetypes.guess_type(name)[0]
    content = (FOLDER / "static" / name).read_bytes()
    return Response(content, media_type=kind, headers={"cache-control": "public, max-age=3600"})


def _plain(status: int, text: str) -> Response:
    return Response(text, status, HEADERS, media_type="text/plain")


def _show_reader(visit: Visit) -> Response:
    reader = visit.session.reader
    themes = [("dark", _("dark")), ("light", _("light")), ("system", _("as the device says"))]
    zone = Input("zone", _("Time zone"), _("Such as Europe/Berlin. Times are shown in it, with UTC beside."))
    fields = [zone.of(reader), Input("theme", _("Colours"), options=themes).of(reader)]
    page = {"forms": [("keep", _("Keep"), fields)], "may": True, "open": "keep"}
    return visit.page(_("How you read"), **page)


def _keep_reader(visit: Visit) -> Response:
    reader = Reader(locale=visit.session.reader.locale, zone=visit.form["zone"], theme=visit.form["theme"])
    visit.site.sessions.read_as(visit.session, reader)
    return visit.go(f"{visit.site.prefix}/reader", _("Kept."))


def _leave(visit: Visit) -> Response:
    visit.site.sessions.end(visit.session.digest)
    response = visit.go(f"{visit.site.prefix}/sign-in")
    response.delete_cookie(visit.site.cookie, secure=True, httponly=True, samesite="strict")
    return response
