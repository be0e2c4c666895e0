"""What inference finds, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lightvit_dense.evaluation.coco_metric import encode_masks


@dataclass(frozen=True)
class Result:
    """What is common to the results of all tasks."""

    name: str  # unique among the inputs of a call; '<video>/<number>' for a frame
    height: int  # of the original picture in pixels
    width: int
    path: str | None = None  # file of the picture; None for an array
    frame: int | None = None  # number in its video, from 0; None for a still picture


@dataclass(frozen=True)
class Detections(Result):
    """Objects of a picture, best first."""

    # Corners (left, top, right, bottom) in pixels of the original picture, float32 [N, 4].
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    names: tuple[str, ...] = ()
    masks: np.ndarray | None = None  # bool [N, H, W]; None if the model gives boxes only

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, score_thr: float) -> 'Detections':
        """Return the objects of at least a score."""
        count = int((self.scores >= score_thr).sum())  # the best come first
        parts = {name: getattr(self, name)[:count] for name in ('boxes', 'scores', 'labels')}
        masks = None if self.masks is None else self.masks[:count]
        return replace(self, **parts, names=self.names[:count], masks=masks)


@dataclass(frozen=True)
class Segmentation(Result):
    """The class of each pixel."""

    # Class indices [H, W], uint8, or uint16 for a model of more than 256 classes.
    label_map: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    names: tuple[str, ...] = ()  # of all classes

    def areas(self) -> dict[str, int]:
        """Return the pixels of every class that occurs, the largest first."""
        count = np.bincount(self.label_map.ravel(), minlength=len(self.names))
        order = np.argsort(-count, kind='stable')
        return {self.names[index]: int(count[index]) for index in order if count[index]}


@dataclass(frozen=True)
class Classification(Result):
    """The class of a picture."""

    # Probabilities, float32 [classes].
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    names: tuple[str, ...] = ()  # of all classes

    @property
    def label(self) -> int:
        """Index of the likeliest class."""
        return int(self.scores.argmax())

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return names and probabilities of the likeliest classes."""
        order = np.argsort(-self.scores, kind='stable')[:count]
        return [(self.names[index], float(self.scores[index])) for index in order]


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, and why."""

    name: str  # the file, or the place of an array among the inputs
    reason: str  # what is wrong, and the remedy where there is one

    def __str__(self) -> str:
        return f'{self.name}: {self.reason}'


def category_ids(names: Sequence[str]) -> list[int]:
    """Return the ids of classes in COCO's files: 1..90 with gaps for its own 80, else 1, 2, ..."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    # The place of a name in this list, whose gaps read 'N/A', is COCO's id.
    coco: Sequence[str] = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories']
    if set(names) == set(coco) - {'__background__', 'N/A'}:
        return [coco.index(name) for name in names]
    return list(range(1, len(names) + 1))


def coco_entries(
    result: Detections, image_id: int | str, ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Write detections as COCO's results: boxes (x, y, w, h), masks as compressed RLE."""
    codes: list[Any] = [None] * len(result) if result.masks is None else encode_masks(result.masks)
    entries = []
    for index, (left, top, right, bottom) in enumerate(result.boxes.tolist()):
        entry: dict[str, Any] = dict(
            image_id=image_id,
            category_id=ids[result.labels[index]],
            bbox=[left, top, right - left, bottom - top],
            score=float(result.scores[index]),
        )
        if codes[index] is not None:
            entry['segmentation'] = codes[index]
        entries.append(entry)
    return entries
