"""Distributed training with and without an accelerator.

Symptoms, on a machine without a GPU: ``mmengine.dist.init_dist`` calls ``torch.cuda.set_device``
(``AttributeError`` or ``RuntimeError`` out of torch.cuda), and ``Runner.wrap_model`` passes
``device_ids`` (``ValueError: DistributedDataParallel device_ids and output_device arguments only
work with single-device/multiple-device GPU modules``).

Cure, in a training script::

    init_distributed(args.launcher)      # before the Runner exists; does nothing for 'none'
    cfg.launcher = args.launcher         # the Runner is distributed unless this is 'none'
    runner = Runner.from_cfg(cfg)
    runner.train()
    finish_distributed()                 # at the end of the script

and in the configuration, good for one process, many GPUs, or many CPU processes::

    model_wrapper_cfg = dict(type='lightvit_dense.DistributedDataParallel')

The Runner looks at ``launcher`` alone to decide whether it is distributed; it initialises a process
group only when none exists, and it needs ``LOCAL_RANK``, which :func:`init_distributed` sets under
every launcher. It ignores ``model_wrapper_cfg`` when not distributed. With a ``model_wrapper_cfg``
it ignores the top-level ``find_unused_parameters``: put that key into the wrapper's dict instead.
"""

import atexit
import gc
import os
import shutil
import subprocess
from collections.abc import Sequence
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
from lightvit_dense.registry import MODEL_WRAPPERS

# Launcher -> the variables in which it tells a process its place: rank, world size, local rank.
_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}
_DEFAULT_PORT = '29500'


def init_distributed(launcher: str, timeout: float | None = None) -> None:
    """Join the process group that the launcher describes; do nothing if one exists already.

    The backend is gloo on CPU, otherwise nccl. Sets ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``,
    ``MASTER_ADDR`` and ``MASTER_PORT`` where the launcher speaks in its own variables. Variables of
    the address that are already set are kept.

    Args:
        launcher: 'none' (a single process), 'pytorch' (torchrun), 'slurm' or 'mpi' (Open MPI).
        timeout: Seconds a collective operation may wait. Defaults to torch's own limit.

    Raises:
        ValueError: Unknown launcher.
        RuntimeError: The launcher's variables are missing, or a process has no GPU of its own.
    """
    if launcher == 'none' or torch_dist.is_initialized():
        return
    if launcher not in _VARIABLES:
        names = ', '.join(['none', *_VARIABLES])
        raise ValueError(f'unknown launcher {launcher!r}; choose one of: {names}')
    _export_place(launcher)
    # A process that fails leaves too. It must not wait for the others, which may be elsewhere.
    atexit.register(finish_distributed, wait=False)
    options: dict[str, Any] = {}
    if get_device() in ('cpu', 'mps'):
        if timeout is not None:
            options['timeout'] = timedelta(seconds=timeout)
        torch_dist.init_process_group(backend='gloo', **options)
        return
    _check_gpu(int(os.environ['LOCAL_RANK']))
    if timeout is not None:
        options['timeout'] = timeout
    # The environment is in torchrun's terms by now, whatever the launcher was.
    init_dist('pytorch', backend='nccl', **options)


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
    os.environ.setdefault('MASTER_PORT', _DEFAULT_PORT)
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


def _check_gpu(local_rank: int) -> None:
    """Refuse a process that has no GPU of its own, before CUDA says so in its own words."""
    count = torch.cuda.device_count()
    if torch.cuda.is_available() and local_rank >= count:
        raise RuntimeError(
            f'LOCAL_RANK is {local_rank} but this machine shows {count} GPU(s): start at most '
            f'{count} process(es) on it, or set CUDA_VISIBLE_DEVICES=-1 to train on the CPU'
        )
