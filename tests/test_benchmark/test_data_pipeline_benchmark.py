import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools/benchmark/data_pipeline.py'


def run_tool(*words):
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_way_is_measured(tmp_path):
    out = tmp_path / 'data.json'
    size = ['--size', '64x48', '--crop', 16]
    counts = ['--rounds', 2, '--workers', 1, '--batch', 4, '--batches', 2, '--epochs', 1]
    done = run_tool(*size, *counts, '--json', out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    images = found['images']
    rows = {row['name']: row for row in images['rows']}
    assert {"authors' way", 'ours, cv2', 'bare decode, cv2', images['floor']} <= set(rows)
    assert f'ours, {images["decoder"]}' in rows
    assert rows["authors' way"]['times_authors'] == 1
    assert rows[images['floor']]['share_of_floor'] == 1
    for row in rows.values():
        assert row['images_per_s'] == pytest.approx(1e6 / row['us'])
    assert set(images['stages_us']) == {'header, draw', 'decode', 'cut', 'resize', 'flag, pack'}
    assert [row['name'] for row in found['loaders']] == [
        "authors' way",
        'ours',
        'hand-over, floats',
        'hand-over, ours',
    ]
    assert [row['name'] for row in found['evaluation']] == [
        "authors' way",
        'ours',
        'ours, cut before the resize (other pixels)',
        'bare decode, cv2',
    ]
    assert found['device_share']['us_per_image'] > 0
    assert found['machine']['cpu']
    assert 'of the floor' in done.stdout


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--size', '500'], '--size 500: expected WIDTHxHEIGHT'),
        (['--batch', '0'], '--batch must be at least 1'),
    ],
)
def test_bad_options_are_refused(words, message, capsys):
    spec = importlib.util.spec_from_file_location('data_pipeline', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with pytest.raises(SystemExit) as caught:
        tool.parse_args(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
