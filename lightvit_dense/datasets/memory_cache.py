"""Copies of a data set's files in shared memory: made once a node, removed by their last user."""

import atexit
import fcntl
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import psutil
from mmengine.logging import print_log

from lightvit_dense.utils.io import atomic_path

from .errors import DatasetError

ROOT = Path('/dev/shm')
checking = ContextVar('checking', default=False)
"""True in a preflight, which looks for room and copies nothing."""
# Folders that this process uses, and handles that hold a shared lock on each, until it dies.
_HELD: dict[Path, int] = {}


def stage(files: Sequence[str], name: str, limit_gb: float) -> list[str]:
    """Copy the first files that fit into a limit to shared memory; return where all are.

    ``name`` tells one set of files from another. The first process of a node copies, the others
    wait. The copies go when the last process that uses them ends or, if it was killed, when the
    next data set is staged. A DatasetError says that there is too little shared memory.
    """
    folder = ROOT / f'lightvit-{os.getuid()}-{name}'
    room, copies = limit_gb * 1e9, {}
    for file in map(Path, files):
        room -= file.stat().st_size
        if room >= 0:
            copies[file] = folder / file.name
    _hold(folder)
    with open(folder / '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for rest in folder.glob('.*.tmp'):  # of a process that was killed
            rest.unlink()
        lacking = [file for file, copy in copies.items() if not copy.exists()]
        need = sum(file.stat().st_size for file in lacking) / 1e9
        free = min(shutil.disk_usage(ROOT).free, psutil.virtual_memory().available) / 1e9
        if need > free:
            raise DatasetError(
                f'cache_gb={limit_gb}: {need:.3g} GB of {os.path.dirname(files[0])} are to be '
                f'copied to {ROOT}, where {free:.3g} GB are free. Set a smaller cache_gb of the '
                "data set, or enlarge the shared memory (a container's option --shm-size)."
            )
        text = f'{folder}: {len(copies)} of {len(files)} files, {need:.3g} GB to copy'
        if not copies:
            least = Path(files[0]).stat().st_size / 1e9
            text = f'cache_gb={limit_gb} caches nothing: {files[0]} takes {least:.3g} GB'
        print_log(text, logger='current', level=20 if copies else 30)
        for file in () if checking.get() else lacking:
            with atomic_path(copies[file]) as temporary:
                shutil.copyfile(file, temporary)
    return [str(copies.get(Path(file), file)) for file in files]


def _hold(folder: Path) -> None:
    """Make a folder and lock it; remove what killed processes have left."""
    for other in {*ROOT.glob(f'lightvit-{os.getuid()}-*')} - {folder, *_HELD}:
        with suppress(FileNotFoundError):  # another process was quicker
            _remove(other, os.open(other, os.O_RDONLY))
    while folder not in _HELD:
        folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_SH)
        if os.fstat(handle).st_nlink:  # else its last user has removed it meanwhile
            _HELD[folder] = handle
        else:
            os.close(handle)


def _remove(folder: Path, handle: int) -> None:
    """Remove a folder unless another process uses it, and close the handle."""
    with suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)


def release(owner: int) -> None:
    """Let go of what a process uses; a forked one has inherited it and does not."""
    while _HELD and owner == os.getpid():
        _remove(*_HELD.popitem())


atexit.register(release, os.getpid())
