"""Distributed training with and without an accelerator.

Symptoms, on a machine without a GPU: ``mmengine.dist.init_dist`` calls ``torch.cuda.set_device``
(``AttributeError`` or ``RuntimeError`` out of torch.cuda), and ``Runner.wrap_model`` passes
``device_ids`` (``ValueError: DistributedDataParallel device_ids and output_device arguments only
work with single-device/multiple-device GPU modules``).

Cure: a script calls :func:`init_distributed` before the Runner exists, gives that the ``launcher``,
too, and ends with :func:`finish_distributed`. The config, good for one process, many GPUs, or many
CPU processes, has ``model_wrapper_cfg = dict(type='lightvit_dense.DistributedDataParallel')``.
"""

import atexit
import gc
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.model import MMDistributedDataParallel
from torch import distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as TorchDistributedDataParallel

from lightvit_dense.compat.sync_bn import synchronise_on_cpu
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODEL_WRAPPERS

# Launcher -> the variables in which it tells a process its place: rank, world size, local rank.
_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}
_left = threading.Event()


def init_distributed(
    launcher: str, timeout: float | None = None, backend: str | None = None
) -> None:
    """Join the process group that the launcher describes; do nothing if one exists already.

    Sets ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` where the
    launcher speaks in its own variables. An address that is already set is kept.

    Args:
        launcher: 'none' (a single process), 'pytorch' (torchrun), 'slurm' or 'mpi' (Open MPI).
        timeout: Seconds a collective operation may wait. Defaults to torch's own limit.
        backend: 'nccl' or 'gloo'. Defaults to gloo on CPU, otherwise nccl.

    Raises:
        ValueError: Unknown launcher, or a backend that needs GPUs without any.
        RuntimeError: The launcher's variables are missing; a UserError, a process has no GPU.
    """
    if launcher == 'none' or torch_dist.is_initialized():
        return
    if launcher not in _VARIABLES:
        names = ', '.join(['none', *_VARIABLES])
        raise ValueError(f'unknown launcher {launcher!r}; choose one of: {names}')
    _export_place(launcher)
    # A process that fails leaves too. It must not wait for the others, which may be elsewhere.
    atexit.register(finish_distributed, wait=False)
    on_cpu = get_device() in ('cpu', 'mps')
    if on_cpu and backend not in (None, 'gloo'):
        raise ValueError(f'backend {backend!r} is not for the CPU, and torch sees no GPU: use gloo')
    if not on_cpu:
        check_gpus(int(os.environ['LOCAL_RANK']) + 1)
    limit = None if timeout is None else timedelta(seconds=timeout)
    wait = timedelta(seconds=timeout or 600)
    store, rank, size = next(torch_dist.rendezvous('env://', timeout=wait))
    # torchrun keeps one store for all attempts: addresses of processes that died are still there.
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)
    store = torch_dist.PrefixStore(f'attempt {attempt}', store)
    place = {'store': store, 'rank': rank, 'world_size': size}
    if on_cpu:
        torch_dist.init_process_group(backend='gloo', timeout=limit, **place)
    else:
        # The environment is in torchrun's terms by now, whatever the launcher was.
        init_dist('pytorch', backend=backend or 'nccl', timeout=timeout, **place)
    _left.clear()
    if size > 1:
        # A connection of its own, since the group's waits in turn.
        address = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        store = torch_dist.TCPStore(*address, is_master=False, wait_for_workers=False)
        store.set(f'host {rank}', socket.gethostname())
        watch = store, (timeout or 600) / 2  # seconds, NCCL's by default
        threading.Thread(target=_watch_next, args=watch, daemon=True).start()


def finish_distributed(wait: bool = True) -> None:
    """Leave the process group, in an order that cannot deadlock; do nothing where there is none.

    Call it once a rank has trained, tested and written everything: data-parallel models cannot
    take part in a step afterwards.

    The reducer of a data-parallel model owns the process group, too. Where it is the last owner,
    its destructor joins gloo's threads while it holds the interpreter's lock, and a thread that
    still has to free the tensors of the last collective waits for that lock. So the reducers go
    first, then the collectives end, and the group is destroyed by torch, which releases the lock.

    Args:
        wait: Wait until every rank has come here, for all collectives to end. False for a rank
            that has failed.
    """
    if not torch_dist.is_initialized():
        return
    for wrapper in gc.get_objects():
        if issubclass(type(wrapper), TorchDistributedDataParallel):
            wrapper.reducer = wrapper.logger = None
    if wait:
        if torch_dist.get_backend() == 'nccl':
            torch.cuda.synchronize()
        torch_dist.barrier()
    _left.set()
    torch_dist.destroy_process_group()


