"""Datasets, samplers and transforms; those that need mmdet or mmseg are imported late."""

from lightvit_dense.registry import DATASETS, TRANSFORMS, register_late

from .classification import (
    CIFAR100,
    FGVCAircraft,
    Flowers102,
    INaturalist2018,
    OxfordPets,
    StanfordCars,
)
from .collate import collate_deferred, collate_images
from .determinism import (
    RepeatedAugmentSampler,
    SeededIndex,
    SeededInfiniteSampler,
    SeededItems,
    SeededSampler,
    seeded,
)
from .errors import DatasetError
from .imagenet import ImageNet
from .noise import NoiseBatch
from .transforms import (
    CenterResizedCrop,
    DeferredPipeline,
    LoadImage,
    LoadRandomResizedCrop,
    LoadSegmentationMap,
    PackImage,
    RandomFlip,
    RandomFlipFlag,
    RandomResizedCrop,
)
from .unlabeled import ImageFiles

register_late(DATASETS, 'CocoDataset', 'datasets.detection.coco')
register_late(TRANSFORMS, 'OpenImage', 'datasets.detection.opening')
register_late(TRANSFORMS, 'ResizeScale', 'datasets.detection.jitter')
register_late(TRANSFORMS, 'FixedSizeCrop', 'datasets.detection.jitter')
register_late(TRANSFORMS, 'PackDetection', 'datasets.detection.packing')
register_late(TRANSFORMS, 'RandomScaleCrop', 'datasets.segmentation.augment')
register_late(TRANSFORMS, 'PhotoMetricDistortion', 'datasets.segmentation.augment')
register_late(TRANSFORMS, 'PackSegmentation', 'datasets.segmentation.augment')
register_late(DATASETS, 'SegmentationDataset', 'datasets.segmentation.base')
register_late(DATASETS, 'ADE20KDataset', 'datasets.segmentation.base')
