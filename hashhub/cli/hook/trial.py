"""`hashhub hook try`: a hub, a sidecar and an upload form on this machine, and what becomes of one listed picture."""

from __future__ import annotations

import io
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from hashhub.cli.hook import hook
from hashhub.cli.hook.init import PROPOSED, settings_text
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import coloured, is_terminal, note, plain, print_json, say
from hashhub.errors import InvalidArgument, Unavailable, missing_extra
from hashhub.pages import render
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from PIL.Image import Image
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from hashhub.testing.hub_process import RunningHub

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
_COLOURS: Final = {"ALLOW": "green", "HOLD": "yellow", "BLOCK": "bold red"}
_PLAIN_WIDTH: Final = 150  # columns of the table in a pipe
_LISTED: Final = "the listed picture"
_MOST_BYTES: Final = 64 * 1024 * 1024  # as a hook looks at by default
_ANSWER_SECONDS: Final = 60.0
_FILE: Final = "application/octet-stream"


class _Outcome(msgspec.Struct, frozen=True):
    """What became of an upload: ALLOW, HOLD or BLOCK, why, and what could have been looked for and was not."""

    upload: str
    action: str
    why: tuple[str, ...]
    not_looked_for: tuple[str, ...] = ()


@command(hook, "try", local=True)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:0", show_default=True,
              help="Address of the upload form, on this machine. Port 0: any free one.")  # fmt: skip
@click.option("--once", is_flag=True, help="End after the table, without the upload form.")
def try_hook(session: Session, *, listen: str, once: bool) -> None:
    """Try the hook without any set-up.

    Starts a hub that lists one synthetic picture, a sidecar and an upload form on this machine, and removes them at the
    end. Shows the decisions on the picture and on altered copies, also while the hub is off, and what was not looked
    for. Then the form takes your own uploads, until it is stopped.
    """
    try:
        import starlette  # noqa: F401 - of the sidecar

        import hashhub.server  # noqa: F401
        from hashhub.testing.hub_process import running_hub, running_sidecar
    except ImportError as e:
        raise missing_extra(e, "server,hook", what="`hashhub hook try`") from e
    from hashhub.addresses import bind, is_loopback_host, parse_address, shown

    host, _ = parse_address("listen", listen, usual_port=8473)
    if not is_loopback_host(host):
        raise InvalidArgument.field("listen", "must be an address of this machine only, such as 127.0.0.1:8473")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what it started ends with it
    with ExitStack() as stack:
        listening = stack.enter_context(bind("listen", listen))
        place = tempfile.TemporaryDirectory(prefix="hashhub-try-", dir=_MEMORY if _MEMORY.is_dir() else None)
        directory = Path(stack.enter_context(place))
        *uploads, while_off = _uploads().items()
        note("starting a hub and a sidecar …")
        with ExitStack() as first:
            hub = first.enter_context(running_hub(directory / "hub"))
            token, settings = directory / "hook.token", directory / "hook.toml"
            token.write_text(_listing(hub, uploads[0][1]), "ascii")
            chosen = {"policy": "block", **PROPOSED}
            said = settings_text(chosen, hub=hub.address, token_file=str(token), data=str(directory / "hook"))
            settings.write_text(f"answer_seconds = 20\n{said}", "utf-8")  # a busy machine changes no row of the table
            sidecar = stack.enter_context(running_sidecar(settings, "--quiet"))
            outcomes = [_outcome(sidecar.url, content, _FILE, what) for what, content in uploads]
        outcomes.append(_outcome(sidecar.url, while_off[1], _FILE, while_off[0]))
        stack.enter_context(running_hub(directory / "hub", "--listen", hub.address, "--http", hub.http))
        _show(session, outcomes)
        if once:
            return
        listening.listen()  # before anybody is told of it
        address = f"http://{shown(host, listening.getsockname()[1])}/"
        if session.json:
            print_json({"form": address, "sidecar": sidecar.url, "hub": hub.address})
        else:
            say(f"\nUpload a file of your own: {coloured(address, 'bold cyan')}")
            note(f"sidecar: {sidecar.url}/docs; hub: {hub.address}; Ctrl-C ends all of it, and nothing stays")
        _serve(_form(sidecar.url, uploads[0][1]), listening)


