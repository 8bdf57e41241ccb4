"""The processes of a hub with several workers, as the system shows them."""

from __future__ import annotations

import psutil


def command(process: psutil.Process) -> str:
    """Return its command line; nothing of one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def children(process: psutil.Process) -> list[psutil.Process]:
    """Return its children in the order in which they were started; none of one that has just ended."""
    try:
        return sorted(process.children(), key=lambda child: (child.create_time(), child.pid))
    except psutil.Error:
        return []


def workers_of(hub: int) -> list[psutil.Process]:
    """Return the hub's workers, in the order in which they were started."""
    return [child for child in children(psutil.Process(hub)) if "hashhub.server.worker" in command(child)]
