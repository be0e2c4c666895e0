"""Decomposed relative position of ViTDet (Li et al. 2022) without an N² bias tensor."""

import torch
import torch.nn.functional as F
from torch import Tensor


class DecomposedRelativePosition:
    """Row and column relative position, added to attention through the query-key product itself.

    ViTDet adds ``R_h[q, row(k)] + R_w[q, column(k)]`` to the logit of query q and key k. Appending
    the vectors ``R_h[q, :]`` and ``R_w[q, :]`` to the scaled query and one-hot codes of (row,
    column) to the key gives the same logits from a plain product, so fused attention applies and no
    [N, N] bias is ever made.
    """

    @staticmethod
    def table_for(size: int, table: Tensor) -> Tensor:
        """Look up relative offsets for one axis.

        Args:
            size: Number of rows (or columns) of queries and keys.
            table: [2*L-1, d]; linearly resized when L differs from ``size``.

        Returns:
            [size, size, d]: entry (q, k) is the embedding of offset q - k.
        """
        length = 2 * size - 1
        if table.shape[0] != length:
            # [2L-1, d] -> [1, d, 2L-1] -> resize -> [2*size-1, d]
            resized = F.interpolate(table.t()[None].float(), size=length, mode='linear')
            table = resized[0].t().to(table.dtype)
        position = torch.arange(size, device=table.device)
        return table[position[:, None] - position[None, :] + size - 1]

    @classmethod
    def fold(
        cls,
        q: Tensor,
        k: Tensor,
        scale: float,
        table_h: Tensor,
        table_w: Tensor,
        grid: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Fold scale and relative position into query and key.

        Args:
            q: Unscaled queries [B, heads, rows*columns, d].
            k: Keys [B, heads, rows*columns, d].
            scale: Factor of the content logits.
            table_h: Row table [2*L-1, d].
            table_w: Column table [2*L-1, d].
            grid: (rows, columns).

        Returns:
            Query and key [B, heads, N, d + rows + columns] whose product is the full logit.
        """
        rows, columns = grid
        batch, heads, tokens, dim = q.shape
        by_cell = q.reshape(batch, heads, rows, columns, dim)
        rel_h = torch.einsum('bnyxd,ykd->bnyxk', by_cell, cls.table_for(rows, table_h).to(q.dtype))
        rel_w = torch.einsum(
            'bnyxd,xkd->bnyxk', by_cell, cls.table_for(columns, table_w).to(q.dtype)
        )
        # [B, heads, rows, columns, *] -> [B, heads, N, *]
        query = torch.cat([q * scale, rel_h.flatten(2, 3), rel_w.flatten(2, 3)], dim=-1)
        row_code = torch.eye(rows, device=k.device, dtype=k.dtype).repeat_interleave(columns, 0)
        column_code = torch.eye(columns, device=k.device, dtype=k.dtype).repeat(rows, 1)
        code = torch.cat([row_code, column_code], dim=-1)  # [N, rows + columns]
        key = torch.cat([k, code.expand(batch, heads, tokens, rows + columns)], dim=-1)
        return query, key
