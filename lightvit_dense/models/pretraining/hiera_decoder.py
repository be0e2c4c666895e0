"""The decoder of Hiera's MAE: scales joined into one, then a few plain blocks."""

from collections.abc import Mapping

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones import Hiera
from ..backbones.hiera_tokens import from_units, to_units
from ..layers import Block, trunc_normal_
from .masking import Masking


class MultiScaleFusion(nn.Module):
    """Sum the scales of a Hiera at its coarsest (Hiera paper, section 4).

    The output of every stage that is pooled afterwards goes through a convolution whose kernel and
    stride are the pooling still to come, up to the final width; the output of the last layer read
    is added as it is. Where that layer is not of the final width or resolution, because the
    decoder reads an earlier stage, it gets such a convolution too.

    Args:
        backbone: The encoder.
        after: The last layer (1-based) that is read.
    """

    def __init__(self, backbone: Hiera, after: int) -> None:
        super().__init__()
        stage = min(backbone.stage_of(after), backbone.q_pool)
        ends = [sum(backbone.stages[: s + 1]) for s in range(stage)]
        self.layers = (*ends, after)
        width, side = backbone.embed_dims, backbone.unit_side_of(backbone.num_layers)
        self.heads = nn.ModuleList()
        for layer in self.layers:
            kernel = backbone.unit_side_of(layer) // side
            own = backbone.width_of(layer)
            plain = kernel == 1 and own == width
            self.heads.append(nn.Identity() if plain else nn.Conv2d(own, width, kernel, kernel))

    def forward(self, hidden: Mapping[int, Tensor], units: int) -> Tensor:
        """Join.

        Args:
            hidden: Outputs by layer [B, K*T, C], with T and C of the layer, unit by unit.
            units: K.

        Returns:
            [B, K*T, C] with the last stage's T and C.
        """
        total: Tensor | float = 0.0
        for layer, head in zip(self.layers, self.heads, strict=True):
            x = hidden[layer]
            if isinstance(head, nn.Conv2d):
                batch = len(x)
                # [B, K*T, C] -> [B*K, 1, T, C] -> one map a unit [B*K, C, side, side]
                x = x.reshape(batch * units, 1, -1, x.shape[-1])
                x = head(from_units(x, (1, 1)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
                # [B*K, side, side, C] -> [B*K, 1, T, C] -> [B, K*T, C]
                x = to_units(x, x.shape[1]).reshape(batch, -1, x.shape[-1])
            total = total + x
        assert isinstance(total, Tensor)
        return total


@MODELS.register_module()
class HieraMAEDecoder(BaseModule):
    """Predict the pixels of hidden mask units from visible tokens.

    Attention does not care about the order of its tokens, so each token carries the (learnt)
    position of its place and predictions come in the order of ``ids_mask``.

    Args:
        in_channels: Width of the encoder.
        grid_size: (rows, columns) of predicted patches.
        unit_side: Side of a mask unit in predicted patches.
        patch_size: Side of a predicted patch in pixels.
        embed_dim: Width of the decoder (Meta's models: 512).
        depth: Number of blocks (8).
        num_heads: Number of heads (16).
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        grid_size: tuple[int, int],
        unit_side: int,
        patch_size: int = 16,
        embed_dim: int = 96,
        depth: int = 1,
        num_heads: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.grid_size, self.unit_side = grid_size, unit_side
        self.embed = nn.Linear(in_channels, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid_size[0] * grid_size[1], embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.pred = nn.Linear(embed_dim, patch_size**2 * 3)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        trunc_normal_(self.mask_token)
        trunc_normal_(self.pos_embed)

    def forward(self, latent: Tensor, masking: Masking) -> Tensor:
        """Predict the hidden units.

        Args:
            latent: Visible tokens [B, K*T, C], unit by unit.
            masking: Which of the U units those are.

        Returns:
            Pixels [B, (U-K)*T, 3*patch²] in the order of ``masking.ids_mask``, unit by unit.
        """
        x = self.embed(latent)
        hidden = masking.ids_mask.shape[1] * self.unit_side**2
        x = torch.cat([x, self.mask_token.to(x.dtype).expand(len(x), hidden, -1)], dim=1)
        # [1, rows*columns, D] -> [U, T, D] -> in the order of x [B, U*T, D]
        position = to_units(self.pos_embed.reshape(1, *self.grid_size, -1), self.unit_side)[0]
        order = torch.cat([masking.ids_keep, masking.ids_mask], dim=1)
        x = x + position[order].flatten(1, 2).to(x.dtype)
        for block in self.blocks:
            x, _ = block(x)
        return self.pred(self.norm(x[:, -hidden:]))
