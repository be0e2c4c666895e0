"""Small labelled image sets that ordinary packages carry, written in ImageNet's layout."""

from .images import SmallSet, SmallSetError
from .sources import SOURCES
from .writer import SetReport, write_set

__all__ = ['SOURCES', 'SetReport', 'SmallSet', 'SmallSetError', 'write_set']
