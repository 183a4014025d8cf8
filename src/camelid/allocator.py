"""The cure for glibc's page faults, for the command line's entry only: a library must not set this.

glibc returns large blocks to the system at every free and faults them in again at the next use,
which halves the speed of large CPU tensors. Keeping them costs memory (peak 4.5 to 7.8 GB was
measured in one large case). Source: choice (no part of the paper).
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc to serve large blocks from its heap and to keep what is freed.

    Returns:
        True when set; False (and nothing done) where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Threshold -1 is the largest unsigned value: the heap's top is never given back.
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def return_freed_memory() -> None:
    """Give freed memory back to the system once, where the C library is glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
