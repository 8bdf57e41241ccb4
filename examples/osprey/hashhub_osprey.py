"""A function for Osprey's rules: what a hashhub sidecar says of the hashes of an upload.

    Picture: Optional[str] = JsonData(path='$.picture.pdq', required=False)
    Decision = HashhubAction(hashes=[Picture])
    Listed = Rule(when_all=[Decision == 'BLOCK'], description='a listed picture')
    Unsure = Rule(when_all=[Decision == 'HOLD'], description='a picture that a person must look at')

ALLOW, HOLD or BLOCK; HOLD whatever goes wrong. The sidecar's address and secret are in HASHHUB_HOOK_URL and
HASHHUB_HOOK_SECRET.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from osprey.engine.executor.execution_context import ExecutionContext
from osprey.engine.udf.arguments import ArgumentsBase
from osprey.engine.udf.base import UDFBase
from osprey.worker.adaptor.plugin_manager import hookimpl_osprey

MOST_BYTES = 1 << 20  # of an answer
logger = logging.getLogger(__name__)


class HashhubArguments(ArgumentsBase):
    """What `HashhubAction` takes."""

    hashes: list[str | None]
    """ALGORITHM:digest each, such as PDQ:… or MD5:…, of one upload. What is empty is left out."""

    seconds: float = 5.0
    """How long the sidecar is waited for."""


class HashhubAction(UDFBase[HashhubArguments, str]):
    """ALLOW, HOLD or BLOCK, as a hashhub sidecar decides over these hashes. HOLD without hashes or an answer."""

    category = "Hash"
    execute_async = True

    def execute(self, execution_context: ExecutionContext, arguments: HashhubArguments) -> str:
        return decide([h for h in arguments.hashes if h], arguments.seconds)


def decide(hashes: Sequence[str], seconds: float) -> str:
    """Return ALLOW, HOLD or BLOCK. It never raises: a rule over a value that failed would say nothing at all."""
    if not hashes:
        return "HOLD"
    try:
        action = ask(hashes, seconds)
    except Exception:  # the network's, HTTP's and JSON's
        logger.warning("no answer from the hashhub sidecar, so that it is HOLD", exc_info=True)
        return "HOLD"
    return action if action in ("ALLOW", "BLOCK") else "HOLD"


def ask(hashes: Sequence[str], seconds: float) -> Any:
    """Return the action in the sidecar's answer. No proxy is used and no redirect followed."""
    url = urlsplit(os.environ.get("HASHHUB_HOOK_URL", "http://127.0.0.1:8472"))
    secret = os.environ.get("HASHHUB_HOOK_SECRET", "")
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {secret}"} if secret else {})
    connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = connect(url.hostname or "", url.port, timeout=seconds)
    try:
        connection.request("POST", f"{url.path.rstrip('/')}/hashes", json.dumps({"hashes": hashes}), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ConnectionError(f"the sidecar answered {answer.status}")
        return json.loads(answer.read(MOST_BYTES))["action"]
    finally:
        connection.close()


@hookimpl_osprey
def register_udfs() -> Sequence[type[UDFBase[Any, Any]]]:
    """Return the functions of this plugin. Osprey calls it."""
    return [HashhubAction]
