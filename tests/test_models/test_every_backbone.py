"""What holds for the plain ViT in all its forms, for Hiera and for Swin."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from lightvit_dense.models.layers import Attention
from lightvit_dense.registry import MODELS
from tests.helpers.models import hiera, randomise, silent, swin, vit

BACKBONES = {
    'vit': vit(depth=3, pos_embed='learned'),
    'biased': vit(depth=3, pos_embed='learned', rel_pos=dict(kind='bias'), layer_scale=0.1),
    'windowed': vit(
        depth=3,
        pos_embed='learned',
        cls_token=False,
        final_norm=False,
        window=dict(size=3, global_blocks=(1,)),
        rel_pos=dict(kind='decomposed'),
    ),
    'hiera': hiera(stages=(1, 1, 2, 1)),
    'swin': swin(depths=(2, 2, 2)),
}


def build(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return randomise(MODELS.build(BACKBONES[name] | options))


def image(name: str) -> torch.Tensor:
    side = BACKBONES[name]['img_size']
    return torch.randn(2, 3, side, side)


@pytest.mark.parametrize('name', BACKBONES)
def test_every_parameter_learns_and_recomputing_activations_changes_nothing(name: str) -> None:
    pixels, found = image(name), []
    for with_cp in (False, True):
        model = build(name, with_cp=with_cp, drop_path_rate=0.2).train()
        torch.manual_seed(3)  # drop-path draws
        # A plain sum would cancel in LayerNorm.
        out = model(pixels)[0].pow(3).sum() + model.encode(pixels).tokens.pow(3).sum()
        out.backward()
        assert silent(model) == []
        found.append(list(model.parameters()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize('name', BACKBONES)
def test_logits_are_those_the_attention_uses_and_stop_early(name: str) -> None:
    model, pixels = build(name), image(name)
    layers = range(1, model.num_layers + 1)
    spoken = model.encode(pixels, logits_of=layers, hidden_of=layers)
    torch.testing.assert_close(spoken.tokens, model.encode(pixels).tokens, atol=1e-5, rtol=1e-5)
    for layer, logits in spoken.logits.items():
        *windows, queries, keys = model.attention_shape(layer)
        shape = (2, model.heads_of(layer), queries * (windows or [1])[0], keys)
        assert tuple(logits.shape) == shape
        assert spoken.hidden[layer].shape[-1] == model.width_of(layer)
    ran: list[int] = []
    for index, block in enumerate(model.blocks):
        block.mlp.register_forward_hook(lambda *_, i=index: ran.append(i))
    found = model.attention_logits(pixels, (1, 3))
    assert ran == [0, 1]
    assert sorted(found) == [1, 3]
    for layer, logits in found.items():
        torch.testing.assert_close(logits, spoken.logits[layer], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', BACKBONES)
def test_drop_path_grows_linearly(name: str) -> None:
    model = build(name, drop_path_rate=0.5)
    paths = [getattr(block, 'drop_path', None) or block.drop_path1 for block in model.blocks]
    rates = [getattr(path, 'drop_prob', 0.0) for path in paths]
    assert rates == pytest.approx(torch.linspace(0, 0.5, model.num_layers).tolist())


@pytest.mark.parametrize('name', BACKBONES)
def test_what_inference_has_kept_serves_training_copying_and_exporting(name: str) -> None:
    model, pixels = build(name), torch.randn(1, 3, 104, 72)  # a size of no other test
    with torch.inference_mode():
        expected = model(pixels)[0].clone()
    out = model(pixels)[0]
    out.square().sum().backward()
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    others.append(torch.export.export(model, (pixels,)).module())
    for found in (out, *(other(pixels)[0] for other in others)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    compiled, pixels = torch.compile(model, backend='eager', fullgraph=True), image(name)
    torch.testing.assert_close(compiled(pixels)[0], model(pixels)[0], rtol=1e-5, atol=1e-5)


HIERA, OBLONG = BACKBONES['hiera']['arch'], torch.zeros(1, 3, 64, 72)
REFUSED = [
    ('vit', dict(arch='huge'), "arch 'huge' is unknown"),
    ('vit', dict(arch=dict(width=3)), 'arch needs'),
    ('vit', dict(arch=dict(embed_dim=30, depth=1, num_heads=4)), 'do not divide'),
    ('vit', dict(out_indices=(3,)), 'does not name blocks'),
    ('vit', dict(out_indices=(1, 1)), 'does not name blocks'),
    ('vit', dict(pos_embed='rope'), "'learned' or 'sincos'"),
    ('vit', dict(out_type='maps'), "'tokens' or 'featmap'"),
    ('vit', dict(window=dict(size=7)), 'cls_token=False'),
    ('vit', dict(img_size=36), 'not a multiple of patch 8'),
    ('vit', dict(init='xavier'), r"init must be one of .*'beit'.*, got 'xavier'"),
    ('hiera', dict(arch='huge'), "'huge' is unknown"),
    ('hiera', dict(arch=dict(embed_dim=8, depth=3)), 'arch needs'),
    ('hiera', dict(arch=HIERA | dict(num_heads=3)), '3 heads do not divide a width of 8'),
    ('hiera', dict(arch=HIERA | dict(stages=(1, 0, 1, 1))), 'each stage needs a block'),
    ('hiera', dict(arch=HIERA | dict(mask_unit=4)), 'mask_unit=4 must be a power of 2 of at least'),
    ('hiera', dict(arch=HIERA | dict(mask_unit=12)), 'mask_unit=12 must be a power of 2'),
    ('hiera', dict(q_pool=4), 'q_pool=4: 4 stages change 3 times'),
    ('hiera', dict(mask_unit_attn=(True, False)), 'one value for each of 4 stages'),
    ('hiera', dict(img_size=(64, 66)), 'not a multiple of the patch stride 4'),
    ('hiera', dict(out_indices=(4,)), r'does not name stages of 0\.\.3'),
    ('hiera', dict(out_indices=(3, -1)), 'each once'),
    ('hiera', dict(out_type='map'), "'tokens' or 'featmap'"),
    ('swin', dict(arch='base'), "arch 'base' is unknown"),
    ('swin', dict(arch=dict(embed_dim=12, depths=(2, 0), num_heads=3)), 'each stage needs a block'),
    ('swin', dict(img_size=50), r'img_size=\(50, 50\) px is not a multiple of patch 4 px'),
    ('swin', dict(out_indices=(0, 4)), r'does not name stages of 0\.\.2'),
    ('swin', dict(out_type='maps'), "out_type is 'tokens' or 'featmap'"),
    ('swin', dict(stage_norms=True), 'takes the place of the final norm: final_norm=False'),
]


@pytest.mark.parametrize(('name', 'options', 'message'), REFUSED)
def test_contradictions_fail_when_built(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **options)


BIASED, TOKENS = Attention(16, 2, rel_bias_size=(4, 4)), torch.zeros(1, 12, 16)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: build('vit')(torch.randn(1, 3, 30, 32)), 'pad_size_divisor=8'),
        (lambda: build('hiera').encode(OBLONG), '64x72 px is not a whole number of 32 px mask un'),
        (lambda: build('hiera').attention_logits(OBLONG, (1,)), '64x72 px is not a whole number'),
        (lambda: build('hiera', mask_unit_attn=(True,) * 4).query_key_block(), 'of the last stage'),
        (lambda: build('swin').encode(image('swin'), torch.zeros(1, 4).long()), 'mask_token=True'),
        (lambda: build('swin', img_size=128).query_key_block(), 'set window_size=8 or a smaller'),
        (lambda: Attention(16, 2, rel_pos_size=(3, 4))(TOKENS), 'needs the grid of all 12 tokens'),
        (lambda: BIASED(TOKENS, (4, 5)), r'needs the grid of all 12 patches, got \(4, 5\)'),
        (lambda: BIASED.logits(TOKENS), 'got None'),
    ],
)
def test_what_a_backbone_cannot_do_is_said(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
