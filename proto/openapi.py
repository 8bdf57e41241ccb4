"""Write docs/openapi.json, the OpenAPI 3.1 page of the HTTP door, from the contract: `python proto/openapi.py >
openapi.json`, which `make reference` does.

Descriptors say what there is, the comments in `proto/` what it means, the server's own tables who may call it and how
much a request may hold. Nothing is written by hand for one call, so that a new one is on the page by itself. The JSON
of each kind of field is that of proto3: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from hashhub import __version__
from hashhub.errors import HTTP_STATUS, StatusCode
from hashhub.server.servicers import ROLES
from hashhub.wire.bounds import REPEATED

HERE = Path(__file__).resolve().parent
PACKAGE = "hashhub.v1"
Schema = dict[str, Any]
Field = FieldDescriptorProto

# Numbers of fields in descriptor.proto, by which comments are found.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _VALUES, _METHODS = 2, 2, 2

_INTEGERS = {
    Field.TYPE_INT32: "int32", Field.TYPE_SINT32: "int32", Field.TYPE_SFIXED32: "int32",
    Field.TYPE_UINT32: "uint32", Field.TYPE_FIXED32: "uint32",
}  # fmt: skip
_LONG_INTEGERS = {
    Field.TYPE_INT64: "int64", Field.TYPE_SINT64: "int64", Field.TYPE_SFIXED64: "int64",
    Field.TYPE_UINT64: "uint64", Field.TYPE_FIXED64: "uint64",
}  # fmt: skip
_NUMBERS = {Field.TYPE_DOUBLE: "double", Field.TYPE_FLOAT: "float"}
_WELL_KNOWN: dict[str, Schema] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    ".google.protobuf.FieldMask": {"type": "string", "description": "Paths in lowerCamelCase, separated by commas."},
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.Value": {},
    ".google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}},
    ".google.protobuf.Empty": {"type": "object"},
    ".google.protobuf.StringValue": {"type": "string"},
    ".google.protobuf.BoolValue": {"type": "boolean"},
    ".google.protobuf.Int32Value": {"type": "integer", "format": "int32"},
    ".google.protobuf.DoubleValue": {"type": "number", "format": "double"},
    ".google.rpc.Status": {"$ref": "#/components/schemas/google.rpc.Status"},
}

DESCRIPTION = """\
The calls of a hub as plain JSON over HTTP: each is a POST with its request as the body. Names are in lowerCamelCase,
bytes in base64, 64-bit integers are strings, enumerations go by name, and what is empty is left out, of answers too.
The media type must be `application/json`. Calls that stream are gRPC's alone, and are not here. docs/api.md says
what is common to all calls: names, pages, limits, errors.
"""
_STATUS_SCHEMA: Schema = {
    "type": "object",
    "description": "Why a call failed: a google.rpc.Status.",
    "properties": {
        "code": {"type": "integer", "format": "int32", "description": "The number of the canonical code."},
        "message": {"type": "string", "description": "What is wrong, what was expected, what to do."},
        "details": {
            "type": "array",
            "description": "The first one is a google.rpc.ErrorInfo: its `reason` is stable, see reasons.md.",
            "items": {
                "type": "object",
                "required": ["@type"],
                "properties": {"@type": {"type": "string"}, "reason": {"type": "string"}, "domain": {"type": "string"}},
            },
        },
    },
}


def page() -> Schema:
    """Return the whole page. Raises SystemExit when protoc refuses a file."""
    files = [f for f in _described() if f.package == PACKAGE]
    paths: Schema = {}
    tags = []
    schemas: Schema = {"google.rpc.Status": _STATUS_SCHEMA}
    for file in files:
        said = _comments(file)
        for number, service in enumerate(file.service):
            tags.append({"name": service.name, "description": said.get((_SERVICES, number), "")})
            for place, method in enumerate(service.method):
                if method.server_streaming or method.client_streaming:
                    continue
                comment = said.get((_SERVICES, number, _METHODS, place), "")
                paths[f"/{PACKAGE}.{service.name}/{method.name}"] = {"post": _operation(service, method, comment)}
        for number, enum in enumerate(file.enum_type):
            schemas[enum.name] = _enumeration(enum, said, (_ENUMS, number))
        for number, message in enumerate(file.message_type):
            schemas[message.name] = _message(message, said, (_MESSAGES, number))
    paths |= _beside_the_calls()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hashhub",
            "version": __version__,
            "description": DESCRIPTION.replace("\n", " ").strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8471", "description": "The HTTP door of a hub on this machine."}],
        "security": [{"token": []}],
        "tags": [*tags, {"name": "Beside the calls", "description": "What probes and monitoring read."}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of this hub: `hh_…`."}
            },
            "responses": _errors(),
            "schemas": dict(sorted(schemas.items())),
        },
    }


def text() -> str:
    """Return the page as it stands in docs."""
    return json.dumps(page(), indent=1, ensure_ascii=False) + "\n"


def _described() -> list[FileDescriptorProto]:
    sources = sorted(HERE.glob("hashhub/v1/*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "contract"
        arguments = [f"-I{HERE}", f"-I{well_known}", f"--descriptor_set_out={out}", "--include_source_info"]
        if code := protoc.main(["protoc", *arguments, *map(str, sources)]):
            raise SystemExit(code)
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Return what stands above each thing, by its path in the descriptor."""
    return {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if place.leading_comments.strip()
    }


