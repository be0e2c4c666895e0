"""Mask R-CNN as one graph, with proposals, RoIAlign, suppression and pasted masks inside.

The results are those of :mod:`lightvit_dense.models.detectors` at test time, of less work: boxes
are decoded above the threshold alone, 3x3 convolutions of regions are Winograd's, and regions go
through the heads level by level, so that only small results are put back in order.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmengine.config import Config
from torch import Tensor, nn
from torchvision.ops import Permute, nms, roi_align

from ..apis.configs import tested_dataset
from ..errors import UserError
from ..registry import GRAPHS
from .graph import Graph, Size
from .preprocess import Preprocess
from .winograd import WinogradLayer, plain

LARGEST_STEP = abs(math.log(16 / 1000))  # mmdet's ``wh_ratio_clip``
PARTS: dict[str, tuple[Any, ...]] = {
    'rpn_head': (RPNHead, 'forward_single'),
    'roi_head': (StandardRoIHead, 'predict_bbox', 'predict_mask', '_bbox_forward', '_mask_forward'),
    'rpn_head.bbox_coder': (DeltaXYWHBBoxCoder, 'decode'),
    'roi_head.bbox_head': (ConvFCBBoxHead, 'forward', 'predict_by_feat'),
    'roi_head.bbox_head.bbox_coder': (DeltaXYWHBBoxCoder, 'decode'),
    'roi_head.bbox_roi_extractor': (SingleRoIExtractor, 'map_roi_levels'),
    'roi_head.mask_head': (FCNMaskHead, 'forward', 'predict_by_feat'),
    'roi_head.mask_roi_extractor': (SingleRoIExtractor, 'map_roi_levels'),
}
"""Parts of a detector, and the methods of theirs that the graph stands for."""


@GRAPHS.register_module(force=True)
class DetectionGraph(Graph):
    """An image to its objects.

    Outputs are ``boxes`` float32 [N, 4] (x1, y1, x2, y2 in pixels of the image), ``scores`` float32
    [N], best first, ``labels`` int64 [N], and of a model with a mask head ``masks`` uint8 [N, H,
    W], 1 inside the object. Raises UserError if the model has a part or an option that the graph
    does not have, or if images are padded to several shapes.
    """

    task = 'detection'
    # Winograd's products need fp32.
    body = ('model.backbone', 'model.neck', 'rpn', 'box_head.shared_fcs')

    def __init__(self, model: Any, cfg: Config, size: Size | None = None) -> None:
        super().__init__(model, cfg, size)
        for name, value in _unusual(model):
            raise UserError(f'{name}: {value} cannot be exported, only the usual Mask R-CNN can')
        pipeline = tested_dataset(cfg)['pipeline']
        self.canvas = getattr(model, 'pad_shape', (0, 0))
        largest = max([max(step['scale']) for step in pipeline if 'scale' in step], default=0)
        if largest > min(self.canvas) or size not in (None, self.canvas):
            raise UserError(
                f'a file pads all images of up to {largest} px to one shape, pad_shape, which is '
                f'{self.canvas}: change it and the scale of Resize in the config'
            )
        self.prepare = Preprocess(pipeline, model.data_preprocessor, self.canvas)
        self.model, self.rpn, self.roi = model, model.rpn_head, model.roi_head
        self.box_head = _speed_up(self.roi.bbox_head, 'shared_convs', self.roi.bbox_roi_extractor)
        self.output_names = ('boxes', 'scores', 'labels')
        if self.roi.with_mask:
            self.output_names += ('masks',)
            self.mask_head = _speed_up(self.roi.mask_head, 'convs', self.roi.mask_roi_extractor)
        with torch.no_grad():
            maps = model.extract_feat(torch.zeros(1, 3, *self.canvas))
        make, sizes = self.rpn.prior_generator.grid_priors, [x.shape[2:] for x in maps]
        self.anchors = make(sizes, device='cpu')

    def example(self) -> tuple[Tensor, ...]:
        """Return an image uint8 [1, H, W, 3]."""
        return tuple(images[:1] for images in super().example())

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Return the free axes: height and width."""
        (axes,) = super().dynamic_shapes().values()
        return {'image': {axis: side for axis, side in axes.items() if axis}}

    def refuse(self, to: str) -> str | None:
        """Return why a runtime cannot run this model, with the remedy; None if it can."""
        if to != 'executorch':
            return None
        return 'ExecuTorch has neither RoIAlign nor NMS: export detectors to onnx or openvino'

    def finish(self, model: Any) -> None:
        """Let suppression end when it has found as many boxes as are kept, which are the best."""
        numpy_helper = import_module('onnx.numpy_helper')
        graph = model.graph
        nodes = [node for node in graph.node if node.op_type == 'NonMaxSuppression']
        before = {node.input[2] for node in nodes}
        for node, cfg in zip(nodes, (self.rpn.test_cfg, self.roi.test_cfg), strict=True):
            node.input[2] = f'{node.name}_most'
            most = numpy_helper.from_array(np.int64(cfg.max_per_img), node.input[2])
            graph.initializer.append(most)
        unused = before.difference(*(node.input for node in graph.node))
        for value in [value for value in graph.initializer if value.name in unused]:
            graph.initializer.remove(value)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect in an image uint8 [1, H, W, 3]."""
        canvas, rows, columns = self.prepare(image)
        sides = torch.stack([columns, rows, columns, rows]).float()
        maps = self.model.extract_feat(canvas)
        boxes, scores, labels = self._detect(maps, self._propose(maps, sides), sides)
        height, width = image.shape[1:3]
        own = torch.stack([sides.new_full((), side) for side in (width, height, width, height)])
        pixels = boxes / (sides / own)
        if not self.roi.with_mask:
            return pixels, scores, labels
        masks = self._masks(maps, boxes, labels)
        rows = _weights(pixels[:, 1], pixels[:, 3], height, masks.shape[1])
        columns = _weights(pixels[:, 0], pixels[:, 2], width, masks.shape[2])
        inside = rows @ masks @ columns.mT >= self.roi.test_cfg.mask_thr_binary  # [N, H, W]
        return pixels, scores, labels, inside.byte()

    def _propose(self, maps: Sequence[Tensor], sides: Tensor) -> Tensor:
        """Return the proposals [P, 4], best first; ``sides`` [4] is where boxes end."""
        cfg, found = self.rpn.test_cfg, []
        for level, (x, anchors) in enumerate(zip(maps, self.anchors, strict=True)):
            logits, deltas = self.rpn.forward_single(x)
            most = min(cfg.nms_pre, logits.numel()) if cfg.nms_pre > 0 else logits.numel()
            scores, order = _rows(logits, 1)[:, 0].sigmoid().topk(most)
            boxes = decode(self.rpn.bbox_coder, anchors[order], _rows(deltas, 4)[order], sides)
            found.append((boxes, scores, torch.full_like(scores, level)))
        boxes, scores, levels = (torch.cat(x) for x in zip(*found, strict=True))
        large = boxes[:, 2:] - boxes[:, :2] > cfg.get('min_bbox_size', -1)
        large = large.all(1).nonzero()[:, 0]
        boxes, scores, levels = boxes[large], scores[large], levels[large]
        return boxes[self._best(boxes, scores, levels, cfg)]

    def _best(self, boxes: Tensor, scores: Tensor, groups: Tensor, cfg: Any) -> Tensor:
        """Return the places of the boxes kept, best first; groups are suppressed apart."""
        apart = boxes + groups[:, None] * (max(self.canvas) + 1.0)
        best = nms(apart, scores, cfg.nms.iou_threshold)[: cfg.max_per_img]
        torch._check(best.shape[0] <= cfg.max_per_img)
        return best

    def _detect(self, maps: Sequence[Tensor], proposals: Tensor, sides: Tensor) -> list[Tensor]:
        """Return boxes on the canvas [N, 4], scores [N] and labels [N]."""
        cfg, head = self.roi.test_cfg, self.roi.bbox_head
        features, order = pool(self.roi.bbox_roi_extractor, maps, proposals)
        logits, deltas = (x[order.argsort()] for x in self.box_head(features))
        scores = logits.softmax(1)[:, :-1]
        places, labels = (scores > cfg.score_thr).nonzero(as_tuple=True)
        scores = scores[places, labels]
        deltas = deltas.reshape(-1, 1 if head.reg_class_agnostic else head.num_classes, 4)
        deltas = deltas[places, labels * (not head.reg_class_agnostic)]
        boxes = decode(head.bbox_coder, proposals[places], deltas, sides)
        best = self._best(boxes, scores, labels.float(), cfg)
        return [boxes[best], scores[best], labels[best]]

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Return probabilities [N, m, m] of the pixels of objects on the canvas."""
        features, order = pool(self.roi.mask_roi_extractor, maps, boxes)
        logits = self.mask_head(features)  # [N, classes or 1, m, m]
        own = labels[order] * (not self.roi.mask_head.class_agnostic)
        return logits[torch.arange(own.shape[0]), own][order.argsort()].sigmoid()


