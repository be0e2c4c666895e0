"""Resume equals not stopping, bit for bit."""

import pytest
import torch
from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.engine.resume import find_resume_checkpoint, is_whole_checkpoint
from tests.helpers.resume import assert_same, run

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
    ('kind', 'workers'),
    [
        ('epoch', 0),
        ('epoch', 2),
        ('iteration', 0),
        ('iteration', 2),
        ('iteration over a finite sampler', 0),
    ],
)
def test_resume_equals_not_stopping(toy_config, tmp_path, kind, workers) -> None:
    by_epoch = kind == 'epoch'
    cfg = prepare(toy_config(by_epoch=by_epoch, length=3 if by_epoch else 17), kind, workers)
    cfg.engine = dict(ema=dict(momentum=0.1))
    whole = run(cfg, tmp_path / 'whole')
    # Checkpoints exist at iteration 6 and 12 of 18, or 8 of 17: the stop costs some iterations.
    run(cfg, tmp_path / 'stopped', stop_at=9)
    resumed = run(cfg, tmp_path / 'stopped', resume=True)
    assert_same(whole, resumed)


def test_an_epoch_can_be_resumed_in_its_middle(toy_config, tmp_path) -> None:
    cfg = prepare(toy_config(length=2), 'epoch', 0)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=4)
    whole = run(cfg, tmp_path / 'whole')
    run(cfg, tmp_path / 'stopped', stop_at=10)
    assert_same(whole, run(cfg, tmp_path / 'stopped', resume=True))


def test_a_run_without_a_seed_resumes_with_the_one_it_drew(toy_config, tmp_path) -> None:
    cfg = prepare(toy_config(length=2), 'epoch', 0)
    cfg.randomness = dict(seed=None)
    run(cfg, tmp_path / 'w', stop_at=8)
    runner = apis.train(cfg, work_dir=tmp_path / 'w', resume=True)
    saved = torch.load(tmp_path / 'w' / 'epoch_1.pth', weights_only=False)
    assert runner.train_dataloader.sampler.seed == runner.seed == saved['meta']['seed']


def test_resume_reads_no_batch_twice(toy_config, tmp_path) -> None:
    cfg = prepare(toy_config(by_epoch=False, length=8), 'iteration', 0)
    run(cfg, tmp_path / 'w', stop_at=6)
    cfg.train_dataloader.dataset.log = str(tmp_path / 'reads')
    run(cfg, tmp_path / 'w', resume=True)
    reads = (tmp_path / 'reads').read_text().split()
    assert len(reads) == 2 * cfg.train_dataloader.batch_size


def test_a_torn_checkpoint_is_passed_over(toy_config, tmp_path, capsys) -> None:
    cfg = prepare(toy_config(length=2), 'epoch', 0)
    apis.train(cfg, work_dir=tmp_path / 'w')
    whole = torch.load(tmp_path / 'w' / 'epoch_2.pth', weights_only=False)
    last = tmp_path / 'w' / 'epoch_2.pth'
    last.write_bytes(last.read_bytes()[:-3000])
    assert not is_whole_checkpoint(last)
    assert find_resume_checkpoint(tmp_path / 'w') == str(tmp_path / 'w' / 'epoch_1.pth')
    assert 'epoch_2.pth is missing or torn' in capsys.readouterr().out
    assert_same(whole, run(cfg, tmp_path / 'w', resume=True))


def test_a_damaged_byte_is_noticed(tmp_path) -> None:
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(x=torch.arange(1000)), path)
    assert is_whole_checkpoint(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not is_whole_checkpoint(path)
    assert find_resume_checkpoint(tmp_path) is None


def test_a_moved_work_directory_resumes(toy_config, tmp_path) -> None:
    cfg = prepare(toy_config(length=1), 'epoch', 0)
    run(cfg, tmp_path / 'w')
    (tmp_path / 'w').rename(tmp_path / 'elsewhere')
    found = find_resume_checkpoint(tmp_path / 'elsewhere')
    assert found == str(tmp_path / 'elsewhere' / 'epoch_1.pth')


def test_resume_without_any_checkpoint_starts_anew(toy_config, tmp_path, capsys) -> None:
    cfg = prepare(toy_config(length=1), 'epoch', 0)
    checkpoint = run(cfg, tmp_path / 'w', resume=True)
    assert checkpoint['meta']['iter'] == 6
    assert 'starts from the beginning' in capsys.readouterr().out
