"""Multi-head self-attention: fused unless the logits are asked for."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .relative_attention import relative_attention
from .relative_bias import Grid, relative_bias, table_rows
from .relative_position import axis_table, position_logits
from .windows import join_windows, pad_to_windows, split_windows


class Attention(nn.Module):
    """Multi-head self-attention with timm's parameter names (``qkv``, ``proj``).

    Logits are written out only when they are asked for, because that costs N² memory.
    ``rel_pos_size`` is the token grid (rows, columns) of decomposed relative position,
    ``rel_bias_size`` that of BEiT's table of biases, which has three more for a ``cls_token``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        rel_pos_size: Grid | None = None,
        rel_bias_size: Grid | None = None,
        cls_token: bool = False,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{num_heads} heads do not divide a width of {dim}')
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        # The tables live on this module so that their names match ViTDet's (`attn.rel_pos_h`).
        self.rel_pos_h: nn.Parameter | None = None
        self.rel_pos_w: nn.Parameter | None = None
        if rel_pos_size is not None:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * rel_pos_size[0] - 1, self.head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * rel_pos_size[1] - 1, self.head_dim))
        self.rel_bias_size, self.num_prefix_tokens = rel_bias_size, int(cls_token)
        self.relative_position_bias_table: nn.Parameter | None = None
        if rel_bias_size is not None:
            rows = table_rows(rel_bias_size, cls_token)
            self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def bias(
        self, tokens: int, grid: Grid | None, ids_keep: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """Return what is added to the logits [1 or B, heads, N, N], ``None`` without a table.

        N counts the class token; ``ids_keep`` [B, K] are the patches that are there, ``None`` for
        all. Raises ValueError if the tokens are not those of the grid or of ``ids_keep``.
        """
        if self.relative_position_bias_table is None or self.rel_bias_size is None:
            return None
        patches = tokens - self.num_prefix_tokens
        found = None if grid is None else grid[0] * grid[1]
        if grid is None or patches != (found if ids_keep is None else ids_keep.shape[1]):
            raise ValueError(
                f'the relative position bias needs the grid of all {patches} patches, got {grid}, '
                'or which of them are there (ids_keep)'
            )
        table = self.relative_position_bias_table
        return relative_bias(table, self.rel_bias_size, grid, ids_keep).to(dtype)

    def _position(self, grid: Grid | None, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of the offsets between rows and between columns of a grid."""
        assert self.rel_pos_h is not None
        assert self.rel_pos_w is not None
        if grid is None or grid[0] * grid[1] != q.shape[2]:
            raise ValueError(
                f'relative position needs the grid of all {q.shape[2]} tokens, got {grid}'
            )
        rows, columns = axis_table(self.rel_pos_h, grid[0]), axis_table(self.rel_pos_w, grid[1])
        return rows.to(q.dtype), columns.to(q.dtype)

    def _explicit(self, q: Tensor, k: Tensor, grid: Grid | None, ids_keep: Tensor | None) -> Tensor:
        """Return the logits of unscaled queries and keys [B, heads, N, d]."""
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if self.rel_pos_h is not None:
            return logits + position_logits(q, *self._position(grid, q))
        bias = self.bias(q.shape[2], grid, ids_keep, logits.dtype)
        return logits if bias is None else logits + bias

    def _fused(
        self, qkv: tuple[Tensor, ...], grid: Grid | None, ids_keep: Tensor | None = None
    ) -> Tensor:
        """Attend without logits; all tensors are [B, heads, N, d]."""
        q, k, v = qkv
        if self.rel_pos_h is not None:
            tables = self._position(grid, q)
            return relative_attention(q, k, v, *tables, self.scale)
        bias = self.bias(q.shape[2], grid, ids_keep, q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Take apart what lies side by side."""
        # [B, N, P*C] -> [B, N, P, heads, d] -> P x [B, heads, N, d]
        x = x.reshape(*x.shape[:2], parts, self.num_heads, self.head_dim)
        return x.permute(2, 0, 3, 1, 4).unbind(0)

    def logits(
        self, x: Tensor, grid: Grid | None = None, ids_keep: Tensor | None = None, window: int = 0
    ) -> Tensor:
        """Return the scaled logits [B, heads, N, N] of normalised tokens [B, N, C].

        Relative position and windows need the ``grid`` (rows, columns) of all patches, relative
        biases ``ids_keep`` [B, K]. W windows of n tokens, padding included, give [B, heads, W*n,
        n].
        """
        batch, _, width = x.shape
        bias = None if self.qkv.bias is None else self.qkv.bias[: 2 * width]
        # The value third of the projection is never needed here.
        weight = self.qkv.weight[: 2 * width]
        if not window or grid is None:
            q, k = self._heads(F.linear(x, weight, bias), 2)
            return self._explicit(q, k, grid, ids_keep)
        x, padded = pad_to_windows(x, grid, window)
        q, k = split_windows(F.linear(x, weight, bias), padded, window, 2, self.num_heads)
        logits = self._explicit(q, k, (window, window), None)
        # [B*W, heads, n, n] -> [B, W, heads, n, n] -> [B, heads, W*n, n]
        return logits.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)

    def windows(self, x: Tensor, grid: Grid, window: int) -> Tensor:
        """Attend inside windows: tokens [B, rows*columns, C] in and out.

        Where windows do not divide the grid (rows, columns), zero tokens fill it up at the right
        and the bottom. They are seen, as in ViTDet.
        """
        x, padded = pad_to_windows(x, grid, window)
        qkv = split_windows(self.qkv(x), padded, window, 3, self.num_heads)
        out = self._fused(qkv, (window, window))
        return self.proj(join_windows(out, grid, padded, window))

    def forward(
        self,
        x: Tensor,
        grid: Grid | None = None,
        need_logits: bool = False,
        ids_keep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; return tokens [B, N, C] and, if asked, the logits; see :meth:`logits`."""
        q, k, v = self._heads(self.qkv(x), 3)
        logits = None
        if need_logits:
            logits = self._explicit(q, k, grid, ids_keep)
            out = logits.softmax(dim=-1) @ v
        else:
            out = self._fused((q, k, v), grid, ids_keep)
        # [B, heads, N, d] -> [B, N, C]; exporters lay heads out otherwise, so no view is certain
        return self.proj(out.transpose(1, 2).contiguous().flatten(2)), logits
