"""The suite's tool on real trainings: one that works, one that fails, tables, page, exit status."""

import csv
import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightvit_dense.errors import run_tool

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools/run_benchmark.py'))
SUITE = """'''Two tasks, one of them without data.'''
name = 'two'
title = 'Two tasks'
inits = dict(scratch=dict(title='from scratch'))
_metric = [dict(key='accuracy/top1', title='top-1')]
_model = {'model.head.num_classes': 2, 'model.data_preprocessor.num_classes': 2}
tasks = dict(
    good=dict(configs=dict(default='configs/toyworld/small_sets/scratch.py'), metrics=_metric, options=_model),
    bad=dict(
        configs=dict(default='configs/toyworld/small_sets/scratch.py'),
        metrics=_metric,
        options=_model | {'train_dataloader.dataset.data_root': 'nowhere/'},
    ),
)
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    root = tmp_path / 'data'
    rng = np.random.default_rng(0)
    for split, count in (('train', 2), ('val', 3)):
        for label in 'ab':
            folder = root / 'small/fashion-mnist' / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 255, (28, 28), np.uint8)
                cv2.imwrite(str(folder / f'{i}.png'), image)
    (root / 'small/fashion-mnist/classes.txt').write_text('a\nb\n')
    monkeypatch.setenv('LIGHTVIT_DATA', str(root))
    return root


@pytest.fixture
def tool(tmp_path, data, monkeypatch, capsys):
    suite = tmp_path / 'suite.py'
    suite.write_text(SUITE)
    monkeypatch.chdir(ROOT)

    def tool(*words, file=suite):
        argv = [str(file), '--work-dir', str(tmp_path / 'work'), *words]
        status = run_tool(lambda: TOOL['main'](argv))
        return status, *capsys.readouterr()

    return tool


def test_one_task_fails_and_the_other_is_measured(tool, tmp_path):
    status, out, err = tool('--smoke', '--jobs', '2')
    assert status == 1
    assert '1 of the runs failed' in err
    assert 'Smoke run' in out
    results = json.loads((tmp_path / 'work/results.json').read_text())
    cells = {cell['task']: cell for cell in results['cells']}
    assert cells['good']['state'] == 'measured'
    right = cells['good']['metrics']['accuracy/top1'] * 6 / 100  # of six images
    assert right == pytest.approx(round(right), abs=1e-3)
    assert cells['bad']['state'] == 'failed'
    assert 'nowhere' in cells['bad']['error']
    page = (tmp_path / 'work/report.html').read_text()
    assert 'nowhere' in page
    assert cells['good']['config_hash'][:12] in page
    assert 'src="http' not in page
    table = (tmp_path / 'work/table.md').read_text()
    assert 'from scratch' in table
    assert 'failed' in table
    rows = list(csv.reader((tmp_path / 'work/table.csv').open()))
    assert any('good' in row for row in rows)

    status, out, _ = tool('--smoke', '--list')
    assert status == 0
    assert 'measured  good_scratch_seed-0:' in out
    assert 'failed    bad_scratch_seed-0:' in out
    before = (tmp_path / 'work/table.md').read_text()
    assert tool('--smoke', '--report-only')[0] == 0
    assert (tmp_path / 'work/table.md').read_text() == before


def test_mistakes_on_the_command_line_are_named(tool, tmp_path):
    for words, message in (
        (['--tasks', 'god'], "--tasks names 'god', which is unknown; there are good, bad."),
        (['--inits', 'mae'], "--inits names 'mae'"),
        (['--gpus', '0', '1', '2', '--gpus-per-job', '2'], 'cannot be shared out evenly'),
    ):
        status, _, err = tool('--list', *words)
        assert status == 2
        assert message in err
    status, _, err = tool(file=tmp_path / 'gone.py')
    assert status == 2
    assert 'configs/suites has distilled_layers.py, paper1_table5.py' in err