def _uploads() -> dict[str, bytes]:
    """Return the listed picture, and what people make of it, by what each is; the last is for a hub that is off."""
    from PIL import ImageOps

    from hashhub.testing.pictures import ALTERATIONS, picture

    def jpeg(image: Image, quality: int = 90) -> bytes:
        image.save(out := io.BytesIO(), "JPEG", quality=quality)
        return out.getvalue()

    def altered(by: str, quality: int = 90) -> bytes:
        return jpeg(ALTERATIONS[by](listed, Random(1)), quality)  # noqa: S311 - the same each time

    listed = picture(1, (800, 600))
    listed.save(document := io.BytesIO(), "PDF")
    return {
        _LISTED: jpeg(listed),
        "saved again, smaller": altered("resize-half", quality=60),
        "in a border": altered("border"),
        "mirrored": altered("flip"),
        "turned by 90 degrees": altered("rotate-90"),
        "cut by 3 % on each side": jpeg(ImageOps.crop(listed, (24, 18))),
        "in a PDF": document.getvalue(),
        "a picture that nobody listed": jpeg(picture(2, listed.size)),
        f"{_LISTED}, while the hub is off": jpeg(listed, quality=70),
    }


def _listing(hub: RunningHub, listed: bytes) -> str:
    """Give the hub a hotline that lists the picture, and return a token with which a hook may ask it."""
    from hashhub.client import Client
    from hashhub.hashing import hash_media
    from hashhub.model import Contributor, ContributorKind, HashSet, Principal, Purpose, Reliability, Role
    from hashhub.testing.lists import item, list_file

    hashes = hash_media(listed, algorithms=("MD5", "SHA1", "PDQ")).hashes
    made = list_file("vics-2.0", [item(hashes, "1", external_id="sample-1")])
    hotline = Contributor(id="nl", display_name="Hotline", kind=ContributorKind.HOTLINE, jurisdiction="NL",
                          reliability=Reliability.A)  # fmt: skip
    app = Contributor(id="app", display_name="App", kind=ContributorKind.PLATFORM, jurisdiction="IE")
    with Client(hub.address, hub.token, retry_seconds=10.0) as operator:
        operator.create_contributor(hotline)
        operator.create_contributor(app)
        known = operator.create_hash_set(HashSet(contributor="nl", id="known", scheme="vic-us", purpose=Purpose.CSAM))
        source = io.BytesIO(made.data)
        operator.import_source(source, connector=made.connector, hash_set=known.name, options=made.options)
        return operator.create_token(Principal(name="app-hook", role=Role.CONSUMER, contributor="app"))


def _outcome(sidecar: str, body: bytes, content_type: str, upload: str = "") -> _Outcome:
    """Return the sidecar's answer in words, that of the severest file. Raises Unavailable where it gives none."""
    headers = {"Content-Type": content_type}
    request = urllib.request.Request(f"{sidecar}/check", data=body, headers=headers)  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - ours
            decision: dict[str, Any] = msgspec.json.decode(answer.read())
    except OSError as e:
        raise Unavailable(f"the sidecar gave no answer: {e}") from e
    covered = decision["coverage"]
    gaps = {gap["code"]: gap["text"] for gap in covered["gaps"]}
    unsearched = ("anything: no list could be asked",) if decision["no_answer"] == "HUB_AWAY" else covered["unsearched"]
    lines = sorted(decision["reasons"], key=lambda line: line["code"] != ReasonCode.HIT_BY_VARIANT)
    why = tuple(line["text"] for line in lines if line["code"] not in gaps)
    return _Outcome(upload, decision["action"], why, (*gaps.values(), *unsearched))


def _show(session: Session, outcomes: Sequence[_Outcome]) -> None:
    if session.json:
        for outcome in outcomes:
            print_json(plain(outcome))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = Table("upload", "action", "why", "not looked for", box=box.SIMPLE_HEAD, pad_edge=False)
    for outcome in outcomes:
        action = Text(outcome.action, _COLOURS[outcome.action])
        rows.add_row(outcome.upload, action, "\n".join(outcome.why), "\n".join(outcome.not_looked_for))
    Console(width=None if is_terminal(sys.stdout) else _PLAIN_WIDTH, highlight=False, markup=False).print(rows)


def _form(sidecar: str, listed: bytes) -> Starlette:
    """Return the app with the upload form, which passes each upload on to the sidecar."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    def page(outcome: _Outcome | None = None, status: int = 200) -> Response:
        return HTMLResponse(render("cli/hook/try.html", outcome=outcome), status)

    async def show(_request: Request) -> Response:
        return page()

    async def picture(_request: Request) -> Response:
        return Response(listed, media_type="image/jpeg")

    async def upload(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BYTES:
                return page(_Outcome("", "HOLD", ("It has more than 64 MiB.",)), 413)
        content_type = request.headers.get("content-type", "")
        try:
            return page(await run_in_threadpool(_outcome, sidecar, bytes(body), content_type))
        except Unavailable as e:
            return page(_Outcome("", "HOLD", (e.message,)), 503)

    return Starlette(routes=[Route("/", show), Route("/", upload, methods=["POST"]), Route("/listed.jpg", picture)])


def _serve(app: Starlette, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    import uvicorn

    config = uvicorn.Config(app, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has ended
        uvicorn.Server(config).run(sockets=[listening])
