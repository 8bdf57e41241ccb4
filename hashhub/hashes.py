"""The registry of hash algorithms, and hashes as values: parse, format, distance.

A *hash algorithm* is a named function, a *digest* its raw bytes, a *hash* the pair. Inside hashhub digests are bytes;
this module owns their text forms, of which an algorithm may have several (PDQ: 64 hex digits or 44 base64 characters).
They are told apart by length and alphabet within a *declared* algorithm: 64 hex digits may be SHA-256 or PDQ.
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


class Algorithm(msgspec.Struct, frozen=True):
    """A hash algorithm, from which all else follows. `code`: in databases, for good. `encodings`: what `parse` accepts,
    what `encode` writes first. `default_max_distance`: inclusive, in the metric's unit (bits for HAMMING), by `source`;
    None: the caller must give one.
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


_PDQ: Final = (
    "ThreatExchange, 'The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm' (2019), and its "
    "PdqSignal: match at 31 bits or fewer of 256"
)
_VPDQ: Final = (
    "ThreatExchange, vpdq/README and VPDQ_DISTANCE_THRESHOLD of python-threatexchange: 31 bits or fewer of 256"
)
_KRAWETZ: Final = "over 10 of 64 bits is likely a different picture"
_LOOKS: Final = "N. Krawetz, 'Looks Like It' (2011)"
_SHA1: Final = "FIPS 180-4; base32 as in Project Arachnid's API"
_FRAMES: Final = "SHA-256 of a video's frames, as `hashhub.frames` packs them"
_LICENSED: Final = "thresholds are licensed and implementation-specific; the caller must name one"
_HEX: Final = (Encoding.HEX,)
_PHOTODNA_TEXTS: Final = (Encoding.BASE64, Encoding.HEX, Encoding.INTEGERS)

ALGORITHMS: Final[dict[str, Algorithm]] = {
    a.name: a
    for a in (
        Algorithm("MD5", 1, 16, Metric.EXACT, _HEX, 0, "RFC 1321"),
        Algorithm("SHA1", 2, 20, Metric.EXACT, (*_HEX, Encoding.BASE32), 0, _SHA1),
        Algorithm("SHA256", 3, 32, Metric.EXACT, _HEX, 0, "FIPS 180-4"),
        Algorithm("PDQ", 4, 32, Metric.HAMMING, (*_HEX, Encoding.BASE64), 31, _PDQ),
        Algorithm("PHASH", 5, 8, Metric.HAMMING, _HEX, 10, f"phash.org and {_LOOKS}: {_KRAWETZ}"),
        Algorithm("DHASH", 6, 8, Metric.HAMMING, _HEX, 10, f"N. Krawetz, 'Kind of Like That' (2013): {_KRAWETZ}"),
        Algorithm("PHOTODNA", 7, 144, Metric.SQUARED_EUCLIDEAN, _PHOTODNA_TEXTS, None, _LICENSED),
    )
}
"""By canonical name, which is what entries, answers and matchers use."""

VPDQ: Final = Algorithm("VPDQ", 8, 32, Metric.HAMMING, _HEX, 31, _VPDQ)
"""The PDQ digest of one frame of a video. It belongs to a list of frames, so it is no hash that a record or a query may
have: a still picture that was hit and a frame that was hit say different things."""
FRAMES: Final = Algorithm("FRAMES", 9, 32, Metric.EXACT, _HEX, 0, _FRAMES)
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
        message = f"unknown hash algorithm {name[:40]!r}; known algorithms are"
        raise InvalidArgument.unknown_name("algorithm", message, ALGORITHMS, Reason.UNKNOWN_ALGORITHM)
    return ALGORITHMS[canonical]


def is_exact(name: str) -> bool:
    """Whether digests of the algorithm with this canonical name say which file it is."""
    of = ALGORITHMS.get(name)
    return of is not None and of.metric is Metric.EXACT


class Hash(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
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
