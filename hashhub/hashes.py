"""The registry of hash algorithms, and hashes as values: parse, format, distance.

A *hash algorithm* is a named function, a *digest* its raw bytes, a *hash* the pair. Inside hashhub digests are bytes;
text forms exist only at the borders, and this module owns them. One algorithm has several text forms in the field (PDQ:
64 hex digits or 44 base64 characters; SHA-1: 40 hex or 32 base32; PhotoDNA: 192 base64, 288 hex or 144 comma-separated
integers), so the text is told apart by its length and alphabet, always within a *declared* algorithm: 64 hex digits may
be SHA-256 or PDQ.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from hashhub.errors import InvalidArgument, Reason, Violation


class Metric(StrEnum):
    """How two digests of one algorithm are compared."""

    EXACT = "EXACT"
    HAMMING = "HAMMING"
    SQUARED_EUCLIDEAN = "SQUARED_EUCLIDEAN"


class Encoding(StrEnum):
    """Text forms of a digest."""

    HEX = "HEX"
    BASE64 = "BASE64"
    BASE32 = "BASE32"
    INTEGERS = "INTEGERS"


class Algorithm(msgspec.Struct, frozen=True, kw_only=True):
    """A hash algorithm. Everything else that is to know of one follows from its entry in ALGORITHMS.

    Attributes:
        code: Stands for the algorithm in databases. Never changed, and never given to another.
        encodings: What `parse` accepts; the first is what `encode` writes unless it is told another.
        default_max_distance: Inclusive, in the metric's unit (bits for HAMMING). None: the caller must give one.
        source: Where the default comes from.
    """

    name: str
    code: int
    digest_bytes: int
    metric: Metric
    encodings: tuple[Encoding, ...]
    default_max_distance: int | None
    source: str

    @property
    def bits(self) -> int:
        """Width of a digest."""
        return self.digest_bytes * 8

    @property
    def is_perceptual(self) -> bool:
        """Whether near digests mean similar pictures."""
        return self.metric is not Metric.EXACT

    @property
    def max_possible_distance(self) -> int:
        """How far apart two digests can be, in the metric's unit."""
        if self.metric is Metric.EXACT:
            return 0
        return self.bits if self.metric is Metric.HAMMING else 255 * 255 * self.digest_bytes


def _exact(name: str, code: int, digest_bytes: int, source: str, *more: Encoding) -> Algorithm:
    return Algorithm(
        name=name,
        code=code,
        digest_bytes=digest_bytes,
        metric=Metric.EXACT,
        encodings=(Encoding.HEX, *more),
        default_max_distance=0,
        source=source,
    )


ALGORITHMS: Final[dict[str, Algorithm]] = {
    a.name: a
    for a in (
        _exact("MD5", 1, 16, "RFC 1321"),
        _exact("SHA1", 2, 20, "FIPS 180-4; base32 as in Project Arachnid's API", Encoding.BASE32),
        _exact("SHA256", 3, 32, "FIPS 180-4"),
        Algorithm(
            name="PDQ",
            code=4,
            digest_bytes=32,
            metric=Metric.HAMMING,
            encodings=(Encoding.HEX, Encoding.BASE64),
            default_max_distance=31,
            source="ThreatExchange, 'The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm' (2019), "
            "and its PdqSignal: match at 31 bits or fewer of 256",
        ),
        Algorithm(
            name="PHASH",
            code=5,
            digest_bytes=8,
            metric=Metric.HAMMING,
            encodings=(Encoding.HEX,),
            default_max_distance=10,
            source="phash.org and N. Krawetz, 'Looks Like It' (2011): over 10 of 64 bits is likely a different picture",
        ),
        Algorithm(
            name="DHASH",
            code=6,
            digest_bytes=8,
            metric=Metric.HAMMING,
            encodings=(Encoding.HEX,),
            default_max_distance=10,
            source="N. Krawetz, 'Kind of Like That' (2013): over 10 of 64 bits is likely a different picture",
        ),
        Algorithm(
            name="PHOTODNA",
            code=7,
            digest_bytes=144,
            metric=Metric.SQUARED_EUCLIDEAN,
            encodings=(Encoding.BASE64, Encoding.HEX, Encoding.INTEGERS),
            default_max_distance=None,
            source="thresholds are licensed and implementation-specific; the caller must name one",
        ),
    )
}
"""By canonical name, which is what entries, answers and matchers use."""

