"""One rank: train a linear model for two iterations through the Runner, validate, save the result.

Run as ``python two_rank_worker.py LAUNCHER DIRECTORY`` with the launcher's variables set.
"""

import os
import sys

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

import lightvit_dense  # noqa: F401


class Line(BaseModel):
    """Least squares on eight numbers."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1, 1, 8)[None])
            self.linear.bias.zero_()

    def forward(self, inputs, targets, mode='tensor'):
        found = self.linear(inputs)[:, 0]
        if mode == 'loss':
            return {'loss': (found - targets).square().mean()}
        return list(found)


def points():
    """Return eight fixed points of eight coordinates."""
    inputs = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    return [dict(inputs=point, targets=point.sum()) for point in inputs]


class Count(BaseMetric):
    """Number of predictions over all ranks."""

    default_prefix = 'points'

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {'count': len(results)}


def make_loader(dataset, batch_size):
    """Return the config of a loader in the order of the data."""
    sampler, collate = dict(type='DefaultSampler', shuffle=False), dict(type='default_collate')
    loader = dict(batch_size=batch_size, num_workers=0, sampler=sampler, collate_fn=collate)
    return dict(loader, dataset=dataset)


def run(model, dataset, launcher, directory, batch_size, **options):
    """Train over all data once; return the Runner."""
    runner = Runner(
        model=model,
        work_dir=directory,
        train_dataloader=make_loader(dataset, batch_size),
        train_cfg={'by_epoch': True, 'max_epochs': 1},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        launcher=launcher,
        cfg={'model_wrapper_cfg': {'type': 'lightvit_dense.DistributedDataParallel'}},
        default_hooks={'checkpoint': None},
        experiment_name=f'{launcher}_{batch_size}',
        log_level='WARNING',
        **options,
    )
    runner.train()
    return runner


def train(launcher, directory, batch_size):
    """Train a line over all points once; return the Runner."""
    validation = dict(val_dataloader=make_loader(points(), batch_size), val_cfg={})
    options = dict(validation, val_evaluator=[Count()])
    return run(Line(), points(), launcher, directory, batch_size, **options)


def main():
    """Train as one of several ranks and save what this rank ended with."""
    from lightvit_dense.compat import finish_distributed, init_distributed

    launcher, directory = sys.argv[1:]
    init_distributed(launcher, timeout=60)
    runner = train(launcher, directory, batch_size=2)
    result = {
        'wrapper': type(runner.model).__module__ + '.' + type(runner.model).__name__,
        'weights': runner.model.module.state_dict(),
        'count': int(runner.message_hub.get_scalar('val/points/count').current()),
        'test': len(runner.model.test_step({'inputs': torch.ones(3, 8), 'targets': None})),
        'backend': torch.distributed.get_backend(),
        'ranks': torch.distributed.get_world_size(),
    }
    torch.save(result, os.path.join(directory, f'rank_{os.environ["RANK"]}.pt'))
    finish_distributed()


if __name__ == '__main__':
    main()
