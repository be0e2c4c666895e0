"""Pyramid from the last map of a plain backbone (ViTDet, Li et al. 2022)."""

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


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Strides 4, 8, 16, 32 (and 64) from one stride-16 map by (de)convolutions.

    Strides scale with the backbone's patch: patch 8 gives 2, 4, 8, 16 (and 32).

    Args:
        in_channels: Channels of the backbone's map.
        out_channels: Channels of every level.
        num_outs: 4, or 5 to add a max-pooled level for region proposals.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: If ``num_outs`` is neither 4 nor 5.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = 5,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_outs not in (4, 5):
            raise ValueError(f'num_outs is 4 or 5, got {num_outs}')
        self.num_outs = num_outs
        half, quarter = in_channels // 2, in_channels // 4
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2),
            LayerNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
            *_convs(quarter, out_channels),
        )
        self.up2 = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2), *_convs(half, out_channels)
        )
        self.same = nn.Sequential(*_convs(in_channels, out_channels))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), *_convs(in_channels, out_channels))

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs: The backbone's outputs; the last map [B, C, h, w] is used.

        Returns:
            Maps [B, out_channels, *] at 4, 2, 1, 1/2 (and 1/4) times the resolution of the input,
            finest first.
        """
        x = inputs[-1]
        levels = [self.up4(x), self.up2(x), self.same(x), self.down2(x)]
        if self.num_outs == 5:
            levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return tuple(levels)
