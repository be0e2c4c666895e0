"""Dataset layouts a toy world can be written in."""

from .ade20k import ADE20KLayout
from .base import Layout, Record
from .coco import CocoLayout
from .imagenet import ImageNetLayout

LAYOUTS: dict[str, Layout] = {
    'coco': CocoLayout(),
    'imagenet': ImageNetLayout(),
    'ade20k': ADE20KLayout(),
}

__all__ = ['LAYOUTS', 'ADE20KLayout', 'CocoLayout', 'ImageNetLayout', 'Layout', 'Record']
