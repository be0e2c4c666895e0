"""The joint vision transformer for one pair at a time, with every needless step taken out.

The numbers are those of :class:`JointVisionTransformer` up to rounding. What is left out:

- normalising the crop: mean and deviation are part of the patch embedding;
- the patch embedding as a convolution: it is one product, its bias and the positions are one table;
- embedding the template again: its tokens, and the queries, keys and values of the first block,
  which have seen no search crop, are kept;
- search tokens that a block eliminates: their queries, projection and MLP;
- the template in the last block, whose output nobody reads, but for its keys and values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OptimizedLinear(nn.Module):
    """A linear layer for tokens [N, in] whose weight lies as the product reads it."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, bias = linear.weight.detach(), linear.bias
        self.register_buffer('weight', weight.t().contiguous())
        zeros = weight.new_zeros(len(weight))
        self.register_buffer('bias', zeros if bias is None else bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in] to [N, out]."""
        return torch.addmm(self.bias, x, self.weight)


class OptimizedPatches(nn.Module):
    """Raw pixels to position-coded tokens by one product; mean and std are of pixels in 0..255."""

    weight: Tensor
    table: Tensor

    def __init__(self, projection: Any, position: Tensor, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.patch: int = projection.kernel_size[0]
        weight = projection.weight.detach().double() / std.double().reshape(1, 3, 1, 1)
        shift = (weight * mean.double().reshape(1, 3, 1, 1)).sum((1, 2, 3))
        bias = projection.bias.detach() - shift
        # [C, 3, p, p] -> [p*p*3, C]: the order of pixels in a crop
        flat = weight.permute(2, 3, 1, 0).reshape(-1, len(weight))
        self.register_buffer('weight', flat.float().contiguous())
        self.register_buffer('table', (position.detach()[0] + bias).float().contiguous())

    def forward(self, crop: Tensor) -> Tensor:
        """Embed a crop [H, W, 3] of pixels in 0..255; returns [rows*columns, C]."""
        side, patch = int(crop.shape[0]) // self.patch, self.patch
        # [rows*p, columns*p, 3] -> [rows, columns, p, p, 3] -> [N, p*p*3]
        cells = crop.reshape(side, patch, side, patch, 3).permute(0, 2, 1, 3, 4)
        return cells.reshape(side * side, -1).float() @ self.weight + self.table


class OptimizedBlock(nn.Module):
    """A :class:`~lightvit_dense.models.layers.Block` with global attention, for one set."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.heads: int = block.attn.num_heads
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.qkv, self.proj = OptimizedLinear(block.attn.qkv), OptimizedLinear(block.attn.proj)
        self.fc1, self.fc2 = OptimizedLinear(block.mlp.fc1), OptimizedLinear(block.mlp.fc2)

    def project(self, x: Tensor) -> Tensor:
        """Return queries, keys and values [N, 3*C] of tokens [N, C]."""
        return self.qkv(self.norm1(x))

    def finish(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the block's output for tokens x [M, C] with queries q [M, C]; k, v are [N, C]."""
        # [N, heads*d] -> [1, heads, N, d]
        q, k, v = (y.reshape(1, len(y), self.heads, -1).transpose(1, 2) for y in (q, k, v))
        # [1, heads, M, d] -> [M, heads*d]
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)[0]
        x = x + self.proj(seen)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))

    def ranking(self, q: Tensor, k: Tensor, weights: Tensor) -> Tensor:
        """Return the attention [N] that keys get from queries [R, C], weighted [R]."""
        depth = q.shape[1] // self.heads
        # [R, heads*d] -> [heads, R, d]; [N, heads*d] -> [heads, d, N]
        queries = q.reshape(-1, self.heads, depth).transpose(0, 1) * depth**-0.5
        keys = k.reshape(-1, self.heads, depth).permute(1, 2, 0)
        attention = (queries @ keys).softmax(-1)  # [heads, R, N]
        return (attention.mean(0) * weights[:, None]).sum(0)


class OptimizedVit(nn.Module):
    """Search tokens of one pair, by a copy of a :class:`JointVisionTransformer`."""

    rankers: Tensor

    def __init__(
        self,
        backbone: Any,
        mean: Tensor,  # of the channels, of pixels in 0..255 [3]
        std: Tensor,
        kept: Mapping[int, int],  # search tokens that go on after a block, by its number from 0
        rankers: Sequence[int],  # template tokens whose attention ranks the search tokens
    ) -> None:
        super().__init__()
        projection = backbone.patch_embed.proj
        self.template_patches = OptimizedPatches(projection, backbone.pos_embed_z, mean, std)
        self.search_patches = OptimizedPatches(projection, backbone.pos_embed, mean, std)
        self.blocks = nn.ModuleList(OptimizedBlock(block) for block in backbone.blocks)
        self.norm = backbone.norm
        self.kept = dict(kept)
        self.register_buffer('rankers', torch.tensor(rankers, dtype=torch.long))

    def template(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a template crop [h, w, 3] gives once: tokens [T, C] and their q, k, v."""
        tokens = self.template_patches(crop)
        first: Any = self.blocks[0]
        return tokens, first.project(tokens)

    def forward(
        self, crop: Tensor, tokens: Tensor, projected: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Encode a search crop [H, W, 3], pixels in 0..255.

        Of the template come tokens [T, C], their queries, keys and values of the first block
        [T, 3*C], and the weights of those that rank [R]. Returns the search tokens that are left
        [K, C], after the final norm, and their cells [K]; ``None`` if all are left.
        """
        search = self.search_patches(crop)
        first: Any = self.blocks[0]
        x, qkv = torch.cat([tokens, search]), torch.cat([projected, first.project(search)])
        count, cells, last = self.template_patches.table.shape[0], None, len(self.blocks) - 1
        for index in range(last + 1):
            block: Any = self.blocks[index]
            q, k, v = (qkv if index == 0 else block.project(x)).chunk(3, dim=1)
            if index in self.kept:
                rank = block.ranking(q[:count][self.rankers], k, weights)[count:]
                chosen = rank.topk(self.kept[index], sorted=False).indices
                rows = chosen + count
                if index != last:
                    rows = torch.cat([torch.arange(count, device=rows.device), rows])
                cells = chosen if cells is None else cells[chosen]
                x, q = x[rows], q[rows]
            elif index == last:
                x, q = x[count:], q[count:]
            x = block.finish(x, q, k, v)
        return self.norm(x), cells
