"""The server: a hub on the network.

app, process       serve(): a hub from start to drain; one process of it
supervisor         several worker processes, kept alive; `worker`: one of them; `messages`: between them
listeners          the ports of one process on one event loop: `grpc_listener`, `http_listener`, `probes`
connections        connections of HTTP; `connect`: the Connect protocol
pipeline           what every call goes through, whichever way it came
limiters, quotas   how many calls of a kind at a time; how much of the hub one token may use
servicers          the calls, a module for each service
metrics, health    what a scrape shows; which services can answer
"""

from __future__ import annotations

from hashhub.server.app import serve
from hashhub.server.startup import StartPhase

__all__ = ["StartPhase", "serve"]
