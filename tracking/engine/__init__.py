"""The loops that track sequences, and the hook of training."""

from .elimination_schedule import EliminationScheduleHook
from .sequence_loop import SequenceTestLoop, SequenceValLoop, track_sequence