def _operation(service: ServiceDescriptorProto, method: MethodDescriptorProto, comment: str) -> Schema:
    roles = sorted(role.value.lower() for role in ROLES[f"{service.name}/{method.name}"])
    reads = method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    return {
        "tags": [service.name],
        "operationId": f"{service.name}_{method.name}",
        "summary": re.split(r"(?<=[.;]) ", comment)[0].rstrip(".;"),
        "description": f"{comment} Roles: {', '.join(roles)}.{' Changes nothing.' if reads else ''}",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _reference(method.input_type)}},
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": _reference(method.output_type)}},
            },
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(_statuses())},
        },
    }


def _statuses() -> dict[int, list[str]]:
    """Return the codes behind each HTTP status, and what the door itself says by status."""
    by_status: dict[int, list[str]] = {}
    for code in StatusCode:
        by_status.setdefault(HTTP_STATUS[code], []).append(code.value)
    return by_status | {413: ["RESOURCE_EXHAUSTED (TOO_LARGE)"], 415: ["INVALID_ARGUMENT (media type)"]}


def _errors() -> Schema:
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/google.rpc.Status"}}}
    after = {
        "Retry-After": {
            "description": "Seconds to wait before asking again, where waiting helps.",
            "schema": {"type": "integer"},
        }
    }
    return {
        str(status): {"description": ", ".join(sorted(codes)), "headers": after, "content": schema}
        for status, codes in sorted(_statuses().items())
    }


def _beside_the_calls() -> Schema:
    def get(name: str, summary: str, media_type: str, *, is_open: bool, more: Schema) -> Schema:
        return {
            "get": {
                "tags": ["Beside the calls"],
                "operationId": name,
                "summary": summary,
                **({"security": []} if is_open else {}),
                "responses": {
                    "200": {"description": summary, "content": {media_type: {"schema": {}}}},
                    **more,
                },
            }
        }

    refused = {s: {"$ref": f"#/components/responses/{s}"} for s in ("401", "403")}
    away = {"503": {"description": "The hub does not match now.", "content": {"application/json": {"schema": {}}}}}
    return {
        "/healthz": get("healthz", "Whether the hub matches now", "application/json", is_open=True, more=away),
        "/metrics": get("metrics", "What all workers count, for Prometheus", "text/plain", is_open=False, more=refused),
    }


def _message(message: DescriptorProto, said: dict[tuple[int, ...], str], at: tuple[int, ...]) -> Schema:
    maps = {f".{PACKAGE}.{message.name}.{m.name}": m for m in message.nested_type if m.options.map_entry}
    if others := [m.name for m in message.nested_type if not m.options.map_entry] + [e.name for e in message.enum_type]:
        raise SystemExit(f"{message.name}: nested types are not described yet: {', '.join(others)}")
    properties: Schema = {}
    for number, field in enumerate(message.field):
        comment = said.get((*at, _FIELDS, number), "")
        properties[field.json_name] = _described_as(_field(message.name, field, maps), comment)
    schema: Schema = {"type": "object", "properties": properties}
    return _described_as(schema, said.get(at, ""))


def _field(owner: str, field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> Schema:
    if (entry := maps.get(field.type_name)) is not None:
        return {"type": "object", "additionalProperties": _value(entry.field[1])}
    if field.label != Field.LABEL_REPEATED:
        return _value(field)
    schema: Schema = {"type": "array", "items": _value(field)}
    # Of what is asked only: what is answered may have grown by several requests.
    if owner.endswith("Request") and (most := REPEATED.get(f"{owner}.{field.name}")) is not None:
        schema["maxItems"] = most
    return schema


def _value(field: FieldDescriptorProto) -> Schema:
    kind = field.type
    if kind in {Field.TYPE_MESSAGE, Field.TYPE_ENUM}:
        return _reference(field.type_name)
    if kind == Field.TYPE_STRING:
        return {"type": "string"}
    if kind == Field.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    if kind == Field.TYPE_BOOL:
        return {"type": "boolean"}
    if kind in _INTEGERS:
        return {"type": "integer", "format": _INTEGERS[kind]}
    if kind in _LONG_INTEGERS:
        return {"type": "string", "format": _LONG_INTEGERS[kind], "pattern": "^-?[0-9]+$"}
    return {"type": "number", "format": _NUMBERS[kind]}


def _enumeration(enum: EnumDescriptorProto, said: dict[tuple[int, ...], str], at: tuple[int, ...]) -> Schema:
    lines = [said.get(at, "")]
    lines += [f"{value.name}: {said.get((*at, _VALUES, n), '')}" for n, value in enumerate(enum.value)]
    return {"type": "string", "enum": [v.name for v in enum.value], "description": " ".join(filter(None, lines))}


def _reference(name: str) -> Schema:
    if name.startswith(f".{PACKAGE}."):
        return {"$ref": f"#/components/schemas/{name.removeprefix(f'.{PACKAGE}.')}"}
    return dict(_WELL_KNOWN[name])


def _described_as(schema: Schema, comment: str) -> Schema:
    if not comment:
        return schema
    own = schema.get("description", "")
    return {**schema, "description": f"{comment} {own}".strip()}


if __name__ == "__main__":
    sys.stdout.write(text())
