"""tools/dataset_converters/check_dataset.py as users run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.toy_world import build

NAME = 'dataset_converters/check_dataset.py'
TOOL = Path(__file__).parents[2] / 'tools' / NAME
SIZES = dict(seed=6, image_size=48, train=3, portraits=6)


def test_a_world_as_users_check_it(tmp_path):
    root = build(tmp_path / 'world', **SIZES).root
    command = [sys.executable, str(TOOL), 'toyworld', str(root), '--full']
    command += ['--json', str(tmp_path / 'out/report.json')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert 'coco: images of train2017' in done.stdout
    assert done.stdout.rstrip().endswith('All is fine.')
    assert 'opening images of train2017' in done.stderr
    result = json.loads((tmp_path / 'out/report.json').read_text())
    assert result['ok']
    assert result['rows'][0] == dict(
        part='coco: images of train2017', found=3, expected=3, opened=3, state='complete'
    )


def test_exit_statuses_and_words(tmp_path, monkeypatch, call_tool):
    root = build(tmp_path / 'world', **SIZES).root
    monkeypatch.setenv('LIGHTVIT_DATA', str(root))
    status, out, _ = call_tool(NAME, 'coco')  # at $LIGHTVIT_DATA/coco
    assert status == 0
    assert 'it is a subset' in out
    (root / 'coco/val2017/000000000001.jpg').unlink()
    assert call_tool(NAME, 'coco', root / 'coco', '--splits', 'train')[0] == 0
    status, out, _ = call_tool(NAME, 'coco', root / 'coco')
    assert status == 1
    assert '1 of 2 images that the annotations list (000000000001.jpg)' in out
    assert '1 problem(s)' in out
    status, out, _ = call_tool(NAME, 'ade20k')
    assert status == 1
    assert 'ADEChallengeData2016.zip' in out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['coko', '.'], "Did you mean 'coco'?"),
        (['coco', '.', '--splits', 'test'], '--splits test: coco has the splits train, val'),
        (['coco', '.', '--samples', '-1'], '--samples must not be negative'),
    ],
)
def test_mistakes_on_the_command_line(call_tool, words, message):
    status, _, error = call_tool(NAME, *words)
    assert status == 2
    assert message in error
