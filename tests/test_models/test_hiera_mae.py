"""Hiera's MAE against Meta's package and a straight-line reference, and its distillation."""

import re
from typing import Any

import hiera as meta
import pytest
import torch
from torch import nn

from lightvit_dense.models.pretraining import HieraMAE, random_masking
from tests.helpers.models import distiller, gradients

HIERA = 'lightvit_dense.Hiera'
STUDENT = dict(embed_dim=8, stages=(1, 2, 3, 2), num_heads=1)
TEACHER = dict(embed_dim=12, stages=(1, 2, 4, 3), num_heads=1)
NAMES = (
    (r'^encoder_norm', 'backbone.norm'),
    (r'^decoder_', 'decoder.'),
    (r'^mask_token', 'decoder.mask_token'),
    (r'^multi_scale_fusion_heads', 'fusion.heads'),
    (r'^(?!backbone|decoder|fusion)', 'backbone.'),
)
IMAGE = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
NOISE = torch.rand(2, 6, generator=torch.Generator().manual_seed(1))


def ours(name: str) -> str:
    """Bring one of Meta's names to ours."""
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def backbone(arch: dict = STUDENT, **options: Any) -> dict:
    return dict(type=HIERA, arch=arch, img_size=(64, 96), q_pool=2) | options


def small_mae(matched: dict | None = None, **options: Any) -> HieraMAE:
    """Build a small model; ``matched`` are options of a distiller."""
    torch.manual_seed(0)
    options = dict(backbone=backbone(), decoder=dict(embed_dim=12, num_heads=2)) | options
    if matched is not None:
        options['distiller'] = distiller(backbone(TEACHER), (8, 10)) | matched
    return HieraMAE(**options)


@pytest.mark.parametrize(('size', 'q_pool'), [('small', 2), ('small', 3), ('tiny', 2)])
def test_equals_metas_loss_and_gradients(size: str, q_pool: int) -> None:
    if size == 'tiny':  # the papers'
        arch, image, units = dict(embed_dim=46, num_heads=1, stages=(1, 2, 7, 2)), (224, 224), 49
        decoder = dict(embed_dim=96, depth=1, num_heads=3)
    else:
        arch, image, units = STUDENT, (64, 96), 6
        decoder = dict(embed_dim=24, depth=2, num_heads=4)
    reference = meta.MaskedAutoencoderHiera(
        input_size=image, q_pool=q_pool, **arch, **{f'decoder_{k}': v for k, v in decoder.items()}
    )
    for parameter in reference.parameters():  # zeros and ones would hide a swap
        nn.init.normal_(parameter, std=0.05)
    model = HieraMAE(
        dict(type=HIERA, arch='tiny' if size == 'tiny' else arch, img_size=image, q_pool=q_pool),
        decoder,
    )
    model.load_state_dict({ours(k): v for k, v in reference.state_dict().items()}, strict=True)
    x, noise = torch.randn(2, 3, *image), torch.rand(2, units)
    kept = random_masking(2, units, 0.4, noise).ids_keep
    assert kept.shape[1] == int(units * 0.6)
    visible = torch.zeros(2, units, dtype=torch.bool).scatter(1, kept, True)
    theirs = reference(x, mask=visible)[0]
    mine = model.loss(x, noise=noise)['loss_reconstruction']
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    expected = {ours(k): g for k, g in gradients(theirs, reference).items()}
    found = gradients(mine, model)
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name], atol=1e-5, rtol=1e-3, msg=name)


def test_parts_start_as_metas_do() -> None:
    """Compare the spread of each parameter; the values are random on both sides."""
    arch = dict(embed_dim=48, num_heads=1, stages=(1, 1, 1, 1))
    reference = meta.MaskedAutoencoderHiera(
        q_pool=2, decoder_embed_dim=96, decoder_depth=1, decoder_num_heads=3, **arch
    )
    model = HieraMAE(dict(type=HIERA, arch=arch, q_pool=2))
    expected = {ours(k): v for k, v in reference.named_parameters()}
    for name, value in model.named_parameters():
        theirs = expected[name]
        rel = 0.1 if value.numel() > 5000 else 0.6
        assert value.std().item() == pytest.approx(theirs.std().item(), rel=rel, abs=1e-7), name
        assert value.mean().item() == pytest.approx(theirs.mean().item(), abs=0.05), name


def test_distillation_compares_the_last_stages_on_the_same_units() -> None:
    model = small_mae({}).double()
    losses = model.loss(IMAGE.double(), noise=NOISE)
    ids = random_masking(2, 6, 0.4, NOISE).ids_keep
    logits = []
    for network, layer in ((model.backbone, 8), (model.distiller.teacher, 10)):
        block = network.blocks[layer - 1]
        x = network.encode(IMAGE.double(), ids, hidden_of=(layer - 1,)).hidden[layer - 1]
        assert x.shape[1] == 3 * 4  # units x tokens of a unit
        q, k, _ = block.attn.qkv(block.norm1(x)).reshape(2, 12, 3, 8, -1).unbind(2)
        logits.append(torch.einsum('bqhd,bkhd->bhqk', q, k) / q.shape[-1] ** 0.5)
    weight = model.distiller.head_maps[0].weight[:, :, 0, 0]
    mapped = torch.einsum('ts,bsqk->btqk', weight, logits[0])
    torch.testing.assert_close(losses['loss_distill'], (mapped - logits[1]).square().mean())


def decoupled(after: int = 5, **options: Any) -> HieraMAE:
    return small_mae(dict(pairs=[(9, 10)], extra_layer=True), reconstruct_after=after, **options)


def test_decoupled_decoder_reads_an_earlier_stage_at_the_final_width() -> None:
    plain, model = small_mae(), decoupled()
    assert plain.fusion.layers == (1, 3, 8)
    assert model.fusion.layers == (1, 3, 5)
    shapes = [tuple(h.weight.shape) for h in model.fusion.heads]
    assert shapes == [(64, 8, 4, 4), (64, 16, 2, 2), (64, 32, 1, 1)]
    assert isinstance(plain.fusion.heads[-1], nn.Identity)
    # Layer 7 is the last stage's first: its width is the final one already.
    assert isinstance(decoupled(7).fusion.heads[-1], nn.Identity)
    # Layer 2 is the first to pool; what is left of its pooling is the convolution's.
    early = decoupled(2)
    assert early.fusion.layers == (1, 2)
    assert early.loss(IMAGE, noise=NOISE)['loss_reconstruction'] > 0
    # The backbone that is exported is a plain one.
    assert model.backbone.state_dict().keys() == plain.backbone.state_dict().keys()


WIDE = TEACHER | dict(embed_dim=16, num_heads=2)


def of_teacher(**options: Any) -> dict:
    return dict(teacher=backbone(**dict(arch=TEACHER) | options))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(matched={}, reconstruct_after=5), 'extra_layer=True'),
        (dict(matched=dict(pairs=[(9, 10)])), 'student layer 9; it has 1..8'),
        (dict(matched=dict(pairs=[(8, 11)])), 'teacher layer 11; it has 1..10'),
        (dict(matched=dict(pairs=[(3, 10)])), 'student (6, 16, 16), teacher (1, 24, 24)'),
        (dict(matched=of_teacher(img_size=96)), 'student (2, 3), teacher (3, 3)'),
        (dict(matched=of_teacher(q_pool=3)), 'student (1, 24, 24), teacher (1, 6, 6)'),
        (dict(matched=of_teacher(arch=WIDE) | dict(head_map='identity')), '(8, 16)'),
    ],
)
def test_what_does_not_line_up_fails_when_built(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        small_mae(**options)
