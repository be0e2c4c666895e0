"""Sequences of the published sets and of one's own."""

from .base import SequenceSet
from .coco import CocoSequences
from .custom import CustomSequences
from .frames import ListedFrames, NumberedFrames, VideoFrames
from .got10k import GOT10k
from .lasot import LaSOT
from .listed import NFS, OTB, UAV123
from .sequence import Frames, VideoSequence
from .tnl2k import TNL2K
from .trackingnet import TrackingNet
from .whole import SequenceDataset
