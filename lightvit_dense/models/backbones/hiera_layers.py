"""Hiera's layers: patch embedding, attention inside mask units or everywhere, blocks."""

import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from .hiera_tokens import pool_tokens


class HieraPatchEmbed(nn.Module):
    """Embed overlapping patches by one convolution ``proj``, ``2 * stride - 1`` pixels wide."""

    def __init__(self, in_channels: int, dim: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, 2 * stride - 1, stride, padding=stride - 1)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed an image [B, channels, H, W] as [B, ceil(H / stride), ceil(W / stride), dim].

        The pixels of units that are not ``visible`` [B, unit rows, unit columns] are made zero
        first, because kernels reach across the borders of units.
        """
        if visible is not None:
            height, width = image.shape[-2:]
            pixels = visible.repeat_interleave(height // visible.shape[1], 1)
            pixels = pixels.repeat_interleave(width // visible.shape[2], 2)
            image = image.masked_fill(~pixels[:, None], 0.0)
        return self.proj(image).permute(0, 2, 3, 1)


class MaskUnitAttention(nn.Module):
    """Self-attention inside mask units or over all tokens; parameter names are timm's.

    ``q_stride`` queries become one by their maximum, 1 for no pooling; with ``mask_unit`` tokens
    attend inside their unit only. Logits are written out only when they are asked for.
    """

    def __init__(
        self, dim: int, dim_out: int, num_heads: int, q_stride: int = 1, mask_unit: bool = False
    ) -> None:
        super().__init__()
        if dim_out % num_heads:
            raise ValueError(f'{num_heads} heads do not divide a width of {dim_out}')
        self.num_heads = num_heads
        self.head_dim = dim_out // num_heads
        self.scale = self.head_dim**-0.5
        self.q_stride = q_stride
        self.mask_unit = mask_unit
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def _windows(self, x: Tensor) -> Tensor:
        """Fold [B, U, T, C] into [B*windows, heads, tokens of a window, d]."""
        batch, units, tokens, _ = x.shape
        shape = (batch * units, tokens) if self.mask_unit else (batch, units * tokens)
        return x.reshape(*shape, self.num_heads, self.head_dim).transpose(1, 2)

    def _product(self, q: Tensor, k: Tensor) -> Tensor:
        return (q * self.scale) @ k.transpose(-2, -1)

    @staticmethod
    def _join(logits: Tensor, batch: int) -> Tensor:
        """Bring [B*windows, heads, q, k] to [B, heads, windows*q, k]."""
        return logits.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [B, heads, windows*q, k] of tokens [B, U, T, C], normalised."""
        width = 2 * self.num_heads * self.head_dim
        # The value third of the projection is never needed here.
        q, k = F.linear(x, self.qkv.weight[:width], self.qkv.bias[:width]).chunk(2, dim=-1)
        q = pool_tokens(q, self.q_stride)
        return self._join(self._product(self._windows(q), self._windows(k)), len(x))

    def forward(
        self, x: Tensor, real: Tensor | None = None, need_logits: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return tokens [B, U, T / q_stride, C_out] and logits [B, heads, windows*q, k], or none.

        ``x`` is [B, U, T, C]; tokens that are not ``real`` [U, T] are never attended to.
        """
        batch, units, _, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (self._windows(y) for y in (pool_tokens(q, self.q_stride, real), k, v))
        mask = None
        if real is not None:
            # [U, T] -> [B*U, 1, 1, T], or [1, 1, 1, U*T]
            mask = real.repeat(batch, 1) if self.mask_unit else real.reshape(1, -1)
            mask = mask[:, None, None]
        logits = None
        if need_logits:
            scores = self._product(q, k)
            logits = self._join(scores, batch)
            if mask is not None:
                scores = scores.masked_fill(~mask, float('-inf'))
            out = scores.softmax(dim=-1) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        # [B*windows, heads, q, d] -> [B, U, T / q_stride, C]
        out = out.transpose(1, 2).reshape(batch, units, -1, self.num_heads * self.head_dim)
        return self.proj(out), logits


class HieraBlock(nn.Module):
    """Pre-norm block of :class:`MaskUnitAttention`; the first of a stage widens tokens."""

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        q_stride: int = 1,
        mask_unit: bool = False,
    ) -> None:
        super().__init__()
        if dim == dim_out and q_stride != 1:
            raise ValueError(f'a block that pools widens its tokens, got {dim} -> {dim_out}')
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MaskUnitAttention(dim, dim_out, num_heads, q_stride, mask_unit)
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else None
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def logits(self, x: Tensor) -> Tensor:
        """Return the pre-softmax logits [B, heads, windows*q, k] for input tokens, no more."""
        return self.attn.logits(self.norm1(x))

    def forward(
        self, x: Tensor, real: Tensor | None = None, need_logits: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Run the block; see :meth:`MaskUnitAttention.forward`."""
        y = self.norm1(x)
        out, logits = self.attn(y, real, need_logits)
        if self.proj is not None:
            x = pool_tokens(self.proj(y), self.attn.q_stride, real)
        x = x + self.drop_path(out)
        return x + self.drop_path(self.mlp(self.norm2(x))), logits