VPDQ: Final = Algorithm(
    name="VPDQ",
    code=8,
    digest_bytes=32,
    metric=Metric.HAMMING,
    encodings=(Encoding.HEX,),
    default_max_distance=31,
    source="ThreatExchange, vpdq/README and VPDQ_DISTANCE_THRESHOLD of python-threatexchange: 31 bits or fewer of 256",
)
"""The PDQ digest of one frame of a video. It belongs to a list of frames, so it is no hash that a record or a query may
have: a still picture that was hit and a frame that was hit say different things."""
FRAMES: Final = _exact("FRAMES", 9, 32, "SHA-256 of a video's frames, as `hashhub.frames` packs them")
"""Tells lists of frames apart in the store. Nothing is looked up by it."""
SEARCHED: Final[Mapping[str, Algorithm]] = MappingProxyType({**ALGORITHMS, VPDQ.name: VPDQ})
"""What matchers hold: the algorithms, and the frames of videos."""
STORED: Final[Mapping[str, Algorithm]] = MappingProxyType({**SEARCHED, FRAMES.name: FRAMES})
"""What has a code in databases."""

# Spellings seen in VICS, NCMEC XML, hashdeep and CSV headers, compared without case and punctuation.
_ALIASES: Final[dict[str, str]] = {
    **{name.lower(): name for name in ALGORITHMS},
    "pdna": "PHOTODNA",
    "photodnahash": "PHOTODNA",
    "imagepdq": "PDQ",
    "hashpdq": "PDQ",
    "sha2256": "SHA256",
}

_HEX_ONLY: Final = re.compile(r"[0-9A-Fa-f]+")


class HashError(InvalidArgument):
    """A text or a digest is no hash of the declared algorithm; `violations[0].reason` is a hygiene reason code."""


def algorithm(name: str) -> Algorithm:
    """Return the algorithm of a name or alias (`sha-256`, `pdna`, …). Raises InvalidArgument (UNKNOWN_ALGORITHM)."""
    canonical = name if name in ALGORITHMS else _ALIASES.get("".join(c for c in name.lower() if c.isalnum()))
    if canonical is None:
        known = ", ".join(ALGORITHMS)
        raise InvalidArgument(
            f"unknown hash algorithm {name[:40]!r}; known algorithms are {known}",
            reason=Reason.UNKNOWN_ALGORITHM,
            violations=(Violation("algorithm", f"must be one of {known}", "UNKNOWN_ALGORITHM"),),
        )
    return ALGORITHMS[canonical]


def is_exact(name: str) -> bool:
    """Whether digests of the algorithm with this canonical name say which file it is."""
    of = ALGORITHMS.get(name)
    return of is not None and of.metric is Metric.EXACT


