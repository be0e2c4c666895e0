"""The suite's tool on real trainings: one that works, one that fails, tables, page, exit status."""

import json
import os
import re
import runpy
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from lightvit_dense.errors import UserError
from lightvit_dense.visualization import write_image
from tests.helpers.small_dense import picture
from tests.helpers.tiny_suite import fork_stages
from tests.helpers.tools import call_tool

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
    root = tmp_path / 'data/small/fashion-mnist'
    for split, label, i in [*product(['train'], 'ab', range(2)), *product(['val'], 'ab', range(3))]:
        write_image(root / split / label / f'{i}.png', picture(28, 28, i))
    (root / 'classes.txt').write_text('a\nb\n')
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path / 'data'))


@pytest.fixture
def tool(tmp_path, data, monkeypatch):
    suite = tmp_path / 'suite.py'
    suite.write_text(SUITE)
    monkeypatch.chdir(tmp_path)  # from wherever it is called
    monkeypatch.setenv('TEST_PROCESS_SECONDS', '500')  # what starts a run is there as long

    def tool(*words, file=suite, status=0):
        words = [file, '--work-dir', tmp_path / 'work', *words]
        return call_tool('run_benchmark.py', *words, status=status)

    return tool


def cells_of(folder):
    runs = json.loads((folder / 'results.json').read_text())['runs']
    return {run['task']: run for run in runs if run['kind'] == 'cell'}


def test_one_task_fails_and_the_other_is_measured(tool, tmp_path, monkeypatch):
    fork_stages(monkeypatch, ROOT)
    out = tool('--smoke', '--jobs', '2', status=1)
    assert '1 of the runs failed' in out
    assert 'Smoke run' in out
    good, bad = (cells_of(tmp_path / 'work')[task] for task in ('good', 'bad'))
    assert (good['state'], bad['state']) == ('measured', 'failed')
    right = good['metrics']['accuracy/top1'] * 6 / 100  # of six images
    assert right == pytest.approx(round(right), abs=1e-3)
    page = (tmp_path / 'work/report.html').read_text()
    assert ['nowhere' in text for text in (bad['error'], page)] == [True, True]
    assert good['config_hash'][:12] in page
    assert 'src="http' not in page
    table = (tmp_path / 'work/table.md').read_text()
    assert re.search('from scratch.*failed', table, re.S)
    assert 'good' in (tmp_path / 'work/table.csv').read_text()

    out = tool('--smoke', '--list')
    assert 'measured  good_scratch_seed-0:' in out
    assert 'failed    bad_scratch_seed-0:' in out
    tool('--smoke', '--report-only')
    assert (tmp_path / 'work/table.md').read_text() == table


def test_mistakes_on_the_command_line_are_named(tool, tmp_path):
    gone, slurm = dict(file=tmp_path / 'no/gone.py'), ('--executor', 'slurm')
    for words, file, message in (
        (['--tasks', 'god'], {}, "--tasks names 'god', which is unknown; there are good, bad."),
        (['--inits', 'mae'], {}, "--inits names 'mae'"),
        (['--gpus', *'012', '--gpus-per-job', 2], {}, 'cannot be shared out evenly'),
        ([], gone, 'configs/suites has demo.py, distilled_layers.py, paper1_table5.py'),
        (['--jobs', '0'], {}, 'must be at least 1'),
        ([*slurm, '--gpus', '0'], {}, 'ask Slurm by --gpus-per-job'),
        ([*slurm, '--nodes', '2', '--gpus-per-job', '3'], {}, 'shared out evenly'),
    ):
        assert message in tool('--list', *words, **file, status=2)


@pytest.mark.parametrize(
    ('suite', 'task'), [('demo', 'detection'), ('small_sets', 'digits'), ('stampworld', 'tracking')]
)
def test_tools_that_make_data_take_what_a_suite_gives(suite, task, tmp_path, monkeypatch):
    words = ['--data-root', str(tmp_path), '--inits', 'scratch', '--tasks', task]
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path))
    file = ROOT / f'configs/suites/{suite}.py'
    plan = TOOL['make_plan'](TOOL['parse_args']([str(file), *words]))
    commands = [stage.command[1:] for name, stage in plan.stages.items() if 'prepare' in name]
    assert commands
    for command in commands:
        monkeypatch.setattr(sys, 'argv', command)
        runpy.run_path(str(ROOT / command[0]))['parse_args']()


def listed(tool, suite, *words):
    out = tool('--list', *words, file=ROOT / f'configs/suites/{suite}.py')
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
    torch.save({'blocks.0.attn.qkv.weight': torch.zeros(30, 10)}, checkpoint)
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
        assert message in tool(*words, *options, file=file, status=2)
    assert not (tmp_path / 'work').exists()


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
    asked = dict(timeout_min=1440, slurm_partition='gpu', cpus_per_task=4)
    assert options.of(train) == dict(asked, nodes=2, tasks_per_node=8, gpus_per_node=8)
    alone = options.of(replace(train, parallel=False))
    assert alone == dict(asked, nodes=1, tasks_per_node=1, gpus_per_node=1)
    assert (options.array_parallelism, options.more) == (3, {'account': 'x'})
    monkeypatch.setattr('shutil.which', lambda name: None)
    with pytest.raises(UserError, match='no sbatch'):
        TOOL['make_executor'](args, plan, {})
