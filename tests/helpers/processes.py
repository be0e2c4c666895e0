"""Processes forked by a test."""

import multiprocessing
from collections.abc import Callable


def in_processes(target: Callable, *arguments: tuple) -> None:
    """Call a function in a process for each tuple of arguments, all at once."""
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=target, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
