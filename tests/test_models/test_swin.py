"""The Swin backbone against timm, mmdet and straight-line references."""

import pytest
import timm
import torch
from mmdet.models.backbones import SwinTransformer as MMDetSwin
from torch import Tensor

from lightvit_dense.models import SwinTransformer
from lightvit_dense.models.layers.swin import SwinBlock
from lightvit_dense.representation.features import layer_maps
from tests.helpers.models import gradients, randomise

SMALL = dict(embed_dim=12, depths=(2, 2, 2), num_heads=3)
MAPS = dict(out_type='featmap', out_indices=(0, 1, 2), final_norm=False, stage_norms=True)


def small(**options: object) -> SwinTransformer:
    return randomise(SwinTransformer(SMALL, **(dict(img_size=64, window_size=4) | options)))


@pytest.mark.parametrize(
    ('side', 'window'),
    [(64, 4), (64, 8), (112, 7), (80, 5)],
    ids=['shifted', 'one window from stage 2', 'as published', 'one window at the end'],
)
def test_values_and_gradients_are_those_of_timm(side: int, window: int) -> None:
    ours = small(img_size=side, window_size=window)
    arch = SMALL | dict(num_heads=(3, 6, 12))
    theirs = timm.models.swin_transformer.SwinTransformer(
        side, 4, num_classes=0, window_size=window, drop_path_rate=0.0, **arch
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(2, 3, side, side)
    found, expected = ours(image)[0], theirs.forward_features(image).flatten(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.encode(image).tokens, expected, atol=1e-5, rtol=1e-5)
    wanted = gradients(expected.square().sum(), theirs)
    for name, gradient in gradients(found.square().sum(), ours).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-4, rtol=1e-4)


def mmdet_state(model: SwinTransformer) -> dict[str, Tensor]:
    """Bring our names to mmdet's, whose merging reads the channels in another order."""
    rules = (
        ('patch_embed.proj.', 'patch_embed.projection.'),
        ('layers.', 'stages.'),
        ('.attn.', '.attn.w_msa.'),
        ('.mlp.fc1.', '.ffn.layers.0.0.'),
        ('.mlp.fc2.', '.ffn.layers.1.'),
    )
    state = {}
    for name, tensor in model.state_dict().items():
        if '.downsample.' in name:  # begins our stages, ends theirs
            stage = int(name.split('.')[1])
            name = name.replace(f'layers.{stage}.', f'layers.{stage - 1}.')
            # [..., columns, rows, C] -> [..., C, rows, columns]
            tensor = tensor.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3)
        for ours, theirs in rules:
            name = name.replace(ours, theirs)
        state[name] = tensor
    return state


@pytest.mark.parametrize('size', [(64, 64), (61, 83), (100, 52), (39, 140)])
def test_maps_of_any_size_are_those_of_mmdet(size: tuple[int, int]) -> None:
    ours = small(img_size=128, **MAPS)
    stages = dict(depths=(2, 2, 2), num_heads=(3, 6, 12), strides=(4, 2, 2), out_indices=(0, 1, 2))
    theirs = MMDetSwin(embed_dims=12, window_size=4, drop_path_rate=0.0, **stages)
    theirs.eval()  # returns nothing
    missing, unexpected = theirs.load_state_dict(mmdet_state(ours), strict=False)
    assert not unexpected
    assert all(name.endswith('relative_position_index') for name in missing)
    image = torch.randn(2, 3, *size)
    for found, expected in zip(ours(image), theirs(image), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('shifted', [False, True])
def test_logits_are_those_of_timms_attention(shifted: bool) -> None:
    block = randomise(SwinBlock(8, (6, 9), 2, window_size=3, shifted=shifted))
    block.attn.fused_attn, seen = False, []  # timm's explicit path shows what its softmax gets
    block.attn.softmax.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    x = torch.randn(2, 6, 9, 8)
    block(x)
    # [B*windows, heads, N, N] -> [B, heads, windows*N, N]
    masked = seen[0].unflatten(0, (2, 6)).transpose(1, 2).flatten(2, 3)
    free = masked > -50  # what the mask of the shift leaves
    assert free.all() != shifted
    torch.testing.assert_close(block.logits(x)[free], masked[free], atol=1e-5, rtol=1e-5)


def test_encode_gives_layers_as_the_original_counts_them() -> None:
    model = small(mask_token=True)
    image = torch.randn(2, 3, 64, 64)
    ids_keep = torch.rand(2, 256).argsort(1)[:, :100]
    encoding = model.encode(image, ids_keep, (1, 4, 6), range(7))
    masked = torch.ones(2, 256, dtype=torch.bool).scatter(1, ids_keep, False)
    assert (encoding.hidden[0][masked] == model.mask_token[0, 0]).all()
    seen = model.patch_embed(image).flatten(1, 2)
    torch.testing.assert_close(encoding.hidden[0][~masked], seen[~masked])
    read = layer_maps(model, image)  # normalised, by the block that reads them
    plain = model.encode(image, hidden_of=(2,)).hidden[2].unflatten(1, model.grid_of(2))
    torch.testing.assert_close(read[2], model.layers[1].blocks[0].norm1(plain))
    alone = model.attention_logits(image, (1, 4, 6), ids_keep)
    for layer, logits in encoding.logits.items():
        torch.testing.assert_close(alone[layer], logits)


def test_initial_values_are_those_of_the_authors() -> None:
    model = SwinTransformer('tiny', mask_token=True)
    for name, parameter in model.named_parameters():
        if name.endswith('.bias') and 'patch_embed.proj' not in name:
            assert (parameter == 0).all()
        elif 'norm' in name:
            assert (parameter == 1).all()
        elif 'patch_embed' not in name and parameter.numel() > 2000:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05)
    # torch's convolution: uniform of 1 / sqrt(3 * 4 * 4)
    assert model.patch_embed.proj.weight.abs().max().item() == pytest.approx(48**-0.5, rel=0.01)
