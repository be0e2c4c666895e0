"""Datasets, samplers and transforms.

The data sets of detection and segmentation are imported when they are first built: mmdet and mmseg
take seconds to import, and pre-training does without them.
"""

from typing import Any

from lightvit_dense.registry import DATASETS, TRANSFORMS

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
    LoadSegmentationMap,
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
    'LoadSegmentationMap',
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


@TRANSFORMS.register_module(name='ResizeScale')
def _build_resize_scale(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .detection.jitter import ResizeScale

    return ResizeScale(*args, **kwargs)


@TRANSFORMS.register_module(name='FixedSizeCrop')
def _build_fixed_size_crop(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .detection.jitter import FixedSizeCrop

    return FixedSizeCrop(*args, **kwargs)


@DATASETS.register_module(name='SegmentationDataset')
def _build_segmentation_dataset(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .segmentation.base import SegmentationDataset

    return SegmentationDataset(*args, **kwargs)


@DATASETS.register_module(name='ADE20KDataset')
def _build_ade20k_dataset(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .segmentation.ade20k import ADE20KDataset

    return ADE20KDataset(*args, **kwargs)