@MODEL_WRAPPERS.register_module()
class DistributedDataParallel(MMDistributedDataParallel):
    """mmengine's data-parallel wrapper, which also takes a model that lies on the CPU.

    ``train_step``, ``val_step`` and ``test_step`` are mmengine's. Unlike torch, and like the
    wrapper that mmengine uses by default, buffers are not broadcast before each forward pass.
    ``SyncBatchNorm`` works on the CPU, too (:mod:`lightvit_dense.compat.sync_bn`).

    Args:
        module: The model, on its final device.
        device_ids: The one GPU of this process, like ``output_device``; dropped on the CPU.
        broadcast_buffers: Whether rank 0's buffers overwrite the others' at each forward pass.
        **kwargs: Of :class:`mmengine.model.MMDistributedDataParallel`.
    """

    def __init__(
        self,
        module: nn.Module,
        device_ids: Sequence[int | torch.device] | None = None,
        output_device: int | torch.device | None = None,
        broadcast_buffers: bool = False,
        **kwargs: Any,
    ) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            device_ids = output_device = None
            synchronise_on_cpu(module)
        super().__init__(
            module,
            device_ids=device_ids,
            output_device=output_device,
            broadcast_buffers=broadcast_buffers,
            **kwargs,
        )


def _export_place(launcher: str) -> None:
    """Put this process's place into torchrun's variables."""
    names = _VARIABLES[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RuntimeError(
            f'launcher {launcher!r} but {", ".join(missing)} not set in the environment; start the '
            'script with torchrun, srun or mpirun respectively, or pass --launcher none'
        )
    rank, world_size, local_rank = (os.environ[name] for name in names)
    if launcher == 'slurm' and torch.cuda.device_count() > 0:
        # With --gpus-per-task every task sees its own GPUs alone, numbered from 0.
        local_rank = str(int(local_rank) % torch.cuda.device_count())
    os.environ.update(RANK=rank, WORLD_SIZE=world_size, LOCAL_RANK=local_rank)
    job, step = (int(os.environ.get(f'SLURM_{name}_ID', 0)) for name in ('JOB', 'STEP'))
    # Two of Slurm's steps on a machine must not share a port; higher ones the system hands out.
    port = 15000 + (job + 7919 * step) % 17000 if launcher == 'slurm' else 29500
    os.environ.setdefault('MASTER_PORT', str(port))
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _master_address(launcher)


def _master_address(launcher: str) -> str:
    """Name of the host of rank 0."""
    nodes = os.environ.get('SLURM_NODELIST', '')
    if launcher == 'slurm' and nodes and not set(nodes) & set('[,'):
        return nodes  # one host: its name needs no expansion
    if launcher == 'slurm' and nodes and shutil.which('scontrol'):
        command = ['scontrol', 'show', 'hostnames', nodes]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        return found.stdout.split()[0]
    raise RuntimeError(
        f'launcher {launcher!r} does not say where rank 0 runs: set MASTER_ADDR to its host name'
    )


def check_gpus(processes: int) -> int:
    """Return this machine's number of GPUs; refuse more processes than that, if it has any."""
    count = torch.cuda.device_count()
    if torch.cuda.is_available() and processes > count:
        raise UserError(
            f'{processes} processes, one a GPU, but this machine shows {count} GPU(s): start at '
            f'most {count} on it, or set CUDA_VISIBLE_DEVICES=-1 to train on the CPU'
        )
    return count


def _watch_next(store: torch_dist.Store, patience: float) -> None:
    """Say if the process of the next rank falls silent; torch ends the job, and names nobody."""
    rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    following, heard, since = (rank + 1) % size, 0, time.monotonic()
    with suppress(RuntimeError):  # rank 0, which keeps the store, has ended
        while not _left.wait(patience / 10):
            store.add(f'beat {rank}', 1)
            beats, now = store.add(f'beat {following}', 0), time.monotonic()
            if beats != heard:
                heard, since = beats, now
            elif now - since > patience:
                host = store.get(f'host {following}').decode()
                text = f'rank {following} ({host}) has not been heard from for {patience:g} s'
                print(f'error: {text}', file=sys.stderr, flush=True)
                return
