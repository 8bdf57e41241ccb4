"""The server: a hub's doors to the network.

app            serve(): a hub's process, from start to drain
workers        several of them, as their parent sees them
worker         one of them
line           what parent and workers say to each other
addresses      where a hub listens
doors          one process's ports: gRPC with health and reflection, HTTP; threads, limits, TLS
health         which services can answer now
metrics        what a scrape shows: all workers in one
interceptors   the way of every call: log and metrics, errors, roles, limits
http_door      the Connect protocol and plain JSON over HTTP, to the same servicers
connect        the Connect protocol's requests and errors
bodies         request bodies: how much, how slowly
hyper          the HTTP server underneath
servicers      the calls, a module for each service: convert, ask the hub, convert
live           frames of live streams on their way in: the newest, at a pace
shares         what one token may take of the hub, and `counts`, where all workers count it
rooms, lanes   places for each kind of work, and whose turn it is
roles, pages   who may call what; page tokens
"""

from __future__ import annotations

from hashhub.server.app import Phase, serve

__all__ = ["Phase", "serve"]
