"""Run a frozen backbone over the data once."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from lightvit_dense.errors import UserError
from lightvit_dense.registry import DATASETS

from .cache import LABELS, CacheFolder, Part
from .identity import fingerprint, identity_of, plain

POOLS = ('cls', 'mean')


class FrozenModel(Protocol):
    """What is asked of a network; :func:`lightvit_dense.apis.frozen_backbone` makes one."""

    backbone: Any  # in evaluation mode
    identity: dict[str, Any]  # what features depend on besides the images, as plain data

    @property
    def preprocessor(self) -> Any:
        """The normaliser, on the backbone's device."""


@dataclass(frozen=True)
class Space:
    """A vector an image: a layer (from 1; 0: the normed end), pooled by 'cls' or 'mean'."""

    pool: str
    layer: int = 0

    @property
    def name(self) -> str:
        """Name in tables and of files: 'cls', or 'cls_layer8'."""
        return f'{self.pool}_layer{self.layer}' if self.layer else self.pool


def spaces_of(backbone: Any, pools: Sequence[str] | None, layers: Sequence[int]) -> list[Space]:
    """List the vectors that are asked for; by default the class token's where there is one."""
    prefix, depth = backbone.num_prefix_tokens, backbone.num_layers
    pools = pools or (['cls'] if prefix else ['mean'])
    if 'cls' in pools and not prefix:
        raise UserError(
            '--features cls: the backbone has no class token; take --features mean, or set '
            'model.backbone.cls_token=True if the checkpoint has one'
        )
    wrong = [layer for layer in layers if not 0 <= layer <= depth]
    if wrong:
        raise UserError(
            f'--layer {wrong[0]}: the backbone has {depth} layers; give 1 to {depth}, or 0 for '
            'the end, after the final norm'
        )
    return [Space(pool, layer) for layer in layers for pool in pools]


@torch.inference_mode()
def read_features(
    model: FrozenModel, batch: dict[str, Any], spaces: Sequence[Space]
) -> list[Tensor]:
    """Return the features [B, C] of a collated batch, one tensor a space, fp32."""
    images = model.preprocessor(batch, False)['inputs']
    prefix = model.backbone.num_prefix_tokens
    wanted = sorted({space.layer for space in spaces} - {0})
    encoding = model.backbone.encode(images, hidden_of=wanted)
    found = []
    for space in spaces:
        tokens = encoding.hidden[space.layer] if space.layer else encoding.tokens
        found.append(tokens[:, 0] if space.pool == 'cls' else tokens[:, prefix:].mean(1))
    return [x.float() for x in found]


@dataclass
class Plan:
    """A part of the data, 'train' or 'val'; both are read by the pipeline of the evaluation."""

    part: str
    loader: dict[str, Any]  # config of the data loader whose images are taken
    pipeline: Sequence[dict]

    @classmethod
    def of_config(cls, cfg: Config) -> list['Plan']:
        """List the parts that a config describes."""
        for key in ('train_dataloader', 'val_dataloader'):
            dataset = (cfg.get(key) or {}).get('dataset') or {}
            if not dataset.get('pipeline'):
                raise UserError(
                    f'{cfg.filename or "the config"}: {key}.dataset has no pipeline of its own; '
                    'take a classification config (wrappers of data sets are not opened)'
                )
        train, val = cfg.train_dataloader, cfg.val_dataloader
        fixed = val.dataset.pipeline
        return [cls('train', train, fixed), cls('val', val, fixed)]

    def dataset(self) -> Any:
        """Build the data set; a bad image is an error, for its label would not be its own."""
        options = copy.deepcopy(dict(self.loader['dataset']))
        return DATASETS.build(dict(options, pipeline=self.pipeline, test_mode=True))

    def iterate(self, dataset: Any) -> DataLoader:
        """Return batches in the order of the data set."""
        keys = ('batch_size', 'num_workers', 'pin_memory', 'collate_fn')
        options = {key: copy.deepcopy(self.loader[key]) for key in keys if key in self.loader}
        sampler = dict(type='lightvit_dense.SeededSampler', shuffle=False, seed=0)
        return Runner.build_dataloader(dict(options, dataset=dataset, sampler=sampler))


def extract(
    model: FrozenModel,
    plan: Plan,
    spaces: Sequence[Space],
    cache: str | Path,
    say: Callable[[str], None] = print,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Part, bool]:
    """Return a part's features, and whether all were cached; ``say`` hears of unused caches."""
    dataset = plan.dataset()
    described = {'fingerprint': fingerprint(dataset), 'pipeline': plain(plan.pipeline)}
    folder = CacheFolder(cache, plan.part, identity_of(model.identity, described))
    names = [space.name for space in spaces]
    with folder.locked():
        problems = {name: folder.problem(name) for name in (*names, LABELS)}
        for name, problem in problems.items():
            if problem:
                say(f'{folder.path / name}.npy {problem}: it is made anew')
        absent = [space for space in spaces if problems[space.name] is not None]
        if not absent and problems[LABELS] is None:
            return folder.open(names), True
        depth, count = model.backbone.num_layers, len(dataset)
        widths = {s.name: model.backbone.width_of(s.layer or depth) for s in absent}
        with folder.writer(widths | {LABELS: 0}, count) as writer:
            for batch in plan.iterate(dataset):
                labels = np.array([int(sample.gt_label) for sample in batch['data_samples']])
                found = read_features(model, batch, absent) if absent else []
                arrays = {s.name: x.cpu().numpy() for s, x in zip(absent, found, strict=True)}
                writer.add(arrays | {LABELS: labels})
                on_progress(writer.done, count)
        return folder.open(names), False
