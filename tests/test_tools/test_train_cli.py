"""tools/train.py as its users call it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import lightvit_dense  # noqa: F401
from tests.helpers.toy_engine import write_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(call_toy):
    """Run the tool in this process; returns its exit status, output and errors."""
    return partial(call_toy, 'train.py')


def test_train_then_resume(call, tmp_path) -> None:
    config, work_dir = write_config(tmp_path, length=1), tmp_path / 'w'
    status, out, _ = call(config, '--work-dir', work_dir)
    assert status == 0
    assert 'Epoch(train) [1][6/6]' in out
    more = ('--cfg-options', 'train_cfg.max_epochs=2')
    status, out, _ = call(config, '--work-dir', work_dir, '--resume', *more)
    assert status == 0
    assert f'continuing from {work_dir}/epoch_1.pth' in out
    assert 'Epoch(train) [1]' not in out
    checkpoint = work_dir / 'epoch_1.pth'
    status, out, _ = call(config, '--work-dir', work_dir, '--resume', checkpoint, *more)
    assert status == 0
    assert 'resumed epoch: 1, iter: 6' in out


def test_auto_scale_lr(call, tmp_path) -> None:
    extra = '\nauto_scale_lr = dict(base_batch_size=8)\n'
    config = write_config(tmp_path, length=1, extra=extra)
    status, out, _ = call(config, '--work-dir', tmp_path / 'w', '--auto-scale-lr')
    assert status == 0
    assert 'Learning rate 0.01 x 0.5 = 0.005' in out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--cfg-options', 'optim_wraper.type=X'), "Did you mean 'optim_wrapper'"),
        (('--cfg-options', 'load_from=gone.pth'), 'gone.pth  (load_from)'),
        (('--resume', 'gone.pth'), 'gone.pth  (--resume)'),
        (('--auto-scale-lr',), 'base_batch_size'),
        (('--amp',), 'error: --amp: automatic mixed precision needs a CUDA GPU'),
        (('--launcher', 'pytorch'), '--launcher pytorch'),
        (('--preflight', '--cfg-options', 'load_from=gone.pth'), 'gone.pth  (load_from)'),
    ],
)
def test_mistakes_get_one_plain_message(call, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    config = write_config(tmp_path)
    status, _, err = call(config, '--work-dir', tmp_path / 'w', *arguments)
    assert status == 2
    assert message in err
    assert 'Traceback' not in err
    assert not (tmp_path / 'w').exists()


def test_a_truncated_checkpoint_is_named(call, tmp_path) -> None:
    path = tmp_path / 'torn.pth'
    torch.save(dict(state_dict={}), path)
    path.write_bytes(path.read_bytes()[:200])
    config = write_config(tmp_path)
    status, _, err = call(config, '--work-dir', tmp_path / 'w', '--resume', path)
    assert status == 2
    assert str(path) in err
    assert 'Traceback' not in err


def test_preflight_passes_quietly(call, tmp_path) -> None:
    status, out, _ = call(write_config(tmp_path), '--preflight')
    assert status == 0
    assert out.startswith('preflight: all 0 local files')


def test_as_a_process(tmp_path) -> None:
    """Exit status and streams are those of a real process, from any directory."""
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'train.py', 'missing.py'],
        cwd=tmp_path,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == 'error: config missing.py does not exist\n'
