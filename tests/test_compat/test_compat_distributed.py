"""Process groups on the CPU, and what two processes compute as one does."""

import json
import os
import socket

import pytest
import torch
from torch import nn

from lightvit_dense.compat import distributed, finish_distributed, init_distributed
from lightvit_dense.compat.sync_bn import CPUSyncBatchNorm, synchronise_on_cpu
from lightvit_dense.errors import UserError
from tests.helpers import finish_worker, ranks_worker
from tests.helpers.data_sets import write_image
from tests.helpers.processes import run_ranks, start_python
from tests.helpers.toy_engine import write_config

PLACE = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
LAUNCHERS = ('SLURM_', 'OMPI_')
TOLD_BY = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


@pytest.fixture
def environment(monkeypatch):
    """An environment in which no launcher has spoken; restored afterwards."""
    for name in [n for n in os.environ if n in PLACE or n.startswith(LAUNCHERS)]:
        monkeypatch.delenv(name)
    yield monkeypatch
    finish_distributed()
    for name in PLACE:
        os.environ.pop(name, None)


def set_all(environment, values):
    for name, value in values.items():
        environment.setenv(name, value)


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)


def variables(launcher, rank, ranks=2):
    values = (str(rank), str(ranks), str(rank))
    place = dict(zip(TOLD_BY[launcher], values, strict=True))
    return place | {'SLURM_NODELIST' if launcher == 'slurm' else 'MASTER_ADDR': '127.0.0.1'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What two ranks left behind, which share no folder but this."""
    folder = tmp_path_factory.mktemp('ranks')
    (folder / 'rank 1').mkdir()
    for name in 'abc':
        write_image(folder / f'rank 0/images/train/{name}/{name}.JPEG')
    config = write_config(folder, by_epoch=False, length=2)
    run_ranks(ranks_worker.__file__, config, folder, start=start_python)
    return folder


@pytest.fixture(scope='module')
def ranks(folder):
    return [torch.load(folder / f'rank_{rank}.pt') for rank in range(2)]


@pytest.fixture(scope='module')
def apart(folder):
    """What the ranks found in their own folders."""
    return [json.loads((folder / f'rank {rank}/found.json').read_text()) for rank in range(2)]


def test_two_ranks_end_with_the_weights_of_one(ranks, tmp_path):
    first, second = ranks
    assert first['wrapper'] == 'lightvit_dense.compat.distributed.DistributedDataParallel'
    assert (first['backend'], first['ranks'], first['count'], first['test']) == ('gloo', 2, 8, 3)
    for name, value in first['line'].items():
        assert torch.equal(value, second['line'][name])

    # Averaged gradients of two half batches are the gradient of the whole batch.
    alone = ranks_worker.train_line('none', tmp_path, batch_size=4).model.cpu()
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first['line'][name], value)
        assert not torch.allclose(value, ranks_worker.Line().state_dict()[name], atol=1e-3)


def test_what_pretrainers_share_is_the_same_on_two_ranks(ranks, tmp_path) -> None:
    """MoCo-v3's keys, SEED's queue, DINO's centre, a teacher's statistics and the training."""
    first, second = (found['losses'] for found in ranks)
    alone = ranks_worker.losses(1)
    for name in ('contrast', 'dino', 'seed'):
        torch.testing.assert_close((first[name] + second[name]) / 2, alone[name])
        assert not torch.equal(first[name], second[name])
    for name in ('gradient', 'standard'):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), alone[name])
    for name in ('center', 'queue', 'sums'):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone[name])

    state = ranks_worker.train_dino('none', tmp_path, 4).model.state_dict()
    for name, value in state.items():
        found = ranks[0]['dino'][name]
        assert torch.equal(found, ranks[1]['dino'][name]), name
        torch.testing.assert_close(found, value, atol=1e-5, rtol=1e-4, msg=name)
    assert state['criterion.center'].abs().max() > 0


def test_batch_norms_of_two_ranks_compute_what_one_does(ranks) -> None:
    first, second = (found['norms'] for found in ranks)
    start = ranks_worker.network().state_dict()
    expected = ranks_worker.train_norms(ranks_worker.network(), ranks_worker.images())
    assert expected['4.num_batches_tracked'] == 3
    for name, value in expected.items():
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-9)
        assert torch.equal(first[name], second[name])
    for name in ('0.weight', '1.weight', '1.bias', '1.running_var', '4.running_mean'):
        assert not torch.allclose(expected[name], start[name])


def test_ranks_end_although_a_collective_holds_its_tensor():
    run_ranks(finish_worker.__file__, 'finish')


def test_a_rank_that_fails_ends():
    with pytest.raises(AssertionError, match='ValueError: rank 0 fails'):
        run_ranks(finish_worker.__file__, 'fail')


def test_a_rank_that_falls_silent_is_named_and_the_others_end():
    with pytest.raises(AssertionError, match=r'rank 1 \(.+\) has not been heard from for 4 s'):
        run_ranks(finish_worker.__file__, 'stop')


def test_what_ranks_find_apart_is_put_together(apart, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = ranks_worker.evaluate(range(5))
    for found in apart:
        assert found['figures'] == alone
        assert found['images'] == [f'train/{name}/{name}.JPEG' for name in 'abc']
        assert found['variances'] == [3.0, 3.0]
    assert [found['files'] for found in apart] == [['images', 'results.pkl', 'work'], ['work']]


def test_ranks_agree_or_all_end(apart):
    where = f'rank 1 ({socket.gethostname()}): '
    for found in apart:
        lr = 'optim_wrapper.optimizer.lr is 0.2, on rank 0 0.1. All processes need the same code'
        assert found['config'].startswith(where + lr)
        assert found['resume'].startswith(
            f'{where}load_from is work/iter_2.pth (missing), on rank 0 '
        )
        assert (found['unused'], found['iterations']) == (True, 4)


def test_none_does_nothing(environment):
    init_distributed('none')
    assert not torch.distributed.is_initialized()
    finish_distributed()  # nothing to finish


@pytest.mark.parametrize('launcher', list(TOLD_BY))
def test_launchers_are_translated_and_an_existing_group_is_kept(environment, on_cpu, launcher):
    set_all(environment, variables(launcher, 0, ranks=1) | {'MASTER_PORT': '0'})
    init_distributed(launcher, timeout=30)
    init_distributed(launcher)  # does nothing
    assert [os.environ[name] for name in PLACE[:4]] == ['0', '1', '0', '127.0.0.1']
    assert torch.distributed.get_backend() == 'gloo'
    assert torch.distributed.get_world_size() == 1


@pytest.mark.parametrize(
    ('launcher', 'error', 'message'),
    [
        ('ssh', ValueError, r"unknown launcher 'ssh'.*none, pytorch, slurm, mpi"),
        ('pytorch', RuntimeError, r'RANK, WORLD_SIZE, LOCAL_RANK not set.*torchrun'),
    ],
)
def test_what_is_unknown_or_missing_is_named(environment, launcher, error, message):
    with pytest.raises(error, match=message):
        init_distributed(launcher)


def test_slurm_node_list(environment, tmp_path):
    set_all(environment, variables('slurm', 0))
    environment.setenv('SLURM_NODELIST', 'node[07-09]')
    environment.setenv('PATH', str(tmp_path))
    with pytest.raises(RuntimeError, match='set MASTER_ADDR'):
        init_distributed('slurm')

    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[07-09]" ] && echo node07\n')
    scontrol.chmod(0o755)
    assert distributed._master_address('slurm') == 'node07'


def test_gpus_go_through_mmengine(environment):
    calls, store = [], torch.distributed.HashStore()
    environment.setattr(distributed, 'get_device', lambda: 'cuda')
    environment.setattr(torch.distributed, 'rendezvous', lambda *_, **kw: iter([(store, 1, 1)]))
    environment.setenv('TORCHELASTIC_RESTART_COUNT', '2')
    environment.setattr(distributed, 'init_dist', lambda *args, **kw: calls.append((args, kw)))
    environment.setattr(torch.cuda, 'is_available', lambda: True)
    environment.setattr(torch.cuda, 'device_count', lambda: 1)
    set_all(environment, variables('slurm', 1, 1) | dict(SLURM_JOB_ID='18001', SLURM_STEP_ID='2'))
    init_distributed('slurm', timeout=5)
    calls[0][1].pop('store').set('key', 'of this attempt')
    assert store.get('attempt 2/key') == b'of this attempt'
    place = dict(rank=1, world_size=1)
    assert calls == [(('pytorch',), dict(backend='nccl', timeout=5, **place))]
    # The second task of a node sees its own GPU as number 0.
    assert (os.environ['RANK'], os.environ['LOCAL_RANK']) == ('1', '0')
    assert os.environ['MASTER_PORT'] == str(15000 + 1001 + 2 * 7919)

    environment.setenv('LOCAL_RANK', '1')
    with pytest.raises(UserError, match=r'2 processes, one a GPU, but this machine shows 1 GPU'):
        init_distributed('pytorch')


def test_layers_keep_names_and_work_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4), nn.BatchNorm2d(4))
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    plain.load_state_dict(model.state_dict())
    weight = model[1].weight
    assert synchronise_on_cpu(model) == 1
    assert synchronise_on_cpu(model) == 0
    assert type(model[1]) is CPUSyncBatchNorm
    assert model[1].weight is weight
    x = torch.randn(2, 3, 4, 5)
    for training in (True, False):
        assert torch.equal(model.train(training)(x), plain.train(training)(x))
    assert torch.equal(model[1].running_var, plain[1].running_var)


def test_layers_elsewhere_are_left_to_torch() -> None:
    assert synchronise_on_cpu(nn.SyncBatchNorm(4, device='meta')) == 0
