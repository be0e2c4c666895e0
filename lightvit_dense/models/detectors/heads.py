"""Heads of Mask R-CNN that start from detectron2's values, and boxes in fp32 under AMP."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead as MMDetRPNHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from ...registry import MODELS
from ..pretraining.precision import at_least_fp32


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
    """mmdet's ``FCNMaskHead`` whose last layer starts from N(0, 0.001^2), near a mask of 0.5.

    Convolutions start from N(0, 2 / (outputs * k^2)) in both; mmdet's last layer does, too.
    """

    def init_weights(self) -> None:
        """Draw the initial weights."""
        super().init_weights()
        nn.init.normal_(self.conv_logits.weight, std=0.001)


@MODELS.register_module(force=True)
class RPNHead(MMDetRPNHead):
    """mmdet's ``RPNHead`` whose proposals are computed in fp32, not in the type of the scores.

    bf16 knows only every fourth number from 512 on, so anchors and boxes would be up to 2 px off.
    """

    def predict_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args: Any, **kwargs: Any
    ) -> list:
        """Return the proposals; see mmdet."""
        scores, boxes = ([at_least_fp32(x) for x in maps] for maps in (cls_scores, bbox_preds))
        with torch.autocast(scores[0].device.type, enabled=False):
            return super().predict_by_feat(scores, boxes, *args, **kwargs)


@MODELS.register_module(force=True)
class RoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor`` that pools in fp32, not in the type of the maps."""

    def forward(self, feats: Sequence[Tensor], rois: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the features [R, C, side, side] of regions [R, 5] on maps [B, C, h, w]."""
        return super().forward([at_least_fp32(x) for x in feats], rois, *args, **kwargs)
