import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS


def make_model():
    return MODELS.build(
        dict(
            type='lightvit_dense.ImageClassifier',
            backbone=dict(
                type='lightvit_dense.VisionTransformer',
                arch=dict(embed_dim=8, depth=3, num_heads=2),
                img_size=16,
                patch_size=8,
                final_norm=False,
            ),
            head=dict(num_classes=4),
        )
    )


def wrap(model, optimizer=None, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='lightvit_dense.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05) | (optimizer or {}),
            paramwise_cfg=paramwise,
        ),
    )


# Three blocks: scale 0.5 ** (4 - id).
TABLE = {
    'backbone.pos_embed': (0.0625, 0),
    'backbone.cls_token': (0.0625, 0),
    'backbone.patch_embed.proj.weight': (0.0625, 0.05),
    'backbone.patch_embed.proj.bias': (0.0625, 0),
    'head.fc_norm.weight': (1, 0),
    'head.fc_norm.bias': (1, 0),
    'head.fc.weight': (1, 0.05),
    'head.fc.bias': (1, 0),
}
for block, scale in ((0, 0.125), (1, 0.25), (2, 0.5)):
    for part in ('norm1', 'norm2', 'attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2'):
        decay = 0 if 'norm' in part else 0.05
        TABLE[f'backbone.blocks.{block}.{part}.weight'] = (scale, decay)
        TABLE[f'backbone.blocks.{block}.{part}.bias'] = (scale, 0)


def test_rates_and_decay_follow_the_table():
    model = make_model()
    groups = wrap(model, layer_decay_rate=0.5).optimizer.param_groups
    name_of = {id(p): name for name, p in model.named_parameters()}
    found = {}
    for group in groups:
        assert [name_of[id(p)] for p in group['params']] == list(group['param_names'])
        for name in group['param_names']:
            assert name not in found
            found[name] = (pytest.approx(group['lr'] / 0.1), group['weight_decay'])
            assert group['lr_scale'] == pytest.approx(group['lr'] / 0.1)
    assert found == TABLE
    assert len(groups) == 10


def test_without_decay_there_is_one_rate():
    model = make_model()
    for options in ({}, dict(layer_decay_rate=1.0)):
        groups = wrap(model, **options).optimizer.param_groups
        assert {group['lr'] for group in groups} == {0.1}
        exempt = {n for g in groups if not g['weight_decay'] for n in g['param_names']}
        assert exempt == {name for name, (_, decay) in TABLE.items() if not decay}


def test_frozen_parameters_are_left_out_and_names_can_be_exempt():
    model = make_model()
    model.backbone.requires_grad_(False)
    groups = wrap(model, no_decay=['weight']).optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == 4
    assert {group['weight_decay'] for group in groups} == {0.0}


def test_a_schedule_keeps_the_ratio():
    from mmengine.optim import CosineAnnealingLR

    wrapper = wrap(make_model(), layer_decay_rate=0.5)
    schedule = CosineAnnealingLR(wrapper, T_max=4, eta_min_ratio=0.01, by_epoch=False)
    for _ in range(4):
        wrapper.step()
        schedule.step()
        top = wrapper.optimizer.param_groups[-1]['lr']
        for group in wrapper.optimizer.param_groups:
            assert group['lr'] == pytest.approx(top * group['lr_scale'])
    assert top == pytest.approx(0.001)


def test_a_step_moves_lower_layers_less():
    model = make_model()
    wrapper = wrap(model, dict(type='SGD', weight_decay=0.0), layer_decay_rate=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()
    for name, parameter in model.named_parameters():
        moved = (before[name] - parameter).max().item()
        assert moved == pytest.approx(0.1 * TABLE[name][0], rel=1e-4)


@pytest.mark.parametrize(
    ('model', 'options', 'message'),
    [
        (None, dict(layer_decay_rate=1.5), r'must lie in \(0, 1\], got 1\.5'),
        (None, dict(layer_decay=0.5), 'knows layer_decay_rate.*not layer_decay$'),
        (nn.Linear(2, 2), dict(layer_decay_rate=0.5), r'Linear does not tell.*num_layers'),
    ],
)
def test_wrong_options(model, options, message):
    with pytest.raises(UserError, match=message):
        wrap(model or make_model(), **options)


def test_the_number_of_layers_can_be_told():
    groups = wrap(nn.Linear(2, 2), layer_decay_rate=0.5, num_layers=3).optimizer.param_groups
    assert {group['lr'] for group in groups} == {0.1}
