"""Checkpoints are whole or absent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import MessageHub

from lightvit_dense import apis
from lightvit_dense.engine.hooks.checkpoint import BACKEND, AtomicLocalBackend
from lightvit_dense.registry import METRICS
from lightvit_dense.utils.io import atomic_write
from tests.helpers.toy_engine import ToyMetric, clear_globals, write_config

# Trains in a process of its own, which is killed in the middle of writing its third checkpoint.
KILLED = """
import os, signal, sys
from pathlib import Path
from lightvit_dense import apis

written, write = 0, Path.write_bytes

def write_or_die(self, data):
    global written
    written += len(data) > 1000  # not the pointer
    if written == 3:
        write(self, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, data)

Path.write_bytes = write_or_die
apis.train(sys.argv[1], work_dir=sys.argv[2])
"""


def test_killed_while_writing_then_resumed(tmp_path) -> None:
    extra = "\ndefault_hooks['checkpoint']['max_keep_ckpts'] = 1\n"
    config = write_config(tmp_path, length=4, extra=extra)
    work_dir = tmp_path / 'work'
    command = [sys.executable, '-c', KILLED, config, work_dir]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    # The second checkpoint outlives the kill although only one is kept.
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_2.pth']
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'epoch_2.pth')
    assert len(list(work_dir.glob('.epoch_3.pth.*.tmp'))) == 1

    runner = apis.train(config, work_dir=work_dir, resume=True)
    assert runner.epoch == 4
    log = next(work_dir.glob(f'{runner.timestamp}/*.log')).read_text()
    assert 'resumed epoch: 2, iter: 12' in log
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_4.pth']
    assert not list(work_dir.glob('.*.tmp'))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / 'a' / 'file'
    atomic_write(path, b'old')

    def fail(*args) -> None:
        raise OSError('disk full')

    monkeypatch.setattr('lightvit_dense.utils.io.os.fsync', fail)
    with pytest.raises(OSError, match='disk full'):
        atomic_write(path, b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['file']


def test_written_files_have_ordinary_permissions(tmp_path) -> None:
    (tmp_path / 'ordinary').write_bytes(b'')
    atomic_write(tmp_path / 'atomic', b'')
    assert (tmp_path / 'atomic').stat().st_mode == (tmp_path / 'ordinary').stat().st_mode


def test_backend_writes_bytes_and_text(tmp_path) -> None:
    backend = get_file_backend(backend_args=dict(backend=BACKEND))
    backend.put(b'\x00\x01', tmp_path / 'bytes')
    backend.put(memoryview(b'\x02'), tmp_path / 'view')
    backend.put_text('ä', tmp_path / 'text')
    assert backend.get(tmp_path / 'bytes') == b'\x00\x01'
    assert backend.get(tmp_path / 'view') == b'\x02'
    assert backend.get_text(tmp_path / 'text') == 'ä'


def test_only_the_newest_are_kept_over_a_resume(toy_config) -> None:
    cfg = toy_config(length=3)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2
    apis.train(cfg)
    work_dir = Path(cfg.work_dir)
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_2.pth', 'epoch_3.pth'}
    clear_globals()
    cfg.train_cfg.max_epochs = 5
    apis.train(cfg, resume=True)
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_4.pth', 'epoch_5.pth'}


def test_best_checkpoint_is_tracked(toy_config) -> None:
    cfg = validating(toy_config, length=2, metric='lightvit_dense.ToyMetric')
    apis.train(cfg)
    best = torch.load(Path(cfg.work_dir) / 'best_seen_epoch_1.pth', weights_only=False)
    assert best['meta']['epoch'] == 1


def validating(toy_config, length: int, metric: str = 'lightvit_dense.GrowingMetric'):
    """Two epochs or more, each better than the one before unless the metric is another."""
    cfg = toy_config(length=length)
    cfg.val_dataloader, cfg.val_evaluator, cfg.val_cfg = cfg.test_dataloader, cfg.test_evaluator, {}
    cfg.val_evaluator.type = metric
    cfg.default_hooks.checkpoint.update(save_best='seen', rule='greater', max_keep_ckpts=1)
    return cfg


@pytest.fixture
def growing():
    """The metric of ``validating``."""

    @METRICS.register_module(force=True)
    class GrowingMetric(ToyMetric):
        def compute_metrics(self, results: list) -> dict:
            message_hub = MessageHub.get_current_instance()
            return dict(seen=float(message_hub.get_info('epoch')))

    yield
    METRICS.module_dict.pop('GrowingMetric')


class Died(Exception):
    """Stands for a kill."""


def names(cfg) -> set[str]:
    return {path.name for path in Path(cfg.work_dir).iterdir() if path.suffix in ('.pth', '.tmp')}


def train_until(monkeypatch, cfg, method: str, name: str) -> None:
    """Train until a method of the file backend is asked for a file of this name."""
    original = getattr(AtomicLocalBackend, method)

    def call_or_die(self, *arguments) -> None:
        if Path(arguments[-1]).name == name:
            raise Died
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicLocalBackend, method, call_or_die)
        with pytest.raises(Died):
            apis.train(cfg)
    clear_globals()


def test_a_best_checkpoint_outlives_a_kill_while_the_better_one_is_written(
    toy_config, growing, monkeypatch
) -> None:
    cfg = validating(toy_config, length=3)
    train_until(monkeypatch, cfg, 'put', 'best_seen_epoch_3.pth')
    assert names(cfg) == {'epoch_3.pth', 'best_seen_epoch_2.pth'}
    cfg.train_cfg.max_epochs = 4
    apis.train(cfg, resume=True)
    assert names(cfg) == {'epoch_4.pth', 'best_seen_epoch_4.pth'}


def test_what_a_killed_run_did_not_come_to_remove_is_removed(
    toy_config, growing, monkeypatch
) -> None:
    cfg = validating(toy_config, length=3)
    train_until(monkeypatch, cfg, 'remove', 'epoch_2.pth')
    assert names(cfg) == {'epoch_2.pth', 'epoch_3.pth', 'best_seen_epoch_2.pth'}
    (Path(cfg.work_dir) / 'epoch_9.pth').write_bytes(b'of the user')
    (Path(cfg.work_dir) / '.last_checkpoint.abc.tmp').write_bytes(b'')
    cfg.train_cfg.max_epochs = 4
    apis.train(cfg, resume=str(Path(cfg.work_dir) / 'epoch_3.pth'))
    assert names(cfg) == {'epoch_4.pth', 'epoch_9.pth', 'best_seen_epoch_4.pth'}
