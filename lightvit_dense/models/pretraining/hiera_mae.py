"""Masked autoencoder pre-training of Hiera, with attention distillation as an option."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones import Encoding, Hiera
from ..backbones.hiera_tokens import from_units, to_units
from ..layers import trunc_normal_
from .mae import MAEDecoder
from .masked import MaskedAutoencoder
from .masking import Masking


@MODELS.register_module()
class HieraMAE(MaskedAutoencoder):
    """Hiera's masked autoencoder (Ryali et al. 2023, section 4).

    Whole mask units (32 px) are hidden. The decoder reads the sum of all scales, through the
    encoder's final norm, and predicts patches of ``4 * 2^q_pool`` px; with the usual ``q_pool=2``
    of the encoder these are 16 px. So the norm that the backbone takes along is trained on the sum.

    A ``distiller`` makes the student's attention logits follow a frozen Hiera's on the same visible
    units. With ``reconstruct_after`` and the distiller's ``extra_layer`` the two are decoupled, as
    in D²-MAE (arXiv 2404.12210): scales are summed up to that layer, which is brought to the final
    width by a convolution, and the layers behind it learn from the teacher alone. Raises ValueError
    if encoder, image size, mask ratio and ``reconstruct_after`` do not fit each other.

    Args:
        backbone: Config of a :class:`Hiera`; for what is not named here see :class:`Pretrainer`.
        decoder: Config of the decoder without sizes that follow from the encoder.
        mask_ratio: Ratio of units hidden (the papers' tiny: 0.4; Meta: 0.6).
        norm_pix_loss: Whether targets are normalised patch by patch.
        reconstruct_after: Last layer (1-based) that the decoder reads; ``None`` for all.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        mask_ratio: float = 0.4,
        norm_pix_loss: bool = True,
        reconstruct_after: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, **kwargs)
        hiera = self.backbone
        if not isinstance(hiera, Hiera):
            raise ValueError(
                f'HieraMAE needs a Hiera, got {type(hiera).__name__}; other encoders have '
                'lightvit_dense.MAE'
            )
        size = (hiera.grid_size[0] * hiera.patch_size, hiera.grid_size[1] * hiera.patch_size)
        if size[0] % hiera.unit_size or size[1] % hiera.unit_size:
            raise ValueError(
                f'img_size={size} is not a whole number of {hiera.unit_size} px mask units'
            )
        self.unit_side = hiera.unit_side_of(hiera.num_layers)
        self.pred_stride = hiera.unit_size // self.unit_side
        self.mask_ratio, self.norm_pix_loss = mask_ratio, norm_pix_loss
        masking = self._draw(1, None, None)
        if not masking.ids_mask.shape[1]:
            raise ValueError(
                f'mask_ratio={mask_ratio} hides none of {masking.ids_keep.shape[1]} mask units'
            )
        after = self.check_reconstruct_after(reconstruct_after)
        self.reconstruct_after = hiera.num_layers if after is None else after
        self.fusion = MultiScaleFusion(hiera, self.reconstruct_after)
        sizes = dict(
            type='lightvit_dense.HieraMAEDecoder',
            in_channels=hiera.embed_dims,
            grid_size=(size[0] // self.pred_stride, size[1] // self.pred_stride),
            unit_side=self.unit_side,
            patch_size=self.pred_stride,
        )
        self.decoder = MODELS.build(sizes | (decoder or {}))

    def taps(self) -> tuple[int, ...]:
        """Return the layers whose outputs are summed."""
        return self.fusion.layers

    def decode(self, encoding: Encoding, masking: Masking) -> Tensor:
        """Predict the hidden units [B, M*T, 3*patch²]."""
        fused = self.fusion(encoding.hidden, masking.ids_keep.shape[1])
        return self.decoder(self.backbone.norm(fused), masking)

    def to_units(self, image: Tensor) -> Tensor:
        """Cut [B, 3, H, W] into patches by units [B, U, T, 3*patch²], channels first (Meta's)."""
        maps = F.pixel_unshuffle(image, self.pred_stride)  # [B, 3*p*p, rows, columns]
        return to_units(maps.permute(0, 2, 3, 1), self.unit_side)

    def from_units(self, units: Tensor) -> Tensor:
        """Undo :meth:`to_units`."""
        maps = from_units(units, self.backbone.mask_grid).permute(0, 3, 1, 2)
        return F.pixel_shuffle(maps, self.pred_stride)


class MultiScaleFusion(nn.Module):
    """Sum the scales of a Hiera at its coarsest (Hiera paper, section 4).

    The output of every stage that is pooled afterwards goes through a convolution whose kernel and
    stride are the pooling still to come, up to the final width; the output of layer ``after``
    (1-based), the last that is read, is added as it is. Where that is not of the final width or
    resolution, because the decoder reads an earlier stage, it gets such a convolution too.
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
        """Join outputs by layer [B, K*T, C] of K units; T and C become the last stage's."""
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
class HieraMAEDecoder(MAEDecoder):
    """Predict the pixels of hidden mask units from visible tokens; positions are learnt.

    Args:
        in_channels: Width of the encoder.
        grid_size: (rows, columns) of predicted patches.
        unit_side: Side of a mask unit in predicted patches.
        **options: See :class:`MAEDecoder`; Meta's have ``embed_dim`` 512, ``depth`` 8 and 16 heads.
    """

    def __init__(
        self, in_channels: int, grid_size: tuple[int, int], unit_side: int, **options: Any
    ) -> None:
        super().__init__(in_channels, grid_size, **options)
        self.grid_size, self.unit_side = grid_size, unit_side

    def _set_position(self, embed_dim: int, grid_size: tuple[int, int]) -> None:
        self.pos_embed = nn.Parameter(torch.zeros(1, grid_size[0] * grid_size[1], embed_dim))

    def _init_tokens(self) -> None:
        trunc_normal_(self.mask_token)
        trunc_normal_(self.pos_embed)

    def forward(self, latent: Tensor, masking: Masking) -> Tensor:
        """Predict the hidden units [B, (U-K)*T, 3*patch²] from visible tokens [B, K*T, C].

        Tokens stand unit by unit, predictions in the order of ``masking.ids_mask``.
        """
        x = self.embed(latent)
        hidden = masking.ids_mask.shape[1] * self.unit_side**2
        # [1, rows*columns, D] -> [U, T, D] -> in the order of x [B, U*T, D]
        position = to_units(self.pos_embed.reshape(1, *self.grid_size, -1), self.unit_side)[0]
        order = torch.cat([masking.ids_keep, masking.ids_mask], dim=1)
        x = self._with_mask_tokens(x, hidden) + position[order].flatten(1, 2)
        return self._predict(x, hidden)
