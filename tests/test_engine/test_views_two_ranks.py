"""MoCo-v3's keys, SEED's queue, DINO's centre and training do not depend on the processes."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

WORKER = Path(__file__).with_name('views_two_rank_worker.py')


def test_two_ranks_equal_one(tmp_path) -> None:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = str(server.getsockname()[1])
    common = os.environ | dict(
        CUDA_VISIBLE_DEVICES='-1',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=port,
        WORLD_SIZE='2',
        OMP_NUM_THREADS='1',
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, WORKER, 'pytorch', tmp_path],
            env=common | dict(RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        output = [rank.communicate(timeout=600)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], '\n'.join(output)
    first, second = (torch.load(tmp_path / f'rank_{rank}.pt') for rank in range(2))

    spec = importlib.util.spec_from_file_location('views_two_rank_worker', WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    alone = worker.losses(1)
    for name in ('contrast', 'dino', 'seed'):
        torch.testing.assert_close((first[name] + second[name]) / 2, alone[name])
        assert not torch.equal(first[name], second[name])
    both = torch.cat([first['gradient'], second['gradient']])
    torch.testing.assert_close(both, alone['gradient'])
    for name in ('center', 'queue'):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone[name])

    state = worker.train('none', str(tmp_path / 'alone'), 4).model.state_dict()
    for name, value in state.items():
        assert torch.equal(first['state'][name], second['state'][name]), name
        torch.testing.assert_close(first['state'][name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert state['criterion.center'].abs().max() > 0
