"""Functions that are called only with uploads that are allowed."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import UploadFile
from werkzeug.datastructures import FileStorage

from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded
from hashhub.hook import Action, Decision, Hook
from hashhub.hook.decorator import UploadRefused, checked_upload
from tests.hook.web import DOUBTED, LISTED, OTHER, changed


class Unseekable:
    """A stream such as a socket's."""

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)


def kinds(content: bytes, directory: Path) -> list[Any]:
    path = directory / "upload"
    path.write_bytes(content)
    return [
        content,
        bytearray(content),
        memoryview(content),
        path,
        io.BytesIO(content),
        Unseekable(content),
        FileStorage(io.BytesIO(content)),
        UploadFile(io.BytesIO(content)),
    ]


def read(upload: Any) -> bytes:
    if isinstance(upload, Path):
        return upload.read_bytes()
    if isinstance(upload, UploadFile):
        return upload.file.read()
    return upload if isinstance(upload, bytes) else upload.read()


def test_whatever_holds_the_upload(hook: Hook, tmp_path: Path) -> None:
    @checked_upload(argument="upload", hook=hook)
    def store(name: str, upload: Any = None) -> bytes | None:
        return None if upload is None else read(upload)

    for upload in kinds(OTHER, tmp_path):
        assert store("a", upload) == OTHER
    assert store("none") is None
    for content in (LISTED, DOUBTED):
        for upload in kinds(content, tmp_path):
            with pytest.raises(UploadRefused, match="reference") as refused:
                store("a", upload=upload)
            assert isinstance(refused.value, HashHubError)
            assert refused.value.decision.reference in refused.value.message
            assert refused.value.decision.action.lower() not in refused.value.message.lower()


def test_a_stream_is_put_back_to_where_it_stood(hook: Hook) -> None:
    @checked_upload(argument="upload", hook=hook)
    def position(upload: io.BytesIO) -> int:
        return upload.tell()

    stream = io.BytesIO(b"head" + OTHER)
    stream.seek(4)
    assert position(stream) == 4


def test_of_several_none_is_handed_on_unless_all_may(hook: Hook) -> None:
    @checked_upload(argument="uploads", hook=lambda: hook)
    def count(uploads: list[bytes]) -> int:
        return len(uploads)

    assert count([OTHER, OTHER]) == 2
    assert count([]) == 0
    with pytest.raises(UploadRefused):
        count([OTHER, LISTED])


def test_what_is_held_can_be_handed_on_with_its_decision(hook: Hook) -> None:
    @checked_upload(argument="upload", hook=hook, refuse={Action.BLOCK}, decision="decision")
    def store(upload: bytes, *, decision: Decision | None = None) -> Action | None:
        return decision.action if decision else None

    assert store(DOUBTED) is Action.HOLD
    assert store(OTHER) is Action.ALLOW
    with pytest.raises(UploadRefused):
        store(LISTED)
    with pytest.raises(InvalidArgument, match="given by the upload hook"):
        store(LISTED, decision=None)


def test_coroutines_are_checked_without_blocking_the_loop(hook: Hook, tmp_path: Path) -> None:
    @checked_upload(argument="upload", hook=hook)
    async def store(upload: Any) -> bytes:
        await asyncio.sleep(0)
        return read(upload)

    async def both() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for upload in kinds(OTHER, tmp_path):
            assert await store(upload) == OTHER
        with pytest.raises(UploadRefused):
            await store(LISTED)
        counting.cancel()
        assert turns > 20  # nine checks, each of many turns of the loop

    asyncio.run(both())


def test_wrong_uses_are_refused_when_the_function_is_made(hook: Hook) -> None:
    for named in (
        {"argument": "upload", "refuse": {Action.HOLD}},  # BLOCK must be refused
        {"argument": "upload", "refuse": {Action.BLOCK}},  # nobody would know of HOLD
        {"argument": "elsewhere"},
        {"argument": "upload", "decision": "elsewhere"},
    ):
        with pytest.raises(InvalidArgument):

            @checked_upload(hook=hook, **named)
            def store(upload: bytes) -> None: ...

    with pytest.raises(InvalidArgument, match="asynchronous generator"):

        @checked_upload(argument="upload", hook=hook)
        async def stream(upload: bytes) -> Any:
            yield upload


@pytest.mark.parametrize("wrong", ["a name", 7, {"a": b""}, io.StringIO("text")])
def test_what_is_no_upload_is_not_taken_for_one(hook: Hook, wrong: Any) -> None:
    @checked_upload(argument="upload", hook=hook)
    def store(upload: Any) -> None:
        pytest.fail("called")

    with pytest.raises(InvalidArgument, match="upload: must be bytes, a Path or a binary stream"):
        store(wrong)


def test_a_copy_in_memory_is_bounded_and_dropped(hook: Hook) -> None:
    copies = []

    @checked_upload(argument="upload", hook=hook)
    def store(upload: Any) -> None:
        copies.append(upload)

    with changed(hook, max_request_bytes=1000):
        store(Unseekable(bytes(1000)))
        with pytest.raises(LimitExceeded):
            store(Unseekable(bytes(1001)))
    assert [copy.closed for copy in copies] == [True]


def test_a_generator_has_its_copy_until_it_ends(hook: Hook) -> None:
    copies = []

    @checked_upload(argument="upload", hook=hook)
    def pieces(upload: Any) -> Iterator[bytes]:
        copies.append(upload)
        while piece := upload.read(3):
            yield piece

    assert b"".join(pieces(Unseekable(OTHER))) == OTHER
    assert [copy.closed for copy in copies] == [True]
    with pytest.raises(UploadRefused):
        next(pieces(Unseekable(LISTED)))
    assert len(copies) == 1


def test_a_file_of_the_system_stays_open(hook: Hook) -> None:
    @checked_upload(argument="upload", hook=hook)
    def size(upload: Any) -> int:
        return len(upload.read())

    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(3_000_000))
        file.seek(0)
        assert size(file) == 3_000_000
        assert not file.closed


def test_of_an_upload_that_was_begun_to_be_read_all_is_looked_at(hook: Hook) -> None:
    """Apps read the first bytes to tell what it is; Django then stores it from its begin, wherever it stands."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    @checked_upload(argument="upload", hook=hook)
    def store(upload: Any) -> bytes:
        return b"".join(upload.chunks())

    upload = SimpleUploadedFile("a", LISTED)
    upload.read(2)
    with pytest.raises(UploadRefused):
        store(upload)
    upload = SimpleUploadedFile("a", OTHER)
    upload.read(2)
    assert store(upload) == OTHER
