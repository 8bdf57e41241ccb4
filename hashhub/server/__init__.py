"""The server: a hub's doors to the network.

app            serve(): one process or several, from start to drain
doors          one process's ports: gRPC with health and reflection, HTTP; threads, limits, TLS
interceptors   the way of every call: log and metrics, errors, roles, limits
http_door      the Connect protocol and plain JSON over HTTP, to the same servicers
connect        the Connect protocol's requests and errors
bodies         request bodies: how much, how slowly
hyper          the HTTP server underneath
servicers      the calls: convert, ask the hub, convert
roles, pages   who may call what; page tokens
"""

from __future__ import annotations

from hashhub.hub.examine import examine
from hashhub.server.app import serve
from hashhub.server.doors import Doors

__all__ = ["Doors", "examine", "serve"]
