"""What the sidecar says of itself: /openapi.json for programs, /docs for people. Static; nothing foreign is loaded."""

from __future__ import annotations

import html
from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import hashhub
from hashhub.hook.decision import Action, Decision, NoAnswer
from hashhub.model import Verdict

_NO_STATUS: Final = 'Always 200, or by the setting `sidecar.status` = "451-on-block": ALLOW 200, HOLD 403, BLOCK 451.'
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}


def _answer(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


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
    decision = {"$ref": "#/components/schemas/Decision"}
    form = {
        "allOf": [
            decision,
            {
                "type": "object",
                "required": ["files", "not_checked"],
                "properties": {
                    "files": {
                        "description": "Each file in the order of the form; the severest is told above.",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["field", "file_name", "decision"],
                            "properties": {
                                "field": {"type": "string"},
                                "file_name": {"type": "string"},
                                "decision": decision,
                            },
                        },
                    },
                    "not_checked": {
                        "description": "Fields of text up to 64 KiB, which are no files.",
                        "type": "array",
                        "items": {"type": "string"},
                    },
                },
            },
        ]
    }
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
            "/check": {
                "post": {
                    "operationId": "check",
                    "summary": "Decide over an upload: its bytes as they are, or a form with files.",
                    "parameters": [_UPLOAD_ID],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/octet-stream": _BYTES,
                            "multipart/form-data": {
                                "schema": {"type": "object", "additionalProperties": _BYTES["schema"]}
                            },
                        },
                    },
                    "responses": _decided({"oneOf": [decision, form]}),
                }
            },
            "/hashes": {
                "post": {
                    "operationId": "hashes",
                    "summary": "Decide over the hashes of one upload.",
                    "parameters": [_UPLOAD_ID],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "required": ["hashes"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "hashes": {
                                            "type": "array",
                                            "minItems": 1,
                                            "maxItems": 64,
                                            "items": {"type": "string", "examples": ["MD5:" + "0" * 32]},
                                        }
                                    },
                                }
                            }
                        },
                    },
                    "responses": _decided(decision),
                }
            },
            "/pict-rs": {
                "post": {
                    "operationId": "pictRs",
                    "summary": "For pict-rs, `media.external_validation`: 2xx is ALLOW, HOLD 403, BLOCK 451.",
                    "requestBody": {"required": True, "content": {"application/octet-stream": _BYTES}},
                    "responses": {
                        "200": _answer("ALLOW.", decision),
                        "403": _answer("HOLD.", decision),
                        "451": _answer("BLOCK.", decision),
                        **_REFUSALS,
                    },
                }
            },
            "/tusd": {
                "post": {
                    "operationId": "tusd",
                    "summary": "For tusd 2, `-hooks-http`: decides at `pre-finish` over the file that tusd stored.",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"type": "object", "required": ["Type", "Event"]}}},
                    },
                    "responses": {
                        "200": _answer(
                            "A hook response: empty for ALLOW, otherwise HTTPResponse for the uploader.",
                            {"type": "object"},
                        ),
                        **_REFUSALS,
                        "404": _answer("The file is not there.", _ERROR),
                    },
                }
            },
            "/healthz": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether decisions are given, and whether they have answers behind them now.",
                    "security": [{}],
                    "responses": {
                        "200": _answer(
                            "SERVING; without `has_answers` uploads are decided as `without_answer` says.",
                            {"type": "object"},
                        ),
                        "503": _answer("STARTING or ENDING.", {"type": "object"}),
                    },
                }
            },
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Counts in Prometheus' text format.",
                    "responses": {
                        "200": {"description": "Counts.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                        "401": _REFUSALS["401"],
                    },
                }
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
                "Error": {
                    "type": "object",
                    "required": ["error", "action"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["reason", "message"],
                            "properties": {"reason": {"type": "string"}, "message": {"type": "string"}},
                        },
                        "action": {"const": "HOLD"},
                    },
                },
            },
        },
    }


async def openapi(_request: Request) -> Response:
    """Answer with the description."""
    return Response(msgspec.json.encode(description()), media_type="application/json")


async def docs(_request: Request) -> Response:
    """Answer with a page for people."""
    return Response(_page(), media_type="text/html; charset=utf-8")


@cache
def _page() -> str:
    told = description()
    rows = []
    for path, methods in told["paths"].items():
        for method, call in methods.items():
            answers = "".join(
                f"<li><code>{code}</code> {_text(answer['description'])}</li>"
                for code, answer in sorted(call["responses"].items())
            )
            rows.append(
                f"<h2><code>{method.upper()} {path}</code></h2><p>{_text(call['summary'])}</p><ul>{answers}</ul>"
            )
    words = "".join(
        f"<li>{name}: {', '.join(f'<code>{word}</code>' for word in kind)}</li>"
        for name, kind in (("action", Action), ("verdict", Verdict), ("no_answer", NoAnswer))
    )
    style = "body{max-width:50em;margin:2em auto;padding:0 1em;font:1em/1.5 sans-serif;color:#111;background:#fff}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>hashhub hook</title><style>{style}</style>'
        f"<h1>{_text(told['info']['title'])}</h1><p>{_text(told['info']['description'])}</p>"
        f"<pre>curl --data-binary @FILE http://127.0.0.1:8472/check\ncurl -F picture=@FILE http://127.0.0.1:8472/check"
        f"</pre><ul>{words}</ul>{''.join(rows)}"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p></html>'
    )


def _text(text: str) -> str:
    """Return HTML of a sentence with `code` in it."""
    pieces = html.escape(text, quote=False).split("`")
    return "".join(f"<code>{piece}</code>" if n % 2 else piece for n, piece in enumerate(pieces))
