"""Reads ledgers: one item a line, an MD5 or SHA-512 digest, a semicolon, a category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from hashhub.connector import MAX_LINE, Certainty, Guess, Option, check_options, read_hashes
from hashhub.errors import MalformedSource
from hashhub.model import Record, Reject


class Ledger:
    """One item a line: an MD5 or SHA-512 digest, a semicolon, a category."""

    name = "ledger"
    version = "1"  # changes whenever the same bytes would give other records
    summary = "digest;category"
    options: tuple[Option, ...] = ()

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        return True

    def detect(self, head: bytes, name: str) -> Guess | None:
        return Guess(Certainty.CERTAIN, "its name ends in .ledger") if name.endswith(".ledger") else None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        check_options(self, options)
        number = 0
        while line := source.readline(MAX_LINE):
            number += 1
            position = f"line {number}"
            if len(line) == MAX_LINE:
                raise MalformedSource(f"the line has {MAX_LINE} bytes or more", position=position)
            digest, _, category = line.decode("utf-8", "replace").strip().partition(";")
            hashes, faults = read_hashes([("SHA512" if len(digest) == 128 else "MD5", digest)])
            if hashes:
                yield Record(position=position, hashes=hashes, value=category if category.isalnum() else "")
            else:
                yield Reject(position, faults[0].reason, faults[0].detail)
