"""The benchmark of the one-pass evaluation, at a small size."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from tracking.evaluation import score

TOOL = Path(__file__).parents[2] / 'tools/benchmark/tracking_metric.py'


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(TOOL))


def test_sizes_and_figures(tool, tmp_path, capsys):
    path = tmp_path / 'a.json'
    options = ['--sequences', '7', '--frames', '500', '--rounds', '2', '--json', str(path)]
    assert tool['main'](options) == 0
    found = json.loads(path.read_text())
    assert (found['sequences'], found['frames']) == (7, 500)
    predictions, truths = tool['synthetic'](7, 500)
    assert found['figures'] == score(predictions, truths).figures()
    assert 20 < found['figures']['success'] < 95
    assert all(stage['seconds'] > 0 for stage in found['stages'].values())
    text = capsys.readouterr().out
    assert '7 sequences, 500 frames' in text
    assert '| score |' in text


def test_all_frames_are_dealt_out(tool):
    _, truths = tool['synthetic'](280, 6000)
    lengths = np.array([len(truth.boxes) for truth in truths])
    assert lengths.sum() == 6000
    assert 2 < lengths.max() / lengths.min() < 4
    with pytest.raises(SystemExit):
        tool['parse_args'](['--sequences', '9', '--frames', '35'])
