"""What changes in the crops of a pair, together and one by one."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lightvit_dense.errors import UserError, require_known

from .jitter import Cut


@dataclass(frozen=True)
class PairAugment:
    """Change the crops of a pair at random, from numpy's ambient generator."""

    joint: dict[str, float]  # probabilities for both crops or none: 'gray' (ITU-R 601), 'flip'
    brightness: float  # grey levels times a factor in [max(0, 1 - it), 1 + it] of each crop's own
    flip: float  # probability of flipping each crop on its own, besides the joint one

    def __post_init__(self) -> None:
        for name in self.joint:
            require_known(name, ('gray', 'flip'), 'joint of PairDataset')
        named = [(f'joint {name}', value) for name, value in self.joint.items()]
        for name, value in (*named, ('flip', self.flip)):
            if not 0 <= value <= 1:
                raise UserError(f'{name}={value} is no probability; give a number in 0..1')
        if self.brightness < 0:
            raise UserError(f'brightness must not be negative, got {self.brightness}')

    def __call__(self, cuts: tuple[Cut, Cut]) -> tuple[Cut, Cut]:
        """Return changed crops."""
        gray = np.random.random() < self.joint.get('gray', 0.0)
        flip = np.random.random() < self.joint.get('flip', 0.0)
        template, search = (self._change(cut, gray, flip) for cut in cuts)
        return template, search

    def _change(self, cut: Cut, gray: bool, flip: bool) -> Cut:
        """Change one crop as was drawn for both, and on its own."""
        image = np.ascontiguousarray(cut.image)
        if gray:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.brightness:
            factor = np.random.uniform(max(0.0, 1 - self.brightness), 1 + self.brightness)
            table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
            image = cv2.LUT(image, table)
        # flipped twice is not flipped
        if flip == (np.random.random() < self.flip):
            return replace(cut, image=image)
        x, y, width, height = cut.box
        box = np.array([1 - x - width, y, width, height])
        return Cut(cv2.flip(image, 1), box, cut.padding[:, ::-1])
