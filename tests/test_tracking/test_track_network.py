"""Frame networks against the model as it is trained."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightvit_dense.errors import UserError
from lightvit_dense.utils.environment import count_flops
from tracking.deploy.frame_module import FrameModule, ranking_weights
from tracking.deploy.optimized_head import OptimizedCenterHead, ScatteredConv, folded_layers
from tracking.models.decoding import hann_window
from tracking.runtime.network import build_network

from .small_tracker import BOX, HIERA, crop
from .small_tracker import trained_tracker as tracker

CASES = {
    'center': dict(),
    'no elimination': dict(backbone=dict(elimination=None)),
    'few left': dict(backbone=dict(elimination=dict(blocks=(0, 1, 3), keep=0.5))),
    'middle': dict(backbone=dict(template_tokens='middle')),
    'all': dict(backbone=dict(template_tokens='all')),
    'box': dict(backbone=dict(template_tokens='box')),
    'no bias': dict(backbone=dict(qkv_bias=False, final_norm=False)),
    'mlp': dict(head=dict(type='tracking.MLPHead')),
    'hiera': dict(backbone=HIERA),
}


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('window', [True, False])
def test_the_optimized_network_finds_the_boxes_of_the_model(case, window):
    model = tracker(**CASES[case])
    plain, optimized = (build_network(model, name, window=window) for name in ('plain', 'torch'))
    for network in (plain, optimized):
        network.set_template(crop(32, 1), BOX)
    scores = set()
    for seed, border in ((2, 0), (3, 20), (4, 40)):
        (want, sure), (found, score) = (
            network(crop(64, seed, border)) for network in (plain, optimized)
        )
        np.testing.assert_allclose(found, want, atol=1e-3)
        assert score == pytest.approx(sure, abs=1e-5)
        assert found.dtype == np.float64
        scores.add(score)
    assert len(scores) == 3  # no weights that are dead to the crop


def test_the_plain_network_is_the_model_and_its_decoding():
    model = tracker()
    network = build_network(model, 'plain')
    network.set_template(crop(32, 1), BOX)
    box, score = network(crop(64, 2))
    mean, std = (torch.tensor(v) for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    images = [
        ((torch.from_numpy(c).float() - mean) / std).permute(2, 0, 1)[None]
        for c in (crop(32, 1), crop(64, 2))
    ]
    with torch.no_grad():
        maps = model.head(model.backbone(*images))
    weighted = maps.score[0, 0].numpy() * hann_window(8, 8)
    row, column = np.unravel_index(weighted.argmax(), weighted.shape)
    width, height = 64 * maps.size[0, :, row, column].numpy()
    x, y = 8 * (np.array([column, row]) + maps.offset[0, :, row, column].numpy())
    np.testing.assert_allclose(box, [x - width / 2, y - height / 2, width, height], rtol=1e-5)
    assert score == pytest.approx(maps.score[0, 0, row, column].item())


def test_the_window_is_that_of_ostrack():
    # Its code: 0.5 * (1 - cos(2 pi k / (n + 1))), k = 1..n.
    np.testing.assert_allclose(hann_window(3, 3)[1], [0.5, 1.0, 0.5], atol=1e-7)
    assert hann_window(16, 16).max() < 1
    np.testing.assert_allclose(hann_window(4, 2), hann_window(2, 4).T)


def test_size_and_offset_of_one_cell_are_those_of_the_whole_map():
    """At every cell: at the border the convolutions see padding at each of their layers."""
    head = tracker().head.double()
    branches = [folded_layers(branch) for branch in (head.score, head.size, head.offset)]
    optimized = OptimizedCenterHead(branches, (8, 8), (64, 64)).double()
    tokens = torch.randn(64, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features = tokens.t().reshape(1, 32, 8, 8)
    with torch.no_grad():
        size, offset = head.size(features)[0], head.offset(features)[0]
        padded = optimized._padded(tokens, None)
        for row in range(8):
            for column in range(8):
                found = optimized._at(padded, torch.tensor(row), torch.tensor(column))
                for mine, whole in zip(found, (size, offset), strict=True):
                    torch.testing.assert_close(mine, whole[:, row, column])


def test_a_convolution_of_few_cells():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(6, 5, 3, 3, generator=generator), torch.randn(6, generator=generator)
    cells = torch.tensor([0, 3, 7, 13, 22, 23])  # corners and edges of 4 rows of 6
    tokens = torch.randn(6, 5, generator=generator)
    image = torch.zeros(24, 5).index_copy(0, cells, tokens).t().reshape(1, 5, 4, 6)
    want = F.conv2d(image, weight, bias, padding=1)
    torch.testing.assert_close(ScatteredConv(weight, bias, (4, 6))(tokens, cells), want)


def test_eliminated_tokens_cost_nothing():
    model = tracker(dict(elimination=dict(blocks=(1,), keep=0.25)))

    def flops(eliminate):
        module = FrameModule(model, True, eliminate)
        state = module.template(torch.zeros(32, 32, 3))
        weights = ranking_weights(model, torch.tensor([0.2, 0.2, 0.5, 0.5]))
        return count_flops(lambda: module.encoder(torch.zeros(64, 64, 3), *state, weights))

    width, template, search, kept = 32, 16, 64, 16
    gone = search - kept
    # Block 1: attention of the pruned queries, projection, MLP. Ranking costs one query.
    saved = 2 * gone * (9 * width**2 + 2 * (template + search) * width)
    saved -= 2 * (template + search) * width
    # Block 2: queries, keys, values, projection, MLP, attention over fewer. Block 3: no template.
    everyone, rest = template + search, template + kept
    saved += 2 * gone * 12 * width**2 + 4 * (everyone**2 - rest**2) * width
    saved += 2 * gone * 12 * width**2 + 4 * (search * everyone - kept * rest) * width
    assert flops(False) - flops(True) == saved


def test_the_template_is_embedded_once():
    model = tracker()
    network = build_network(model, 'torch')
    calls = []
    network.module.encoder.template_patches.register_forward_hook(lambda *_: calls.append(1))
    network.set_template(crop(32, 1), BOX)
    first = network(crop(64, 2))[0]
    np.testing.assert_array_equal(network(crop(64, 2))[0], first)
    assert len(calls) == 1
    network.set_template(crop(32, 9), BOX)
    assert np.abs(network(crop(64, 2))[0] - first).max() > 1e-4  # another target


@pytest.mark.parametrize('backbone', [dict(elimination=dict(blocks=(0, 1), keep=0.3)), HIERA])
def test_without_elimination_all_ways_keep_all_tokens(backbone):
    model, whole = tracker(backbone), tracker(backbone)
    share = model.backbone.final_keep_ratio
    whole.backbone.elimination_blocks = ()
    want, pruned = build_network(whole, 'plain'), build_network(model, 'torch')
    for way in ('plain', 'torch'):
        network = build_network(model, way, eliminate=False)
        for each in (want, network, pruned):
            each.set_template(crop(32, 1), BOX)
        np.testing.assert_allclose(network(crop(64, 2))[0], want(crop(64, 2))[0], atol=1e-3)
    assert np.abs(pruned(crop(64, 2))[0] - want(crop(64, 2))[0]).max() > 0.01
    assert model.backbone.final_keep_ratio == share


def test_wrong_calls_are_refused():
    model = tracker()
    network = build_network(model)
    with pytest.raises(ValueError, match='no template yet'):
        network(crop(64))
    with pytest.raises(ValueError, match=r'template crop must be RGB uint8 \[32, 32, 3\].*64'):
        network.set_template(crop(64), BOX)
    network.set_template(crop(32), BOX)
    with pytest.raises(ValueError, match=r'search crop .* got float64'):
        network(crop(64) / 255)
    with pytest.raises(UserError, match=r"'onx', which is unknown.*Did you mean 'onnx'"):
        build_network(model, 'onx')
    with pytest.raises(UserError, match='reads no files'):
        build_network(model, 'torch', path='exported')


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(UserError, match=r'C\+\+ compiler'):
        build_network(tracker(), 'compiled')
