"""Narrow pyramid of Semantic FPN from four maps of a plain backbone."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from .levels import check_levels, check_maps


def _level(in_channels: int, channels: int, rescale: float, norm_cfg: dict) -> nn.Sequential:
    """Return what makes one level from its map."""
    if rescale == 4:
        return nn.Sequential(
            nn.ConvTranspose2d(in_channels, channels, 2, stride=2),
            build_norm_layer(norm_cfg, channels)[1],
            nn.GELU(),
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
        )
    if rescale == 2:
        return nn.Sequential(nn.ConvTranspose2d(in_channels, channels, 2, stride=2))
    if rescale == 1:
        return nn.Sequential(nn.Conv2d(in_channels, channels, 1))
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1), nn.MaxPool2d(round(1 / rescale)))


@MODELS.register_module()
class ScaledFeaturePyramid(BaseModule):
    """Strides 4, 8, 16, 32 from four stride-16 maps, with a part of their channels.

    The neck of the authors' Semantic FPN (arXiv 2404.12210): like BEiT's, but every level also
    shrinks the channels, those of ViT-Tiny from 192 to 48. Level by level: two transposed
    convolutions of stride 2 with norm and GELU between; one; a 1x1 convolution; a 1x1 convolution
    and max pooling.

    Args:
        in_channels: Channels of the backbone's maps.
        scale_factor: Channels of the levels over ``in_channels``, rounded down.
        rescales: Resolution of each level over its map's, finest first, out of 4, 2, 1, 0.5,
            0.25. A backbone of 8-px patches reaches stride 4 with 2.
        norm_cfg: Normalisation between the two transposed convolutions.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: If a scale is unknown, they do not descend, or no channel is left.
    """

    def __init__(
        self,
        in_channels: int,
        scale_factor: float = 0.25,
        rescales: Sequence[float] = (4, 2, 1, 0.5),
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_levels(rescales)
        self.out_channels = int(in_channels * scale_factor)
        if self.out_channels < 1:
            raise ValueError(f'scale_factor={scale_factor} of {in_channels} channels leaves none')
        norm = norm_cfg or dict(type='SyncBN')
        self.levels = nn.ModuleList(
            _level(in_channels, self.out_channels, rescale, norm) for rescale in rescales
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs: One map [B, in_channels, h, w] a level; the shallowest makes the finest level.

        Returns:
            Maps [B, out_channels, *] at ``rescales`` times the resolution, finest first.

        Raises:
            ValueError: If there are not as many maps as levels.
        """
        check_maps(self, inputs, len(self.levels))
        return tuple(level(x) for level, x in zip(self.levels, inputs, strict=True))
