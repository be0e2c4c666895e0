"""tools/benchmark/tracking_index.py, its stages in this process."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools/benchmark/tracking_index.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('tracking_index', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_indices_are_built_then_opened(tool, tmp_path, monkeypatch, capsys):
    names = ['trackingnet', 'lasot', 'got10k', 'coco']
    counts = dict(trackingnet=24, lasot=3, got10k=5, coco=70)
    monkeypatch.setattr(tool, 'DRAWS', 50)
    full = {name: (tool.WRITERS[name][0], count) for name, count in counts.items()}
    monkeypatch.setattr(tool, 'WRITERS', full)
    monkeypatch.setattr(tool, 'FULL', 24)
    monkeypatch.setattr(tool, 'in_a_process', tool.run_stage)
    assert (
        tool.main(
            [
                '--videos',
                '24',
                '--rounds',
                '1',
                '--folder',
                str(tmp_path / 'there'),
                '--json',
                str(tmp_path / 'out.json'),
            ]
        )
        == 0
    )
    result = json.loads((tmp_path / 'out.json').read_text())
    assert {name: result['build'][name]['counts'][name][0] for name in names[:3]} == {
        name: counts[name] for name in names[:3]
    }
    found = result['open'][0]
    assert found['counts']['trackingnet'] == result['build']['trackingnet']['counts']['trackingnet']
    assert set(result['index_mb']) == {'trackingnet', 'lasot', 'got', 'coco'}
    assert found['pickle_kb'] < 20
    assert '| trackingnet | 24 |' in capsys.readouterr().out
    assert not any((tmp_path / 'there').iterdir())


def test_synthetic_videos_are_as_long_as_real_ones(tool, tmp_path):
    tool.write_trackingnet(tmp_path, 60, np.random.default_rng(0))
    data = tool.TrackingNet(tmp_path)
    assert len(data) == 60
    assert 400 < data.lengths.mean() < 540
    assert data.visible_counts.tolist() == data.lengths.tolist()


def test_bad_options_are_refused(tool, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['--videos', '3'])
    assert 'at least 12 videos' in capsys.readouterr().err
