"""One rank: train a small net with SyncBatchNorm on its part of the images, save the result.

Run as ``python sync_bn_worker.py DIRECTORY`` with torchrun's variables set.
"""

import sys

import torch
from mmcv.cnn import build_norm_layer
from torch import nn

from lightvit_dense.compat import DistributedDataParallel, finish_distributed, init_distributed

PARTS = ((0, 1), (1, 4))  # the images of each rank


def network() -> nn.Sequential:
    """Return two convolutions with batch norms, one cumulative and without affine part."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        build_norm_layer(dict(type='SyncBN'), 4)[1],  # as heads make it
        nn.GELU(),
        nn.Conv2d(4, 5, 1),
        nn.SyncBatchNorm(5, momentum=None, affine=False),
    ).double()


def images() -> torch.Tensor:
    """Return four images, far from zero mean."""
    generator = torch.Generator().manual_seed(1)
    return 50 + torch.randn(4, 3, 6, 7, generator=generator, dtype=torch.float64)


def train(model: nn.Module, inputs: torch.Tensor, scale: float) -> None:
    """Take three steps of gradient descent on a sum over the images."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        (scale * model(inputs).pow(3).sum()).backward()
        optimizer.step()


def main() -> None:
    """Train as one of two ranks."""
    init_distributed('pytorch')
    rank = torch.distributed.get_rank()
    model = DistributedDataParallel(network())
    # The wrapper averages gradients: two ranks, so twice a rank's part of the sum.
    train(model, images()[slice(*PARTS[rank])], 2.0)
    scores = model.eval()(images())
    torch.save(dict(model.module.state_dict(), scores=scores), f'{sys.argv[1]}/{rank}.pt')
    finish_distributed()


if __name__ == '__main__':
    main()
