"""The shipped detectors and segmentors, as small as they get."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

import lightvit_dense  # noqa: F401
from lightvit_dense.registry import MODELS

BASES = Path(__file__).parents[2] / 'configs/_base_/models'
SIDE = 64
CHANNELS = 16
LN = dict(type='lightvit_dense.LayerNorm2d')
MEAN_STD = dict(mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True)
VIT = dict(
    type='lightvit_dense.VisionTransformer',
    arch=dict(embed_dim=CHANNELS, depth=4, num_heads=2),
    img_size=SIDE,
    patch_size=16,
    cls_token=False,
    out_type='featmap',
    final_norm=False,
    window=dict(size=2, global_blocks=(1, 3)),
    rel_pos=dict(kind='decomposed', size=SIDE),
)
HIERA = dict(
    type='lightvit_dense.Hiera',
    arch=dict(embed_dim=8, stages=(1, 1, 1, 1), num_heads=1),
    img_size=SIDE,
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


@pytest.fixture(autouse=True)
def seed():
    """Give every test the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


def detector_config(kind):
    """Return the config of the shipped Mask R-CNN, made small, of three classes."""
    cfg = Config.fromfile(BASES / 'maskrcnn_vitdet_tiny.py').model
    cfg.pad_shape, (cfg.backbone, cfg.neck) = SIDE, BACKBONES[kind]
    cfg.data_preprocessor.update(MEAN_STD)
    cfg.rpn_head.update(num_convs=1, in_channels=CHANNELS, feat_channels=CHANNELS)
    cfg.rpn_head.anchor_generator.scales = [4]
    for name in ('bbox', 'mask'):
        extractor, head = (cfg.roi_head[f'{name}_{part}'] for part in ('roi_extractor', 'head'))
        extractor.update(out_channels=CHANNELS, finest_scale=16)
        extractor.roi_layer.sampling_ratio = 2
        head.update(in_channels=CHANNELS, conv_out_channels=CHANNELS, num_classes=3)
    cfg.roi_head.bbox_head.fc_out_channels = CHANNELS
    cfg.roi_head.mask_head.num_convs = 1
    proposals = dict(nms_pre=100, max_per_img=40)
    cfg.train_cfg.rpn_proposal.update(proposals)
    cfg.train_cfg.rpn.sampler.num = 32
    cfg.train_cfg.rcnn.sampler.update(num=16, pos_fraction=0.5)
    cfg.test_cfg.rpn.update(proposals)
    # Random weights are sure of nothing: keep all.
    cfg.test_cfg.rcnn.update(score_thr=0.0, max_per_img=20)
    return cfg


def segmentor_config(head, kind, mode):
    """Return the config of the shipped UperNet or Semantic FPN, made small, of five classes."""
    cfg = Config.fromfile(BASES / f'{head}_vit-tiny.py').model
    del cfg.keep_scores  # the default keeps them
    widths = WIDTHS[kind]
    cfg.data_preprocessor.update(MEAN_STD, size=None, size_divisor=32)
    if kind == 'hiera':
        cfg.backbone, cfg.neck = HIERA, None
    else:
        options = {name: cfg.backbone.get(name) for name in ('rel_pos', 'layer_scale')}
        cfg.backbone = dict(VIT, cls_token=True, window=None, out_indices=(0, 1, 2, 3)) | options
        cfg.neck['embed_dim' if head == 'upernet' else 'in_channels'] = CHANNELS
        widths = widths if head == 'upernet' else [CHANNELS // 4] * 4
    small = dict(channels=8, num_classes=5, dropout_ratio=0.0)
    cfg.decode_head.update(small, in_channels=widths)
    if head == 'upernet':
        cfg.decode_head.pool_scales = (1, 2)
        cfg.auxiliary_head.update(small, in_channels=widths[2])
    slide = dict(crop_size=(SIDE, SIDE), stride=(40, 40)) if mode == 'slide' else {}
    cfg.test_cfg = dict(mode=mode, **slide)
    return cfg


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

    def make(sizes, boxes=((4, 6, 30, 25), (10, 10, 28, 40))):
        inputs, samples = [], []
        for seed, (height, width) in enumerate(sizes):
            truth = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
            masks = np.zeros((len(truth), height, width), np.uint8)
            for mask, (left, top, right, bottom) in zip(masks, truth.int().tolist(), strict=True):
                mask[top:bottom, left:right] = 1
            shapes = dict(img_shape=(height, width), ori_shape=(height, width))
            sample = DetDataSample(metainfo=dict(shapes, scale_factor=(1.0, 1.0)))
            labels, masks = torch.arange(len(truth)) % 3, BitmapMasks(masks, height, width)
            sample.gt_instances = InstanceData(bboxes=truth, labels=labels, masks=masks)
            inputs.append(picture(height, width, seed))
            samples.append(sample)
        return dict(inputs=inputs, data_samples=samples)

    return make


@pytest.fixture
def segmentation_batch():
    """Make a batch of pictures of the sizes given with random labels."""

    def make(sizes):
        inputs, samples = [], []
        for seed, (height, width) in enumerate(sizes):
            image = picture(height, width, seed)
            shapes = dict(img_shape=(height, width), ori_shape=(height, width))
            sample = SegDataSample(metainfo=shapes)
            sample.gt_sem_seg = PixelData(data=(image[:1] % 5).long())
            inputs.append(image)
            samples.append(sample)
        return dict(inputs=inputs, data_samples=samples)

    return make
