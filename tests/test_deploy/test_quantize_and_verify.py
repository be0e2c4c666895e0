"""Files in 8 bits, their proof on a data set, and their card."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from lightvit_dense.deploy import describe, export
from lightvit_dense.deploy.card import write_card
from lightvit_dense.deploy.data import sample_inputs
from lightvit_dense.deploy.export import trace
from lightvit_dense.deploy.file_model import file_inferencer
from lightvit_dense.deploy.graph import Graph
from lightvit_dense.deploy.quantize import quantize_onnx
from lightvit_dense.deploy.verify import evaluate, verify
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense_runtime import open_model
from tests.helpers.data_sets import write_image
from tests.helpers.models import MEAN, STD, vit
from tests.helpers.tools import call_tool

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

SIDE = 16


class Twin(Graph):
    """A classifier by the mean colour, which is also the model in a test loop."""

    task, output_names = 'classification', ('scores',)

    def __init__(self) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in ((3, 64), (64, 64), (64, 2)))

    def forward(self, image: Tensor) -> Tensor:
        x = image.float().mean((1, 2)) / 255
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x).softmax(-1)

    def test_step(self, data: Any) -> list:
        scores = self(torch.stack(list(data['inputs'])).permute(0, 2, 3, 1))
        for sample, score in zip(data['data_samples'], scores.detach(), strict=True):
            sample.pred_score = score
        return data['data_samples']


def write_onnx(twin: Twin, path: Path) -> Path:
    """Write a twin by hand, which is quicker than tracing it."""
    make, numbers = onnx.helper.make_node, onnx.numpy_helper.from_array
    constants = [numbers(np.float32(255), 'white'), numbers(np.int64([1, 2]), 'axes')]
    nodes = [
        make('Cast', ['image'], ['pixels'], to=1),
        make('ReduceMean', ['pixels', 'axes'], ['mean'], keepdims=0),
        make('Div', ['mean', 'white'], ['x0']),
    ]
    for n, layer in enumerate(twin.layers):
        constants += [
            numbers(layer.weight.detach().t().contiguous().numpy(), f'w{n}'),
            numbers(layer.bias.detach().numpy(), f'b{n}'),
        ]
        kind, out = ('Relu', f'x{n + 1}') if n < 2 else ('Softmax', 'scores')
        nodes += [
            make('MatMul', [f'x{n}', f'w{n}'], [f'p{n}'], name=f'layer{n}'),
            make('Add', [f'p{n}', f'b{n}'], [f's{n}']),
            make(kind, [f's{n}'], [out]),
        ]
    value = onnx.helper.make_tensor_value_info
    image, scores = value('image', 2, ['n', 'h', 'w', 3]), value('scores', 1, ['n', 2])
    graph = onnx.helper.make_graph(nodes, 'twin', [image], [scores], constants)
    opset = [onnx.helper.make_opsetid('', 20)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    about = dict.fromkeys(('version', 'config', 'checkpoint', 'checkpoint_sha256'), '')
    about |= dict(format=1, task='classification', precision='fp32', limits={})
    about['classes'] = ['dark', 'light']
    about['inputs'] = [dict(name='image', dtype='uint8', shape=[None, None, None, 3])]
    about['outputs'] = [dict(name='scores', dtype='float32', shape=[None, 2])]
    onnx.helper.set_model_props(model, dict(lightvit_dense=json.dumps(about)))
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('world')
    for n in range(6):
        kind = ('dark', 'light')[n % 2]
        write_image(root / 'train' / kind / f'{n}.png', (24, 20), seed=n)
        write_image(root / 'val' / kind / f'{n}.png', (SIDE, SIDE), seed=10 + n)
    return root


def config(root: Path, color: str = 'rgb') -> Config:
    def loader(part: str, *steps: dict) -> dict:
        pipeline = [dict(type='lightvit_dense.LoadImage', color=color), *steps]
        pipeline.append(dict(type='lightvit_dense.PackImage'))
        data = dict(type='lightvit_dense.ImageNet', data_root=str(root), img_dir=part)
        sampler = dict(type='DefaultSampler', shuffle=False)
        return dict(batch_size=2, sampler=sampler, dataset=dict(data, pipeline=pipeline))

    crop = dict(type='lightvit_dense.CenterResizedCrop', size=SIDE, ratio=1.0)
    return Config(
        dict(
            model=dict(
                type='lightvit_dense.ImageClassifier',
                backbone=vit(),
                head=dict(num_classes=2),
                data_preprocessor=dict(type='mmengine.BaseDataPreprocessor'),
            ),
            train_dataloader=loader('train', dict(type='lightvit_dense.RandomFlipFlag', prob=0.5)),
            val_dataloader=loader('val', crop),
            test_dataloader=loader('val', crop),
            test_cfg=dict(),
            test_evaluator=dict(type='lightvit_dense.Accuracy', topk=(1,)),
        )
    )


@pytest.mark.parametrize('color', ['rgb', 'bgr'])
def test_calibration_takes_training_images_as_they_are(world: Path, color: str) -> None:
    found = sample_inputs(config(world, color), 3)
    files = sorted((world / 'train').rglob('*.png'))
    wanted = [cv2.imread(str(files[place]))[None, ..., ::-1] for place in (0, 2, 5)]
    assert [list(arrays) for arrays in found] == [['image']] * 3
    for arrays, image in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(arrays['image'], image)


def test_calibration_needs_data(world: Path) -> None:
    with pytest.raises(UserError, match='no val_dataloader'):
        sample_inputs(Config(dict(train_dataloader=config(world).train_dataloader)), 3, 'val')


@pytest.fixture(scope='module')
def files(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Twin, Path, Path, list]:
    folder, twin = tmp_path_factory.mktemp('files'), Twin().eval()
    with torch.no_grad():
        twin.layers[1].weight *= torch.linspace(0.001, 3, 64)[None]  # spoils the scale of its input
    source = write_onnx(twin, folder / 'fp32.onnx')
    inputs, body = sample_inputs(config(world), 6), {'layer0', 'layer1'}
    floats = quantize_onnx(source, folder / 'int8.onnx', inputs, body)
    return twin, source, folder / 'int8.onnx', floats


def test_int8_is_of_the_body_and_close(files: tuple, world: Path) -> None:
    _, source, target, floats = files
    kinds = [node.op_type for node in onnx.load(str(target)).graph.node]
    assert kinds.count('QuantizeLinear') == 1  # the last layer is none of the body
    assert [name.partition('/')[0] for name in floats] == ['layer1']
    exact, coarse = open_model(source), open_model(target)
    assert coarse.metadata == exact.metadata
    for arrays in sample_inputs(config(world), 6, 'val'):
        np.testing.assert_allclose(coarse(**arrays)['scores'], exact(**arrays)['scores'], atol=0.01)


def test_int8_of_executorch(files: tuple, world: Path, tmp_path: Path) -> None:
    twin, source, _, _ = files
    twin.body, about = ('layers.0', 'layers.1'), describe(twin, 'c.py', source)
    inputs = sample_inputs(config(world), 6)
    nodes = [str(node.target) for node in trace(twin, 'executorch', inputs).graph.nodes]
    assert sum('dequantize_per_channel' in name for name in nodes) == 2
    coarse = open_model(export(twin, tmp_path / 'a.pte', 'executorch', about, 'int8', inputs))
    for arrays in sample_inputs(config(world), 6, 'val'):
        scores = open_model(source)(**arrays)['scores']
        np.testing.assert_allclose(coarse(**arrays)['scores'], scores, atol=0.01)
    with pytest.raises(UserError, match=r'int8 is calibrated by images that the file takes: .*4'):
        trace(twin, 'executorch', [dict(image=np.zeros((1, 2, 9, 3), np.uint8))])


def test_file_and_model_meet_the_same_evaluator(files: tuple, world: Path) -> None:
    twin, source, _, _ = files
    found = verify(source, config(world), twin, twin)
    assert found.before == found.after == evaluate(config(world), twin)
    assert found.passed
    assert found.differences['scores'] < 1e-6
    (seen,) = file_inferencer(source)(np.zeros((SIDE, SIDE, 3), np.uint8))
    scores = twin(torch.zeros(1, SIDE, SIDE, 3)).tolist()[0]
    assert dict(seen.top()) == pytest.approx(dict(dark=scores[0], light=scores[1]))
    card = write_card(source, 'tools/deploy/export.py x', found)
    text = card.read_text()
    assert card.name == 'fp32.onnx.md'
    for part in ('accuracy/top1', 'sha256', '0.05 points, holds', 'tools/deploy/export.py x'):
        assert part in text
    assert '*not run*' in write_card(source, '').read_text()


def test_a_drop_beyond_the_bound_fails(files: tuple, world: Path) -> None:
    twin, source, _, _ = files
    known = dict.fromkeys(evaluate(config(world), twin, limit=2), 200.0)
    found = verify(source, config(world), twin, twin, limit=2, bound=1.0, before=known)
    assert not found.passed
    assert 'is exceeded' in write_card(source, '', found).read_text()


def test_the_tool_writes_a_file_with_names_and_tells_of_a_drop(world: Path, tmp_path: Path) -> None:
    cfg = config(world)
    cfg.default_scope, cfg.test_dataloader.dataset.metainfo = (
        'mmdet',
        dict(classes=['day', 'night']),
    )
    cfg.model.data_preprocessor = dict(type='lightvit_dense.ImagePreprocessor', mean=MEAN, std=STD)
    cfg.dump(tmp_path / 'tiny.py')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'tiny.pth')
    words = ['deploy/export.py', tmp_path / 'tiny.py', tmp_path / 'tiny.pth', '--out']
    file = tmp_path / 'tiny.onnx'
    text = call_tool(*words, file, '--limit', 2, '--bound', -100, '--verify', status=1)
    assert 'classification from tiny.pth, ' in text
    assert 'error: a metric drops by more than -100 points, see ' in text
    assert 'WARNING' not in text
    card = Path(f'{file}.md').read_text()
    assert 'a drop, -100 points, **is exceeded: do not use this file**' in card
    assert 'on the first 2 of them' in card
    assert open_model(file).metadata['classes'] == ['day', 'night']
    assert 'ends in .xml' in call_tool(*words, 'a.onnx', '--to', 'openvino', status=2)
