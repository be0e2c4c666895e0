"""SimMIM: masked patches are replaced, not left out, and their pixels predicted by one layer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones import Encoding, VisionTransformer
from ..layers import trunc_normal_
from .masked import MaskedImageModel
from .masking import unit_masking
from .precision import at_least_fp32


class MaskedSquares(MaskedImageModel):
    """What SimMIM is on any encoder: masked squares, and the L1 loss of their pixels.

    Args:
        backbone: See :class:`Pretrainer`, as for all that is not named here.
        mask_unit: Side of a masked square in pixels.
        mask_ratio: Ratio of squares masked; their number is rounded up.
    """

    encoder: type

    def __init__(
        self, backbone: dict[str, Any], mask_unit: int = 32, mask_ratio: float = 0.6, **kwargs: Any
    ) -> None:
        super().__init__(backbone, **kwargs)
        encoder: Any = self.backbone
        if not isinstance(encoder, self.encoder):
            raise ValueError(
                f'{type(self).__name__} needs a {self.encoder.__name__}, got '
                f'{type(encoder).__name__}: others cannot replace patches by a mask token, '
                'or have a pre-trainer of their own'
            )
        patch = self.backbone.patch_size
        if mask_unit % patch:
            raise ValueError(f'mask_unit={mask_unit} px is not a multiple of patch {patch} px')
        self.unit = mask_unit // patch
        self.mask_ratio = mask_ratio
        unit_masking(1, self.backbone.grid_size, self.unit, mask_ratio)  # what does not fit fails

    def _hide(self, ids_mask: Tensor) -> dict[str, Any]:
        """Return what the backbone's ``encode`` needs to hide the patches [B, M]."""
        raise NotImplementedError

    def _predict(self, encoding: Encoding) -> Tensor:
        """Return the predicted image [B, 3, H, W]."""
        raise NotImplementedError

    def _mask(self, inputs: Tensor, noise: Tensor | None) -> Tensor:
        """Return the masked patches [B, M]."""
        self.check_size(inputs)
        grid = self.backbone.grid_size
        return unit_masking(len(inputs), grid, self.unit, self.mask_ratio, noise, inputs.device)

    def loss(
        self, inputs: Tensor, data_samples: Any = None, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses; see :meth:`MaskedAutoencoder.loss`."""
        ids_mask = self._mask(inputs, noise)
        hidden = self._hide(ids_mask)
        encoding = self.encode(inputs, **hidden)
        pred = self._predict(encoding)
        losses = {'loss_reconstruction': masked_l1(inputs, pred, self._pixel_mask(ids_mask))}
        return losses | self.distill(inputs, encoding, hidden.get('ids_keep'))

    def _pixel_mask(self, ids_mask: Tensor) -> Tensor:
        """Return 1 where the image is masked [B, 1, H, W]."""
        rows, columns = self.backbone.grid_size
        mask = torch.zeros(len(ids_mask), rows * columns, device=ids_mask.device)
        mask = mask.scatter(1, ids_mask, 1.0).reshape(-1, 1, rows, columns)
        return F.interpolate(mask, scale_factor=self.backbone.patch_size, mode='nearest')

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruct masked patches; see :meth:`MaskedAutoencoder.reconstruct`."""
        ids_mask = self._mask(inputs, noise)
        encoding = self.backbone.encode(inputs, **self._hide(ids_mask))
        mask, pred = self._pixel_mask(ids_mask).bool(), self._predict(encoding).float()
        pictures = {
            'original': inputs,
            'masked': inputs.masked_fill(mask, 0.0),
            'reconstruction': torch.where(mask, pred, inputs),
        }
        return {name: self.to_pixels(picture) for name, picture in pictures.items()}


@MODELS.register_module()
class SimMIM(MaskedSquares):
    """SimMIM (Xie et al. 2022) on a :class:`VisionTransformer`; see :class:`MaskedSquares`.

    A learnt token takes the place of the embeddings of masked patches before positions are added; a
    1x1 convolution and a pixel shuffle turn the last tokens into pixels, compared with those of the
    normalised image by L1 where the image is masked.

    The official ViT has relative positions only. Here positions are whatever the backbone's are:
    the configs have fixed sine-cosine ones, as the paper's other methods. With a ``distiller`` the
    teacher sees the whole image, as it need not know a mask token.
    """

    encoder = VisionTransformer

    def __init__(self, backbone: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(backbone, *args, **kwargs)
        width, patch = self.backbone.embed_dims, self.backbone.patch_size
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.head = nn.Conv2d(width, 3 * patch**2, kernel_size=1)
        trunc_normal_(self.mask_token, cut=1)

    def _hide(self, ids_mask: Tensor) -> dict[str, Any]:
        return dict(mask_token=self.mask_token, ids_mask=ids_mask)

    def _predict(self, encoding: Encoding) -> Tensor:
        tokens = encoding.tokens[:, self.backbone.num_prefix_tokens :]
        # [B, N, C] -> [B, C, rows, columns] -> [B, 3*p*p, rows, columns] -> [B, 3, H, W]
        maps = tokens.transpose(1, 2).unflatten(2, self.backbone.grid_size)
        return F.pixel_shuffle(self.head(maps), self.backbone.patch_size)


def masked_l1(image: Tensor, pred: Tensor, mask: Tensor) -> Tensor:
    """Return the mean absolute error where images [B, C, H, W] are masked, in fp32 (SimMIM §3.5).

    The sum over values where ``mask`` [B, 1, H, W] is 1 is divided by (their number in one channel
    + 1e-5) and by the number of channels, as the official code has it.
    """
    with torch.autocast(image.device.type, enabled=False):
        error = (at_least_fp32(pred) - at_least_fp32(image)).abs() * mask
        return error.sum() / (mask.sum() + 1e-5) / image.shape[1]
