"""The upload hook: what stands in an upload's way.

sidecar, clamd, bucket, asgi, wsgi, django ── the doors
          └── core ── judges: the hub, or (local) a copy of its lists
                └── records ── vault, queue, cases, evidence ── what comes after a decision

from hashhub.hook import Action, load_settings, open_hook

with open_hook(load_settings(Path("hook.toml"))) as hook:
    if hook.check(request.files["picture"].stream).action is not Action.ALLOW:
        ...
"""

from __future__ import annotations

from hashhub.hook.core import Hook, Upload
from hashhub.hook.decision import Action, Checked, Decision, NoAnswer, PublicDecision, Rechecked, WithoutAnswer
from hashhub.hook.opening import open_hook
from hashhub.hook.settings import HookSettings
from hashhub.hook.settings import load as load_settings

__all__ = [
    "Action",
    "Checked",
    "Decision",
    "Hook",
    "HookSettings",
    "NoAnswer",
    "PublicDecision",
    "Rechecked",
    "Upload",
    "WithoutAnswer",
    "load_settings",
    "open_hook",
]
