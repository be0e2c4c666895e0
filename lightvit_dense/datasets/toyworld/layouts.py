"""Dataset layouts a toy world can be written in."""

from .layout import Layout
from .layout_ade20k import ADE20KLayout
from .layout_coco import CocoLayout
from .layout_imagenet import ImageNetLayout
from .layout_lasot import LaSOTLayout

LAYOUTS: dict[str, Layout] = {
    'coco': CocoLayout(),
    'imagenet': ImageNetLayout(),
    'ade20k': ADE20KLayout(),
    'lasot': LaSOTLayout(),
}
