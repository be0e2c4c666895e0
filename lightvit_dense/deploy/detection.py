"""Mask R-CNN as one graph, with proposals, RoIAlign, suppression and pasted masks inside.

The numbers are those of :mod:`lightvit_dense.models.detectors` at test time; the order of work is
not. Boxes are decoded for the candidates above the threshold alone, the mask head's last layer
computes the mask of each object's class alone, and regions go through the heads level by level, so
that only small results are put back in order.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmengine.config import Config
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from ..apis.configs import tested_dataset
from ..errors import UserError
from ..registry import GRAPHS
from .graph import Graph, Size
from .preprocess import Preprocess

Maps = Sequence[Tensor]
ROI_METHODS = 'predict', 'predict_bbox', 'predict_mask', '_bbox_forward', '_mask_forward'
PARTS: dict[str, tuple[Any, ...]] = {
    'rpn_head': (RPNHead, 'forward_single'),
    'roi_head': (StandardRoIHead, *ROI_METHODS),
    'roi_head.bbox_head': (ConvFCBBoxHead, 'forward', 'predict_by_feat'),
    'roi_head.bbox_roi_extractor': (SingleRoIExtractor, 'map_roi_levels'),
    'roi_head.mask_head': (FCNMaskHead, 'forward', 'predict_by_feat'),
    'roi_head.mask_roi_extractor': (SingleRoIExtractor, 'map_roi_levels'),
}
"""Parts of a detector, and the methods that subclasses must not change."""
PLAIN_NMS = dict(type='nms', iou_threshold=0)
LARGEST_STEP = abs(math.log(16 / 1000))
"""Most that a box changes its size by, as a logarithm: mmdet's ``wh_ratio_clip``."""


