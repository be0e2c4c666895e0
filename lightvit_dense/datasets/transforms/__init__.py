"""Transforms of image pipelines."""

from .augment import CenterResizedCrop, RandomFlip, RandomFlipFlag, RandomResizedCrop
from .color import ColorJitter, GaussianBlur, RandAugment, RandomGrayscale, Solarize
from .deferred import DeferredPipeline
from .fast_crop import LoadRandomResizedCrop
from .loading import LoadImage
from .packing import MultiView, PackImage, PackViews
from .segmentation import LoadSegmentationMap
