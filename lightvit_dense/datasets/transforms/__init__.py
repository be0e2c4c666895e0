"""Transforms of image pipelines."""

from .augment import CenterResizedCrop, RandomResizedCrop
from .color import ColorJitter, GaussianBlur, RandomGrayscale, Solarize
from .loading import LoadImage
from .packing import PackImage
from .views import MultiView, PackViews

__all__ = [
    'CenterResizedCrop',
    'ColorJitter',
    'GaussianBlur',
    'LoadImage',
    'MultiView',
    'PackImage',
    'PackViews',
    'RandomGrayscale',
    'RandomResizedCrop',
    'Solarize',
]
