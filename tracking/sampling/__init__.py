"""Pairs of template and search crops to train on."""

from .augment import PairAugment
from .choose import FrameChoice
from .crops import CropWindow, DegenerateBox, crop_image, crop_window, padding_mask
from .jitter import CropSpec, Cut
from .pairs import LoadFrame, PairDataset
