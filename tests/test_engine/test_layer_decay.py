"""Learning rates and decays of the papers' models at their rate, written out."""

import pytest
import timm
import torch
from mmengine.optim import CosineAnnealingLR, build_optim_wrapper
from timm.models.beit import Beit
from timm.optim import param_groups_layer_decay
from torch import nn

from lightvit_dense.errors import UserError
from lightvit_dense.models import get_layer_id
from lightvit_dense.registry import MODELS
from tests.helpers.models import vit

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
TABLES = {
    'vit': (TINY, VIT),
    'hiera': (dict(type='lightvit_dense.Hiera', arch='tiny'), HIERA),
}


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


def timm_groups(model):
    """Return (lr, weight decay) by timm's name, by timm's own grouping."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = param_groups_layer_decay(
        model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.85
    )
    return {
        names[id(p)]: (4e-3 * group['lr_scale'], group['weight_decay'])
        for group in groups
        for p in group['params']
    }


def ours_as_timm(found, kind='vit'):
    """Give our names as timm has them."""
    head = (('head.fc_norm.', 'fc_norm.'), ('head.fc.', 'head.'))
    rules = (('backbone.', ''), *(head if kind == 'vit' else (('fc_norm.', 'norm.'),)))
    renamed = {}
    for name, value in found.items():
        for old, new in rules:
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


@pytest.mark.parametrize('kind', list(TABLES))
def test_timms_grouping_agrees(kind):
    if kind == 'vit':
        model = timm.create_model('vit_tiny_patch16_224', num_heads=12, global_pool='avg')
        backbone = dict(TABLES['vit'][0], rel_pos=None)
    else:
        sizes = dict(embed_dim=46, num_heads=1, stages=(1, 2, 7, 2))
        model, backbone = timm.create_model('hiera_tiny_224', **sizes), TABLES['hiera'][0]
    theirs, ours = timm_groups(model), ours_as_timm(groups_of(backbone), kind)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], rel=1e-9), name


def test_timms_beit_spares_the_tables_and_splits_the_bias():
    with torch.device('meta'):
        theirs = timm_groups(
            Beit(embed_dim=192, depth=12, num_heads=12, use_rel_pos_bias=True, init_values=None)
        )
    ours = ours_as_timm(groups_of(TABLES['vit'][0]))
    differing = {n for n in set(ours) & set(theirs) if ours[n] != pytest.approx(theirs[n])}
    assert differing == {f'blocks.{i}.attn.relative_position_bias_table' for i in range(12)}
    for name in differing:
        assert theirs[name] == pytest.approx((ours[name][0], 0.0))
    assert {n.rsplit('.', 1)[-1] for n in set(theirs) - set(ours)} == {'q_bias', 'v_bias'}


def test_timm_counts_a_final_norm_to_the_last_block_and_we_to_the_head():
    theirs = timm_groups(timm.create_model('vit_tiny_patch16_224', depth=2, num_heads=12))
    assert theirs['norm.weight'][0] == pytest.approx(LR[12])
    assert theirs['head.weight'][0] == pytest.approx(LR[13])
    assert get_layer_id('backbone.norm.weight', 2) == 3


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


def test_a_schedule_keeps_the_ratio():
    wrapper = wrap(make_model(), layer_decay_rate=0.5)
    schedule = CosineAnnealingLR(wrapper, T_max=4, eta_min_ratio=0.01, by_epoch=False)
    for _ in range(4):
        wrapper.step()
        schedule.step()
        top = wrapper.optimizer.param_groups[-1]['lr']
        for group in wrapper.optimizer.param_groups:
            assert group['lr'] == pytest.approx(top * group['lr_scale'])
    assert top == pytest.approx(0.001)


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
