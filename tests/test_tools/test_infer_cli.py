"""tools/infer.py."""

import json

import pytest
import torch

from tests.helpers.small_dense import build, detector_config, segmentor_config, write_pictures
from tests.helpers.tools import call_tool, start_tool


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    found = {}
    for name, cfg in dict(detector=detector_config(), segmentor=segmentor_config()).items():
        cfg.dump(folder / f'{name}.py')
        found[name] = [folder / f'{name}.py', folder / f'{name}.pth']
        torch.save(dict(state_dict=build(cfg).state_dict()), found[name][1])
    found['pictures'] = folder / 'pictures'
    write_pictures(found['pictures'])
    return found


def test_a_folder_from_the_command_line(files, tmp_path):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'\xff\xd8 no picture')
    words = [*files['detector'], broken, files['pictures'], '--out', tmp_path / 'out']
    words += ['--device', 'cpu', '--batch-size', 2, '--score-thr', 0, '--max-per-image', 2]
    done = start_tool('infer.py', *words, OMP_NUM_THREADS='1')
    assert done.returncode == 1, done.stderr
    assert f'not read: {broken}: truncated' in done.stderr
    assert '3 pictures, results in' in done.stdout
    entries = json.loads((tmp_path / 'out' / 'detections.json').read_text())
    assert len(entries) == 6
    assert {entry['image_id'] for entry in entries} == {1001, 1002, 1003}
    assert len(list((tmp_path / 'out' / 'pictures').iterdir())) == 3


def test_segmentation_with_augmentation(files, tmp_path):
    common = ['infer.py', *files['segmentor'], files['pictures'], '--device', 'cpu']
    common += ['--no-pictures', '--out']
    call_tool(*common, tmp_path / 'plain')
    options = ['--tta', '--tta-scales', '1', '1.5', '--no-flip', '--palette']
    call_tool(*common, tmp_path / 'tta', *options)
    plain, augmented = (
        (tmp_path / name / 'labels' / '000000001002.png').read_bytes() for name in ('plain', 'tta')
    )
    assert plain != augmented
    assert not (tmp_path / 'tta' / 'pictures').exists()
    for words, message in (
        (['--no-flip'], 'are options of --tta; give it too'),
        (['--score-thr', 0.5], 'score_thr: for detection only'),
        (['--batch-size', 0], '--batch-size 0: expected a positive number'),
        (['--model', 'a.onnx', '--tta'], '--tta and --cfg-options do not go with --model'),
        (['--model', files['segmentor'][1]], 'segmentor.pth: exported files end in .onnx'),
    ):
        assert message in call_tool(*common, tmp_path / 'x', *words, status=2)
    told = call_tool('infer.py', files['pictures'], '--out', 'x', status=2)
    assert 'give CONFIG CHECKPOINT INPUT ..., or --model FILE INPUT' in told
