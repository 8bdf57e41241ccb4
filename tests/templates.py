"""Processes that media are hashed in, from templates that many pools share.

A pool's template takes a second of CPU time to load what hashing needs, which most tests do not take. The children of a
pool stay its own: they are forked for it, confined, killed and replaced as ever, and end with it. Tests of the pool
itself start templates of their own.
"""

from __future__ import annotations

import os
import socket
import threading

from hashhub.errors import Reason, Unavailable
from hashhub.hashing import child as protocol
from hashhub.hashing import pool

_Template = pool._Template


class Templates:
    """The templates that were started so far, by their limits and by where they find compiled kernels."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._templates: dict[tuple[object, ...], _Template] = {}

    def part(self, seconds: float, memory_bytes: int) -> Part:
        """Return one pool's part of the template with these limits."""
        surroundings = (os.environ.get(name) for name in pool.ENVIRONMENT)
        with self._lock:
            key = seconds, memory_bytes, *surroundings
            if key not in self._templates:
                self._templates[key] = _Template(seconds, memory_bytes)
            return Part(self._templates[key])

    def close(self) -> None:
        for template in self._templates.values():
            template.close()


class Part:
    """What one pool sees of a shared template."""

    def __init__(self, template: _Template) -> None:
        self._template = template
        self._lock = threading.Lock()
        self._children: set[tuple[int, int]] = set()
        self._closed = False

    def fork(self) -> tuple[tuple[int, int], socket.socket]:
        with self._lock:
            if self._closed:
                raise Unavailable("the pool was closed", reason=Reason.MEDIA_PROCESS_DIED)
            name, connected = self._template.fork()
            self._children.add(name)
            return name, connected

    def end(self, name: tuple[int, int]) -> protocol.ChildExit:
        with self._lock:
            if name not in self._children:
                return protocol.ChildExit(0, 0.0)
            self._children.remove(name)
            return self._template.end(name)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._children:
                self._template.end(self._children.pop())
