"""Masked autoencoder pre-training, with attention distillation as an option."""

from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones import Encoding
from ..layers import Block, sincos_position
from .masked import MaskedAutoencoder
from .masking import Masking


@MODELS.register_module()
class MAE(MaskedAutoencoder):
    """Masked autoencoder (He et al. 2022) on any :class:`VisionTransformer`.

    With a ``distiller`` it is D-MAE (ICML paper, §5): the same visible patches go through a frozen
    teacher and the student's attention logits follow the teacher's. With ``reconstruct_after`` and
    the distiller's ``extra_layer`` it is D²-MAE (arXiv 2404.12210): the decoder reads an earlier
    block, so that the later blocks learn from the teacher alone. Raises ValueError if the encoder
    has no class token, no patch is left, or nothing trains the last blocks.

    Args:
        backbone: See :class:`Pretrainer`; fixed positions and a class token, as published.
        decoder: Config of the decoder without ``type`` and sizes that follow from the encoder.
        mask_ratio: Ratio of patches hidden.
        norm_pix_loss: Whether targets are normalised patch by patch.
        reconstruct_after: Layer (1-based) whose output the decoder gets, through the encoder's
            final norm; ``None`` for the last.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = True,
        reconstruct_after: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, **kwargs)
        if self.backbone.num_prefix_tokens != 1:
            raise ValueError('MAE needs a backbone with cls_token=True')
        sizes = dict(
            type='lightvit_dense.MAEDecoder',
            in_channels=self.backbone.embed_dims,
            grid_size=self.backbone.grid_size,
            patch_size=self.backbone.patch_size,
        )
        self.decoder = MODELS.build(sizes | (decoder or {}))
        self.mask_ratio, self.norm_pix_loss = mask_ratio, norm_pix_loss
        self.reconstruct_after = self.check_reconstruct_after(reconstruct_after)
        self._draw(1, None, None)  # a ratio that keeps nothing fails here

    def taps(self) -> tuple[int, ...]:
        """Return the layers whose outputs the decoder reads, none for the last one's."""
        return () if self.reconstruct_after is None else (self.reconstruct_after,)

    def decode(self, encoding: Encoding, masking: Masking) -> Tensor:
        """Predict the hidden patches [B, M, patch²*3]."""
        if self.reconstruct_after is None:
            return self.decoder(encoding.tokens, masking)
        return self.decoder(self.backbone.norm(encoding.hidden[self.reconstruct_after]), masking)

    def to_units(self, image: Tensor) -> Tensor:
        """Cut images [B, 3, H, W] into patches [B, N, patch²*3]."""
        return patchify(image, self.backbone.patch_size)

    def from_units(self, units: Tensor) -> Tensor:
        """Undo :meth:`to_units`."""
        return unpatchify(units, self.backbone.patch_size, self.backbone.grid_size)


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """Predict pixels of masked patches from visible tokens (MAE §3).

    Attention does not care about the order of its tokens, so visible tokens and mask tokens are not
    shuffled back into place: each carries the position of its patch, and predictions come in the
    order of ``ids_mask``.

    Args:
        in_channels: Width of the encoder.
        grid_size: (rows, columns) of patches of ``patch_size`` pixels.
        embed_dim: Width of the decoder, of ``depth`` blocks with ``num_heads`` heads.
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
        self._set_position(embed_dim, grid_size)
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.pred = nn.Linear(embed_dim, patch_size**2 * 3)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self._init_tokens()

    def _set_position(self, embed_dim: int, grid_size: tuple[int, int]) -> None:
        table = sincos_position(embed_dim, grid_size, num_prefix_tokens=1)
        self.pos_embed = nn.Parameter(table, requires_grad=False)

    def _init_tokens(self) -> None:
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent: Tensor, masking: Masking) -> Tensor:
        """Predict patches [B, M, patch²*3] by ``ids_mask`` from encoded tokens [B, 1+K, C]."""
        x = self.embed(latent)
        hidden = masking.ids_mask.shape[1]
        order = torch.cat([masking.ids_keep, masking.ids_mask], dim=1)  # [B, N]
        position = self.pos_embed[0, 1:][order]  # [B, N, width]
        cls = x[:, :1] + self.pos_embed[:, :1]
        x = torch.cat([cls, self._with_mask_tokens(x[:, 1:], hidden) + position], dim=1)
        return self._predict(x, hidden)

    def _with_mask_tokens(self, x: Tensor, count: int) -> Tensor:
        mask_tokens = self.mask_token.expand(x.shape[0], count, -1)
        return torch.cat([x, mask_tokens], dim=1)

    def _predict(self, x: Tensor, hidden: int) -> Tensor:
        """Run the blocks and predict pixels of the last ``hidden`` tokens."""
        for block in self.blocks:
            x, _ = block(x)
        return self.pred(self.norm(x[:, -hidden:]))


def patchify(image: Tensor, patch: int) -> Tensor:
    """Cut images [B, C, H, W] into patches [B, rows*columns, patch²*C], channels last."""
    batch, channels, height, width = image.shape
    # [B, C, h*p, w*p] -> [B, C, h, p, w, p] -> [B, h, w, p, p, C] -> [B, N, p*p*C]
    x = image.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """Undo :func:`patchify`: [B, rows*columns, patch²*C] -> [B, C, H, W]."""
    batch, rows, columns = len(patches), *grid
    x = patches.reshape(batch, rows, columns, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(batch, -1, rows * patch, columns * patch)