@GRAPHS.register_module()
class DetectionGraph(Graph):
    """An image to its objects.

    Outputs are ``boxes`` float32 [N, 4] (x1, y1, x2, y2 in pixels of the image), ``scores`` float32
    [N], best first, ``labels`` int64 [N], and of a model with a mask head ``masks`` uint8 [N, H,
    W], 1 inside the object.

    Raises:
        UserError: If the model has a part or an option that the graph does not have, or if what an
            image is padded to depends on the image.
    """

    task = 'detection'

    def __init__(self, model: Any, cfg: Config, size: Size | None = None) -> None:
        super().__init__(model, cfg, size)
        _check_parts(model)
        _check_options(model.rpn_head, model.roi_head)
        pipeline = [dict(step) for step in tested_dataset(cfg).pipeline]
        for step in pipeline:
            if size is not None and str(step['type']).endswith('Resize'):
                step['scale'] = tuple(size[::-1])
        self.canvas = _canvas(model, pipeline) if size is None else size
        self.prepare = Preprocess(pipeline, model.data_preprocessor, self.canvas)
        self.model, self.rpn, self.roi = model, model.rpn_head, model.roi_head
        self.output_names = ('boxes', 'scores', 'labels')
        if self.roi.with_mask:
            self.output_names += ('masks',)
            self.mask_head = copy.deepcopy(self.roi.mask_head)
            # Applied to each object for its own class.
            self.mask_head.conv_logits = nn.Identity()
        with torch.no_grad():
            maps = model.extract_feat(torch.zeros(1, 3, *self.canvas))
        sizes = [x.shape[2:] for x in maps]
        for level, own in enumerate(self.rpn.prior_generator.grid_priors(sizes, device='cpu')):
            self.register_buffer(f'anchors{level}', own)

    def example(self) -> tuple[Tensor, ...]:
        """Return an image uint8 [1, H, W, 3]."""
        return tuple(images[:1] for images in super().example())

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Return the free axes: height and width."""
        (sides,) = super().dynamic_shapes().values()
        return {'image': {axis: side for axis, side in sides.items() if axis}}

    def limits(self) -> dict[str, Any]:
        """Return what inputs the file takes: one image at a time."""
        return {**super().limits(), 'batch': [1, 1]}

    def refuse(self, to: str) -> str | None:
        """Return why a runtime cannot run this model, with the remedy; None if it can."""
        if to != 'executorch':
            return None
        return 'ExecuTorch has neither RoIAlign nor NMS: export detectors to onnx or openvino'

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect in an image uint8 [1, H, W, 3]."""
        canvas, rows, columns = self.prepare(image)
        sides = torch.stack([columns, rows, columns, rows]).float()
        maps = self.model.extract_feat(canvas)
        boxes, scores, labels = self._detect(maps, self._propose(maps, sides), sides)
        height, width = image.shape[1:3]
        own = torch.stack([sides.new_full((), side) for side in (width, height) * 2])
        pixels = boxes / (sides / own)
        if not self.roi.with_mask:
            return pixels, scores, labels
        masks = paste(self._masks(maps, boxes, labels), pixels, height, width)
        return pixels, scores, labels, (masks >= self.roi.test_cfg.mask_thr_binary).byte()

    def _propose(self, maps: Maps, sides: Tensor) -> Tensor:
        """Return the proposals [P, 4], best first; ``sides`` is where boxes end."""
        cfg, found = self.rpn.test_cfg, []
        for level, x in enumerate(maps):
            logits, deltas = self.rpn.forward_single(x)
            most = min(cfg.nms_pre, logits.numel()) if cfg.nms_pre > 0 else logits.numel()
            scores, order = _rows(logits, 1)[:, 0].sigmoid().topk(most)
            anchors = self.get_buffer(f'anchors{level}')[order]
            boxes = decode(self.rpn.bbox_coder, anchors, _rows(deltas, 4)[order], sides)
            found.append((boxes, scores, torch.full_like(scores, level)))
        boxes, scores, levels = (torch.cat(x) for x in zip(*found, strict=True))
        large = boxes[:, 2:] - boxes[:, :2] > cfg.get('min_bbox_size', -1)
        large = large.all(1).nonzero()[:, 0]
        boxes, scores, levels = boxes[large], scores[large], levels[large]
        return boxes[self._best(boxes, scores, levels, cfg)]

    def _best(self, boxes: Tensor, scores: Tensor, groups: Tensor, cfg: Any) -> Tensor:
        """Return the places of the boxes kept, best first; groups suppress apart."""
        apart = boxes + groups[:, None] * (max(self.canvas) + 1.0)
        best = nms(apart, scores, cfg.nms.iou_threshold)[: cfg.max_per_img]
        torch._check(best.shape[0] <= cfg.max_per_img)
        return best

    def _detect(self, maps: Maps, proposals: Tensor, sides: Tensor) -> tuple[Tensor, ...]:
        """Return boxes on the canvas [N, 4], scores [N] and labels [N]."""
        cfg, head = self.roi.test_cfg, self.roi.bbox_head
        features, order = pool(self.roi.bbox_roi_extractor, maps, proposals)
        logits, deltas = (x[order.argsort()] for x in head(features))
        scores = logits.softmax(1)[:, :-1]
        places, labels = (scores > cfg.score_thr).nonzero(as_tuple=True)
        scores = scores[places, labels]
        deltas = deltas.reshape(-1, 1 if head.reg_class_agnostic else head.num_classes, 4)
        deltas = deltas[places, labels * (not head.reg_class_agnostic)]
        boxes = decode(head.bbox_coder, proposals[places], deltas, sides)
        best = self._best(boxes, scores, labels.float(), cfg)
        return boxes[best], scores[best], labels[best]

    def _masks(self, maps: Maps, boxes: Tensor, labels: Tensor) -> Tensor:
        """Return probabilities [N, m, m] of the pixels of objects on the canvas."""
        features, order = pool(self.roi.mask_roi_extractor, maps, boxes)
        x, last = self.mask_head(features), self.roi.mask_head.conv_logits
        own = labels[order] * (not self.roi.mask_head.class_agnostic)
        # [N, 1, C] @ [N, C, m * m]
        logits = last.weight.flatten(1)[own][:, None] @ x.flatten(2) + last.bias[own][:, None, None]
        return logits[order.argsort()].reshape(-1, *x.shape[2:]).sigmoid()


def _rows(maps: Tensor, width: int) -> Tensor:
    """Reorder [1, A * width, h, w] to [h * w * A, width]."""
    return maps[0].permute(1, 2, 0).reshape(-1, width)


def decode(coder: Any, boxes: Tensor, deltas: Tensor, sides: Tensor) -> Tensor:
    """Return the boxes [K, 4] that deltas [K, 4] make of boxes, clipped: mmdet's ``delta2bbox``."""
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    size = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) * 0.5 + size * deltas[:, :2]
    half = size * deltas[:, 2:].clamp(-LARGEST_STEP, LARGEST_STEP).exp() * 0.5
    return torch.minimum(torch.cat([centre - half, centre + half], 1).clamp(min=0), sides)


