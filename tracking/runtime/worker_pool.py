"""Processes that each take one task after another; one that dies costs its task only."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any


class _Worker:
    """A process and the line to it. Its other end closes with the process, whichever ends first."""

    def __init__(self, make: Callable[[Any, int], Callable], setup: Any, number: int) -> None:
        context = multiprocessing.get_context('spawn')  # CUDA and threads do not survive a fork
        self.line, theirs = context.Pipe()
        self.number = number
        self.task: int | None = None
        self._process = context.Process(
            target=_serve, args=(theirs, make, setup, number), daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, task: int) -> None:
        """Hand out a task; a process that is gone is found out about by :meth:`take`."""
        self.task = task
        with suppress(OSError):
            self.line.send(task)

    def take(self) -> tuple[int, Any, str]:
        """Return the task, its result and '', or None and how the process died."""
        task = self.task
        assert task is not None
        self.task = None
        try:
            return task, self.line.recv(), ''
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f'status {code}'
            hint = '; out of memory?' if how == 'SIGKILL' else ''
            return task, None, f'the process that worked on it ended ({how}{hint})'

    def end(self) -> None:
        """Stop the process now."""
        self.line.close()
        self._process.terminate()
        self._process.join()


def _serve(line: Connection, make: Callable[[Any, int], Callable], setup: Any, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    work = make(setup, number)
    while True:
        try:
            task = line.recv()
        except EOFError:  # the parent ended
            return
        line.send(work(task))


def serve_all(
    make: Callable[[Any, int], Callable[[int], Any]],
    setup: Any,
    tasks: Iterable[int],
    processes: int,
) -> Iterator[tuple[int, Any, str]]:
    """Do all tasks in fresh processes.

    Args:
        make: Called in each process with ``setup`` and the process's number; returns what does a
            task. A class or function of a module.
        setup: What it needs; pickles.
        tasks: Numbers of the tasks, handed out in this order.
        processes: How many tasks are done at a time.

    Yields:
        As they are done: task, its result, ''; or task, None and how the process died. A new
        process takes its place.
    """
    waiting = list(tasks)[::-1]
    workers = [_Worker(make, setup, number) for number in range(min(processes, len(waiting)))]
    try:
        for worker in workers:
            worker.give(waiting.pop())
        while workers:
            ready = wait([worker.line for worker in workers])
            for worker in [worker for worker in workers if worker.line in ready]:
                task, result, death = worker.take()
                if death or not waiting:
                    worker.end()
                    workers.remove(worker)
                if death and waiting:
                    worker = _Worker(make, setup, worker.number)
                    workers.append(worker)
                if waiting:
                    worker.give(waiting.pop())
                yield task, result, death
    finally:
        for worker in workers:
            worker.end()
