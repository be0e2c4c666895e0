"""Pairs of template and search crops to train on."""

from .augment import PairAugment
from .choose import FrameChoice
from .jitter import CropSpec, Cut
from .pairs import LoadFrame, PairDataset
