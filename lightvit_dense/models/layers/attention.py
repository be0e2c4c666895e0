"""Multi-head self-attention: fused unless the logits are asked for."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .relative_bias import relative_bias, table_rows
from .relative_position import DecomposedRelativePosition


class Attention(nn.Module):
    """Multi-head self-attention with timm's parameter names (``qkv``, ``proj``).

    The product runs through ``scaled_dot_product_attention``; pre-softmax logits are computed
    explicitly only when ``need_logits`` asks for them, because that is what costs N² memory.

    Args:
        dim: Width of the tokens.
        num_heads: Number of heads; must divide ``dim``.
        qkv_bias: Whether the query, key and value projections have a bias.
        rel_pos_size: (rows, columns) of the token grid that decomposed relative position tables are
            made for, or ``None`` for no such position.
        rel_bias_size: (rows, columns) of the token grid that BEiT's table of relative position
            biases is made for, or ``None`` for no bias.
        cls_token: Whether a class token precedes the patches; the bias has three numbers for it.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        rel_pos_size: tuple[int, int] | None = None,
        rel_bias_size: tuple[int, int] | None = None,
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
        self, tokens: int, grid: tuple[int, int] | None, ids_keep: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """Return what is added to the logits.

        Args:
            tokens: Number of tokens N, class token included.
            grid: (rows, columns) of the patches.
            ids_keep: Patches that are there [B, K]; ``None`` for all.
            dtype: Of the queries.

        Returns:
            [1, heads, N, N] or, with ``ids_keep``, [B, heads, N, N]; ``None`` without a table.

        Raises:
            ValueError: If the tokens are not those of the grid or of ``ids_keep``.
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

    def _heads(self, x: Tensor, grid: tuple[int, int] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return scaled query, key (relative position folded in) and value [B, heads, N, d]."""
        batch, tokens, _ = x.shape
        # [B, N, 3*C] -> [B, N, 3, heads, d] -> 3 x [B, heads, N, d]
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.rel_pos_h is None or self.rel_pos_w is None:
            return q * self.scale, k, v
        if grid is None or grid[0] * grid[1] != tokens:
            raise ValueError(f'relative position needs the grid of all {tokens} tokens, got {grid}')
        q, k = DecomposedRelativePosition.fold(
            q, k, self.scale, self.rel_pos_h, self.rel_pos_w, grid
        )
        return q, k, v

    def logits(
        self, x: Tensor, grid: tuple[int, int] | None = None, ids_keep: Tensor | None = None
    ) -> Tensor:
        """Return scaled pre-softmax attention logits, relative position included.

        Args:
            x: Normalised tokens [B, N, C].
            grid: (rows, columns) of all patches; needed with relative position.
            ids_keep: Patches that are there [B, K]; ``None`` for all. Relative biases need it.

        Returns:
            Logits [B, heads, N, N]. Neither value nor output projection is used.
        """
        if self.rel_pos_h is not None:
            q, k, _ = self._heads(x, grid)
            return q @ k.transpose(-2, -1)
        batch, tokens, width = x.shape
        bias = None if self.qkv.bias is None else self.qkv.bias[: 2 * width]
        # The value third of the projection is never needed here.
        qk = F.linear(x, self.qkv.weight[: 2 * width], bias)
        # [B, N, 2*C] -> [B, N, 2, heads, d] -> 2 x [B, heads, N, d]
        qk = qk.reshape(batch, tokens, 2, self.num_heads, self.head_dim)
        q, k = qk.permute(2, 0, 3, 1, 4).unbind(0)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        added = self.bias(tokens, grid, ids_keep, logits.dtype)
        return logits if added is None else logits + added

    def forward(
        self,
        x: Tensor,
        grid: tuple[int, int] | None = None,
        need_logits: bool = False,
        ids_keep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            x: Tokens [B, N, C].
            grid: (rows, columns) of all patches; needed with relative position.
            need_logits: Also return the pre-softmax logits, computed explicitly.
            ids_keep: Patches that are there [B, K]; ``None`` for all. Relative biases need it.

        Returns:
            Tokens [B, N, C] and the logits [B, heads, N, N] or ``None``.
        """
        q, k, v = self._heads(x, grid)
        bias = self.bias(x.shape[1], grid, ids_keep, q.dtype)
        logits = None
        if need_logits:
            logits = q @ k.transpose(-2, -1)
            if bias is not None:
                logits = logits + bias
            out = logits.softmax(dim=-1) @ v
        else:
            # The fused kernels want one head width: relative position widens q and k, so v is
            # padded alike.
            extra = q.shape[-1] - v.shape[-1]
            value = F.pad(v, (0, extra)) if extra else v
            out = F.scaled_dot_product_attention(q, k, value, attn_mask=bias, scale=1.0)
            out = out[..., : self.head_dim]
        # [B, heads, N, d] -> [B, N, C]
        return self.proj(out.transpose(1, 2).flatten(2)), logits
