"""Masked autoencoder pre-training, with attention distillation as an option."""

from typing import Any

import torch
from torch import Tensor

from ...registry import MODELS
from ..backbones import Encoding
from .base import Pretrainer
from .masked import MaskedImageModel, patch_statistics
from .masking import Masking, random_masking
from .precision import at_least_fp32


def patchify(image: Tensor, patch: int) -> Tensor:
    """Cut images into patches.

    Args:
        image: [B, C, H, W], sides multiples of ``patch``.
        patch: Side of a patch in pixels.

    Returns:
        [B, rows*columns, patch²*C], channels last within a patch, as MAE's predictions are laid
        out.
    """
    batch, channels, height, width = image.shape
    # [B, C, h*p, w*p] -> [B, C, h, p, w, p] -> [B, h, w, p, p, C] -> [B, N, p*p*C]
    x = image.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """Undo :func:`patchify`: [B, rows*columns, patch²*C] -> [B, C, H, W]."""
    batch, rows, columns = len(patches), *grid
    x = patches.reshape(batch, rows, columns, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(batch, -1, rows * patch, columns * patch)


def check_reconstruct_after(model: Pretrainer, layer: int | None) -> int | None:
    """Check the layer that a decoder reads.

    Args:
        model: The pre-trainer.
        layer: Layer (1-based), ``None`` for the last.

    Returns:
        The layer; ``None`` where it is the last.

    Raises:
        ValueError: If there is no such layer, or no distiller trains the blocks behind it.
    """
    depth = model.backbone.num_layers
    if layer is None or layer == depth:
        return None
    if not 1 <= layer <= depth:
        raise ValueError(f'reconstruct_after={layer} is no layer; the backbone has 1..{depth}')
    if model.distiller is None or not model.distiller.trains_last_block:
        raise ValueError(
            f'reconstruct_after={layer} leaves the blocks behind it without a loss; give a '
            'distiller with extra_layer=True (or hidden_pairs that name the last layer)'
        )
    return layer


@MODELS.register_module()
class MAE(MaskedImageModel):
    """Masked autoencoder (He et al. 2022) on any :class:`VisionTransformer`.

    With a ``distiller`` it is D-MAE (ICML paper, §5): the same visible patches go through a frozen
    teacher and the student's attention logits follow the teacher's. With ``reconstruct_after`` and
    the distiller's ``extra_layer`` it is D²-MAE (arXiv 2404.12210): the decoder reads an earlier
    block, so that the later blocks learn from the teacher alone.

    Args:
        backbone: Config of the encoder; fixed positions and a class token, as published.
        decoder: Config of the decoder without ``type`` and sizes that follow from the encoder.
        mask_ratio: Share of patches hidden.
        norm_pix_loss: Whether targets are normalised patch by patch.
        reconstruct_after: Layer (1-based) whose output the decoder gets, through the encoder's
            final norm; ``None`` for the last.
        distiller: Config of an attention distiller, or ``None``.
        data_preprocessor: Config of the normaliser of images.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: If the encoder has no class token, the mask ratio leaves no patch, or
            ``reconstruct_after`` leaves blocks that nothing trains.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = True,
        reconstruct_after: int | None = None,
        distiller: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, distiller, data_preprocessor, init_cfg)
        if self.backbone.num_prefix_tokens != 1:
            raise ValueError('MAE needs a backbone with cls_token=True')
        self.decoder = MODELS.build(
            dict(
                type='lightvit_dense.MAEDecoder',
                in_channels=self.backbone.embed_dims,
                grid_size=self.backbone.grid_size,
                patch_size=self.backbone.patch_size,
            )
            | (decoder or {})
        )
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        self.reconstruct_after = check_reconstruct_after(self, reconstruct_after)
        rows, columns = self.backbone.grid_size
        random_masking(1, rows * columns, mask_ratio)  # a ratio that keeps nothing fails here

    def _mask(self, inputs: Tensor, noise: Tensor | None) -> Masking:
        self.check_size(inputs)
        rows, columns = self.backbone.grid_size
        return random_masking(len(inputs), rows * columns, self.mask_ratio, noise, inputs.device)

    def loss(
        self, inputs: Tensor, data_samples: Any = None, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses, in fp32 whatever AMP does.

        Args:
            inputs: Normalised images [B, 3, H, W].
            data_samples: Unused.
            noise: Values [B, N] that rank the patches, to repeat a masking.

        Returns:
            ``loss_reconstruction`` and, with a distiller, ``loss_distill``.
        """
        masking = self._mask(inputs, noise)
        encoding = self.encode(inputs, masking.ids_keep, self._tap())
        pred = self.decoder(self._latent(encoding), masking)
        losses = {'loss_reconstruction': self.reconstruction_loss(inputs, pred, masking)}
        return losses | self.distill(inputs, encoding, masking.ids_keep)

    def _tap(self) -> tuple[int, ...]:
        return () if self.reconstruct_after is None else (self.reconstruct_after,)

    def _latent(self, encoding: Encoding) -> Tensor:
        """Return what the decoder reads [B, 1+K, C]."""
        if self.reconstruct_after is None:
            return encoding.tokens
        return self.backbone.norm(encoding.hidden[self.reconstruct_after])

    def reconstruction_loss(self, inputs: Tensor, pred: Tensor, masking: Masking) -> Tensor:
        """Mean squared error over masked patches.

        Args:
            inputs: Normalised images [B, 3, H, W].
            pred: Predicted patches [B, N-K, patch²*3].
            masking: Which patches those are.

        Returns:
            A scalar, fp32.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            target = self._gather(
                patchify(at_least_fp32(inputs), self.backbone.patch_size), masking.ids_mask
            )
            if self.norm_pix_loss:
                mean, std = patch_statistics(target)
                target = (target - mean) / std
            return torch.nn.functional.mse_loss(at_least_fp32(pred), target)

    @staticmethod
    def _gather(patches: Tensor, ids: Tensor) -> Tensor:
        return patches.gather(1, ids[..., None].expand(-1, -1, patches.shape[-1]))

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruct hidden patches for looking at.

        Args:
            inputs: Normalised images [B, 3, H, W].
            noise: Values [B, N] that rank the patches, to repeat a masking.

        Returns:
            ``original``, ``masked`` (hidden patches grey) and ``reconstruction`` (visible patches
            as they are), each [B, 3, H, W] with values of 0..255.
        """
        masking = self._mask(inputs, noise)
        encoding = self.backbone.encode(inputs, masking.ids_keep, hidden_of=self._tap())
        pred = self.decoder(self._latent(encoding), masking).float()
        patches = patchify(inputs.float(), self.backbone.patch_size)
        if self.norm_pix_loss:
            # The model predicts a patch up to its own mean and contrast, which are taken from the
            # image.
            mean, std = patch_statistics(self._gather(patches, masking.ids_mask))
            pred = pred * std + mean
        ids = masking.ids_mask[..., None].expand(-1, -1, patches.shape[-1])
        pictures = {
            'original': patches,
            'masked': patches.scatter(1, ids, 0.0),
            'reconstruction': patches.scatter(1, ids, pred),
        }
        return {
            name: self.to_pixels(unpatchify(x, self.backbone.patch_size, self.backbone.grid_size))
            for name, x in pictures.items()
        }

    def agreement_view(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the images and one masking of them."""
        return inputs, self._mask(inputs, None).ids_keep
