"""How long a thread has a processor before another may have it, where Linux lets a program say so (6.12 and later).

A program that says nothing gets some milliseconds at a time, and whoever wakes meanwhile waits for the end of that. One
with shorter turns is entitled to no more of the processor than others, but has its part sooner (EEVDF; `sched_runtime`
of sched_setattr(2), https://docs.kernel.org/scheduler/sched-eevdf.html).
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Callable
from typing import Any, Final

_ATTRIBUTES: Final = struct.Struct("IIQiIQQQ")  # struct sched_attr: size, policy, flags, nice, priority, runtime, …
_CALLS: Final = {"x86_64": (314, 315), "aarch64": (274, 275)}  # numbers of sched_setattr and sched_getattr


def set_turn(seconds: float) -> bool:
    """Let this thread, and those that it starts from now on, have turns of 0.0001 to 0.1 s; 0: as long as the system
    likes. Processes that it starts begin with the same. Return False where the system does not take that.
    """
    attributes = _attributes()
    if attributes is None:
        return False
    size, policy, _flags, nice, priority, _runtime, deadline, period = attributes
    wanted = _ATTRIBUTES.pack(size, policy, 0, nice, priority, round(seconds * 1e9), deadline, period)
    return bool(_system_call()(_CALLS[os.uname().machine][0], 0, ctypes.c_char_p(wanted), 0) == 0)


def turn(thread: int = 0) -> float:
    """Return the seconds of a thread's turns; 0 where the system does not tell. `thread`: the system's number; 0: this
    one.
    """
    attributes = _attributes(thread)
    return 0.0 if attributes is None else attributes[5] / 1e9


def _attributes(thread: int = 0) -> tuple[int, ...] | None:
    if not hasattr(os, "sched_getscheduler") or os.uname().machine not in _CALLS:
        return None
    held = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if _system_call()(_CALLS[os.uname().machine][1], thread, held, _ATTRIBUTES.size, 0):
        return None
    return _ATTRIBUTES.unpack(held.raw)


@functools.cache
def _system_call() -> Callable[..., Any]:
    call: Callable[..., Any] = ctypes.CDLL(None).syscall
    return call
