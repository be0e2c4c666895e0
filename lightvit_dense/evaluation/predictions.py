"""Predictions: written to a small file, read without running code, evaluated again."""

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from rich.progress import track
from torch import Tensor

from lightvit_dense.checkpoints.io import read_checkpoint
from lightvit_dense.errors import UserError
from lightvit_dense.registry import METRICS
from lightvit_dense.utils.io import atomic_write

from .coco_metric import encode_masks
from .joint import build_evaluator, class_tables

# The truth and whole sequences are in the data set; scores of every class at every pixel would take
# 200 MB an image.
_TRUTH = ('gt_instances', 'ignored_instances', 'gt_sem_seg', 'sequence')
_LEFT_OUT = (*_TRUTH, 'seg_logits', 'proposals')


@METRICS.register_module()
class DumpPredictions(BaseMetric):
    """Write all predictions to a pickle file of plain data, a dict an image.

    As mmengine's ``DumpResults``, but masks are run lengths, label maps take a byte a pixel (two
    beyond 256 classes), and the truth and the scores of all classes at all pixels are left out.

    Args:
        out_file: The file; its name ends in .pkl or .pickle.
        **kwargs: Arguments of mmengine's ``BaseMetric``.
    """

    default_prefix = ''

    def __init__(self, out_file: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not out_file.endswith(('.pkl', '.pickle')):
            raise ValueError(f'{out_file}: predictions go into a pickle file, *.pkl')
        self.out_file = out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what the model predicted, and meta information."""
        for sample in data_samples:
            self.results.append(
                {key: _pack(key, value) for key, value in sample.items() if key not in _LEFT_OUT}
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the file; there are no figures."""
        atomic_write(self.out_file, pickle.dumps(results, protocol=4))
        # Images, or whole sequences where the model tracks.
        print_log(f'The predictions of {len(results)} samples are in {self.out_file}', 'current')
        return {}


def _pack(key: str, value: Any) -> Any:
    """Turn a value into plain data on the CPU."""
    if key == 'masks' and isinstance(value, Tensor):
        return encode_masks(value)
    if key == 'pred_sem_seg':
        ids = torch.as_tensor(value['data'])
        small = torch.uint8 if int(ids.max()) < 256 else torch.int16
        return {'data': ids.to('cpu', small)}
    if isinstance(value, Mapping):
        return {name: _pack(name, entry) for name, entry in value.items()}
    if isinstance(value, Tensor):
        # A copy: a view would be written with all that it is a part of.
        return value.detach().cpu().clone()
    if isinstance(value, (tuple, list)):
        return type(value)(value) if type(value) in (tuple, list) else tuple(value)
    return value


def read_predictions(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read what :class:`DumpPredictions` or mmengine's ``DumpResults`` wrote: a dict an image."""
    content = read_checkpoint(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(
            f'{Path(path)}: holds no list of predictions. Give the file that '
            '`tools/test.py --out FILE.pkl` wrote.'
        )
    if not content:
        raise UserError(f'{Path(path)}: holds the predictions of no image at all')
    return content


def build_test_dataset(cfg: Config) -> Any:
    """Build the data set of a config's test; the scope must have been set."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if not dataset:
        raise UserError(f'{cfg.filename or "the config"} has no test_dataloader.dataset')
    return DATASETS.build(dataset)


def match_images(dataset: Any, predictions: Sequence[Mapping[str, Any]]) -> list[int]:
    """Find the place of every prediction's image, by its path, or the last two parts of it."""
    paths = [str(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    whole = {path: i for i, path in enumerate(paths)}
    ends = {Path(path).parts[-2:]: i for i, path in enumerate(paths)}
    found: list[int] = []
    for entry in predictions:
        path = entry.get('img_path')
        if path is None:
            raise UserError(
                "the predictions do not say whose they are: name 'img_path' in meta_keys of the "
                "test pipeline's last transform and dump them again"
            )
        place = whole.get(str(path))
        if place is None and len(ends) == len(paths):
            place = ends.get(Path(path).parts[-2:])
        if place is None:
            raise UserError(
                f'{path}: was predicted, but is not among the {len(paths)} images of the test '
                f'dataset ({paths[0] if paths else "empty"}, ...). Give the config that the '
                'predictions were made with.'
            )
        found.append(place)
    if len(set(found)) != len(found):
        raise UserError('the predictions name an image twice; dump them again')
    return found


def add_truth(dataset: Any, predictions: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the predictions; those of label maps with 'gt_sem_seg' from the data set's pipeline."""
    pairs = list(zip(match_images(dataset, predictions), predictions, strict=True))
    for place, entry in track(pairs, 'Reading the truth', transient=True):
        if 'pred_sem_seg' in entry and 'gt_sem_seg' not in entry:
            sample = dataset[place]['data_samples']
            if 'gt_sem_seg' not in sample:
                raise UserError(
                    f'{entry["img_path"]}: the test pipeline loads no label map; add '
                    "dict(type='lightvit_dense.LoadSegmentationMap') behind the resize"
                )
            entry = {**entry, 'gt_sem_seg': {'data': sample.gt_sem_seg.data}}
        yield entry


def evaluate_predictions(
    cfg: Config, predictions: Sequence[dict[str, Any]]
) -> tuple[dict[str, float], dict[str, list[dict]]]:
    """Run a config's ``test_evaluator`` on dumped predictions; figures and class tables."""
    dataset = build_test_dataset(cfg)
    evaluator = build_evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for entry in add_truth(dataset, predictions):
        evaluator.process(data_samples=[entry])
    if len(predictions) < len(dataset):
        print(f'note: {len(predictions)} of the {len(dataset)} images were predicted')
    return evaluator.evaluate(len(predictions)), class_tables(evaluator)
