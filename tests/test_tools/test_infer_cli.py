"""tools/infer.py and tools/deploy/export_onnx.py."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lightvit_dense  # noqa: F401
from lightvit_dense.errors import UserError
from tests.helpers.small_dense import build, detector_config, segmentor_config, write_pictures

ROOT = Path(__file__).parents[2]


def load(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


infer, export = load('tools/infer.py'), load('tools/deploy/export_onnx.py')


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp('models')
    found = {}
    for name, cfg in dict(detector=detector_config(), segmentor=segmentor_config()).items():
        cfg.dump(folder / f'{name}.py')
        found[name] = folder / f'{name}.py'
        found[f'{name}.pth'] = folder / f'{name}.pth'
        torch.save(dict(state_dict=build(cfg).state_dict()), folder / f'{name}.pth')
    found['pictures'] = folder / 'pictures'
    write_pictures(found['pictures'])
    return found


def test_a_folder_from_the_command_line(files: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'\xff\xd8 no picture')
    command = [sys.executable, str(ROOT / 'tools' / 'infer.py'), files['detector'],
               files['detector.pth'], broken, files['pictures'], '--out', tmp_path / 'out',
               '--device', 'cpu', '--batch-size', '2', '--score-thr', '0', '--max-per-image',
               '2']  # fmt: skip
    env = dict(os.environ, OMP_NUM_THREADS='1')
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    assert f'not read: {broken}: truncated' in done.stderr
    assert '3 pictures, results in' in done.stdout
    entries = json.loads((tmp_path / 'out' / 'detections.json').read_text())
    assert len(entries) == 6
    assert {entry['image_id'] for entry in entries} == {1001, 1002, 1003}
    assert len(list((tmp_path / 'out' / 'pictures').iterdir())) == 3


def test_segmentation_with_augmentation(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    common = [str(files['segmentor']), str(files['segmentor.pth']), str(files['pictures'])]
    common += ['--device', 'cpu', '--no-pictures', '--out']
    assert infer.main([*common, str(tmp_path / 'plain')]) == 0
    options = ['--tta', '--tta-scales', '1', '1.5', '--no-flip', '--palette']
    assert infer.main([*common, str(tmp_path / 'tta'), *options]) == 0
    plain, augmented = (
        (tmp_path / name / 'labels' / '000000001002.png').read_bytes() for name in ('plain', 'tta')
    )
    assert plain != augmented
    assert not (tmp_path / 'tta' / 'pictures').exists()
    with pytest.raises(UserError, match='are options of --tta; give it too'):
        infer.main([*common, str(tmp_path / 'x'), '--no-flip'])
    with pytest.raises(UserError, match=r'score_thr: for detection only'):
        infer.main([*common, str(tmp_path / 'x'), '--score-thr', '0.5'])
    with pytest.raises(SystemExit):
        infer.main([*common, str(tmp_path / 'x'), '--batch-size', '0'])
    assert '--batch-size 0: expected a positive number' in capsys.readouterr().err


def test_export_proves_and_times(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    detector = [str(files['detector']), str(files['detector.pth'])]
    out, report = tmp_path / 'neck.onnx', tmp_path / 'neck.json'
    common = ['--shape', '64', '96', '--repeats', '1']
    assert export.main([*detector, *common, '--out', str(out), '--json', str(report)]) == 0
    said = capsys.readouterr().out
    assert 'backbone+neck of a model for detection' in said
    assert 'any number of images [3, 64, 96], RGB in 0..255' in said
    found = json.loads(report.read_text())
    assert 0 < found['relative'] < 1e-4
    assert found['torch_ms'] > 0
    assert found['onnx_ms'] > 0
    assert found['classes'][0] == 'bottle'
    with pytest.raises(UserError, match='non-maximum suppression'):
        export.main([*detector, *common, '--part', 'whole', '--out', str(out)])
    with pytest.raises(UserError, match=r'ends in \.onnx'):
        export.main([*detector, *common, '--out', str(tmp_path / 'neck.bin')])

    segmentor = [str(files['segmentor']), str(files['segmentor.pth']), '--part', 'whole']
    out = tmp_path / 'whole.onnx'
    assert export.main([*segmentor, *common, '--batch', '1', '--out', str(out)]) == 0
    assert 'equal labels: 100.0000%' in capsys.readouterr().out


def test_export_fails_where_numbers_differ(
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(export, 'RELATIVE', 0.0)
    words = [str(files['detector']), str(files['detector.pth']), '--shape', '64', '64']
    assert export.main([*words, '--repeats', '1', '--out', str(tmp_path / 'x.onnx')]) == 1
    assert 'ONNX Runtime computes something else than torch' in capsys.readouterr().err
