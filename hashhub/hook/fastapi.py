"""The upload hook as a FastAPI dependency.

    Checked = Annotated[Decision, Depends(checked("picture"))]

    @app.post("/pictures")
    async def add(picture: UploadFile, decision: Checked): ...

With the middleware (`asgi.UploadHook`) it hands its decisions on; without, it checks the field's files itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from hashhub.desk.decision import Decision, severest_of
from hashhub.errors import FailedPrecondition
from hashhub.hook.core import Hook
from hashhub.hook.factory import refuse_to_lose
from hashhub.hook.forms import Uploads, answer_to

_NO_FILE = 422  # as FastAPI answers what is missing


def checked(field: str, *, hook: Hook | None = None) -> Callable[[Request], Awaitable[Decision]]:
    """Return a dependency that gives the decision over a form field's file, the severest of several.

    The endpoint is not called with an upload that is refused; one that is HOLD it gets if the settings say so
    (`[app] on_hold = "app"`), and must store it unpublished. `hook`: None where the middleware checks. Without the
    middleware FastAPI has written files of more than 1 MB to a temporary directory before any dependency runs.
    """
    if hook is not None:
        refuse_to_lose(hook)

    async def decision(request: Request) -> Decision:
        uploads = request.scope.get("hashhub")
        if isinstance(uploads, Uploads):
            decisions, app = uploads.of(field), uploads.app
        elif hook is not None:
            files = [file for file in (await request.form()).getlist(field) if not isinstance(file, str)]
            decisions = tuple([await run_in_threadpool(_check, hook, file) for file in files])
            app = hook.settings.app
        else:
            raise FailedPrecondition(
                "nothing checks this upload: add the middleware hashhub.hook.asgi.UploadHook, or give a hook to "
                "`checked`"
            )
        worst = severest_of(decisions)
        if worst is None:
            raise HTTPException(_NO_FILE, f"{field}: a file is needed")
        answer = answer_to(worst, app)
        if answer is not None:
            headers = {"retry-after": str(answer.retry_after)} if answer.retry_after is not None else None
            raise HTTPException(answer.status, msgspec.json.decode(answer.body), headers)
        return worst

    return decision


def _check(hook: Hook, file: UploadFile) -> Decision:
    file.file.seek(0)
    decision = hook.check(file.file, door="fastapi")
    file.file.seek(0)
    return decision
