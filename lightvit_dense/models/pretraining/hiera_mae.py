"""Masked autoencoder pre-training of Hiera, with attention distillation as an option."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import MODELS
from ..backbones import Encoding, Hiera
from ..backbones.hiera_tokens import from_units, to_units
from .hiera_decoder import MultiScaleFusion
from .mae import check_reconstruct_after
from .masked import MaskedImageModel, patch_statistics
from .masking import Masking, random_masking
from .precision import at_least_fp32


@MODELS.register_module()
class HieraMAE(MaskedImageModel):
    """Hiera's masked autoencoder (Ryali et al. 2023, section 4).

    Whole mask units (32 px) are hidden. The decoder reads the sum of all scales, through the
    encoder's final norm, and predicts patches of ``4 * 2^q_pool`` px; with the usual ``q_pool=2``
    of the encoder these are 16 px. So the norm that the backbone takes along is trained on the sum.

    A ``distiller`` makes the student's attention logits follow a frozen Hiera's on the same visible
    units. With ``reconstruct_after`` and the distiller's ``extra_layer`` the two are decoupled, as
    in D²-MAE (arXiv 2404.12210): scales are summed up to that layer, which is brought to the
    final width by a convolution, and the layers behind it learn from the teacher alone.

    Args:
        backbone: Config of a :class:`Hiera`.
        decoder: Config of the decoder without sizes that follow from the encoder.
        mask_ratio: Share of units hidden (the papers' tiny: 0.4; Meta: 0.6).
        norm_pix_loss: Whether targets are normalised patch by patch.
        reconstruct_after: Layer (1-based) whose output is the last that the decoder reads; ``None``
            for the last.
        distiller: Config of an attention distiller, or ``None``.
        data_preprocessor: Config of the normaliser of images.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: If the encoder is no Hiera, its image size is no whole number of units, the mask
            ratio hides or leaves nothing, or ``reconstruct_after`` leaves blocks that nothing
            trains.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        mask_ratio: float = 0.4,
        norm_pix_loss: bool = True,
        reconstruct_after: int | None = None,
        distiller: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, distiller, data_preprocessor, init_cfg)
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
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        masking = self._random(1, None, None)
        if not masking.ids_mask.shape[1]:
            raise ValueError(
                f'mask_ratio={mask_ratio} hides none of {masking.ids_keep.shape[1]} mask units'
            )
        after = check_reconstruct_after(self, reconstruct_after)
        self.reconstruct_after = hiera.num_layers if after is None else after
        self.fusion = MultiScaleFusion(hiera, self.reconstruct_after)
        self.decoder = MODELS.build(
            dict(
                type='lightvit_dense.HieraMAEDecoder',
                in_channels=hiera.embed_dims,
                grid_size=(size[0] // self.pred_stride, size[1] // self.pred_stride),
                unit_side=self.unit_side,
                patch_size=self.pred_stride,
            )
            | (decoder or {})
        )

    def _random(self, batch: int, noise: Tensor | None, device: torch.device | None) -> Masking:
        rows, columns = self.backbone.mask_grid
        return random_masking(batch, rows * columns, self.mask_ratio, noise, device)

    def _mask(self, inputs: Tensor, noise: Tensor | None) -> Masking:
        self.check_size(inputs)
        return self._random(len(inputs), noise, inputs.device)

    def loss(
        self, inputs: Tensor, data_samples: Any = None, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses, in fp32 whatever AMP does.

        Args:
            inputs: Normalised images [B, 3, H, W].
            data_samples: Unused.
            noise: Values [B, U] that rank the mask units, to repeat a masking.

        Returns:
            ``loss_reconstruction`` and, with a distiller, ``loss_distill``.
        """
        masking = self._mask(inputs, noise)
        encoding = self.encode(inputs, masking.ids_keep, self.fusion.layers)
        pred = self._decode(encoding, masking)
        losses = {'loss_reconstruction': self.reconstruction_loss(inputs, pred, masking)}
        return losses | self.distill(inputs, encoding, masking.ids_keep)

    def _decode(self, encoding: Encoding, masking: Masking) -> Tensor:
        fused = self.fusion(encoding.hidden, masking.ids_keep.shape[1])
        return self.decoder(self.backbone.norm(fused), masking)

    def _patches(self, image: Tensor) -> Tensor:
        """Cut [B, 3, H, W] into patches by units [B, U, T, 3*patch²], channels first (Meta's)."""
        maps = F.pixel_unshuffle(image, self.pred_stride)  # [B, 3*p*p, rows, columns]
        return to_units(maps.permute(0, 2, 3, 1), self.unit_side)

    def _image(self, patches: Tensor) -> Tensor:
        """Undo :meth:`_patches`."""
        maps = from_units(patches, self.backbone.mask_grid).permute(0, 3, 1, 2)
        return F.pixel_shuffle(maps, self.pred_stride)

    @staticmethod
    def _index(ids: Tensor, patches: Tensor) -> Tensor:
        return ids[..., None, None].expand(-1, -1, *patches.shape[2:])

    def reconstruction_loss(self, inputs: Tensor, pred: Tensor, masking: Masking) -> Tensor:
        """Mean squared error over hidden units.

        Args:
            inputs: Normalised images [B, 3, H, W].
            pred: Predicted patches [B, (U-K)*T, 3*patch²].
            masking: Which units those are.

        Returns:
            A scalar, fp32.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            patches = self._patches(at_least_fp32(inputs))
            target = patches.gather(1, self._index(masking.ids_mask, patches)).flatten(1, 2)
            if self.norm_pix_loss:
                mean, std = patch_statistics(target)
                target = (target - mean) / std
            return F.mse_loss(at_least_fp32(pred), target)

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruct hidden units for looking at.

        Args:
            inputs: Normalised images [B, 3, H, W].
            noise: Values [B, U] that rank the mask units, to repeat a masking.

        Returns:
            ``original``, ``masked`` (hidden units grey) and ``reconstruction`` (visible units as
            they are), each [B, 3, H, W] with values of 0..255.
        """
        masking = self._mask(inputs, noise)
        encoding = self.backbone.encode(inputs, masking.ids_keep, hidden_of=self.fusion.layers)
        pred = self._decode(encoding, masking).float()
        patches = self._patches(inputs.float())
        index = self._index(masking.ids_mask, patches)
        pred = pred.reshape(index.shape)
        if self.norm_pix_loss:
            # The model predicts a patch up to its own mean and contrast, which are taken from the
            # image.
            mean, std = patch_statistics(patches.gather(1, index))
            pred = pred * std + mean
        pictures = {
            'original': patches,
            'masked': patches.scatter(1, index, 0.0),
            'reconstruction': patches.scatter(1, index, pred),
        }
        return {name: self.to_pixels(self._image(x)) for name, x in pictures.items()}

    def agreement_view(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the images and one masking of them."""
        return inputs, self._mask(inputs, None).ids_keep
