"""tools/dataset_converters/check_dataset.py as users run it."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

from lightvit_dense.datasets.toyworld import WorldSpec, build_world
from lightvit_dense.errors import run_tool

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/check_dataset.py'
SPEC = WorldSpec(seed=6, image_size=48, train=3, val=2, unlabeled=0, portraits=6)


def main(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['tool', *map(str, args)])
    return run_tool(runpy.run_path(str(TOOL))['main'])


def test_a_world_as_users_check_it(tmp_path):
    root = build_world(tmp_path / 'world', SPEC, ['coco'], workers=0, progress=False).root
    command = [sys.executable, str(TOOL), 'toyworld', str(root), '--full']
    done = subprocess.run(
        [*command, '--json', str(tmp_path / 'out/report.json')],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert 'coco: images of train2017' in done.stdout
    assert done.stdout.rstrip().endswith('All is fine.')
    assert 'opening images of train2017' in done.stderr
    result = json.loads((tmp_path / 'out/report.json').read_text())
    assert result['ok']
    assert result['rows'][0] == dict(
        part='coco: images of train2017', found=3, expected=3, opened=3, state='complete'
    )


def test_exit_statuses_and_words(tmp_path, monkeypatch, capsys):
    root = build_world(tmp_path / 'world', SPEC, ['coco'], workers=0, progress=False).root
    monkeypatch.setenv('LIGHTVIT_DATA', str(root))
    assert main(monkeypatch, 'coco') == 0  # at $LIGHTVIT_DATA/coco
    assert 'it is a subset' in capsys.readouterr().out
    (root / 'coco/val2017/000000000001.jpg').unlink()
    assert main(monkeypatch, 'coco', root / 'coco', '--splits', 'train') == 0
    assert main(monkeypatch, 'coco', root / 'coco') == 1
    out = capsys.readouterr().out
    assert '1 of 2 images that the annotations list (000000000001.jpg)' in out
    assert '1 problem(s)' in out
    assert main(monkeypatch, 'ade20k') == 1
    assert 'ADEChallengeData2016.zip' in capsys.readouterr().out


def test_mistakes_on_the_command_line(monkeypatch, capsys, tmp_path):
    assert main(monkeypatch, 'coko', tmp_path) == 2
    assert "Did you mean 'coco'?" in capsys.readouterr().err
    assert main(monkeypatch, 'coco', tmp_path, '--splits', 'test') == 2
    assert '--splits test: coco has the splits train, val' in capsys.readouterr().err
    assert main(monkeypatch, 'coco', tmp_path, '--samples', '-1') == 2
    assert '--samples must not be negative' in capsys.readouterr().err
