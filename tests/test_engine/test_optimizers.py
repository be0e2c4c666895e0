"""LARS, the warm-up with a cosine, groups and layer decay: equations, other libraries, values."""

import math

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from lightvit_dense.engine import schedulers
from lightvit_dense.engine.options import CONSTRUCTOR
from lightvit_dense.engine.schedulers import WarmupCosineLR
from lightvit_dense.errors import UserError
from lightvit_dense.models import get_layer_id
from lightvit_dense.registry import MODELS, OPTIMIZERS, PARAM_SCHEDULERS
from tests.helpers.models import vit


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 4)).double()
    nn.init.zeros_(net[2].bias)
    return net


def backward(net: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (7,), generator=generator)
    net.zero_grad()
    nn.functional.cross_entropy(net(x), labels).backward()


@pytest.mark.parametrize('weight_decay', [0.0, 0.02])
def test_steps_follow_the_equations(weight_decay: float) -> None:
    net, reference = make_net(), make_net()
    options = dict(lr=0.3, weight_decay=weight_decay, trust_coefficient=0.01)
    cfg = dict(type='lightvit_dense.LARS', params=net.parameters())
    optimizer = OPTIMIZERS.build(cfg | options)
    speed = {name: 0.0 for name, _ in reference.named_parameters()}
    for step in range(5):
        backward(net, step)
        optimizer.step()
        backward(reference, step)
        with torch.no_grad():
            for name, w in reference.named_parameters():
                update = w.grad
                if w.ndim > 1:
                    ratio = 0.01 * w.norm() / (update.norm() + weight_decay * w.norm())
                    update = ratio * (update + weight_decay * w)
                speed[name] = 0.9 * speed[name] + update
                w -= 0.3 * speed[name]
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_a_weight_of_zeros_takes_a_plain_step() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = OPTIMIZERS.build(dict(type='lightvit_dense.LARS', params=[weight], lr=0.5))
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(weight, torch.full((2, 2), -0.5))


def test_the_engine_builds_it_for_what_is_trained() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    config = dict(type='OptimWrapper', optimizer=dict(type='lightvit_dense.LARS', lr=0.1))
    wrapper = build_optim_wrapper(net, config)
    matrices, vectors = wrapper.optimizer.param_groups
    assert [tuple(p.shape) for p in matrices['params']] == [(4, 5)]
    assert [tuple(p.shape) for p in vectors['params']] == [(5,), (5,), (4,)]
    frozen = net[0].weight.clone()
    loss = net(torch.randn(3, 6, dtype=torch.float64)).square().sum()
    wrapper.update_params(loss)
    assert torch.equal(net[0].weight, frozen)
    # Groups of a layer-wise constructor keep their own rates.
    groups = [dict(params=[net[2].weight], lr=0.1), dict(params=[net[2].bias], lr=0.2)]
    rates = OPTIMIZERS.build(dict(type='lightvit_dense.LARS', params=groups, lr=1.0))
    assert [group['lr'] for group in rates.param_groups] == [0.1, 0.2]


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


@pytest.mark.parametrize('start', [0.0, 0.1])
def test_rates_are_those_of_the_formula(start):
    optimizer, options = make_optimizer(), dict(start_factor=start, eta_min_ratio=0.01)
    schedule = WarmupCosineLR(optimizer, warmup=4, end=20, by_epoch=False, **options)
    found = rates(optimizer, [schedule], 22)
    for step, (first, second) in enumerate(found):
        if step < 4:
            wanted = start + (1 - start) * step / 4
        else:
            done = (min(step, 19) - 4) / 16  # the rate stays as it was in the last step
            wanted = 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
        assert first == pytest.approx(0.4 * wanted, abs=1e-12)
        assert second == pytest.approx(0.1 * wanted, abs=1e-12)


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
    options = dict(end=3, by_epoch=False, epoch_length=7)
    with pytest.raises(UserError, match='needs by_epoch=True'):
        WarmupCosineLR.build_iter_from_epoch(optimizer, **options)


