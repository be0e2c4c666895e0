"""Sequences of the published sets and of one's own."""

from .base import SequenceSet
from .custom import CustomSequences
from .frames import ListedFrames, NumberedFrames, VideoFrames
from .lasot import LaSOT
from .sequence import Frames, VideoSequence
from .whole import SequenceDataset

__all__ = [
    'CustomSequences',
    'Frames',
    'LaSOT',
    'ListedFrames',
    'NumberedFrames',
    'SequenceDataset',
    'SequenceSet',
    'VideoFrames',
    'VideoSequence',
]
