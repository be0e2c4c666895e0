"""Exported files in their runtimes: what is found, without torch, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import lightvit_dense_runtime as runtime
from lightvit_dense.errors import UserError
from tracking.runtime.tracker import Tracker

from . import bright_files

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg',
                                      'timm', 'lightvit_dense', 'tracking'}:
            raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Blocked())
import numpy as np
import lightvit_dense_runtime as runtime

detector, tracker = runtime.load(sys.argv[1]), runtime.load(sys.argv[2])
frames, boxes = (np.load(sys.argv[3])[name] for name in ('frames', 'boxes'))
found = detector(frames[0])
tracker.init(frames[0], boxes[0])
followed = [tracker.track(frame) for frame in frames[1:]]
print(json.dumps(dict(
    kinds=[type(detector).__name__, type(tracker).__name__],
    box=found.boxes.tolist(), label=found.classes[found.labels[0]], mask=int(found.masks.sum()),
    followed=[box.tolist() for box, _ in followed], scores=[score for _, score in followed],
)))
"""


def test_a_detection_and_a_tracking_without_torch(tmp_path):
    frames, boxes = bright_files.film()
    files = [bright_files.write(tmp_path / f'{t}.onnx', t) for t in ('detection', 'tracking')]
    np.savez(tmp_path / 'film.npz', frames=frames, boxes=boxes)
    words = [sys.executable, '-c', WITHOUT_TORCH, *files, tmp_path / 'film.npz']
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found['kinds'] == ['Detector', 'Tracker']
    assert found['box'] == [[60, 40, 84, 56]]
    assert (found['label'], found['mask']) == ('light', 24 * 16)
    # A pixel of the search crop is one or two of the frame.
    np.testing.assert_allclose(found['followed'], boxes[1:], atol=3)
    assert found['scores'] == [0.75] * 7
    # The tracker of the other package runs the same file to the same boxes.
    tracker = Tracker(files[1])
    tracker.init(frames[0], [boxes[0], boxes[0]])
    for frame, box in zip(frames[1:], found['followed'], strict=True):
        assert [one.box.tolist() for one in tracker.update_all(frame)] == [box, box]
    with pytest.raises(UserError, match='needs the config and the checkpoint'):
        tracker.attention(frames[0])


def as_openvino(file: Path) -> Path:
    import openvino

    model = openvino.convert_model(file)
    model.set_rt_info(json.dumps(bright_files.about('classification')), ['lightvit_dense'])
    openvino.save_model(model, file.with_suffix('.xml'), compress_to_fp16=False)
    return file.with_suffix('.xml')


def as_executorch(file: Path) -> Path:
    import torch
    from executorch.exir import to_edge_transform_and_lower

    class Light(torch.nn.Module):
        def forward(self, image):
            light = image.float().mean((1, 2, 3))[:, None] / 255
            return torch.cat([1 - light, light], 1)

    image = torch.zeros(1, 20, 30, 3, dtype=torch.uint8)
    about = bright_files.about('classification')
    about['inputs'][0]['shape'] = [1, 20, 30, 3]
    text = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
    program = to_edge_transform_and_lower(
        torch.export.export(Light(), (image,)), constant_methods={'metadata': text}
    )
    file.with_suffix('.pte').write_bytes(program.to_executorch().buffer)
    return file.with_suffix('.pte')


def needs(package: str):
    return pytest.mark.skipif(find_spec(package) is None, reason=f'{package} is not installed')


@pytest.mark.parametrize(
    'convert',
    [
        lambda file: file,
        pytest.param(as_openvino, marks=needs('openvino')),
        pytest.param(as_executorch, marks=needs('executorch')),
    ],
)
def test_every_runtime_computes_the_same(tmp_path, convert):
    file = convert(bright_files.write(tmp_path / 'file.onnx', 'classification'))
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    classifier = runtime.load(file, threads=1)
    found = classifier(image)
    light = image.mean() / 255
    np.testing.assert_allclose(found, [1 - light, light], atol=1e-6)
    assert classifier.metadata == classifier.network.metadata
    with pytest.raises(UserError, match=r'image must be uint8 \['):
        classifier.network(image=image)
    with pytest.raises(UserError, match=r"the provider 'tpu' is not there; there are .*(?i:cpu)"):
        runtime.open_model(file, 'tpu')
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match=r'file\.\w+: \w+ cannot read it .*damaged or truncated'):
        runtime.open_model(file)


