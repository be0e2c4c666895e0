"""An exported file in the place of a model: in a test loop, and for pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from torch import nn

from lightvit_dense_runtime import load

from ..apis.inferencers import Inferencer, make_inferencer
from ..errors import UserError
from .data import inputs_of


class FileModel(nn.Module):
    """A file, opened by ``lightvit_dense_runtime.load``, as a model for inputs of ``cfg``."""

    data_preprocessor = None

    def __init__(self, file: Any, cfg: Config) -> None:
        super().__init__()
        self.file, self.cfg, self.task = file, cfg, file.task
        self.num_classes, self.dataset_meta = len(file.classes), dict(classes=file.classes)

    def init(self, frame: np.ndarray, box: np.ndarray) -> None:
        """Begin to track, for a loop over sequences."""
        self.file.init(frame, box)

    def update(self, frame: np.ndarray) -> Any:
        """Track; returns ``box`` and ``score``."""
        return self.file.track(frame)

    def test_step(self, data: Mapping[str, Any]) -> list[Any]:
        """Write into the samples of raw images what the file finds."""
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            found = self.file(inputs_of(dict(inputs=image), self.cfg)['image'][0])
            if self.file.task == 'classification':
                sample.pred_score, sample.pred_label = torch.from_numpy(found), int(found.argmax())
            elif self.file.task == 'segmentation':
                sample.pred_sem_seg = PixelData(data=torch.from_numpy(found).long()[None])
            else:
                arrays = dict(bboxes=found.boxes, scores=found.scores, labels=found.labels)
                arrays |= {} if found.masks is None else dict(masks=found.masks)
                tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
                sample.pred_instances = InstanceData(**tensors)
        return list(data['data_samples'])


def file_inferencer(path: str | Path, device: str | None = None, **options: Any) -> Inferencer:
    """Build the inferencer of an exported file; its options are :func:`make_inferencer`'s."""
    file = load(path, provider=device or 'cpu')
    if file.task == 'tracking':
        raise UserError(f'{path}: is a tracker, which takes videos: lightvit track --model FILE')
    exif = file.task != 'classification'  # as the configs of the tasks do
    loader = dict(type='LoadImage', color='rgb', exif=exif)
    steps = [loader, dict(type='lightvit_dense.PackImage')]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps))))
    return make_inferencer(cfg, model=FileModel(file, cfg), **options)