# Fine-tuning: lr 4e-3, layer decay 0.85, weight decay 0.05. From embedding (0) to head (13).
LR = [
    0.00048362198, 0.00056896703, 0.00066937298, 0.00078749762, 0.00092646779, 0.00108996210,
    0.00128230836, 0.00150859807, 0.00177482125, 0.00208802500, 0.00245650000, 0.00289000000,
    0.00340000000, 0.00400000000,
]  # fmt: skip
BLOCK = {
    'norm1.weight': 0, 'norm1.bias': 0, 'attn.qkv.weight': 0.05, 'attn.qkv.bias': 0,
    'attn.proj.weight': 0.05, 'attn.proj.bias': 0, 'norm2.weight': 0, 'norm2.bias': 0,
    'mlp.fc1.weight': 0.05, 'mlp.fc1.bias': 0, 'mlp.fc2.weight': 0.05, 'mlp.fc2.bias': 0,
}  # fmt: skip
HEAD = {
    'head.fc_norm.weight': (13, 0), 'head.fc_norm.bias': (13, 0),
    'head.fc.weight': (13, 0.05), 'head.fc.bias': (13, 0),
}  # fmt: skip
STEM = {
    'backbone.pos_embed': (0, 0),
    'backbone.patch_embed.proj.weight': (0, 0.05),
    'backbone.patch_embed.proj.bias': (0, 0),
}
VIT = {**STEM, 'backbone.cls_token': (0, 0), **HEAD}
HIERA = {
    **STEM,
    # The first blocks of stages 2, 3 and 4 of 1-2-7-2 widen their tokens.
    'backbone.blocks.1.proj.weight': (2, 0.05), 'backbone.blocks.1.proj.bias': (2, 0),
    'backbone.blocks.3.proj.weight': (4, 0.05), 'backbone.blocks.3.proj.bias': (4, 0),
    'backbone.blocks.10.proj.weight': (11, 0.05), 'backbone.blocks.10.proj.bias': (11, 0),
    **HEAD,
}  # fmt: skip
for block in range(12):
    for part, decay in BLOCK.items():
        VIT[f'backbone.blocks.{block}.{part}'] = (block + 1, decay)
        HIERA[f'backbone.blocks.{block}.{part}'] = (block + 1, decay)
    # A table has two dimensions: the authors decay it, BEiT does not.
    VIT[f'backbone.blocks.{block}.attn.relative_position_bias_table'] = (block + 1, 0.05)
SMALL = vit(embed_dim=8, depth=3, num_heads=2, img_size=16, pos_embed='learned')
TINY = dict(type='lightvit_dense.VisionTransformer', arch='tiny', rel_pos=dict(kind='bias'))
TABLES = {'vit': (TINY, VIT), 'hiera': (dict(type='lightvit_dense.Hiera', arch='tiny'), HIERA)}


def make_model(backbone=None, classes=4):
    cfg = dict(type='lightvit_dense.ImageClassifier', head=dict(num_classes=classes))
    return MODELS.build(dict(cfg, backbone=dict(backbone or SMALL, final_norm=False)))


def wrap(model, optimizer=None, **paramwise):
    constructor = 'lightvit_dense.LayerDecayOptimWrapperConstructor'
    adam = dict(type='AdamW', lr=0.1, weight_decay=0.05) | (optimizer or {})
    cfg = dict(type='OptimWrapper', constructor=constructor, optimizer=adam)
    return build_optim_wrapper(model, dict(cfg, paramwise_cfg=paramwise))


def groups_of(backbone):
    """Return (lr, weight decay) by name, and the names of the model."""
    model = make_model(backbone, 1000)
    wrapper = wrap(model, dict(lr=4e-3), layer_decay_rate=0.85)
    found = {}
    for group in wrapper.optimizer.param_groups:
        for name, parameter in zip(group['param_names'], group['params'], strict=True):
            assert parameter is model.get_parameter(name)
            assert name not in found
            found[name] = (group['lr'], group['weight_decay'])
    assert set(found) == set(dict(model.named_parameters()))
    return found


@pytest.mark.parametrize('kind', list(TABLES))
def test_every_parameter_has_its_rate_and_decay(kind):
    backbone, table = TABLES[kind]
    found = groups_of(backbone)
    expected = {n: (pytest.approx(LR[i], rel=1e-6), decay) for n, (i, decay) in table.items()}
    assert found == expected
    assert {name: get_layer_id(name, 12) for name in found} == {n: i for n, (i, _) in table.items()}