def test_a_provider_falls_back_only_if_asked(tmp_path):
    file = bright_files.write(tmp_path / 'file.onnx', 'classification')
    with pytest.warns(UserWarning, match="provider 'cuda' is not there: CPUExecutionProvider"):
        network = runtime.open_model(file, 'cuda', fallback=True)
    assert network.provider == 'CPUExecutionProvider'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(format=2), 'is of format 2, this lightvit_dense_runtime reads format 1; install'),
        (dict(task='detection'), 'is for detection, not for classification; open it with Detector'),
        ([1], 'its metadata are damaged; export'),
    ],
)
def test_files_that_are_refused(tmp_path, changes, message):
    metadata = bright_files.about('classification')
    metadata = metadata | changes if isinstance(changes, dict) else changes
    file = bright_files.write(tmp_path / 'file.onnx', 'classification', metadata)
    with pytest.raises(UserError, match=rf'file\.onnx: {re.escape(message)}'):
        runtime.Classifier(file)


def test_paths_and_images_that_are_refused(tmp_path):
    file = bright_files.write(tmp_path / 'file.onnx', 'classification')
    (other := tmp_path / 'other.onnx').write_bytes(file.read_bytes())
    model = onnx.load(str(file))
    del model.metadata_props[:]
    onnx.save(model, str(other))
    tracking = bright_files.write(tmp_path / 'tracker.onnx', 'tracking')
    lacking = bright_files.about('tracking')
    del lacking['margin']
    lacking = bright_files.write(tmp_path / 'lacking.onnx', 'tracking', lacking)
    classifier = runtime.Classifier(file)
    image = np.zeros((8, 8, 3), np.uint8)
    for call, message in (
        (lambda: runtime.load(tmp_path / 'gone.onnx'), r'gone\.onnx: does not exist; write it'),
        (lambda: runtime.load('model.pth'), r'model\.pth: exported files end in \.onnx, \.xml'),
        (lambda: runtime.load(other), 'is no file that lightvit_dense exported'),
        (lambda: runtime.load(lacking), r'lacking\.onnx: its metadata lack margin'),
        (lambda: runtime.load(file, threads=0), 'threads=0: must be positive'),
        (lambda: runtime.load(tracking).track(image), r'no target yet: call init'),
        (lambda: classifier(image[..., 0]), r'RGB.* converts grey.* got uint8 \[1, 8, 8\]'),
        (lambda: classifier(np.zeros((8, 8, 4), np.uint8)), r'any, 3\] in RGB.* got .*8, 4\]'),
        (lambda: classifier(image.astype(np.float32)), r'got float32 \[1, 8, 8, 3\]'),
        (lambda: classifier([[0]]), r'got int64 \[1, 1, 1\]'),
        (lambda: runtime.load(tracking).init(image[..., :2], (1, 1, 4, 4)), 'a frame must be'),
        (lambda: classifier(image[:1]), r'\[2, 2\] to \[256, 256\].*got \[1, 8\]; resize'),
        (lambda: classifier.network(picture=image), 'takes the inputs image, got picture'),
    ):
        with pytest.raises(UserError, match=message):
            call()


HEADERS = [*os.environ.get('CPLUS_INCLUDE_PATH', '').split(':'), '/usr/include/onnxruntime']
HAS_HEADERS = any(Path(folder, 'onnxruntime_cxx_api.h').is_file() for folder in HEADERS)
LIBRARIES = sorted(Path(find_spec('onnxruntime').origin).parent.glob('capi/libonnxruntime.so.*'))


@pytest.mark.skipif(shutil.which('g++') is None, reason='there is no g++')
@pytest.mark.skipif(not (HAS_HEADERS and LIBRARIES), reason="no headers of ONNX Runtime's C++ API")
def test_the_page_s_program_in_c(tmp_path):
    page = (ROOT / 'docs/deploy.md').read_text(encoding='utf-8')
    (source := tmp_path / 'detect.cpp').write_text(page.split('```cpp\n')[1].split('```')[0])
    program = tmp_path / 'detect'
    compile_it = ['g++', '-std=c++17', '-I/usr/include/onnxruntime', source, '-o', program]
    compile_it += [LIBRARIES[0], f'-Wl,-rpath,{LIBRARIES[0].parent}']
    subprocess.run(compile_it, check=True, timeout=300)
    file = bright_files.write(tmp_path / 'detector.onnx', 'detection')
    frame = bright_files.film()[0][0]
    cv2.imwrite(str(tmp_path / 'photo.ppm'), frame[..., ::-1])
    words = [program, file, tmp_path / 'photo.ppm']
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    metadata, *lines = done.stdout.splitlines()
    assert json.loads(metadata) == bright_files.about('detection')
    assert lines == ['1 0.5 60 40 84 56']
