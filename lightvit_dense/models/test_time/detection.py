"""Test-time augmentation of detectors, masks included."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from ...errors import UserError
from ...registry import MODELS
from ..pad_shape import own_sizes, pad_images, pad_shape_of
from .views import bare, split_views

Meta = dict[str, Any]


@MODELS.register_module()
class DetectionTTA(BaseTTAModel):
    """Merge the objects found in several views of an image.

    Boxes of all views go through one non-maximum suppression, as in mmdet's ``DetTTAModel``. That
    one has no masks; here Mask R-CNN's mask head looks at the merged boxes in every view, and the
    probabilities are averaged, as detectron2 does it (``GeneralizedRCNNWithTTA``).

    Args:
        module: The detector, or its config, with ``data_preprocessor`` in place of its own.
        tta_cfg: mmcv's ``nms``, and ``max_per_img``, how many objects are kept.
    """

    def __init__(self, module: Any, tta_cfg: dict[str, Any], data_preprocessor: Any = None) -> None:
        super().__init__(module, data_preprocessor)
        missing = {'nms', 'max_per_img'} - set(tta_cfg)
        if missing:
            raise ValueError(f'tta_cfg has no {" and no ".join(sorted(missing))}: {tta_cfg}')
        self.nms = dict(tta_cfg['nms'])
        self.max_per_img = int(tta_cfg['max_per_img'])

    def test_step(self, data: dict[str, list]) -> list[BaseDataElement]:
        """Detect in the views of ``mmcv.TestTimeAug``; return the first one's samples, merged."""
        views = list(split_views(data))
        if len(views) == 1:
            return self.module.test_step(views[0])
        if getattr(bare(self.module), 'with_mask', False):
            return [
                self._with_masks([{k: v[i : i + 1] for k, v in view.items()} for view in views])
                for i in range(len(views[0]['inputs']))
            ]
        found = [self.module.test_step(view) for view in views]
        merged = []
        for samples in zip(*found, strict=True):
            boxes = [unflip(s.pred_instances.bboxes, s.metainfo) for s in samples]
            results = [s.pred_instances for s in samples]
            samples[0].pred_instances = self._merge(boxes, results)
            merged.append(samples[0])
        return merged

    def merge_preds(self, data_samples_list: Any) -> list[BaseDataElement]:
        """Not used: masks are computed after the boxes were merged."""
        raise NotImplementedError('DetectionTTA merges in test_step')

    def _merge(self, boxes: Sequence[Tensor], results: Sequence[InstanceData]) -> InstanceData:
        """Suppress what several views found; boxes [N, 4] in pixels of the original image."""
        from mmcv.ops import batched_nms

        every = torch.cat(list(boxes))
        scores = torch.cat([result.scores for result in results])
        labels = torch.cat([result.labels for result in results])
        kept = torch.zeros(0, dtype=torch.long, device=every.device)
        if len(every):
            kept = batched_nms(every, scores, labels, self.nms)[1][: self.max_per_img]
        return InstanceData(bboxes=every[kept], scores=scores[kept], labels=labels[kept])

    def _with_masks(self, views: Sequence[dict[str, list]]) -> BaseDataElement:
        """Detect in one image by Mask R-CNN."""
        from mmdet.models.roi_heads import StandardRoIHead

        model = bare(self.module)
        head = getattr(model, 'roi_head', None)
        if not isinstance(head, StandardRoIHead) or head.mask_head is None:
            raise UserError(
                f'{type(model).__name__}: test-time augmentation of masks is there for Mask R-CNN '
                '(StandardRoIHead) only. Test without it, or without masks.'
            )
        samples, features, boxes, results = [], [], [], []
        for view in views:
            maps, sample = _features(model, model.data_preprocessor(view, False))
            proposals = model.rpn_head.predict(maps, [sample], rescale=False)
            found = head.predict_bbox(maps, [sample.metainfo], proposals, head.test_cfg, False)[0]
            meta = sample.metainfo
            boxes.append(unflip(found.bboxes / _factors(meta, found.bboxes), meta))
            results.append(found)
            features.append(maps)
            samples.append(sample)
        merged = self._merge(boxes, results)
        metas = [sample.metainfo for sample in samples]
        masks = [
            _mask_probabilities(head, maps, merged.bboxes, meta)
            for maps, meta in zip(features, metas, strict=True)
        ]
        _paste(head, merged, torch.stack(masks).mean(0), metas[0])
        samples[0].pred_instances = merged
        return samples[0]


def unflip(boxes: Tensor, meta: Meta) -> Tensor:
    """Flip boxes [N, 4] of the original image's size if their view was flipped, or back."""
    from mmdet.structures.bbox import bbox_flip

    if not meta.get('flip', False):
        return boxes
    return bbox_flip(boxes, meta['ori_shape'], meta['flip_direction'])


def _factors(meta: Meta, like: Tensor) -> Tensor:
    """Return the factors from the original image to the view, for (x, y, x, y)."""
    return like.new_tensor(meta['scale_factor']).repeat(2)


def _features(model: Any, data: dict[str, Any]) -> tuple[tuple[Tensor, ...], Any]:
    """Return the feature maps of one image, padded as the detector would."""
    images, (sample,) = data['inputs'], data['data_samples']
    if hasattr(model, 'pad_shape'):
        (size,) = own_sizes(images, [sample.metainfo])
        pad_shape = pad_shape_of(size, model.pad_shape, model.size_divisor)
        sample.set_metainfo(dict(batch_input_shape=pad_shape, pad_shape=pad_shape))
        images = pad_images(images, [size], pad_shape)
    return model.extract_feat(images), sample


def _mask_probabilities(head: Any, maps: tuple[Tensor, ...], boxes: Tensor, meta: Meta) -> Tensor:
    """Return the mask head's probabilities [N, classes, h, w] for boxes of the original image."""
    from mmdet.structures.bbox import bbox2roi

    rois = bbox2roi([unflip(boxes, meta) * _factors(meta, boxes)])
    if not len(rois):
        classes = 1 if head.mask_head.class_agnostic else head.mask_head.num_classes
        return boxes.new_zeros(0, classes, 1, 1)
    masks = head._mask_forward(maps, rois)['mask_preds'].sigmoid()
    if meta.get('flip', False):
        axes = dict(horizontal=[3], vertical=[2], diagonal=[2, 3])[meta['flip_direction']]
        masks = masks.flip(axes)
    return masks


def _paste(head: Any, results: InstanceData, masks: Tensor, meta: Meta) -> None:
    """Write masks of the original image's size, from [N, classes, h, w], into the results."""
    if not len(results):
        height, width = meta['ori_shape'][:2]
        results.masks = torch.zeros(0, height, width, dtype=torch.bool, device=masks.device)
        return
    # The boxes are those of the original image already, and logits give the mean back.
    own = {**meta, 'scale_factor': (1.0, 1.0)}
    head.mask_head.predict_by_feat(
        mask_preds=(masks.logit(eps=1e-6),),
        results_list=[results],
        batch_img_metas=[own],
        rcnn_test_cfg=head.test_cfg,
        rescale=True,
    )
