"""The kinds of checkpoints that are read, see :data:`~.table.SOURCES`."""

from .base import Context, Source, State, Step
from .table import SOURCES

__all__ = ['SOURCES', 'Context', 'Source', 'State', 'Step']
