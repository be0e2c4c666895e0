"""One rank: the losses that need all processes, and DINO trained through the Runner.

Run as ``python views_two_rank_worker.py LAUNCHER DIRECTORY`` with the launcher's variables set.
"""

import os
import sys

import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner
from torch import Tensor

import lightvit_dense  # noqa: F401
from lightvit_dense.models import SEED
from lightvit_dense.models.pretraining.contrast import info_nce
from lightvit_dense.models.pretraining.self_distillation import DINOLoss
from lightvit_dense.models.pretraining.standardization import HeadStandardizer
from tests.helpers.models import vit
from tests.helpers.two_rank_worker import run

VIT = vit(embed_dim=16, num_heads=2, img_size=16)
PIXELS = dict(type='lightvit_dense.MultiViewPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)
HEAD = dict(out_channels=12, hidden=8, bottleneck=8)
DINO = dict(type='lightvit_dense.DINO', backbone=VIT, head=HEAD, data_preprocessor=PIXELS)
HOOKS = [
    {'type': 'lightvit_dense.MomentumUpdateHook', 'base': 0.9},
    {'type': 'lightvit_dense.FreezeLastLayerHook', 'until': 2, 'by_epoch': False},
]


def views() -> list[dict]:
    """Return sixteen images in three views."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 3, 16, 16)] * 2 + [(16, 3, 8, 8)]
    drawn = [torch.randint(0, 255, shape, generator=generator).byte() for shape in shapes]
    return [dict(inputs=list(image)) for image in zip(*drawn, strict=True)]


def share(x: Tensor, ranks: int) -> Tensor:
    """Return this rank's share of a batch."""
    return x.chunk(ranks)[get_rank()]


def losses(ranks: int) -> dict[str, Tensor]:
    """Compute the losses on this rank's share: values, gradients, centre, queue, statistics."""
    generator = torch.Generator().manual_seed(1)
    queries, keys, *outputs = torch.randn(7, 6, 9, generator=generator)
    mine = share(queries, ranks).clone().requires_grad_()
    contrast = info_nce(mine, share(keys, ranks), 0.2)
    contrast.backward()
    dino = DINOLoss(9)
    parts = [share(x, ranks) for x in outputs]
    for _ in range(2):  # the second time the centre is not zero any more
        distilled = dino(parts[:3], parts[3:])
    torch.manual_seed(0)
    seed = SEED(VIT, {'type': 'lightvit_dense.EmbeddingTeacher', 'backbone': VIT}, queue_size=8)
    for batch in torch.randn(3, 6, 3, 16, 16, generator=generator):  # the queue goes round twice
        followed = seed(share(batch, ranks), mode='loss')['loss_similarity']
    standardizer = HeadStandardizer(3)
    for batch in torch.randn(2, 6, 3, 4, 4, generator=generator):
        standard = standardizer(share(batch, ranks))
    return {
        'contrast': contrast.detach(),
        'gradient': mine.grad / ranks,
        'dino': distilled,
        'center': dino.center,
        'seed': followed.detach(),
        'queue': seed.queue,
        'standard': standard,
        'sums': standardizer.sums,
    }


def train(launcher: str, directory: str, batch_size: int) -> Runner:
    """Train DINO for four iterations; return the Runner."""
    torch.manual_seed(0)
    options = dict(custom_hooks=HOOKS, randomness={'seed': 0})
    return run(DINO, views(), launcher, directory, batch_size, **options)


def main() -> None:
    """Work as one of two ranks and save what this rank has."""
    from lightvit_dense.compat import finish_distributed, init_distributed

    launcher, directory = sys.argv[1:]
    init_distributed(launcher, timeout=60)
    result = losses(2) | {'state': train(launcher, directory, 2).model.module.state_dict()}
    torch.save(result, os.path.join(directory, f'rank_{os.environ["RANK"]}.pt'))
    finish_distributed()


if __name__ == '__main__':
    main()
