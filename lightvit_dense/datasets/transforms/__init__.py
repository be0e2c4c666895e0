"""Transforms of image pipelines."""

from .augment import CenterResizedCrop, RandomFlipFlag, RandomResizedCrop
from .classification import RandAugment
from .color import ColorJitter, GaussianBlur, RandomGrayscale, Solarize
from .fast_crop import LoadRandomResizedCrop
from .loading import LoadImage
from .packing import PackImage
from .segmentation import LoadSegmentationMap
from .views import MultiView, PackViews

__all__ = [
    'CenterResizedCrop',
    'ColorJitter',
    'GaussianBlur',
    'LoadImage',
    'LoadRandomResizedCrop',
    'LoadSegmentationMap',
    'MultiView',
    'PackImage',
    'PackViews',
    'RandAugment',
    'RandomFlipFlag',
    'RandomGrayscale',
    'RandomResizedCrop',
    'Solarize',
]
