"""Memory that is given back to the system after every operation, only to be asked for again."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_AHEAD = 256 << 20  # bytes


def keep_freed_memory() -> bool:
    """Let the C library keep freed blocks for the next operation; returns whether it can (glibc alone).

    Activations of tens of megabytes come and go with every layer. By default glibc maps each afresh, and the kernel
    clears its pages one by one: on two CPU cores at 192 pixels that took more than half of a forward pass, and a third
    of a training step. What is kept is as much as the process needed at its largest, fragmentation aside.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no C library by that way, or another one than glibc
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _AHEAD))
    accepted = [mallopt(option, value) for option, value in settings]
    return accepted == [1, 1, 1]
