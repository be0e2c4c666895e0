"""SimMIM on Swin against Hugging Face, and its decoupled distillation against its definition."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SwinConfig, SwinForMaskedImageModeling

from lightvit_dense.checkpoints.key_mapping import rename
from lightvit_dense.checkpoints.sources import merge_qkv
from lightvit_dense.models import SwinSimMIM, SwinTransformer
from lightvit_dense.models.pretraining.masking import unit_masking
from tests.helpers.models import distiller, gradients, hiera, reached, swin

TEACHER = swin(24, mask_token=True, final_norm=False)
SIDE, UNIT = 64, 16


def simmim(backbone: dict | None = None, **options: object) -> SwinSimMIM:
    torch.manual_seed(0)
    model = SwinSimMIM(swin(mask_token=True) | (backbone or {}), mask_unit=UNIT, **options)
    for network in (model, model.distiller and model.distiller.teacher):
        for parameter in network.parameters() if network else ():  # ones would hide a swap
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def decoupled() -> SwinSimMIM:
    """Return the decoupled form: pixels from layer 1, which ends a stage; layer 6 is matched."""
    return simmim(
        dict(final_norm=False),
        decoder=dict(embed_dim=24, num_heads=3, window_size=4),
        reconstruct_after=1,
        distiller=distiller(TEACHER, (6, 5), extra_layer=True),
    )


def ours_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring the names of Hugging Face's SwinForMaskedImageModeling to those of our model."""
    rules = (
        (r'^decoder\.0\.', 'head.'),
        (r'^swin\.', 'backbone.'),
        (r'embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
        (r'embeddings\.norm\.', 'patch_embed.norm.'),
        (r'embeddings\.mask_token$', 'mask_token'),
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
    return merge_qkv(rename(state, rules))


def test_loss_prediction_and_gradients_are_those_of_hugging_face() -> None:
    sizes = dict(embed_dim=12, depths=[1, 2, 2], num_heads=[3, 6, 12], window_size=4)
    config = SwinConfig(image_size=SIDE, encoder_stride=16, drop_path_rate=0.0, **sizes)
    theirs = SwinForMaskedImageModeling(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)
    ours = simmim()
    ours.load_state_dict(ours_of(theirs.state_dict()))
    images, noise = torch.randn(3, 3, SIDE, SIDE), torch.rand(3, 16)
    ids_mask = unit_masking(3, (16, 16), 4, 0.6, noise)
    masked = torch.zeros(3, 256, dtype=torch.bool).scatter(1, ids_mask, True)
    assert masked.sum() == 3 * math.ceil(0.6 * 16) * 16
    expected = theirs(images, bool_masked_pos=masked)
    loss = ours.loss(images, noise=noise)['loss_reconstruction']
    torch.testing.assert_close(loss, expected.loss, atol=1e-6, rtol=1e-5)
    pred = ours._predict(ours.encode(images, **ours._hide(ids_mask)))
    torch.testing.assert_close(pred, expected.reconstruction, atol=1e-5, rtol=1e-5)
    found, wanted = gradients(loss, ours), gradients(expected.loss, theirs)
    wanted = ours_of({name: grad for name, grad in wanted.items() if grad is not None})
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-6, rtol=1e-4)


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


def test_decoupled_losses_equal_the_straight_line_computation() -> None:
    model = decoupled()
    images, noise = torch.randn(3, 3, SIDE, SIDE), torch.rand(3, 16)
    losses = model.loss(images, noise=noise)
    reconstruction, distillation = straight_losses(model, images, noise)
    torch.testing.assert_close(losses['loss_reconstruction'], reconstruction, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(losses['loss_distill'], distillation, atol=1e-6, rtol=1e-5)


def test_reconstruction_trains_the_first_layers_only() -> None:
    model = decoupled()
    losses = model.loss(torch.randn(2, 3, SIDE, SIDE))
    lower = ('backbone.mask_token', 'backbone.patch_embed.', 'backbone.layers.0.')
    lower += ('backbone.layers.1.downsample.',)  # hands on what the first stage ends with
    names = {name for name, _ in model.named_parameters()}
    mine = {n for n in names if n.startswith((*lower, 'decoder.', 'head.'))}
    assert reached(losses['loss_reconstruction'], model) == mine
    others = {n for n in names if n.startswith(('backbone.', 'distiller.'))}
    assert reached(losses['loss_distill'], model) == others


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: simmim(dict(mask_token=False)), 'mask_token=True'),
        (lambda: SwinSimMIM(hiera()), 'needs a SwinTransformer'),
        (lambda: simmim(decoder={}), 'final_norm=False'),
        (lambda: simmim(dict(final_norm=False), decoder={}, reconstruct_after=2), 'without a loss'),
        (lambda: simmim(mask_ratio=0.0), 'mask_ratio=0.0 must lie in'),
        (lambda: simmim(dict(img_size=56)), '14x14 patches are no whole number of units'),
        (lambda: simmim(dict(img_size=48, patch_size=8)), 'no whole number of 32 px'),
    ],
)
def test_what_does_not_fit_is_refused_when_built(build, message) -> None:
    with pytest.raises(ValueError, match=message):
        build()
