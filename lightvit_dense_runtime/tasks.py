"""A class for each task: an image, RGB uint8 [H, W, 3], in; what is found in it out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .crops import Target
from .errors import UserError
from .networks import Network, open_model


class Detections(NamedTuple):
    """Objects of an image, best first."""

    boxes: np.ndarray  # left, top, right, bottom in pixels, float32 [N, 4]
    scores: np.ndarray  # float32 [N]
    labels: np.ndarray  # indices, int64 [N]
    masks: np.ndarray | None  # bool [N, H, W]; None if the model gives boxes only
    classes: tuple[str, ...]  # of the file


class TrackResult(NamedTuple):
    """Where the target is in a frame."""

    box: np.ndarray  # x, y, width, height in pixels of the frame, float64 [4]
    score: float  # how sure the network is, in 0..1


class Model:
    """An exported file for one task, or an open network; options are :func:`open_model`'s."""

    task = ''

    def __init__(self, file: str | Path | Network, **options: Any) -> None:
        self.network = file if isinstance(file, Network) else open_model(file, **options)
        self.metadata = self.network.metadata
        found = self.metadata['task']
        if found != self.task:
            raise UserError(
                f'{self.network.path}: is for {found}, not for {self.task}; open it with '
                f'{MODELS[found].__name__} or load'
            )
        self.classes = tuple(self.metadata['classes'])

    def _compute(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return self.network(image=np.asarray(image)[None])


class Classifier(Model):
    """Gives an image a class."""

    task = 'classification'

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes, float32 [classes]."""
        return self._compute(image)['scores'][0]


class FeatureExtractor(Model):
    """Computes the features of an image."""

    task = 'features'

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pooled vector [C] and the map [C, h, w] of the last layer, float32."""
        found = self._compute(image)
        return found['features'][0], found['map'][0]


class Segmentor(Model):
    """Gives each pixel a class."""

    task = 'segmentation'

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the index of each pixel's class, uint8 or int32 [H, W]."""
        return self._compute(image)['labels'][0]


class Detector(Model):
    """Finds objects."""

    task = 'detection'

    def __call__(self, image: np.ndarray) -> Detections:
        """Find the objects of an image."""
        found = self._compute(image)
        masks = found['masks'].astype(bool) if 'masks' in found else None
        return Detections(found['boxes'], found['scores'], found['labels'], masks, self.classes)


class Tracker(Model):
    """Follows a target from frame to frame."""

    task = 'tracking'
    _target: Target | None = None

    def init(self, frame: np.ndarray, box: ArrayLike) -> None:
        """Take a target: x, y, width, height in pixels of the frame."""
        self._target = Target(frame, box, self.metadata)
        self.set_templates([self._target.template], [self._target.template_box])

    def track(self, frame: np.ndarray) -> TrackResult:
        """Find the target in the next frame, perhaps of another size."""
        if self._target is None:
            raise UserError('the tracker has no target yet: call init(frame, box) first')
        ((box, score),) = self.find_all([self._target.search(frame)])
        return TrackResult(self._target.move(box), score)

    def set_templates(self, crops: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> None:
        """Take template crops, and boxes of targets in pixels of them."""
        side = self.metadata['template_size']
        pairs = zip(crops, boxes, strict=True)
        self._given = [dict(template=crop, box=np.float32(box / side)) for crop, box in pairs]

    def find_all(self, crops: Sequence[np.ndarray]) -> list[TrackResult]:
        """Find the target of each template in a search crop; boxes are in pixels of it."""
        pairs = zip(self._given, crops, strict=True)
        rows = [self.network(**given, search=crop)['found'] for given, crop in pairs]
        return [TrackResult(row[:4].astype(np.float64), float(row[4])) for row in rows]


MODELS = {kind.task: kind for kind in Model.__subclasses__()}


def load(path: str | Path, **options: Any) -> Any:
    """Open a file as what it is: a ``Classifier``, ``Detector``, ...; see :func:`open_model`."""
    network = open_model(path, **options)
    return MODELS[network.metadata['task']](network)
