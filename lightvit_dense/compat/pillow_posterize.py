"""timm's RandAugment asks Pillow for posterisation to zero bits, which Pillow 13 refuses.

Symptom: ``ValueError: bits must be between or equal to 1 and 8`` after some hundred images of a
training with ``rand-m9-mstd0.5-inc1`` or ``rand-m10-mstd0.5-inc1``. Older versions of Pillow gave
black, which is what the recipes were trained with.
"""

from collections.abc import Iterable
from typing import Any

from PIL import Image


def posterize(image: Image.Image, bits_to_keep: int, **options: Any) -> Image.Image:
    """Reduce the bits of each channel; none leave black."""
    if bits_to_keep < 1:
        return Image.new(image.mode, image.size)
    from timm.data import auto_augment

    return auto_augment.posterize(image, bits_to_keep, **options)


def allow_zero_bits(operations: Iterable[Any]) -> None:
    """Let timm's operations posterise by :func:`posterize`."""
    from timm.data import auto_augment

    for operation in operations:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = posterize