def pool(extractor: Any, maps: Maps, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return features [R, C, s, s] of boxes [R, 4] level by level, and which box each is [R]."""
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
    layers, found, order = extractor.roi_layers, [], []
    levels = extractor.map_roi_levels(rois, len(layers))
    for level, (layer, x) in enumerate(zip(layers, maps, strict=False)):
        own = (levels == level).nonzero()[:, 0]
        options = layer.spatial_scale, layer.sampling_ratio, layer.aligned
        found.append(roi_align(x, rois[own], layer.output_size, *options))
        order.append(own)
    return torch.cat(found), torch.cat(order)


def paste(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Return masks [N, m, m] of boxes [N, 4] on the image [N, H, W], 0 outside, bilinearly."""
    rows = _weights(boxes[:, 1], boxes[:, 3], height, masks.shape[1])
    columns = _weights(boxes[:, 0], boxes[:, 2], width, masks.shape[2])
    return rows @ masks @ columns.mT


def _weights(start: Tensor, end: Tensor, length: int, cells: int) -> Tensor:
    """Return the weights [N, length, cells] of a mask's cells in the pixels of an axis."""
    x = (torch.arange(length) + 0.5 - start[:, None]) / (end - start)[:, None] * cells - 0.5
    return (1 - (x[..., None] - torch.arange(cells)).abs()).clamp(min=0)


def _canvas(model: Any, pipeline: Sequence[dict[str, Any]]) -> Size:
    """Return the shape that every image is padded to."""
    scales = [step['scale'] for step in pipeline if str(step['type']).endswith('Resize')]
    height, width = getattr(model, 'pad_shape', (0, 0))
    if any(max(scale) > min(height, width) for scale in scales):
        raise UserError(
            f'pad_shape={(height, width)} is less than the scale {scales} of the test pipeline, so '
            'that an image decides what it is padded to; a file needs one shape: give pad_shape '
            'the larger side of the scale'
        )
    return height, width


def _check_parts(model: Any) -> None:
    """Raise UserError for parts that predict otherwise than those of ``PARTS``."""
    for name, (wanted, *methods) in PARTS.items():
        *path, last = name.split('.')
        part = getattr(model.get_submodule('.'.join(path)), last, None)
        same = (getattr(type(part), way, None) is getattr(wanted, way) for way in methods)
        if part is None and last.startswith('mask'):
            continue  # a detector of boxes alone
        if not isinstance(part, wanted) or not all(same):
            raise UserError(
                f'a detector with {name} of type {type(part).__name__} cannot be exported: a '
                f'file predicts as {wanted.__name__} does'
            )


def _check_options(rpn: Any, roi: Any) -> None:
    """Raise UserError for options that the graph does not have."""
    options: list[tuple[str, Any, bool]] = [
        (f'test_cfg.{name}.nms', cfg.nms, dict(cfg.nms, iou_threshold=0) == PLAIN_NMS)
        for name, cfg in (('rpn', rpn.test_cfg), ('rcnn', roi.test_cfg))
    ]
    for name, coder in (('rpn_head', rpn.bbox_coder), ('bbox_head', roi.bbox_head.bbox_coder)):
        plain = type(coder) is DeltaXYWHBBoxCoder and coder.clip_border and not coder.add_ctr_clamp
        options.append((f'{name}.bbox_coder', vars(coder), plain))
    layer, loss = roi.bbox_roi_extractor.roi_layers[0], roi.bbox_head.loss_cls
    options += [
        ('rpn_head.loss_cls.use_sigmoid', False, rpn.use_sigmoid_cls),
        ('roi_layer.pool_mode', layer.pool_mode, layer.pool_mode == 'avg'),
        ('roi_head.shared_head', 'given', not roi.with_shared_head),
        ('bbox_head.loss_cls', type(loss).__name__, not roi.bbox_head.custom_cls_channels),
    ]
    if roi.with_mask:
        threshold, last = roi.test_cfg.mask_thr_binary, roi.mask_head.predictor_cfg['type']
        options.append(('test_cfg.rcnn.mask_thr_binary', threshold, threshold >= 0))
        options.append(('mask_head.predictor_cfg', last, last in ('Conv', 'Conv2d')))
    for name, value, plain in options:
        if not plain:
            raise UserError(f'{name}={value} cannot be exported; a file has only the usual Mask R-CNN')
