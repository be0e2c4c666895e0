"""The benchmark of pairs: what it compares is the same work, and its numbers are consistent."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lightvit_dense.datasets.determinism import seeded
from tracking.sampling import PairDataset

FOLDER = Path(__file__).resolve().parents[2] / 'tools/benchmark'


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location('tracking_pairs', FOLDER / 'tracking_pairs.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbers_are_consistent(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / 'pairs.json'
    tool.main(['--size', '160x120', '--pairs', '2', '--rounds', '2', '--json', str(out)])
    result = json.loads(out.read_text())
    rows = {row['name']: row for row in result['rows']}
    assert list(rows) == ["authors' way", 'ours', 'bare decode of both frames']
    assert rows["authors' way"]['times_authors'] == 1
    assert rows['bare decode of both frames']['share_of_floor'] == 1
    for row in rows.values():
        assert row['pairs_per_s'] == pytest.approx(1e3 / row['ms'])
    assert set(result['stages_us']) == {'choose', 'crop', 'change'}
    printed = capsys.readouterr().out
    assert f'| ours | {rows["ours"]["pairs_per_s"]:.1f} |' in printed
    assert printed.count('|---') == 5


def test_padding_in_memory_gives_our_crops(tool: ModuleType, tmp_path: Path):
    tool.write_videos(tmp_path, tool.photographs((160, 120), 90)[:2], (160, 120))
    sets = [dict(type='tracking.LaSOT', data_root=str(tmp_path), split='train')]
    pairs = PairDataset(sets=sets)
    sequence = pairs.sets[0][1]
    frame, box = sequence.frames.read(5), sequence.boxes[5]
    for spec in (pairs.template, pairs.search):
        with seeded(1):
            cut = spec.cut(frame, box)
        with seeded(1):
            crop, mask = tool.padded_crop(frame, spec.shake(box), spec.factor, spec.size)
        np.testing.assert_array_equal(crop, cut.image)
        np.testing.assert_array_equal(mask, cut.padding)


def test_a_size_that_is_none_is_refused(tool: ModuleType, capsys: pytest.CaptureFixture):
    for words, told in ((['--size', '12'], 'WIDTHxHEIGHT'), (['--rounds', '0'], 'at least 1')):
        with pytest.raises(SystemExit):
            tool.main(words)
        assert told in capsys.readouterr().err
