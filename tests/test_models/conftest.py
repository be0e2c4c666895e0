"""Detectors and segmentors as small as they get, with the parts of the real ones."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

import lightvit_dense  # noqa: F401
from lightvit_dense.registry import MODELS

CANVAS = 64
CHANNELS = 16
LN = dict(type='lightvit_dense.LayerNorm2d')
MEAN_STD = dict(mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True)
VIT = dict(
    type='lightvit_dense.VisionTransformer',
    arch=dict(embed_dim=CHANNELS, depth=4, num_heads=2),
    img_size=CANVAS,
    patch_size=16,
    cls_token=False,
    out_type='featmap',
    final_norm=False,
    window=dict(size=2, global_blocks=(1, 3)),
    rel_pos=dict(kind='decomposed', size=CANVAS),
)
HIERA = dict(
    type='lightvit_dense.Hiera',
    arch=dict(embed_dim=8, stages=(1, 1, 1, 1), num_heads=1),
    img_size=CANVAS,
    out_type='featmap',
    out_indices=(0, 1, 2, 3),
    final_norm=False,
)
FPN = dict(type='mmdet.FPN', out_channels=CHANNELS, num_outs=5, norm_cfg=LN)
WIDTHS = {'vit': [CHANNELS] * 4, 'hiera': [8, 16, 32, 64], 'li2021': [CHANNELS] * 4}
BACKBONES = {
    'vit': (VIT, dict(type='lightvit_dense.SimpleFeaturePyramid', in_channels=CHANNELS,
                      out_channels=CHANNELS)),
    'hiera': (HIERA, dict(FPN, in_channels=WIDTHS['hiera'])),
    'li2021': (dict(VIT, out_indices=(0, 1, 2, 3)), [
        dict(type='lightvit_dense.MultiDepthPyramid', in_channels=CHANNELS,
             norm_cfg=dict(type='GN', num_groups=4)),
        dict(FPN, in_channels=WIDTHS['li2021']),
    ]),
}  # fmt: skip


def _coder(*stds):
    return dict(type='mmdet.DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=list(stds))


def _extractor(size):
    return dict(
        type='mmdet.SingleRoIExtractor',
        roi_layer=dict(type='RoIAlign', output_size=size, sampling_ratio=2),
        out_channels=CHANNELS,
        featmap_strides=[4, 8, 16, 32],
        finest_scale=16,
    )


def _assigner(high, low):
    return dict(type='mmdet.MaxIoUAssigner', pos_iou_thr=high, neg_iou_thr=low, min_pos_iou=low)


def _sampler(number, **more):
    return dict(type='mmdet.RandomSampler', num=number, pos_fraction=0.5, neg_pos_ub=-1, **more)


def detector_config(kind):
    """Return the config of a Mask R-CNN of three classes."""
    backbone, neck = BACKBONES[kind]
    proposals = dict(
        nms_pre=100, max_per_img=40, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
    )
    return dict(
        type='lightvit_dense.MaskRCNN',
        pad_shape=CANVAS,
        data_preprocessor=dict(
            type='mmdet.DetDataPreprocessor', pad_mask=True, pad_size_divisor=32, **MEAN_STD
        ),
        backbone=backbone,
        neck=neck,
        rpn_head=dict(
            type='mmdet.RPNHead',
            in_channels=CHANNELS,
            feat_channels=CHANNELS,
            anchor_generator=dict(
                type='mmdet.AnchorGenerator',
                scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64],
            ),
            bbox_coder=_coder(1.0, 1.0, 1.0, 1.0),
            loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
            loss_bbox=dict(type='mmdet.L1Loss'),
        ),
        roi_head=dict(
            type='mmdet.StandardRoIHead',
            bbox_roi_extractor=_extractor(7),
            bbox_head=dict(
                type='mmdet.Shared4Conv1FCBBoxHead',
                in_channels=CHANNELS, conv_out_channels=CHANNELS, fc_out_channels=CHANNELS,
                norm_cfg=LN, roi_feat_size=7, num_classes=3,
                bbox_coder=_coder(0.1, 0.1, 0.2, 0.2),
                loss_cls=dict(type='mmdet.CrossEntropyLoss'),
                loss_bbox=dict(type='mmdet.L1Loss'),
            ),
            mask_roi_extractor=_extractor(14),
            mask_head=dict(
                type='mmdet.FCNMaskHead',
                num_convs=1, in_channels=CHANNELS, conv_out_channels=CHANNELS, norm_cfg=LN,
                num_classes=3, loss_mask=dict(type='mmdet.CrossEntropyLoss', use_mask=True),
            ),
        ),
        train_cfg=dict(
            rpn=dict(assigner=dict(_assigner(0.7, 0.3), ignore_iof_thr=-1),
                     sampler=_sampler(32, add_gt_as_proposals=False),
                     allowed_border=-1, pos_weight=-1, debug=False),
            rpn_proposal=proposals,
            rcnn=dict(assigner=dict(_assigner(0.5, 0.5), match_low_quality=False),
                      sampler=_sampler(16, add_gt_as_proposals=True),
                      mask_size=28, pos_weight=-1, debug=False),
        ),
        test_cfg=dict(
            rpn=proposals,
            # Random weights are sure of nothing: keep all.
            rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20,
                      mask_thr_binary=0.5),
        ),
    )  # fmt: skip


def segmentor_config(head, kind, mode):
    """Return the config of a UperNet or a Semantic FPN of five classes."""
    bn = dict(type='SyncBN')
    loss = dict(type='mmseg.CrossEntropyLoss')
    common = dict(num_classes=5, norm_cfg=bn, align_corners=False, dropout_ratio=0.0)
    widths = WIDTHS[kind]
    if kind == 'hiera':
        backbone, neck = HIERA, None
    else:
        backbone = dict(VIT, cls_token=True, window=None, rel_pos=None)
        backbone['out_indices'] = (0, 1, 2, 3)
        neck = dict(type='mmseg.Feature2Pyramid', embed_dim=CHANNELS, rescales=[4, 2, 1, 0.5])
        if head == 'semfpn':
            backbone |= dict(rel_pos=dict(kind='bias'), layer_scale=1.0)
            neck = dict(type='lightvit_dense.ScaledFeaturePyramid', in_channels=CHANNELS)
            widths = [CHANNELS // 4] * 4
    multiple = dict(common, in_channels=widths, in_index=[0, 1, 2, 3], channels=8,
                    loss_decode=dict(loss))  # fmt: skip
    heads = {
        'upernet': dict(multiple, type='mmseg.UPerHead', pool_scales=(1, 2)),
        'semfpn': dict(multiple, type='mmseg.FPNHead', feature_strides=[4, 8, 16, 32]),
    }
    auxiliary = dict(common, type='mmseg.FCNHead', in_channels=widths[2], in_index=2, channels=8,
                     num_convs=1, concat_input=False, loss_decode=dict(loss))  # fmt: skip
    slide = dict(crop_size=(CANVAS, CANVAS), stride=(40, 40)) if mode == 'slide' else {}
    return dict(
        type='lightvit_dense.EncoderDecoder',
        data_preprocessor=dict(
            type='lightvit_dense.SegmentationPreprocessor',
            size_divisor=32, pad_val=0, seg_pad_val=255, **MEAN_STD,
        ),
        backbone=backbone,
        neck=neck,
        decode_head=heads[head],
        auxiliary_head=auxiliary if head == 'upernet' else None,
        train_cfg=dict(),
        test_cfg=dict(mode=mode, **slide),
    )  # fmt: skip


def _build(config, scope, changes):
    torch.manual_seed(0)
    config = ConfigDict(copy.deepcopy(config))
    for key, value in (changes or {}).items():
        *path, last = key.split('.')
        place = config
        for part in path:
            place = place[part]
        place[last] = value
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(config)
    for parameter in model.parameters():
        # Heads start so small that hardly anything would depend on the image.
        if parameter.ndim > 1 and parameter.std() < 0.05:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def build_detector():
    """Build the detector of a kind; ``changes`` are values by dotted key."""
    return lambda kind, changes=None: _build(detector_config(kind), 'mmdet', changes)


@pytest.fixture
def build_segmentor():
    """Build the segmentor of a head, a kind of backbone and a mode of testing."""
    return lambda head, kind='vit', mode='slide', changes=None: _build(
        segmentor_config(head, kind, mode), 'mmseg', changes
    )


def picture(height, width, seed=0):
    """Return random bytes [3, height, width]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


