"""A resumed run reads on where the other stopped, whatever orders its samples."""

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATASETS as ROOT_DATASETS

from lightvit_dense.datasets.determinism import SeededInfiniteSampler, SeededSampler
from lightvit_dense.engine.sampler_state import SkippingBatches, can_be_resumed, find_sampler
from tests.helpers.resume import run
from tests.helpers.toy_engine import ToyPoints


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
    ('name', 'kind'),
    [
        ('lightvit_dense.SeededInfiniteSampler', SeededInfiniteSampler),
        ('lightvit_dense.SeededSampler', SeededSampler),
        ('InfiniteSampler', InfiniteSampler),
        ('DefaultSampler', DefaultSampler),
    ],
)
def test_a_long_run_is_resumed_without_loading_what_is_past(
    toy_config, tmp_path, name, kind
) -> None:
    cfg = toy_config(by_epoch=False, length=2)
    cfg.train_dataloader.sampler.type = name
    run(cfg, tmp_path / 'w')
    path = tmp_path / 'w' / 'iter_2.pth'
    content = torch.load(path, weights_only=False)
    content['meta']['iter'] = FAR
    torch.save(content, path)
    cfg.train_cfg.max_iters = FAR + 2
    reads = train(cfg, tmp_path / 'w', tmp_path / 'reads', resume=True)

    sampler = kind(ToyPoints(), shuffle=True, seed=cfg.randomness.seed)
    if 'Infinite' in name:
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


def test_batches_are_passed_over_once() -> None:
    batches = SkippingBatches([[1, 2], [3, 4], [5]], 2)
    assert list(batches) == [[5]]
    assert list(batches) == [[1, 2], [3, 4], [5]]
    assert len(batches) == 3


def test_a_random_order_cannot_be_resumed() -> None:
    loader = torch.utils.data.DataLoader(ToyPoints(), shuffle=True)
    assert not can_be_resumed(find_sampler(loader))
