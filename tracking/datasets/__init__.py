"""Sequences of the published sets and of one's own."""

from .sequence import Frames, VideoSequence
from .whole import SequenceDataset

__all__ = ['Frames', 'SequenceDataset', 'VideoSequence']
