"""Peak resident memory of a process.

``ru_maxrss`` is not used: on Linux a child inherits its parent's peak across ``exec``.
"""

import os
import resource
import sys
from pathlib import Path


def peak_resident_mb(pid: int | None = None) -> float:
    """Return the largest resident set in MiB, or where none is kept the present; 0 if gone."""
    status = Path(f'/proc/{os.getpid() if pid is None else pid}/status')
    try:
        for line in status.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    if pid is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == 'darwin' else 1024)
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def family_peak_mb(pid: int) -> float:
    """Return the peak of the largest process among ``pid`` and its living descendants, in MiB."""
    import psutil

    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        children = []
    return max(peak_resident_mb(member) for member in [pid, *(child.pid for child in children)])
