"""Frame networks against the model as it is trained, in torch and as files."""

import numpy as np
import pytest
import torch

from lightvit_dense.deploy import make_graph
from lightvit_dense.errors import UserError
from tests.helpers.tools import call_tool
from tracking.deploy.optimized_head import OptimizedCenterHead, folded_layers
from tracking.models.decoding import hann_window
from tracking.models.joint_attention import joint_attention
from tracking.runtime.network import build_network

from .small_tracker import HIERA, export_tracker, write_tracker_files
from .small_tracker import trained_tracker as tracker

BOX = np.array([8.0, 6.0, 14.0, 18.0])


def crop(side, seed=0, border=0):
    """Return noise, with rows and columns of zero padding."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels[:border] = pixels[:, :border] = 0
    return pixels


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


def aimed(model, way='torch', seed=1, **options):
    network = build_network(model, way, **options)
    network.set_template(crop(32, seed), BOX)
    return network


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('window', [True, False])
def test_the_optimized_network_finds_the_boxes_of_the_model(case, window):
    model = tracker(**CASES[case])
    plain, optimized = (aimed(model, way, window=window) for way in ('plain', 'torch'))
    scores = set()
    for seed, border in ((2, 0), (3, 20), (4, 40)):
        search = crop(64, seed, border)
        (want, sure), (found, score) = plain(search), optimized(search)
        np.testing.assert_allclose(found, want, atol=1e-3)
        assert score == pytest.approx(sure, abs=1e-5)
        assert found.dtype == np.float64
        scores.add(score)
    assert len(scores) == 3  # no weights that are dead to the crop


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('way', ['plain', 'torch'])
def test_several_targets_in_one_call_are_found_as_each_alone(case, way):
    network, calls = build_network(tracker(**CASES[case]), way), []
    part = network.module.head if way == 'torch' else network.model.head
    part.register_forward_hook(lambda *_: calls.append(1))
    seeds = (2, 3, 4)
    boxes, searches = [BOX, BOX + 1, BOX / 2], [crop(64, seed, 10 * seed) for seed in seeds]
    network.set_templates([crop(32, seed) for seed in seeds], boxes)
    together = network.find_all(searches)
    assert len(calls) == 1
    for (found, score), seed, box, search in zip(together, seeds, boxes, searches, strict=True):
        network.set_template(crop(32, seed), box)
        alone, sure = network(search)
        np.testing.assert_allclose(found, alone, atol=1e-4)
        assert score == pytest.approx(sure, abs=1e-5)
    with pytest.raises(ValueError, match='3 search crops for 1 templates'):
        network.find_all(searches)


def test_the_plain_network_is_the_model_and_its_decoding():
    model = tracker()
    box, score = aimed(model, 'plain')(crop(64, 2))
    crops = [torch.from_numpy(one).permute(2, 0, 1)[None] for one in (crop(32, 1), crop(64, 2))]
    inputs = dict(zip(('template', 'search'), crops, strict=True))
    with torch.no_grad():
        maps = model(model.data_preprocessor(dict(inputs=inputs))['inputs'])
    weighted = maps.score[0, 0].numpy() * hann_window(8, 8)
    row, column = np.unravel_index(weighted.argmax(), weighted.shape)
    width, height = 64 * maps.size[0, :, row, column].numpy()
    x, y = 8 * (np.array([column, row]) + maps.offset[0, :, row, column].numpy())
    np.testing.assert_allclose(box, [x - width / 2, y - height / 2, width, height], rtol=1e-5)
    assert score == pytest.approx(maps.score[0, 0, row, column].item())
    # OSTrack's window: 0.5 * (1 - cos(2 pi k / (n + 1))), k = 1..n.
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


def test_the_template_is_embedded_once():
    network, calls = aimed(tracker()), []
    network.module.encoder.template_patches.register_forward_hook(lambda *_: calls.append(1))
    network.set_template(crop(32, 1), BOX)
    first = network(crop(64, 2))[0]
    np.testing.assert_array_equal(network(crop(64, 2))[0], first)
    assert len(calls) == 1


@pytest.mark.parametrize('backbone', [dict(elimination=dict(blocks=(0, 1), keep=0.3)), HIERA])
def test_without_elimination_all_ways_keep_all_tokens(backbone):
    model, whole = tracker(backbone), tracker(backbone)
    share = model.backbone.final_keep_ratio
    whole.backbone.elimination_blocks = ()
    want, pruned = aimed(whole, 'plain')(crop(64, 2))[0], aimed(model)(crop(64, 2))[0]
    for way in ('plain', 'torch'):
        found = aimed(model, way, eliminate=False)(crop(64, 2))[0]
        np.testing.assert_allclose(found, want, atol=1e-3)
    assert np.abs(pruned - want).max() > 0.01
    assert model.backbone.final_keep_ratio == share


def tokens_left(network, search):
    """Return the search tokens that a plain network keeps, and its narrowest choice."""
    inputs, samples = network.pairs([search])
    mask = network.model.template_mask(samples, 'cpu')
    left, gap = set(range(network.model.backbone.search_grid[0] ** 2)), np.inf
    for block in joint_attention(network.model.backbone, *inputs.values(), mask):
        scores = block.ranking[0].mean(0).numpy()
        gone = np.isin(block.search_ids[0].numpy(), block.eliminated[0].numpy())
        gap = min(gap, scores[~gone].min() - scores[gone].max(initial=-np.inf))
        left -= set(block.eliminated[0].tolist())
    return left, gap


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    model, folder = tracker(), tmp_path_factory.mktemp('exported')
    words = (*write_tracker_files(folder, model), '--out', folder / 'tracker.onnx')
    call_tool('deploy/export.py', *words)
    return model, words[-1]


def compare(model, path, count):
    """Expect the plain network's tokens and boxes, or those of what ties with them."""
    file, ties = build_network(model, 'exported', path=path, threads=1), 0
    for seed in (1, 9):  # a second target: the template is no constant of the file
        plain = aimed(model, 'plain', seed)
        given = dict(template=crop(32, seed), box=np.float32(BOX / 32))
        file.set_templates([crop(32, seed)], [BOX])
        for number in range(count):
            search = crop(64, 100 + number, border=number)
            (left, gap), ((box, score),) = tokens_left(plain, search), file.find_all([search])
            if gap < 1e-7:  # two tokens tie up to rounding: either may stay
                ties += 1
                continue
            cells = file.network(**given, search=search)['cells']
            assert sorted(cells.tolist()) == sorted(left)
            assert np.abs(box - plain.tied(search)).max(1).min() < 1e-3
            assert score == pytest.approx(plain(search)[1], abs=1e-4)
    assert ties <= count // 10


