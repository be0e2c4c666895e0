"""A model, a data set and a metric small enough to train in milliseconds, and configs for them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.registry import DATASETS, METRICS, MODELS


@MODELS.register_module(force=True)
class ToyBackbone(nn.Module):
    """Two layers with dropout, so that random numbers matter."""

    def __init__(self, with_cp: bool = False, drop: float = 0.3) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.fc = nn.Linear(4, 8)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc(x).tanh())  # [B, 4] -> [B, 8]


@MODELS.register_module(force=True)
class ToyRegressor(BaseModel):
    """Regression with two loss terms."""

    def __init__(self, backbone: dict, init_cfg: Any = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(8, 1)

    def init_weights(self) -> None:
        """Draw the same weights in every run."""
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> Any:
        inputs = torch.stack(list(inputs))
        out = self.head(self.backbone(inputs)).squeeze(1)
        if mode != 'loss':
            return [BaseDataElement(pred=value) for value in out]
        target = torch.stack([sample.target for sample in data_samples])
        return dict(loss_fit=(out - target).square().mean(), loss_size=1e-3 * out.abs().mean())


@MODELS.register_module(force=True)
class ToyMasked(ToyRegressor):
    """Has what the pre-training hooks ask for."""

    def __init__(self, backbone: dict, init_cfg: Any = None) -> None:
        super().__init__(backbone, init_cfg)
        self.distiller = SimpleNamespace(loss_weight=1.0)
        self.seen_weights: list[float] = []
        self.steps = 0

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Remember the distillation weight of every training step."""
        self.seen_weights.append(self.distiller.loss_weight)
        self.steps += 1
        inputs = torch.stack(list(inputs)).flatten(1)[:, :4].float()
        return super().forward(inputs, data_samples, mode)

    def reconstruct(self, inputs: list[Tensor]) -> dict[str, Tensor]:
        """Hide random pixels; predict one grey that depends on the weights."""
        original = torch.stack(list(inputs)).float()
        masked = original * (torch.rand(original.shape) > 0.5)
        grey = 128 + 2000 * self.head.weight.sum()
        return dict(original=original, masked=masked, reconstruction=original * 0 + grey % 255)

    def attention_agreement(self, inputs: Tensor) -> dict[str, float]:
        """Return the number of steps, to be recognised in the log."""
        assert not self.training
        return dict(layer_2=float(self.steps))


@DATASETS.register_module(force=True)
class ToyPoints(Dataset):
    """Points with a target each; one may be no number, and the indices read go to a log."""

    def __init__(self, length=24, bad_item=None, seeded_noise=False, log=None) -> None:
        generator = torch.Generator().manual_seed(1)
        self.points = torch.randn(length, 4, generator=generator)
        self.bad_item, self.seeded_noise, self.log = bad_item, seeded_noise, log

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict:
        point = self.points[int(index)].clone()
        sample = BaseDataElement(metainfo=dict(img_path=f'images/{int(index)}.jpg'))
        sample.target = point.sum()
        if self.seeded_noise:
            with seeded(index.seed):
                point += 0.1 * torch.randn(4)
        if index == self.bad_item:
            point[0] = float('nan')
        if self.log:
            with open(self.log, 'a') as file:
                file.write(f'{int(index)}\n')
        return dict(inputs=point, data_samples=sample)


@DATASETS.register_module(force=True)
class ToyImages(ToyPoints):
    """Random images [3, 2, 2], augmented by ambient random numbers."""

    def __getitem__(self, index: int) -> dict:
        item = super().__getitem__(index)
        generator = torch.Generator().manual_seed(int(index))
        image = torch.randint(0, 200, (3, 2, 2), generator=generator) + torch.randint(0, 50, ())
        return dict(item, inputs=image.byte())


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Number of items seen."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results: list) -> dict:
        return dict(seen=float(len(results)))


def clear_globals() -> None:
    """Forget the named instances that Runners leave behind, as a new process would."""
    for manager in (MMLogger, Visualizer, DefaultScope, MessageHub):
        for instance in manager._instance_dict.values():
            for handler in getattr(instance, 'handlers', []):
                handler.close()
        manager._instance_dict.clear()


CONFIG = """
custom_imports = dict(imports=['tests.helpers.toy_engine'], allow_failed_imports=False)
default_scope = 'lightvit_dense'
model = dict(type='lightvit_dense.ToyRegressor', backbone=dict(type='lightvit_dense.ToyBackbone'))
_loader = dict(batch_size=4, num_workers=0, collate_fn=dict(type='pseudo_collate'))
train_dataloader = dict(
    **_loader,
    dataset=dict(type='lightvit_dense.ToyPoints'),
    sampler=dict(type='{sampler}', shuffle=True))
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]
train_cfg = dict({train_cfg})
test_dataloader = dict(
    **_loader,
    dataset=dict(type='lightvit_dense.ToyPoints', length=8),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_cfg = dict()
test_evaluator = dict(type='lightvit_dense.ToyMetric')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval={interval}, by_epoch={by_epoch}))
log_processor = dict(by_epoch={by_epoch})
randomness = dict(seed=3)
"""


def write_config(directory: Path, by_epoch: bool = True, extra: str = '', length: int = 3) -> Path:
    """Write a config of ``length`` epochs of 6 iterations, or of so many iterations."""
    unit, interval = ('epochs', 1) if by_epoch else ('iters', 2)
    sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    kind = f'by_epoch={by_epoch}, max_{unit}={length}'
    text = CONFIG.format(train_cfg=kind, by_epoch=by_epoch, interval=interval, sampler=sampler)
    path = directory / 'toy.py'
    path.write_text(text + extra)
    return path
