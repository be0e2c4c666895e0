"""A training killed ten times ends with the weights of one that was left in peace."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightvit_dense.engine.resume import find_resume_checkpoint
from tests.helpers.resume import assert_same

WORKER = Path(__file__).parents[1] / 'helpers/killed_run_worker.py'
SEED = 1
"""Draws the order of the kills and their moments; a failure can be repeated but for the timing."""


@pytest.fixture(scope='module')
def runs(tmp_path_factory) -> tuple[Path, list[dict]]:
    """Return the folder of both runs, and how each attempt ended."""
    folder = tmp_path_factory.mktemp('killed')
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, WORKER, 'detection', folder, str(SEED)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_ten_kills_change_no_weight(runs) -> None:
    folder, attempts = runs
    whole, *killed, last = attempts
    log = (folder / 'killed' / 'log.txt').read_text()[-3000:]
    assert [a['status'] for a in killed] == [signal.SIGKILL] * 10, log
    assert whole['status'] == last['status'] == 0, log
    # Something was left to do each time, and none of it was done from the beginning.
    assert 0 < last['beats'] < whole['beats']
    states = [
        torch.load(find_resume_checkpoint(folder / name), weights_only=False)
        for name in ('whole', 'killed')
    ]
    assert states[0]['meta']['iter'] == whole['beats']
    assert 'ema_state_dict' in states[0]
    assert_same(*states)


def test_every_attempt_saw_the_same_images_and_losses(runs) -> None:
    """What an attempt repeats because its checkpoint was lost, it repeats exactly."""
    folder, _ = runs
    whole, killed = (
        [line.split() for line in (folder / name / 'diary.txt').read_text().splitlines()]
        for name in ('whole', 'killed')
    )
    by_iteration = {line[0]: line for line in whole}
    assert len(by_iteration) == len(whole)
    assert len({line[1] for line in whole}) == len(whole)
    assert {line[0] for line in killed} == set(by_iteration)
    assert len(killed) > len(whole)
    assert all(line == by_iteration[line[0]] for line in killed)


def test_nothing_is_left_of_torn_writes(runs) -> None:
    folder, _ = runs
    assert not list((folder / 'killed').glob('.*.tmp'))
    names = {path.name for path in (folder / 'killed').glob('*.pth')}
    assert names == {'iter_17.pth', 'iter_18.pth'}
