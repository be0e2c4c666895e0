"""Costs of models against closed forms and published numbers; times, memory and the machine."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope

from lightvit_dense.apis import load_config
from lightvit_dense.errors import UserError
from lightvit_dense.utils import environment as measure
from lightvit_dense.utils import memory
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


def test_detector():
    """The toy detector: windows of 8 x 8 tokens on 16 x 16, blocks 2 and 5 of 6 global."""
    cost = count('toyworld/maskrcnn_scratch.py')
    backbone, neck, rpn, box, mask = cost.parts
    names = ['backbone', 'neck', 'rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head']
    assert [part.name for part in cost.parts] == names
    assert cost.shape == (128, 128)
    windows, everywhere = blocks(256, 128, 4, attended=64), blocks(256, 128, 2)
    plain = 2 * 256 * 192 * 128 + windows + everywhere
    # Relative positions: products of queries with two tables, and their addition inside attention.
    assert plain < backbone.flops < 1.15 * plain
    convolution, width = 2 * 49 * 9 * 64**2, 64 * 49
    linear = 2 * (width * 256 + 256 * (7 + 6 * 4))
    assert box.flops == 200 * (convolution + linear)
    assert mask.flops == 100 * 2 * (196 * 9 * 64**2 + 196 * 64 * 64 * 4 + 784 * 64 * 6)
    assert cost.flops == sum(part.flops for part in cost.parts)
    # Regions scale the heads alone; what is fully convolutional grows with the area.
    half = count('toyworld/maskrcnn_scratch.py', **{'model.test_cfg.rpn.max_per_img': 100})
    assert half.parts[:3] == (backbone, neck, rpn)
    assert half.parts[3].flops * 2 == box.flops
    large = count('toyworld/maskrcnn_scratch.py', (256, 128))
    assert large.shape == (256, 128)
    assert large.parts[0].flops > 2 * backbone.flops
    assert (large.parts[2].flops, large.parts[3].flops) == (2 * rpn.flops, box.flops)


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


def test_other_models_are_refused():
    with pytest.raises(UserError, match='MAE: get_flops counts'):
        count('toyworld/mae_teacher.py', (64, 64))


def test_calls_end_with_the_budget_and_warmup_is_not_timed():
    now = [0.0]

    def call():
        now[0] += 2.0

    options = dict(budget=1.0, clock=lambda: now[0])
    assert measure.time_calls(call, 100, 2, **options) == [2.0] * measure.MIN_CALLS
    assert now == [10.0]
    assert len(measure.time_calls(call, 2, 2, **options)) == 2


def test_a_child_does_not_inherit_the_peak_of_its_parent():
    held = bytearray(300 << 20)
    code = 'from lightvit_dense.utils.memory import peak_resident_mb; print(peak_resident_mb())'
    child = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    del held
    assert 1 < float(child.stdout) < 250
    assert measure.peak_memory_mb(torch.device('cpu')) > 300


def test_the_largest_of_a_family_counts():
    code = 'x = bytearray(150 << 20); print(1, flush=True); input()'
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    parent_code = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {code!r}])'
    parent = subprocess.Popen([sys.executable, '-c', parent_code], **pipes)
    parent.stdout.readline()
    assert 150 < memory.family_peak_mb(parent.pid) < 400
    parent.communicate(b'\n')
    assert memory.family_peak_mb(parent.pid) == 0.0  # gone