class Hash(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A digest and the canonical name of its algorithm. Build it with `Hash.of` or `parse`, which check the width."""

    algorithm: str
    digest: bytes

    @classmethod
    def of(cls, algorithm_name: str, digest: bytes) -> Hash:
        """Return the checked hash. Raises HashError (WRONG_LENGTH) or InvalidArgument (unknown algorithm)."""
        a = algorithm(algorithm_name)
        if len(digest) != a.digest_bytes:
            raise _fault(a, "WRONG_LENGTH", f"digest must be {a.digest_bytes} bytes for {a.name}, got {len(digest)}")
        return cls(a.name, digest)

    @property
    def text(self) -> str:
        """`ALGORITHM:digest` in the canonical encoding; `parse_pair` reads it back."""
        return f"{self.algorithm}:{encode(self)}"


def parse(algorithm_name: str, text: str) -> Hash:
    """Return the hash that `text` spells in any encoding of the algorithm, whatever case and white space around. Raises
    HashError (EMPTY, WRONG_LENGTH, NOT_ENCODED), InvalidArgument for an unknown algorithm.
    """
    a = algorithm(algorithm_name)
    text = text.strip()
    if not text:
        raise _fault(a, "EMPTY", f"a {a.name} digest is missing")
    wanted = a.digest_bytes
    # Hex first: 288 hex digits are also valid base64 text.
    if len(text) == 2 * wanted:
        try:
            digest = binascii.a2b_hex(text)
        except (binascii.Error, ValueError):
            raise _fault(a, "NOT_ENCODED", f"{a.name} digest has {_characters(text)} but is not hexadecimal") from None
        return Hash(a.name, digest)
    decoded = _decode_other(a, text)
    if decoded is None:
        raise _fault(a, "WRONG_LENGTH", f"{a.name} digest must be {_lengths(a)}; got {_characters(text)}")
    if len(decoded) != wanted:
        raise _fault(a, "WRONG_LENGTH", f"{a.name} digest must be {wanted} bytes, got {len(decoded)}")
    return Hash(a.name, decoded)


def parse_pair(text: str) -> Hash:
    """Return the hash of `ALGORITHM:DIGEST`. Raises InvalidArgument when there is no colon, otherwise as `parse`."""
    name, colon, digest = text.partition(":")
    if not colon:
        raise InvalidArgument.field(
            "hash", f"expected ALGORITHM:DIGEST, for example PDQ:…, got {text[:12]!r}", "NO_ALGORITHM"
        )
    return parse(name, digest)


def encode(value: Hash, encoding: Encoding | None = None) -> str:
    """Return the text of the digest in `encoding`, by default the algorithm's canonical one."""
    match encoding or ALGORITHMS[value.algorithm].encodings[0]:
        case Encoding.HEX:
            return value.digest.hex()
        case Encoding.BASE64:
            return base64.b64encode(value.digest).decode()
        case Encoding.BASE32:
            return base64.b32encode(value.digest).decode()
        case Encoding.INTEGERS:
            return ",".join(map(str, value.digest))


def distance(a: Hash, b: Hash) -> int:
    """Return the distance, the plain reference of faster code; 0 or 1 for EXACT. Raises InvalidArgument for two
    algorithms.
    """
    if a.algorithm != b.algorithm:
        raise InvalidArgument(f"cannot compare {a.algorithm} with {b.algorithm}")
    match ALGORITHMS[a.algorithm].metric:
        case Metric.EXACT:
            return int(a.digest != b.digest)
        case Metric.HAMMING:
            return (int.from_bytes(a.digest) ^ int.from_bytes(b.digest)).bit_count()
        case Metric.SQUARED_EUCLIDEAN:
            return sum((x - y) ** 2 for x, y in zip(a.digest, b.digest, strict=True))


def _decode_other(a: Algorithm, text: str) -> bytes | None:
    """Decode the encodings other than hex, or return None when the shape fits none."""
    # Hex digits of another length are a cut or misplaced digest, which base64 or base32 would read as garbage. Letters
    # alone may still be base64: A…A is all zeros.
    if _HEX_ONLY.fullmatch(text) and any(c.isdigit() for c in text):
        raise _fault(a, "WRONG_LENGTH", f"{a.name} digest must be {_lengths(a)}; got {len(text)} hexadecimal digits")
    try:
        if Encoding.INTEGERS in a.encodings and "," in text:
            return bytes(int(part) for part in text.split(","))
        if Encoding.BASE64 in a.encodings and len(text) in {4 * -(-a.digest_bytes // 3), -(-8 * a.digest_bytes // 6)}:
            padded = text + "=" * (-len(text) % 4)
            return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
        if Encoding.BASE32 in a.encodings and len(text) == 8 * -(-a.digest_bytes // 5):
            return base64.b32decode(text.upper())
    except (binascii.Error, ValueError):
        raise _fault(a, "NOT_ENCODED", f"{a.name} digest is in none of its encodings ({_lengths(a)})") from None
    return None


def _characters(text: str) -> str:
    return f"{len(text)} character{'' if len(text) == 1 else 's'}"


def _lengths(a: Algorithm) -> str:
    n = a.digest_bytes
    sizes = {
        Encoding.HEX: f"{2 * n} hexadecimal digits",
        Encoding.BASE64: f"{4 * -(-n // 3)} base64 characters",
        Encoding.BASE32: f"{8 * -(-n // 5)} base32 characters",
        Encoding.INTEGERS: f"{n} comma-separated integers of 0 to 255",
    }
    return " or ".join(sizes[e] for e in a.encodings)


def _fault(a: Algorithm, reason: str, description: str) -> HashError:
    return HashError(description, violations=(Violation(f"{a.name} digest", description, reason),))
