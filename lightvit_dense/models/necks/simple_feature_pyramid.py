"""Pyramid from the last map of a plain backbone (ViTDet, Li et al. 2022)."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..layers import LayerNorm2d


def _convs(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Return the 1x1 and 3x3 convolutions, each with LN and without bias, that end every level."""
    return [
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    ]


def _level(in_channels: int, out_channels: int, scale: float) -> nn.Sequential:
    """Return what makes one level from the backbone's map."""
    half, quarter = in_channels // 2, in_channels // 4
    if scale == 4:
        return nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2),
            LayerNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
            *_convs(quarter, out_channels),
        )
    if scale == 2:
        return nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2), *_convs(half, out_channels)
        )
    if scale == 1:
        return nn.Sequential(*_convs(in_channels, out_channels))
    if scale == 0.5:
        return nn.Sequential(nn.MaxPool2d(2), *_convs(in_channels, out_channels))
    raise ValueError(f'scale factors are 4, 2, 1 and 0.5, got {scale}')


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Strides 4, 8, 16, 32 (and 64) from one stride-16 map by (de)convolutions.

    Args:
        in_channels: Channels of the backbone's map.
        out_channels: Channels of every level.
        scale_factors: Resolution of each level over the backbone's, finest first; out of 4, 2, 1
            and 0.5. A backbone of 8-px patches reaches stride 4 with 2.
        add_pooled_level: Whether the last level, subsampled by 2, is added for region proposals.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: If a scale factor is unknown or they do not descend.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scale_factors: Sequence[float] = (4, 2, 1, 0.5),
        add_pooled_level: bool = True,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not scale_factors or sorted(set(scale_factors), reverse=True) != list(scale_factors):
            raise ValueError(f'scale_factors={tuple(scale_factors)} must descend')
        self.add_pooled_level = add_pooled_level
        self.levels = nn.ModuleList(
            _level(in_channels, out_channels, scale) for scale in scale_factors
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs: The backbone's outputs; the last map [B, C, h, w] is used.

        Returns:
            Maps [B, out_channels, *] at ``scale_factors`` times the resolution of the input, and
            the pooled one, finest first.
        """
        outputs = [level(inputs[-1]) for level in self.levels]
        if self.add_pooled_level:
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return tuple(outputs)
