"""Dataset layouts a toy world can be written in."""

from .base import Layout, Record
from .coco import CocoLayout

LAYOUTS: dict[str, Layout] = {'coco': CocoLayout()}

__all__ = ['LAYOUTS', 'CocoLayout', 'Layout', 'Record']
