"""Images of any size to what a model finds, as files of three runtimes."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.nn.functional import scaled_dot_product_attention

from lightvit_dense.deploy import check_target, describe, export, make_graph
from lightvit_dense.deploy.export import _attention
from lightvit_dense.deploy.preprocess import Preprocess
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS, TRANSFORMS
from lightvit_dense.utils.io import atomic_write
from lightvit_dense_runtime import open_model
from tests.helpers.models import MEAN, STD, classifier, hiera, randomise, swin

LOAD = dict(type='lightvit_dense.LoadImage', color='rgb')
CROP = dict(type='lightvit_dense.CenterResizedCrop', size=32)
LETTERBOX = dict(type='mmdet.Resize', scale=(128, 96), keep_ratio=True, backend='pillow')
NORMALISER = dict(type='lightvit_dense.ImagePreprocessor', mean=MEAN, std=STD)
RPE = dict(rel_pos=dict(kind='bias'))
SIZES = [(1, 37, 61), (3, 90, 35), (2, 5, 9)]


def photo(height: int, width: int) -> np.ndarray:
    """Return smooth shades with some noise, uint8 [H, W, 3]."""
    rng = np.random.default_rng(height)
    shades = rng.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3)).astype(np.uint8)
    image = cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return (image + rng.integers(-9, 9, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ('step', 'canvas', 'mean'),
    [
        (CROP | dict(size=64), None, 0.02),
        (CROP | dict(size=(48, 80), ratio=1.0), None, 0.02),
        (CROP | dict(interpolation='bilinear', backend='cv2'), None, 0.02),
        (LETTERBOX, (128, 128), 0.15),
        (LETTERBOX | dict(backend='cv2'), (128, 160), 0.02),
    ],
    ids=['bicubic', 'oblong', 'cv2', 'letterbox', 'letterbox cv2'],
)
def test_images_are_resized_as_in_testing(step: dict, canvas: Any, mean: float) -> None:
    plain = SimpleNamespace(mean=torch.zeros(3), std=torch.ones(3))
    prepare, transform = Preprocess([LOAD, step], plain, canvas), TRANSFORMS.build(step)
    for height, width in [(37, 61), (64, 64), (101, 300), (127, 131), (7, 5), (301, 203)]:
        image = photo(height, width)
        expected = transform(dict(img=image.copy(), img_shape=image.shape[:2]))['img']
        found, *size = prepare(torch.from_numpy(image)[None])
        pixels = found[0].permute(1, 2, 0).numpy()
        if canvas is not None:
            rows, columns = map(int, size)
            assert (rows, columns) == expected.shape[:2]
            assert pixels.shape[:2] == canvas
            assert not pixels[rows:].any()
            assert not pixels[:, columns:].any()
            pixels = pixels[:rows, :columns]
        difference = np.abs(pixels - expected)
        # Twice rounded, what is half a level may go either way.
        assert np.quantile(difference, 0.999) <= 1
        assert difference.max() <= 2
        assert difference.mean() < mean


def test_channels_are_those_of_the_model() -> None:
    image = torch.from_numpy(photo(32, 32))[None]
    step = CROP | dict(ratio=1.0)
    found = []
    for color, swaps in (('rgb', False), ('bgr', True), ('bgr', False)):
        normaliser = SimpleNamespace(
            mean=torch.tensor(MEAN), std=torch.tensor(STD), bgr_to_rgb=swaps
        )
        found.append(Preprocess([LOAD | dict(color=color), step], normaliser)(image)[0])
    mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in (MEAN, STD))
    torch.testing.assert_close(found[0], (image.permute(0, 3, 1, 2) - mean) / std)
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2] * std + mean, image.permute(0, 3, 1, 2).flip(1) * 1.0)


def built(backbone: dict, task: str = 'classification', *steps: dict) -> Any:
    """Build the graph of a small classifier or of its backbone."""
    cfg = Config(dict(model=dict(data_preprocessor=NORMALISER)))
    cfg.test_dataloader = dict(dataset=dict(pipeline=[LOAD, *(steps or [CROP])]))
    torch.manual_seed(0)
    alone = 'type' in backbone
    model = MODELS.build(backbone) if alone else classifier(backbone, data_preprocessor=NORMALISER)
    return make_graph(randomise(model), cfg, task=task)


def written(graph: Any, path: Path, to: str, precision: str = 'fp32') -> Any:
    """Export a graph; open the file."""
    checkpoint = path.with_name('best.pth')
    atomic_write(checkpoint, b'weights')
    about = describe(graph, 'tiny.py', checkpoint, tuple('abcde'))
    return open_model(export(graph, path, to, about, precision), threads=1)


@torch.no_grad()
def largest_difference(graph: Any, network: Any, shapes: list[tuple[int, int, int]]) -> float:
    """Compare all outputs with the graph's."""
    worst = 0.0
    for batch, height, width in shapes:
        image = np.stack([photo(height, width)] * batch)
        mine = graph(torch.from_numpy(image))
        theirs = network(image=image)
        for name, one in zip(
            graph.output_names, (mine,) if torch.is_tensor(mine) else mine, strict=True
        ):
            assert theirs[name].shape == tuple(one.shape)
            worst = max(worst, float(np.abs(one.numpy() - theirs[name]).max()))
    return worst


