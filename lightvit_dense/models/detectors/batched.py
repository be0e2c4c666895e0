"""Mask R-CNN's usual parts for a batch at once, in fp32, so that the host seldom waits."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads import RPNHead as MMDetRPNHead
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import nms

from ...registry import MODELS
from ..pretraining.precision import at_least_fp32
from .masks import CroppedMasks, mask_targets
from .sampling import Drawn, draw, handles


@MODELS.register_module(force=True)
class DetectionPreprocessor(DetDataPreprocessor):
    """mmdet's ``DetDataPreprocessor``, which waits once an image to reverse its channels."""

    _channel_conversion: bool

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move a batch to the device and normalise it."""
        reverse, self._channel_conversion = self._channel_conversion, False
        try:
            if reverse:
                images: Any = self.cast_data(data['inputs'])
                data = dict(data, inputs=[image.flip(0) for image in images])
            return super().forward(data, training)
        finally:
            self._channel_conversion = reverse


@MODELS.register_module(force=True)
class RPNHead(MMDetRPNHead):
    """mmdet's ``RPNHead``, see :mod:`.batched`."""

    _kept: tuple[Any, list[Tensor]] = (None, [])

    def loss_by_feat(
        self, scores: list[Tensor], deltas: list[Tensor], truths: list, metas: list, *rest: Any
    ) -> dict:
        """Return the losses of maps [B, A, h, w] and [B, 4 * A, h, w] of each level."""
        every = self.train_cfg['allowed_border'] < 0 and len({m['pad_shape'] for m in metas}) == 1
        parts = self.assigner, self.sampler, self, self.train_cfg
        if not every or not self.use_sigmoid_cls or not handles(*parts):
            return super().loss_by_feat(scores, deltas, truths, metas, *rest)
        anchors = torch.cat(self._anchors(scores))
        drawn = draw(self.assigner, self.sampler, [anchors] * len(truths), truths)
        count = len(drawn.boxes)
        logits = torch.cat([_rows(x, 1) for x in scores], 1).flatten()[drawn.places]
        found = torch.cat([_rows(x, 4) for x in deltas], 1).flatten(0, 1)[drawn.places[:count]]
        labels = (torch.arange(len(logits), device=logits.device) < count).long()
        targets = self.bbox_coder.encode(drawn.rois[:count, 1:], drawn.boxes)
        average = sum(max(p, 1) + max(n, 1) for p, n in drawn.counts)
        return dict(
            loss_rpn_cls=self.loss_cls(at_least_fp32(logits), labels, avg_factor=average),
            loss_rpn_bbox=self.loss_bbox(at_least_fp32(found), targets, avg_factor=average),
        )

    def predict_by_feat(
        self, *maps: list[Tensor], batch_img_metas: list[dict], cfg: Any = None, **kwargs: Any
    ) -> list[InstanceData]:
        """Return the proposals of each image, best first."""
        cfg = self.test_cfg if cfg is None else cfg
        logits, deltas = ([at_least_fp32(x.detach()) for x in levels] for levels in maps)
        usual = dict(type='nms', iou_threshold=cfg.nms.get('iou_threshold'))
        plain = kwargs in ({}, dict(rescale=False)) and self.use_sigmoid_cls and cfg.nms == usual
        if not plain:
            kwargs |= dict(batch_img_metas=batch_img_metas, cfg=cfg)
            return super().predict_by_feat(logits, deltas, **kwargs)
        found, most = [], cfg.get('nms_pre', -1)
        for level, priors in enumerate(self._anchors(logits)):
            scores, shifts = _rows(logits[level], 1)[..., 0].sigmoid(), _rows(deltas[level], 4)
            priors = priors.expand_as(shifts)
            if 0 < most < scores.shape[1]:
                scores, order = (x[:, :most] for x in scores.sort(1, descending=True))
                order = order[..., None].expand(-1, -1, 4)
                shifts, priors = shifts.gather(1, order), priors.gather(1, order)
            found.append((scores, shifts, priors, torch.full_like(scores, level)))
        scores, shifts, priors, levels = (torch.cat(x, 1) for x in zip(*found, strict=True))
        boxes = self.bbox_coder.decode(priors.flatten(0, 1), shifts.flatten(0, 1)).view_as(shifts)
        if self.bbox_coder.clip_border:
            sides = [tuple(meta['img_shape'][:2])[::-1] * 2 for meta in batch_img_metas]
            limits = torch.tensor(sides).to(boxes, non_blocking=True)
            boxes = torch.minimum(boxes.clamp(min=0), limits[:, None])
        large = (boxes[..., 2:] - boxes[..., :2] > cfg.get('min_bbox_size', -1)).all(2)
        all_large, results = bool(large.all()), []
        # Boxes of different levels must not meet.
        apart = boxes + (levels * (boxes.amax((1, 2)) + 1)[:, None])[..., None]
        for *own, kept in zip(boxes, scores, apart, large, strict=True):
            box, score, alone = own if all_large else (x[kept] for x in own)
            best = nms(alone, score, usual['iou_threshold'])[: cfg.max_per_img]
            labels = torch.zeros_like(best)
            results.append(InstanceData(bboxes=box[best], scores=score[best], labels=labels))
        return results

    def _anchors(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the anchors [n, 4] of each level, made once for maps of a size."""
        sizes, device = [tuple(x.shape[2:]) for x in maps], maps[0].device
        if self._kept[0] != (sizes, device):
            make = self.prior_generator
            make.base_anchors = [x.to(device, non_blocking=True) for x in make.base_anchors]
            self._kept = (sizes, device), make.grid_priors(sizes, device=device)
        return self._kept[1]


@MODELS.register_module(force=True)
class RoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor``, which waits once a level and rounds boxes as maps are."""

    def forward(self, feats: Sequence[Tensor], rois: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the features [R, C, side, side] of regions [R, 5] on maps [B, C, h, w]."""
        feats = [at_least_fp32(x) for x in feats]
        if len(feats) == 1 or args or kwargs:
            return super().forward(feats, rois, *args, **kwargs)
        levels = self.map_roi_levels(rois, len(feats))
        ends = (levels[:, None] <= torch.arange(len(feats) - 1, device=rois.device)).sum(0).tolist()
        found = feats[0].new_zeros(len(rois), self.out_channels, *self.roi_layers[0].output_size)
        places = levels.argsort(stable=True).tensor_split(ends)
        for layer, maps, own in zip(self.roi_layers, feats, places, strict=True):
            if len(own):
                found[own] = layer(maps, rois[own])
            else:  # no level may miss in the graph of one rank only
                found = found + maps.sum() * 0
        return found


@MODELS.register_module(force=True)
class RoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead``, see :mod:`.batched`."""

    def loss(self, x: tuple[Tensor, ...], proposals: list, samples: list) -> dict[str, Any]:
        """Return the losses of a batch of pyramids, proposals and samples."""
        heads = [(self.bbox_head, BBoxHead)]
        heads += [(self.mask_head, FCNMaskHead)] if self.with_mask else []
        names = ('loss', 'get_targets', 'loss_and_target')
        usual = all(getattr(type(a), n, 0) is getattr(b, n, 0) for a, b in heads for n in names)
        parts = self.bbox_assigner, self.bbox_sampler, self.bbox_head, self.train_cfg
        shared = self.with_mask and self.share_roi_extractor
        if not usual or shared or not handles(*parts):
            return super().loss(x, proposals, samples)
        truths, boxes = [s.gt_instances for s in samples], [p.bboxes for p in proposals]
        drawn = draw(self.bbox_assigner, self.bbox_sampler, boxes, truths)
        if not self.with_mask:
            return self._box_losses(self._bbox_forward(x, drawn.rois), drawn)
        count, masks = len(drawn.boxes), [truth.masks for truth in truths]
        regions = torch.cat([drawn.rois[:count, 1:], drawn.objects[:, None]], 1)
        if not all(isinstance(own, CroppedMasks) for own in masks):
            regions = regions.cpu()  # now, so that host and device work at the same time
        found = self._bbox_forward(x, drawn.rois)
        logits = self._mask_forward(x, drawn.rois[:count])['mask_preds']
        targets = mask_targets(regions, [n for n, _ in drawn.counts], masks, self.train_cfg)
        targets = targets.to(logits.device, non_blocking=True)
        labels = drawn.labels * (not self.mask_head.class_agnostic)
        loss = self.mask_head.loss_mask(logits, targets, labels) if count else logits.sum()
        return self._box_losses(found, drawn) | dict(loss_mask=loss)

    def _box_losses(self, found: dict[str, Tensor], drawn: Drawn) -> dict[str, Any]:
        """Return the losses of scores [R, classes + 1] and boxes [R, 4 * classes or 4]."""
        head, count, average = self.bbox_head, len(drawn.boxes), max(len(drawn.rois), 1)
        background = drawn.labels.new_full((len(drawn.rois) - count,), head.num_classes)
        labels, deltas = torch.cat([drawn.labels, background]), found['bbox_pred'][:count]
        if not head.reg_class_agnostic:
            deltas = deltas.view(count, head.num_classes, head.bbox_coder.encode_size)
            deltas = deltas[torch.arange(count, device=deltas.device), drawn.labels]
        targets = head.bbox_coder.encode(drawn.rois[:count, 1:], drawn.boxes)
        return dict(
            loss_cls=head.loss_cls(found['cls_score'], labels, avg_factor=average),
            acc=(found['cls_score'].argmax(1) == labels).sum() * (100 / average),
            loss_bbox=head.loss_bbox(deltas, targets, avg_factor=average),
        )


def _rows(maps: Tensor, width: int) -> Tensor:
    """Reorder [B, A * width, h, w] to [B, h * w * A, width]."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, width)
