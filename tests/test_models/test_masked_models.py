"""Pre-trainers that hide patches of a ViT or a Swin, against Hugging Face and straight lines."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    SwinConfig,
    SwinForMaskedImageModeling,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

from lightvit_dense.checkpoints.key_mapping import rename
from lightvit_dense.checkpoints.sources import merge_qkv
from lightvit_dense.models import MAE, SimMIM, SwinSimMIM, SwinTransformer
from lightvit_dense.models.layers import sincos_position
from lightvit_dense.models.pretraining import random_masking
from lightvit_dense.models.pretraining.masking import unit_masking
from tests.helpers.models import VIT, distiller, gradients, swin, vit

SIDE, UNIT = 64, 16
NAMES = (
    (r'^vit\.layers', 'backbone.blocks'),
    (r'^vit\.embeddings\.mask_token', 'mask_token'),
    (r'^(vit|swin)\.', 'backbone.'),
    (r'^decoder\.0\.', 'head.'),
    (r'^decoder\.decoder_layers\.', 'decoder.blocks.'),
    (r'^decoder\.decoder_', 'decoder.'),
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (r'embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'embeddings\.norm\.', 'patch_embed.norm.'),
    (r'embeddings\.', ''),
    (r'encoder\.layers\.(\d+)\.downsample', lambda m: f'layers.{int(m[1]) + 1}.downsample'),
    (r'encoder\.', ''),
    (r'layernorm_before', 'norm1'),
    (r'layernorm_after', 'norm2'),
    (r'layernorm', 'norm'),
    (r'attention\.(relative_position_bias\.)?(?=relative)', 'attn.'),
    (r'attention\.q_proj', 'attn.query'),
    (r'attention\.k_proj', 'attn.key'),
    (r'attention\.v_proj', 'attn.value'),
    (r'attention\.o_proj', 'attn.proj'),
)


def ours_of(values: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """Bring Hugging Face's names to ours, of what there is."""
    return merge_qkv(rename({k: v for k, v in values.items() if v is not None}, NAMES))


