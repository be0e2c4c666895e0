"""Costs of whole models against closed forms and published numbers."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from lightvit_dense.apis import load_config
from lightvit_dense.errors import UserError
from lightvit_dense.utils.flops import count_cost

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def scope():
    yield
    DefaultScope._instance_dict.clear()


def count(path, shape=None, **options):
    cfg = load_config(ROOT / 'configs' / path, options)
    init_default_scope(cfg.get('default_scope', 'lightvit_dense'))
    return count_cost(cfg, shape)


def blocks(tokens, width, depth, attended=None):
    """FLOPs of transformer blocks with an MLP of ratio 4."""
    attended = tokens if attended is None else attended
    return depth * (24 * tokens * width**2 + 4 * tokens * attended * width)


def test_classifier():
    """DeiT-Ti: 5.7 M parameters and 1.3 G multiplications with an addition (its paper, Table 5)."""
    cost = count('imagenet/finetune_mae_vit-tiny_300e.py')
    embedding = 2 * 196 * 768 * 192
    assert cost.shape == (224, 224)
    assert cost.parts[0].flops == embedding + blocks(197, 192, 12)
    assert cost.parts[1].flops == 2 * 192 * 1000
    assert cost.params == 5_717_416
    assert cost.flops / 2 == pytest.approx(1.26e9, rel=0.01)


def test_detector():
    """The toy detector: windows of 8 x 8 tokens on 16 x 16, blocks 2 and 5 of 6 global."""
    cost = count('toyworld/maskrcnn_scratch.py')
    parts = {part.name: part for part in cost.parts}
    assert list(parts) == [
        'backbone',
        'neck',
        'rpn_head',
        'roi_head.bbox_head',
        'roi_head.mask_head',
    ]
    assert cost.shape == (128, 128)
    windows, everywhere = blocks(256, 128, 4, attended=64), blocks(256, 128, 2)
    plain = 2 * 256 * 192 * 128 + windows + everywhere
    # Relative positions: products of queries with two tables, and their addition inside attention.
    assert plain < parts['backbone'].flops < 1.15 * plain
    convolution, width = 2 * 49 * 9 * 64**2, 64 * 49
    linear = 2 * (width * 256 + 256 * (7 + 6 * 4))
    assert parts['roi_head.bbox_head'].flops == 200 * (convolution + linear)
    mask = 2 * (196 * 9 * 64**2 + 196 * 64 * 64 * 4 + 784 * 64 * 6)
    assert parts['roi_head.mask_head'].flops == 100 * mask
    assert cost.flops == sum(part.flops for part in cost.parts)


def test_regions_scale_the_heads_alone():
    full = count('toyworld/maskrcnn_scratch.py')
    half = count('toyworld/maskrcnn_scratch.py', **{'model.test_cfg.rpn.max_per_img': 100})
    assert half.parts[3].flops * 2 == full.parts[3].flops
    assert half.parts[:3] == full.parts[:3]


def test_segmentor():
    cost = count('toyworld/upernet_scratch.py')
    *used, auxiliary = cost.parts
    assert [part.name for part in used] == ['backbone', 'neck', 'decode_head']
    assert (auxiliary.name, auxiliary.used) == ('auxiliary_head', False)
    embedding = 2 * 256 * 192 * 128
    assert used[0].flops == embedding + blocks(257, 128, 6)
    assert cost.flops == sum(part.flops for part in used)
    assert cost.params - cost.used_params == auxiliary.params > 0
    # The third tap, 64 channels: a 3 x 3 convolution and the classes, on half the resolution.
    assert auxiliary.flops == 2 * 8**2 * (9 * 128 * 64 + 64 * 150)


def test_fully_convolutional_parts_grow_with_the_area():
    small = count('toyworld/maskrcnn_scratch.py')
    large = count('toyworld/maskrcnn_scratch.py', (256, 128))
    assert large.shape == (256, 128)
    assert large.parts[2].flops == 2 * small.parts[2].flops
    assert large.parts[3].flops == small.parts[3].flops
    assert large.parts[0].flops > 2 * small.parts[0].flops


def test_other_models_are_refused():
    with pytest.raises(UserError, match='MAE: get_flops counts'):
        count('toyworld/mae_teacher.py', (64, 64))
    cfg = Config(dict(model=dict(type='lightvit_dense.MAE')))
    with pytest.raises(TypeError):
        count_cost(cfg)
