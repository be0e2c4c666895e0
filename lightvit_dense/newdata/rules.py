"""Image size, batch, length and learning rate, by the size of the data and the device at hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from lightvit_dense.errors import UserError

from .start import Start


class Rule(NamedTuple):
    """The rule of a task."""

    patches: tuple[int, int]  # along a side at most, on a GPU and on a CPU; at least half of them
    batch: tuple[int, int]  # images a step, on a GPU of 22 GiB and on a CPU
    epochs: int
    steps: tuple[int, int]  # at most, on a GPU and on a CPU
    rate: tuple[float, int]  # learning rate at so many images a step
    small_rate: tuple[float, int]  # that of ViTs of 8-px patches
    divisor: int = 1  # of the side, besides the patch


LEAST_STEPS = 1000
RULES = {
    'classification': Rule((14, 14), (256, 32), 100, (300000, 2000), (1e-3, 256), (1e-3, 64)),
    'detection': Rule((40, 20), (16, 4), 50, (90000, 1000), (1e-4, 16), (1e-3, 8), 32),
    'segmentation': Rule((32, 16), (16, 4), 50, (80000, 1000), (1e-4, 16), (1e-3, 8), 32),
    'tracking': Rule((16, 8), (32, 8), 50, (60000, 1000), (4e-4, 128), (1e-3, 16)),
    'pretraining': Rule((14, 14), (512, 64), 400, (400000, 2000), (6e-4, 256), (2e-3, 128)),
}


@dataclass(frozen=True)
class Lengths:
    """Sizes and lengths of a training."""

    size: int  # side of the image in pixels
    batch: int
    epochs: int
    steps: int  # of the optimiser, in all
    rate: str  # the learning rate as a config's text


def choose(
    task: str,
    start: Start,
    images: int,
    sides: Sequence[int],
    size: int | None = None,
    batch: int | None = None,
    epochs: int | None = None,
) -> Lengths:
    """Choose by the number of training images and their sides in pixels; given values are kept."""
    for option, value in (('--size', size), ('--batch-size', batch), ('--epochs', epochs)):
        if value is not None and value < 1:
            raise UserError(f'{option} {value}: must be at least 1')
    if task == 'tracking' and size:
        raise UserError('--size: a tracker looks at crops of the size that its config says')
    rule, cpu = RULES[task], not torch.cuda.is_available()
    unit = math.lcm(start.patch, rule.divisor if start.plain else 32)
    if size is None:
        most = rule.patches[cpu] * start.patch
        usual = max(sorted(sides)[len(sides) // 2], most // 2)
        size = min(math.ceil(usual / unit) * unit, max(unit, most // unit * unit))
    elif size % unit:
        nearest = max(1, round(size / unit)) * unit
        raise UserError(f'--size {size}: must be a multiple of {unit}, such as {nearest}')
    if batch is None:
        batch = rule.batch[cpu]
        while not cpu and batch > 1 and torch.cuda.mem_get_info()[1] < batch / rule.batch[0] * 22e9:
            batch //= 2
        # The norms of a segmentor need two values a channel.
        batch = max(2 if task == 'segmentation' else 1, min(batch, images))
    per_epoch = max(1, images // batch)
    if epochs is None:
        steps = min(max(rule.epochs * per_epoch, LEAST_STEPS), rule.steps[cpu])
        epochs = math.ceil(steps / per_epoch)
    else:
        steps = epochs * per_epoch
    rate, of = rule.small_rate if start.small else rule.rate
    return Lengths(size, batch, epochs, steps, f'{rate:g} * (batch / {of}) ** 0.5')
