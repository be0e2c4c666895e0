"""Small labelled image sets that ordinary packages carry, written in ImageNet's layout."""

from .images import SetReport, SmallSet, SmallSetError, write_set
from .sources import SOURCES
