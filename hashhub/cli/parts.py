"""All commands but those of `hashhub hook`, which load themselves: the modules that hold them."""

from __future__ import annotations

from typing import Final

from hashhub.cli import (
    admin,
    backup,
    catalogue,
    changes,
    conflicts,
    contributors,
    entries,
    exports,
    history,
    hook,
    imports,
    matching,
    policies,
    queue,
    reconcile,
    sample,
    scanning,
    schemes,
    serving,
    webhooks,
)

PARTS: Final = (
    serving, contributors, imports, exports, entries, queue, matching, scanning, changes, history, catalogue, policies,
    schemes, admin, webhooks, backup, reconcile, conflicts, sample,
    hook,
)  # fmt: skip
