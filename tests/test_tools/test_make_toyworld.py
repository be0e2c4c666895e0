"""tools/dataset_converters/make_toyworld.py as users run it."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import cv2

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/make_toyworld.py'


def run(*args: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_builds_counts_previews_and_keeps(tmp_path):
    root, preview = tmp_path / 'world', tmp_path / 'sheets/sheet.png'
    args = ['--out', root, '--image-size', 64, '--train', 4, '--val', 3, '--unlabeled', 5]
    args += ['--seed', 7, '--workers', 1, '--classes', 'soap', 'book']
    done = run(*args, '--preview', preview)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('Built')
    assert 'Building the toy world' in done.stderr  # the progress bar
    for split, count in (('train', 4), ('val', 3), ('unlabeled', 5)):
        assert len(list((root / f'coco/{split}2017').iterdir())) == count
    data = json.loads((root / 'coco/annotations/instances_train2017.json').read_text())
    assert [c['name'] for c in data['categories']] == ['soap', 'book']
    row = next(line for line in done.stdout.splitlines() if '│ train' in line)
    cells = [cell.strip() for cell in row.strip('│').split('│')]
    assert cells[1:3] == ['4', str(len(data['annotations']))]
    soaps = sum(note['category_id'] == 1 for note in data['annotations'])
    assert f'train: soap {soaps}, book {len(data["annotations"]) - soaps}' in done.stdout
    assert cv2.imread(str(preview)).shape[1] == 3 * 244 - 4


def test_kept_world_and_plain_error(tmp_path, monkeypatch, capsys):
    tool = runpy.run_path(str(TOOL))
    args = ['tool', '--out', str(tmp_path / 'world'), '--image-size', '64', '--quiet']
    args += ['--train', '1', '--val', '1', '--unlabeled', '0', '--workers', '0']
    monkeypatch.setattr(sys, 'argv', args)
    assert tool['main']() == 0
    assert capsys.readouterr().out.startswith('Built')
    assert tool['main']() == 0
    assert capsys.readouterr().out.startswith('Kept')
    (tmp_path / 'world/mine.txt').write_text('mine')
    assert tool['main']() == 2
    assert 'mine.txt' in capsys.readouterr().err


def test_stamps_are_asked_for_where_they_cannot_be_fetched(tmp_path, monkeypatch, capsys):
    tool = runpy.run_path(str(TOOL))
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path))
    args = ['tool', '--objects', 'stamps', '--out', str(tmp_path / 'world')]
    for more, message in (
        ([], 'apt-get is not installed'),
        (['--stamps', str(tmp_path)], 'no usr'),
    ):
        monkeypatch.setattr(sys, 'argv', args + more)
        assert tool['main']() == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'world').exists()
