"""Processes that a test starts, where torch and the downstream libraries are imported already."""

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import IO, Any

import cv2
import pytest
import torch

from lightvit_dense.compat import finish_distributed

FORK, SERVER = map(multiprocessing.get_context, ('fork', 'forkserver'))
SERVER.set_forkserver_preload(
    ['lightvit_dense.apis', 'mmdet.apis', 'mmseg.models', 'tracking.models', __name__]
)


class _Popen:
    """Start a function at once; the methods of ``Popen`` that are needed."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        super().__init__(target=function, args=arguments)
        cv2.setNumThreads(0)  # its threads do not survive, and a fork would wait for them
        self.start()

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode


class Fork(_Popen, FORK.Process):
    """A fork of the test's process, which must not have computed gradients if the fork does."""


class Started(_Popen, SERVER.Process):
    """A process that is forked from one that has imported everything and computed nothing."""

    held: IO | None = None


def start_python(command: Sequence, stdout: IO, env: Mapping[str, str], **options: Any) -> Any:
    """Start ``python FILE words`` as ``Popen`` does, without the seconds that importing takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TEST_PROCESS_SECONDS', '1e6')
        forkserver.ensure_running()
    held = os.fdopen(os.dup(stdout.fileno()))  # it may have no name, and is closed by the caller
    out, words = f'/proc/{os.getpid()}/fd/{held.fileno()}', [*map(str, command[1:])]
    process = Started(_run_python, words, out, dict(env), options.get('cwd', os.getcwd()))
    process.held = held
    return process


def _run_python(words: list[str], out: str, env: dict[str, str], cwd: Path) -> None:
    os.setsid()
    sys.stdout = sys.stderr = open(out, 'a', 1)  # noqa: SIM115
    signal.alarm(int(env['TEST_PROCESS_SECONDS']))
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = words
    runpy.run_path(words[0], run_name='__main__')


def run_ranks(worker: str, *arguments: object, start: Callable = subprocess.Popen) -> None:
    """Run a worker script as two ranks of one job on the CPU."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = str(server.getsockname()[1])
    common = os.environ | dict(CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1')
    common |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, WORLD_SIZE='2')
    command = [sys.executable, worker, *map(str, arguments)]
    both = [common | dict(RANK=rank, LOCAL_RANK=rank) for rank in '01']
    with tempfile.TemporaryFile('w+') as out:
        started = [start(command, stdout=out, stderr=out, env=env) for env in both]
        codes = [process.wait() for process in started]
        out.seek(0)
        assert codes == [0, 0], out.read()


def in_processes(target: Callable, *arguments: tuple) -> None:
    """Call a function in a process for each tuple of arguments, all at once."""
    for process in [Fork(target, *one) for one in arguments]:
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
