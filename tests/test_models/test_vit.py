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

TINY = dict(embed_dim=32, depth=3, num_heads=4)


def test_parameter_counts_are_the_papers() -> None:
    head = 192 * 1000 + 1000
    tiny = sum(p.numel() for p in VisionTransformer('tiny').parameters())
    assert tiny + head == 5_717_416
    small = sum(p.numel() for p in VisionTransformer('small').parameters())
    assert small + 384 * 1000 + 1000 == 22_050_664
    base = sum(p.numel() for p in VisionTransformer('base').parameters())
    assert base + 768 * 1000 + 1000 == 86_567_656


@pytest.mark.parametrize('heads', [3, 12])
def test_equals_timm_given_the_same_weights(heads: int) -> None:
    torch.manual_seed(0)
    reference = timm.create_model('vit_tiny_patch16_224', num_heads=heads, num_classes=0).eval()
    ours = VisionTransformer(dict(embed_dim=192, depth=12, num_heads=heads)).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(image)[0], reference.forward_features(image), atol=1e-5, rtol=0
        )
        taps = VisionTransformer('tiny', out_indices=(2, 11), out_type='featmap').eval()
        if heads == 12:
            taps.load_state_dict(reference.state_dict(), strict=True)
            theirs = reference.forward_intermediates(
                image, indices=[2, 11], norm=False, intermediates_only=True
            )
            torch.testing.assert_close(taps(image)[0], theirs[0], atol=1e-5, rtol=0)


def test_other_image_sizes_resize_positions_as_timm_does() -> None:
    torch.manual_seed(0)
    reference = timm.create_model(
        'vit_tiny_patch16_224', num_heads=12, num_classes=0, dynamic_img_size=True
    ).eval()
    ours = VisionTransformer('tiny').eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    image = torch.randn(1, 3, 96, 320)
    with torch.no_grad():
        out, theirs = ours(image)[0], reference.forward_features(image)
    assert out.shape == theirs.shape == (1, 1 + 6 * 20, 192)
    # timm antialiases its tables; ours is plain bicubic as in MAE and ViTDet.
    reference = timm.create_model(
        'vit_tiny_patch16_224', num_heads=12, num_classes=0, img_size=(96, 320)
    ).eval()
    state = ours.state_dict()
    table = state['pos_embed'][:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    table = F.interpolate(table, size=(6, 20), mode='bicubic').flatten(2).transpose(1, 2)
    state['pos_embed'] = torch.cat([state['pos_embed'][:, :1], table], dim=1)
    reference.load_state_dict(state, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(out, reference.forward_features(image), atol=1e-5, rtol=0)


def _vitdet_attention(attn: Attention, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """ViTDet's attention, written as its paper says it: add both biases to explicit logits."""
    batch, tokens, dim = x.shape
    heads, d = attn.num_heads, attn.head_dim
    q, k, v = attn.qkv(x).reshape(batch, tokens, 3, heads, d).permute(2, 0, 3, 1, 4)
    logits = x.new_empty(batch, heads, tokens, tokens)
    for i in range(tokens):
        for j in range(tokens):
            row, column = i // grid[1] - j // grid[1], i % grid[1] - j % grid[1]
            content = (q[:, :, i] * k[:, :, j]).sum(-1) / d**0.5
            down = q[:, :, i] @ attn.rel_pos_h[row + grid[0] - 1]
            across = q[:, :, i] @ attn.rel_pos_w[column + grid[1] - 1]
            logits[:, :, i, j] = content + down + across
    out = logits.softmax(-1) @ v
    return attn.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


def test_embedding_visible_patches_alone_changes_neither_values_nor_gradients() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(dict(embed_dim=16, depth=1, num_heads=2), (24, 40), 8).double()
    image = torch.randn(2, 3, 24, 40).double().requires_grad_()
    keep = torch.rand(2, 15).argsort(1)[:, :4]
    some, grid = model.patch_embed(image, keep)
    every, _ = model.patch_embed(image)
    chosen = every.gather(1, keep[..., None].expand(-1, -1, 16))
    assert grid == (3, 5)
    torch.testing.assert_close(some, chosen)
    wanted = [image, model.patch_embed.proj.weight, model.patch_embed.proj.bias]
    weights = torch.randn_like(some)
    ours = torch.autograd.grad((some * weights).sum(), wanted)
    theirs = torch.autograd.grad((chosen * weights).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


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
    names = [name for name, _ in attn.named_parameters()]
    ours_grads = torch.autograd.grad(ours.square().sum(), list(attn.parameters()))
    reference_grads = torch.autograd.grad(reference.square().sum(), list(attn.parameters()))
    for name, ours_grad, reference_grad in zip(names, ours_grads, reference_grads, strict=True):
        torch.testing.assert_close(ours_grad, reference_grad, msg=name)


def test_relative_tables_resize_to_other_grids() -> None:
    attn = Attention(16, 2, rel_pos_size=(4, 4))
    torch.nn.init.normal_(attn.rel_pos_h)
    out, _ = attn(torch.randn(1, 6 * 5, 16), (6, 5))
    assert torch.isfinite(out).all()
    with pytest.raises(ValueError, match='needs the grid of all 30 tokens'):
        attn(torch.randn(1, 30, 16))


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


def test_window_blocks_see_their_window_only() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(
        TINY, img_size=32, patch_size=4, cls_token=False, out_type='featmap',
        window=dict(size=4), rel_pos=dict(kind='decomposed', size=32),
    ).eval()  # fmt: skip
    image = torch.randn(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 16:, 16:] += 1  # the bottom-right window of 2 x 2 windows
    difference = (model(image)[0] - model(changed)[0]).abs().sum(1)[0]
    assert difference[:4].max() == difference[:, :4].max() == 0
    assert difference[4:, 4:].min() > 0


def test_detection_backbone_maps_any_size() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(
        TINY, img_size=32, patch_size=4, cls_token=False, out_type='featmap', final_norm=False,
        window=dict(size=3, global_blocks=(0, 2)), rel_pos=dict(kind='decomposed', size=32),
    )  # fmt: skip
    (out,) = model(torch.randn(2, 3, 24, 40))
    assert out.shape == (2, 32, 6, 10)


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


def test_position_table_resize_keeps_prefix_and_constant_planes() -> None:
    from lightvit_dense.models.layers import resize_position

    table = torch.full((1, 1 + 16, 8), 3.0)
    table[:, 0] = 7
    out = resize_position(table, (4, 4), (6, 9), 1)
    assert out.shape == (1, 55, 8)
    assert torch.equal(out[:, 0], table[:, 0])
    torch.testing.assert_close(out[:, 1:], torch.full((1, 54, 8), 3.0))
    image = table[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    reference = F.interpolate(image, (6, 9), mode='bicubic').flatten(2).transpose(1, 2)
    torch.testing.assert_close(out[:, 1:], reference)
