"""Swin: a hierarchical transformer with shifted windows (Liu et al. 2021)."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import trunc_normal_
from ..layers.swin import SwinBlock, SwinStage, WindowQueryKeyBlock, init_swin
from .base import Backbone, resolve_indices
from .sizes import pair, resolve_arch

SWIN_ARCHITECTURES: dict[str, dict[str, Any]] = {
    # By the paper's names: its small is the original's Swin-T.
    'tiny': dict(embed_dim=48, depths=(2, 2, 6, 2), num_heads=3),
    'small': dict(embed_dim=96, depths=(2, 2, 6, 2), num_heads=3),
}
"""Sizes by name: width and heads of the first stage, both doubled from stage to stage."""


@MODELS.register_module()
class SwinTransformer(Backbone):
    """Swin of timm's parts, with timm's parameter names.

    Images of any size are taken; maps that are no whole number of windows are filled up with zeros,
    which are attended to, as in Swin's detectors. Layers are counted through all stages. The last
    layer of a stage hands on merged patches, as in the original, whose stages end with the merging;
    timm's begin with it. Raises ValueError if options contradict each other.

    Args:
        arch: 'tiny' (the papers', width 48), 'small' (the papers', width 96), or a dict of
            ``embed_dim`` and ``num_heads`` (of the first stage), ``depths`` (blocks of each stage)
            and optionally ``mlp_ratio`` (4).
        img_size: (height, width) or side in pixels that windows are planned for: where a stage's
            map is no larger than a window, there is a single one, and no shift.
        patch_size: Side of a patch in pixels.
        window_size: Side of a window in tokens.
        in_channels: Channels of the image.
        mask_token: Whether there is a token to take the place of hidden patches (SimMIM).
        out_type: See :class:`Hiera`, as for ``out_indices`` and all that is not named here.
        stage_norms: Whether each output has a LayerNorm of its own (``norm0``, ...), as in Swin's
            detectors, in place of the final one.
    """

    num_prefix_tokens = 0

    architectures = SWIN_ARCHITECTURES

    def __init__(
        self,
        arch: str | dict[str, Any] = 'tiny',
        img_size: int | Sequence[int] = 224,
        patch_size: int = 4,
        window_size: int = 7,
        in_channels: int = 3,
        mask_token: bool = False,
        out_type: str = 'tokens',
        out_indices: Sequence[int] = (-1,),
        final_norm: bool = True,
        stage_norms: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch = resolve_arch(
            arch, SWIN_ARCHITECTURES, ('embed_dim', 'depths', 'num_heads'), ('mlp_ratio',)
        )
        self.arch = arch
        self.depths: tuple[int, ...] = tuple(arch['depths'])
        self.num_layers = sum(self.depths)
        self.patch_size, self.window_size = patch_size, window_size
        self.out_type, self.with_cp = out_type, with_cp
        height, width = pair(img_size)
        self.grid_size = (height // patch_size, width // patch_size)
        self._check_options((height, width), final_norm and stage_norms)
        count = len(self.depths)
        self.out_indices = resolve_indices(out_indices, count, 'out_indices', 'stages')

        self._places = [(s, i) for s, blocks in enumerate(self.depths) for i in range(blocks)]
        self.embed_dims: int = arch['embed_dim'] * 2 ** (count - 1)
        self.patch_embed = PatchEmbed(
            None,
            patch_size,
            in_channels,
            arch['embed_dim'],
            norm_layer=nn.LayerNorm,
            output_fmt='NHWC',
            dynamic_img_pad=True,
        )
        self.mask_token = nn.Parameter(torch.zeros(1, 1, arch['embed_dim'])) if mask_token else None
        rates = iter(torch.linspace(0, drop_path_rate, self.num_layers).tolist())
        self.layers = nn.ModuleList(
            SwinStage(
                arch['embed_dim'] * 2**stage,
                self._stage_grid(stage),
                arch['num_heads'] * 2**stage,
                window_size,
                [next(rates) for _ in range(blocks)],
                merge=stage > 0,
                mlp_ratio=arch.get('mlp_ratio', 4.0),
            )
            for stage, blocks in enumerate(self.depths)
        )
        self.norm = nn.LayerNorm(self.embed_dims) if final_norm else nn.Identity()
        self.stage_norms = stage_norms
        for stage in self.out_indices if stage_norms else ():
            self.add_module(f'norm{stage}', nn.LayerNorm(arch['embed_dim'] * 2**stage))
        init_swin(self)
        if self.mask_token is not None:
            trunc_normal_(self.mask_token)

    def _check_options(self, image: tuple[int, int], two_norms: bool) -> None:
        if not self.depths or min(self.depths) < 1:
            raise ValueError(f'depths={self.depths}: each stage needs a block')
        if image[0] % self.patch_size or image[1] % self.patch_size:
            raise ValueError(f'img_size={image} px is not a multiple of patch {self.patch_size} px')
        self._check_out_type()
        if two_norms:
            raise ValueError('stage_norms=True takes the place of the final norm: final_norm=False')

    def _stage_grid(self, stage: int) -> tuple[int, int]:
        rows, columns = (math.ceil(side / 2**stage) for side in self.grid_size)
        return rows, columns

    @property
    def mask_grid(self) -> tuple[int, int]:
        """(rows, columns) of the units that masking speaks of: patches."""
        return self.grid_size

    @property
    def unit_size(self) -> int:
        """What the sides of an image should be multiples of, in pixels: a token at the end."""
        return self.patch_size * 2 ** (len(self.depths) - 1)

    @property
    def blocks(self) -> list[SwinBlock]:
        """The blocks of all stages."""
        return [cast(SwinBlock, block) for stage in self._stages() for block in stage.blocks]

    def _stages(self) -> list[SwinStage]:
        return [cast(SwinStage, stage) for stage in self.layers]

    def _merge(self, layer: int, x: Tensor) -> Tensor:
        """Merge patches where the layer ends a stage and there is another one."""
        stage = self._stage_behind(layer)
        same = stage == self._places[layer - 1][0]
        return x if same else self._stages()[stage].downsample(x)

    def _stage_behind(self, layer: int) -> int:
        """Return the stage that reads what a layer hands on (1-based; 0 for the embedding)."""
        return self._places[min(layer, self.num_layers - 1)][0]

    def heads_of(self, layer: int) -> int:
        """Return the number of heads of a layer (1-based)."""
        return self.blocks[layer - 1].attn.num_heads

    def width_of(self, layer: int) -> int:
        """Return the width of the tokens that leave a layer (1-based; 0 for the embedding)."""
        return self.arch['embed_dim'] * 2 ** self._stage_behind(layer)

    def grid_of(self, layer: int) -> tuple[int, int]:
        """Return (rows, columns) of the map that leaves a layer, of an image of ``img_size``."""
        return self._stage_grid(self._stage_behind(layer))

    def attention_shape(self, layer: int) -> tuple[int, int, int]:
        """Return (windows, queries, keys of a window) of one head's logits, for ``img_size``."""
        window = self.blocks[layer - 1].window_size
        grid = self._stage_grid(self._places[layer - 1][0])
        windows = math.prod(math.ceil(a / b) for a, b in zip(grid, window, strict=True))
        return windows, math.prod(window), math.prod(window)

    def query_key_block(self) -> WindowQueryKeyBlock:
        """Return queries and keys to follow the last block (D²'s 13th), which has one window."""
        last = self.num_layers
        windows, queries, _ = self.attention_shape(last)
        grid = self.grid_of(last)
        if windows > 1 or queries != math.prod(grid):
            raise ValueError(
                f'a query-key block sees the whole map, but the last stage has {grid} tokens and '
                f'windows of {self.window_size}; set window_size={max(grid)} or a smaller img_size'
            )
        return WindowQueryKeyBlock(self.embed_dims, self.heads_of(last), grid)

    def embed(self, image: Tensor, ids_keep: Tensor | None = None) -> Tensor:
        """Return embedded patches [B, rows, columns, C].

        The mask token takes the place of all patches but ``ids_keep`` [B, K], as windows need whole
        maps. Raises ValueError if patches shall be hidden and there is no mask token.
        """
        x = self.patch_embed(image)
        if ids_keep is None:
            return x
        if self.mask_token is None:
            raise ValueError('hiding patches from Swin needs a backbone with mask_token=True')
        hidden = torch.ones(x.shape[:3], dtype=torch.bool, device=x.device).flatten(1)
        hidden = hidden.scatter(1, ids_keep, False).reshape(*x.shape[:3], 1)
        return torch.where(hidden, self.mask_token.to(x.dtype), x)

    def _start(self, image: Tensor, ids_keep: Tensor | None, **options: Any) -> tuple[Tensor, None]:
        return self.embed(image, ids_keep, **options), None

    def run_layer(
        self, layer: int, x: Tensor, context: Any, need_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Backbone.run_layer`."""
        block = self.blocks[layer - 1]
        logits = block.logits(x) if need_logits else None
        return self._merge(layer, self._run(block, x)), logits

    def _logits(self, layer: int, x: Tensor, context: Any) -> Tensor:
        return self.blocks[layer - 1].logits(x)

    def _flat(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the stages of ``out_indices``, before patches are merged.

        Tokens [B, rows*columns, C] or maps [B, C, rows, columns] of images [B, 3, H, W] of any
        size, rows and columns those of the image at the stage's stride, rounded up.
        """
        x, outputs = self.embed(image), []
        for stage, part in enumerate(self._stages()[: self.out_indices[-1] + 1]):
            x = part.downsample(x)
            for block in part.blocks:
                x = self._run(block, x)
            if stage not in self.out_indices:
                continue
            out = self.get_submodule(f'norm{stage}')(x) if self.stage_norms else x
            out = self.norm(out) if stage == len(self.depths) - 1 else out
            if self.out_type == 'featmap':
                outputs.append(out.permute(0, 3, 1, 2).contiguous())
            else:
                outputs.append(out.flatten(1, 2))
        return tuple(outputs)
