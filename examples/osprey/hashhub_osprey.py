"""A function for Osprey's rules: what a hashhub sidecar says of hashes, or of a file, that an action is about.

    Picture: str = JsonData(path='$.picture.hash')
    Action = HashhubAction(hashes=[Picture])
    Listed = Rule(when_all=[Action == 'BLOCK'], description='a listed picture')

ALLOW, HOLD or BLOCK; HOLD whatever goes wrong, since no answer says nothing. The sidecar's address and secret are in
HASHHUB_HOOK_URL and HASHHUB_HOOK_SECRET.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Sequence
from typing import Any

from osprey.engine.executor.execution_context import ExecutionContext
from osprey.engine.udf.arguments import ArgumentsBase
from osprey.engine.udf.base import UDFBase
from osprey.worker.adaptor.plugin_manager import hookimpl_osprey

MOST_BYTES = 1 << 20  # of an answer


class HashhubArguments(ArgumentsBase):
    hashes: list[str]
    """ALGORITHM:digest each, such as PDQ:… or MD5:…, of one upload."""

    seconds: float = 5.0
    """How long the sidecar is waited for."""


class HashhubAction(UDFBase[HashhubArguments, str]):
    """ALLOW, HOLD or BLOCK, as a hashhub sidecar decides over these hashes. HOLD without an answer."""

    category = "Hash"
    execute_async = True

    def execute(self, execution_context: ExecutionContext, arguments: HashhubArguments) -> str:
        return ask(arguments.hashes, arguments.seconds)


def ask(hashes: Sequence[str], seconds: float) -> str:
    """Return ALLOW, HOLD or BLOCK. An upload without a hash is HOLD: nothing was looked for."""
    url = os.environ.get("HASHHUB_HOOK_URL", "http://127.0.0.1:8472")
    secret = os.environ.get("HASHHUB_HOOK_SECRET", "")
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {secret}"} if secret else {})
    try:
        body = json.dumps({"hashes": [h for h in hashes if h]}).encode()
        request = urllib.request.Request(f"{url}/hashes", body, headers)
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            action = json.loads(answer.read(MOST_BYTES))["action"]
    except Exception:  # the sidecar's errors, the network's, and answers that are none
        return "HOLD"
    return action if action in ("ALLOW", "BLOCK") else "HOLD"


@hookimpl_osprey
def register_udfs() -> Sequence[type[UDFBase[Any, Any]]]:
    return [HashhubAction]
