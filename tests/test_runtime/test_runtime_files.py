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
import pytest
import torch

import lightvit_dense_runtime as runtime
from lightvit_dense.deploy import describe, export
from lightvit_dense.deploy.graph import Graph
from lightvit_dense.errors import UserError
from lightvit_dense_runtime.metadata import parse
from tests.helpers.tools import call_tool
from tracking.runtime.tracker import Tracker
from tracking.tools import track_video

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/deploy.md').read_text(encoding='utf-8').partition('## Run a file')[2]
WITHOUT_TORCH = f"""
import json, sys

blocked = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'timm', 'lightvit_dense', 'tracking')
sys.modules.update(dict.fromkeys(blocked))  # importing one is an ImportError
{PAGE.split('```python')[1].split('```')[0]}
print(json.dumps([int(found.masks.sum()), *([*box, score] for box, score in followed)]))
"""


def corners(mask):
    seen = [(mask.any(axis).long(), torch.arange(mask.shape[1 - axis])) for axis in (0, 1)]
    low = [(place + 4096 * (1 - there)).min() for there, place in seen]
    return torch.stack(low + [((place + 1) * there).max() for there, place in seen]).float()


class Finder(Graph):
    task, output_names = 'detection', ('boxes', 'scores', 'labels', 'masks')

    def __init__(self):
        torch.nn.Module.__init__(self)

    def forward(self, image):
        mask, one = image[0].float().mean(-1) > 128, torch.ones(1, dtype=torch.int64)
        return corners(mask)[None], one * 0.5, one, mask[None].byte()


class Follower(Finder):
    task, input_names, output_names = 'tracking', ('template', 'box', 'search'), ('found',)

    def example(self):
        return torch.zeros(32, 32, 3).byte(), torch.zeros(4), torch.zeros(64, 64, 3).byte()

    def dynamic_shapes(self):
        return {name: {} for name in self.input_names}

    def about(self):
        sizes = dict(template_size=32, search_size=64, template_factor=2, search_factor=4)
        return sizes | dict(window=True, margin=10)

    def forward(self, template, box, search):
        found = corners(search.float().mean(-1) > 128)
        return torch.cat([found[:2], found[2:] - found[:2], torch.full((1,), 0.75)])


def write(path, graph):
    to = {'.onnx': 'onnx', '.xml': 'openvino', '.pte': 'executorch'}[path.suffix]
    return export(graph, path, to, describe(graph, 'c.py', __file__, ['dark', 'light']))


def picture(x, y, width, height):
    image = np.full((160, 200, 3), 20, np.uint8)
    image[y : y + height, x : x + width] = 250
    return image


def lines_of(folder, *words):
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_page_runs_without_torch(tmp_path):
    boxes = np.array([60, 40, 24, 16]) + np.arange(8)[:, None] * [6, 4, 2, 1]
    frames = [picture(*box) for box in boxes]
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'{number:04d}.png'), frame)
    write(tmp_path / 'detector.onnx', Finder())
    file = write(tmp_path / 'tracker.onnx', Follower())
    shown, found = lines_of(tmp_path, sys.executable, '-c', WITHOUT_TORCH)
    pixels, *followed = json.loads(found)
    assert (shown, pixels) == ('light 0.5 [60. 40. 84. 56.]', 24 * 16)
    # A pixel of the search crop is one or two of the frame.
    np.testing.assert_allclose(followed, np.insert(boxes[1:].astype(float), 4, 0.75, 1), atol=3)
    # With torch the same file gives the same boxes.
    words = [str(tmp_path), '--model', str(file), *['--box', '60', '40', '24', '16'] * 2, '--json']
    assert track_video.main([*words, str(tmp_path / 'found.json')]) == 0
    for target in json.loads((tmp_path / 'found.json').read_text())['targets']:
        told = [[*frame['box'], frame['score']] for frame in target['frames'][1:]]
        np.testing.assert_allclose(told, followed, atol=1e-4)
    # And the command for pictures writes what a config and a checkpoint would.
    (tmp_path / 'broken.png').write_bytes(b'no picture')
    words = [tmp_path / 'broken.png', tmp_path / '0000.png', '--out', tmp_path / 'out', '--model']
    told = call_tool('infer.py', *words, tmp_path / 'detector.onnx', status=1)
    assert f'not read: {words[0]}: ' in told
    (entry,) = json.loads((tmp_path / 'out' / 'detections.json').read_text())
    assert (entry['bbox'], entry['category_id']) == ([60, 40, 24, 16], 2)
    assert (tmp_path / 'out' / 'pictures' / '0000.jpg').is_file()
    told = call_tool('infer.py', *words, file, status=2)
    assert 'tracker.onnx: is a tracker, which takes videos: lightvit track --model' in told