def test_without_decay_there_is_one_rate():
    model = make_model()
    for options in ({}, dict(layer_decay_rate=1.0)):
        groups = wrap(model, **options).optimizer.param_groups
        assert {group['lr'] for group in groups} == {0.1}
        exempt = {n for g in groups if not g['weight_decay'] for n in g['param_names']}
        vectors = {n for n, p in model.named_parameters() if p.ndim == 1}
        assert exempt == vectors | {'backbone.pos_embed', 'backbone.cls_token'}


def test_frozen_parameters_are_left_out_and_names_can_be_exempt():
    model = make_model()
    model.backbone.requires_grad_(False)
    groups = wrap(model, no_decay=['weight']).optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == 4
    assert {group['weight_decay'] for group in groups} == {0.0}


def lars(lr, trained=True):
    weight = nn.Parameter(torch.zeros(2), requires_grad=trained)
    OPTIMIZERS.build(dict(type='lightvit_dense.LARS', params=[weight], lr=lr))


def cosine(**options):
    WarmupCosineLR(make_optimizer(), by_epoch=False, **options)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: lars(-1.0), 'must not be negative'),
        (lambda: lars(1.0, trained=False), 'no parameter needs a gradient'),
        (lambda: cosine(begin=20, end=20), 'a schedule from 20 to 20'),
        (lambda: cosine(warmup=-1, end=20), 'no warm-up of -1'),
        (lambda: cosine(end=20, start_factor=1.5), r'start_factor must lie in \[0, 1\], got 1\.5'),
        (lambda: cosine(end=20, eta_min_ratio=-1), 'eta_min_ratio must lie'),
        (lambda: cosine(warmup=1), 'needs its end'),
        (lambda: wrap(make_model(), layer_decay_rate=1.5), r'must lie in \(0, 1\], got 1\.5'),
        (lambda: wrap(make_model(), layer_decay=0.5), 'knows layer_decay_rate.*not layer_decay$'),
        (lambda: wrap(nn.Linear(2, 2), layer_decay_rate=0.5), 'Linear does not tell.*num_layers'),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises((ValueError, UserError), match=message):
        call()
    told = wrap(nn.Linear(2, 2), layer_decay_rate=0.5, num_layers=3).optimizer.param_groups
    assert {group['lr'] for group in told} == {0.1}


@pytest.mark.parametrize(
    ('rules', 'count'),
    [
        (dict(bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0), 2),
        (dict(custom_keys=dict(backbone=dict(lr_mult=0.1))), 2),
        (dict(custom_keys={'fc.': dict(decay_mult=0), 'pos': dict(extra=1)}, bias_lr_mult=2.0), 4),
        (dict(norm_decay_mult=1.0), 1),
    ],
)
def test_groups_of_equal_settings_step_as_a_group_for_each_parameter(rules, count):
    """Parameters, rates and the logged norm are those of mmengine's constructor, bit for bit."""
    seen = []
    for constructor in (CONSTRUCTOR, 'DefaultOptimWrapperConstructor'):
        torch.manual_seed(0)
        model = make_model()
        cfg = dict(type='OptimWrapper', constructor=constructor, paramwise_cfg=rules)
        adam = dict(type='AdamW', lr=0.01, weight_decay=0.05, fused=True)
        cfg = dict(cfg, optimizer=adam, clip_grad=dict(max_norm=0.1))
        wrapper = build_optim_wrapper(model, cfg)
        schedule = WarmupCosineLR(wrapper, warmup=2, end=5, by_epoch=False)
        norms = []
        for _ in range(4):
            wrapper.update_params(model.head(model.backbone(torch.rand(2, 3, 16, 16))[-1]).sum())
            schedule.step()
            norms.append(wrapper.message_hub.get_scalar('train/grad_norm').current())
        groups = wrapper.optimizer.param_groups
        rates = {
            id_: (group['lr'], group['weight_decay'], group.get('extra'))
            for id_, p in model.named_parameters()
            for group in groups
            if any(p is own for own in group['params'])
        }
        assert len(rates) == sum(len(group['params']) for group in groups)
        seen.append((norms, rates, groups[0]['lr'], [p.tolist() for p in model.parameters()]))
        if constructor == CONSTRUCTOR:
            assert len(groups) == count
    assert seen[0] == seen[1]
