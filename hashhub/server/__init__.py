"""The server: a hub on the network.

app            serve(): a hub, from start to drain
process        one process of it
supervisor     several of them, kept alive; `worker`: one of these; `messages`: what they tell each other
startup        what is told of a start
listeners      one process's ports, on one event loop: `grpc_listener`, `http_listener`, `probes`
connections    connections of HTTP; `connect`: the Connect protocol's requests and errors
pipeline       the way of every call: log and metrics, errors, roles, limits
rooms          places for each kind of work, and whose turn it is
shares         what one token may take of the hub, and `counts`, where all workers count it
bodies         requests' bytes: how many, how slowly
servicers      the calls, a module for each service: convert, ask the hub, convert
live           frames of live streams on their way in: the newest, at a pace
roles, pages   who may call what; page tokens
health         which services can answer now
metrics        what a scrape shows: all workers in one
exposure       which addresses need TLS; `locking`: the data directory is of one server
"""

from __future__ import annotations

from hashhub.server.app import serve
from hashhub.server.startup import Phase

__all__ = ["Phase", "serve"]
