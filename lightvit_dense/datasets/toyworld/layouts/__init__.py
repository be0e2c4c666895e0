"""Dataset layouts a toy world can be written in."""

from .ade20k import ADE20KLayout
from .base import Layout, Record
from .coco import CocoLayout
from .imagenet import ImageNetLayout
from .lasot import LaSOTLayout

LAYOUTS: dict[str, Layout] = {
    'coco': CocoLayout(),
    'imagenet': ImageNetLayout(),
    'ade20k': ADE20KLayout(),
    'lasot': LaSOTLayout(),
}

__all__ = [
    'LAYOUTS',
    'ADE20KLayout',
    'CocoLayout',
    'ImageNetLayout',
    'LaSOTLayout',
    'Layout',
    'Record',
]
