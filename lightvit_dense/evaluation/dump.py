"""Predictions to a file, small enough to keep, and back without running code."""

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from lightvit_dense.checkpoints.io import read_checkpoint
from lightvit_dense.errors import UserError
from lightvit_dense.registry import METRICS
from lightvit_dense.utils.io import atomic_write

from .coco_metric import encode_masks

# The truth and whole sequences are in the data set; scores of every class at every pixel would take
# 200 MB an image.
LEFT_OUT = (
    'gt_instances',
    'ignored_instances',
    'gt_sem_seg',
    'seg_logits',
    'proposals',
    'sequence',
)


@METRICS.register_module()
class DumpPredictions(BaseMetric):
    """Write all predictions to a pickle file of plain data, for later evaluation.

    The file holds a list with a dict for each image, as mmengine's ``DumpResults`` writes it, but
    masks are encoded by their run lengths, label maps take a byte a pixel (two beyond 256
    classes), and the truth and the scores of all classes at all pixels are left out.

    Args:
        out_file: The file; its name ends in .pkl or .pickle.
        collect_device: Where results of several processes meet, 'cpu' or 'gpu'.

    Raises:
        ValueError: If the name ends otherwise.
    """

    default_prefix = ''

    def __init__(self, out_file: str, collect_device: str = 'cpu') -> None:
        super().__init__(collect_device)
        if not out_file.endswith(('.pkl', '.pickle')):
            raise ValueError(f'{out_file}: predictions go into a pickle file, *.pkl')
        self.out_file = out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep a batch.

        Args:
            data_batch: Unused.
            data_samples: Dicts of what the model predicted, and of meta information.
        """
        for sample in data_samples:
            self.results.append(
                {key: _packed(key, value) for key, value in sample.items() if key not in LEFT_OUT}
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the file; there are no figures.

        Args:
            results: What :meth:`process` kept, of all processes.
        """
        atomic_write(self.out_file, pickle.dumps(results, protocol=4))
        # Images, or whole sequences where the model tracks.
        print_log(f'The predictions of {len(results)} samples are in {self.out_file}', 'current')
        return {}


def _packed(key: str, value: Any) -> Any:
    """Turn a value into plain data on the CPU."""
    if key == 'masks' and isinstance(value, Tensor):
        return encode_masks(value)
    if key == 'pred_sem_seg':
        ids = torch.as_tensor(value['data'])
        small = torch.uint8 if int(ids.max()) < 256 else torch.int16
        return {'data': ids.to('cpu', small)}
    if isinstance(value, Mapping):
        return {name: _packed(name, entry) for name, entry in value.items()}
    if isinstance(value, Tensor):
        # A copy: a view would be written with all that it is a part of.
        return value.detach().cpu().clone()
    if isinstance(value, (tuple, list)):
        return type(value)(value) if type(value) in (tuple, list) else tuple(value)
    return value


def read_predictions(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read what :class:`DumpPredictions` or mmengine's ``DumpResults`` wrote.

    Args:
        path: The file.

    Returns:
        A dict for each image.

    Raises:
        UserError: If the file is missing, damaged, asks to run code, or holds something else.
    """
    content = read_checkpoint(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(
            f'{Path(path)}: holds no list of predictions. Give the file that '
            '`tools/test.py --out FILE.pkl` wrote.'
        )
    if not content:
        raise UserError(f'{Path(path)}: holds the predictions of no image at all')
    return content
