"""Files of a result: what the disk says of them as our errors, and their digests."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from hashhub.errors import HashHubError, LimitExceeded, Reason


@contextmanager
def mapped() -> Iterator[None]:
    """Turn what the disk says into our errors."""
    try:
        yield
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise LimitExceeded(
                "the disk of the data directory is full: free some space, then start the operation again",
                reason=Reason.DISK_FULL,
            ) from e
        raise HashHubError(f"the data directory cannot be used ({e.strerror}); see its permissions") from e
