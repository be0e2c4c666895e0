"""``ranks_worker.py CONFIG DIRECTORY``: what two ranks average, share, collect and agree on."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from mmengine.runner import Runner
from torch import Tensor, nn

from lightvit_dense import apis
from lightvit_dense.compat import DistributedDataParallel, finish_distributed, init_distributed
from lightvit_dense.datasets import ImageNet
from lightvit_dense.engine.hooks import CheckpointHook
from lightvit_dense.errors import UserError
from lightvit_dense.models import SEED
from lightvit_dense.models.pretraining.contrast import info_nce
from lightvit_dense.models.pretraining.self_distillation import DINOLoss
from lightvit_dense.models.pretraining.standardization import HeadStandardizer
from tests.helpers.models import vit


class Line(BaseModel):
    """Least squares on eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1, 1, 8)[None])
            self.linear.bias.zero_()

    def forward(self, inputs: Tensor, targets: Tensor, mode: str = 'tensor') -> Any:
        found = self.linear(inputs)[:, 0]
        if mode == 'loss':
            return {'loss': (found - targets).square().mean()}
        return list(found)


class Count(BaseMetric):
    """Number of predictions over all ranks."""

    default_prefix = 'points'

    def process(self, data_batch: Any, data_samples: list) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list) -> dict[str, int]:
        return {'count': len(results)}


def train(
    model: Any, dataset: list, launcher: str, folder: Path, batch_size: int, **options: Any
) -> Runner:
    """Train over all data once, in its order; validate by ``val_evaluator``; return the Runner."""
    sampler, collate = dict(type='DefaultSampler', shuffle=False), dict(type='default_collate')
    loader = dict(batch_size=batch_size, num_workers=0, sampler=sampler, collate_fn=collate)
    loader['dataset'] = dataset
    if 'val_evaluator' in options:
        options |= dict(val_dataloader=loader, val_cfg={})
    runner = Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg={'by_epoch': True, 'max_epochs': 1},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        launcher=launcher,
        cfg={'model_wrapper_cfg': {'type': 'lightvit_dense.DistributedDataParallel'}},
        default_hooks={'checkpoint': None},
        experiment_name=f'{launcher} {folder.name}',
        log_level='WARNING',
        **options,
    )
    runner.train()
    return runner


def train_line(launcher: str, folder: Path, batch_size: int) -> Runner:
    """Train a line over eight fixed points of eight coordinates."""
    inputs = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    points = [dict(inputs=point, targets=point.sum()) for point in inputs]
    return train(Line(), points, launcher, folder / 'line', batch_size, val_evaluator=[Count()])


VIT = vit(embed_dim=16, num_heads=2, img_size=16)
PIXELS = dict(type='lightvit_dense.MultiViewPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)
HEAD = dict(out_channels=12, hidden=8, bottleneck=8)
DINO = dict(type='lightvit_dense.DINO', backbone=VIT, head=HEAD, data_preprocessor=PIXELS)
HOOKS = [
    {'type': 'lightvit_dense.MomentumUpdateHook', 'base': 0.9},
    {'type': 'lightvit_dense.FreezeLastLayerHook', 'until': 2, 'by_epoch': False},
]


def train_dino(launcher: str, folder: Path, batch_size: int) -> Runner:
    """Train DINO for four iterations on sixteen images in three views."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 3, 16, 16)] * 2 + [(16, 3, 8, 8)]
    drawn = [torch.randint(0, 255, shape, generator=generator).byte() for shape in shapes]
    views = [dict(inputs=list(image)) for image in zip(*drawn, strict=True)]
    torch.manual_seed(0)
    options = dict(custom_hooks=HOOKS, randomness={'seed': 0})
    return train(DINO, views, launcher, folder / 'dino', batch_size, **options)


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


def images() -> Tensor:
    """Return four images, far from zero mean."""
    generator = torch.Generator().manual_seed(1)
    return 50 + torch.randn(4, 3, 6, 7, generator=generator, dtype=torch.float64)


def train_norms(model: nn.Module, inputs: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
    """Take three steps of gradient descent on a sum over images; return weights and scores."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        (scale * model(inputs).pow(3).sum()).backward()
        optimizer.step()
    scores = model.eval()(images())
    return dict(getattr(model, 'module', model).state_dict(), scores=scores)


TYPES = [
    dict(type='lightvit_dense.Accuracy', topk=(1, 2)),
    dict(type='mmseg.IoUMetric', iou_metrics=['mIoU']),
    dict(type='mmdet.DumpDetResults', out_file_path='results.pkl'),
]


def evaluate(places: Sequence[int]) -> list[dict]:
    """Evaluate random predictions at some places of a data set of five by each metric."""
    samples, found = [], []
    for place in places:
        drawn = 3 * torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(place))
        maps = [dict(data=image) for image in drawn[:2].long()]
        samples.append(dict(pred_sem_seg=maps[0], gt_sem_seg=maps[1], gt_label=place % 3))
        samples[-1]['pred_score'] = drawn[2, 0, 0]
    for cfg in TYPES:
        metric = METRICS.build(cfg)
        metric.dataset_meta = dict(classes=('a', 'b', 'c'))
        metric.process({}, [dict(sample) for sample in samples])
        found.append({key: float(value) for key, value in metric.evaluate(5).items()})
    return found