def test_the_file_keeps_the_tokens_and_finds_the_boxes_of_the_model(exported):
    compare(*exported, count=20)


OTHERS = {'few left': 'openvino', 'box': 'onnx', 'no elimination': 'onnx', 'hiera': 'onnx'}


@pytest.mark.parametrize(('case', 'to'), OTHERS.items())
def test_other_parts_and_runtimes(case, to, tmp_path):
    model = tracker(**CASES[case])
    compare(model, export_tracker(tmp_path, model, to), count=3)


def test_of_equal_scores_the_four_middle_cells_of_the_window_tie():
    model = tracker()
    torch.nn.init.zeros_(model.head.score[-1].weight)
    tied = aimed(model, 'plain').tied(crop(64, 2))
    off = np.sort(np.abs(tied - aimed(model)(crop(64, 2))[0]).max(1))
    assert off[0] < 1e-3 < 1 < off[1]
    assert len(tied) == 4


def test_wrong_calls_are_refused(exported):
    model, path = exported
    other, network = tracker(), aimed(model)
    other.head.score[-1].bias.data += 1e-3
    for call, message in (
        (lambda: build_network(model)(crop(64)), 'no template yet'),
        (lambda: network.set_template(crop(64), BOX), r'must be RGB uint8 \[32, 32, 3\].*64'),
        (lambda: network(crop(64) / 255), r'search crop .* got float64'),
        (lambda: build_network(model, 'export'), "'export', which is unknown.*mean 'exported'"),
        (lambda: build_network(model, 'torch', path=path), 'reads no files'),
        (lambda: build_network(model, 'exported'), 'needs path=FILE'),
        (lambda: build_network(other, 'exported', path=path), r'tracker\.onnx .* other weights'),
        (lambda: build_network(model, 'exported', path=path, window=False), 'other options'),
        (lambda: build_network(model, 'exported', path=path, eliminate=False), 'other options'),
        (lambda: make_graph(model, None, (64, 64)), 'leave out the size'),
    ):
        with pytest.raises((UserError, ValueError), match=message):
            call()
