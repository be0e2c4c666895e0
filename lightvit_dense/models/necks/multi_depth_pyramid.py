"""Four scales from four depths of a plain backbone (Li et al. 2021)."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from .levels import check_levels, check_maps


def _level(channels: int, rescale: float, norm_cfg: dict) -> nn.Module:
    """Return what makes one level from its map."""
    if rescale == 4:
        return nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            build_norm_layer(norm_cfg, channels)[1],
            nn.GELU(),
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
        )
    if rescale == 2:
        return nn.ConvTranspose2d(channels, channels, 2, stride=2)
    return nn.Identity() if rescale == 1 else nn.MaxPool2d(round(1 / rescale))


@MODELS.register_module()
class MultiDepthPyramid(BaseModule):
    """Strides 4, 8, 16, 32 from the stride-16 maps of four blocks, channels kept.

    The input of the FPN in "Benchmarking Detection Transfer Learning with Vision Transformers" (Li
    et al. 2021): blocks at a quarter, a half, three quarters and the whole of the depth, scaled by
    two transposed convolutions with norm and GELU between, by one, not at all, by max pooling.

    Args:
        in_channels: Channels of the backbone's maps, and of every level.
        rescales: Resolution of each level over its map's, finest first, out of 4, 2, 1, 0.5,
            0.25. A backbone of 8-px patches reaches stride 4 with 2.
        norm_cfg: Normalisation between the two transposed convolutions; the paper's is group
            normalisation.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: If a scale is unknown or they do not descend.
    """

    def __init__(
        self,
        in_channels: int,
        rescales: Sequence[float] = (4, 2, 1, 0.5),
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_levels(rescales)
        norm = norm_cfg or dict(type='GN', num_groups=32)
        self.levels = nn.ModuleList(_level(in_channels, rescale, norm) for rescale in rescales)

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs: One map [B, in_channels, h, w] a level; the shallowest makes the finest level.

        Returns:
            Maps [B, in_channels, *] at ``rescales`` times the resolution, finest first.

        Raises:
            ValueError: If there are not as many maps as levels.
        """
        check_maps(self, inputs, len(self.levels))
        return tuple(level(x) for level, x in zip(self.levels, inputs, strict=True))
