"""The pyramid's strides, arithmetic and norms."""

import pytest
import torch
from torch import nn

from lightvit_dense.models import LayerNorm2d, SimpleFeaturePyramid


def test_levels_and_that_every_parameter_learns() -> None:
    neck = SimpleFeaturePyramid(16, 8)
    levels = neck((torch.randn(2, 16, 4, 6),))
    assert [tuple(x.shape) for x in levels] == [
        (2, 8, 16, 24), (2, 8, 8, 12), (2, 8, 4, 6), (2, 8, 2, 3), (2, 8, 1, 2)
    ]  # fmt: skip
    sum(x.pow(3).sum() for x in levels).backward()
    assert [n for n, p in neck.named_parameters() if not p.grad.any()] == []
    coarse = SimpleFeaturePyramid(16, 8, (2, 1), add_pooled_level=False)
    assert len(coarse((torch.randn(1, 16, 4, 4),))) == 2


def test_size_at_the_papers_width() -> None:
    """Counted by hand: deconvolutions have a bias, the convolutions behind them only LN's."""
    neck = SimpleFeaturePyramid(192, 256)
    tail = 256 * 256 * 9 + 4 * 256
    up4 = (192 * 96 * 4 + 96) + 2 * 96 + (96 * 48 * 4 + 48) + 48 * 256 + tail
    up2 = (192 * 96 * 4 + 96) + 96 * 256 + tail
    same = 192 * 256 + tail
    assert sum(p.numel() for p in neck.parameters()) == up4 + up2 + 2 * same


def test_finest_level_is_two_deconvolutions_with_norm_and_gelu() -> None:
    torch.manual_seed(0)
    neck = SimpleFeaturePyramid(8, 4)
    x = torch.randn(1, 8, 3, 3)
    first, norm, _, second, reduce, norm1, conv, norm2 = neck.levels[0]
    y = second(nn.functional.gelu(norm(first(x))))
    torch.testing.assert_close(neck((x,))[0], norm2(conv(norm1(reduce(y)))))


def test_layer_norm_over_channels() -> None:
    x = torch.randn(2, 5, 3, 4)
    norm = LayerNorm2d(5)
    nn.init.normal_(norm.weight)
    mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    expected = (x - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize('scales', [(1, 2), (3,), (), (2, 2)])
def test_impossible_pyramids_are_refused(scales: tuple) -> None:
    with pytest.raises(ValueError, match='scale'):
        SimpleFeaturePyramid(16, 8, scales)
