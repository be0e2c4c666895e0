"""The shell launchers, with real processes on the CPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lightvit_dense  # noqa: F401
from tests.helpers.toy_engine import write_config

ROOT = Path(__file__).parents[2]


def launch(script: str, *args: object, **environment: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if k not in ('RANK', 'WORLD_SIZE', 'PORT')}
    defaults = dict(PYTHON=sys.executable, CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1')
    command = [ROOT / 'tools' / script, *map(str, args)]
    environment = inherited | defaults | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_two_processes_end_with_the_same_weights(tmp_path) -> None:
    extra = """
custom_hooks = [dict(type='lightvit_dense.RankConsistencyHook')]
engine = dict(gradient_compression='bf16')
"""
    config = write_config(tmp_path, length=1, extra=extra)
    work_dir = tmp_path / 'a directory with spaces'
    done = launch('dist_train.sh', config, 2, '--work-dir', work_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('preflight: all 0 local files') == 1
    assert '2 rank(s) hold the same parameters' in done.stdout
    assert 'Epoch(train) [1][3/3]' in done.stdout  # half the iterations of one process
    saved = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    assert saved['meta']['iter'] == 3


def test_missing_data_is_said_once_before_any_worker(tmp_path) -> None:
    config = write_config(tmp_path, extra="\nload_from = 'gone.pth'\n")
    done = launch('dist_train.sh', config, 2, '--work-dir', tmp_path / 'w')
    assert done.returncode == 2
    assert done.stderr.count('gone.pth  (load_from)') == 1
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'w').exists()


@pytest.fixture
def recorder(tmp_path) -> Path:
    """A stand-in for python and srun that writes down its arguments, one a line."""
    path = tmp_path / 'bin' / 'srun'
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nfor arg in "$@"; do echo "$arg"; done\necho --\n')
    path.chmod(0o755)
    return path


def test_multi_node_by_environment(recorder) -> None:
    environment = dict(NNODES='4', NODE_RANK='3', MASTER_ADDR='head node', PORT='1234')
    environment |= dict(PYTHON=str(recorder), MAX_RESTARTS='0')
    done = launch('dist_test.sh', 'c d.py', 'x.pth', 8, '--verify', **environment)
    preflight, job = (part.splitlines() for part in done.stdout.split('--\n')[:2])
    tool = str(ROOT / 'tools' / 'test.py')
    words = [tool, 'c d.py', 'x.pth', '--verify']
    assert preflight == [*words, '--preflight']
    nodes = ['--nnodes=4', '--node_rank=3', '--nproc_per_node=8']
    nodes += ['--master_addr=head node', '--master_port=1234', '--max_restarts=0']
    assert job == ['-m', 'torch.distributed.run', *nodes, *words, '--launcher', 'pytorch']


def test_slurm(recorder, tmp_path) -> None:
    environment = dict(PYTHON=str(recorder), PATH=f'{recorder.parent}:{os.environ["PATH"]}')
    environment |= dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='3')
    environment |= dict(SRUN_ARGS='--time=1:00 --exclusive')
    done = launch('slurm_train.sh', 'gpu', 'my job', 'c.py', 'w d', '--amp', **environment)
    job = done.stdout.split('--\n')[1].splitlines()
    assert {'--partition=gpu', '--job-name=my job', '--gres=gpu:4', '--ntasks=16'} <= set(job)
    assert {'--ntasks-per-node=4', '--time=1:00', '--exclusive'} <= set(job)
    assert job[-5:] == ['--work-dir', 'w d', '--amp', '--launcher', 'slurm']
    config = write_config(tmp_path, extra="\nload_from = 'seen on the nodes alone.pth'\n")
    environment |= dict(PYTHON=sys.executable, PREFLIGHT='0', CPUS_PER_TASK='')
    words = ('--cfg-options', 'train_dataloader.num_workers=6')
    done = launch('slurm_train.sh', 'gpu', 'job', config, 'w', *words, **environment)
    assert '--cpus-per-task=7' in done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ('words', 'variables', 'message'),
    [
        (['dist_train.sh', 'one'], {}, 'usage: '),
        (['dist_test.sh', 'one'], {}, 'usage: '),
        (['slurm_train.sh', 'one'], {}, 'usage: '),
        (['dist_train.sh', 'c.py', 'two'], dict(PORT='1'), "positive number.*'two'"),
        (['dist_train.sh', 'c.py', 2], dict(NNODES='2'), 'needs MASTER_ADDR'),
        (['dist_train.sh', 'c.py', 2], dict(MAX_RESTARTS='2'), 'needs --resume'),
    ],
)
def test_wrong_words_are_refused(recorder, words, variables, message) -> None:
    done = launch(*words, PYTHON=str(recorder), **variables)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert 'set -euo pipefail' in (ROOT / 'tools' / words[0]).read_text()
