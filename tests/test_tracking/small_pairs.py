"""Sequences in memory, of the interface of the sets on disk."""

from dataclasses import dataclass

import numpy as np

from lightvit_dense.datasets.errors import DatasetError
from tracking.datasets import VideoSequence

HEIGHT, WIDTH = 120, 160
_NOISE = np.random.default_rng(0).integers(0, 100, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)


@dataclass(frozen=True)
class PaintedFrames:
    """Frames of noise with the target painted in: red tells the frame, green the sequence."""

    sequence: int
    boxes: np.ndarray
    damaged: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    def name(self, index: int) -> str:
        return f'memory/{self.sequence}/{index}.jpg'

    def read(self, index: int) -> np.ndarray:
        if index in self.damaged:
            raise DatasetError(f'{self.name(index)} cannot be decoded')
        frame = _NOISE[(self.sequence * 7 + index) % len(_NOISE)].copy()
        if not np.isfinite(self.boxes[index]).all():
            return frame
        x, y, w, h = (round(side) for side in self.boxes[index].tolist())
        frame[max(y, 0) : y + h, max(x, 0) : x + w] = (index + 20, self.sequence + 120, 255)
        return frame


class MemorySequences:
    """A set of sequences in memory: boxes [T, 4] and flags of visibility [T] of each."""

    def __init__(
        self,
        name: str,
        boxes: list[np.ndarray],
        visible: list[np.ndarray] | None = None,
        is_video: bool = True,
        damaged: tuple[int, ...] = (),
    ) -> None:
        self.name, self.is_video, self.damaged = name, is_video, damaged
        self._boxes = [np.asarray(one, np.float64) for one in boxes]
        self._visible = visible or [(one[:, 2:] > 0).all(axis=1) for one in self._boxes]
        self.names = [f'{name}-{place}' for place in range(len(boxes))]
        self.lengths = np.array([len(one) for one in self._boxes])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> VideoSequence:
        boxes = self._boxes[index]
        frames = PaintedFrames(index, boxes, self.damaged)
        visible = self._visible[index]
        return VideoSequence(self.names[index], frames, boxes, visible, self.name)

    @property
    def visible_counts(self) -> np.ndarray:
        return np.array([one.sum() for one in self._visible])


def moving(count: int, frames: int = 40) -> list[np.ndarray]:
    """Return boxes that move to the right and grow, [frames, 4] of each sequence."""
    steps = np.arange(frames)[:, None] * [1.5, 0.5, 0.25, 0.25]
    return [np.array([20 + place, 30, 24, 18]) + steps for place in range(count)]
