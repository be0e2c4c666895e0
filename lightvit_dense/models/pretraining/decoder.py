"""The light decoder of MAE."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import Block, sincos_position
from .masking import Masking


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """Predict pixels of masked patches from visible tokens (MAE §3).

    Attention does not care about the order of its tokens, so visible tokens and mask tokens are not
    shuffled back
    into place: each carries the position of its patch, and predictions come in the order of
    ``ids_mask``.

    Args:
        in_channels: Width of the encoder.
        grid_size: (rows, columns) of patches.
        patch_size: Side of a patch in pixels.
        embed_dim: Width of the decoder.
        depth: Number of blocks.
        num_heads: Number of heads.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        grid_size: tuple[int, int],
        patch_size: int = 16,
        embed_dim: int = 96,
        depth: int = 1,
        num_heads: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed = nn.Linear(in_channels, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        table = sincos_position(embed_dim, grid_size, num_prefix_tokens=1)
        self.pos_embed = nn.Parameter(table, requires_grad=False)
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.pred = nn.Linear(embed_dim, patch_size**2 * 3)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent: Tensor, masking: Masking) -> Tensor:
        """Predict the masked patches.

        Args:
            latent: Encoder output [B, 1+K, C], class token first.
            masking: Which patches those are.

        Returns:
            Pixels [B, N-K, patch²*3] in the order of ``masking.ids_mask``, channels last within a
            patch.
        """
        x = self.embed(latent)
        batch = len(x)
        hidden = masking.ids_mask.shape[1]
        mask_tokens = self.mask_token.to(x.dtype).expand(batch, hidden, -1)
        order = torch.cat([masking.ids_keep, masking.ids_mask], dim=1)  # [B, N]
        position = self.pos_embed[0, 1:][order].to(x.dtype)  # [B, N, width]
        cls = x[:, :1] + self.pos_embed[:, :1].to(x.dtype)
        x = torch.cat([cls, torch.cat([x[:, 1:], mask_tokens], dim=1) + position], dim=1)
        for block in self.blocks:
            x, _ = block(x)
        return self.pred(self.norm(x[:, -hidden:]))
