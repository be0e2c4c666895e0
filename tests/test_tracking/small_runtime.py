"""A video with exact boxes, and a tracker whose network finds its template by correlation."""

from dataclasses import dataclass

import cv2
import numpy as np
from torch import nn

from lightvit_dense.errors import UserError
from tracking.datasets.sequence import VideoSequence
from tracking.runtime.tracker import Tracker

from .small_sequences import write_picture


class SizesOnly(nn.Module):
    """What the runtime asks a model: its sizes."""

    template_size, search_size = 64, 128
    template_factor, search_factor = 2.0, 4.0


class Correlation:
    """A frame network: the place where the target of the template fits best."""

    def __init__(self, model, backend='torch', threads=None, path=None, window=True):
        self.calls = 0

    def set_template(self, crop, box):
        x, y, self.width, self.height = np.rint(box).astype(int)
        self.target = crop[y : y + self.height, x : x + self.width]

    def __call__(self, crop):
        self.calls += 1
        fits = cv2.matchTemplate(crop, self.target, cv2.TM_CCOEFF_NORMED)
        _, best, _, (x, y) = cv2.minMaxLoc(fits)
        return np.array([x, y, self.width, self.height], np.float64), (1 + best) / 2


def correlation_tracker(monkeypatch) -> Tracker:
    monkeypatch.setattr('tracking.runtime.tracker.build_network', Correlation)
    return Tracker(SizesOnly())


@dataclass
class ArrayFrames:
    frames: list
    missing: int | None = None

    def __len__(self):
        return len(self.frames)

    def read(self, index):
        if index == self.missing:
            raise UserError(f'{self.name(index)} does not exist')
        return self.frames[index]

    def name(self, index):
        return f'img/{index:08d}.jpg'


def moving_target(count=12, size=(120, 160), seed=0):
    """A textured square of 24x20 pixels on a curve over a smooth background; exact boxes."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    background = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    target = random.integers(0, 256, (20, 24, 3)).astype(np.uint8)
    target = cv2.GaussianBlur(target, (3, 3), 0)
    frames, boxes = [], []
    for step in range(count):
        x, y = 20 + 8 * step, round(50 + 30 * np.sin(step / 3))
        frame = background.copy()
        frame[y : y + 20, x : x + 24] = target
        frames.append(frame)
        boxes.append((x, y, 24, 20))
    return frames, np.array(boxes, np.float64)


def sequence_of(frames, boxes, name='square-1', missing=None):
    visible = np.ones(len(boxes), bool)
    return VideoSequence(name, ArrayFrames(frames, missing), boxes, visible)


def write_folder(folder, frames, names=None):
    """Write frames as pictures of a folder."""
    for index, frame in enumerate(frames):
        write_picture(folder / (names[index] if names else f'{index}.png'), frame)
    return folder
