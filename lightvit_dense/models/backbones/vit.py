"""The plain vision transformer of every task."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import (
    Block,
    PatchEmbed,
    QueryKeyBlock,
    resize_position,
    sincos_position,
    trunc_normal_,
)
from .base import Backbone, resolve_indices
from .sizes import check_keys, pair, resolve_arch

ARCHITECTURES: dict[str, dict[str, int]] = {
    # The papers' tiny and small have 12 heads where DeiT has 3 and 6.
    'tiny': dict(embed_dim=192, depth=12, num_heads=12),
    'small': dict(embed_dim=384, depth=12, num_heads=12),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
}
"""Sizes by name; the papers' heads, not DeiT's."""
INITS = ('mae', 'timm', 'beit', 'simmim', 'mocov3')
REL_POS = ('decomposed', 'bias')


@MODELS.register_module()
class VisionTransformer(Backbone):
    """Vision transformer with timm's parameter names.

    Windows, relative position and feature taps are options that only add parameters, so one state
    dict serves all tasks. The position table is resized (bicubic) to whatever image arrives. Raises
    ValueError if options contradict each other.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict of ``embed_dim, depth, num_heads`` and
            optionally ``mlp_ratio``.
        img_size: (height, width) or side in pixels that the position table is made for.
        patch_size: Side of a patch in pixels.
        in_channels: Channels of the image.
        qkv_bias: Whether query, key and value have a bias.
        pos_embed: 'learned' (trained) or 'sincos' (fixed, as in pre-training).
        cls_token: Whether a class token precedes the patch tokens; not possible with windows.
        out_type: 'tokens' for [B, prefix+N, C], 'featmap' for [B, C, rows, columns].
        out_indices: Blocks (0-based, negative from the end) whose outputs :meth:`forward` returns.
        final_norm: Whether the model has a LayerNorm after the last block.
        drop_path_rate: Drop-path rate of the last block; the first has 0, linear between.
        layer_scale: Initial value of the LayerScales (Touvron et al. 2021); ``None`` for none.
        window: ``size`` of the attention windows in tokens, and ``global_blocks`` (0-based) that
            attend globally nevertheless; ``None`` for global attention everywhere.
        rel_pos: ``kind`` of relative position, 'decomposed' (ViTDet's vectors for the offsets of
            each axis) or 'bias' (BEiT's table in every block, Bao et al. 2022, zero at first), and
            ``size``, the image size in pixels that tables of global blocks are made for
            (``img_size`` by default). Tables are resized to the image; absolute positions stay.
        init: Whose code the initial values follow; biases of linear layers are 0 in all.

            - 'mae': Xavier-uniform weights, also of the patch embedding, as a matrix; its bias is
              torch's default of a convolution.
            - 'timm': N(0, 0.02) in linear layers and torch's default in the patch embedding, which
              supervised recipes start from (DeiT, ViTDet, OSTrack), and DINO.
            - 'beit': N(0, 0.02) in the patch embedding too, whose bias is 0; ``attn.proj`` and
              ``mlp.fc2`` of block i (from 1) are divided by sqrt(2 i).
            - 'simmim': 'beit' with all draws cut off at one deviation.
            - 'mocov3': as 'mae' with query, key and value apart, a patch bias of 0, and a class
              token of N(0, 1e-6).
        with_cp: Recompute each block's activations in the backward pass to save memory.
    """

    architectures = ARCHITECTURES

    def __init__(
        self,
        arch: str | dict[str, Any] = 'tiny',
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        qkv_bias: bool = True,
        pos_embed: str = 'learned',
        cls_token: bool = True,
        out_type: str = 'tokens',
        out_indices: Sequence[int] = (-1,),
        final_norm: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale: float | None = None,
        window: Mapping[str, Any] | None = None,
        rel_pos: Mapping[str, Any] | None = None,
        init: str = 'mae',
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch = resolve_arch(
            arch, ARCHITECTURES, ('embed_dim', 'depth', 'num_heads'), ('mlp_ratio',)
        )
        self.arch = arch
        self.embed_dims: int = arch['embed_dim']
        self.num_layers: int = arch['depth']
        self.num_heads: int = arch['num_heads']
        self.patch_size = patch_size
        self.grid_size = self._grid_of(img_size)
        self.num_prefix_tokens = int(cls_token)
        self.out_type = out_type
        self.out_indices = resolve_indices(out_indices, self.num_layers, 'out_indices', 'blocks')
        self.with_cp = with_cp
        self._check_options(pos_embed, cls_token, window, rel_pos)
        if init not in INITS:
            raise ValueError(f'init must be one of {INITS}, got {init!r}')

        self.patch_embed = PatchEmbed(in_channels, self.embed_dims, patch_size)
        tokens = self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens
        self.pos_embed = nn.Parameter(
            torch.zeros(1, tokens, self.embed_dims), requires_grad=pos_embed == 'learned'
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if cls_token else None
        rates = torch.linspace(0, drop_path_rate, self.num_layers).tolist()
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dims,
                self.num_heads,
                arch.get('mlp_ratio', 4.0),
                qkv_bias,
                rate,
                cls_token=cls_token,
                layer_scale=layer_scale,
                **sizes,
            )
            for rate, sizes in zip(rates, self._block_sizes(window, rel_pos), strict=True)
        )
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6) if final_norm else nn.Identity()
        self._reset_parameters(pos_embed, init)

    def _grid_of(self, image: int | Sequence[int]) -> tuple[int, int]:
        """Return (rows, columns) of the patches of an image of a size in pixels."""
        height, width = pair(image)
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f'{height}x{width} px is not a multiple of patch {self.patch_size}')
        return height // self.patch_size, width // self.patch_size

    def _check_options(
        self,
        pos_embed: str,
        cls_token: bool,
        window: Mapping[str, Any] | None,
        rel_pos: Mapping[str, Any] | None,
    ) -> None:
        if pos_embed not in ('learned', 'sincos'):
            raise ValueError(f"pos_embed is 'learned' or 'sincos', got '{pos_embed}'")
        self._check_out_type()
        if window is not None:
            check_keys('window', window, ('size',), ('global_blocks',))
        if rel_pos is not None:
            check_keys('rel_pos', rel_pos, ('kind',), ('size',))
            if rel_pos['kind'] not in REL_POS:
                raise ValueError(f'rel_pos.kind is one of {REL_POS}, got {rel_pos["kind"]!r}')
        if cls_token and (window or (rel_pos and rel_pos['kind'] == 'decomposed')):
            raise ValueError('windows and decomposed relative position need cls_token=False')

    def _block_sizes(
        self, window: Mapping[str, Any] | None, rel_pos: Mapping[str, Any] | None
    ) -> list[dict[str, Any]]:
        """Return each block's window and the grids of its relative positions, as it takes them."""
        window, rel_pos = window or {}, rel_pos or {}
        listed = window.get('global_blocks') or ()
        if listed:
            listed = resolve_indices(listed, self.num_layers, 'window.global_blocks', 'blocks')
        size = rel_pos.get('size')
        whole = self.grid_size if size is None else self._grid_of(size)
        sizes = []
        for index in range(self.num_layers):
            side = 0 if index in listed else window.get('size', 0)
            grid = (side, side) if side else whole
            sizes.append(
                dict(
                    window_size=side,
                    rel_pos_size=grid if rel_pos.get('kind') == 'decomposed' else None,
                    rel_bias_size=grid if rel_pos.get('kind') == 'bias' else None,
                )
            )
        return sizes

    def _reset_parameters(self, pos_embed: str, init: str) -> None:
        """Initialise as one of ``INITS``."""
        xavier, beit = init in ('mae', 'mocov3'), init in ('beit', 'simmim')
        normal = partial(trunc_normal_, cut=1.0 if init == 'simmim' else 6.0)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                apart = init == 'mocov3' and name.endswith('attn.qkv')
                for weight in module.weight.chunk(3 if apart else 1):
                    (nn.init.xavier_uniform_ if xavier else normal)(weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        proj = self.patch_embed.proj
        if xavier:
            nn.init.xavier_uniform_(proj.weight.flatten(1))
        elif beit:
            normal(proj.weight)
        if init not in ('mae', 'timm'):  # whose codes leave it to torch
            nn.init.zeros_(cast(Tensor, proj.bias))
        if self.cls_token is not None:
            if xavier:
                nn.init.normal_(self.cls_token, std=1e-6 if init == 'mocov3' else 0.02)
            else:
                normal(self.cls_token)
        if pos_embed == 'sincos':
            table = sincos_position(self.embed_dims, self.grid_size, self.num_prefix_tokens)
            self.pos_embed.data.copy_(table)
        else:
            normal(self.pos_embed)
        if beit:
            for layer, block in enumerate(cast(Iterable[Block], self.blocks), start=1):
                block.attn.proj.weight.data.div_(math.sqrt(2 * layer))
                block.mlp.fc2.weight.data.div_(math.sqrt(2 * layer))

    @property
    def mask_grid(self) -> tuple[int, int]:
        """(rows, columns) of the units that masking speaks of: patches."""
        return self.grid_size

    def heads_of(self, layer: int) -> int:
        """Return the number of heads of a layer (1-based)."""
        return self.num_heads

    def width_of(self, layer: int) -> int:
        """Return the width of the tokens that leave a layer (1-based; 0 for the embedding)."""
        return self.embed_dims

    def attention_shape(self, layer: int) -> tuple[int, ...]:
        """Return the shape of a head's logits: (N, N), or (W, n, n) in W windows of n tokens."""
        window = cast(Block, self.blocks[layer - 1]).window_size
        if window:
            down, across = (math.ceil(side / window) for side in self.grid_size)
            return (down * across, window**2, window**2)
        tokens = self.pos_embed.shape[1]
        return (tokens, tokens)

    def query_key_block(self) -> QueryKeyBlock:
        """Return a block of queries and keys only, to follow the last one (D²-MAE's 13th)."""
        attention = cast(Block, self.blocks[-1]).attn
        return QueryKeyBlock(self.embed_dims, self.num_heads, attention.qkv.bias is not None)

    def embed(
        self,
        image: Tensor,
        ids_keep: Tensor | None = None,
        mask_token: Tensor | None = None,
        ids_mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return position-coded tokens [B, prefix+K, C] and the grid of all patches.

        Only the patches ``ids_keep`` [B, K] are embedded; ``mask_token`` [1, 1, C] takes the place
        of the patches ``ids_mask`` [B, M] (SimMIM).
        """
        x, grid = self.patch_embed(image, ids_keep)
        if mask_token is not None and ids_mask is not None:
            ids = ids_mask[..., None].expand(-1, -1, x.shape[-1])
            x = x.scatter(1, ids, mask_token.to(x.dtype).expand_as(ids))
        prefix = self.num_prefix_tokens
        position = resize_position(self.pos_embed, self.grid_size, grid, prefix)
        # Positions are fp32, and so are all sums of tokens after them, whatever AMP does.
        patches = position[0, prefix:]
        x = x + (patches if ids_keep is None else patches[ids_keep])  # [N, C] or [B, K, C]
        if self.cls_token is not None:
            cls = self.cls_token + position[:, :prefix]
            # Not len(x): a traced model keeps shape[0] open, so that ONNX takes any batch.
            x = torch.cat([cls.expand(x.shape[0], -1, -1), x], dim=1)
        return x, grid

    def _start(
        self, image: Tensor, ids_keep: Tensor | None, **options: Any
    ) -> tuple[Tensor, tuple[tuple[int, int], Tensor | None]]:
        x, grid = self.embed(image, ids_keep, **options)
        return x, (grid, ids_keep)

    def run_layer(
        self, layer: int, x: Tensor, context: Any, need_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Backbone.run_layer`."""
        grid, ids_keep = context
        return self._run(self.blocks[layer - 1], x, grid, need_logits, ids_keep)

    def _logits(self, layer: int, x: Tensor, context: Any) -> Tensor:
        return cast(Block, self.blocks[layer - 1]).logits(x, *context)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of ``out_indices`` for images [B, 3, H, W].

        Tokens [B, prefix+N, C] or maps [B, C, rows, columns]. The final norm, where the model has
        one, applies to the last block's output only.
        """
        x, context = self._start(image, None)
        taps = [index + 1 for index in self.out_indices]
        hidden = self._run_blocks(x, context, hidden_of=taps, stop=taps[-1]).hidden
        return tuple(self._output(layer, hidden[layer], context[0]) for layer in taps)

    def _output(self, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        x = self.norm(x) if layer == self.num_layers else x
        if self.out_type == 'tokens':
            return x
        # [B, prefix+N, C] -> [B, C, rows, columns]
        x = x[:, self.num_prefix_tokens :].transpose(1, 2)
        return x.reshape(x.shape[0], self.embed_dims, *grid).contiguous()
