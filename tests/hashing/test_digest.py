from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument, Reason
from hashhub.hashing import DIGEST_ALGORITHMS
from hashhub.hashing.media import digests, read_chunks


@given(st.lists(st.binary(max_size=50)), st.sets(st.sampled_from(DIGEST_ALGORITHMS)))
def test_chunks_are_digested_as_their_concatenation(chunks: list[bytes], wanted: set[str]) -> None:
    data = b"".join(chunks)
    expected = {
        "MD5": hashlib.md5(data, usedforsecurity=False).digest(),
        "SHA1": hashlib.sha1(data, usedforsecurity=False).digest(),
        "SHA256": hashlib.sha256(data).digest(),
    }
    found = digests(chunks, wanted)
    assert {h.algorithm: h.digest for h in found} == {name: expected[name] for name in wanted}
    assert [h.algorithm for h in found] == [name for name in DIGEST_ALGORITHMS if name in wanted]


@given(st.binary(max_size=300), st.integers(1, 64), st.integers(0, 400))
def test_a_stream_is_read_from_where_it_stands(data: bytes, chunk_bytes: int, start: int) -> None:
    stream = io.BytesIO(data)
    stream.seek(start)
    chunks = list(read_chunks(stream, chunk_bytes))
    assert b"".join(chunks) == data[start:]
    assert all(0 < len(chunk) <= chunk_bytes for chunk in chunks)


def test_a_text_stream_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="binary mode") as caught:
        list(read_chunks(io.StringIO("text")))  # type: ignore[arg-type]  # the mistake under test
    assert caught.value.reason is Reason.UNREADABLE_MEDIA


def test_a_closed_stream_is_refused() -> None:
    stream = io.BytesIO(b"x")
    stream.close()
    with pytest.raises(InvalidArgument) as caught:
        list(read_chunks(stream))
    assert caught.value.reason is Reason.UNREADABLE_MEDIA
