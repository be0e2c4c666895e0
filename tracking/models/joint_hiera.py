"""Hiera over template and search image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.models.backbones import Hiera
from lightvit_dense.models.backbones.hiera_tokens import from_units, to_units

from ..registry import MODELS
from .joint import JointTokens

FIXED = ('img_size', 'out_type', 'out_indices')


@MODELS.register_module()
class JointHiera(JointTokens, Hiera):  # type: ignore[misc]
    """A :class:`~lightvit_dense.Hiera` that sees two images at once.

    The mask units of both images make one set. As long as attention stays inside units, each image
    is by itself; the blocks behind attend over all tokens of both, and only these can eliminate.
    With two poolings, as in masked pre-training, the map has a stride of 16.

    Parameter names and position tables are as in :class:`JointVisionTransformer`, and so are the
    other arguments.

    Args:
        arch: See :class:`~lightvit_dense.Hiera`.
        template_size: (height, width) or side of the template in pixels, a multiple of the mask
            unit (32 px).
        search_size: The same of the search image.
        q_pool: How many changes of stage pool.
        elimination: Default blocks are at a quarter, half and three quarters of those that attend
            over all tokens: 6, 8 and 10 of tiny.
        **kwargs: See :class:`~lightvit_dense.Hiera`.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = 'tiny',
        template_size: int | Sequence[int] = 128,
        search_size: int | Sequence[int] = 256,
        q_pool: int = 2,
        elimination: dict[str, Any] | None = None,
        template_tokens: str = 'center',
        **kwargs: Any,
    ) -> None:
        wrong = [name for name in FIXED if name in kwargs]
        if wrong:
            raise ValueError(f'JointHiera does not take {", ".join(wrong)}')
        super().__init__(arch, img_size=search_size, q_pool=q_pool, out_type='featmap', **kwargs)
        unit = self.unit_size
        self.add_template(template_size, search_size, unit, f'the mask unit of {unit} px')
        self.stride = self.patch_size << q_pool
        self.template_grid, self.search_grid = (
            (rows >> q_pool, columns >> q_pool)
            for rows, columns in (self.position_tables['pos_embed_z'], self.grid_size)
        )
        self.first_joint = self._first_joint()
        self.set_elimination(elimination, template_tokens, self.first_joint, self.num_layers)

    def _first_joint(self) -> int:
        """Return the first block (0-based) after which all attend globally and none pools."""
        first = self.num_layers
        while first:
            attention = self._block(first).attn
            if attention.mask_unit or attention.q_stride > 1:
                break
            first -= 1
        if first == self.num_layers:
            raise ValueError(
                'JointHiera: the last block attends inside units or pools, so that the images '
                'never meet; set mask_unit_attn of the last stage to False'
            )
        return first

    def from_raster(self, ids: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return where tokens of a grid, given by raster number, stand among the units' tokens."""
        numbers = torch.arange(grid[0] * grid[1], device=ids.device).reshape(1, *grid, 1)
        order = to_units(numbers, self.mask_unit >> self.q_pool).flatten()
        return order.argsort()[ids]

    def _embed(self, image: Tensor, what: str) -> Tensor:
        """Return position-coded tokens [B, units, mask_unit², C] of a 'template' or 'search'."""
        self.check_image(image, what)
        x, table = self.patch_embed(image), self.pos_embed if what == 'search' else self.pos_embed_z
        return to_units(x + table.reshape(1, *x.shape[1:]), self.mask_unit)

    def _run_units(self, x: Tensor) -> Tensor:
        """Run the blocks before the joint ones: [B, U, mask_unit², C] -> [B, U*T, C']."""
        return self._run_blocks(x, stop=self.first_joint).tokens.flatten(1, 2)

    @property
    def apart(self) -> bool:
        """Whether no block before the joint ones looks beyond a unit."""
        return all(self._block(i).attn.mask_unit for i in range(1, self.first_joint + 1))

    def _embed_apart(self, image: Tensor, what: str) -> Tensor:
        if not self.apart:
            raise ValueError(
                'JointHiera: a block before the last pooling looks beyond a unit, so the images '
                'cannot be embedded apart; call the backbone with both'
            )
        return self._run_units(self._embed(image, what))

    def embed_template(self, template: Tensor) -> Tensor:
        """Return tokens of templates [B, 3, H, W] as they enter the joint blocks [B, N, C]."""
        return self._embed_apart(template, 'template')

    def embed_search(self, search: Tensor) -> Tensor:
        """Return tokens of search images [B, 3, H, W] as they enter the joint blocks [B, N, C]."""
        return self._embed_apart(search, 'search')

    def embed_pair(self, template: Tensor, search: Tensor) -> Tensor:
        """See :class:`JointTokens`; early blocks may look from one image into the other."""
        units = [self._embed(template, 'template'), self._embed(search, 'search')]
        return self._run_units(torch.cat(units, dim=1))

    def to_map(self, x: Tensor) -> Tensor:
        """Lay tokens of units [B, X, C] out as a map [B, C, rows, columns]."""
        rows, columns = self.search_grid
        side = self.mask_unit >> self.q_pool
        # [B, X, C] -> [B, units, side², C] -> [B, rows, columns, C] -> [B, C, rows, columns]
        x = x.reshape(x.shape[0], -1, side * side, self.embed_dims)
        return from_units(x, (rows // side, columns // side)).permute(0, 3, 1, 2).contiguous()
