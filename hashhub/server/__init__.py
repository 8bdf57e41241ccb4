"""The server: a hub on the network.

process            serve(): a hub from start to drain
exposure           who else could reach its addresses and its data directory
supervisor         several worker processes, kept alive; `worker`: one of them; `messages`: between them
listeners          the ports of one process on one event loop: `grpc_listener`, `http_listener`
connections        connections of HTTP; `connect`: the Connect protocol
pipeline           what every call goes through, whichever way it came
admission          how many calls of a kind at a time; how much of the hub one token may use
servicers          the calls, a module for each service
metrics, health    what a scrape shows; which services can answer, and reflection
"""

from __future__ import annotations

from hashhub.server.messages import StartPhase
from hashhub.server.process import serve

__all__ = ["StartPhase", "serve"]
