"""Template and search image in one set of tokens, whose hopeless candidates drop out on the way.

The one-stream tracker of OSTrack (Ye et al. 2022): every block attends over the tokens of both
images. Candidate elimination (section 3.2 of the paper): after the attention of some blocks, the
search tokens that the middle of the template looks at least are left out of all that follows.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightvit_dense.models.backbones.sizes import pair
from lightvit_dense.models.layers import resize_position

TEMPLATE_TOKENS = ('center', 'middle', 'all', 'box')
"""Which tokens of the template rank the candidates: see :class:`JointTokens`."""


def center_ids(grid: tuple[int, int], only_one: bool = True) -> list[int]:
    """Return the raster numbers of the middle of a grid (rows, columns), as OSTrack chooses it.

    One token, the upper left one of the four in the middle of an even grid; else all of these.
    """
    sides = []
    for side in grid:
        first = (side - 1) // 2
        sides.append(range(first, first + 1 if only_one else side // 2 + 1))
    return [row * grid[1] + column for row in sides[0] for column in sides[1]]


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return the tokens [B, K, C] of [B, N, C] that ``index`` [B, K] names."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def _project(attn: Any, x: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
    """Return some of query (0), key (1) and value (2), each [B, heads, N, d]."""
    width = attn.qkv.out_features // 3
    rows = slice(first * width, (last + 1) * width)
    bias = None if attn.qkv.bias is None else attn.qkv.bias[rows]
    # [B, N, P*C] -> [B, N, P, heads, d] -> P x [B, heads, N, d]
    y = F.linear(x, attn.qkv.weight[rows], bias)
    y = y.reshape(*x.shape[:2], last + 1 - first, attn.num_heads, -1)
    return y.permute(2, 0, 3, 1, 4).unbind(0)


def joint_qk(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scaled queries and the keys [B, heads, N, d] of tokens that enter a block."""
    q, k = _project(block.attn, block.norm1(x), 0, 1)
    return q * block.attn.scale, k


@torch.no_grad()
def best_candidates(
    query: Tensor, key: Tensor, template: int, keep: int, weights: Tensor | None = None
) -> Tensor:
    """Rank the search tokens by the attention that the template pays them; best first [B, keep].

    Softmax over all keys [B, heads, template + N, d], the template's first; mean over heads and
    over selected template tokens of scaled ``query`` [B, heads, K, d], by their weights [B, K] or
    equally.
    """
    logits = query @ key.transpose(-2, -1)
    # Low precision would make ties of what differs.
    attention = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    attention = attention[..., template:].mean(1)  # [B, K, N]
    score = attention.mean(1) if weights is None else (weights[..., None] * attention).sum(1)
    return score.topk(keep, dim=1).indices


