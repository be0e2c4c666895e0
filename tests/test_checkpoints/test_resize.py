import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed

from lightvit_dense.checkpoints import resize_patch_embed, resize_pos_embed, resize_rel_pos
from lightvit_dense.checkpoints.resize import guess_grid, resize_parameter


@pytest.mark.parametrize(
    ('tokens', 'expected'),
    [(196, ((14, 14), 0)), (197, ((14, 14), 1)), (1, ((1, 1), 0)), (2, ((1, 1), 1)), (195, None)],
)
def test_guess_grid(tokens, expected):
    assert guess_grid(tokens) == expected


@pytest.mark.parametrize('grid', [(7, 7), (5, 9), (2, 3)])
@pytest.mark.parametrize('source', [(4, 4), (3, 6)])
def test_positions_are_timms(grid, source):
    table = torch.randn(1, 1 + source[0] * source[1], 6)
    ours = resize_pos_embed(table, grid, 1, source)
    theirs = resample_abs_pos_embed(table, grid, source, num_prefix_tokens=1, antialias=False)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_prefix_row_is_dropped_and_added():
    table = torch.randn(1, 17, 6)
    assert torch.equal(resize_pos_embed(table, (4, 4), 1), table)
    without = resize_pos_embed(table, (4, 4), 0)
    assert torch.equal(without, table[:, 1:])
    again = resize_pos_embed(without, (4, 4), 1)
    assert torch.equal(again[:, 1:], without)
    assert not again[:, 0].any()


def test_constant_stays_constant():
    table = torch.ones(1, 16, 3, dtype=torch.float16)
    resized = resize_pos_embed(table, (9, 5), 0)
    assert resized.dtype == torch.float16
    assert resized.shape == (1, 45, 3)
    assert torch.allclose(resized.float(), torch.ones(1, 45, 3), atol=1e-3)


def test_positions_that_are_no_square():
    with pytest.raises(ValueError, match='15 positions'):
        resize_pos_embed(torch.zeros(1, 15, 3), (4, 4), 0)
    with pytest.raises(ValueError, match='15 positions'):
        resize_pos_embed(torch.zeros(1, 15, 3), (4, 4), 0, (4, 4))
    assert resize_pos_embed(torch.zeros(1, 15, 3), (4, 4), 0, (3, 5)).shape == (1, 16, 3)


@pytest.mark.parametrize('length', [7, 13, 27])
def test_relative_positions(length):
    table = torch.randn(13, 4)
    expected = torch.stack(
        [F.interpolate(c[None, None], size=length, mode='linear')[0, 0] for c in table.t()], dim=1
    )
    assert torch.allclose(resize_rel_pos(table, length), expected, atol=1e-6)


def test_patch_embedding_keeps_what_a_patch_gives():
    kernel = torch.randn(5, 3, 8, 8)
    resized = resize_patch_embed(kernel, (16, 16))
    assert resized.shape == (5, 3, 16, 16)
    patch = torch.randn(1, 3, 8, 8)
    larger = F.interpolate(patch, size=16, mode='bicubic', antialias=True)
    assert torch.allclose(F.conv2d(patch, kernel), F.conv2d(larger, resized), atol=1e-3), (
        'the pseudo-inverse makes both scales agree'
    )


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
    assert resize_parameter(name, torch.zeros(old), new, grid, max(prefix, 0)) is None
