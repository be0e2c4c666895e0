"""Batches of the right shapes, so that speed is measured without any data."""

from typing import Any

import numpy as np
import torch


def strip_checkpoints(config: Any) -> Any:
    """Return a copy of a config in which no ``init_cfg`` asks for a checkpoint.

    Args:
        config: Plain dicts, lists and values.
    """
    if isinstance(config, dict):
        kept = {}
        for key, value in config.items():
            if key == 'init_cfg' and 'checkpoint' in str(value):
                continue
            kept[key] = strip_checkpoints(value)
        return kept
    if isinstance(config, (list, tuple)):
        return type(config)(strip_checkpoints(item) for item in config)
    return config


def images(batch: int, size: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Return ``batch`` random images, each uint8 [3, size, size]."""
    shape = (3, size, size)
    return [
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for _ in range(batch)
    ]


def pretraining_batch(batch: int, size: int, seed: int = 0) -> dict[str, Any]:
    """Return a collated batch for a pre-trainer: images and empty samples."""
    from mmengine.structures import BaseDataElement

    generator = torch.Generator().manual_seed(seed)
    return {
        'inputs': images(batch, size, generator),
        'data_samples': [BaseDataElement() for _ in range(batch)],
    }


def detection_batch(
    batch: int, size: int, num_classes: int, objects: int = 7, seed: int = 0
) -> dict[str, Any]:
    """Return a collated batch for an instance segmenter: images with elliptic objects.

    Args:
        batch: Number of images.
        size: Side of the images in pixels.
        num_classes: Labels are drawn from 0..num_classes-1.
        objects: Objects an image; COCO has 7 on average.
        seed: Seed of everything random here.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(seed)
    samples = []
    for index in range(batch):
        # Log-uniform sizes: small, medium and large objects alike.
        width, height = size * np.exp(rng.uniform(np.log(0.03), np.log(0.7), (2, objects)))
        left, top = rng.uniform(0, size - width), rng.uniform(0, size - height)
        boxes = np.stack([left, top, left + width, top + height], 1).astype(np.float32)
        truth = InstanceData()
        truth.bboxes = HorizontalBoxes(torch.from_numpy(boxes))
        truth.labels = torch.from_numpy(rng.integers(0, num_classes, objects))
        truth.masks = BitmapMasks(np.stack([_ellipse(box, size) for box in boxes]), size, size)
        shape = (size, size)
        info = {'img_id': index, 'img_shape': shape, 'ori_shape': shape, 'pad_shape': shape}
        sample = DetDataSample(metainfo={**info, 'scale_factor': (1.0, 1.0)})
        sample.gt_instances = truth
        samples.append(sample)
    generator = torch.Generator().manual_seed(seed)
    return {'inputs': images(batch, size, generator), 'data_samples': samples}


def _ellipse(box: np.ndarray, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    left, top, right, bottom = box
    across = (x - (left + right) / 2) / ((right - left) / 2)
    down = (y - (top + bottom) / 2) / ((bottom - top) / 2)
    return (across**2 + down**2 <= 1).astype(np.uint8)
