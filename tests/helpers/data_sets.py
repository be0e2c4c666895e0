"""Data sets as configs build them, what they give, and images to read."""

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader

import lightvit_dense  # noqa: F401


def build(kind: str, root: Path, **options: Any) -> Any:
    return DATASETS.build(dict(type=f'lightvit_dense.{kind}', data_root=str(root)) | options)


def listed(dataset: Any) -> list[tuple]:
    """Return the path and the label, if any, of each image."""
    infos = [dataset.get_data_info(place) for place in range(len(dataset))]
    return [(info['img_path'], info.get('gt_label')) for info in infos]


def sampler_of(dataset: Any, kind: str = 'SeededInfiniteSampler', **options: Any) -> Any:
    cfg = dict(type=f'lightvit_dense.{kind}', dataset=dataset, seed=5)
    return DATA_SAMPLERS.build(cfg | options)


def batches(
    dataset: Any, workers: int, size: int = 2, count: int = 4, start: int = 0, **options: Any
) -> list[dict]:
    """Return the first batches of an infinite sampler that goes on at a start."""
    sampler = sampler_of(dataset)
    sampler.set_progress(start=start)
    options = dict(sampler=sampler, num_workers=workers, collate_fn=pseudo_collate) | options
    loader = iter(DataLoader(dataset, size, **options))
    found = []
    for _ in range(count):
        torch.rand(3)  # a model that draws numbers must not disturb the data
        random.random()
        found.append(next(loader))
    return found


def write_image(path: Path, size: tuple[int, int] = (24, 20), seed: int = 0) -> None:
    """Write smooth noise of a size (height, width) in the format that the ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    image = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
