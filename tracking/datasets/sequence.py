"""What a video with one annotated target is, wherever it comes from."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


class Frames(Protocol):
    """The frames of a video, decoded one at a time; pickles without open files."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> np.ndarray:
        """Return a frame, RGB uint8 [H, W, 3]; an error names the file that cannot be read."""

    def name(self, index: int) -> str:
        """Return the file, or the video and frame number, that a frame is read from."""


@dataclass(frozen=True, eq=False)
class VideoSequence:
    """A video with one annotated target; boxes are x, y, width, height in pixels, 0-based."""

    name: str  # unique in its data set, e.g. 'airplane-1'
    frames: Frames
    boxes: np.ndarray  # float64 [T, 4]; T may be 1 where only the first frame is annotated (tests)
    visible: np.ndarray  # bool [T], whether the target is in view and annotated
    dataset: str = ''  # e.g. 'LaSOT'
    class_name: str = ''  # of the target, '' if it is not known
    attributes: tuple[str, ...] = ()  # names of the challenges the sequence has
    gone: dict[str, np.ndarray] = field(default_factory=dict)  # why not visible, bool [T] each

    def __len__(self) -> int:
        return len(self.frames)
