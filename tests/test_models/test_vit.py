"""The backbone against timm, a straight-line ViTDet attention, and itself."""

import pytest
import timm
import torch
from torch.nn import functional as F

from lightvit_dense.models import VisionTransformer, get_layer_id
from lightvit_dense.models.layers import (
    Attention,
    join_windows,
    pad_to_windows,
    split_windows,
)
from tests.helpers.models import assert_same_gradients, pairwise_attention

TINY = dict(embed_dim=32, depth=3, num_heads=4)


@pytest.mark.parametrize(
    ('arch', 'width', 'count'),
    [('tiny', 192, 5_717_416), ('small', 384, 22_050_664), ('base', 768, 86_567_656)],
)
def test_parameter_counts_are_the_papers(arch: str, width: int, count: int) -> None:
    found = sum(p.numel() for p in VisionTransformer(arch).parameters())
    assert found + width * 1000 + 1000 == count


@pytest.mark.parametrize('heads', [3, 12])
def test_equals_timm_given_the_same_weights(heads: int) -> None:
    torch.manual_seed(0)
    reference = timm.create_model('vit_tiny_patch16_224', num_heads=heads, num_classes=0).eval()
    ours = VisionTransformer(dict(embed_dim=192, depth=12, num_heads=heads)).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        tokens = reference.forward_features(image)
        torch.testing.assert_close(ours(image)[0], tokens, atol=1e-5, rtol=0)
        taps = VisionTransformer('tiny', out_indices=(2, 11), out_type='featmap').eval()
        if heads == 12:
            taps.load_state_dict(reference.state_dict(), strict=True)
            theirs = reference.forward_intermediates(
                image, indices=[2, 11], norm=False, intermediates_only=True
            )
            torch.testing.assert_close(taps(image)[0], theirs[0], atol=1e-5, rtol=0)


def test_other_image_sizes_resize_positions() -> None:
    """timm antialiases its tables; ours is plain bicubic as in MAE and ViTDet."""
    torch.manual_seed(0)
    ours = VisionTransformer('tiny').eval()
    reference = timm.create_model(
        'vit_tiny_patch16_224', num_heads=12, num_classes=0, img_size=(96, 320)
    ).eval()
    image = torch.randn(1, 3, 96, 320)
    state = ours.state_dict()
    table = state['pos_embed'][:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    table = F.interpolate(table, size=(6, 20), mode='bicubic').flatten(2).transpose(1, 2)
    state['pos_embed'] = torch.cat([state['pos_embed'][:, :1], table], dim=1)
    reference.load_state_dict(state, strict=True)
    with torch.no_grad():
        tokens = reference.forward_features(image)
        torch.testing.assert_close(ours(image)[0], tokens, atol=1e-5, rtol=0)


def _vitdet_attention(attn: Attention, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """ViTDet's attention, written as its paper says it: add both biases to explicit logits."""

    def bias(query: torch.Tensor, i: int, j: int) -> torch.Tensor:
        row, column = i // grid[1] - j // grid[1], i % grid[1] - j % grid[1]
        down = query @ attn.rel_pos_h[row + grid[0] - 1]
        return down + query @ attn.rel_pos_w[column + grid[1] - 1]

    return pairwise_attention(attn, x, bias)[0]


def test_decomposed_relative_position_equals_the_straight_line() -> None:
    torch.manual_seed(0)
    grid = (3, 4)
    attn = Attention(16, 2, rel_pos_size=grid).double()
    for table in (attn.rel_pos_h, attn.rel_pos_w):
        torch.nn.init.normal_(table)
    x = torch.randn(2, 12, 16, dtype=torch.double)
    ours, _ = attn(x, grid)
    explicit, logits = attn(x, grid, need_logits=True)
    reference = _vitdet_attention(attn, x, grid)
    torch.testing.assert_close(ours, reference)
    torch.testing.assert_close(explicit, reference)
    torch.testing.assert_close(attn.logits(x, grid), logits)
    assert_same_gradients(ours.square().sum(), reference.square().sum(), attn)
    with pytest.raises(ValueError, match='needs the grid of all 12 tokens'):
        attn(x)


@pytest.mark.parametrize('grid', [(4, 6), (5, 7), (2, 3)])
def test_windows_round_trip_and_stay_apart(grid: tuple[int, int]) -> None:
    heads, width = 3, 2
    x = torch.arange(1, 1 + 2 * grid[0] * grid[1] * 2 * heads * width).double()
    x = x.reshape(2, -1, 2 * heads * width).requires_grad_()
    filled, padded = pad_to_windows(x, grid, 2)
    assert (filled is x) == (padded == grid)
    parts = split_windows(filled, padded, 2, 2, heads)
    count = 2 * padded[0] // 2 * padded[1] // 2
    for number, part in enumerate(parts):
        assert part.shape == (count, heads, 4, width)
        assert part.is_contiguous()
        mine = x[..., number * heads * width :][..., : heads * width]
        assert torch.equal(join_windows(part, grid, padded, 2), mine)
        # The first window holds the top-left 2x2 tokens.
        corner = mine[0, [0, 1, grid[1], grid[1] + 1]].reshape(4, heads, width)
        assert torch.equal(part[0].transpose(0, 1), corner)

    def cut(tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        filled, padded = pad_to_windows(tokens, grid, 2)
        parts = split_windows(filled, padded, 2, 2, heads)
        return (*parts, join_windows(parts[1].sin(), grid, padded, 2))

    assert torch.autograd.gradcheck(cut, (x / x.numel(),))


def test_layer_ids() -> None:
    ids = {
        name: get_layer_id(name, 12)
        for name in (
            'patch_embed.proj.weight', 'backbone.pos_embed', 'cls_token', 'blocks.0.norm1.weight',
            'backbone.blocks.11.attn.rel_pos_h', 'norm.weight', 'roi_head.bbox_head.fc.weight',
            'decoder.blocks.0.norm1.weight', 'neck.blocks.1.weight',
        )
    }  # fmt: skip
    assert list(ids.values()) == [0, 0, 0, 1, 12, 13, 13, 13, 13]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), "arch 'huge' is unknown"),
        (dict(arch=dict(width=3)), 'arch needs'),
        (dict(out_indices=(12,)), 'does not name blocks'),
        (dict(out_indices=(1, 1)), 'does not name blocks'),
        (dict(pos_embed='rope'), "'learned' or 'sincos'"),
        (dict(out_type='maps'), "'tokens' or 'featmap'"),
        (dict(window=dict(size=7)), 'cls_token=False'),
        (dict(img_size=225), 'not a multiple of patch 16'),
        (dict(arch=dict(embed_dim=30, depth=1, num_heads=4)), 'do not divide'),
    ],
)
def test_contradictions_fail_when_built(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisionTransformer(**options)


def test_an_image_of_broken_patches_is_refused_with_the_remedy() -> None:
    model = VisionTransformer(TINY, img_size=32, patch_size=8)
    with pytest.raises(ValueError, match='pad_size_divisor=8'):
        model(torch.randn(1, 3, 30, 32))
