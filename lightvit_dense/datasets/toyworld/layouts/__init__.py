"""Dataset layouts a toy world can be written in."""

from .base import Layout, Record
from .coco import CocoLayout
from .imagenet import ImageNetLayout

LAYOUTS: dict[str, Layout] = {'coco': CocoLayout(), 'imagenet': ImageNetLayout()}

__all__ = ['LAYOUTS', 'CocoLayout', 'ImageNetLayout', 'Layout', 'Record']
