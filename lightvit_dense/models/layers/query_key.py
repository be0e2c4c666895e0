"""A block cut off after its query-key product."""

import math

from torch import Tensor, nn


class QueryKeyBlock(nn.Module):
    """The first third of a block: the norm, the queries and the keys, and nothing after them.

    D²-MAE's student has one behind its last block, so that the teacher's attention is matched
    without a block of the backbone being bent to it. Weights start as the first two thirds of a
    Xavier-uniform projection to queries, keys and values, from which the authors cut theirs.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{num_heads} heads do not divide a width of {dim}')
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qk = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        bound = math.sqrt(6 / (dim + 3 * dim))
        nn.init.uniform_(self.qk.weight, -bound, bound)
        if qkv_bias:
            nn.init.zeros_(self.qk.bias)

    def logits(self, x: Tensor) -> Tensor:
        """Return scaled pre-softmax logits [B, heads, N, N] for tokens [B, N, C]."""
        batch, tokens, width = x.shape
        # [B, N, 2*C] -> [B, N, 2, heads, d] -> 2 x [B, heads, N, d]
        qk = self.qk(self.norm1(x))
        qk = qk.reshape(batch, tokens, 2, self.num_heads, width // self.num_heads)
        q, k = qk.permute(2, 0, 3, 1, 4).unbind(0)
        return (q * self.scale) @ k.transpose(-2, -1)
