"""What callers hand in, checked: algorithms, digests, distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import InvalidArgument, Reason, Violation
from hashhub.hashes import SEARCHED, Algorithm
from hashhub.matcher.index import Rows, space


def known_algorithm(algorithm: str) -> Algorithm:
    """Return the algorithm with this canonical name. Raises InvalidArgument (UNKNOWN_ALGORITHM)."""
    of = SEARCHED.get(algorithm)
    if of is None:
        known = ", ".join(SEARCHED)
        raise InvalidArgument(
            f"unknown hash algorithm {algorithm[:40]!r}; known algorithms are {known}",
            reason=Reason.UNKNOWN_ALGORITHM,
            violations=(Violation("algorithm", f"must be one of {known}", "UNKNOWN_ALGORITHM"),),
        )
    return of


def packed_rows(algorithm: str, digests: NDArray[np.uint8]) -> Rows:
    """Return the digests as rows. Raises InvalidArgument unless they are uint8[n, digest_bytes] of a known
    algorithm.
    """
    of = known_algorithm(algorithm)
    check_shape(of, digests)
    return space(of.name).pack(digests)


def check_shape(of: Algorithm, digests: NDArray[np.uint8]) -> None:
    """Raise InvalidArgument unless the digests are uint8[n, digest_bytes]."""
    if digests.dtype != np.uint8 or digests.shape[1:] != (of.digest_bytes,):
        raise InvalidArgument.field(
            f"{of.name} digests",
            f"must be uint8[n, {of.digest_bytes}], got {digests.dtype}{list(digests.shape)}",
            "WRONG_LENGTH",
        )


def check_widths(of: Algorithm, digests: Sequence[bytes]) -> None:
    """Raise InvalidArgument unless each digest has `digest_bytes`."""
    for digest in digests:
        if len(digest) != of.digest_bytes:
            raise InvalidArgument.field(
                f"{of.name} digests", f"must have {of.digest_bytes} bytes, got {len(digest)}", "WRONG_LENGTH"
            )


def checked_distance(of: Algorithm, max_distance: int | None) -> int:
    """Return the distance to use. Raises InvalidArgument where it is missing or out of range."""
    if max_distance is None:
        if of.default_max_distance is None:
            raise InvalidArgument(
                f"max_distance: {of.name} has no default distance, because {of.source}",
                reason=Reason.DISTANCE_REQUIRED,
                violations=(Violation("max_distance", f"must be given for {of.name}", "DISTANCE_REQUIRED"),),
            )
        return of.default_max_distance
    most = of.max_possible_distance
    if not 0 <= max_distance <= most:
        raise InvalidArgument.field(
            "max_distance", f"must be 0 to {most} for {of.name}, got {max_distance}", "OUT_OF_RANGE"
        )
    return max_distance