@pytest.mark.parametrize(
    ('backbone', 'task'),
    [({}, 'features'), (RPE, 'classification'), (hiera(), 'features'), (swin(), 'features')],
    ids=['vit', 'relative', 'hiera', 'swin'],
)
def test_onnx_computes_the_same_for_any_batch_and_size(
    backbone: dict, task: str, tmp_path: Path
) -> None:
    graph = built(backbone, task)
    network = written(graph, tmp_path / 'new' / 'model.onnx', 'onnx')
    assert largest_difference(graph, network, SIZES) < 1e-4
    about = network.metadata
    assert (about['task'], about['precision'], about['classes'][4]) == (task, 'fp32', 'e')
    assert about['inputs'] == [dict(name='image', dtype='uint8', shape=[None, None, None, 3])]
    assert [item['name'] for item in about['outputs']] == list(graph.output_names)


@pytest.mark.parametrize(
    ('to', 'precision', 'bound'),
    [
        ('openvino', 'fp32', 1e-4),
        ('executorch', 'fp32', 1e-4),
        ('openvino', 'fp16', 5e-3),
        ('onnx', 'fp16', 5e-3),
    ],
)
def test_other_runtimes_and_precisions(
    to: str, precision: str, bound: float, tmp_path: Path
) -> None:
    graph = built({})
    path = tmp_path / dict(onnx='a.onnx', openvino='a.xml', executorch='a.pte')[to]
    network = written(graph, path, to, precision)
    shapes = [(1, *size[1:]) for size in SIZES] if to == 'executorch' else SIZES
    assert largest_difference(graph, network, shapes) < bound
    assert network.metadata['precision'] == precision


@pytest.mark.parametrize('scale', [None, 1.0])
@pytest.mark.parametrize('kind', ['none', 'bias', 'tokens'])
def test_attention_of_executorch_is_that_of_torch(scale: float | None, kind: str) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, tokens, 4) for tokens in (5, 6, 6))
    tokens = torch.arange(6)[None, None] < torch.tensor([6, 4])[:, None, None, None]
    mask = dict(none=None, bias=torch.randn(3, 5, 6), tokens=tokens)[kind]
    found = _attention(query, key, value, mask, 0.0, False, scale=scale)
    expected = scaled_dot_product_attention(query, key, value, mask, scale=scale)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (('a.xml', 'onnx'), 'a.xml: the name of a file for onnx ends in .onnx'),
        (('a.pte', 'executorch', 'fp16'), 'fp16 is not written for executorch'),
        (('a.onnx', 'tensorrt'), "--to names 'tensorrt', which is unknown"),
        (('a.pte', 'executorch', 'fp8'), "--precision names 'fp8'"),
    ],
)
def test_impossible_files_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_target(*words)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(UserError, match=r'openvino is not .* "lightvit_dense\[openvino\]"'):
        check_target('a.xml', 'openvino')


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (dict(type='lightvit_dense.FixedSizeCrop'), 'has FixedSizeCrop, which'),
        (LETTERBOX, 'Resize needs the size'),
        (CROP | dict(interpolation='bicubic', backend='cv2'), "interpolation='bicubic' of cv2"),
        (LOAD, 'with one Resize or CenterResizedCrop, this one has 0'),
    ],
)
def test_pipelines_without_a_counterpart_are_refused(step: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        built({}, 'classification', step)


def test_options_are_refused_before_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = built({})
    monkeypatch.setattr(graph, 'refuse', lambda to: f'{to} has no such thing')
    monkeypatch.setattr(graph, 'example', lambda: pytest.fail('traced'))
    with pytest.raises(UserError, match='onnx has no such thing'):
        export(graph, 'a.onnx', 'onnx', {})
