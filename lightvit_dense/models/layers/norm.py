"""Normalisation of feature maps."""

from torch import Tensor, nn

from ...registry import MODELS


@MODELS.register_module()
class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map, for ``norm_cfg``; ViTDet's ``eps`` is 1e-6."""

    def __init__(self, num_features: int, eps: float = 1e-6) -> None:
        super().__init__(num_features, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W] over C."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
