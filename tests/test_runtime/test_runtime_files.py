"""Exported files in their runtimes: what is found, without torch, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

import lightvit_dense_runtime as runtime
from lightvit_dense.errors import UserError
from lightvit_dense_runtime.metadata import KEYS, parse
from tracking.runtime.tracker import Tracker
from tracking.tools import track_video

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/deploy.md').read_text(encoding='utf-8').partition('## Run a file')[2]
WITHOUT_TORCH = f"""
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'timm', 'lightvit_dense', 'tracking'):
            raise ImportError(f'{{name}} is blocked')

sys.meta_path.insert(0, Blocked())
{PAGE.split('```python')[1].split('```')[0]}
print(json.dumps([int(found.masks.sum()), *([*box, score] for box, score in followed)]))
"""


class Graph(torch.nn.Module):
    """Finds what is bright, as an exported file does; ``text`` is what that says of itself."""

    def __init__(self, task, **changes):
        super().__init__()
        self.shapes, outputs = dict(image=[1, None, None, 3]), ['scores']
        if task == 'detection':
            outputs = ['boxes', 'scores', 'labels', 'masks']
        elif task == 'tracking':
            outputs = ['found', 'cells']
            self.shapes = dict(template=[32, 32, 3], box=[4], search=[64, 64, 3])
        about = dict.fromkeys(KEYS) | dict(format=1, task=task, precision='fp32')
        about |= dict(classes=['dark', 'light'], outputs=[dict(name=name) for name in outputs])
        about |= dict(limits=dict(min_size=[2, 2], max_size=[256, 256]), margin=10, window=True)
        about |= dict(template_size=32, search_size=64, template_factor=2, search_factor=4)
        dtypes = {name: 'float32' if name == 'box' else 'uint8' for name in self.shapes}
        about['inputs'] = [dict(name=n, dtype=dtypes[n], shape=s) for n, s in self.shapes.items()]
        self.task, self.outputs, self.text = task, outputs, json.dumps(about | changes)
        self.example = tuple(
            torch.full([side or 24 for side in shape], 255, dtype=getattr(torch, dtypes[name]))
            for name, shape in self.shapes.items()
        )

    def forward(self, *images):
        if self.task == 'classification':
            return images[0].float().mean((1, 2, 3))[None]
        mask = images[-1].float().mean(-1) > 128
        *_, y, x = torch.where(mask)
        box = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
        one = torch.ones(1, dtype=torch.int64)
        if self.task == 'tracking':
            return torch.cat([box[:2], box[2:] - box[:2], one * 0.75]), one
        return box[None], one * 0.5, one, mask.byte()

    def write(self, path):
        names, axes = [*self.shapes], {'image': {1: 'height', 2: 'width'}}
        axes = {name: axes[name] for name in names if name in axes}
        options = dict(input_names=names, output_names=self.outputs, dynamic_axes=axes)
        torch.onnx.export(self, self.example, str(path), **options, dynamo=False)
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {'lightvit_dense': self.text})
        onnx.save(model, str(path))
        return path


def picture(x, y, width, height):
    image = np.full((160, 200, 3), 20, np.uint8)
    image[y : y + height, x : x + width] = 250
    return image


def test_the_page_runs_without_torch(tmp_path):
    # A rectangle that moves and grows.
    boxes = np.array([60, 40, 24, 16]) + np.arange(8)[:, None] * [6, 4, 2, 1]
    frames = [picture(*box) for box in boxes]
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'{number:04d}.png'), frame)
    Graph('detection').write(tmp_path / 'detector.onnx')
    file = Graph('tracking').write(tmp_path / 'tracker.onnx')
    words, env = [sys.executable, '-c', WITHOUT_TORCH], os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown, found = done.stdout.splitlines()
    assert shown == 'light 0.5 [60. 40. 84. 56.]'
    pixels, *followed = json.loads(found)
    assert pixels == 24 * 16
    # A pixel of the search crop is one or two of the frame.
    np.testing.assert_allclose(followed, np.insert(boxes[1:].astype(float), 4, 0.75, 1), atol=3)
    # With torch the same file gives the same boxes.
    tracker = Tracker(file)
    tracker.init(frames[0], [boxes[0], boxes[0]])
    for frame, row in zip(frames[1:], followed, strict=True):
        assert [[*one.box, one.score] for one in tracker.update_all(frame)] == [row, row]
    words = [str(tmp_path), '--model', str(file), '--box', *['60', '40', '24', '16'], '--json']
    assert track_video.main([*words, str(tmp_path / 'found.json')]) == 0
    told = json.loads((tmp_path / 'found.json').read_text())
    assert told['frames'][3]['box'] == pytest.approx(followed[2][:4], abs=1e-4)
    for call, message in (
        (lambda: tracker.attention(frames[0]), 'attention needs the config'),
        (lambda: Tracker(file, 'weights.pth'), 'it takes device and threads alone'),
    ):
        with pytest.raises(UserError, match=message):
            call()


def as_openvino(graph, path):
    import openvino

    model = openvino.convert_model(graph.write(path))
    model.set_rt_info(graph.text, ['lightvit_dense'])
    openvino.save_model(model, path.with_suffix('.xml'), compress_to_fp16=False)
    return path.with_suffix('.xml')


def as_executorch(graph, path):
    from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(
        torch.export.export(graph, graph.example),
        constant_methods={'metadata': torch.tensor([*graph.text.encode()], dtype=torch.uint8)},
    )
    path.with_suffix('.pte').write_bytes(program.to_executorch().buffer)
    return path.with_suffix('.pte')


def needs(package, value):
    missing = find_spec(package) is None
    return pytest.param(value, marks=pytest.mark.skipif(missing, reason=f'needs {package}'))


WAYS = dict(onnxruntime=Graph.write, openvino=as_openvino, executorch=as_executorch)


@pytest.mark.parametrize('write', [needs(*item) for item in WAYS.items()])
def test_every_runtime_computes_the_same(tmp_path, write):
    file = write(Graph('classification'), tmp_path / 'file.onnx')
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    np.testing.assert_allclose(runtime.load(file, threads=1)(image), [image.mean()], rtol=1e-5)
    with pytest.raises(UserError, match=r"the provider 'tpu' is not there; there are .*(?i:cpu)"):
        runtime.open_model(file, 'tpu')
    with pytest.warns(UserWarning, match=r"provider 'tpu' is not there: (?i:cpu)\w* computes inst"):
        assert 'cpu' in runtime.open_model(file, 'tpu', fallback=True).provider.lower()
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match=r'file\.\w+: \w+ cannot read it .*damaged or truncated'):
        runtime.open_model(file)


def test_what_is_refused(tmp_path):
    file = Graph('classification').write(tmp_path / 'file.onnx')
    tracking = Graph('tracking').write(tmp_path / 'tracker.onnx')
    (tmp_path / 'bare.onnx').write_bytes(file.read_bytes().replace(b'lightvit_dense', b'x' * 14))
    classifier, image = runtime.Classifier(file), np.zeros((8, 8, 3), np.uint8)
    told = Graph('classification').text
    for call, message in (
        (lambda: runtime.load(tmp_path / 'gone.onnx'), r'gone\.onnx: does not exist; write it'),
        (lambda: runtime.load('model.pth'), r'model\.pth: exported files end in \.onnx, \.xml'),
        (lambda: runtime.load(tmp_path / 'bare.onnx'), 'is no file that lightvit_dense exported'),
        (lambda: parse(told.replace('1', '2'), 'file'), 'of format 2, .* format 1; install versi'),
        (lambda: parse(told[:-9], 'file'), r'file: its metadata are damaged; export'),
        (lambda: parse('{"format": 1}', 'file'), 'its metadata lack checkpoint, checkpoint_sha256'),
        (lambda: runtime.Detector(file), 'is for classification, not .*; open it with Classifier'),
        (lambda: runtime.load(file, threads=0), 'threads=0: must be positive'),
        (lambda: runtime.load(tracking).track(image), r'no target yet: call init'),
        (lambda: runtime.load(tracking).init(image[..., :2], (1, 1, 4, 4)), 'a frame must be'),
        (lambda: classifier(image[..., 0]), r'RGB.* converts grey.* got uint8 \[1, 8, 8\]'),
        (lambda: classifier(image[..., [0, 1, 2, 0]]), r'any, 3\] in RGB.* got .*8, 4\]'),
        (lambda: classifier(image.astype(np.float32)), r'got float32 \[1, 8, 8, 3\]'),
        (lambda: classifier([[0]]), r'got int64 \[1, 1, 1\]'),
        (lambda: classifier(image[:1]), r'\[2, 2\] to \[256, 256\].*got \[1, 8\]; resize'),
        (lambda: classifier.network(picture=image), 'takes the inputs image, got picture'),
    ):
        with pytest.raises(UserError, match=message):
            call()


HEADERS = [*os.environ.get('CPLUS_INCLUDE_PATH', '').split(':'), '/usr/include/onnxruntime']
HAS_HEADERS = any(Path(folder, 'onnxruntime_cxx_api.h').is_file() for folder in HEADERS)
LIBRARY = next(Path(find_spec('onnxruntime').origin).parent.glob('capi/libonnxruntime.so.*'), None)
CAN_COMPILE = shutil.which('g++') and HAS_HEADERS and LIBRARY


@pytest.mark.skipif(not CAN_COMPILE, reason="needs g++ and ONNX Runtime's C++ headers")
def test_the_program_of_the_page_in_cpp(tmp_path):
    (tmp_path / 'detect.cpp').write_text(PAGE.split('```cpp')[1].split('```')[0])
    (tmp_path / 'libonnxruntime.so.1').symlink_to(LIBRARY)
    words = ['g++', '-std=c++17', f'-I{HEADERS[-1]}', 'detect.cpp', 'libonnxruntime.so.1']
    subprocess.run([*words, '-Wl,-rpath,.', '-o', 'detect'], check=True, cwd=tmp_path)
    file = Graph('detection').write(tmp_path / 'detector.onnx')
    cv2.imwrite(str(tmp_path / 'photo.ppm'), picture(60, 40, 24, 16))
    words = ['./detect', file, 'photo.ppm']
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == [Graph('detection').text, '1 0.5 60 40 84 56']
