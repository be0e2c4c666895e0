"""The tools that compare layers of networks."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense.apis import frozen_backbone
from lightvit_dense.representation import ImageStream, layer_features

CONFIG = """
model = dict(
    type='lightvit_dense.ImageClassifier',
    backbone=dict(
        type='lightvit_dense.VisionTransformer',
        arch=dict(embed_dim={width}, depth={depth}, num_heads=2),
        img_size=32,
        patch_size=8,
        init='timm',
    ),
    head=dict(num_classes=3),
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor', mean=[{mean}] * 3, std=[60.0] * 3
    ),
)
"""
HIERA = """
model = dict(
    type='lightvit_dense.ImageClassifier',
    backbone=dict(
        type='lightvit_dense.Hiera',
        arch=dict(embed_dim=8, stages=(1, 1, 1, 1), num_heads=1),
        img_size=64,
    ),
    head=dict(num_classes=3),
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor', mean=[127.5] * 3, std=[60.0] * 3
    ),
)
"""


@pytest.fixture
def setting(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for number in range(11):
        small = generator.integers(0, 255, (6, 6, 3), np.uint8)
        image = cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(tmp_path / 'images' / f'{number}.png'), image)
    (tmp_path / 'a.py').write_text(CONFIG.format(width=24, depth=3, mean=127.5))
    (tmp_path / 'b.py').write_text(CONFIG.format(width=16, depth=2, mean=100.0))
    (tmp_path / 'hiera.py').write_text(HIERA)
    return tmp_path


def test_cka_of_two_networks_is_that_of_their_features(
    setting: Path, call_tool: Callable[..., tuple]
) -> None:
    a = frozen_backbone(setting / 'a.py', device='cpu', seed=5)
    torch.save(a.backbone.state_dict(), setting / 'a.pth')
    words = [setting / 'a.py', setting / 'a.pth', setting / 'b.py', 'none', '--batch-size', '4']
    words += ['--images', setting / 'images', '--limit', '0', '--out', setting / 'out']
    status, out, err = call_tool('analysis_tools/cka.py', *words, '--titles', 'first', 'other net')
    assert status == 0, err
    metadata = json.loads((setting / 'out/cka.json').read_text())
    assert (metadata['kind'], metadata['images'], metadata['left_out'], metadata['size']) == (
        'cka',
        8,
        3,
        32,
    )
    assert 'the last 3 images are too few for a batch' in out
    assert [model['title'] for model in metadata['models']] == ['first', 'other net']
    assert [model['layers'] for model in metadata['models']] == [[0, 1, 2, 3], [0, 1, 2]]
    assert metadata['models'][0]['sha256']
    assert metadata['models'][1]['sha256'] is None
    assert metadata['peak_memory_mb'] > 0
    assert metadata['environment']['versions']['torch']

    b = frozen_backbone(setting / 'b.py', device='cpu')
    sums = torch.zeros(3).double()
    streams = [
        ImageStream(setting / 'images', 32, 4, mean=s.mean, std=s.std, limit=8) for s in (a, b)
    ]
    for left, right in zip(*streams, strict=True):
        x, y = layer_features(a.backbone, left)[2], layer_features(b.backbone, right)[1]
        for place, (f, g) in enumerate(((x, y), (x, x), (y, y))):
            k, m = (z.flatten(1).double() @ z.flatten(1).double().T for z in (f, g))
            k, m = k - torch.diag(k.diag()), m - torch.diag(m.diag())
            # (n - 1)(n - 2) = 6, 2 / (n - 2) = 1 and n (n - 3) = 4 for four images.
            sums[place] += ((k @ m).trace() + k.sum() * m.sum() / 6 - (k @ m).sum()) / 4
    expected = sums[0] / (sums[1] * sums[2]).sqrt()
    assert metadata['matrix'][2][1] == pytest.approx(expected.item(), abs=1e-5)
    with np.load(setting / 'out/cka.npz', allow_pickle=False) as arrays:
        assert arrays['matrix'].tolist() == metadata['matrix']
    assert cv2.imread(str(setting / 'out/cka.png')).std() > 5


def test_fourier_of_several_networks(setting: Path, call_tool: Callable[..., tuple]) -> None:
    words = ['--images', setting / 'images', '--batch-size', '4', '--limit', '6', '--size', '64']
    words += ['--model', setting / 'a.py', 'none', 'A', '--model', setting / 'hiera.py', 'none']
    status, out, err = call_tool('analysis_tools/fourier.py', *words, '--out', setting / 'out')
    assert status == 0, err
    plain = json.loads((setting / 'out/fourier_a.json').read_text())
    assert (plain['kind'], plain['images'], plain['features']) == ('fourier', 6, 'block')
    assert plain['frequency'] == [0, 0.25, 0.5, 0.75, 1]
    assert np.shape(plain['relative_log_amplitude']) == (4, 5)
    assert [row[0] for row in plain['relative_log_amplitude']] == [0] * 4
    # Images were enlarged from 6 x 6 px, so that fine detail is weak.
    assert max(plain['highest']) < -0.5
    assert [row[3] for row in plain['relative_log_amplitude']] == plain['authors_highest']
    assert f'{plain["highest"][3]:.3f}' in out
    hiera = json.loads((setting / 'out/fourier_hiera.json').read_text())
    assert hiera['model']['title'] == 'hiera'
    assert hiera['frequency'] is None
    assert hiera['sides'] == [16, 16, 8, 4, 2]
    with np.load(setting / 'out/fourier_a.npz', allow_pickle=False) as arrays:
        assert arrays['layer_2'][1].tolist() == plain['relative_log_amplitude'][2]
    assert cv2.imread(str(setting / 'out/fourier.png')).std() > 5


def test_one_network_and_normalised_features(
    setting: Path, call_tool: Callable[..., tuple]
) -> None:
    words = [setting / 'b.py', 'none', '--title', 'One', '--images', setting / 'images']
    words += ['--batch-size', '5', '--features', 'norm', '--out', setting / 'out']
    status, _, err = call_tool('analysis_tools/fourier.py', *words)
    assert status == 0, err
    found = json.loads((setting / 'out/fourier.json').read_text())
    assert (found['model']['title'], found['features'], found['images']) == ('One', 'norm', 11)


def test_wrong_usage_is_named(setting: Path, call_tool: Callable[..., tuple]) -> None:
    images = ['--images', setting / 'images']
    pair = [setting / 'a.py', 'none', setting / 'b.py', 'none']
    cases = {
        'fewer than one batch of 12': ['cka', *pair, *images, '--batch-size', '12'],
        'the unbiased estimator needs 4': ['cka', *pair, *images, '--batch-size', '3'],
        'takes multiples of 8 px; take 40': ['cka', *pair, *images, '--size', '42'],
        'nowhere: no such folder': ['cka', *pair, '--images', setting / 'nowhere'],
        'give CONFIG CHECKPOINT, or --model': ['fourier', *images],
        'needs CONFIG CHECKPOINT [TITLE]': ['fourier', *images, '--model', 'a.py'],
        'two models would write fourier_a.json': [
            *('fourier', *images, '--model', setting / 'a.py', 'none'),
            *('--model', setting / 'a.py', 'none'),
        ],
    }
    for message, (tool, *words) in cases.items():
        status, _, err = call_tool(f'analysis_tools/{tool}.py', *words)
        assert status == 2
        assert message in err
