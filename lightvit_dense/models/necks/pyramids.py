"""Pyramids of several scales from the maps of a plain backbone, which all have one."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..layers import LayerNorm2d

RESCALES = (4, 2, 1, 0.5, 0.25)


def _check_scales(name: str, scales: Sequence[float], known: Sequence[float]) -> None:
    whole = all(scale in known for scale in scales)
    if not scales or not whole or sorted(set(scales), reverse=True) != list(scales):
        raise ValueError(f'{name}={tuple(scales)} must descend, out of {tuple(known)}')


@MODELS.register_module()
class MultiDepthPyramid(BaseModule):
    """Strides 4, 8, 16, 32 from the stride-16 maps of four blocks, channels kept.

    The input of the FPN in "Benchmarking Detection Transfer Learning with Vision Transformers" (Li
    et al. 2021): blocks at a quarter, a half, three quarters and the whole of the depth, scaled by
    two transposed convolutions with norm and GELU between, by one, not at all, by max pooling.
    Raises ValueError if a scale is unknown or they do not descend.

    Args:
        in_channels: Channels of the backbone's maps, and of every level.
        rescales: Resolution of each level over its map's, finest first, out of 4, 2, 1, 0.5, 0.25.
            A backbone of 8-px patches reaches stride 4 with 2.
        norm_cfg: Norm between the two transposed convolutions; the paper's is group normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        rescales: Sequence[float] = (4, 2, 1, 0.5),
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check_scales('rescales', rescales, RESCALES)
        norm = norm_cfg or dict(type='GN', num_groups=32)
        self.levels = nn.ModuleList(self._level(in_channels, rescale, norm) for rescale in rescales)

    def _level(self, channels: int, rescale: float, norm_cfg: dict) -> nn.Module:
        if rescale >= 2:
            layers = _enlarge(channels, channels, rescale, norm_cfg)
            return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
        return nn.Identity() if rescale == 1 else nn.MaxPool2d(round(1 / rescale))

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Build the pyramid from a map [B, C, h, w] a level, the shallowest for the finest."""
        if len(inputs) != len(self.levels):
            raise ValueError(
                f'{type(self).__name__} makes {len(self.levels)} levels out of as many maps, got '
                f'{len(inputs)}: name {len(self.levels)} blocks in the out_indices of the backbone'
            )
        return tuple(level(x) for level, x in zip(self.levels, inputs, strict=True))


@MODELS.register_module()
class ScaledFeaturePyramid(MultiDepthPyramid):
    """Strides 4, 8, 16, 32 from four stride-16 maps, with a part of their channels.

    The neck of the authors' Semantic FPN (arXiv 2404.12210): like BEiT's, but every level also
    shrinks the channels, those of ViT-Tiny from 192 to 48; those that are not enlarged by a 1x1
    convolution. Raises ValueError if a scale is unknown, they do not descend, or no channel is
    left.

    Args:
        in_channels: Channels of the backbone's maps.
        scale_factor: Channels of the levels over ``in_channels``, rounded down.
        rescales: See :class:`MultiDepthPyramid`.
        norm_cfg: Normalisation between the two transposed convolutions; ``SyncBN`` by default.
    """

    def __init__(
        self,
        in_channels: int,
        scale_factor: float = 0.25,
        rescales: Sequence[float] = (4, 2, 1, 0.5),
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        self.out_channels = int(in_channels * scale_factor)
        if self.out_channels < 1:
            raise ValueError(f'scale_factor={scale_factor} of {in_channels} channels leaves none')
        super().__init__(in_channels, rescales, norm_cfg or dict(type='SyncBN'), init_cfg)

    def _level(self, channels: int, rescale: float, norm_cfg: dict) -> nn.Module:
        if rescale >= 2:
            return nn.Sequential(*_enlarge(channels, self.out_channels, rescale, norm_cfg))
        pool = [] if rescale == 1 else [nn.MaxPool2d(round(1 / rescale))]
        return nn.Sequential(nn.Conv2d(channels, self.out_channels, 1), *pool)


def _enlarge(in_channels: int, channels: int, rescale: float, norm_cfg: dict) -> list[nn.Module]:
    """Return the transposed convolutions that enlarge a map by 2 or 4."""
    first = nn.ConvTranspose2d(in_channels, channels, 2, stride=2)
    if rescale == 2:
        return [first]
    norm = build_norm_layer(norm_cfg, channels)[1]
    return [first, norm, nn.GELU(), nn.ConvTranspose2d(channels, channels, 2, stride=2)]


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Strides 4, 8, 16, 32 (and 64) from one stride-16 map (ViTDet, Li et al. 2022).

    Raises ValueError if a scale factor is unknown or they do not descend.

    Args:
        in_channels: Channels of the backbone's map.
        out_channels: Channels of every level.
        scale_factors: Resolution of each level over the backbone's, finest first; out of 4, 2, 1
            and 0.5. A backbone of 8-px patches reaches stride 4 with 2.
        add_pooled_level: Whether the last level, subsampled by 2, is added for region proposals.
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
        _check_scales('scale_factors', scale_factors, RESCALES[:-1])
        self.add_pooled_level = add_pooled_level
        self.levels = nn.ModuleList(
            nn.Sequential(*_vitdet_level(in_channels, out_channels, scale))
            for scale in scale_factors
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Build the pyramid, finest first, from the last map [B, C, h, w] of the backbone."""
        outputs = [level(inputs[-1]) for level in self.levels]
        if self.add_pooled_level:
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return tuple(outputs)


def _vitdet_level(in_channels: int, out_channels: int, scale: float) -> list[nn.Module]:
    """Return what rescales the map, and the 1x1 and 3x3 convolutions, each with LN, behind it."""
    layers: list[nn.Module] = [nn.MaxPool2d(2)] if scale == 0.5 else []
    width = in_channels
    while scale > 1:
        if layers:
            layers += [LayerNorm2d(width), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
        width, scale = width // 2, scale / 2
    return [
        *layers,
        nn.Conv2d(width, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    ]
