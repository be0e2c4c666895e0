"""Attention of one set of tokens by one operator, in torch and in ONNX Runtime."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _fused(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    # [N, heads*d] -> [1, heads, N, d]
    depth = q.shape[1] // heads
    q, k, v = (y.reshape(1, -1, heads, depth).transpose(1, 2) for y in (q, k, v))
    # [1, heads, N, d] -> [N, heads*d]
    out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).reshape(-1, heads * depth)


class _Marked(torch.autograd.Function):
    """Attention that is written to ONNX as ONNX Runtime's own operator."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        return _fused(q, k, v, heads)

    @staticmethod
    def symbolic(g: Any, q: Any, k: Any, v: Any, heads: int) -> Any:
        axis = g.op('Constant', value_t=torch.tensor([0]))
        sets = [g.op('Unsqueeze', y, axis) for y in (q, k, v)]
        out = g.op('com.microsoft::MultiHeadAttention', *sets, num_heads_i=heads)
        out = g.op('Squeeze', out, axis)
        out.setType(q.type())  # the exporter does not know the operator's shape
        return out


_marking = False


@contextlib.contextmanager
def marked_attention() -> Iterator[None]:
    """Write :func:`attend` to ONNX as ONNX Runtime's operator while this context lasts."""
    global _marking
    _marking = True
    try:
        yield
    finally:
        _marking = False


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend from queries [M, heads*d], not scaled, to keys and values [N, heads*d]."""
    if _marking:
        return _Marked.apply(q, k, v, heads)
    return _fused(q, k, v, heads)
