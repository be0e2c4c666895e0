"""Processes that each take one task after another; one that dies costs its task only."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

Make = Callable[[Any, int], Callable[[int], Any]]


class _Worker:
    """A process and the line to it. Its other end closes with the process, whichever ends first."""

    def __init__(self, make: Make, setup: Any, number: int) -> None:
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
        assert self.task is not None
        try:
            return self.task, self.line.recv(), ''
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f'status {code}'
            hint = '; out of memory?' if how == 'SIGKILL' else ''
            return self.task, None, f'the process that worked on it ended ({how}{hint})'

    def end(self) -> None:
        """Stop the process now."""
        self.line.close()
        self._process.terminate()
        self._process.join()


def _serve(line: Connection, make: Make, setup: Any, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    work = make(setup, number)
    while True:
        try:
            task = line.recv()
        except EOFError:  # the parent ended
            return
        line.send(work(task))


def serve_all(
    make: Make, setup: Any, tasks: Iterable[int], processes: int
) -> Iterator[tuple[int, Any, str]]:
    """Do tasks in fresh processes, so many at a time, handed out in their order.

    ``make`` (of a module) is called in each process with ``setup``, which pickles, and the number
    of the process, and returns what does a task. As they are done, yields task, result and ''; or
    task, None and how its process died. A new process takes its place.
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
