"""docs/api.md says everything, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import json_format

from hashhub import v1
from hashhub.config import Config
from hashhub.errors import HTTP_STATUS, Reason
from hashhub.model import (
    MAX_BATCH,
    MAX_HASHES_PER_ENTRY,
    MAX_HASHES_PER_QUERY,
    MAX_LIVE_PICTURE,
    MAX_MEDIA,
    MAX_QUERIES,
    MAX_TEXT,
    Role,
)
from hashhub.server import admission, bodies, connections, http_listener, listeners, pages
from hashhub.server.servicers import FILES, ROLES
from hashhub.wire.bounds import REPEATED

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


LIVE_RATES = (
    f"`live_frames_per_second`, {Config().live_frames_per_second:g}; of one token `token_live_frames_per_second`, "
    f"{Config().token_live_frames_per_second:g}"
)


def _rows(pattern: str, text: str = PAGE) -> dict[str, str]:
    """Return what the two groups of `pattern` find, line by line."""
    return {m[1]: m[2] for m in re.finditer(pattern, text, re.MULTILINE)}


def test_every_call_is_there_with_its_roles() -> None:
    stated = {}
    for section in PAGE.split("\n### ")[1:]:
        service = section.split("\n", 1)[0]
        section = section.split("\n## ")[0]  # noqa: PLW2901 - the last service's section ends with the chapter
        for name, roles in _rows(r"^\| `(\w+)` \| ([a-z, ]+) \|", section).items():
            every = {"every role": set(Role), "every role but peer": set(Role) - {Role.PEER}}
            stated[f"{service}/{name}"] = every.get(roles) or {Role(r.strip().upper()) for r in roles.split(",")}
    assert stated == {name: set(roles) for name, roles in ROLES.items()}


def test_streams_are_marked() -> None:
    streams = {m.name for f in FILES for s in f.services_by_name.values() for m in s.methods if m.server_streaming}
    assert set(re.findall(r"^\| `(\w+)` .* A stream: gRPC only\. \|$", PAGE, re.MULTILINE)) == streams


def test_reasons_are_stable() -> None:
    # Clients act on these. Adding one is fine; taking one away or renaming it breaks them.
    assert {
        "INVALID_FIELD", "MALFORMED_SOURCE", "UNKNOWN_FORMAT", "UNKNOWN_SCHEME", "UNKNOWN_ALGORITHM",
        "DISTANCE_REQUIRED",
        "UNREADABLE_MEDIA", "MEDIA_TOO_LARGE", "TOKEN_MISSING", "TOKEN_UNKNOWN", "ROLE_NOT_ALLOWED",
        "NOT_YOUR_CONTRIBUTOR",
        "RESOURCE_NOT_FOUND", "RESOURCE_EXISTS", "IMPORT_CLOSED", "IMPORT_INCOMPLETE", "ENTRY_WITHDRAWN", "LIST_SHRANK",
        "DATA_IN_USE", "ADDRESS_IN_USE", "CONCURRENT_CHANGE", "TOO_LARGE", "TOO_MANY_REQUESTS", "DISK_FULL",
        "DATABASE_UNAVAILABLE", "SERVER_UNAVAILABLE", "MATCHER_NOT_READY", "DEADLINE_EXCEEDED", "SNAPSHOT_DAMAGED",
        "MISSING_EXTRA", "INTERNAL",
    } <= set(Reason)  # fmt: skip


def test_every_code_is_there_with_its_http_code() -> None:
    stated = _rows(r"^\| ([A-Z_]+) \| (\d+)")
    assert stated == {code: str(status) for code, status in HTTP_STATUS.items()}


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("one message", f"`max_message_bytes`, {Config().max_message_bytes >> 20} MiB"),
        ("calls in progress in one process", f"`max_concurrent_calls`, {Config().max_concurrent_calls}"),
        (
            "HTTP bodies held at once in one process",
            f"`max_bytes_in_progress`, {Config().max_bytes_in_progress >> 20} MiB; half of it for one token",
        ),
        ("gRPC connections of one process", f"`max_connections`, {Config().max_connections}"),
        ("the beginning of a gRPC connection, with TLS or without", f"{listeners.HANDSHAKE_SECONDS:g} s"),
        ("HTTP connections of one process", f"`max_connections`, {Config().max_connections}"),
        (
            "the header of an HTTP request",
            f"{connections.HEADER_BYTES >> 10} KiB, within {http_listener.HEADER_SECONDS:g} s, as is the next one",
        ),
        ("the pace of an HTTP body", f"{bodies.SLOWEST >> 10} KiB a second, after {bodies.GRACE:g} s"),
        (
            "calls with media in one process",
            f"`max_queued_media`, {Config().max_queued_media}, and as many as `media_workers`",
        ),
        ("followed feeds in one process", str(admission.FOLLOWERS)),
        ("live streams in one process", f"`max_live_streams`, {Config().max_live_streams}"),
        ("frames a second of a live stream", LIVE_RATES),
        ("a frame of a live stream as a picture", f"{MAX_LIVE_PICTURE >> 20} MiB"),
        ("calls in progress of one token", f"`token_calls`, {Config().token_calls}, or its own share"),
        (
            "followed feeds, live streams and exports of one token",
            f"`token_streams`, {Config().token_streams}, or its own share",
        ),
        ("open imports of one contributor", f"`max_open_imports`, {Config().max_open_imports}"),
        ("time to send a request", f"`slow_sender_seconds`, {Config().slow_sender_seconds:g}"),
        (
            "commits and reverts in one process",
            f"1, and `max_waiting_commits`, {Config().max_waiting_commits}, that wait",
        ),
        ("queries in BatchMatchHashes", str(MAX_QUERIES)),
        ("files in BatchMatchMedia", str(MAX_MEDIA)),
        ("items in AddRecords", f"{MAX_BATCH:,}"),
        ("hashes in a query", str(MAX_HASHES_PER_QUERY)),
        ("hashes in a record", str(MAX_HASHES_PER_ENTRY)),
        ("one text in a record", f"{MAX_TEXT} characters"),
    ],
)
def test_limits_are_the_real_ones(limit: str, value: str) -> None:
    assert f"| {limit} | {value} |" in PAGE


def test_every_list_of_a_request_is_there_with_its_bound() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| (`\w+\.\w+`.*) \| \w+ \|$", PAGE, re.MULTILINE)
    stated = {name: most for most, names in rows for name in re.findall(r"`([\w.]+)`", names)}
    assert stated == {name: f"{most:,}" for name, most in REPEATED.items()}


def test_page_sizes_are_the_real_ones() -> None:
    assert f"0 means {pages.DEFAULT_SIZE}, more than {pages.MAX_SIZE} means {pages.MAX_SIZE}" in PAGE


def test_the_example_is_a_request() -> None:
    (body,) = re.findall(r"-d '(.+)'$", PAGE, re.MULTILINE)
    request = json_format.Parse(body, v1.MatchHashesRequest())
    assert request.query.hashes[0].digest.hex() == "d41d8cd98f00b204e9800998ecf8427e"  # MD5 of nothing
