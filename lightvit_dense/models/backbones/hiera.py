"""Hiera: a hierarchical transformer of plain blocks, masked by units (Ryali et al. 2023)."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import QueryKeyBlock, resize_position, trunc_normal_
from .base import Backbone, resolve_indices
from .hiera_layers import HieraBlock, HieraPatchEmbed
from .hiera_tokens import from_units, pad_to_units, pool_real, to_units
from .sizes import pair, resolve_arch

HIERA_ARCHITECTURES: dict[str, dict[str, Any]] = {
    # The papers' tiny is narrower than Meta's; their teacher is Meta's base.
    'tiny': dict(embed_dim=46, stages=(1, 2, 7, 2), num_heads=1),
    'meta_tiny': dict(embed_dim=96, stages=(1, 2, 7, 2), num_heads=1),
    'small': dict(embed_dim=96, stages=(1, 2, 11, 2), num_heads=1),
    'base': dict(embed_dim=96, stages=(2, 3, 16, 3), num_heads=1),
}
"""Sizes by name: width and heads of the first stage, both doubled from stage to stage."""


@MODELS.register_module()
class Hiera(Backbone):
    """Hiera with timm's parameter names and a final ``norm``.

    Widths and heads double at each stage; the first ``q_pool`` changes of stage halve the
    resolution by taking the maximum of 2x2 queries. Tokens stay grouped by mask units throughout
    (see ``hiera_tokens.py``), so hiding units before the first block costs nothing later on.

    Images of any size are taken; the position table is resized to them (bicubic). What fills up the
    last units is never seen: it is no key of any attention, takes no part in any maximum, and is
    cropped out of what :meth:`forward` returns. Raises ValueError if options contradict each other.

    Args:
        arch: 'tiny' (the papers'), 'meta_tiny', 'small', 'base', or a dict of ``embed_dim``,
            ``stages`` (blocks each), ``num_heads`` (of the first stage) and optionally
            ``mlp_ratio`` (4), ``mask_unit`` (side of a unit in tokens, 8) and ``patch_stride`` (4).
        img_size: (height, width) or side in pixels that the position table is made for.
        in_channels: Channels of the image.
        q_pool: How many changes of stage pool: 3 for tasks, 2 in masked pre-training.
        mask_unit_attn: By stage, whether tokens attend inside their unit only. The block that pools
            still does as the stage before it.
        out_type: 'tokens' for [B, rows*columns, C], 'featmap' for [B, C, rows, columns].
        out_indices: Stages (0-based, negative from the end) that :meth:`forward` returns.
        final_norm: Whether the model has a LayerNorm after the last block.
        drop_path_rate: Drop-path rate of the last block; the first has 0, linear between.
        with_cp: Recompute each block's activations in the backward pass to save memory.
    """

    num_prefix_tokens = 0

    architectures = HIERA_ARCHITECTURES

    def __init__(
        self,
        arch: str | dict[str, Any] = 'tiny',
        img_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        q_pool: int = 3,
        mask_unit_attn: Sequence[bool] = (True, True, False, False),
        out_type: str = 'tokens',
        out_indices: Sequence[int] = (-1,),
        final_norm: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch = resolve_arch(
            arch,
            HIERA_ARCHITECTURES,
            needed=('embed_dim', 'stages', 'num_heads'),
            optional=('mlp_ratio', 'mask_unit', 'patch_stride'),
        )
        self.arch = arch
        self.stages: tuple[int, ...] = tuple(arch['stages'])
        self.num_layers = sum(self.stages)
        self.q_pool = q_pool
        self.mask_unit: int = arch.get('mask_unit', 8)
        self.patch_size: int = arch.get('patch_stride', 4)
        self.out_type = out_type
        self.with_cp = with_cp
        self._check_options(pair(img_size), mask_unit_attn)
        count = len(self.stages)
        self.out_indices = resolve_indices(out_indices, count, 'out_indices', 'stages')
        height, width = pair(img_size)
        self.grid_size = (height // self.patch_size, width // self.patch_size)

        self._stage_of = [s for s, blocks in enumerate(self.stages) for _ in range(blocks)]
        self._widths = [arch['embed_dim'] * 2**stage for stage in self._stage_of]
        self.embed_dims: int = self._widths[-1]
        self.patch_embed = HieraPatchEmbed(in_channels, self._widths[0], self.patch_size)
        self.pos_embed = nn.Parameter(
            torch.zeros(1, self.grid_size[0] * self.grid_size[1], self._widths[0])
        )
        self.blocks = nn.ModuleList()
        for index, stage in enumerate(self._stage_of):
            before = self._stage_of[max(index - 1, 0)]
            block = HieraBlock(
                self._widths[max(index - 1, 0)],
                self._widths[index],
                arch['num_heads'] * 2**stage,
                arch.get('mlp_ratio', 4.0),
                drop_path=drop_path_rate * index / max(self.num_layers - 1, 1),
                q_stride=4 if before < stage <= q_pool else 1,
                mask_unit=bool(mask_unit_attn[before]),
            )
            self.blocks.append(block)
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6) if final_norm else nn.Identity()
        self._reset_parameters()

    def _check_options(self, image: tuple[int, int], mask_unit_attn: Sequence[bool]) -> None:
        stages = self.stages
        if not stages or min(stages) < 1:
            raise ValueError(f'stages={stages}: each stage needs a block')
        if not 0 <= self.q_pool < len(stages):
            raise ValueError(
                f'q_pool={self.q_pool}: {len(stages)} stages change {len(stages) - 1} times'
            )
        if len(mask_unit_attn) != len(stages):
            raise ValueError(
                f'mask_unit_attn={tuple(mask_unit_attn)} needs one value for each of '
                f'{len(stages)} stages'
            )
        side = self.mask_unit
        if side & (side - 1) or side < 2**self.q_pool:
            raise ValueError(
                f'mask_unit={side} must be a power of 2 of at least {2**self.q_pool}, '
                f'so that {self.q_pool} poolings leave a token of it'
            )
        if image[0] % self.patch_size or image[1] % self.patch_size:
            raise ValueError(
                f'img_size={image} px is not a multiple of the patch stride {self.patch_size}'
            )
        self._check_out_type()

    def _reset_parameters(self) -> None:
        """Initialise as Hiera's MAE does: Xavier-uniform weights, N(0, 0.02) positions."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        weight = self.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.data.view(weight.shape[0], -1))
        trunc_normal_(self.pos_embed)

    @property
    def unit_size(self) -> int:
        """Side of a mask unit in pixels."""
        return self.mask_unit * self.patch_size

    @property
    def mask_grid(self) -> tuple[int, int]:
        """(rows, columns) of the mask units that masking speaks of."""
        rows, columns = (math.ceil(side / self.mask_unit) for side in self.grid_size)
        return rows, columns

    def _block(self, layer: int) -> HieraBlock:
        return cast(HieraBlock, self.blocks[layer - 1])

    def stage_of(self, layer: int) -> int:
        """Return the stage (0-based) of a layer (1-based; 0 for the embedding)."""
        return self._stage_of[max(layer, 1) - 1]

    def heads_of(self, layer: int) -> int:
        """Return the number of heads of a layer (1-based)."""
        return self._block(layer).attn.num_heads

    def width_of(self, layer: int) -> int:
        """Return the width of the tokens that leave a layer (1-based; 0 for the embedding)."""
        return self._widths[max(layer, 1) - 1]

    def unit_side_of(self, layer: int) -> int:
        """Return the side of a unit in tokens as it leaves a layer (1-based; 0: embedding)."""
        return self.mask_unit >> min(self.stage_of(layer), self.q_pool)

    def attention_shape(self, layer: int) -> tuple[int, int, int]:
        """Return (windows, queries, keys of a window) of one head's logits for a whole image."""
        block, units = self._block(layer), self.mask_grid[0] * self.mask_grid[1]
        keys = self.unit_side_of(layer - 1) ** 2
        queries = keys // block.attn.q_stride
        if block.attn.mask_unit:
            return units, queries, keys
        return 1, units * queries, units * keys

    def query_key_block(self) -> QueryKeyBlock:
        """Return queries and keys to follow the last block, which must attend globally."""
        if self._block(self.num_layers).attn.mask_unit:
            raise ValueError(
                'a query-key block behind the last one attends globally; '
                'set mask_unit_attn of the last stage to False'
            )
        return QueryKeyBlock(self.embed_dims, self.heads_of(self.num_layers))

    def embed(
        self, image: Tensor, ids_keep: Tensor | None = None
    ) -> tuple[Tensor, tuple[int, int], Tensor | None]:
        """Return position-coded tokens [B, K, mask_unit², C] in the order of units.

        Also returned are the grid (rows, columns) of real tokens, and which tokens are real [U,
        mask_unit²], ``None`` for all. With ``ids_keep`` [B, K] the pixels of other units are not
        seen, not even by kernels that reach into them.
        """
        visible = None
        if ids_keep is not None:
            rows, columns = (side // self.unit_size for side in image.shape[-2:])
            visible = ids_keep.new_zeros(len(ids_keep), rows * columns, dtype=torch.bool)
            visible = visible.scatter(1, ids_keep, True).unflatten(1, (rows, columns))
        x = self.patch_embed(image, visible)
        grid = (x.shape[1], x.shape[2])
        position = resize_position(self.pos_embed, self.grid_size, grid)
        x = x + position.reshape(1, *grid, -1)  # fp32, as in VisionTransformer
        x, real = pad_to_units(x, self.mask_unit)
        x = to_units(x, self.mask_unit)
        if ids_keep is not None:
            x = x.gather(1, ids_keep[..., None, None].expand(-1, -1, *x.shape[2:]))
        return x, grid, real

    def _start(self, image: Tensor, ids_keep: Tensor | None, **options: Any) -> tuple[Tensor, None]:
        height, width = image.shape[-2:]
        if height % self.unit_size or width % self.unit_size:
            raise ValueError(
                f'an image of {height}x{width} px is not a whole number of {self.unit_size} px '
                'mask units, which masking and attention maps speak of; resize or pad it'
            )
        return self.embed(image, ids_keep, **options)[0], None

    def run_layer(
        self, layer: int, x: Tensor, context: Any, need_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Backbone.run_layer`."""
        real = None if context is None else context[layer]
        return self._run(self._block(layer), x, real, need_logits)

    def _logits(self, layer: int, x: Tensor, context: Any) -> Tensor:
        return self._block(layer).logits(x)

    def _flat(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the stages of ``out_indices`` for images [B, 3, H, W] of any size.

        Tokens [B, rows*columns, C] in raster order or maps [B, C, rows, columns], rows and columns
        those of the image at the stage's stride, rounded up. The final norm, where the model has
        one, applies to the last stage's output only.
        """
        x, grid, real = self.embed(image)
        reals = {1: real}  # which tokens are real as a layer gets them
        for layer in range(1, self.num_layers):
            reals[layer + 1] = pool_real(reals[layer], self._block(layer).attn.q_stride)
        ends = [sum(self.stages[: stage + 1]) for stage in self.out_indices]
        hidden = self._run_blocks(x, reals, hidden_of=ends, stop=ends[-1]).hidden
        return tuple(self._output(layer, hidden[layer], grid) for layer in ends)

    def _output(self, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return a stage's output in raster order, its filling cropped."""
        x = self.norm(x) if layer == self.num_layers else x
        units = (math.ceil(grid[0] / self.mask_unit), math.ceil(grid[1] / self.mask_unit))
        shrink = self.mask_unit // self.unit_side_of(layer)
        rows, columns = (math.ceil(side / shrink) for side in grid)
        x = from_units(x, units)[:, :rows, :columns]  # [B, rows, columns, C]
        if self.out_type == 'featmap':
            return x.permute(0, 3, 1, 2).contiguous()
        return x.flatten(1, 2)
