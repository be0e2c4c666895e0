"""Pairs of template and search crops to train on."""

from .augment import PairAugment
from .choose import FrameChoice
from .crops import CropWindow, DegenerateBox, crop_image, crop_window, padding_mask
from .jitter import CropSpec, Cut
from .load_frame import LoadFrame
from .pairs import PairDataset

__all__ = [
    'CropSpec',
    'CropWindow',
    'Cut',
    'DegenerateBox',
    'FrameChoice',
    'LoadFrame',
    'PairAugment',
    'PairDataset',
    'crop_image',
    'crop_window',
    'padding_mask',
]
