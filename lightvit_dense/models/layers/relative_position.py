"""Decomposed relative position of ViTDet (Li et al. 2022): a vector for each offset of an axis.

The logit of query q and key k gets ``q . R_h[row(q) - row(k)] + q . R_w[column(q) - column(k)]``.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def _offsets(size: int, device: torch.device) -> Tensor:
    position = torch.arange(size, device=device)
    return position[:, None] - position[None, :] + size - 1


@lru_cache(maxsize=64)
def _kept_offsets(size: int, device: torch.device) -> Tensor:
    # What is made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return _offsets(size, device)


def axis_table(table: Tensor, size: int) -> Tensor:
    """Look up the vectors of all pairs of ``size`` positions along one axis.

    A table [2*L-1, d] of another L is resized linearly, as ViTDet does. Entry (q, k) of the result
    [size, size, d] is the vector of offset q - k.
    """
    length = 2 * size - 1
    if table.shape[0] != length:
        # [2L-1, d] -> [1, d, 2L-1] -> resize -> [2*size-1, d]
        resized = F.interpolate(table.t()[None].float(), size=length, mode='linear')
        table = resized[0].t().to(table.dtype)
    # A compiler keeps constants by itself.
    compiling = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return table[(_offsets if compiling else _kept_offsets)(size, table.device)]


def position_terms(q: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return what queries [*, N, d], unscaled, add to the logits of each row and column of keys.

    N = R*C in raster order; ``rows`` [R, R, d] and ``columns`` [C, C, d] are from
    :func:`axis_table`. The terms are [*, N, R] and [*, N, C].
    """
    # [*, N, d] -> [*, R, C, d]
    cells = q.reshape(*q.shape[:-2], rows.shape[0], columns.shape[0], q.shape[-1])
    row_terms = torch.einsum('...yxd,ykd->...yxk', cells, rows)
    column_terms = torch.einsum('...yxd,xkd->...yxk', cells, columns)
    # [*, R, C, k] -> [*, N, k]
    return row_terms.flatten(-3, -2), column_terms.flatten(-3, -2)


def position_logits(q: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return what relative position adds to all logits [*, N, N]; see :func:`position_terms`."""
    row_terms, column_terms = position_terms(q, rows, columns)
    # [*, N, R, 1] + [*, N, 1, C] -> [*, N, R*C]
    return (row_terms[..., :, None] + column_terms[..., None, :]).flatten(-2)