def _speed_up(head: nn.Module, name: str, extractor: Any) -> nn.Module:
    """Return a copy of a head whose convolutions are Winograd's if all are plain."""
    head, (side, _) = fuse_conv_bn(copy.deepcopy(head)), extractor.roi_layers[0].output_size
    layers = getattr(head, name)
    if all(map(plain, layers)):
        move = [Permute([2, 3, 0, 1])] * bool(len(layers))  # to [s, s, R, C] and back
        layers = [*move, *(WinogradLayer(layer, side) for layer in layers), *move]
        setattr(head, name, nn.ModuleList(layers))
    return head


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


def pool(extractor: Any, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
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


def _weights(start: Tensor, end: Tensor, length: int, cells: int) -> Tensor:
    """Return the weights [N, length, cells] of a mask's cells in the pixels of an axis."""
    x = (torch.arange(length) + 0.5 - start[:, None]) / (end - start)[:, None] * cells - 0.5
    return (1 - (x[..., None] - torch.arange(cells)).abs()).clamp(min=0)


def _unusual(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values of parts and options that the graph does not have."""
    for name, (wanted, *methods) in PARTS.items():
        *path, last = name.split('.')
        part = getattr(model.get_submodule('.'.join(path)), last, None)
        same = (getattr(type(part), way, None) is getattr(wanted, way) for way in methods)
        if not all(same) and (part is not None or not last.startswith('mask')):
            yield name, type(part).__name__
    rpn, roi = model.rpn_head, model.roi_head
    for name, cfg in (('rpn', rpn.test_cfg), ('rcnn', roi.test_cfg)):
        if {**cfg.nms, 'iou_threshold': 0} != dict(type='nms', iou_threshold=0):
            yield f'test_cfg.{name}.nms', dict(cfg.nms)
        if cfg.get('mask_thr_binary', 0) < 0:
            yield f'test_cfg.{name}.mask_thr_binary', cfg.mask_thr_binary
    for coder in (rpn.bbox_coder, roi.bbox_head.bbox_coder):
        if coder.add_ctr_clamp or not coder.clip_border:
            yield 'bbox_coder', vars(coder)
    if any(getattr(x, 'pool_mode', '') != 'avg' for x in roi.bbox_roi_extractor.roi_layers):
        yield 'roi_layer', roi.bbox_roi_extractor.roi_layers[0]
    if roi.with_shared_head or not rpn.use_sigmoid_cls or roi.bbox_head.custom_cls_channels:
        yield 'shared_head or loss_cls', type(roi.bbox_head.loss_cls).__name__