def work_apart(config: str, rank: int) -> dict[str, Any]:
    """Do in a folder that no other rank sees what needs files; rank 0 alone has images."""

    def train(resume: bool = False, **options: Any) -> Any:
        """Return the runner, or the message of the error."""
        try:
            return apis.train(config, 'work', resume, cfg_options=options, launcher='pytorch')
        except UserError as error:
            return str(error)

    images, norms = ImageNet('images'), [nn.BatchNorm1d(1), nn.BatchNorm1d(1)]
    for norm in norms:
        norm.running_var.fill_(1 + 4 * rank)
    runner = SimpleNamespace(model=norms[0], hooks=[SimpleNamespace(ema_model=norms[1])])
    CheckpointHook().before_val_epoch(runner)
    found: dict[str, Any] = dict(
        figures=evaluate([(0, 2, 4), (1, 3, 0)][rank]),
        images=[images.get_data_info(place)['img_path'] for place in range(3)],
        variances=[float(norm.running_var) for norm in norms],
        config=train(**{'optim_wrapper.optimizer.lr': 0.1 * (1 + rank)}),
        unused=train(find_unused_parameters=True).model.find_unused_parameters,
    )
    Path('work/last_checkpoint').unlink(missing_ok=True)  # it has the whole path
    found['resume'] = train(True, **{'train_cfg.max_iters': 4})
    if rank:
        shutil.copytree('../rank 0/work', 'work', dirs_exist_ok=True)
    found['iterations'] = train(True, **{'train_cfg.max_iters': 4}).iter
    return found | dict(files=sorted(os.listdir()))


def main() -> None:
    """Do it all, and save what this rank found."""
    config, folder = sys.argv[1], Path(sys.argv[2])
    init_distributed('pytorch', timeout=60)
    rank = get_rank()
    runner = train_line('pytorch', folder, batch_size=2)
    found = {
        'wrapper': type(runner.model).__module__ + '.' + type(runner.model).__name__,
        'line': runner.model.module.state_dict(),
        'count': int(runner.message_hub.get_scalar('val/points/count').current()),
        'test': len(runner.model.test_step({'inputs': torch.ones(3, 8), 'targets': None})),
        'backend': torch.distributed.get_backend(),
        'ranks': torch.distributed.get_world_size(),
        'losses': losses(2),
        'dino': train_dino('pytorch', folder, batch_size=2).model.module.state_dict(),
    }
    # The wrapper averages gradients: two ranks, so twice a rank's part of the sum.
    model = DistributedDataParallel(network())
    found['norms'] = train_norms(model, images()[slice(*PARTS[rank])], 2.0)
    torch.save(found, folder / f'rank_{rank}.pt')
    os.chdir(folder / f'rank {rank}')
    Path('found.json').write_text(json.dumps(work_apart(config, rank)))
    finish_distributed()


if __name__ == '__main__':
    main()
