"""What methods that hide parts of an image and predict their pixels share."""

from torch import Tensor

from .base import Pretrainer


class MaskedImageModel(Pretrainer):
    """Base of MAE, Hiera's MAE and SimMIM; their positions are made for one image size."""

    def check_size(self, inputs: Tensor) -> None:
        """Raise if images [B, 3, H, W] are not of the size that the model is built for.

        Raises:
            ValueError: Names both sizes.
        """
        size = tuple(side * self.backbone.patch_size for side in self.backbone.grid_size)
        if tuple(inputs.shape[-2:]) != size:
            raise ValueError(
                f'images are {tuple(inputs.shape[-2:])}, the model is built for {size}'
            )

    def to_pixels(self, image: Tensor) -> Tensor:
        """Undo the data preprocessor's normalisation: values of 0..255 for looking at."""
        mean = getattr(self.data_preprocessor, 'mean', None)
        if mean is not None:
            image = image * self.data_preprocessor.std + mean
        return image.clamp(0, 255)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each patch [..., 1]; variance unbiased, +1e-6 (MAE)."""
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
