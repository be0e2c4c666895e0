"""Resume equals not stopping, bit for bit, and reads on where the other stopped."""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATASETS as ROOT_DATASETS
from torch.utils.data import DataLoader

from lightvit_dense import apis
from lightvit_dense.datasets.determinism import SeededInfiniteSampler, SeededSampler
from lightvit_dense.engine.resume import find_resume_checkpoint, is_whole_checkpoint
from lightvit_dense.engine.sampler_state import can_be_resumed, find_sampler
from tests.helpers.processes import start_python
from tests.helpers.resume import assert_same, run
from tests.helpers.toy_engine import ToyPoints

SAMPLERS = {
    'epoch': 'lightvit_dense.SeededSampler',
    'iteration': 'lightvit_dense.SeededInfiniteSampler',
    'iteration over a finite sampler': 'lightvit_dense.SeededSampler',
}


def prepare(cfg: Config, kind: str, workers: int) -> Config:
    cfg.train_dataloader.sampler.type = SAMPLERS[kind]
    cfg.train_dataloader.dataset.seeded_noise = True
    cfg.train_dataloader.num_workers = workers
    cfg.train_dataloader.persistent_workers = workers > 0
    return cfg


@pytest.mark.parametrize(
    ('kind', 'workers', 'interval'),
    [
        ('epoch', 0, 1),
        ('epoch', 2, 1),
        ('epoch', 0, 4),  # iterations: it is resumed in its middle
        ('epoch', 0, 6),  # at its last iteration, before its end
        ('iteration', 0, 2),
        ('iteration', 2, 2),
        ('iteration over a finite sampler', 0, 2),
    ],
)
def test_resume_equals_not_stopping(toy_config, tmp_path, kind, workers, interval) -> None:
    by_epoch = kind == 'epoch'
    cfg = prepare(toy_config(by_epoch=by_epoch, length=3 if by_epoch else 17), kind, workers)
    checkpoints = dict(by_epoch=by_epoch and interval == 1, interval=interval)
    cfg.default_hooks.checkpoint.update(checkpoints)
    cfg.engine = dict(ema=dict(momentum=0.1))
    whole = run(cfg, tmp_path / 'whole')
    # Checkpoints exist at iteration 6 and 12 of 18, or 8 of 17: the stop costs some iterations.
    run(cfg, tmp_path / 'stopped', stop_at=9)
    resumed = run(cfg, tmp_path / 'stopped', resume=True)
    assert_same(whole, resumed)


def test_a_run_without_a_seed_resumes_with_the_one_it_drew(toy_config, tmp_path) -> None:
    cfg = prepare(toy_config(length=2), 'epoch', 0)
    cfg.randomness = dict(seed=None)
    run(cfg, tmp_path / 'w', stop_at=8)
    runner = apis.train(cfg, work_dir=tmp_path / 'w', resume=True)
    saved = torch.load(tmp_path / 'w' / 'epoch_1.pth', weights_only=False)
    assert runner.train_dataloader.sampler.seed == runner.seed == saved['meta']['seed']


def test_a_torn_or_damaged_checkpoint_is_passed_over(toy_config, tmp_path, capsys) -> None:
    cfg = prepare(toy_config(length=2), 'epoch', 0)
    apis.train(cfg, work_dir=tmp_path / 'w')
    last = tmp_path / 'w' / 'epoch_2.pth'
    whole, data = torch.load(last, weights_only=False), last.read_bytes()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    for content in (damaged, data[:-3000]):
        last.write_bytes(content)
        assert not is_whole_checkpoint(last)
        assert find_resume_checkpoint(tmp_path / 'w') == str(tmp_path / 'w' / 'epoch_1.pth')
        assert 'epoch_2.pth is missing or torn' in capsys.readouterr().out
    assert_same(whole, run(cfg, tmp_path / 'w', resume=True))


def test_a_moved_work_directory_is_resumed_and_an_empty_one_started(
    toy_config, tmp_path, capsys
) -> None:
    cfg = prepare(toy_config(length=1), 'epoch', 0)
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w/epoch_1.pth').write_bytes(b'torn')
    checkpoint = run(cfg, tmp_path / 'w', resume=True)
    assert checkpoint['meta']['iter'] == 6
    assert 'starts from the beginning' in capsys.readouterr().out
    (tmp_path / 'w').rename(tmp_path / 'elsewhere')
    found = find_resume_checkpoint(tmp_path / 'elsewhere')
    assert found == str(tmp_path / 'elsewhere' / 'epoch_1.pth')


WORKER = Path(__file__).parents[1] / 'helpers/killed_run_worker.py'
SEED = 1  # draws the order of the kills and their moments


def diary(folder: Path) -> list[list[str]]:
    """Return iteration, images and loss of every iteration that a run had."""
    return [line.split() for line in (folder / 'diary.txt').read_text().splitlines()]


