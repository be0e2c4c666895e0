"""The tools of attention: what they write, and what they say to wrong words."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lightvit_dense.registry import MODELS
from lightvit_dense.representation import ImageStream
from lightvit_dense.representation.agreement import attention_agreement
from lightvit_dense.representation.attention import attention_stats

BACKBONE = """dict(
    type='lightvit_dense.VisionTransformer',
    arch=dict(embed_dim=24, depth=2, num_heads={heads}),
    img_size={size},
    patch_size=8,
)"""
CONFIG = """
model = dict(
    type='lightvit_dense.ImageClassifier',
    backbone={backbone},
    head=dict(num_classes=3),
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor', mean=[127.5] * 3, std=[60.0] * 3
    ),
    {distiller}
)
"""
STATS, AGREEMENT = 'analysis_tools/attention_stats.py', 'analysis_tools/attention_agreement.py'


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Ten images, a config of three heads, one of two with a teacher inside, and weights."""
    root: Path = tmp_path_factory.mktemp('attention')
    pixels = np.random.default_rng(0).integers(0, 256, (10, 40, 36, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        folder = root / 'images' / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f'{number}.png')
    three, two, wide = (
        BACKBONE.format(heads=heads, size=size) for heads, size in ((3, 32), (2, 32), (2, 64))
    )
    distiller = f'distiller=dict(teacher={three}),'
    (root / 'three.py').write_text(CONFIG.format(backbone=three, distiller=''))
    (root / 'two.py').write_text(CONFIG.format(backbone=two, distiller=distiller))
    (root / 'wide.py').write_text(CONFIG.format(backbone=wide, distiller=''))
    save_file(make(3).state_dict(), root / 'three.safetensors')
    return root


def make(heads):
    torch.manual_seed(heads)
    arch = dict(embed_dim=24, depth=2, num_heads=heads)
    options = dict(type='lightvit_dense.VisionTransformer', arch=arch, img_size=32, patch_size=8)
    return MODELS.build(options).eval()


def stream(world, size=32):
    return ImageStream(world / 'images', size, 4, mean=[127.5] * 3, std=[60.0] * 3)


def read(path):
    return json.loads(path.read_text())


def test_stats_of_one_network_are_in_one_file(world, tmp_path, call_tool):
    words = [world / 'three.py', world / 'three.safetensors', '--title', 'MAE', '--device', 'cpu']
    words += ['--images', world / 'images', '--batch-size', 4, '--out', tmp_path]
    status, out, err = call_tool(STATS, *words)
    assert status == 0, err
    found = read(tmp_path / 'attention.json')
    expected = attention_stats(make(3), stream(world))
    assert [row['layer'] for row in found['layers']] == [1, 2]
    for row, layer in zip(found['layers'], expected, strict=True):
        assert row['distance'] == pytest.approx(layer.distance, rel=1e-5)
        assert row['entropy'] == pytest.approx(layer.entropy, rel=1e-5)
        assert (row['tokens'], row['patch'], row['max_entropy']) == (16, 8, math.log(16))
    assert (found['kind'], found['images'], found['batch_size']) == ('attention', 10, 4)
    assert (found['size'], found['seed'], found['model']['title']) == (32, 0, 'MAE')
    assert len(found['model']['sha256']) == 64
    assert found['seconds'] > 0
    assert found['peak_memory_mb'] > 0
    with np.load(tmp_path / 'attention.npz', allow_pickle=False) as arrays:
        assert arrays['layers'].tolist() == [1, 2]
        assert arrays['entropy'][1].tolist() == found['layers'][1]['entropy']
    assert (tmp_path / 'attention.png').stat().st_size > 1000
    assert f'wrote {tmp_path / "attention.json"}' in out
    assert f'{found["layers"][0]["entropy"][0]:.2f}' in out


def test_stats_of_several_networks_have_a_file_each(world, tmp_path, call_tool):
    words = ['--model', world / 'three.py', world / 'three.safetensors', 'D²-MAE best']
    words += ['--model', world / 'two.py', 'none', '--images', world / 'images', '--seed', 5]
    words += ['--batch-size', 5, '--layers', 2, '--px-per-token', 'authors', '--out', tmp_path]
    status, _, err = call_tool(STATS, *words, '--device', 'cpu')
    assert status == 0, err
    best, two = read(tmp_path / 'attention_d2-mae-best.json'), read(tmp_path / 'attention_two.json')
    assert [len(x['layers'][0]['distance']) for x in (best, two)] == [3, 2]
    assert [x['model']['checkpoint'] for x in (best, two)][1] == 'none'
    assert two['layers'][0]['patch'] == 14
    true = attention_stats(make(3), stream(world), [2])[0]
    expected = [value * 14 / 8 for value in true.distance]
    assert best['layers'][0]['distance'] == pytest.approx(expected, rel=1e-5)


def test_agreement_with_the_teacher_of_a_config(world, tmp_path, call_tool):
    words = [world / 'two.py', 'none', 'teacher', world / 'three.safetensors', '--pairs', 'all']
    words += ['--images', world / 'images', '--batch-size', 4, '--device', 'cpu']
    status, out, err = call_tool(AGREEMENT, *words, '--out', tmp_path)
    assert status == 0, err
    found = read(tmp_path / 'agreement.json')
    assert [(x['student'], x['teacher']) for x in found['pairs']] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert found['kind'] == 'agreement'
    assert [model['title'] for model in found['models']] == ['two', 'teacher']
    with np.load(tmp_path / 'agreement.npz', allow_pickle=False) as arrays:
        assert arrays['js'].ravel().tolist() == [x['js'] for x in found['pairs']]
    assert (tmp_path / 'agreement.png').stat().st_size > 1000
    assert f'{found["pairs"][3]["kl"]:.4f}' in out

    # The same weights on both sides, as two configs; other heads see the same tokens otherwise.
    words = [world / 'three.py', world / 'three.safetensors', world / 'two.py']
    words += [world / 'three.safetensors', '--titles', 'three', 'two', '--images', world / 'images']
    assert call_tool(AGREEMENT, *words, '--batch-size', 5, '--out', tmp_path)[0] == 0
    (pair,) = read(tmp_path / 'agreement.json')['pairs']
    two = make(2)
    two.load_state_dict(make(3).state_dict())
    both = ((batch, batch) for batch in stream(world))
    (expected,) = attention_agreement(make(3), two, both)
    assert pair['js'] == pytest.approx(expected.js, rel=1e-4)
    assert pair['explained'] == pytest.approx(expected.explained, rel=1e-4)
    assert pair['matched']['heads'] == [list(heads) for heads in expected.heads]


@pytest.mark.parametrize(
    ('tool', 'words', 'message'),
    [
        (STATS, ['three.py'], 'CONFIG CHECKPOINT'),
        (STATS, ['--model', 'three.py', 'none', '--model', 'three.py', 'none'], 'a title'),
        (STATS, ['three.py', 'none', '--size', '36'], 'multiples of 8 px'),
        (STATS, ['three.py', 'none', '--layers', '3'], 'layers 1 to 2'),
        (AGREEMENT, ['three.py', 'none', 'two.py'], 'CHECKPOINT_B'),
        (AGREEMENT, ['three.py', 'none', 'teacher'], 'no model.distiller.teacher'),
        (AGREEMENT, ['two.py', 'none', 'teacher'], 'names no checkpoint of its teacher'),
        (AGREEMENT, ['three.py', 'none', 'two.py', 'none', '--pairs', '2'], '--pairs 2'),
        (
            AGREEMENT,
            ['three.py', 'none', 'wide.py', 'none'],
            r'4x4 keys of 8 px .* 8x8 keys of 8 px .* --size 32 32',
        ),
    ],
)
def test_wrong_words_are_told(world, tmp_path, call_tool, tool, words, message):
    words = [world / word if word.endswith('.py') else word for word in words]
    words += ['--images', world / 'images', '--batch-size', 4, '--out', tmp_path / 'out']
    found, _, err = call_tool(tool, *words, '--device', 'cpu')
    assert (found, bool(re.search(message, err))) == (2, True), err
    assert not (tmp_path / 'out').exists()


def test_different_token_counts_are_cured_as_the_message_says(world, tmp_path, call_tool):
    words = [world / 'three.py', 'none', world / 'wide.py', 'none', '--images', world / 'images']
    words += ['--batch-size', 5, '--out', tmp_path, '--size', 32, 32]
    status, _, err = call_tool(AGREEMENT, *words)
    assert status == 0, err
    assert read(tmp_path / 'agreement.json')['size'] == 32
