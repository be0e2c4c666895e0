"""The plain vision transformer of every task."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...registry import MODELS
from ..layers import (
    Block,
    PatchEmbed,
    QueryKeyBlock,
    resize_position,
    sincos_position,
    trunc_normal_,
)
from .encoding import Encoding
from .sizes import pair, resolve_arch

ARCHITECTURES: dict[str, dict[str, int]] = {
    # The papers' tiny and small have 12 heads where DeiT has 3 and 6.
    'tiny': dict(embed_dim=192, depth=12, num_heads=12),
    'small': dict(embed_dim=384, depth=12, num_heads=12),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
}
"""Sizes by name; the papers' heads, not DeiT's."""
INITS = ('mae', 'timm', 'beit', 'simmim', 'mocov3')


@MODELS.register_module()
class VisionTransformer(BaseModule):
    """Vision transformer with timm's parameter names.

    Windows, relative position and feature taps are options that only add parameters, so one state
    dict serves all tasks. The position table belongs to ``img_size`` and is resized (bicubic) to
    whatever image arrives.

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
        layer_scale: Initial value of the two LayerScales (trained) of every block (Touvron et al.
            2021); ``None`` for none.
        window_size: Side of the attention windows in tokens; 0 for global attention everywhere.
        global_blocks: Blocks (0-based) that stay global when ``window_size`` is set.
        rel_pos_size: Image size in pixels that decomposed relative position tables are made for;
            ``None`` for none. With ``rel_pos_bias`` the size that those are made for.
        rel_pos_bias: Whether every block has BEiT's table of relative position biases (Bao et al.
            2022), zero at first, for a window, else for ``rel_pos_size`` or ``img_size``. Absolute
            positions stay. The table is resized, with gradients, to whatever image arrives.
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
        init_cfg: E.g. ``dict(type='lightvit_dense.PretrainedBackbone', checkpoint=...)``.

    Raises:
        ValueError: If options contradict each other or name what is not there.
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
        window_size: int = 0,
        global_blocks: Sequence[int] = (),
        rel_pos_size: int | Sequence[int] | None = None,
        rel_pos_bias: bool = False,
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
        height, width = pair(img_size)
        self.grid_size = (height // patch_size, width // patch_size)
        self.num_prefix_tokens = int(cls_token)
        self.out_type = out_type
        self.out_indices = self._resolve_indices(out_indices, 'out_indices')
        self.with_cp = with_cp
        self._check_options(pos_embed, cls_token, window_size, rel_pos_size, (height, width))
        if init not in INITS:
            raise ValueError(f'init must be one of {INITS}, got {init!r}')

        self.patch_embed = PatchEmbed(in_channels, self.embed_dims, patch_size)
        tokens = self.grid_size[0] * self.grid_size[1] + self.num_prefix_tokens
        self.pos_embed = nn.Parameter(
            torch.zeros(1, tokens, self.embed_dims), requires_grad=pos_embed == 'learned'
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if cls_token else None
        global_set = set(self._resolve_indices(global_blocks, 'global_blocks'))
        rates = torch.linspace(0, drop_path_rate, self.num_layers).tolist()
        blocks = []
        for index, rate in enumerate(rates):
            window = 0 if index in global_set else window_size
            sizes = self._relative_sizes(window, rel_pos_size, rel_pos_bias)
            blocks.append(
                Block(
                    self.embed_dims,
                    self.num_heads,
                    arch.get('mlp_ratio', 4.0),
                    qkv_bias,
                    rate,
                    window,
                    *sizes,
                    cls_token=cls_token,
                    layer_scale=layer_scale,
                )
            )
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6) if final_norm else nn.Identity()
        self._reset_parameters(pos_embed, init)

    def _relative_sizes(
        self, window: int, rel_pos_size: int | Sequence[int] | None, rel_pos_bias: bool
    ) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Return the grids of a block's two kinds of relative position, ``None`` for none."""
        grid = self.grid_size
        if rel_pos_size is not None:
            height, width = pair(rel_pos_size)
            grid = (height // self.patch_size, width // self.patch_size)
        if window:
            grid = (window, window)
        if rel_pos_bias:
            return None, grid
        return (None if rel_pos_size is None else grid), None

    def _resolve_indices(self, indices: Sequence[int], what: str) -> tuple[int, ...]:
        resolved = tuple(sorted(i % self.num_layers for i in indices if abs(i) <= self.num_layers))
        if len(set(resolved)) != len(tuple(indices)) or any(i >= self.num_layers for i in indices):
            raise ValueError(
                f'{what}={tuple(indices)} does not name blocks of 0..{self.num_layers - 1}'
            )
        return resolved

    def _check_options(
        self,
        pos_embed: str,
        cls_token: bool,
        window_size: int,
        rel_pos_size: int | Sequence[int] | None,
        image: tuple[int, int],
    ) -> None:
        if pos_embed not in ('learned', 'sincos'):
            raise ValueError(f"pos_embed is 'learned' or 'sincos', got '{pos_embed}'")
        if self.out_type not in ('tokens', 'featmap'):
            raise ValueError(f"out_type is 'tokens' or 'featmap', got '{self.out_type}'")
        if cls_token and (window_size or rel_pos_size is not None):
            raise ValueError('windows and decomposed relative position need cls_token=False')
        sizes = [image] if rel_pos_size is None else [image, pair(rel_pos_size)]
        for height, width in sizes:
            if height % self.patch_size or width % self.patch_size:
                raise ValueError(
                    f'{height}x{width} px is not a multiple of patch {self.patch_size}'
                )

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
        """Return the shape of one head's logits of a layer for a whole image.

        (N, N), or (windows, n, n) where the layer attends in windows of n tokens.
        """
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
        """Return position-coded tokens.

        Args:
            image: [B, 3, H, W].
            ids_keep: Patches to keep [B, K]; ``None`` for all.
            mask_token: [1, 1, C], takes the place of the patches of ``ids_mask`` (SimMIM).
            ids_mask: Patches to replace [B, M].

        Returns:
            Tokens [B, prefix+K, C] and the grid (rows, columns) of all patches.
        """
        x, grid = self.patch_embed(image, ids_keep)
        if mask_token is not None and ids_mask is not None:
            ids = ids_mask[..., None].expand(-1, -1, x.shape[-1])
            x = x.scatter(1, ids, mask_token.to(x.dtype).expand_as(ids))
        prefix = self.num_prefix_tokens
        position = resize_position(self.pos_embed, self.grid_size, grid, prefix)
        patches = position[0, prefix:].to(x.dtype)
        x = x + (patches if ids_keep is None else patches[ids_keep])  # [N, C] or [B, K, C]
        if self.cls_token is not None:
            cls = (self.cls_token + position[:, :prefix]).to(x.dtype)
            # Not len(x): a traced model keeps shape[0] open, so that ONNX takes any batch.
            x = torch.cat([cls.expand(x.shape[0], -1, -1), x], dim=1)
        return x, grid

    def _run_block(
        self,
        block: nn.Module,
        x: Tensor,
        grid: tuple[int, int],
        need_logits: bool,
        ids_keep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, grid, need_logits, ids_keep, use_reentrant=False)
        return block(x, grid, need_logits, ids_keep)

    def encode(
        self,
        image: Tensor,
        ids_keep: Tensor | None = None,
        logits_of: Sequence[int] = (),
        hidden_of: Sequence[int] = (),
        mask_token: Tensor | None = None,
        ids_mask: Tensor | None = None,
    ) -> Encoding:
        """Run all blocks and the final norm, on visible patches only if asked.

        Args:
            image: [B, 3, H, W].
            ids_keep: Visible patches [B, K]; ``None`` for all.
            logits_of: Layers (1-based, as in the papers) whose pre-softmax logits are wanted.
            hidden_of: Layers (0 for the embedding) whose outputs are wanted.
            mask_token: See :meth:`embed`.
            ids_mask: See :meth:`embed`.

        Returns:
            Tokens [B, prefix+K, C], logits [B, heads, prefix+K, prefix+K], outputs like tokens.
        """
        x, grid = self.embed(image, ids_keep, mask_token, ids_mask)
        logits, hidden = {}, {0: x} if 0 in hidden_of else {}
        for layer, block in enumerate(self.blocks, start=1):
            x, found = self._run_block(block, x, grid, layer in logits_of, ids_keep)
            if found is not None:
                logits[layer] = found
            if layer in hidden_of:
                hidden[layer] = x
        return Encoding(self.norm(x), logits, hidden)

    def attention_logits(
        self, image: Tensor, layers: Sequence[int], ids_keep: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Return pre-softmax logits of the named layers.

        Nothing runs after the query-key product of the last one.

        Args:
            image: [B, 3, H, W].
            layers: Layers, 1-based.
            ids_keep: Visible patches [B, K]; ``None`` for all.

        Returns:
            {layer: logits [B, heads, prefix+K, prefix+K]}, of windowed layers [B, heads, W*n, n].
        """
        x, grid = self.embed(image, ids_keep)
        last, wanted = max(layers), {}
        for layer, block in enumerate(self.blocks[: last - 1], start=1):
            x, logits = self._run_block(block, x, grid, layer in layers, ids_keep)
            if logits is not None:
                wanted[layer] = logits
        wanted[last] = cast(Block, self.blocks[last - 1]).logits(x, grid, ids_keep)
        return wanted

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of ``out_indices``.

        Args:
            image: [B, 3, H, W].

        Returns:
            One tensor a tap: tokens [B, prefix+N, C] or maps [B, C, rows, columns]. The final norm,
            where the model has one, applies to the last block's output only.
        """
        x, grid = self.embed(image)
        outputs = []
        for index, block in enumerate(self.blocks[: self.out_indices[-1] + 1]):
            x, _ = self._run_block(block, x, grid, False)
            if index in self.out_indices:
                out = self.norm(x) if index == self.num_layers - 1 else x
                if self.out_type == 'featmap':
                    # [B, prefix+N, C] -> [B, C, rows, columns]
                    out = out[:, self.num_prefix_tokens :].transpose(1, 2)
                    out = out.reshape(out.shape[0], self.embed_dims, *grid).contiguous()
                outputs.append(out)
        return tuple(outputs)
