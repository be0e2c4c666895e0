"""Datasets, samplers and transforms.

Detection's dataset is imported when it is first built: mmdet takes seconds to import, and
pre-training does without it.
"""

from typing import Any

from lightvit_dense.registry import DATASETS

from .classification import (
    CIFAR100,
    FGVCAircraft,
    Flowers102,
    INaturalist2018,
    OxfordPets,
    StanfordCars,
)
from .collate import collate_images
from .determinism import SeededIndex, SeededInfiniteSampler, SeededItems, SeededSampler, seeded
from .errors import DatasetError
from .imagenet import ImageNet
from .repeated_augment import RepeatedAugmentSampler
from .transforms import (
    CenterResizedCrop,
    LoadImage,
    LoadRandomResizedCrop,
    PackImage,
    RandomMirrorFlag,
    RandomResizedCrop,
)
from .unlabeled import ImageFiles

__all__ = [
    'CIFAR100',
    'CenterResizedCrop',
    'DatasetError',
    'FGVCAircraft',
    'Flowers102',
    'INaturalist2018',
    'ImageFiles',
    'ImageNet',
    'LoadImage',
    'LoadRandomResizedCrop',
    'OxfordPets',
    'PackImage',
    'RandomMirrorFlag',
    'RandomResizedCrop',
    'RepeatedAugmentSampler',
    'SeededIndex',
    'SeededInfiniteSampler',
    'SeededItems',
    'SeededSampler',
    'StanfordCars',
    'collate_images',
    'seeded',
]


@DATASETS.register_module(name='CocoDataset')
def _build_coco_dataset(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .detection.coco import CocoDataset

    return CocoDataset(*args, **kwargs)
