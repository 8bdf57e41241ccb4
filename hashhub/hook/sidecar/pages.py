"""What the sidecar says of itself: /openapi.json for programs, /docs for people. Static; nothing foreign is loaded."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import hashhub
from hashhub.desk.decision import Action, Decision, NoAnswer
from hashhub.model import Verdict
from hashhub.pages import render

_TEXT: Final = {"type": "string"}
_BYTES: Final = {"type": "string", "format": "binary"}
_DECISION: Final = {"$ref": "#/components/schemas/Decision"}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has all of these."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answer(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": _json(schema)}


def _operation(name: str, summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _post(name: str, summary: str, content: dict[str, Any], responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"required": True, "content": content}
    return {"post": _operation(name, summary, responses, requestBody=body, **more)}


_ERROR: Final = {"$ref": "#/components/schemas/Error"}
_REFUSALS: Final = {
    "400": _answer("The request cannot be read.", _ERROR),
    "401": _answer("The secret is missing or another one.", _ERROR),
    "408": _answer("The body came too slowly.", _ERROR),
    "413": _answer("Too many parts, or more bytes than are read.", _ERROR),
    "503": _answer("Too many uploads at once; come back after Retry-After seconds.", _ERROR),
}
_UPLOAD_ID: Final = {
    "name": "Hashhub-Upload-Id",
    "in": "header",
    "description": "The app's own name for the upload, at most 200 characters; it comes back in the queue.",
    "schema": {"type": "string", "maxLength": 200},
}
_NO_STATUS: Final = 'Always 200, or by the setting `sidecar.status` = "451-on-block": ALLOW 200, HOLD 403, BLOCK 451.'


def _decided(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "200": _answer("The decision. " + _NO_STATUS, schema),
        "403": _answer("HOLD, where the status tells; without `verdict`: a web page asked.", schema),
        "451": _answer("BLOCK, where the status tells.", schema),
        **_REFUSALS,
    }


@cache
def description() -> dict[str, Any]:
    """Return the OpenAPI description. The schema of a decision is that of `Decision`."""
    _, components = msgspec.json.schema_components([Decision], ref_template="#/components/schemas/{name}")
    parts = msgspec.json.decode(msgspec.json.encode(components))  # defaults as JSON has them
    files = {
        "description": "Each file in the order of the form; the severest is told above.",
        "type": "array",
        "items": _object(field=_TEXT, file_name=_TEXT, decision=_DECISION),
    }
    fields = {"description": "Fields of text up to 64 KiB, which are no files.", "type": "array", "items": _TEXT}
    form = {"allOf": [_DECISION, _object(files=files, not_checked=fields)]}
    one_hash = {"type": "string", "examples": ["MD5:" + "0" * 32]}
    hashes = _object(hashes={"type": "array", "minItems": 1, "maxItems": 64, "items": one_hash})
    any_object = {"type": "object"}
    raw = {"application/octet-stream": {"schema": _BYTES}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hashhub hook: the sidecar",
            "version": hashhub.__version__,
            "description": "Checks uploads before anybody sees them. What is answered is for the app: an uploader may "
            "see `action` and `reference` at most. An error is no decision; its `action` is HOLD.",
        },
        "security": [{"secret": []}, {}],
        "paths": {
            "/check": _post(
                "check",
                "Decide over an upload: its bytes as they are, or a form with files.",
                {**raw, "multipart/form-data": {"schema": {"type": "object", "additionalProperties": _BYTES}}},
                _decided({"oneOf": [_DECISION, form]}),
                parameters=[_UPLOAD_ID],
            ),
            "/hashes": _post(
                "hashes",
                "Decide over the hashes of one upload.",
                _json({**hashes, "additionalProperties": False}),
                _decided(_DECISION),
                parameters=[_UPLOAD_ID],
            ),
            "/pict-rs": _post(
                "pictRs",
                "For pict-rs, `media.external_validation`: 2xx is ALLOW, HOLD 403, BLOCK 451.",
                raw,
                {
                    n: _answer(f"{action}.", _DECISION)
                    for n, action in (("200", "ALLOW"), ("403", "HOLD"), ("451", "BLOCK"))
                }
                | _REFUSALS,
            ),
            "/tusd": _post(
                "tusd",
                "For tusd 2, `-hooks-http`: decides at `pre-finish` over the file that tusd stored.",
                _json({"type": "object", "required": ["Type", "Event"]}),
                {
                    **_REFUSALS,
                    "200": _answer(
                        "A hook response: empty for ALLOW, otherwise HTTPResponse for the uploader.", any_object
                    ),
                    "404": _answer("The file is not there.", _ERROR),
                },
            ),
            "/healthz": {
                "get": _operation(
                    "health",
                    "Whether decisions are given, and whether they have answers behind them now.",
                    {
                        "200": _answer(
                            "SERVING; without `has_answers` uploads are decided as `without_answer` says.", any_object
                        ),
                        "503": _answer("STARTING or ENDING.", any_object),
                    },
                    security=[{}],
                )
            },
            "/metrics": {
                "get": _operation(
                    "metrics",
                    "Counts in Prometheus' text format.",
                    {
                        "200": {"description": "Counts.", "content": {"text/plain": {"schema": _TEXT}}},
                        "401": _REFUSALS["401"],
                    },
                )
            },
        },
        "components": {
            "securitySchemes": {
                "secret": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The secret of `sidecar.secret_file`, where there is one.",
                }
            },
            "schemas": {
                **parts,
                "Error": _object(error=_object(reason=_TEXT, message=_TEXT), action={"const": "HOLD"}),
            },
        },
    }


async def openapi(_request: Request) -> Response:
    """Answer with the description."""
    return Response(msgspec.json.encode(description()), media_type="application/json")


async def docs(_request: Request) -> Response:
    """Answer with a page for people."""
    return HTMLResponse(_page())


@cache
def _page() -> str:
    words = {"action": Action, "verdict": Verdict, "no_answer": NoAnswer}
    return render("hook/sidecar/docs.html", title="hashhub hook", **description(), words=words)