def joint_block(
    block: Any,
    x: Tensor,
    template: int,
    keep: int | None = None,
    ids: Tensor | None = None,
    weights: Tensor | None = None,
    last: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Run a transformer block over the tokens of both images, computing only what is used.

    What is left out after the attention is no query of it either: kept tokens come out as if all
    had gone through the block, whose keys and values are those of all tokens.

    Args:
        block: Has ``norm1, attn.qkv, attn.proj, norm2, mlp, drop_path`` and perhaps ``proj``.
        x: Tokens [B, template + N, C], the template's first.
        template: Number of template tokens.
        keep: Number of search tokens to go on with; ``None`` for all.
        ids: Template tokens that rank the candidates [K]; ``None`` for all.
        weights: Their weights [B, K]; ``None`` for equal ones.
        last: Whether only search tokens are needed any more.

    Returns:
        Tokens, and which search tokens these are [B, keep], ``None`` for all in their order.
    """
    attn = block.attn
    y = block.norm1(x)
    shortcut = block.proj(y) if getattr(block, 'proj', None) is not None else x
    kept = None
    if keep is None and not last:
        q, k, v = _project(attn, y, 0, 2)
    else:
        k, v = _project(attn, y, 1, 2)
        if keep is not None:
            ranking = y[:, :template] if ids is None else y[:, ids]
            (query,) = _project(attn, ranking, 0, 0)
            kept = best_candidates(query * attn.scale, k, template, keep, weights)
            head = 0 if last else template
            y, shortcut = (
                torch.cat([t[:, :head], take(t, kept + template)], dim=1) for t in (y, shortcut)
            )
        else:
            y, shortcut = y[:, template:], shortcut[:, template:]
        (q,) = _project(attn, y, 0, 0)
    out = F.scaled_dot_product_attention(q, k, v, scale=attn.scale)
    # [B, heads, Q, d] -> [B, Q, C]
    out = attn.proj(out.transpose(1, 2).flatten(2))
    x = shortcut + block.drop_path(out)
    return x + block.drop_path(block.mlp(block.norm2(x))), kept


def restore(x: Tensor, index: Tensor, count: int) -> Tensor:
    """Put kept tokens [B, K, C] at their places ``index`` [B, K] among ``count``, zeros between."""
    zeros = x.new_zeros(x.shape[0], count, x.shape[2])
    return zeros.scatter(1, index[..., None].expand(-1, -1, x.shape[2]), x)


class JointTokens(nn.Module):
    """What the joint backbones share: which blocks eliminate, how many tokens stay, the loop.

    Mixed into a backbone, which calls :meth:`set_elimination` when it is built. A hook may change
    ``keep_ratio``, the part of the candidates that each block of ``elimination_blocks`` (from 0)
    keeps in training; evaluation always takes the final ratio.
    """

    blocks: Any
    norm: Any
    patch_size: int
    grid_size: tuple[int, int]
    pos_embed: Any
    embed_template: Any  # templates to tokens [B, Z, C] as they enter the joint blocks
    embed_search: Any  # search images to tokens [B, X, C]
    to_map: Any  # search tokens [B, X, C] to a map [B, C, rows, columns]
    template_grid: tuple[int, int]  # (rows, columns) of template tokens in the joint blocks
    search_grid: tuple[int, int]
    first_joint = 0
    token_ids: Tensor | None

    def forward(
        self, template: Tensor, search: Tensor, template_mask: Tensor | None = None
    ) -> Tensor:
        """Look at search images [B, 3, H, W] in the light of templates [B, 3, h, w].

        ``template_mask`` are the template's tokens that the target covers, bool [B, rows, columns];
        it is read where ``template_tokens`` is 'box'. Returns [B, C, rows, columns], after the
        final norm; eliminated tokens are zero.
        """
        x = self.embed_pair(template, search)
        x, index = self.run_joint(x, self.token_weights(template_mask))
        x = self.norm(x)
        if index is not None:
            x = restore(x, index, self.search_grid[0] * self.search_grid[1])
        return self.to_map(x)

    def embed_pair(self, template: Tensor, search: Tensor) -> Tensor:
        """Return the tokens of both images as they enter the joint blocks [B, Z + X, C]."""
        return torch.cat([self.embed_template(template), self.embed_search(search)], dim=1)

    def add_template(self, template: Any, search: Any, unit: int, what: str) -> None:
        """Take the sizes of both images, and give the template a position table of its own."""
        self.template_size, self.search_size = pair(template), pair(search)
        for name, size in (('template', self.template_size), ('search', self.search_size)):
            if any(side % unit for side in size):
                raise ValueError(f'{name}_size={size} px is not a multiple of {what}')
        height, width = (side // self.patch_size for side in self.template_size)
        self.position_tables = {'pos_embed': self.grid_size, 'pos_embed_z': (height, width)}
        table = resize_position(self.pos_embed.detach(), self.grid_size, (height, width))
        self.pos_embed_z = nn.Parameter(table.clone(), self.pos_embed.requires_grad)

    def check_image(self, image: Tensor, what: str) -> None:
        """Refuse a 'template' or 'search' image of another size than the model was built for."""
        (height, width), side = image.shape[-2:], getattr(self, f'{what}_size')
        if (height, width) != side:
            raise ValueError(
                f'the {what} image is {height}x{width} px, the backbone was built for '
                f'{side[0]}x{side[1]} px ({what}_size)'
            )

    def set_elimination(
        self, elimination: dict[str, Any] | None, template_tokens: str, first: int, depth: int
    ) -> None:
        """Read the options of elimination; blocks from ``first`` on attend over all tokens."""
        options = dict(elimination or {})
        spread = {first + (depth - first) * k // 4 for k in (1, 2, 3)}
        blocks = options.pop('blocks', sorted(spread))
        keep = options.pop('keep', 0.7)
        if options:
            raise ValueError(f"elimination takes 'blocks' and 'keep', got also {sorted(options)}")
        if elimination is None:
            blocks, keep = (), 1.0
        if len(set(blocks)) != len(blocks) or any(not first <= b < depth for b in blocks):
            raise ValueError(
                f'elimination blocks {tuple(blocks)}: only blocks {first}..{depth - 1} attend over '
                'all tokens and can eliminate, each once'
            )
        if not 0 < keep <= 1:
            raise ValueError(f'elimination keep={keep} must be in (0, 1]')
        if template_tokens not in TEMPLATE_TOKENS:
            raise ValueError(f'template_tokens={template_tokens!r} is none of {TEMPLATE_TOKENS}')
        self.elimination_blocks: tuple[int, ...] = tuple(sorted(blocks))
        self.final_keep_ratio: float = keep
        self.keep_ratio: float = keep
        self.template_tokens = template_tokens
        ids = None
        if template_tokens in ('center', 'middle'):
            raster = center_ids(self.template_grid, template_tokens == 'center')
            ids = self.from_raster(torch.tensor(raster), self.template_grid)
        self.register_buffer('token_ids', ids, persistent=False)

    def from_raster(self, ids: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return where tokens of a grid, given by raster number, stand among the model's tokens."""
        return ids

    def candidates(self, count: int) -> dict[int, int]:
        """Return how many search tokens each eliminating block keeps of ``count``; rounded up."""
        ratio = self.keep_ratio if self.training else self.final_keep_ratio
        kept = {}
        for block in self.elimination_blocks:
            # 1e-9: 0.7 * 180 is 126 and shall not be 127 by a rounding error.
            fewer = max(1, math.ceil(ratio * count - 1e-9))
            if fewer < count:
                kept[block] = count = fewer
        return kept

    def token_weights(self, template_mask: Tensor | None) -> Tensor | None:
        """Return the weights of template tokens [B, K] from a mask [B, rows, columns]."""
        if self.template_tokens != 'box' or not self.elimination_blocks:
            return None
        if template_mask is None or tuple(template_mask.shape[1:]) != self.template_grid:
            found = None if template_mask is None else list(template_mask.shape)
            raise ValueError(
                f"template_tokens='box' needs template_mask [B, {self.template_grid[0]}, "
                f'{self.template_grid[1]}], got {found}'
            )
        order = torch.arange(self.template_grid[0] * self.template_grid[1])
        order = self.from_raster(order.to(template_mask.device), self.template_grid).argsort()
        weights = template_mask.flatten(1).float()[:, order]
        return weights / weights.sum(1, keepdim=True).clamp(min=1e-6)

    def run_joint(
        self,
        x: Tensor,
        weights: Tensor | None,
        watch: Callable[[int, Tensor, Tensor | None, Tensor | None], None] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the joint blocks over the tokens [B, template + N, C] of both images.

        ``watch`` is called for each block with its number, the tokens that enter it, where their
        search tokens stood at first [B, K], and which of them stay [B, K'], ``None`` for all.
        Returns search tokens [B, K, C] without final norm, and where they stood [B, K], ``None``
        for all in their order.
        """
        template = self.template_grid[0] * self.template_grid[1]
        counts = self.candidates(self.search_grid[0] * self.search_grid[1])
        index, final = None, len(self.blocks) - 1
        recompute = getattr(self, 'with_cp', False) and self.training and torch.is_grad_enabled()
        for number in range(self.first_joint, final + 1):
            block = self.blocks[number]
            args = (template, counts.get(number), self.token_ids, weights, number == final)
            entering = x
            if recompute:
                x, kept = checkpoint(joint_block, block, x, *args, use_reentrant=False)
            else:
                x, kept = joint_block(block, x, *args)
            if watch is not None:
                watch(number, entering, index, kept)
            if kept is not None:
                index = kept if index is None else index.gather(1, kept)
        return x, index
