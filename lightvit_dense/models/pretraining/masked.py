"""What methods that hide parts of an image and predict their pixels share."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones import Encoding
from .base import Pretrainer
from .masking import Masking, random_masking
from .precision import at_least_fp32


class MaskedImageModel(Pretrainer):
    """Base of MAE, Hiera's MAE and SimMIM; their positions are made for one image size."""

    def check_size(self, inputs: Tensor) -> None:
        """Raise a ValueError if images [B, 3, H, W] are not of the size the model is built for."""
        size = tuple(side * self.backbone.patch_size for side in self.backbone.grid_size)
        if tuple(inputs.shape[-2:]) != size:
            raise ValueError(
                f'images are {tuple(inputs.shape[-2:])}, the model is built for {size}'
            )

    def check_reconstruct_after(self, layer: int | None) -> int | None:
        """Return the layer a decoder reads (1-based), if what is behind is trained; or None."""
        depth = self.backbone.num_layers
        if layer is None or layer == depth:
            return None
        if not 1 <= layer <= depth:
            raise ValueError(f'reconstruct_after={layer} is no layer; the backbone has 1..{depth}')
        if self.distiller is None or not self.distiller.trains_last_block:
            raise ValueError(
                f'reconstruct_after={layer} leaves the blocks behind it without a loss; give a '
                'distiller with extra_layer=True (or hidden_pairs that name the last layer)'
            )
        return layer

    def to_pixels(self, image: Tensor) -> Tensor:
        """Undo the data preprocessor's normalisation: values of 0..255 for looking at."""
        mean = getattr(self.data_preprocessor, 'mean', None)
        if mean is not None:
            image = image * self.data_preprocessor.std + mean
        return image.clamp(0, 255)


class MaskedAutoencoder(MaskedImageModel):
    """Base of autoencoders; a subclass says what its decoder reads and how an image is cut."""

    mask_ratio: float
    norm_pix_loss: bool

    def taps(self) -> tuple[int, ...]:
        """Return the layers whose outputs the decoder reads."""
        raise NotImplementedError

    def decode(self, encoding: Encoding, masking: Masking) -> Tensor:
        """Predict the hidden units in the order of ``masking.ids_mask``."""
        raise NotImplementedError

    def to_units(self, image: Tensor) -> Tensor:
        """Cut images [B, 3, H, W] into units [B, U, ..., pixels of a patch]."""
        raise NotImplementedError

    def from_units(self, units: Tensor) -> Tensor:
        """Undo :meth:`to_units`."""
        raise NotImplementedError

    def _draw(self, batch: int, noise: Tensor | None, device: torch.device | None) -> Masking:
        rows, columns = self.backbone.mask_grid
        return random_masking(batch, rows * columns, self.mask_ratio, noise, device)

    def _mask(self, inputs: Tensor, noise: Tensor | None) -> Masking:
        self.check_size(inputs)
        return self._draw(len(inputs), noise, inputs.device)

    def loss(
        self, inputs: Tensor, data_samples: Any = None, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses by name, in fp32; ``noise`` [B, U] ranks the units of a masking."""
        masking = self._mask(inputs, noise)
        encoding = self.encode(inputs, masking.ids_keep, self.taps())
        pred = self.decode(encoding, masking)
        losses = {'loss_reconstruction': self.reconstruction_loss(inputs, pred, masking)}
        return losses | self.distill(inputs, encoding, masking.ids_keep)

    def reconstruction_loss(self, inputs: Tensor, pred: Tensor, masking: Masking) -> Tensor:
        """Return the mean squared error of :meth:`decode` over hidden units, fp32."""
        with torch.autocast(inputs.device.type, enabled=False):
            units = self.to_units(at_least_fp32(inputs))
            target = units.gather(1, _index(masking.ids_mask, units))
            if self.norm_pix_loss:
                mean, std = patch_statistics(target)
                target = (target - mean) / std
            return F.mse_loss(at_least_fp32(pred).reshape(target.shape), target)

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``original``, ``masked`` (grey) and ``reconstruction`` [B, 3, H, W] of 0..255."""
        masking = self._mask(inputs, noise)
        encoding = self.backbone.encode(inputs, masking.ids_keep, hidden_of=self.taps())
        units = self.to_units(inputs.float())
        index = _index(masking.ids_mask, units)
        pred = self.decode(encoding, masking).float().reshape(index.shape)
        if self.norm_pix_loss:
            # The model predicts a patch up to its own mean and contrast, which are taken from the
            # image.
            mean, std = patch_statistics(units.gather(1, index))
            pred = pred * std + mean
        pictures = {
            'original': units,
            'masked': units.scatter(1, index, 0.0),
            'reconstruction': units.scatter(1, index, pred),
        }
        return {name: self.to_pixels(self.from_units(x)) for name, x in pictures.items()}

    def agreement_view(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the images and one masking of them."""
        return inputs, self._mask(inputs, None).ids_keep


def _index(ids: Tensor, units: Tensor) -> Tensor:
    """Return the index that gathers units [B, M] along dimension 1."""
    return ids.reshape(*ids.shape, *[1] * (units.ndim - 2)).expand(-1, -1, *units.shape[2:])


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each patch [..., 1]; variance unbiased, +1e-6 (MAE)."""
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
