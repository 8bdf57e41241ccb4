"""The sidecar: a hook behind HTTP, for an app in any language on the same machine or network.

app ── guard (secret, no browsers) ── bodies (bounded, as they stream) ── core ── answer (one decision a file)
                                   └─ shapes (pict-rs, tusd: what they send, and what they read in an answer)

`serve` runs it; `Sidecar` is the ASGI application.
"""

from __future__ import annotations

from hashhub.hook.sidecar.application import Sidecar
from hashhub.hook.sidecar.server import serve

__all__ = ["Sidecar", "serve"]
