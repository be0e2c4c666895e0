"""Run a frozen network over the data once."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from lightvit_dense.errors import UserError
from lightvit_dense.registry import DATASETS

from .cache import LABELS, CacheFolder, Part
from .identity import fingerprint, identity_of
from .network import Network, Space, plain


@dataclass
class Plan:
    """A part of the data and how its images are read.

    Attributes:
        part: 'train' and 'val' by the pipeline of the evaluation, 'view0', 'view1', ... of the
            training images by their own, randomly augmented one.
        loader: Config of the data loader whose images are taken.
        pipeline: Transforms.
        epoch: Number of the view, which its augmentation is drawn from.
    """

    part: str
    loader: dict[str, Any]
    pipeline: Sequence[dict]
    epoch: int = 0

    @classmethod
    def of_config(cls, cfg: Config, views: int = 0) -> list['Plan']:
        """List the parts that a config describes.

        Args:
            cfg: A config with labelled ``train_dataloader`` and ``val_dataloader``.
            views: Number of augmented views of the training images.

        Raises:
            UserError: If a data loader or its pipeline is missing.
        """
        for key in ('train_dataloader', 'val_dataloader'):
            dataset = (cfg.get(key) or {}).get('dataset') or {}
            if not dataset.get('pipeline'):
                raise UserError(
                    f'{cfg.filename or "the config"}: {key}.dataset has no pipeline of its own; '
                    'take a classification config (wrappers of data sets are not opened)'
                )
        train, val = cfg.train_dataloader, cfg.val_dataloader
        fixed = val.dataset.pipeline
        plans = [cls('train', train, fixed), cls('val', val, fixed)]
        return plans + [cls(f'view{i}', train, train.dataset.pipeline, i) for i in range(views)]

    def dataset(self) -> Any:
        """Build the data set; a bad image is an error, for its label would not be its own."""
        options = copy.deepcopy(dict(self.loader['dataset']))
        return DATASETS.build(dict(options, pipeline=self.pipeline, test_mode=True))

    def iterate(self, dataset: Any, seed: int) -> DataLoader:
        """Return batches in the order of the data set."""
        keys = ('batch_size', 'num_workers', 'pin_memory', 'collate_fn')
        options = {key: copy.deepcopy(self.loader[key]) for key in keys if key in self.loader}
        sampler = dict(type='lightvit_dense.SeededSampler', shuffle=False, seed=seed)
        loader = Runner.build_dataloader(dict(options, dataset=dataset, sampler=sampler))
        loader.sampler.set_epoch(self.epoch)
        return loader


def extract(
    network: Network,
    plan: Plan,
    spaces: Sequence[Space],
    cache: str | Path,
    seed: int = 0,
    say: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Part, bool]:
    """Return the features of a part of the data, from the cache as far as it has them.

    Args:
        network: The frozen network.
        plan: The part.
        spaces: Vectors wanted.
        cache: Folder of the caches.
        seed: Seed of the augmentation of views.
        say: Receives a line if a cache is not used.
        progress: Called with images done and in all.

    Returns:
        The features, and whether all were in the cache.

    Raises:
        UserError: If the cache cannot be written, there are no labels, or features are not finite.
    """
    dataset = plan.dataset()
    described = {'fingerprint': fingerprint(dataset), 'pipeline': plain(plan.pipeline)}
    if plan.part.startswith('view'):
        described |= {'epoch': plan.epoch, 'seed': seed}
    folder = CacheFolder(cache, plan.part, identity_of(network.identity, described))
    names = [space.name for space in spaces]
    with folder.locked():
        problems = {name: folder.problem(name) for name in (*names, LABELS)}
        for name, problem in problems.items():
            if problem:
                say(f'{folder.path / name}.npy {problem}: it is made anew')
        absent = [space for space in spaces if problems[space.name] is not None]
        if not absent and problems[LABELS] is None:
            return folder.open(names), True
        _run(network, plan, dataset, absent, folder, seed, progress)
        return folder.open(names), False


def _run(
    network: Network,
    plan: Plan,
    dataset: Any,
    spaces: Sequence[Space],
    folder: CacheFolder,
    seed: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write the features of all images, and the labels."""
    depth = network.backbone.num_layers
    widths = {s.name: network.backbone.width_of(s.layer or depth) for s in spaces}
    with folder.writer(widths | {LABELS: 0}, len(dataset)) as writer:
        for batch in plan.iterate(dataset, seed):
            labels = np.array([int(sample.gt_label) for sample in batch['data_samples']])
            found = network.features(batch, spaces) if spaces else []
            arrays = {s.name: x.cpu().numpy() for s, x in zip(spaces, found, strict=True)}
            writer.add(arrays | {LABELS: labels})
            progress(writer.done, len(dataset))
