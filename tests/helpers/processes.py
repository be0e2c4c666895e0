"""Processes forked by a test."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch

from lightvit_dense.compat import finish_distributed


def in_processes(target: Callable, *arguments: tuple) -> None:
    """Call a function in a process for each tuple of arguments, all at once."""
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=target, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def in_two_ranks(target: Callable, folder: Path, *arguments: object) -> list:
    """Call a function with its rank in two ranks of one job; return what each returned."""
    in_processes(_work_as_rank, *((rank, target, folder, arguments) for rank in range(2)))
    return [torch.load(folder / f'{rank}.pt') for rank in range(2)]


def _work_as_rank(rank: int, target: Callable, folder: Path, arguments: tuple) -> None:
    store = f'file://{folder}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    torch.save(target(rank, *arguments), folder / f'{rank}.pt')
    finish_distributed()
