"""An exported file and the model that it was made of, on one data set: metrics and outputs."""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from torch import nn

from lightvit_dense_runtime import load

from ..apis.configs import built_runner, prepare_scope, prepare_work_dir
from ..errors import UserError
from .data import Arrays, inputs_of, loads_bgr, raw_pipeline, sample_inputs
from .graph import Graph

BOUNDS = dict(fp32=0.05, fp16=0.1, int8=0.5)
"""Largest drop of a metric in points, by precision."""
POINTS = dict(top1=1, bbox_mAP=100, segm_mAP=100, mIoU=1, success=1, AO=1)
"""Metrics that count, by the end of their name, and what makes percent of them."""
IMAGES = 4


@dataclass(frozen=True)
class Verification:
    """What was measured on a data set."""

    before: dict[str, float]  # metrics in points, of the model
    after: dict[str, float]  # of the file
    differences: dict[str, float | None]  # largest ones of outputs; None for other shapes
    bound: float
    limit: int | None  # images or sequences, None for all

    @property
    def drops(self) -> dict[str, float]:
        """By how many points each metric is lower."""
        return {name: value - self.after[name] for name, value in self.before.items()}

    @property
    def passed(self) -> bool:
        """Whether no metric drops by more than the bound."""
        return all(drop <= self.bound for drop in self.drops.values())


class FileModel(nn.Module):
    """An exported file in the place of a model in a test loop.

    Args:
        file: What :func:`lightvit_dense_runtime.load` opens.
        bgr: Whether the data set's images are BGR.
    """

    def __init__(self, file: Any, bgr: bool) -> None:
        super().__init__()
        self.file, self.bgr = file, bgr

    def init(self, frame: np.ndarray, box: np.ndarray) -> None:
        """Begin to track, for a loop over sequences."""
        self.file.init(frame, box)

    def update(self, frame: np.ndarray) -> Any:
        """Track; returns ``box`` and ``score``."""
        return self.file.track(frame)

    def test_step(self, data: Mapping[str, Any]) -> list[Any]:
        """Write into the samples of raw images what the file finds."""
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            pixels = inputs_of(dict(inputs=image), self.bgr)['image'][0]
            getattr(self, f'_{self.file.task}')(sample, self.file(pixels))
        return list(data['data_samples'])

    @staticmethod
    def _classification(sample: Any, found: Any) -> None:
        sample.pred_score, sample.pred_label = torch.from_numpy(found), int(found.argmax())

    @staticmethod
    def _segmentation(sample: Any, found: Any) -> None:
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(found).long()[None])

    @staticmethod
    def _detection(sample: Any, found: Any) -> None:
        arrays = dict(bboxes=found.boxes, scores=found.scores, labels=found.labels)
        if found.masks is not None:
            arrays['masks'] = found.masks
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        sample.pred_instances = InstanceData(**tensors)


def evaluate(cfg: Config, model: nn.Module, limit: int | None = None) -> dict[str, float]:
    """Return the metrics, in points, of a model or a :class:`FileModel` by the config's test."""
    cfg = copy.deepcopy(cfg)
    loader = cfg.test_dataloader
    if limit is not None:
        loader.dataset['indices' if 'pipeline' in loader.dataset else 'limit'] = limit
    if isinstance(model, FileModel) and 'pipeline' in loader.dataset:
        loader.dataset.pipeline = raw_pipeline(cfg)
        loader.batch_size, loader.collate_fn = 1, dict(type='pseudo_collate')
    for key in [key for key in cfg if key.startswith(('train_', 'val_', 'optim_', 'param_'))]:
        cfg.pop(key)
    cfg.custom_hooks, cfg.load_from, cfg.resume = [], None, False
    cfg.visualizer = dict(type='mmengine.Visualizer', name='verify')  # writes nothing
    prepare_scope(cfg)
    with tempfile.TemporaryDirectory() as folder:
        prepare_work_dir(cfg, folder)
        with built_runner(cfg) as runner:
            runner.model = model.eval()
            found = runner.test()
    ends = {name: name.rpartition('/')[2] for name in found}
    points = {name: POINTS[end] * found[name] for name, end in ends.items() if end in POINTS}
    if not points:
        raise UserError(
            f'the test of the config gives {", ".join(found)}; none of {", ".join(POINTS)} is there'
        )
    return points


def largest_differences(
    graph: Graph, network: Any, inputs: Sequence[Arrays]
) -> dict[str, float | None]:
    """Return the largest difference of each output; None if shapes differ on any of the inputs."""
    found: dict[str, float | None] = dict.fromkeys(graph.output_names, 0.0)
    for arrays in inputs:
        with torch.no_grad():
            given = [torch.from_numpy(arrays[name]) for name in graph.input_names]
            ours: Any = graph(*given)
        theirs = network(**arrays)
        for name, mine in zip(
            graph.output_names, (ours,) if torch.is_tensor(ours) else ours, strict=True
        ):
            other, last = theirs[name], found[name]
            if last is None or tuple(mine.shape) != other.shape:
                found[name] = None
            elif other.size:
                gap = np.abs(mine.double().numpy() - other.astype(np.float64)).max()
                found[name] = max(last, float(gap))
    return found


def verify(
    path: str | Path,
    cfg: Config,
    model: nn.Module,
    graph: Graph,
    limit: int | None = None,
    bound: float | None = None,
    before: dict[str, float] | None = None,
) -> Verification:
    """Compare a file with its model by the test of a config.

    Args:
        path: The exported file.
        cfg: Config whose test data and evaluator are taken.
        model: The model, as it was exported, on the CPU.
        graph: The graph that the file was written from.
        limit: Number of test images, or sequences of a tracker, the first ones; None for all.
        bound: Allowed drop in points; None for that of the file's precision.
        before: The model's metrics, if they are known.
    """
    file = load(path)
    if file.task == 'features':
        raise UserError('--verify: features have no metric; export the model of a task')
    return Verification(
        before=evaluate(cfg, model, limit) if before is None else before,
        after=evaluate(cfg, FileModel(file, loads_bgr(cfg)), limit),
        differences=largest_differences(graph, file.network, sample_inputs(cfg, IMAGES, 'val')),
        bound=BOUNDS[file.metadata['precision']] if bound is None else bound,
        limit=limit,
    )
