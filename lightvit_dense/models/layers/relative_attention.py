"""Attention with decomposed relative position: three implementations of the same numbers.

``explicit`` writes all N² logits out, as the published code does. ``folded`` appends the terms of
the position to the queries and one-hot codes of (row, column) to the keys: a plain product then
gives the logits, and fused kernels apply. ``tiled`` goes through the logits tile by tile, and again
in the backward pass, so that no more than a tile of them is ever in memory.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .relative_position import position_logits, position_terms

TILE = 1 << 19
"""Logits of a tile for each thread of the CPU: 2 MiB in fp32, so that tiles stay in the cache."""
KEPT_TOKENS = 256
"""Weights of so few tokens, as those of a window, are kept for the backward pass: they take about
as much memory as the rest of a block. Computed again, they would take a quarter more time."""


def explicit_attention(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    """Attend with all logits written out; see :func:`relative_attention`."""
    logits = (q * scale) @ k.transpose(-2, -1) + position_logits(q, rows, columns)
    return logits.softmax(-1) @ v


def folded_attention(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    """Attend by a fused kernel on widened heads; see :func:`relative_attention`."""
    down, across, width = rows.shape[0], columns.shape[0], v.shape[-1]
    # [B, heads, N, d + R + C]
    query = torch.cat([q * scale, *position_terms(q, rows, columns)], dim=-1)
    row_code = torch.eye(down, device=k.device, dtype=k.dtype).repeat_interleave(across, 0)
    column_code = torch.eye(across, device=k.device, dtype=k.dtype).repeat(down, 1)
    code = torch.cat([row_code, column_code], dim=-1)  # [N, R + C]
    key = torch.cat([k, code.expand(*k.shape[:-1], down + across)], dim=-1)
    # The fused kernels want one head width.
    value = F.pad(v, (0, down + across))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :width]


def _tiles(batch: int, tokens: int) -> Iterator[tuple[slice, slice]]:
    """Cut [batch, tokens, tokens] logits into some of the batch and some of the queries.

    Small products run in parallel over the batch, hardly inside: there is one for each thread.
    """
    threads = torch.get_num_threads()
    many = min(batch, max(threads, TILE * threads // tokens**2))
    queries = min(tokens, max(1, TILE * threads // (many * tokens)))
    for start in range(0, batch, many):
        for first in range(0, tokens, queries):
            yield slice(start, start + many), slice(first, first + queries)


class _Tile:
    """Memory for a tile, of the dtype and device of ``like``, used again for every tile."""

    def __init__(self, like: Tensor) -> None:
        self._memory = like.new_empty(0)

    def __call__(self, *shape: int) -> Tensor:
        """Return uninitialised memory of a shape."""
        count = 1
        for size in shape:
            count *= size
        if self._memory.numel() < count:
            self._memory = self._memory.new_empty(count)
        return self._memory[:count].view(shape)


def _position_tile(memory: _Tile, row_terms: Tensor, column_terms: Tensor) -> Tensor:
    """Write [b, n, R*C], the sum of terms [b, n, R] and [b, n, C], into the memory."""
    tile = memory(*row_terms.shape, column_terms.shape[-1])
    torch.add(row_terms[..., :, None], column_terms[..., None, :], out=tile)
    return tile.flatten(-2)


def _weights(
    memory: _Tile, scaled: Tensor, key: Tensor, row_terms: Tensor, column_terms: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the softmax of a tile [b, n, R*C], and its logits in the memory."""
    logits = _position_tile(memory, row_terms, column_terms)
    torch.baddbmm(logits, scaled, key, out=logits)
    return logits.softmax(-1), logits


