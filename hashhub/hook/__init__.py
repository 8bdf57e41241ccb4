"""The upload hook: what decides over an upload, and the adapters by which uploads come to it.

sidecar, clamd, buckets, asgi, wsgi, django
          └── core ── examiner ── the hub, or (local) a copy of its lists
                └── hashhub.desk, which keeps what was decided and what comes after it

from hashhub.hook import Action, load_settings, open_hook

with open_hook(load_settings(Path("hook.toml"))) as hook:
    if hook.check(request.files["picture"].stream).action is not Action.ALLOW:
        ...
"""

from __future__ import annotations

from hashhub.desk.decision import Action, Decision, DecisionRecord, FollowUp, NoAnswer, PublicDecision, WithoutAnswer
from hashhub.hook.core import Hook, Upload
from hashhub.hook.factory import open_hook
from hashhub.hook.settings import HookSettings
from hashhub.hook.settings import load as load_settings

__all__ = [
    "Action",
    "Decision",
    "DecisionRecord",
    "FollowUp",
    "Hook",
    "HookSettings",
    "NoAnswer",
    "PublicDecision",
    "Upload",
    "WithoutAnswer",
    "load_settings",
    "open_hook",
]
