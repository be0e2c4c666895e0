import itertools

import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed

from lightvit_dense.checkpoints import resize
from lightvit_dense.utils.relative_bias import geometric_positions, split_rows


@pytest.mark.parametrize(
    ('tokens', 'expected'),
    [(196, ((14, 14), 0)), (197, ((14, 14), 1)), (1, ((1, 1), 0)), (2, ((1, 1), 1)), (195, None)],
)
def test_guess_grid(tokens, expected):
    assert resize.guess_grid(tokens) == expected


@pytest.mark.parametrize('grid', [(7, 7), (5, 9), (2, 3)])
@pytest.mark.parametrize('source', [(4, 4), (3, 6)])
def test_positions_are_timms(grid, source):
    table = torch.randn(1, 1 + source[0] * source[1], 6)
    ours = resize.resize_pos_embed(table, grid, 1, source)
    theirs = resample_abs_pos_embed(table, grid, source, num_prefix_tokens=1, antialias=False)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_prefix_rows_are_dropped_and_added():
    table = torch.randn(1, 17, 6)
    assert torch.equal(resize.resize_pos_embed(table, (4, 4), 1), table)
    without = resize.resize_pos_embed(table, (4, 4), 0)
    assert torch.equal(without, table[:, 1:])
    again = resize.resize_pos_embed(without, (4, 4), 1)
    assert torch.equal(again, torch.cat([torch.zeros(1, 1, 6), without], dim=1))
    registers = torch.cat([table[:, :1], torch.randn(1, 4, 6), table[:, 1:]], dim=1)
    assert torch.equal(
        resize.resize_pos_embed(registers, (4, 4), 1, source_prefixes=(5, 1, 0)), table
    )
    assert resize.resize_pos_embed(table.half(), (9, 5), 0).dtype == torch.float16


def test_positions_that_are_no_square():
    with pytest.raises(ValueError, match='15 positions'):
        resize.resize_pos_embed(torch.zeros(1, 15, 3), (4, 4), 0)
    with pytest.raises(ValueError, match='15 positions'):
        resize.resize_pos_embed(torch.zeros(1, 15, 3), (4, 4), 0, (4, 4))
    assert resize.resize_pos_embed(torch.zeros(1, 15, 3), (4, 4), 0, (3, 5)).shape == (1, 16, 3)


@pytest.mark.parametrize('length', [7, 13, 27])
def test_relative_positions(length):
    table = torch.randn(13, 4)
    expected = torch.stack(
        [F.interpolate(c[None, None], size=length, mode='linear')[0, 0] for c in table.t()], dim=1
    )
    assert torch.allclose(resize.resize_rel_pos(table, length), expected, atol=1e-6)


def test_patch_embedding_keeps_what_a_patch_gives():
    kernel = torch.randn(5, 3, 8, 8)
    resized = resize.resize_patch_embed(kernel, (16, 16))
    assert resized.shape == (5, 3, 16, 16)
    patch = torch.randn(1, 3, 8, 8)
    larger = F.interpolate(patch, size=16, mode='bicubic', antialias=True)
    assert torch.allclose(F.conv2d(patch, kernel), F.conv2d(larger, resized), atol=1e-3)


@pytest.mark.parametrize(
    ('name', 'old', 'new'),
    [
        ('blocks.0.attn.qkv.weight', (6, 2), (9, 3)),
        ('pos_embed', (1, 17, 6), (1, 26, 8)),
        ('pos_embed', (1, 16, 6), (1, 26, 6)),
        ('pos_embed', (1, 15, 6), (1, 26, 6)),
        ('blocks.0.attn.rel_pos_h', (13, 4), (27, 8)),
        ('patch_embed.proj.weight', (5, 3, 8, 8), (6, 3, 8, 8)),
        ('norm.weight', (5,), (5, 1)),
    ],
)
def test_what_cannot_be_resized(name, old, new):
    grid, prefix = (5, 5), int(old != (1, 16, 6)) - (old == (1, 16, 6))
    assert resize.resize_parameter(name, torch.zeros(old), new, grid, max(prefix, 0)) is None


