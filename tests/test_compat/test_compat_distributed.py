"""Joining a process group on the CPU, and the wrapper under the Runner in two processes."""

import os
import socket

import pytest
import torch

from lightvit_dense.compat import (
    DistributedDataParallel,
    distributed,
    finish_distributed,
    init_distributed,
)
from lightvit_dense.registry import MODEL_WRAPPERS
from tests.helpers import finish_worker, two_rank_worker

PLACE = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
LAUNCHERS = ('SLURM_', 'OMPI_')


def free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


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


def variables(launcher, rank):
    if launcher == 'pytorch':
        return {'RANK': str(rank), 'WORLD_SIZE': '2', 'LOCAL_RANK': str(rank)}
    return {
        'SLURM_PROCID': str(rank),
        'SLURM_NTASKS': '2',
        'SLURM_LOCALID': str(rank),
        'SLURM_NODELIST': '127.0.0.1',
    }


def test_two_ranks_end_with_the_weights_of_one(tmp_path, run_ranks):
    run_ranks(two_rank_worker.__file__, 'pytorch', tmp_path)
    first, second = (torch.load(tmp_path / f'rank_{rank}.pt') for rank in range(2))
    assert first['wrapper'] == 'lightvit_dense.compat.distributed.DistributedDataParallel'
    assert (first['backend'], first['ranks'], first['count'], first['test']) == ('gloo', 2, 8, 3)
    for name, value in first['weights'].items():
        assert torch.equal(value, second['weights'][name])

    # Averaged gradients of two half batches are the gradient of the whole batch.
    alone = two_rank_worker.train('none', str(tmp_path / 'alone'), batch_size=4).model.cpu()
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first['weights'][name], value)
        assert not torch.allclose(value, two_rank_worker.Line().state_dict()[name], atol=1e-3)


def test_ranks_end_although_a_collective_holds_its_tensor(run_ranks):
    run_ranks(finish_worker.__file__, 'finish')


def test_a_rank_that_fails_ends(run_ranks):
    with pytest.raises(AssertionError, match='ValueError: rank 0 fails'):
        run_ranks(finish_worker.__file__, 'fail')


def test_none_does_nothing(environment):
    init_distributed('none')
    assert not torch.distributed.is_initialized()
    finish_distributed()  # nothing to finish


def test_an_existing_group_is_kept(environment, on_cpu):
    values = ('0', '1', '0', '127.0.0.1', free_port())
    set_all(environment, dict(zip(PLACE, values, strict=True)))
    init_distributed('pytorch', timeout=30)
    init_distributed('pytorch', backend='no such backend')
    assert torch.distributed.get_backend() == 'gloo'


def test_slurm_is_translated(environment, on_cpu):
    set_all(environment, variables('slurm', 0))
    set_all(environment, {'SLURM_NTASKS': '1', 'MASTER_PORT': free_port()})
    init_distributed('slurm')
    assert [os.environ[name] for name in PLACE[:4]] == ['0', '1', '0', '127.0.0.1']
    assert torch.distributed.get_backend() == 'gloo'


def test_open_mpi_is_translated(environment, on_cpu):
    place = {'RANK': '0', 'LOCAL_RANK': '0', 'SIZE': '1'}
    set_all(environment, {f'OMPI_COMM_WORLD_{name}': value for name, value in place.items()})
    set_all(environment, {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port()})
    init_distributed('mpi')
    assert [os.environ[name] for name in PLACE[:3]] == ['0', '1', '0']
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


def test_nccl_without_a_gpu_is_refused(environment, on_cpu):
    set_all(environment, variables('pytorch', 0))
    environment.setenv('MASTER_ADDR', '127.0.0.1')
    with pytest.raises(ValueError, match=r"'nccl' needs a GPU.*backend='gloo'"):
        init_distributed('pytorch', backend='nccl')


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
    calls = []
    environment.setattr(distributed, 'get_device', lambda: 'cuda')
    environment.setattr(distributed, 'init_dist', lambda *args, **kw: calls.append((args, kw)))
    environment.setattr(torch.cuda, 'is_available', lambda: True)
    environment.setattr(torch.cuda, 'device_count', lambda: 1)
    set_all(environment, variables('slurm', 1))
    init_distributed('slurm', timeout=5)
    assert calls == [(('pytorch',), {'backend': 'nccl', 'timeout': 5})]
    # The second task of a node sees its own GPU as number 0.
    assert (os.environ['RANK'], os.environ['LOCAL_RANK']) == ('1', '0')

    environment.setenv('LOCAL_RANK', '1')
    with pytest.raises(RuntimeError, match=r'LOCAL_RANK is 1 but this machine shows 1 GPU'):
        init_distributed('pytorch')


def test_wrapper_is_registered():
    assert MODEL_WRAPPERS.get('lightvit_dense.DistributedDataParallel') is DistributedDataParallel
