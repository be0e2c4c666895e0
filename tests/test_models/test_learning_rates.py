"""Layer-wise rates of dense models, whose necks and heads learn at the full rate, and of Swin."""

import pytest
import torch
from mmengine.registry import init_default_scope

from lightvit_dense.models import get_layer_id
from lightvit_dense.registry import MODELS
from tests.helpers.models import rates_and_decays, scheduled
from tests.helpers.shipped_configs import read


def test_no_name_of_neck_or_head_looks_like_a_block(build_detector, build_segmentor) -> None:
    models = [build_detector(kind) for kind in ('vit', 'hiera', 'li2021')]
    models += [build_segmentor(*names) for names in (('upernet', 'hiera'), ('semfpn', 'vit'))]
    for model in models:
        layers = model.backbone.num_layers
        depths = {name: get_layer_id(name, layers) for name, _ in model.named_parameters()}
        own = {depth for name, depth in depths.items() if name.startswith('backbone.')}
        others = {depth for name, depth in depths.items() if not name.startswith('backbone.')}
        assert own == set(range(layers + 1))
        assert others == {layers + 1}


def groups_of(name: str) -> tuple[torch.nn.Module, dict[str, tuple[float, float]]]:
    """Return the model of a config, and (rate, weight decay) by parameter."""
    cfg = read(name)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    if 'distiller' in cfg.model:
        cfg.model.distiller.teacher.init_cfg = None
    model = MODELS.build(cfg.model)
    return model, rates_and_decays(model, cfg.optim_wrapper)


# Exponents of 0.85, by the authors' table: 13 levels below the embedding, and the head at 11.
TABLE = {
    'backbone.patch_embed.proj.weight': 13,
    'backbone.patch_embed.norm.weight': 13,
    'backbone.layers.0.blocks.0.attn.qkv.weight': 12,
    'backbone.layers.0.blocks.1.mlp.fc1.weight': 11,
    'backbone.layers.1.downsample.reduction.weight': 11,
    'backbone.layers.1.downsample.norm.bias': 11,
    'backbone.layers.1.blocks.0.norm1.weight': 10,
    'backbone.layers.1.blocks.1.attn.proj.bias': 9,
    'backbone.layers.2.downsample.reduction.weight': 9,
    'backbone.layers.2.blocks.0.attn.relative_position_bias_table': 8,
    'backbone.layers.2.blocks.5.mlp.fc2.weight': 3,
    'backbone.layers.3.downsample.reduction.weight': 3,
    'backbone.layers.3.blocks.0.attn.qkv.weight': 2,
    'backbone.layers.3.blocks.1.attn.qkv.weight': 1,
    'backbone.norm.weight': 2,
    'head.fc.weight': 2,
    'head.fc.bias': 2,
}


def test_fine_tuning_has_the_authors_rates_and_decay() -> None:
    model, groups = groups_of('imagenet/finetune_d2simmim_swin-tiny_300e')
    for name, exponent in TABLE.items():
        assert groups[name][0] == pytest.approx(4e-3 * 0.85**exponent), name
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and 'relative_position_bias_table' not in name
        assert groups[name][1] == (0.05 if decays else 0.0), name
    assert len({rate for rate, _ in groups.values()}) == 13
    assert model.head.fc_norm.__class__ is torch.nn.Identity
    assert sum(p.numel() for p in model.parameters()) == 6_914_634 + 385_000


@pytest.mark.parametrize('method', ['simmim', 'd2simmim'])
def test_pre_training_decays_what_is_no_vector(method: str) -> None:
    model, groups = groups_of(f'pretrain/{method}_swin-tiny')
    for name, (rate, decay) in groups.items():
        assert rate == 4e-4
        assert decay == (0.05 if model.get_parameter(name).ndim > 1 else 0.0), name
    rates = [
        getattr(b.drop_path1, 'drop_prob', 0.0) for s in model.backbone.layers for b in s.blocks
    ]
    count = 13 if method == 'd2simmim' else 12
    assert rates == pytest.approx([0.1 * i / (count - 1) for i in range(12)])


def test_decoupled_pre_training_reads_and_matches_the_authors_layers() -> None:
    """Theirs decode stage 1 (from 0), patches merged, and match the 13th block to the 12th."""
    model, _ = groups_of('pretrain/d2simmim_swin-tiny')
    assert (model.layer, model.grid, model.stride) == (4, (14, 14), 16)
    assert model.decoder.embed.weight.shape == (96, 192)
    distiller = model.distiller
    assert (distiller.pairs, distiller.loss_weight, distiller.target) == ([(13, 12)], 1.0, 'logits')
    assert distiller.query_key_block.qk.weight.shape == (2 * 384, 384)
    assert distiller.head_maps[0].weight.shape == (24, 24, 1, 1)


@pytest.mark.parametrize(('name', 'epochs'), [('tiny', 400), ('small', 800)])
def test_the_rate_is_the_authors_at_every_step(name: str, epochs: int) -> None:
    cfg = read(f'pretrain/simmim_swin-{name}')
    init_default_scope(cfg.default_scope)
    length = 3  # iterations an epoch
    for step, (rate,) in enumerate(scheduled(cfg, [dict(lr=4e-4)], epochs, length)):
        warm = (4e-4 - 2e-6) * step / (10 * length) + 2e-6
        late = 4e-5 if step >= 700 * length else 4e-4
        expected = warm if step < 10 * length else late
        assert rate == pytest.approx(expected, rel=1e-9), step
