"""The tools of the papers' analyses: what they write, and what they say to wrong words."""

import json
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightvit_dense.apis import frozen_backbone
from lightvit_dense.registry import MODELS
from lightvit_dense.representation import ImageStream, layer_features
from lightvit_dense.representation.cka import MinibatchCKA
from tests.helpers import models
from tests.helpers.attention_models import attention_agreement, attention_stats
from tests.helpers.tools import call_tool

CKA, FOURIER = 'analysis_tools/cka.py', 'analysis_tools/fourier.py'
STATS, AGREEMENT = 'analysis_tools/attention_stats.py', 'analysis_tools/attention_agreement.py'


def vit(heads: int = 2, width: int = 24, depth: int = 2, size: int = 32) -> dict[str, Any]:
    return models.vit(width, depth, heads, img_size=size, pos_embed='learned')


def write(path: Path, backbone: dict[str, Any], mean: float = 127.5, **more: Any) -> None:
    pixels = dict(type='lightvit_dense.ImagePreprocessor', mean=[mean] * 3, std=[60.0] * 3)
    model = dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=dict(num_classes=3))
    path.write_text(f'model = {model | more | dict(data_preprocessor=pixels)!r}\n')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven smooth images, configs of several networks, one with a teacher inside, and weights."""
    root = tmp_path_factory.mktemp('world')
    generator = np.random.default_rng(0)
    for number in range(11):
        folder = root / 'images' / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        small = generator.integers(0, 255, (6, 6, 3), np.uint8)
        image = cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f'{number}.png'), image)
    write(root / 'three.py', vit(3))
    write(root / 'two.py', vit(2), distiller=dict(teacher=vit(3)))
    write(root / 'wide.py', vit(2, size=64))
    write(root / 'deep.py', vit(depth=3) | dict(init='timm'))
    write(root / 'other.py', vit(width=16) | dict(init='timm'), mean=100.0)
    write(root / 'hiera.py', models.hiera(stages=(1, 1, 1, 1)))
    save_file(make(3).state_dict(), root / 'three.safetensors')
    return root


def make(heads: int) -> Any:
    torch.manual_seed(heads)
    return MODELS.build(vit(heads)).eval()


def stream(world: Path, size: int = 32, mean: float = 127.5, **options: Any) -> ImageStream:
    return ImageStream(world / 'images', size, 4, mean=[mean] * 3, std=[60.0] * 3, **options)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_cka_of_two_networks_is_that_of_their_features(world, tmp_path):
    a = frozen_backbone(world / 'deep.py', device='cpu', seed=5)
    torch.save(a.backbone.state_dict(), tmp_path / 'a.pth')
    words = [world / 'deep.py', tmp_path / 'a.pth', world / 'other.py', 'none', '--batch-size', '4']
    words += ['--images', world / 'images', '--limit', '0', '--out', tmp_path]
    out = call_tool(CKA, *words, '--titles', 'first', 'other net')
    metadata = read(tmp_path / 'cka.json')
    assert metadata | dict(kind='cka', images=8, left_out=3, size=32) == metadata
    assert 'the last 3 images are too few for a batch' in out
    told = [(m['title'], m['layers'], bool(m['sha256'])) for m in metadata['models']]
    assert told == [('first', [0, 1, 2, 3], True), ('other net', [0, 1, 2], False)]
    assert metadata['peak_memory_mb'] > 0
    assert metadata['environment']['versions']['torch']

    b = frozen_backbone(world / 'other.py', device='cpu')
    streams = [stream(world, mean=mean, limit=8) for mean in (127.5, 100.0)]
    measured = MinibatchCKA()
    for left, right in zip(*streams, strict=True):
        measured.add(layer_features(a.backbone, left), layer_features(b.backbone, right))
    np.testing.assert_allclose(metadata['matrix'], measured.matrix(), atol=1e-5)
    with np.load(tmp_path / 'cka.npz', allow_pickle=False) as arrays:
        assert arrays['matrix'].tolist() == metadata['matrix']
    assert cv2.imread(str(tmp_path / 'cka.png')).std() > 5


def test_fourier_of_several_networks(world, tmp_path):
    words = ['--images', world / 'images', '--batch-size', '4', '--limit', '6', '--size', '64']
    words += ['--model', world / 'deep.py', 'none', 'A', '--model', world / 'hiera.py', 'none']
    out = call_tool(FOURIER, *words, '--out', tmp_path)
    plain = read(tmp_path / 'fourier_a.json')
    assert (plain['kind'], plain['images'], plain['features']) == ('fourier', 6, 'block')
    assert plain['frequency'] == [0, 0.25, 0.5, 0.75, 1]
    assert np.shape(plain['relative_log_amplitude']) == (4, 5)
    assert [row[0] for row in plain['relative_log_amplitude']] == [0] * 4
    # Images were enlarged from 6 x 6 px, so that fine detail is weak.
    assert max(plain['highest']) < -0.5
    assert [row[3] for row in plain['relative_log_amplitude']] == plain['authors_highest']
    assert f'{plain["highest"][3]:.3f}' in out
    hiera = read(tmp_path / 'fourier_hiera.json')
    assert (hiera['model']['title'], hiera['frequency']) == ('hiera', None)
    assert hiera['sides'] == [16, 16, 8, 4, 2]
    with np.load(tmp_path / 'fourier_a.npz', allow_pickle=False) as arrays:
        assert arrays['layer_2'][1].tolist() == plain['relative_log_amplitude'][2]
    assert cv2.imread(str(tmp_path / 'fourier.png')).std() > 5

    # One network, normalised features.
    words = [world / 'other.py', 'none', '--title', 'One', '--images', world / 'images']
    words += ['--batch-size', '5', '--features', 'norm', '--out', tmp_path]
    call_tool(FOURIER, *words)
    found = read(tmp_path / 'fourier.json')
    assert (found['model']['title'], found['features'], found['images']) == ('One', 'norm', 11)


def test_stats_of_one_network_are_in_one_file(world, tmp_path):
    words = [world / 'three.py', world / 'three.safetensors', '--title', 'MAE', '--device', 'cpu']
    words += ['--images', world / 'images', '--batch-size', 4, '--out', tmp_path]
    out = call_tool(STATS, *words)
    found = read(tmp_path / 'attention.json')
    expected = attention_stats(make(3), stream(world))
    for number, (row, layer) in enumerate(zip(found['layers'], expected, strict=True), 1):
        assert row['distance'] == pytest.approx(layer.distance, rel=1e-5)
        assert row['entropy'] == pytest.approx(layer.entropy, rel=1e-5)
        assert row | dict(layer=number, tokens=16, patch=8, max_entropy=math.log(16)) == row
    assert found | dict(kind='attention', images=11, batch_size=4, size=32, seed=0) == found
    assert (found['model']['title'], len(found['model']['sha256'])) == ('MAE', 64)
    assert found['seconds'] > 0
    assert found['peak_memory_mb'] > 0
    with np.load(tmp_path / 'attention.npz', allow_pickle=False) as arrays:
        assert arrays['layers'].tolist() == [1, 2]
        assert arrays['entropy'][1].tolist() == found['layers'][1]['entropy']
    assert (tmp_path / 'attention.png').stat().st_size > 1000
    assert f'wrote {tmp_path / "attention.json"}' in out
    assert f'{found["layers"][0]["entropy"][0]:.2f}' in out


def test_agreement_with_the_teacher_of_a_config(world, tmp_path):
    words = [world / 'two.py', 'none', 'teacher', world / 'three.safetensors', '--pairs', 'all']
    words += ['--images', world / 'images', '--batch-size', 4, '--device', 'cpu']
    out = call_tool(AGREEMENT, *words, '--out', tmp_path)
    found = read(tmp_path / 'agreement.json')
    pairs = [(x['student'], x['teacher']) for x in found['pairs']]
    assert pairs == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [model['title'] for model in found['models']] == ['two', 'teacher']
    with np.load(tmp_path / 'agreement.npz', allow_pickle=False) as arrays:
        assert arrays['js'].ravel().tolist() == [x['js'] for x in found['pairs']]
    assert (tmp_path / 'agreement.png').stat().st_size > 1000
    assert f'{found["pairs"][3]["kl"]:.4f}' in out

    # The same weights on both sides, as two configs; other heads see the same tokens otherwise.
    words = [world / 'three.py', world / 'three.safetensors', world / 'two.py']
    words += [world / 'three.safetensors', '--titles', 'three', 'two', '--images', world / 'images']
    call_tool(AGREEMENT, *words, '--batch-size', 5, '--out', tmp_path)
    (pair,) = read(tmp_path / 'agreement.json')['pairs']
    two = make(2)
    two.load_state_dict(make(3).state_dict())
    both = ((batch, batch) for batch in stream(world))
    (expected,) = attention_agreement(make(3), two, both)
    assert pair['js'] == pytest.approx(expected.js, rel=1e-4)
    assert pair['explained'] == pytest.approx(expected.explained, rel=1e-4)

    # Different token counts are cured as the message says.
    words = [world / 'three.py', 'none', world / 'wide.py', 'none', '--images', world / 'images']
    words += ['--batch-size', 5, '--out', tmp_path, '--size', 32, 32]
    call_tool(AGREEMENT, *words)
    assert read(tmp_path / 'agreement.json')['size'] == 32


@pytest.mark.parametrize(
    ('tool', 'words', 'message'),
    [
        (STATS, ['three.py'], 'CONFIG CHECKPOINT'),
        (STATS, ['--model', 'three.py', 'none', '--model', 'three.py', 'none'], 'a title'),
        (STATS, ['three.py', 'none', '--size', '36'], 'multiples of 8 px'),
        (STATS, ['three.py', 'none', '--layers', '3'], 'layers 1 to 2'),
        (STATS, ['three.py', 'none', '--size', '32', '64'], '--size has 2 values for 1 models'),
        (AGREEMENT, ['three.py', 'none', 'two.py'], 'CHECKPOINT_B'),
        (AGREEMENT, ['three.py', 'none', 'teacher'], 'no model.distiller.teacher'),
        (AGREEMENT, ['two.py', 'none', 'teacher'], 'names no checkpoint of its teacher'),
        (AGREEMENT, ['three.py', 'none', 'two.py', 'none', '--pairs', '2'], '--pairs 2'),
        (AGREEMENT, ['three.py', 'none', 'wide.py', 'none'], r'4x4 keys .* 8x8 .* --size 32 32'),
        (CKA, ['two.py', 'none', 'two.py', 'none', '--batch-size', '12'], 'than one batch of 12'),
        (CKA, ['two.py', 'none', 'two.py', 'none', '--batch-size', '3'], 'estimator needs 4'),
        (CKA, ['two.py', 'none', 'two.py', 'none', '--size', '42'], 'of 8 px; take 40'),
        (CKA, ['two.py', 'none', 'two.py', 'none', '--images', 'nowhere'], 'no such folder'),
        (FOURIER, [], 'give CONFIG CHECKPOINT, or --model'),
        (FOURIER, ['--model', 'two.py'], r'needs CONFIG CHECKPOINT \[TITLE\]'),
        (FOURIER, ['--model', 'two.py', 'none'] * 2, r'two models would write fourier_two\.json'),
    ],
)
def test_wrong_words_are_told(world, tmp_path, tool, words, message):
    words = [world / word if word.endswith('.py') else word for word in words]
    common = ['--images', world / 'images', '--batch-size', 4, '--out', tmp_path / 'out']
    out = call_tool(tool, *common, *words, '--device', 'cpu', status=2)
    assert re.search(message, out), out
    assert not (tmp_path / 'out').exists()
