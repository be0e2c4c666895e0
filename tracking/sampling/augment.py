"""What changes in the crops of a pair, together and one by one."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lightvit_dense.errors import UserError, did_you_mean

from .jitter import Cut


def flip(cut: Cut) -> Cut:
    """Mirror a crop, its box and its padding left to right."""
    x, y, width, height = cut.box
    return Cut(
        image=cut.image[:, ::-1],
        box=np.array([1 - x - width, y, width, height]),
        padding=cut.padding[:, ::-1],
    )


def to_gray(cut: Cut) -> Cut:
    """Make the three channels of a crop its ITU-R 601 grey."""
    gray = cv2.cvtColor(np.ascontiguousarray(cut.image), cv2.COLOR_RGB2GRAY)
    return replace(cut, image=cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB))


def scale_brightness(cut: Cut, factor: float) -> Cut:
    """Multiply the grey levels of a crop, rounded and limited to 0..255."""
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return replace(cut, image=cv2.LUT(np.ascontiguousarray(cut.image), table))


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UserError(f'{name}={value} is no probability; give a number in 0..1')
    return value


@dataclass(frozen=True)
class PairAugment:
    """Change the crops of a pair at random, from numpy's ambient generator.

    The published settings (STARK's and OSTrack's code) are the defaults of
    :class:`tracking.sampling.PairDataset`.

    Attributes:
        joint: Probabilities of what happens to both crops or none: 'gray', 'flip'.
        brightness: Each crop's grey levels are multiplied by a factor of its own, drawn from
            [max(0, 1 - brightness), 1 + brightness].
        flip: Probability of mirroring each crop on its own, besides the joint one.

    Raises:
        UserError: If a number is out of its range or a name is unknown.
    """

    joint: dict[str, float]
    brightness: float
    flip: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value in self.joint.items():
            if name not in ('gray', 'flip'):
                raise UserError(
                    f'unknown joint change {name!r}.{did_you_mean(name, ("gray", "flip"))} '
                    "Known: 'gray', 'flip'"
                )
            _probability(f'joint {name}', value)
        _probability('flip', self.flip)
        if self.brightness < 0:
            raise UserError(f'brightness must not be negative, got {self.brightness}')

    def __call__(self, cuts: tuple[Cut, Cut]) -> tuple[Cut, Cut]:
        """Return changed crops."""
        gray = np.random.random() < self.joint.get('gray', 0.0)
        mirror = np.random.random() < self.joint.get('flip', 0.0)
        template, search = (self._change(cut, gray, mirror) for cut in cuts)
        return template, search

    def _change(self, cut: Cut, gray: bool, mirror: bool) -> Cut:
        """Change one crop as was drawn for both, and on its own."""
        if gray:
            cut = to_gray(cut)
        if self.brightness:
            factor = np.random.uniform(max(0.0, 1 - self.brightness), 1 + self.brightness)
            cut = scale_brightness(cut, factor)
        # mirrored twice is not mirrored
        return flip(cut) if mirror != (np.random.random() < self.flip) else cut
