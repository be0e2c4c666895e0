"""SyncBatchNorm without a GPU: two processes compute what one does with the whole batch."""

from pathlib import Path

import torch
from torch import nn

from lightvit_dense.compat.sync_bn import CPUSyncBatchNorm, synchronise_on_cpu
from tests.helpers import sync_bn_worker as worker


def test_two_ranks_compute_what_one_does(tmp_path: Path, run_ranks) -> None:
    run_ranks(worker.__file__, tmp_path)
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))

    alone = worker.network()
    start = {name: value.clone() for name, value in alone.state_dict().items()}
    worker.train(alone, worker.images(), 1.0)
    expected = dict(alone.state_dict(), scores=alone.eval()(worker.images()))
    assert expected['4.num_batches_tracked'] == 3
    for name, value in expected.items():
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-9)
        assert torch.equal(first[name], second[name])
    for name in ('0.weight', '1.weight', '1.bias', '1.running_var', '4.running_mean'):
        assert not torch.allclose(expected[name], start[name])


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
