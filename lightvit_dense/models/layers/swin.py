"""Swin's blocks (Liu et al. 2021): timm's, filled up as Swin's detectors do, with logits to see."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import (
    PatchMerging,
    SwinTransformerBlock,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn

from .block import QueryKeyBlock
from .initialization import trunc_normal_
from .relative_bias import relative_bias, table_rows


class SwinBlock(SwinTransformerBlock):
    """timm's block for maps of any size.

    A map that is no whole number of windows is filled up with zeros before it is shifted, as in
    Swin's detectors and mmdet. timm shifts first, and its mask of the shift is then out of place.
    Windows are planned for ``grid_size``: a map no larger than a window has one, not shifted.
    """

    def __init__(
        self,
        dim: int,
        grid_size: tuple[int, int],
        num_heads: int,
        window_size: int = 7,
        shifted: bool = False,
        **options: Any,
    ) -> None:
        shift = window_size // 2 if shifted else 0
        super().__init__(
            dim,
            grid_size,
            num_heads,
            window_size=window_size,
            shift_size=shift,
            dynamic_mask=True,
            **options,
        )
        self.attn.fused_attn = True

    def _cut(self, x: Tensor) -> tuple[Tensor, tuple[int, int], Tensor | None]:
        """Cut [B, H, W, C] into windows; return them, the filled (rows, columns), the mask."""
        rows, columns = self.window_size
        x = F.pad(x, (0, 0, 0, -x.shape[2] % columns, 0, -x.shape[1] % rows))
        mask = self.get_attn_mask(x)
        if any(self.shift_size):
            x = torch.roll(x, [-step for step in self.shift_size], (1, 2))
        windows = window_partition(x, self.window_size).flatten(1, 2)
        return windows, (x.shape[1], x.shape[2]), mask

    def _attn(self, x: Tensor) -> Tensor:
        windows, filled, mask = self._cut(x)
        windows = self.attn(windows, mask=mask)
        found = window_reverse(windows, self.window_size, *filled)
        if any(self.shift_size):
            found = torch.roll(found, self.shift_size, (1, 2))
        return found[:, : x.shape[1], : x.shape[2]]

    def logits(self, x: Tensor) -> Tensor:
        """Return scaled logits with the relative bias, before softmax and mask of the shift.

        Takes what the block gets [B, H, W, C] and gives [B, heads, windows*N, N], window by window.
        """
        windows = self._cut(self.norm1(x))[0]
        # [B*windows, N, 3*C] -> 3 x [B*windows, heads, N, d]
        qkv = self.attn.qkv(windows).unflatten(-1, (3, self.attn.num_heads, -1))
        q, k, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        logits = (q * self.attn.scale) @ k.transpose(-2, -1) + self.attn._get_rel_pos_bias()
        # [B*windows, heads, N, N] -> [B, heads, windows*N, N]
        return logits.unflatten(0, (x.shape[0], -1)).transpose(1, 2).flatten(2, 3)


class SwinStage(nn.Module):
    """Patch merging, if asked, and blocks of which every other one is shifted."""

    def __init__(
        self,
        dim: int,
        grid_size: tuple[int, int],
        num_heads: int,
        window_size: int,
        rates: Sequence[float],
        merge: bool,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.downsample = PatchMerging(dim // 2, dim) if merge else nn.Identity()
        options = dict(mlp_ratio=mlp_ratio)
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim, grid_size, num_heads, window_size, index % 2 == 1, drop_path=rate, **options
            )
            for index, rate in enumerate(rates)
        )


class WindowQueryKeyBlock(QueryKeyBlock):
    """A Swin block of one window (rows, columns), cut off after its query-key product."""

    def __init__(self, dim: int, num_heads: int, grid_size: tuple[int, int]) -> None:
        super().__init__(dim, num_heads)
        self.grid_size = grid_size
        rows = table_rows(grid_size, cls_token=False)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))
        self.norm1.eps = 1e-5
        init_swin(self)

    def logits(self, x: Tensor) -> Tensor:
        """Return scaled pre-softmax logits [B, heads, N, N] for tokens [B, N, C]."""
        bias = relative_bias(self.relative_position_bias_table, self.grid_size, self.grid_size)
        return super().logits(x) + bias


def init_swin(module: nn.Module) -> None:
    """Initialise as Swin: N(0, 0.02) for linear weights and relative positions, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            trunc_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for name, parameter in module.named_parameters():
        if name.endswith('relative_position_bias_table'):
            trunc_normal_(parameter)
