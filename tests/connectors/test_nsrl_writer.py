"""The list of known files is read back by the connector for NSRL's own."""

from __future__ import annotations

from typing import Any

import pytest

from hashhub.model import HashSet, Purpose
from hashhub.testing.writers import WriterContract
from hashhub_connectors.nsrl_writer import NSRLWriter

nsrl: Any = pytest.importorskip("hashhub_connectors.nsrl")


class TestNSRL(WriterContract):
    writer = NSRLWriter()
    connector = nsrl.NSRL()
    hash_set = HashSet(contributor="hotline", id="known", purpose=Purpose.BENIGN)
