"""Mask R-CNN as one graph: the detector's results, in torch and in the runtimes."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from lightvit_dense.deploy import describe, export, make_graph
from lightvit_dense.deploy.winograd import WinogradLayer, plain
from lightvit_dense.errors import UserError
from lightvit_dense_runtime import open_model
from tests.helpers.small_dense import SIDE, build, detector_config, picture

FPN = dict(type='mmdet.FPN', out_channels=64, num_outs=4)
LN = dict(type='lightvit_dense.LayerNorm2d')
HIERA = dict(type='lightvit_dense.Hiera', img_size=SIDE, out_type='featmap', final_norm=False)
HIERA |= dict(arch=dict(embed_dim=8, stages=(1, 1, 1, 1), num_heads=1), out_indices=(0, 1, 2, 3))
IMAGES = [picture(*size) for size in [(64, 64), (48, 64), (100, 40), (3, 7), (130, 220)]]


def config(kind: str = 'vit') -> Config:
    """Return the config of a small detector."""
    cfg = detector_config()
    if kind == 'hiera':
        cfg.model.update(backbone=HIERA, neck=dict(FPN, in_channels=[8, 16, 32, 64]))
        cfg.model.roi_head.bbox_head.update(
            norm_cfg=LN, num_shared_convs=2, reg_class_agnostic=True
        )
    if kind == 'li2021':
        scales, norm = (2, 1, 0.5, 0.25), dict(type='GN', num_groups=4)
        pyramid = dict(type='lightvit_dense.MultiDepthPyramid', in_channels=32, rescales=scales)
        cfg.model.neck = [dict(pyramid, norm_cfg=norm), dict(FPN, in_channels=[32] * 4)]
        cfg.model.backbone.update(out_indices=(0, 1, 2, 3), window=None)
        cfg.model.backbone.arch.depth = 4
        cfg.model.roi_head.bbox_head.norm_cfg = dict(type='SyncBN')
    return cfg


@torch.no_grad()
def expected(model: Any, graph: Any, image: np.ndarray) -> list[np.ndarray]:
    """Return what the detector finds on the graph's canvas."""
    canvas, *sides = graph.prepare(torch.from_numpy(image.copy())[None])
    (height, width), size = map(int, sides), image.shape[:2]
    scale = width / size[1], height / size[0]
    meta = dict(img_shape=(height, width), ori_shape=size, scale_factor=scale)
    (sample,) = model.predict(canvas[:, :, :height, :width], [DetDataSample(metainfo=meta)])
    return [sample.pred_instances[key].numpy() for key in ('bboxes', 'scores', 'labels', 'masks')]


def assert_same(found: Any, wanted: list[np.ndarray]) -> None:
    assert [np.asarray(x).shape for x in found] == [x.shape for x in wanted]
    for ours, theirs in zip(found[:3], wanted, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)
    assert not len(wanted[0]) or (np.asarray(found[3]) != wanted[3]).mean() < 1e-4


@pytest.mark.parametrize('kind', ['vit', 'hiera', 'li2021'])
def test_the_graph_finds_what_the_detector_finds(kind: str) -> None:
    model = build(config(kind))
    graph = make_graph(model, config(kind))
    for image in IMAGES:
        wanted = expected(model, graph, image)
        assert len(wanted[0]) == 8
        with torch.no_grad():
            assert_same(graph(torch.from_numpy(image.copy())[None]), wanted)


@pytest.fixture(scope='module')
def exported(tmp_path_factory) -> tuple[Any, Any, Path]:
    cfg = config()
    cfg.model.test_cfg.rcnn.score_thr = 0.3
    model = build(cfg)
    graph = make_graph(model, cfg)
    folder = tmp_path_factory.mktemp('detector')
    (folder / 'a.pth').touch()
    about = describe(graph, 'a.py', folder / 'a.pth')
    return model, graph, export(graph, folder / 'a.onnx', 'onnx', about)


def test_sizes_and_objects_are_free_in_onnx(exported) -> None:
    model, graph, path = exported
    network, counts = open_model(path, threads=1), []
    shapes = {item['name']: item['shape'] for item in network.metadata['outputs']}
    assert shapes == dict(boxes=[None, 4], scores=[None], labels=[None], masks=[None] * 3)
    for image in IMAGES:
        wanted = expected(model, graph, image)
        assert_same(list(network(image=image[None]).values()), wanted)
        counts.append(len(wanted[0]))
        print(wanted[1])
    assert min(counts) == 0 < max(counts)


@pytest.mark.skipif(find_spec('openvino') is None, reason='openvino is not installed')
def test_sizes_and_objects_are_free_in_openvino(exported) -> None:
    model, graph, path = exported
    compiled = import_module('openvino').compile_model(path, 'CPU')
    for image in IMAGES:
        found = compiled({'image': image[None]})
        assert_same([found[name] for name in graph.output_names], expected(model, graph, image))


@pytest.mark.parametrize('norm', [None, LN, dict(type='BN')], ids=['none', 'layer', 'batch'])
@pytest.mark.parametrize('side', [4, 7, 14])
def test_winograd_is_a_convolution(norm: dict | None, side: int) -> None:
    torch.manual_seed(0)
    layer = ConvModule(8, 6, 3, padding=1, norm_cfg=norm).eval()
    for name, tensor in layer.state_dict().items():
        if 'num' not in name:
            tensor.uniform_(0.5, 2)
    x = torch.randn(5, 8, side, side)
    wanted, fused = layer(x), fuse_conv_bn(layer)
    assert plain(fused)
    found = WinogradLayer(fused, side)(x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert not plain(ConvModule(8, 6, 3, padding=1, stride=2))
    assert not plain(ConvModule(8, 6, 1))


class CascadeRoIHead(StandardRoIHead):
    def predict_bbox(self, *args: Any) -> None: ...


def test_what_cannot_be_exported_is_named() -> None:
    cfg = config()
    model, soft = build(cfg), dict(type='soft_nms', iou_threshold=0.5)
    assert 'export detectors to onnx or openvino' in make_graph(model, cfg).refuse('executorch')
    roi = model.roi_head
    for owner, name, value, message in (
        (roi, '__class__', CascadeRoIHead, r'roi_head: CascadeRoIHead cannot be exported'),
        (roi.mask_head, '__class__', nn.Identity, r'roi_head.mask_head: Identity cannot'),
        (roi.test_cfg, 'nms', soft, r"test_cfg.rcnn.nms: .*'soft_nms'"),
        (model.rpn_head.test_cfg, 'nms', soft, r"test_cfg.rpn.nms: .*'soft_nms'"),
        (roi.test_cfg, 'mask_thr_binary', -1, r'test_cfg.rcnn.mask_thr_binary: below 0'),
        (roi.bbox_head.bbox_coder, 'add_ctr_clamp', True, r'bbox_head.bbox_coder: .*add_ctr'),
        (model, 'pad_shape', (32, 64), r'up to 64 px get different .*set pad_shape=64'),
    ):
        before = getattr(owner, name)
        setattr(owner, name, value)
        with pytest.raises(UserError, match=message):
            make_graph(model, cfg)
        setattr(owner, name, before)
