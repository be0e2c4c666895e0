"""The pyramids of ViTDet, Semantic FPN and Li et al. 2021: arithmetic, sizes, gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvit_dense.models import (
    LayerNorm2d,
    MultiDepthPyramid,
    ScaledFeaturePyramid,
    SimpleFeaturePyramid,
)
from lightvit_dense.registry import MODELS
from tests.helpers.models import silent

GN = dict(type='GN', num_groups=2)


def maps(channels: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, channels, 2, 4, generator=generator) for _ in range(4))


def test_widths_and_norms_at_the_papers_width() -> None:
    scaled = ScaledFeaturePyramid(192)
    assert scaled.out_channels == 48
    assert isinstance(scaled.levels[0][1], nn.SyncBatchNorm)
    assert MultiDepthPyramid(192).levels[0][1].num_groups == 32


def test_pyramids_are_beits() -> None:
    """mmseg's neck computes the same, but for the 1x1 convolutions of the scaled one."""
    theirs = MODELS.build(dict(type='mmseg.Feature2Pyramid', embed_dim=8, norm_cfg=GN))
    scaled, deep = ScaledFeaturePyramid(8, 1.0, norm_cfg=GN), MultiDepthPyramid(8, norm_cfg=GN)
    for neck in (scaled, deep):
        neck.levels[0].load_state_dict(theirs.upsample_4x.state_dict())
    scaled.levels[1].load_state_dict(theirs.upsample_2x.state_dict())
    deep.levels[1].load_state_dict(theirs.upsample_2x[0].state_dict())
    inputs = maps(8)
    mixed = (*inputs[:2], *(scaled.levels[i][0](inputs[i]) for i in (2, 3)))
    torch.testing.assert_close(scaled(inputs), theirs(mixed))
    torch.testing.assert_close(deep(inputs), theirs(inputs))


def test_an_extra_map_or_scale_is_refused() -> None:
    neck = ScaledFeaturePyramid(8, norm_cfg=GN)
    with pytest.raises(ValueError, match=r'makes 4 levels .* got 3: name 4 blocks in the out_ind'):
        neck(maps(8)[:3])
    for rescales in ((1, 2), (3,), (), (2, 2)):
        with pytest.raises(ValueError, match='must descend, out of'):
            MultiDepthPyramid(8, rescales)
        with pytest.raises(ValueError, match='must descend, out of'):
            SimpleFeaturePyramid(16, 8, rescales)
    with pytest.raises(ValueError, match=r'scale_factor=0\.1 of 8 channels leaves none'):
        ScaledFeaturePyramid(8, 0.1)


def test_strides_of_a_backbone_of_small_patches() -> None:
    """As in mmseg's neck, a map may be made four times coarser."""
    inputs = tuple(torch.randn(2, 8, 8, 4) for _ in range(4))
    rescales = [2, 1, 0.5, 0.25]
    theirs = MODELS.build(dict(type='mmseg.Feature2Pyramid', embed_dim=8, rescales=rescales))
    deep = MultiDepthPyramid(8, rescales)
    deep.levels[0].load_state_dict(theirs.upsample_2x[0].state_dict())
    for found, expected in zip(deep(inputs), theirs(inputs), strict=True):
        torch.testing.assert_close(found, expected)
    neck = ScaledFeaturePyramid(8, rescales=(1, 0.25))
    fine, coarse = neck(inputs[:2])
    assert fine.shape == (2, 2, 8, 4)
    torch.testing.assert_close(coarse, F.max_pool2d(neck.levels[1][0](inputs[1]), 4))


def test_levels_and_that_every_parameter_learns() -> None:
    neck = SimpleFeaturePyramid(16, 8)
    levels = neck((torch.randn(2, 16, 4, 6),))
    sides = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    assert [tuple(x.shape) for x in levels] == [(2, 8, *side) for side in sides]
    coarse = SimpleFeaturePyramid(16, 8, (2, 1), add_pooled_level=False)
    assert len(coarse((torch.randn(1, 16, 4, 4),))) == 2
    scaled, deep = ScaledFeaturePyramid(16, 0.5, norm_cfg=GN), MultiDepthPyramid(16, norm_cfg=GN)
    for model, outputs in ((neck, levels), (scaled, scaled(maps(16))), (deep, deep(maps(16)))):
        sum(x.pow(3).sum() for x in outputs).backward()
        assert silent(model) == []


def test_finest_level_is_two_deconvolutions_with_norm_and_gelu() -> None:
    neck = SimpleFeaturePyramid(8, 4)
    x = torch.randn(1, 8, 3, 3)
    first, norm, _, second, reduce, norm1, conv, norm2 = neck.levels[0]
    y = second(F.gelu(norm(first(x))))
    torch.testing.assert_close(neck((x,))[0], norm2(conv(norm1(reduce(y)))))


def test_layer_norm_over_channels() -> None:
    x = torch.randn(2, 5, 3, 4)
    norm = LayerNorm2d(5)
    nn.init.normal_(norm.weight)
    mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    expected = (x - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None]
    torch.testing.assert_close(norm(x), expected)