class TiledAttention(torch.autograd.Function):
    """Attention that keeps its inputs and its output for the backward pass, and no logits.

    The CPU's fused kernel knows no gradient of what is added to the logits; here the backward pass
    is written out (Dao et al. 2022, appendix B, with the terms of the position besides).
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rows: Tensor,
        columns: Tensor,
        scale: float,
        keep: bool,
    ) -> Tensor:
        """Attend for contiguous q, k, v [G, N, d]; ``keep`` keeps the weights of all tiles, too."""
        row_terms, column_terms = position_terms(q, rows, columns)
        out, memory, kept = torch.empty_like(q), _Tile(q), []
        for some, part in _tiles(*q.shape[:2]):
            terms = row_terms[some, part], column_terms[some, part]
            if keep:
                scaled = q[some, part] * scale
                weights, _ = _weights(memory, scaled, k[some].transpose(1, 2), *terms)
                kept.append(weights)
                torch.bmm(weights, v[some], out=out[some, part])
                continue
            # The kernel wants [B, heads, n, d].
            content = q[None, some, part], k[None, some], v[None, some]
            bias = _position_tile(memory, *terms)[None]
            out[some, part] = F.scaled_dot_product_attention(*content, attn_mask=bias, scale=scale)[
                0
            ]
        ctx.save_for_backward(q, k, v, rows, columns, out, *kept)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients; weights that were not kept are computed again."""
        q, k, v, rows, columns, out, *kept = ctx.saved_tensors
        scale, grad = ctx.scale, grad.contiguous()
        row_terms, column_terms = position_terms(q, rows, columns)
        # One more channel takes the mean gradient of a query off inside the product:
        # dS = P * (dO V' - sum(dO * O)).
        grad_wide = torch.cat([grad, -(grad * out).sum(-1, keepdim=True)], dim=-1)
        value_wide = torch.cat([v, v.new_ones(*v.shape[:2], 1)], dim=-1).transpose(1, 2)
        key, scaled = k.transpose(1, 2), q * scale
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(key), torch.zeros_like(key)
        # What a row, and what a column of keys adds up to.
        sums = torch.empty_like(row_terms), torch.empty_like(column_terms)
        memory = _Tile(q)
        for number, (some, part) in enumerate(_tiles(*q.shape[:2])):
            if kept:
                weights = kept[number]
                slope = memory(*weights.shape)
            else:
                terms = row_terms[some, part], column_terms[some, part]
                weights, slope = _weights(memory, scaled[some, part], key[some], *terms)
            grad_v[some].baddbmm_(grad[some, part].transpose(1, 2), weights)
            torch.bmm(grad_wide[some, part], value_wide[some], out=slope).mul_(weights)
            torch.bmm(slope, k[some], out=grad_q[some, part])
            grad_k[some].baddbmm_(scaled[some, part].transpose(1, 2), slope)
            # [b, n, N] -> [b, n, R, C]
            cells = slope.unflatten(-1, (rows.shape[0], columns.shape[0]))
            for axis, total in zip((-1, -2), sums, strict=True):
                torch.sum(cells, axis, out=total[some, part])
        # [G, N, k] -> [G, R, C, k]
        size = (rows.shape[0], columns.shape[0])
        cells, (by_row, by_column) = q.unflatten(1, size), (one.unflatten(1, size) for one in sums)
        grad_cells = grad_q.mul_(scale).unflatten(1, size)
        grad_cells += torch.einsum('gyxk,ykd->gyxd', by_row, rows)
        grad_cells += torch.einsum('gyxk,xkd->gyxd', by_column, columns)
        grad_rows = torch.einsum('gyxk,gyxd->ykd', by_row, cells)
        grad_columns = torch.einsum('gyxk,gyxd->xkd', by_column, cells)
        grad_k, grad_v = grad_k.transpose(1, 2), grad_v.transpose(1, 2)
        return grad_q, grad_k, grad_v, grad_rows, grad_columns, None, None


def tiled_attention(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    """Attend tile by tile; see :func:`relative_attention`."""
    shape = q.shape
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, rows, columns))
    # [B, heads, N, d] -> [B*heads, N, d]; products are faster where heads do not interleave
    q, k, v = (part.reshape(-1, *shape[2:]).contiguous() for part in (q, k, v))
    keep = needed and shape[2] <= KEPT_TOKENS
    out: Tensor = TiledAttention.apply(q, k, v, rows, columns, scale, keep)  # type: ignore[no-untyped-call]
    return out.view(shape)


REL_POS_IMPLS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]] = {
    'explicit': explicit_attention,
    'folded': folded_attention,
    'tiled': tiled_attention,
}
"""The implementations by their names."""


def choose_rel_pos_impl(device: torch.device) -> str:
    """Return the implementation that is fastest on a device, a key of ``REL_POS_IMPLS``."""
    if (
        torch.jit.is_tracing() or torch.compiler.is_exporting()
    ):  # for a file of another runtime, which fuses by itself
        return 'explicit'
    if device.type == 'cpu' and not torch.compiler.is_compiling():
        return 'tiled'
    return 'folded'


def relative_attention(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    """Attend with decomposed relative position: [B, heads, N, d], N = R*C in raster order.

    q is unscaled; ``rows`` [R, R, d] and ``columns`` [C, C, d] are vectors of the offsets, see
    :func:`~.relative_position.axis_table`; ``scale`` is the factor of the content's logits.
    """
    return REL_POS_IMPLS[choose_rel_pos_impl(q.device)](q, k, v, rows, columns, scale)
