"""Segmentors as graphs: the labels are those of the Python inferencer."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from lightvit_dense import apis
from lightvit_dense.deploy import describe, export, make_graph
from lightvit_dense.deploy.file_model import file_inferencer
from lightvit_dense.deploy.pooling import FixedAdaptivePool, pooling_matrix, with_fixed_pools
from lightvit_dense.errors import UserError
from lightvit_dense_runtime import open_model
from tests.helpers.small_dense import SIDE, build, picture, segmentor_config

SLIDE = dict(mode='slide', crop_size=(64, 64), stride=(40, 40))
UPERNET = dict(test_cfg=SLIDE)
WHOLE = dict(pad_shape=SIDE)
PYRAMID = dict(type='lightvit_dense.ScaledFeaturePyramid', in_channels=32, rescales=(2, 1, 0.5))
FPN = UPERNET | dict(
    backbone=dict(
        rel_pos=dict(kind='bias'),
        out_indices=(0, 1, 2),
        arch=dict(embed_dim=32, depth=3, num_heads=2),
    ),
    neck=dict(PYRAMID, _delete_=True),
    decode_head=dict(
        _delete_=True,
        type='mmseg.FPNHead',
        in_channels=[8] * 3,
        in_index=[0, 1, 2],
        feature_strides=[4, 8, 16],
        channels=8,
        num_classes=300,
        align_corners=True,
    ),
    auxiliary_head=None,
)
HIERA = UPERNET | dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_dense.Hiera',
        arch=dict(embed_dim=8, stages=(1, 1, 1, 1), num_heads=1),
        img_size=SIDE,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        final_norm=False,
    ),
    neck=None,
    decode_head=dict(in_channels=[8, 16, 32, 64]),
    auxiliary_head=None,
)
SIZES = [(48, 64), (100, 180), (301, 90), (70, 333), (17, 23)]


def segmentor(options: dict) -> tuple[Any, Any]:
    """Build a small segmentor; returns it and its config."""
    cfg = segmentor_config()
    cfg.merge_from_dict(copy.deepcopy(dict(model=options)))
    cfg.model.test_cfg = ConfigDict(options.get('test_cfg', dict(mode='whole')))
    if cfg.model.test_cfg.mode == 'slide':
        cfg.test_dataloader.dataset.pipeline[1].scale = (4 * SIDE, SIDE)
    return build(cfg), cfg


def agreement(model: Any, cfg: Any, sizes: list, labels_of: Any) -> float:
    """Return the part of all pixels to which the inferencer gives the same label."""
    names, same, pixels = [str(label) for label in range(model.out_channels)], 0, 0
    infer = apis.SegmentationInferencer(cfg, names=names, model=model)
    for seed, size in enumerate(sizes):
        image = picture(*size, seed=seed)
        mine, expected = labels_of(np.stack([image] * 2)), infer([image])[0].label_map
        assert mine.shape == (2, *size)
        assert len(np.unique(expected)) > 1
        same, pixels = same + (mine == expected).mean(0).sum(), pixels + expected.size
    return same / pixels


@pytest.mark.parametrize(
    ('options', 'dtype'),
    [(UPERNET, 'uint8'), (WHOLE, 'uint8'), (FPN, 'int32'), (HIERA, 'uint8')],
    ids=['slide', 'whole', 'fpn', 'hiera'],
)
@torch.no_grad()
def test_labels_are_those_of_the_inferencer(options: dict, dtype: str) -> None:
    model, cfg = segmentor(options)
    graph = make_graph(model, cfg)

    def labels_of(images: np.ndarray) -> np.ndarray:
        labels = graph(torch.from_numpy(images)).numpy()
        assert labels.dtype == dtype
        return labels

    assert agreement(model, cfg, SIZES, labels_of) >= 0.999


def test_a_file_takes_any_size_and_batch(tmp_path: Path) -> None:
    model, cfg = segmentor(FPN)
    (tmp_path / 'best.pth').write_bytes(b'weights')
    graph = make_graph(model, cfg)
    about = describe(graph, 'tiny.py', tmp_path / 'best.pth', [*map(str, range(300))])
    network = open_model(export(graph, tmp_path / 'model.onnx', 'onnx', about), threads=1)
    labels_of = lambda images: network(image=images)['labels']  # noqa: E731
    assert agreement(model, cfg, SIZES, labels_of) >= 0.999
    (found,) = file_inferencer(tmp_path / 'model.onnx')(picture(48, 64))
    np.testing.assert_array_equal(found.label_map, labels_of(picture(48, 64)[None])[0])
    assert found.names[299] == '299'


@torch.no_grad()
def test_images_of_one_size() -> None:
    model, cfg = segmentor({})
    with pytest.raises(UserError, match=r'up to 64 px .*--size HEIGHT WIDTH.*pad_shape=64'):
        make_graph(model, cfg)
    assert make_graph(*segmentor(UPERNET)).refuse('executorch').endswith('--size HEIGHT WIDTH')
    for options, windows in (({}, [1, 1]), (UPERNET, [1, 3])):
        model, cfg = segmentor(options)
        graph = make_graph(model, cfg, (70, 133))
        assert graph.refuse('executorch') is None
        assert (graph.counts, graph.dynamic_shapes()) == (windows, {'image': {}})
        program = torch.export.export(graph, graph.example(), strict=False).module()
        labels_of = lambda images, run=program: torch.cat(  # noqa: E731
            [run(torch.from_numpy(image)[None]) for image in images]
        ).numpy()
        assert agreement(model, cfg, [(70, 133)], labels_of) >= 0.999


@pytest.mark.parametrize(('length', 'cells'), [(16, 3), (7, 6), (5, 5), (3, 6), (1, 2)])
def test_pooling_is_torchs(length: int, cells: int) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, length, 11)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d((cells, 4)), nn.AdaptiveAvgPool2d(1))
    fixed = with_fixed_pools(pool)
    assert [type(layer) for layer in fixed] == [FixedAdaptivePool, nn.AdaptiveAvgPool2d]
    torch.testing.assert_close(fixed[0](maps), pool[0](maps))
    assert pooling_matrix(length, cells).sum(1) == pytest.approx([1] * cells)
