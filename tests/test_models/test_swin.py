"""The Swin backbone against timm, mmdet and straight-line references."""

from pathlib import Path

import pytest
import timm
import torch
from mmdet.models.backbones import SwinTransformer as MMDetSwin
from torch import Tensor

from lightvit_dense.deploy.onnx_export import compare_onnx, export_onnx, onnx_session
from lightvit_dense.models import SwinTransformer, get_layer_id
from lightvit_dense.models.layers.swin import SwinBlock, WindowQueryKeyBlock
from lightvit_dense.representation.features import layer_maps
from tests.helpers.models import gradients, randomise

SMALL = dict(embed_dim=12, depths=(2, 2, 2), num_heads=3)
MAPS = dict(out_type='featmap', out_indices=(0, 1, 2), final_norm=False, stage_norms=True)


def small(**options: object) -> SwinTransformer:
    torch.manual_seed(0)
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


def test_the_papers_tiny_has_the_parameters_of_the_authors() -> None:
    model = SwinTransformer('tiny')
    theirs = timm.models.swin_transformer.SwinTransformer(
        embed_dim=48, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), num_classes=0
    )
    shapes = {n: p.shape for n, p in model.state_dict().items()}
    assert shapes == {n: p.shape for n, p in theirs.state_dict().items()}
    assert sum(p.numel() for p in model.parameters()) == 6_914_634
    assert [model.heads_of(layer) for layer in (1, 4, 10, 12)] == [3, 6, 12, 24]
    assert [model.width_of(layer) for layer in (0, 1, 2, 4, 12)] == [48, 48, 96, 192, 384]
    assert [model.grid_of(layer) for layer in (0, 2, 4, 12)] == [(s, s) for s in (56, 28, 14, 7)]
    assert [model.attention_shape(layer)[0] for layer in (1, 4, 10, 12)] == [64, 16, 4, 1]


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


def straight_logits(block: SwinBlock, x: Tensor) -> Tensor:
    """Compute the logits window by window and pair by pair [B, heads, windows, N, N]."""
    side, shift, attn = block.window_size[0], block.shift_size[0], block.attn
    rows, columns = x.shape[1:3]
    qkv = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, -1))
    q, k = qkv[..., 0, :, :], qkv[..., 1, :, :]
    found = []
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            places = [
                ((top + i + shift) % rows, (left + j + shift) % columns)
                for i in range(side)
                for j in range(side)
            ]
            window = torch.zeros(len(x), attn.num_heads, side**2, side**2)
            for a, (ya, xa) in enumerate(places):
                for b, (yb, xb) in enumerate(places):
                    down, across = a // side - b // side, a % side - b % side
                    row = (down + side - 1) * (2 * side - 1) + across + side - 1
                    product = (q[:, ya, xa] * k[:, yb, xb]).sum(-1) * q.shape[-1] ** -0.5
                    window[:, :, a, b] = product + attn.relative_position_bias_table[row]
            found.append(window)
    return torch.stack(found, 2)


@pytest.mark.parametrize('shifted', [False, True])
def test_logits_equal_a_straight_line_computation(shifted: bool) -> None:
    torch.manual_seed(0)
    block = randomise(SwinBlock(8, (6, 9), 2, window_size=3, shifted=shifted))
    x = torch.randn(2, 6, 9, 8)
    found = block.logits(x).unflatten(2, (6, 9))
    torch.testing.assert_close(found, straight_logits(block, x), atol=1e-5, rtol=1e-5)


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


def test_onnx_computes_the_same_for_any_batch(tmp_path: Path) -> None:
    model = small(img_size=128, **MAPS)
    export_onnx(model, tmp_path / 'swin.onnx', torch.randn(2, 3, 72, 100), ('a', 'b', 'c'))
    session = onnx_session(tmp_path / 'swin.onnx')
    assert compare_onnx(session, model, torch.randn(3, 3, 72, 100)).largest < 1e-5


def test_the_query_key_block_is_the_beginning_of_a_block() -> None:
    torch.manual_seed(0)
    cut = randomise(small().query_key_block())
    whole = randomise(SwinBlock(48, (4, 4), 12, window_size=4))
    state = whole.state_dict()
    for name in cut.state_dict():
        source = name.replace('qk.', 'attn.qkv.').replace('rel', 'attn.rel')
        cut.get_parameter(name).data.copy_(state[source][: len(cut.get_parameter(name))])
    x = torch.randn(2, 16, 48)
    assert isinstance(cut, WindowQueryKeyBlock)
    found, expected = cut.logits(x), whole.logits(x.unflatten(1, (4, 4)))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_initial_values_are_those_of_the_authors() -> None:
    torch.manual_seed(0)
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


def authors_layer(name: str, depths: tuple[int, ...]) -> int | None:
    """Return the depth by the original's names, where merging ends a stage; None behind blocks."""
    parts = name.split('.')
    if parts[0] in ('patch_embed', 'mask_token'):
        return 0
    if parts[0] != 'layers':
        return None
    stage = int(parts[1])
    if parts[2] == 'downsample':
        return sum(depths[:stage])  # of timm's stage, which is the end of the one before
    return sum(depths[:stage]) + int(parts[3]) + 1


def test_layers_are_counted_as_the_authors_do() -> None:
    model = SwinTransformer(mask_token=True)
    for name, _ in model.named_parameters():
        depth = authors_layer(name, (2, 2, 6, 2))
        found = get_layer_id(f'backbone.{name}', 12, model.depths)
        assert found == (13 if depth is None else depth), name
    assert get_layer_id('head.fc.weight', 12, model.depths) == 13
    assert get_layer_id('decoder.block.norm1.weight', 12, model.depths) == 13


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(img_size=50), r'img_size=\(50, 50\) px is not a multiple of patch 4 px'),
        (dict(arch=dict(embed_dim=12, depths=(2, 0), num_heads=3)), 'each stage needs a block'),
        (dict(arch='base'), "arch 'base' is unknown"),
        (dict(out_type='maps'), "out_type is 'tokens' or 'featmap'"),
        (dict(out_indices=(0, 4)), 'does not name stages of 0..2'),
        (dict(stage_norms=True), 'takes the place of the final norm: final_norm=False'),
    ],
)
def test_what_does_not_fit_is_refused_when_built(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SwinTransformer(**(dict(arch=SMALL) | options))


def test_what_a_model_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match='mask_token=True'):
        small().encode(torch.randn(1, 3, 64, 64), torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(ValueError, match='set window_size=8 or a smaller img_size'):
        small(img_size=128).query_key_block()