def spread(model: nn.Module, std: float = 0.1) -> nn.Module:
    """Draw all that is trained: zeros and ones would hide a swap."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=std)
    return model.eval()


def assert_same_loss_and_gradients(
    ours: Any, theirs: nn.Module, images: Tensor, noise: Tensor, masking: dict[str, Tensor]
) -> None:
    ours.eval().load_state_dict(ours_of(theirs.state_dict()))
    expected = theirs(images, **masking).loss
    loss = ours.loss(images, noise=noise)['loss_reconstruction']
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
    found, wanted = gradients(loss, ours), ours_of(gradients(expected, theirs))
    assert found.keys() == wanted.keys() - {'backbone.pos_embed'}  # ours are fixed
    for name, grad in found.items():
        torch.testing.assert_close(grad, wanted[name], atol=1e-5, rtol=1e-4, msg=name)


def masked_patches(ids: Tensor, patches: int) -> Tensor:
    return torch.zeros(len(ids), patches, dtype=torch.bool).scatter(1, ids, True)


def test_mae_is_hugging_faces_at_vit_tiny_size() -> None:
    config = ViTMAEConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=12, intermediate_size=768,
        decoder_hidden_size=96, decoder_num_hidden_layers=1, decoder_num_attention_heads=3,
        decoder_intermediate_size=384, norm_pix_loss=True, layer_norm_eps=1e-6,
    )  # fmt: skip
    ours = MAE(dict(type=VIT, arch='tiny', pos_embed='sincos'))
    assert sum(p.numel() for p in ours.decoder.parameters() if p.requires_grad) == 205_152
    images, noise = torch.randn(2, 3, 224, 224), torch.rand(2, 196)
    theirs = spread(ViTMAEForPreTraining(config), 0.02)
    assert_same_loss_and_gradients(ours, theirs, images, noise, dict(noise=noise))


@pytest.mark.parametrize(
    ('side', 'patch', 'unit', 'ratio'),
    [(32, 8, 16, 0.6), (32, 8, 8, 0.6), (64, 16, 32, 0.5), (48, 8, 24, 0.25), (80, 8, 40, 0.7)],
)
def test_simmim_is_hugging_faces(side: int, patch: int, unit: int, ratio: float) -> None:
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        image_size=side, patch_size=patch, encoder_stride=patch, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = spread(ViTForMaskedImageModeling(config))
    ours = SimMIM(vit(img_size=side, patch_size=patch), mask_unit=unit, mask_ratio=ratio)
    across = side // patch
    images, noise = torch.randn(3, 3, side, side), torch.rand(3, (side // unit) ** 2)
    ids = unit_masking(3, (across, across), unit // patch, ratio, noise)
    masked = masked_patches(ids, across**2)
    assert_same_loss_and_gradients(ours, theirs, images, noise, dict(bool_masked_pos=masked))


def test_simmim_on_swin_is_hugging_faces() -> None:
    sizes = dict(embed_dim=12, depths=[1, 2, 2], num_heads=[3, 6, 12], window_size=4)
    config = SwinConfig(image_size=SIDE, encoder_stride=16, drop_path_rate=0.0, **sizes)
    theirs = spread(SwinForMaskedImageModeling(config))
    ours = SwinSimMIM(swin(mask_token=True), mask_unit=UNIT)
    images, noise = torch.randn(3, 3, SIDE, SIDE), torch.rand(3, 16)
    masked = masked_patches(unit_masking(3, (16, 16), 4, 0.6, noise), 256)
    assert_same_loss_and_gradients(ours, theirs, images, noise, dict(bool_masked_pos=masked))


def test_fixed_positions_are_maes() -> None:
    """MAE codes the column in the first half of the channels (its meshgrid puts w first)."""
    table, frequencies = sincos_position(8, (2, 3), 1)[0], torch.tensor([1, 10000**-0.5])
    assert not table[0].any()
    for index, found in enumerate(table[1:]):
        row, column = (place * frequencies for place in divmod(index, 3))
        expected = torch.cat([column.sin(), column.cos(), row.sin(), row.cos()])
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match='divisible by 4'):
        sincos_position(30, (2, 2))


@pytest.mark.parametrize(
    ('patches', 'ratio', 'kept'), [(196, 0.75, 49), (16, 0.75, 4), (10, 0.33, 6)]
)
def test_masking_is_a_partition_with_maes_rounding(patches: int, ratio: float, kept: int) -> None:
    masking = random_masking(3, patches, ratio)
    assert masking.ids_keep.shape == (3, kept)
    both = torch.cat([masking.ids_keep, masking.ids_mask], dim=1)
    assert torch.equal(both.sort(1).values, torch.arange(patches).expand(3, -1))
    assert torch.equal(both.gather(1, masking.ids_restore), torch.arange(patches).expand(3, -1))


@pytest.mark.parametrize(
    ('grid', 'unit', 'ratio', 'units'),
    [((14, 14), 2, 0.6, 30), ((4, 6), 2, 0.5, 3), ((3, 3), 1, 0.5, 5), ((2, 2), 2, 0.1, 1)],
)
def test_masks_are_whole_squares_rounded_up(grid, unit, ratio, units) -> None:
    ids = unit_masking(5, grid, unit, ratio)
    assert ids.shape == (5, units * unit**2)
    for mask in masked_patches(ids, grid[0] * grid[1]).reshape(5, *grid).float():
        assert mask.sum() == units * unit**2
        squares = mask.unfold(0, unit, unit).unfold(1, unit, unit).flatten(2).mean(-1)
        assert set(squares.flatten().tolist()) <= {0.0, 1.0}


def straight_run(net: SwinTransformer, images: Tensor, masked: Tensor) -> list[Tensor]:
    """Return the maps that layers hand on, patches merged where a stage ends; 0 the embedding."""
    x = net.patch_embed.norm(net.patch_embed.proj(images).permute(0, 2, 3, 1))
    weight = masked.reshape(*x.shape[:3], 1).to(x)
    maps = [x * (1 - weight) + net.mask_token * weight]
    for stage, layer in enumerate(net.layers):
        if stage:
            maps[-1] = layer.downsample(maps[-1])
        for block in layer.blocks:
            maps.append(block(maps[-1]))
    return maps


def straight_losses(model: SwinSimMIM, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Compute both losses as the authors' code does, part by part."""
    squares = noise.argsort(1)[:, : math.ceil(0.6 * 16)]
    small = torch.zeros(len(images), 16).scatter(1, squares, 1).reshape(-1, 4, 4)
    masked = small.repeat_interleave(4, 1).repeat_interleave(4, 2)  # patches
    pixels = small.repeat_interleave(UNIT, 1).repeat_interleave(UNIT, 2)[:, None]
    student = straight_run(model.backbone, images, masked)
    teacher = straight_run(model.distiller.teacher, images, masked)

    decoder = model.decoder
    x = F.layer_norm(student[1], (24,), decoder.norm.weight, decoder.norm.bias, 1e-5)
    x = decoder.block(x @ decoder.embed.weight.T + decoder.embed.bias)
    pred = F.pixel_shuffle(F.conv2d(x.permute(0, 3, 1, 2), model.head.weight, model.head.bias), 8)
    reconstruction = ((pred - images).abs() * pixels).sum() / (pixels.sum() + 1e-5) / 3

    cut = model.distiller.query_key_block
    x = F.layer_norm(student[5].flatten(1, 2), (48,), cut.norm1.weight, cut.norm1.bias, 1e-5)
    q, k = cut.qk(x).reshape(len(x), 16, 2, 12, 4).permute(2, 0, 3, 1, 4)
    rows = torch.tensor(
        [[(a // 4 - b // 4 + 3) * 7 + a % 4 - b % 4 + 3 for b in range(16)] for a in range(16)]
    )
    ours = q @ k.transpose(-2, -1) * 4**-0.5 + cut.relative_position_bias_table[rows].permute(
        2, 0, 1
    )
    last = model.distiller.teacher.layers[-1].blocks[-1]
    x = last.norm1(teacher[4].flatten(1, 2))
    q, k, _ = last.attn.qkv(x).reshape(len(x), 16, 3, 24, 4).permute(2, 0, 3, 1, 4)
    bias = last.attn.relative_position_bias_table[rows].permute(2, 0, 1)
    theirs = q @ k.transpose(-2, -1) * 4**-0.5 + bias
    mapped = F.conv2d(ours, model.distiller.head_maps[0].weight)
    return reconstruction, (mapped - theirs).square().mean()


def test_decoupled_losses_on_swin_equal_the_straight_line_computation() -> None:
    """Pixels come from layer 1, which ends a stage; layer 6 is matched."""
    teacher = swin(24, mask_token=True, final_norm=False)
    model = SwinSimMIM(
        swin(mask_token=True, final_norm=False),
        mask_unit=UNIT,
        decoder=dict(embed_dim=24, num_heads=3, window_size=4),
        reconstruct_after=1,
        distiller=distiller(teacher, (6, 5), extra_layer=True),
    )
    spread(model)
    for parameter in model.distiller.teacher.parameters():
        nn.init.normal_(parameter, std=0.1)
    images, noise = torch.randn(3, 3, SIDE, SIDE), torch.rand(3, 16)
    losses = model.loss(images, noise=noise)
    reconstruction, distillation = straight_losses(model, images, noise)
    torch.testing.assert_close(losses['loss_reconstruction'], reconstruction, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(losses['loss_distill'], distillation, atol=1e-6, rtol=1e-5)
