"""Mask R-CNN as one graph: the detector's results, in torch and in the runtimes."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.roi_heads import DoubleHeadRoIHead
from mmdet.structures import DetDataSample

from lightvit_dense.deploy import describe, export, make_graph
from lightvit_dense.deploy.export import body_nodes
from lightvit_dense.deploy.winograd import WinogradLayer, plain
from lightvit_dense.errors import UserError
from lightvit_dense_runtime import open_model
from tests.helpers.small_dense import SIDE, build, detector_config, picture

LN = dict(type='lightvit_dense.LayerNorm2d')
FPN = dict(type='mmdet.FPN', out_channels=64, num_outs=4, norm_cfg=LN)
HIERA = dict(type='lightvit_dense.Hiera', img_size=SIDE, out_type='featmap', final_norm=False)
HIERA |= dict(arch=dict(embed_dim=8, stages=(1, 1, 1, 1), num_heads=1), out_indices=(0, 1, 2, 3))
PYRAMID = dict(type='lightvit_dense.MultiDepthPyramid', in_channels=32, norm_cfg=LN)
PYRAMID |= dict(rescales=(2, 1, 0.5, 0.25))
# Resized without rounding, which a runtime may do otherwise.
IMAGES = [picture(*size) for size in [(64, 64), (48, 64), (64, 40), (4, 8), (128, 96)]]


def built(kind: str) -> tuple[Any, Any]:
    """Build a small detector and its graph."""
    cfg = detector_config()
    cfg.model.roi_head.bbox_head.norm_cfg = cfg.model.roi_head.mask_head.norm_cfg = LN
    if kind == 'hiera':
        cfg.model.backbone, cfg.model.neck = HIERA, dict(FPN, in_channels=[8, 16, 32, 64])
        cfg.model.roi_head.bbox_head.reg_class_agnostic = True
    if kind == 'li2021':
        cfg.model.backbone.update(out_indices=(0, 1, 2, 3), window=None)
        cfg.model.backbone.arch.depth = 4
        cfg.model.neck = [PYRAMID, dict(FPN, in_channels=[32] * 4)]
    model = build(cfg)
    return model, make_graph(model, cfg)


@torch.no_grad()
def expected(model: Any, graph: Any, image: np.ndarray) -> list[np.ndarray]:
    """Return what the detector finds on the graph's canvas."""
    canvas, *sides = graph.prepare(torch.from_numpy(image.copy())[None])
    (height, width), size = map(int, sides), image.shape[:2]
    scale = width / size[1], height / size[0]
    meta = dict(img_shape=(height, width), ori_shape=size, scale_factor=scale)
    (sample,) = model.predict(canvas[:, :, :height, :width], [DetDataSample(metainfo=meta)])
    return [sample.pred_instances[key].numpy() for key in ('bboxes', 'scores', 'labels', 'masks')]


def assert_same(found: Any, wanted: list[np.ndarray], bound: float) -> None:
    assert [tuple(x.shape) for x in found] == [x.shape for x in wanted]
    for ours, theirs in zip(found[:3], wanted[:3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=bound if ours.ndim == 2 else 1e-4)
    assert (np.asarray(found[3]) != wanted[3]).sum() <= 1e-4 * wanted[3].size


@pytest.mark.parametrize('kind', ['vit', 'hiera', 'li2021'])
@torch.no_grad()
def test_the_graph_finds_what_the_detector_finds(kind: str) -> None:
    model, graph = built(kind)
    for image in IMAGES:
        wanted = expected(model, graph, image)
        assert len(wanted[0]) == 8
        assert_same(graph(torch.from_numpy(image.copy())[None]), wanted, 1e-4)


@pytest.mark.skipif(find_spec('openvino') is None, reason='openvino is not installed')
def test_sizes_and_numbers_of_objects_are_free_in_files(tmp_path) -> None:
    model, graph = built('vit')
    best = sorted(expected(model, graph, image)[1][0] for image in IMAGES)
    model.roi_head.test_cfg.score_thr = float(best[0] + best[1]) / 2  # one image has no object
    path = tmp_path / 'a.onnx'
    network = open_model(export(graph, path, 'onnx', describe(graph, 'a.py', __file__)))
    compiled = import_module('openvino').compile_model(path, 'CPU')
    proto = import_module('onnx').load(path)
    layers = {node.name for node in proto.graph.node if node.op_type == 'Conv'}
    assert len(layers - body_nodes(proto, graph.body)) == 1  # the last one of the mask head
    values = {item.name: item for item in proto.graph.initializer}
    ends = [node.input[2] for node in proto.graph.node if node.op_type == 'NonMaxSuppression']
    most = [int(import_module('onnx.numpy_helper').to_array(values[name])) for name in ends]
    assert most == [model.rpn_head.test_cfg.max_per_img, model.roi_head.test_cfg.max_per_img]
    assert set(values) <= {name for node in proto.graph.node for name in node.input}
    for image in IMAGES:
        wanted, found = expected(model, graph, image), compiled({'image': image[None]})
        assert_same(list(network(image=image[None]).values()), wanted, 1e-2)
        assert_same([found[name] for name in graph.output_names], wanted, 1e-2)


@pytest.mark.parametrize('norm', [None, LN, dict(type='BN')], ids=['none', 'layer', 'batch'])
@pytest.mark.parametrize('side', [7, 14])
def test_winograd_is_a_convolution(norm: dict | None, side: int) -> None:
    torch.manual_seed(0)
    layer, x = ConvModule(8, 6, 3, padding=1, norm_cfg=norm).eval(), torch.randn(5, 8, side, side)
    for name, tensor in layer.state_dict().items():
        if 'num' not in name:
            tensor.uniform_(0.5, 2)
    wanted, fused = layer(x), fuse_conv_bn(layer)
    found = WinogradLayer(fused, side)(x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert plain(fused) > plain(ConvModule(8, 6, 1))


def test_what_cannot_be_exported_is_named() -> None:
    model, graph = built('vit')
    assert 'export detectors to onnx or openvino' in graph.refuse('executorch')
    roi = model.roi_head
    for owner, name, value, message in (
        (roi, '__class__', DoubleHeadRoIHead, r'roi_head: DoubleHeadRoIHead cannot be exported'),
        (roi.test_cfg, 'nms', dict(type='soft_nms'), r"test_cfg.rcnn.nms: .*'soft_nms'"),
        (model.rpn_head.bbox_coder, 'add_ctr_clamp', True, r"bbox_coder: .*'add_ctr_clamp': True"),
        (model, 'pad_shape', (32, 64), r'up to 64 px to one shape, pad_shape'),
    ):
        before = getattr(owner, name)
        setattr(owner, name, value)
        with pytest.raises(UserError, match=message):
            make_graph(model, detector_config())
        setattr(owner, name, before)