def test_ten_kills_change_no_weight_and_leave_nothing_torn(tmp_path) -> None:
    environment = os.environ | dict(OMP_NUM_THREADS='1', TEST_PROCESS_SECONDS='400')
    with (tmp_path / 'out.txt').open('w') as out:
        status = start_python([sys.executable, WORKER, tmp_path, SEED], out, environment).wait()
    printed = (tmp_path / 'out.txt').read_text()
    assert status == 0, printed[-3000:]
    whole, *killed, last = json.loads(printed.splitlines()[-1])
    log = (tmp_path / 'killed' / 'log.txt').read_text()[-3000:]
    assert [a['status'] for a in killed] == [-signal.SIGKILL] * 10, log
    assert whole['status'] == last['status'] == 0, log
    # Something was left to do each time, and none of it was done from the beginning.
    assert 0 < last['beats'] < whole['beats']
    paths = [find_resume_checkpoint(tmp_path / name) for name in ('whole', 'killed')]
    states = [torch.load(path, weights_only=False) for path in paths]
    assert states[0]['meta']['iter'] == whole['beats']
    assert 'ema_state_dict' in states[0]
    assert_same(*states)

    # What an attempt repeats because its checkpoint was lost, it repeats exactly.
    in_peace, in_parts = diary(tmp_path / 'whole'), diary(tmp_path / 'killed')
    by_iteration = {line[0]: line for line in in_peace}
    assert len(by_iteration) == len(in_peace) == len({line[1] for line in in_peace})
    assert {line[0] for line in in_parts} == set(by_iteration)
    assert len(in_parts) > len(in_peace)
    assert all(line == by_iteration[line[0]] for line in in_parts)

    names = {path.name for path in (tmp_path / 'killed').iterdir()}
    assert {name for name in names if name.endswith(('.pth', '.tmp'))} == {
        'iter_17.pth',
        'iter_18.pth',
    }


@ROOT_DATASETS.register_module(force=True)
class ToyOfTwoShapes(ToyPoints):
    """Says that its images are upright or not, for mmdet to group them by that."""

    def get_data_info(self, index: int) -> dict:
        """Every third is upright."""
        return dict(width=1, height=2 if int(index) % 3 == 0 else 1)


def train(cfg, work_dir: Path, log: Path, stop_at: int | None = None, resume: bool = False):
    """Train; return the indices that were read."""
    cfg = cfg.copy()
    cfg.train_dataloader.dataset.log = str(log)
    run(cfg, work_dir, stop_at, resume)
    return [int(line) for line in log.read_text().split()]


@pytest.mark.parametrize(
    ('sampler', 'by_epoch', 'grouped', 'workers'),
    [
        ('DefaultSampler', True, False, 0),
        ('DefaultSampler', False, False, 0),
        ('DefaultSampler', False, True, 2),
        ('InfiniteSampler', False, False, 2),
        ('InfiniteSampler', False, True, 0),
        ('lightvit_dense.SeededSampler', True, True, 0),
        ('lightvit_dense.SeededInfiniteSampler', False, True, 0),
        ('lightvit_dense.SeededInfiniteSampler', False, True, 2),
    ],
)
def test_the_order_goes_on(toy_config, tmp_path, sampler, by_epoch, grouped, workers) -> None:
    """A checkpoint at iteration 8 of 14; 24 samples are 6 batches."""
    cfg = toy_config(by_epoch=by_epoch, length=3 if by_epoch else 14)
    loader = cfg.train_dataloader
    loader.sampler.type, loader.num_workers = sampler, 0
    loader.dataset.type = 'ToyOfTwoShapes'
    if grouped:
        loader.batch_sampler = dict(type='mmdet.AspectRatioBatchSampler')
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=4)
    whole = train(cfg, tmp_path / 'whole', tmp_path / 'a')
    train(cfg, tmp_path / 'stopped', tmp_path / 'b', stop_at=9)
    loader.num_workers = workers
    resumed = train(cfg, tmp_path / 'stopped', tmp_path / 'c', resume=True)
    size = cfg.train_dataloader.get('batch_size', 4)
    left = whole[8 * size :]
    if workers:  # two processes write as they please, and the infinite ones read ahead
        assert set(resumed) >= set(left)
        assert len(resumed) <= len(left) + (0 if by_epoch else 2 * workers * size)
    else:
        assert resumed == left


FAR = 120_001


@pytest.mark.parametrize(
    'kind', [SeededInfiniteSampler, SeededSampler, InfiniteSampler, DefaultSampler]
)
def test_a_long_run_is_resumed_without_loading_what_is_past(toy_config, tmp_path, kind) -> None:
    scope = 'lightvit_dense.' if kind in (SeededSampler, SeededInfiniteSampler) else ''
    cfg = toy_config(by_epoch=False, length=2)
    cfg.train_dataloader.sampler.type = f'{scope}{kind.__name__}'
    run(cfg, tmp_path / 'w')
    path = tmp_path / 'w' / 'iter_2.pth'
    content = torch.load(path, weights_only=False)
    content['meta']['iter'] = FAR
    torch.save(content, path)
    cfg.train_cfg.max_iters = FAR + 2
    reads = train(cfg, tmp_path / 'w', tmp_path / 'reads', resume=True)

    sampler = kind(ToyPoints(), shuffle=True, seed=cfg.randomness.seed)
    if 'Infinite' in kind.__name__:
        past, epochs = FAR * 4, sampler
    else:
        past = FAR % 6 * 4
        sampler.set_epoch(FAR // 6)
        first = list(sampler)
        sampler.set_epoch(FAR // 6 + 1)
        epochs = first + list(sampler)
    assert reads == [int(i) for i in itertools.islice(epochs, past, past + 8)]


@pytest.mark.parametrize('resume', [False, True])
def test_what_cannot_be_resumed_is_said(toy_config, tmp_path, resume) -> None:
    cfg = toy_config(by_epoch=False, length=3)
    if resume:
        train(cfg, tmp_path / 'w', tmp_path / 'a', stop_at=2)
    train(cfg, tmp_path / 'w', tmp_path / 'b', resume=resume)
    logs = sorted(tmp_path.glob('w/*/*.log'))
    lines = [line for log in logs for line in log.read_text().splitlines()]
    line = [line for line in lines if 'gives plain indices' in line][-1]
    assert ('WARNING' if resume else 'INFO') in line
    assert "sampler=dict(type='lightvit_dense.SeededInfiniteSampler')" in line
    assert not can_be_resumed(find_sampler(DataLoader(ToyPoints(), shuffle=True)))
