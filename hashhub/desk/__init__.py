"""The desk: what comes after a match, for the persons who decide.

A hook hands over what it decided, and the bytes; the desk knows no hook.

hook ── records ─┬─ vault (sealed bytes) ── retention, legal holds, exports
                 ├─ queue ── what persons decide ── reviews to the hub, calls to the app
                 ├─ cases ── whose copies are stopped
                 ├─ rounds ── what had no answer is asked again; what is due is erased
                 └─ reports, evidence ── what is said to others
"""

from __future__ import annotations
