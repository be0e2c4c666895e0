"""Pre-norm transformer block, global or windowed, whole or cut off after its query-key product."""

import math

from timm.layers import DropPath, LayerScale, Mlp
from torch import Tensor, nn

from .attention import Attention


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and a residual; parameter names are timm's.

    Sizes and ``cls_token`` are those of :class:`Attention`, ``window_size`` the side of its windows
    in tokens (0 for global attention), ``layer_scale`` the initial value of both LayerScales
    (Touvron et al. 2021), ``None`` for none.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        window_size: int = 0,
        rel_pos_size: tuple[int, int] | None = None,
        rel_bias_size: tuple[int, int] | None = None,
        cls_token: bool = False,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, qkv_bias, rel_pos_size, rel_bias_size, cls_token)
        self.ls1, self.ls2 = (
            nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale) for _ in (1, 2)
        )
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def logits(
        self, x: Tensor, grid: tuple[int, int] | None = None, ids_keep: Tensor | None = None
    ) -> Tensor:
        """Return the logits of :meth:`Attention.logits` for input tokens [B, N, C], no more."""
        return self.attn.logits(self.norm1(x), grid, ids_keep, self.window_size)

    def forward(
        self,
        x: Tensor,
        grid: tuple[int, int] | None = None,
        need_logits: bool = False,
        ids_keep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the block; see :meth:`Attention.forward`. A windowed block needs the grid."""
        y = self.norm1(x)
        logits = None
        if self.window_size:
            if grid is None:
                raise ValueError('a windowed block needs the token grid')
            if need_logits:
                logits = self.attn.logits(y, grid, window=self.window_size)
            y = self.attn.windows(y, grid, self.window_size)
        else:
            y, logits = self.attn(y, grid, need_logits, ids_keep)
        x = x + self.drop_path(self.ls1(y))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x)))), logits


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
