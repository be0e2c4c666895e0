"""Transforms of image pipelines."""

from .augment import CenterResizedCrop, RandomResizedCrop
from .loading import LoadImage
from .packing import PackImage

__all__ = ['CenterResizedCrop', 'LoadImage', 'PackImage', 'RandomResizedCrop']
