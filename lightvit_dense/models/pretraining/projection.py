"""Heads of self-supervised methods that compare features."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import trunc_normal_
from .precision import at_least_fp32


def batch_norm_mlp(layers: int, in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """Build MoCo-v3's linear layers without bias, each with batch norm, the last not affine."""
    modules: list[nn.Module] = []
    for number in range(layers):
        last = number == layers - 1
        width = out_channels if last else hidden
        modules.append(nn.Linear(hidden if number else in_channels, width, bias=False))
        modules.append(nn.BatchNorm1d(width, affine=not last))
        if not last:
            modules.append(nn.ReLU(inplace=True))
    return nn.Sequential(*modules)


class WeightNormLinear(nn.Module):
    """Linear layer without bias whose rows have a length of their own (weight normalisation).

    Parameters are ``weight_v`` [out, in], of which only the direction counts, and ``weight_g``
    [out, 1], the lengths, 1 at first or, with ``fixed_length``, always.
    """

    def __init__(self, in_features: int, out_features: int, fixed_length: bool) -> None:
        super().__init__()
        linear = nn.Linear(in_features, out_features, bias=False)
        self.weight_v = linear.weight
        self.weight_g = nn.Parameter(
            linear.weight.new_ones(out_features, 1), requires_grad=not fixed_length
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply: [B, in] -> [B, out]."""
        return F.linear(x, self.weight_g * F.normalize(self.weight_v, dim=1))


class DINOHead(nn.Module):
    """Projection head of DINO (§3.1): an MLP, L2 normalisation, and a weight-normalised layer.

    ``bottleneck`` is the width behind the MLP, ``out_channels`` the number of prototypes; with
    ``norm_last_layer`` the rows of the last layer keep length 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        norm_last_layer: bool = True,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f'DINOHead: layers={layers} must be positive')
        widths = [in_channels] + [hidden] * (layers - 1) + [bottleneck]
        modules: list[nn.Module] = []
        for number in range(layers):
            linear = nn.Linear(widths[number], widths[number + 1])
            trunc_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            modules += [linear, nn.GELU()] if number < layers - 1 else [linear]
        self.mlp = nn.Sequential(*modules)
        self.last_layer = WeightNormLinear(bottleneck, out_channels, norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [B, C] to logits of prototypes [B, K]."""
        # A length computed in half precision would overflow.
        x = F.normalize(at_least_fp32(self.mlp(x)), dim=-1)
        return self.last_layer(x)