@pytest.mark.parametrize(
    ('rows', 'expected'),
    [(27 * 27 + 3, (14, 3)), (27 * 27, (14, 0)), (7 * 7 + 3, (4, 3)), (50, None), (64, None)],
)
def test_split_rows(rows, expected):
    assert split_rows(rows) == expected


@pytest.mark.parametrize(('source', 'target'), [(7, 9), (27, 31), (27, 47)])
def test_offsets_grow_geometrically_to_the_border(source, target):
    positions = geometric_positions(source, target)
    assert positions[source // 2] == 0
    assert positions == [-p for p in reversed(positions)]
    assert positions[-1] == pytest.approx(target // 2, abs=1e-2)
    steps = [b - a for a, b in itertools.pairwise(positions[source // 2 :])]
    ratios = [b / a for a, b in itertools.pairwise(steps)]
    assert steps[0] == 1
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


@pytest.mark.parametrize('window', [(6, 6), (5, 7), (7, 4)])
def test_relative_biases_follow_a_cubic_exactly(window):
    """A cubic spline reproduces a cubic, so every value between the given ones is known."""

    def cubic(y, x, head):
        return 0.1 * y**3 - 0.2 * x**2 * y + 0.3 * head * x - 1.0

    target = [2 * side - 1 for side in window]
    y, x = (torch.tensor(geometric_positions(7, n), dtype=torch.float64) for n in target)
    heads = torch.arange(3.0)
    grid = cubic(y[:, None, None], x[None, :, None], heads)
    extra = torch.randn(3, 3)
    table = torch.cat([grid.flatten(0, 1).float(), extra])
    found = resize.resize_relative_bias(table, window)
    # Beyond the last given offset (q stops at 1.01) the value at the border is kept.
    at_y = torch.arange(target[0]).sub(target[0] // 2).double().clamp(y[0], y[-1])
    at_x = torch.arange(target[1]).sub(target[1] // 2).double().clamp(x[0], x[-1])
    expected = cubic(at_y[:, None, None], at_x[None, :, None], heads).flatten(0, 1).float()
    assert torch.allclose(found[:-3], expected, atol=1e-4)
    assert torch.equal(found[-3:], extra)


def test_relative_biases_and_class_tokens():
    table = torch.randn(52, 3)
    assert torch.equal(resize.resize_relative_bias(table, (4, 4)), table)
    without = resize.resize_relative_bias(table, (4, 4), extra=0)
    assert torch.equal(without, table[:-3])
    again = resize.resize_relative_bias(without, (4, 4))
    assert torch.equal(again, torch.cat([without, torch.zeros(3, 3)]))
    assert resize.resize_relative_bias(table.half(), (5, 5)).dtype == torch.float16
    with pytest.raises(ValueError, match='50 relative positions'):
        resize.resize_relative_bias(torch.zeros(50, 3), (4, 4))
    oblong = torch.randn(7 * 11 + 3, 2)
    assert torch.equal(resize.resize_relative_bias(oblong, (4, 6), source_window=(4, 6)), oblong)
    name = 'blocks.0.attn.relative_position_bias_table'
    resized = resize.resize_parameter(name, table, (9 * 11 + 3, 3), (5, 6))
    assert torch.equal(resized, resize.resize_relative_bias(table, (5, 6)))
    assert resize.resize_parameter(name, table, (9 * 11 + 3, 3), (5, 5)) is None


def test_relative_biases_of_windows():
    """A classifier's tables go into a backbone with windows of another size."""
    name, table = 'blocks.0.attn.relative_position_bias_table', torch.randn(52, 3)
    resized = resize.resize_parameter(name, table, (9 * 9, 3), (20, 20))
    assert torch.equal(resized, resize.resize_relative_bias(table, (5, 5), extra=0))
    assert resize.resize_parameter(name, torch.zeros(50, 3), (81, 3), (5, 5)) is None
    assert resize.resize_parameter(name, table, (50, 3), (5, 5)) is None
