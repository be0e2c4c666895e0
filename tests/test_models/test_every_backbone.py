"""What holds for the plain ViT in all its forms, for Hiera and for Swin."""

from typing import Any

import pytest
import torch
from torch import nn

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
    spoken = model.encode(pixels, logits_of=layers)
    torch.testing.assert_close(spoken.tokens, model.encode(pixels).tokens, atol=1e-5, rtol=1e-5)
    for layer, logits in spoken.logits.items():
        *windows, queries, keys = model.attention_shape(layer)
        shape = (2, model.heads_of(layer), queries * (windows or [1])[0], keys)
        assert tuple(logits.shape) == shape
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
