import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed

from lightvit_dense.checkpoints import resize


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
