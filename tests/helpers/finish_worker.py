"""``finish_worker.py (finish|fail|stop)``: a rank whose last collective still holds its tensor."""

import os
import sys
import time

import torch
from torch import nn

from lightvit_dense.compat import DistributedDataParallel, finish_distributed, init_distributed


class SlowToFree(torch.Tensor):
    """A tensor that gloo's thread, its last owner, needs the interpreter's lock to free."""

    def __del__(self) -> None:
        time.sleep(2)


def main() -> None:
    """Reduce gradients and one tensor more, then leave."""
    init_distributed('pytorch', timeout=8 if sys.argv[1] == 'stop' else 60)
    rank = torch.distributed.get_rank()
    if sys.argv[1] == 'stop' and rank == 1:
        os.system(f'(sleep 10; kill -9 {os.getpid()}) & kill -STOP {os.getpid()}')
    model = DistributedDataParallel(nn.Linear(4, 4))
    model(torch.ones(2, 4)).sum().backward()
    torch.distributed.barrier()
    tensor = torch.ones(1000)
    if rank == 0:
        tensor = tensor.as_subclass(SlowToFree)
    else:
        time.sleep(0.5)  # so that rank 0's main thread lets go of its tensor first
    work = torch.distributed.group.WORLD.allreduce([tensor])
    del work, tensor
    time.sleep(1)
    if sys.argv[1] == 'fail' and rank == 0:
        raise ValueError('rank 0 fails')
    finish_distributed(wait=sys.argv[1] == 'finish')
    model.module(torch.ones(2, 4))  # its own weights can still be used


if __name__ == '__main__':
    main()
