"""What the blocks of a joint backbone look at, and which candidates they drop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightvit_dense.errors import UserError

from .joint import joint_qk, take


@dataclass(frozen=True, eq=False)
class JointAttention:
    """Attention of a block, after the softmax; tokens in raster order, the template's first."""

    block: int  # from 0
    maps: Tensor  # [B, heads, Z + K, Z + K], Z template tokens and the K search tokens left
    search_ids: Tensor  # raster numbers of these [B, K]
    eliminated: Tensor  # raster numbers of those that go no further [B, E]
    weights: Tensor  # of the template tokens that rank [B, rows, columns], of sum 1
    ranking: Tensor  # attention that they pay to the search tokens, their mean [B, heads, K]
    grid: tuple[int, int]  # (rows, columns) of all search tokens

    def ranking_map(self) -> Tensor:
        """Return :attr:`ranking` as maps [B, heads, rows, columns], NaN where no token is left."""
        whole = self.ranking.new_full(
            (*self.ranking.shape[:2], self.grid[0] * self.grid[1]), torch.nan
        )
        ids = self.search_ids[:, None].expand_as(self.ranking)
        return whole.scatter(2, ids, self.ranking).unflatten(2, self.grid)


@dataclass(frozen=True, eq=False)
class FrameAttention:
    """What the network finds in the crops of a frame, and what its blocks look at."""

    template: np.ndarray  # RGB uint8 [h, w, 3]
    search: np.ndarray  # RGB uint8 [H, W, 3]
    box: np.ndarray  # x, y, width, height [4] in pixels of the search crop
    score: float  # of the box, in 0..1
    blocks: list[JointAttention]  # one a block that was asked for, with a batch of 1

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return arrays to save.

        ``blocks`` [L]; ``attention`` [L, rows, columns], that of the ranking template tokens, mean
        over heads, NaN where no token is left; ``eliminated_by`` [rows, columns], the block that
        dropped a token, -1 for none of these blocks; ``box`` and ``score``.
        """
        maps = [one.ranking_map()[0].mean(0).cpu().numpy() for one in self.blocks]
        dropped = np.full(maps[0].size, -1)
        for one in self.blocks:
            dropped[one.eliminated[0].cpu().numpy()] = one.block
        return dict(
            blocks=np.array([one.block for one in self.blocks]),
            attention=np.stack(maps),
            eliminated_by=dropped.reshape(maps[0].shape),
            box=self.box,
            score=np.array(self.score),
        )


@torch.no_grad()
def joint_attention(
    backbone: Any,
    template: Tensor,
    search: Tensor,
    template_mask: Tensor | None = None,
    blocks: Sequence[int] | None = None,
) -> list[JointAttention]:
    """Tell what blocks (from 0; all by default) of a joint backbone look at in images."""
    joint = range(backbone.first_joint, backbone.num_layers)
    wanted = set(joint if blocks is None else blocks)
    if not wanted or not wanted <= set(joint):
        raise UserError(
            f'blocks {sorted(wanted)}: blocks {joint[0]} to {joint[-1]} attend over template and '
            'search image; name some of these'
        )
    z, x = backbone.embed_template(template), backbone.embed_search(search)
    weights, found = backbone.token_weights(template_mask), []
    # Where the token of each raster number stands among the model's.
    places, order = (
        backbone.from_raster(torch.arange(grid[0] * grid[1], device=x.device), grid)
        for grid in (backbone.template_grid, backbone.search_grid)
    )
    rankers = weights
    if rankers is None:  # those of the template tokens in the ranking [B, Z]
        rankers = z.new_zeros(z.shape[:2], dtype=torch.float32)
        rankers[:, slice(None) if backbone.token_ids is None else backbone.token_ids] = 1
        rankers = rankers / rankers.sum(1, keepdim=True)
    rankers = rankers[:, places]
    table, raster = rankers.unflatten(1, backbone.template_grid), order.argsort()

    def watch(number: int, tokens: Tensor, index: Tensor | None, kept: Tensor | None) -> None:
        if number not in wanted:
            return
        ids = raster.expand(len(tokens), -1) if index is None else raster[index]
        gone = torch.full_like(ids, kept is not None, dtype=torch.bool)
        if kept is not None:
            gone = gone.scatter(1, kept, False)
        ids, by_raster = ids.sort(1)
        tokens = torch.cat([tokens[:, places], take(tokens[:, len(places) :], by_raster)], dim=1)
        q, k = joint_qk(backbone.blocks[number], tokens)
        maps = (q @ k.transpose(-2, -1)).float().softmax(-1)
        ranking = torch.einsum('bz,bhzk->bhk', rankers, maps[:, :, : len(places), len(places) :])
        eliminated = ids[gone.gather(1, by_raster)].reshape(len(ids), -1)
        found.append(
            JointAttention(number, maps, ids, eliminated, table, ranking, backbone.search_grid)
        )

    tokens = torch.cat([z, x], dim=1)
    backbone.run_joint(tokens, weights, watch)
    return found
