"""The operations that the transforms of images leave to the device, by name."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from . import color, randaugment

_PLAIN = (
    *(color.blur, color.solarize, color.brightness, color.contrast, color.saturation, color.hue),
    *(color.sharpness, randaugment.auto_contrast, randaugment.equalize, randaugment.posterize),
    randaugment.solarize_add,
)
DEVICE_OPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'flip': lambda images, _: images.flip(-1),
    'color': color.saturation,  # timm's name of it
    'invert': lambda images, _: 255 - images,
    'grayscale': lambda images, _: color.grey(images).repeat(1, 3, 1, 1),
    **{op.__name__: op for op in _PLAIN},
}
"""Functions of images, uint8 [N, 3, H, W], and parameters, float64 [N, P]: new images, those of the
transforms on the CPU bit for bit; none makes the host wait."""
for _name, _cubic in (('bilinear', False), ('bicubic', True)):
    DEVICE_OPS[f'rotate_{_name}'] = partial(randaugment.rotate, cubic=_cubic)
    for _move, _place in dict(shear_x=1, translate_x_rel=2, shear_y=3, translate_y_rel=5).items():
        DEVICE_OPS[f'{_move}_{_name}'] = partial(randaugment.shift, place=_place, cubic=_cubic)
