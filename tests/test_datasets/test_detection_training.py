"""Awkward samples train: no annotation at all, no box in the crop, image smaller than the crop."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope

import lightvit_dense  # noqa: F401

SIDE = 64


@pytest.fixture(autouse=True)
def _mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def detector():
    """A Mask R-CNN as small as it gets, with the heads of the real one."""
    train = dict(
        assigner=dict(
            type='mmdet.MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.3
        ),
        sampler=dict(
            type='mmdet.RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=True
        ),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
        mask_size=14,
    )
    # Anchors are no proposals: the RPN must not add the ground truth to them.
    anchors = dict(train, sampler=dict(train['sampler'], add_gt_as_proposals=False))
    proposal = dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7))
    roi = dict(type='mmdet.SingleRoIExtractor', out_channels=8, featmap_strides=[8, 16])
    model = dict(
        type='mmdet.MaskRCNN',
        data_preprocessor=dict(
            type='mmdet.DetDataPreprocessor',
            mean=[0.0] * 3,
            std=[255.0] * 3,
            pad_mask=True,
            batch_augments=[dict(type='mmdet.BatchFixedSizePad', size=(SIDE, SIDE), pad_mask=True)],
        ),
        backbone=dict(
            type='lightvit_dense.VisionTransformer',
            arch=dict(embed_dim=8, depth=1, num_heads=2),
            img_size=SIDE,
            patch_size=16,
            out_type='featmap',
            cls_token=False,
        ),
        neck=dict(type='mmdet.FPN', in_channels=[8], out_channels=8, num_outs=2),
        rpn_head=dict(
            type='mmdet.RPNHead',
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(
                type='mmdet.AnchorGenerator', scales=[2], ratios=[1.0], strides=[16, 32]
            ),
            bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
            loss_bbox=dict(type='mmdet.L1Loss'),
        ),
        roi_head=dict(
            type='mmdet.StandardRoIHead',
            bbox_roi_extractor=dict(roi, roi_layer=dict(type='RoIAlign', output_size=7)),
            bbox_head=dict(
                type='mmdet.Shared2FCBBoxHead',
                in_channels=8,
                fc_out_channels=8,
                num_classes=2,
                bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
            ),
            mask_roi_extractor=dict(roi, roi_layer=dict(type='RoIAlign', output_size=7)),
            mask_head=dict(
                type='mmdet.FCNMaskHead',
                num_convs=1,
                in_channels=8,
                conv_out_channels=8,
                num_classes=2,
            ),
        ),
        train_cfg=dict(rpn=anchors, rpn_proposal=proposal, rcnn=train),
        test_cfg=dict(
            rpn=proposal,
            rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=5),
        ),
    )
    torch.manual_seed(0)
    return MODELS.build(Config(model))


def sample(boxes, crop_at=None, size=(SIDE, SIDE)):
    """Pack an image through the pipeline's own crop."""
    # The package cures mmcv's missing operators; mmdet must not be imported before it.
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    np.random.seed(0)
    count = len(boxes)
    masks = np.zeros((count, *size), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    results = dict(
        img=cv2.resize(np.random.randint(0, 255, (4, 4, 3), np.uint8), size[::-1]),
        img_shape=size,
        gt_bboxes=HorizontalBoxes(np.array(boxes, np.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.arange(count) % 2,
        gt_ignore_flags=np.zeros(count, bool),
        gt_masks=BitmapMasks(masks, *size),
    )
    for cfg in (
        dict(
            type='mmdet.RandomCrop',
            crop_size=crop_at or (SIDE, SIDE),
            recompute_bbox=True,
            allow_negative_crop=True,
        ),
        dict(type='mmdet.PackDetInputs', meta_keys=('img_shape',)),
    ):
        results = TRANSFORMS.build(cfg)(results)
        assert results is not None
    return results


SAMPLES = {
    'ordinary': lambda: sample([(5, 5, 40, 40), (30, 20, 60, 60)]),
    'no annotation': lambda: sample([]),
    'no box in the crop': lambda: sample([(60, 60, 63, 63)], crop_at=(20, 20)),
    'smaller than the crop': lambda: sample([(2, 2, 20, 14)], size=(16, 24)),
}


@pytest.mark.parametrize('batch', [[name] for name in SAMPLES] + [list(SAMPLES)], ids=str)
def test_awkward_samples_train(batch):
    packed = [SAMPLES[name]() for name in batch]
    if 'no box in the crop' in batch:
        empty = packed[batch.index('no box in the crop')]['data_samples']
        assert len(empty.gt_instances) == 0
    model = detector()
    data = {key: [item[key] for item in packed] for key in ('inputs', 'data_samples')}
    data = model.data_preprocessor(data, training=True)
    assert data['inputs'].shape == (len(batch), 3, SIDE, SIDE)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
