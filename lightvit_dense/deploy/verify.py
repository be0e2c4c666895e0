"""An exported file and the model that it was made of, on one data set: metrics and outputs."""

import copy
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from lightvit_dense_runtime import load

from ..apis.configs import built_runner, prepare_scope, prepare_work_dir
from ..errors import UserError
from .data import raw_pipeline, sample_inputs
from .file_model import FileModel
from .graph import Graph

BOUNDS = dict(fp32=0.05, fp16=0.1, int8=0.5)
"""Largest drop of a metric in points, by precision."""
POINTS = dict(top1=1, bbox_mAP=100, segm_mAP=100, mIoU=1, success=1, AO=1)
"""Metrics that count, by the end of their name, and what makes percent of them."""


class Verification(NamedTuple):
    """What was measured on a data set."""

    before: dict[str, float]  # metrics in percent, of the model
    after: dict[str, float]  # of the file
    differences: dict[str, float | None]  # largest ones of outputs; None for other shapes
    bound: float
    limit: int | None  # images or sequences; None for all

    @property
    def passed(self) -> bool:
        """Whether no metric drops by more than the bound."""
        return all(self.after[name] >= was - self.bound for name, was in self.before.items())


def evaluate(cfg: Config, model: nn.Module, limit: int | None = None) -> dict[str, float]:
    """Return the metrics, in percent, of a model or a :class:`FileModel` by the config's test."""
    cfg = copy.deepcopy(cfg)
    loader = cfg.test_dataloader
    images = 'pipeline' in loader.dataset
    if limit is not None:
        loader.dataset['indices' if images else 'limit'] = limit
    if images and isinstance(model, FileModel):
        loader.dataset.pipeline = raw_pipeline(cfg)
        loader.batch_size, loader.collate_fn = 1, dict(type='pseudo_collate')
    for key in [key for key in cfg if key.startswith(('train_', 'val_', 'optim_', 'param_'))]:
        cfg.pop(key)
    cfg.custom_hooks, cfg.load_from, cfg.resume = [], None, False
    prepare_scope(cfg)
    with tempfile.TemporaryDirectory() as folder:
        prepare_work_dir(cfg, folder)
        cfg.experiment_name = folder  # two runs in one second would share a logger
        cfg.visualizer = dict(type='mmengine.Visualizer', name=folder)  # writes nothing
        with built_runner(cfg) as runner:
            runner.model = model.eval()
            found = runner.test()
    ends = {name: name.rpartition('/')[2] for name in found}
    points = {name: POINTS[end] * found[name] for name, end in ends.items() if end in POINTS}
    if not points:
        raise UserError(f'the test gives {", ".join(found)}, but none of {", ".join(POINTS)}')
    return points


def _differences(graph: Graph, network: Any, cfg: Config) -> dict[str, float | None]:
    """Return the largest difference of each output on four inputs; None where shapes differ."""
    found: dict[str, float | None] = dict.fromkeys(graph.output_names, 0.0)
    for arrays in sample_inputs(cfg, 4, 'val'):
        with torch.no_grad():
            ours = graph(*(torch.from_numpy(arrays[name]) for name in graph.input_names))
        theirs = network(**arrays)
        for name, mine in zip(found, (ours,) if torch.is_tensor(ours) else ours, strict=True):
            other, last = theirs[name], found[name]
            if last is None or tuple(mine.shape) != other.shape:
                found[name] = None
            elif other.size:
                found[name] = max(last, float(np.abs(mine.double().numpy() - other).max()))
    return found


def verify(
    path: Path,
    cfg: Config,
    model: nn.Module,
    graph: Graph,
    limit: int | None = None,
    bound: float | None = None,
    before: dict[str, float] | None = None,
) -> Verification:
    """Compare a file with its model, on the CPU, by the test of a config.

    ``graph`` is what the file was written from, ``limit`` the number of test images, or sequences
    of a tracker, ``bound`` the allowed drop in points if not that of the precision, and ``before``
    the model's metrics if they are known.
    """
    file = load(path)
    if file.task == 'features':
        raise UserError('--verify: features have no metric; export the model of a task')
    return Verification(
        before=evaluate(cfg, model, limit) if before is None else before,
        after=evaluate(cfg, FileModel(file, cfg), limit),
        differences=_differences(graph, file.network, cfg),
        bound=BOUNDS[file.metadata['precision']] if bound is None else bound,
        limit=limit,
    )
