"""Sequences of the published sets and of one's own."""

from .sequence import Frames, VideoSequence

__all__ = ['Frames', 'VideoSequence']
