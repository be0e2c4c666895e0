"""An ordered parallel map whose workers never outlive the process that started them."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import cv2


@contextmanager
def ordered_map(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Iterator[Any]]:
    """Start ``function(*call)`` for each call; the value iterates over the results in order."""
    if workers == 0:
        yield (function(*call) for call in calls)
        return
    # Forked workers share what is loaded already, a spawned one would import it all again.
    method = 'fork' if sys.platform == 'linux' else 'spawn'
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context(method), initializer=_start, initargs=(os.getpid(),)
    )
    try:
        yield pool.map(function, *zip(*calls, strict=True))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(parent: int) -> None:
    """Prepare a worker: one thread, and an end when the parent is killed."""
    cv2.setNumThreads(0)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