@pytest.fixture
def detection_batch():
    """Make a batch of pictures of the sizes given, each with the boxes given."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    def make(sizes, boxes=((4, 6, 30, 25), (10, 10, 28, 40))):
        inputs, samples = [], []
        for seed, (height, width) in enumerate(sizes):
            truth = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
            masks = np.zeros((len(truth), height, width), np.uint8)
            for mask, (left, top, right, bottom) in zip(masks, truth.int().tolist(), strict=True):
                mask[top:bottom, left:right] = 1
            sample = DetDataSample(
                metainfo=dict(
                    img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0)
                )
            )
            sample.gt_instances = InstanceData(
                bboxes=truth,
                labels=torch.arange(len(truth)) % 3,
                masks=BitmapMasks(masks, height, width),
            )
            inputs.append(picture(height, width, seed))
            samples.append(sample)
        return dict(inputs=inputs, data_samples=samples)

    return make


@pytest.fixture
def segmentation_batch():
    """Make a batch of pictures of the sizes given with random labels."""
    from mmseg.structures import SegDataSample

    def make(sizes):
        inputs, samples = [], []
        for seed, (height, width) in enumerate(sizes):
            image = picture(height, width, seed)
            sample = SegDataSample(
                metainfo=dict(img_shape=(height, width), ori_shape=(height, width))
            )
            sample.gt_sem_seg = PixelData(data=(image[:1] % 5).long())
            inputs.append(image)
            samples.append(sample)
        return dict(inputs=inputs, data_samples=samples)

    return make
