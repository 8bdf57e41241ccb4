"""Both keep hashhub's contracts."""

from __future__ import annotations

from hashhub_ledger import Ledger
from hashhub_ledger_writer import LedgerWriter

from hashhub.testing.connectors import ConnectorContract
from hashhub.testing.writers import WriterContract


class TestLedger(ConnectorContract):
    """Every item is accounted for, the source is streamed, and cut and damaged files do no harm."""

    connector = Ledger()
    sample = b"5eb63bbbe01eeed093cb22bb8f5acdc3;A\nnonsense;A\n"
    items = 2


class TestLedgerWriter(WriterContract):
    """What is written is read back and compared: each difference is named by a Loss, and each Loss names one."""

    writer = LedgerWriter()
    connector = Ledger()
