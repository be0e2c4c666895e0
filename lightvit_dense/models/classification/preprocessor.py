"""Batches for classification: normalised, and in training erased and mixed on the device."""

from collections.abc import Sequence
from typing import Any

import torch

from ...registry import MODELS
from ..preprocessors.image import ImagePreprocessor
from .classifier import labels_of


@MODELS.register_module()
class ClassificationPreprocessor(ImagePreprocessor):
    """:class:`ImagePreprocessor`, then random erasing, Mixup and CutMix by timm's implementation.

    Erasing comes after normalisation and before mixing, as in timm. Label smoothing is the head's:
    smoothing a mixture is the same as mixing what was smoothed. Raises ValueError if a parameter is
    out of range.

    Args:
        mean: See :class:`ImagePreprocessor`, as for ``std`` and all that is not named here.
        num_classes: Number of classes.
        mixup: Parameter of Mixup's Beta distribution, 0 for none.
        cutmix: Parameter of CutMix's, 0 for none; where both are on, each has half of the batches.
        erasing: How often a rectangle of an image is replaced by noise, 0 for never.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        num_classes: int,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        erasing: float = 0.0,
        bgr_to_rgb: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(mean, std, bgr_to_rgb, non_blocking)
        if min(mixup, cutmix) < 0:
            raise ValueError(f'mixup and cutmix must not be negative, got {mixup} and {cutmix}')
        if not 0 <= erasing <= 1:
            raise ValueError(f'erasing must lie in [0, 1], got {erasing}')
        self.num_classes = num_classes
        self.erasing = erasing
        self.mix: Any = None
        if mixup or cutmix:
            from timm.data import Mixup  # takes seconds to import

            self.mix = Mixup(mixup, cutmix, label_smoothing=0.0, num_classes=num_classes)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise a batch; in training erase, and mix, which adds ``targets`` [B, classes]."""
        batch = super().forward(data, training)
        if not training:
            return batch
        images = batch['inputs']
        if self.erasing:
            from timm.data.random_erasing import RandomErasing

            RandomErasing(self.erasing, mode='pixel', device=str(images.device))(images)
        if self.mix is not None:
            if len(images) % 2:
                raise ValueError(
                    f'Mixup and CutMix pair the images of a batch, got {len(images)}: set an even '
                    'batch_size and drop_last=True of train_dataloader'
                )
            labels = labels_of(batch['data_samples'], self.num_classes)
            labels = labels.to(images.device, non_blocking=True)
            with torch.no_grad():
                batch['inputs'], batch['targets'] = self.mix(images, labels)
        return batch
