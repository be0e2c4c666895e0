"""Keep freed memory in the process while training on a CPU.

Symptom: glibc hands every freed block above its threshold back to the kernel, so each step of a
training on a CPU maps and zeroes the same pages again; page faults then take up to a third of the
step.
"""

import ctypes
import sys

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc's allocator (if it is glibc) to reuse freed blocks; memory stays at its peak."""
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**26}
    return all([mallopt(option, value) == 1 for option, value in settings.items()])