@pytest.mark.parametrize('name', ['file.onnx', 'file.xml'])
def test_every_runtime_finds_the_same(tmp_path, name):
    file = write(tmp_path / name, Finder())
    found = runtime.load(file, threads=1)(picture(60, 40, 24, 16))
    assert (found.boxes.tolist(), found.masks.sum()) == ([[60, 40, 84, 56]], 24 * 16)
    with pytest.raises(UserError, match=r"the provider 'tpu' is not there; there are .*(?i:cpu)"):
        runtime.open_model(file, 'tpu')
    with pytest.warns(UserWarning, match=r"provider 'tpu' is not there: (?i:cpu)\w* computes inst"):
        assert 'cpu' in runtime.open_model(file, 'tpu', fallback=True).provider.lower()
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match=r'file\.\w+: \w+ cannot read it .*damaged or truncated'):
        runtime.open_model(file)


def test_what_is_refused(tmp_path):
    file = write(tmp_path / 'file.onnx', Finder())
    tracking = write(tmp_path / 'tracker.onnx', Follower())
    (tmp_path / 'bare.onnx').write_bytes(file.read_bytes().replace(b'lightvit_dense', b'x' * 14))
    detector, image = runtime.Detector(file), np.zeros((8, 8, 3), np.uint8)
    for call, message in (
        (lambda: runtime.load(tmp_path / 'gone.onnx'), r'gone\.onnx: does not exist; write it'),
        (lambda: runtime.load('model.pth'), r'model\.pth: exported files end in \.onnx, \.xml'),
        (lambda: runtime.load(tmp_path / 'bare.onnx'), 'is no file that lightvit_dense exported'),
        (lambda: parse('{"format": 2}', 'file'), 'of format 2, .* reads format 1; install version'),
        (lambda: parse('{"format":', 'file'), r'file: its metadata are damaged; export'),
        (lambda: parse('{"format": 1}', 'file'), 'its metadata lack checkpoint, checkpoint_sha256'),
        (lambda: runtime.Segmentor(file), 'is for detection, not .*; open it with Detector'),
        (lambda: runtime.load(file, threads=0), 'threads=0: must be positive'),
        (lambda: runtime.load(tracking).track(image), r'no target yet: call init'),
        (lambda: detector(image[..., 0]), r'RGB.* converts grey.* got uint8 \[1, 8, 8\]'),
        (lambda: detector(image[..., [0, 1, 2, 0]]), r'any, 3\] in RGB.* got .*8, 4\]'),
        (lambda: detector(image[:1]), r'takes images of .*got \[1, 8\]; resize'),
        (lambda: Tracker(tracking).attention(image), 'attention needs the config'),
        (lambda: Tracker(tracking, 'weights.pth'), 'it takes device and threads alone'),
        (lambda: detector.network(picture=image), 'takes the inputs image, got picture'),
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
    lines_of(tmp_path, *words, '-Wl,-rpath,.', '-o', 'detect')
    write(tmp_path / 'detector.onnx', Finder())
    cv2.imwrite(str(tmp_path / 'photo.ppm'), picture(60, 40, 24, 16))
    about, *lines = lines_of(tmp_path, './detect', 'detector.onnx', 'photo.ppm')
    assert (json.loads(about)['task'], lines) == ('detection', ['1 0.5 60 40 84 56'])
