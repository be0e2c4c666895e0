"""Heads of Mask R-CNN that start from detectron2's values."""

from typing import Any

from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from torch import nn

from ...registry import MODELS


@MODELS.register_module(force=True)
class BoxHead(ConvFCBBoxHead):
    """mmdet's ``ConvFCBBoxHead`` whose hidden layers start from Caffe2's Xavier.

    Their weights are uniform within sqrt(3 / inputs), where mmdet counts the outputs too. The rest
    is the same in both: convolutions N(0, 2 / (outputs * 9)), classes N(0, 0.01^2), boxes N(0,
    0.001^2).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kwargs.get('init_cfg') is None:
            layers = [dict(name=name) for name in ('shared_fcs', 'cls_fcs', 'reg_fcs')]
            self.init_cfg[-1] = dict(type='Caffe2Xavier', override=layers)


@MODELS.register_module(force=True)
class MaskHead(FCNMaskHead):
    """mmdet's ``FCNMaskHead`` whose last layer starts from N(0, 0.001^2), near a mask of 0.5."""

    def init_weights(self) -> None:
        """Draw the initial weights."""
        super().init_weights()
        nn.init.normal_(self.conv_logits.weight, std=0.001)
