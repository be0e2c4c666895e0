import math

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR
from torch import nn

from lightvit_dense.engine import schedulers
from lightvit_dense.engine.schedulers import WarmupCosineLR
from lightvit_dense.errors import UserError
from lightvit_dense.registry import PARAM_SCHEDULERS


def make_optimizer():
    groups = [dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in (0.4, 0.1)]
    return torch.optim.SGD(groups, lr=1.0)


def rates(optimizer, schedules, steps):
    found = []
    for _ in range(steps):
        found.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    return found


def test_rates_are_those_of_the_formula():
    optimizer = make_optimizer()
    schedule = WarmupCosineLR(optimizer, warmup=4, eta_min_ratio=0.01, end=20, by_epoch=False)
    found = rates(optimizer, [schedule], 22)
    for step, (first, second) in enumerate(found):
        if step < 4:
            wanted = step / 4
        else:
            done = (min(step, 19) - 4) / 16  # the rate stays as it was in the last step
            wanted = 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
        assert first == pytest.approx(0.4 * wanted, abs=1e-12)
        assert second == pytest.approx(0.1 * wanted, abs=1e-12)


def test_it_equals_the_two_schedulers_of_mmengine():
    ours, theirs = make_optimizer(), make_optimizer()
    one = WarmupCosineLR(
        ours, warmup=5, start_factor=0.1, eta_min_ratio=0.2, end=30, by_epoch=False
    )
    two = [
        LinearLR(theirs, start_factor=0.1, begin=0, end=5 + 1, by_epoch=False),
        CosineAnnealingLR(theirs, T_max=25, eta_min_ratio=0.2, begin=5, end=31, by_epoch=False),
    ]
    for left, right in zip(rates(ours, [one], 30), rates(theirs, two, 30), strict=True):
        assert left == pytest.approx(right, rel=1e-9)


def test_a_training_may_end_within_the_warm_up(monkeypatch):
    lines = []
    monkeypatch.setattr(schedulers, 'print_log', lambda line, **_: lines.append(line))
    optimizer = make_optimizer()
    schedule = WarmupCosineLR(optimizer, warmup=20, end=3, by_epoch=False)
    found = [first for first, _ in rates(optimizer, [schedule], 3)]
    assert found == pytest.approx([0, 0.4 / 20, 2 * 0.4 / 20])
    assert 'ends within the warm-up: 3 of 20' in lines[0]


def test_epochs_become_iterations_and_the_end_may_be_left_to_the_runner():
    optimizer = make_optimizer()
    cfg = dict(type='lightvit_dense.WarmupCosineLR', warmup=1, convert_to_iter_based=True)
    schedule = PARAM_SCHEDULERS.build(
        cfg, default_args=dict(optimizer=optimizer, epoch_length=7, end=3, by_epoch=True)
    )
    assert (schedule.warmup, schedule.end, schedule.by_epoch) == (7, 21, False)


def test_a_resumed_schedule_goes_on_where_it_stopped():
    whole, first, second = make_optimizer(), make_optimizer(), make_optimizer()
    options = dict(warmup=3, end=12, by_epoch=False)
    wanted = rates(whole, [WarmupCosineLR(whole, **options)], 12)
    stopped = WarmupCosineLR(first, **options)
    rates(first, [stopped], 5)
    resumed = WarmupCosineLR(second, **options)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(stopped.state_dict())
    assert rates(second, [resumed], 7) == wanted[5:]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(begin=20, end=20), 'a schedule from 20 to 20'),
        (dict(warmup=-1, end=20), 'no warm-up of -1'),
        (dict(end=20, start_factor=1.5), r'start_factor must lie in \[0, 1\], got 1\.5'),
        (dict(end=20, eta_min_ratio=-1), 'eta_min_ratio must lie'),
        (dict(warmup=1), 'needs its end'),
    ],
)
def test_schedules_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        WarmupCosineLR(make_optimizer(), by_epoch=False, **options)


def test_iterations_cannot_be_converted():
    options = dict(end=3, by_epoch=False, epoch_length=7)
    with pytest.raises(UserError, match='needs by_epoch=True'):
        WarmupCosineLR.build_iter_from_epoch(make_optimizer(), **options)
