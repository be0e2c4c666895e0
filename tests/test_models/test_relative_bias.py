"""BEiT's relative position bias against timm, scipy and a straight line."""

import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import RectBivariateSpline
from torch import Tensor

from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.checkpoints.resize import resize_relative_bias
from lightvit_dense.models import VisionTransformer
from lightvit_dense.models.layers import Attention
from lightvit_dense.models.layers.relative_bias import relative_bias, table_rows
from lightvit_dense.utils.relative_bias import geometric_positions, resize_offsets
from tests.helpers.models import assert_same_gradients, pairwise_attention, randomise

SMALL = dict(embed_dim=24, depth=3, num_heads=4)
TABLE = 'relative_position_bias_table'


def straight_line(attn: Attention, x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """BEiT's attention, token by token: the first token is the class token, if there is one."""
    table, columns, cls = attn.relative_position_bias_table, grid[1], attn.num_prefix_tokens

    def bias(_: Tensor, i: int, j: int) -> Tensor:
        if cls and not (i and j):
            return table[-1 if i == j else -3 if i == 0 else -2]
        down = (i - cls) // columns - (j - cls) // columns
        across = (i - cls) % columns - (j - cls) % columns
        return table[(down + grid[0] - 1) * (2 * columns - 1) + across + columns - 1]

    return pairwise_attention(attn, x, bias)


@pytest.mark.parametrize('cls_token', [True, False])
@pytest.mark.parametrize('grid', [(3, 4), (4, 2), (1, 5)])
def test_attention_equals_the_straight_line(grid: tuple[int, int], cls_token: bool) -> None:
    attn = Attention(16, 2, rel_bias_size=grid, cls_token=cls_token).double()
    randomise(attn, 0.5)
    x = torch.randn(2, grid[0] * grid[1] + cls_token, 16, dtype=torch.double)
    fused, _ = attn(x, grid)
    explicit, logits = attn(x, grid, need_logits=True)
    reference, expected = straight_line(attn, x, grid)
    for found in (logits, attn.logits(x, grid)):
        torch.testing.assert_close(found, expected)
    for out in (fused, explicit):
        torch.testing.assert_close(out, reference)
        assert_same_gradients(out.square().sum(), reference.square().sum(), attn)


@pytest.mark.parametrize(
    ('old', 'new'), [((4, 4), (6, 6)), ((14, 14), (20, 9)), ((3, 5), (7, 4)), ((2, 1), (3, 3))]
)
def test_resizing_is_scipys_spline_and_differentiable(old: tuple, new: tuple) -> None:
    """The matrices give what the surface spline gives, up to rounding."""
    table = torch.randn(table_rows(old, False), 2, dtype=torch.double, requires_grad=True)
    found = resize_offsets(table, old, new)
    sides, wanted = ([2 * s - 1 for s in grid] for grid in (old, new))
    image = table.detach().reshape(*sides, 2)
    places = [geometric_positions(*pair) for pair in zip(sides, wanted, strict=True)]
    at = [torch.arange(n).sub(n // 2).double().numpy() for n in wanted]
    if 1 in sides:  # a surface needs two points a side; one point is a constant
        image, places[1] = image.expand(-1, 2, -1), [-1.0, 1.0]
    for head in range(2):
        degrees = [min(3, n - 1) for n in image.shape[:2]]
        surface = RectBivariateSpline(
            *places, image[..., head].numpy(), s=0, kx=degrees[0], ky=degrees[1]
        )
        expected = torch.from_numpy(surface(*at)).flatten()
        torch.testing.assert_close(found[:, head].detach(), expected, atol=1e-9, rtol=0)
    # The gradient of a linear map is its transpose: <R t, w> = <t, R' w>.
    weights = torch.randn_like(found)
    (grad,) = torch.autograd.grad(found, table, weights)
    torch.testing.assert_close((table * grad).sum(), (found * weights).sum())


@pytest.mark.parametrize('sides', [(48, 80), (24, 24)])
def test_another_grid_at_run_time_is_what_a_checkpoint_load_gives(sides: tuple) -> None:
    source = randomise(VisionTransformer(SMALL, (32, 32), 8, rel_pos=dict(kind='bias')))
    target = VisionTransformer(SMALL, sides, 8, rel_pos=dict(kind='bias')).eval()
    report = load_backbone(target, source.state_dict(), verbose=False)
    grid = (sides[0] // 8, sides[1] // 8)
    name = f'blocks.2.attn.{TABLE}'
    assert report.resized[name] == ((52, 4), (table_rows(grid, True), 4))
    image = torch.randn(2, 3, *sides)
    out = source(image)[0]
    torch.testing.assert_close(out, target(image)[0], atol=1e-5, rtol=1e-5)
    table = source.get_parameter(name)
    expected = relative_bias(resize_relative_bias(table.detach(), grid), grid, grid)
    torch.testing.assert_close(relative_bias(table, (4, 4), grid), expected, atol=1e-5, rtol=0)
    out.square().sum().backward()
    assert all(block.attn.relative_position_bias_table.grad.any() for block in source.blocks)


@pytest.mark.parametrize('cls_token', [True, False])
def test_visible_patches_keep_their_biases(cls_token: bool) -> None:
    """With attention confined to visible tokens, an explicit mask is the oracle."""
    model = VisionTransformer(
        dict(embed_dim=24, depth=1, num_heads=4), (24, 32), 8, cls_token=cls_token,
        rel_pos=dict(kind='bias'),
    )  # fmt: skip
    randomise(model)
    image = torch.randn(2, 3, 24, 32)
    keep = torch.tensor([[7, 0, 11], [2, 3, 4]])
    found = model.encode(image, keep, logits_of=(1,))
    whole = model.encode(image, logits_of=(1,)).logits[1]
    rows = torch.cat([torch.zeros(2, 1, dtype=torch.long), keep + 1], 1) if cls_token else keep
    for i, at in enumerate(rows):
        torch.testing.assert_close(found.logits[1][i], whole[i][:, at][:, :, at])
    torch.testing.assert_close(model.attention_logits(image, (1,), keep)[1], found.logits[1])
    torch.testing.assert_close(model.encode(image, keep).tokens, found.tokens)


def simmims_detector(model: VisionTransformer, image: Tensor, window: int) -> Tensor:
    """The authors' ViTDet for SimMIM: BEiT's blocks in windows, written out; keys have no bias."""
    x = model.patch_embed.proj(image)
    rows, columns = x.shape[2:]
    positions = model.pos_embed.transpose(1, 2).unflatten(2, model.grid_size)
    x = x + F.interpolate(positions, (rows, columns), mode='bicubic', align_corners=False)
    x = x.permute(0, 2, 3, 1)  # [B, rows, columns, C]
    for number, block in enumerate(model.blocks):
        y = block.norm1(x)
        if number == 2:  # global
            y = straight_line(block.attn, y.flatten(1, 2), (rows, columns))[0].view_as(x)
        else:
            y = F.pad(y, (0, 0, 0, -columns % window, 0, -rows % window))
            out = torch.zeros_like(y)
            for top in range(0, y.shape[1], window):
                for left in range(0, y.shape[2], window):
                    place = (slice(None), slice(top, top + window), slice(left, left + window))
                    tokens = straight_line(block.attn, y[place].flatten(1, 2), (window, window))[0]
                    out[place] = tokens.unflatten(1, (window, window))
            y = out[:, :rows, :columns]
        x = x + block.ls1.gamma * y
        x = x + block.ls2.gamma * block.mlp(block.norm2(x))
    return x.permute(0, 3, 1, 2)


def test_simmims_detector_equals_the_straight_line() -> None:
    model = VisionTransformer(
        SMALL, 32, 8, cls_token=False, out_type='featmap', final_norm=False, 
        window=dict(size=4, global_blocks=(2,)), rel_pos=dict(kind='bias', size=(40, 48)),
        layer_scale=0.1,
    ).double()  # fmt: skip
    randomise(model)
    for block in model.blocks:
        block.attn.qkv.bias.data[24:48] = 0
    tables = [block.attn.relative_position_bias_table for block in model.blocks]
    assert [len(table) for table in tables] == [49, 49, 9 * 11]
    image = torch.randn(2, 3, 40, 48, dtype=torch.float64)
    parameters, results = list(model.parameters()), []
    for features in (model(image)[0], simmims_detector(model, image, 4)):
        results.append([features, *torch.autograd.grad(features.square().sum(), parameters)])
    for found, expected in zip(*results, strict=True):
        # Positions are resized in single precision.
        assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
