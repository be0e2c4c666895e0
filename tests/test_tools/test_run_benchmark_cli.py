"""The suite's tool on real trainings: one that works, one that fails, tables, page, exit status."""

import csv
import json
import os
import runpy
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense.errors import UserError, run_tool

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools/run_benchmark.py'))
SUITE = """'''Two tasks, one of them without data.'''
name = 'two'
title = 'Two tasks'
inits = dict(scratch=dict(title='from scratch'))
_metric = [dict(key='accuracy/top1', title='top-1')]
_model = {'model.head.num_classes': 2, 'model.data_preprocessor.num_classes': 2}
_task = dict(configs=dict(default='configs/toyworld/small_sets/scratch.py'), metrics=_metric)
_lost = {'train_dataloader.dataset.data_root': 'nowhere/'}
tasks = dict(good=dict(_task, options=_model), bad=dict(_task, options=_model | _lost))
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    root = tmp_path / 'data'
    rng = np.random.default_rng(0)
    for split, label, i in [*product(['train'], 'ab', range(2)), *product(['val'], 'ab', range(3))]:
        file = root / 'small/fashion-mnist' / split / label / f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 255, (28, 28), np.uint8))
    (root / 'small/fashion-mnist/classes.txt').write_text('a\nb\n')
    monkeypatch.setenv('LIGHTVIT_DATA', str(root))
    return root


@pytest.fixture
def tool(tmp_path, data, monkeypatch, capsys):
    suite = tmp_path / 'suite.py'
    suite.write_text(SUITE)
    monkeypatch.chdir(tmp_path)  # from wherever it is called
    monkeypatch.setenv('TEST_PROCESS_SECONDS', '500')  # what starts a run is there as long

    def tool(*words, file=suite):
        argv = [str(file), '--work-dir', str(tmp_path / 'work'), *map(str, words)]
        status = run_tool(lambda: TOOL['main'](argv))
        return status, *capsys.readouterr()

    return tool


def cells_of(folder):
    runs = json.loads((folder / 'results.json').read_text())['runs']
    return [run for run in runs if run['kind'] == 'cell']


def test_one_task_fails_and_the_other_is_measured(tool, tmp_path):
    status, out, err = tool('--smoke', '--jobs', '2')
    assert status == 1
    assert '1 of the runs failed' in err
    assert 'Smoke run' in out
    cells = {cell['task']: cell for cell in cells_of(tmp_path / 'work')}
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

    _, out, _ = tool('--smoke', '--list')
    assert 'measured  good_scratch_seed-0:' in out
    assert 'failed    bad_scratch_seed-0:' in out
    assert tool('--smoke', '--report-only')[0] == 0
    assert (tmp_path / 'work/table.md').read_text() == table


def test_mistakes_on_the_command_line_are_named(tool, tmp_path):
    gone = dict(file=tmp_path / 'no/gone.py')
    for words, file, message in (
        (['--tasks', 'god'], {}, "--tasks names 'god', which is unknown; there are good, bad."),
        (['--inits', 'mae'], {}, "--inits names 'mae'"),
        (['--gpus', *'012', '--gpus-per-job', 2], {}, 'cannot be shared out evenly'),
        ([], gone, 'configs/suites has demo.py, distilled_layers.py, paper1_table5.py'),
    ):
        status, _, err = tool('--list', *words, **file)
        assert status == 2
        assert message in err


def test_small_sets_are_made_and_learned(tool, tmp_path):
    suite = ROOT / 'configs/suites/small_sets.py'
    words = ['--smoke', '--tasks', 'digits', '--inits', 'scratch', '--seeds', 3]
    status, out, err = tool(*words, file=suite)
    assert status == 0, err
    assert '[2/2] digits, 10% of labels, from scratch, seed 3: ' in out
    (cell,) = cells_of(tmp_path / 'work')
    correct = cell['metrics']['accuracy/top1'] * 359 / 100  # of 359 validation images
    assert correct == pytest.approx(round(correct), abs=1e-3)


def listed(tool, suite, *words):
    status, out, err = tool('--list', *words, file=ROOT / f'configs/suites/{suite}.py')
    assert status == 0, err
    return [line.split()[2].rstrip(':') for line in out.splitlines()]


def test_small_sets_pretrain_each_set_once(tool, monkeypatch):
    monkeypatch.delenv('LIGHTVIT_DATA')
    names = listed(tool, 'small_sets')
    assert len(set(names)) == len(names) == 4 + 4 * 4 + 5 * 3 * 4
    assert os.environ['LIGHTVIT_DATA'] == str(ROOT / 'data')  # wherever it is called from
    names = listed(tool, 'small_sets', '--tasks', 'digits', 'toyworld')
    assert len(names) == 2 + 2 * 4 + 2 * 3 * 4
    assert names[-1] == 'toyworld_d2mae_seed-2'


def test_reserved_blocks_take_other_networks_and_numbers(tool, tmp_path):
    names = listed(tool, 'reserved_blocks')
    assert len(names) == 3 + 3 * (1 + 2 * 7)
    assert 'fashion_dmae_6_seed-2' in names
    checkpoint = tmp_path / 'mine.pth'
    model = {'blocks.0.attn.qkv.weight': torch.zeros(30, 10)}
    torch.save(model, checkpoint)
    words = ['--inits', 'scratch', 'mine', '--seeds', 0]
    options = ['--cfg-options', f'inits.mine.checkpoint={checkpoint}', 'sweep.values=0,6']
    assert listed(tool, 'reserved_blocks', *words, *options) == [
        'fashion_scratch_seed-0',
        'fashion_mine_0_seed-0',
        'fashion_mine_6_seed-0',
    ]
    # What does not fit is said before anything runs.
    file = ROOT / 'configs/suites/reserved_blocks.py'
    for values, message in (('0,6', 'mine.pth'), ('7,0', 'is not between 0 and the 6 blocks')):
        options[-1] = f'sweep.values={values}'
        status, _, err = tool(*words, *options, file=file)
        assert status == 2
        assert message in err
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--jobs', '0'], 'must be at least 1'),
        (['--executor', 'slurm', '--gpus', '0'], 'ask Slurm by --gpus-per-job'),
        (['--executor', 'slurm', '--nodes', '2', '--gpus-per-job', '3'], 'shared out evenly'),
    ],
)
def test_options_that_do_not_go_together(words, message, capsys):
    with pytest.raises(SystemExit):
        TOOL['parse_args'](['suite.py', *words])
    assert message in capsys.readouterr().err


def test_what_is_asked_of_slurm(data, tmp_path, monkeypatch):
    suite = tmp_path / 'suite.py'
    suite.write_text(SUITE)
    words = ['--executor', 'slurm', '--partition', 'gpu', '--nodes', '2', '--gpus-per-job', '16']
    words += ['--cpus-per-task', '4', '--array-parallelism', '3', '--slurm-options', 'account=x']
    args = TOOL['parse_args']([str(suite), '--work-dir', str(tmp_path / 'work'), *words])
    monkeypatch.chdir(ROOT)
    plan = TOOL['make_plan'](args)
    train = plan.stages['good_scratch_seed-0']
    assert train.command[1:4] == ['tools/train.py', '--launcher', 'slurm']
    monkeypatch.setattr('shutil.which', lambda name: name)
    options = TOOL['make_executor'](args, plan, {}).options
    shares = dict(nodes=2, tasks_per_node=8, gpus_per_node=8, cpus_per_task=4)
    assert options.of(train) == dict(timeout_min=1440, slurm_partition='gpu', **shares)
    alone = options.of(replace(train, parallel=False))
    assert (alone['nodes'], alone['tasks_per_node'], alone['gpus_per_node']) == (1, 1, 1)
    assert (options.array_parallelism, options.more) == (3, {'account': 'x'})
    monkeypatch.setattr('shutil.which', lambda name: None)
    with pytest.raises(UserError, match='no sbatch'):
        TOOL['make_executor'](args, plan, {})
