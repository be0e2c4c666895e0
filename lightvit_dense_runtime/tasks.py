"""A class for each task: an image in, what is found in it out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .crops import Target
from .errors import ModelFileError, UserError
from .networks import Network, open_model


@dataclass(frozen=True, eq=False)
class Classification:
    """The class of an image."""

    scores: np.ndarray  # probabilities, float32 [classes]
    classes: tuple[str, ...]

    @property
    def label(self) -> int:
        """Index of the likeliest class."""
        return int(self.scores.argmax())


@dataclass(frozen=True, eq=False)
class Features:
    """What the last layer computes."""

    vector: np.ndarray  # float32 [C]
    map: np.ndarray  # float32 [C, h, w]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of each pixel."""

    labels: np.ndarray  # indices [H, W], uint8 or int32
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects of an image, best first."""

    boxes: np.ndarray  # left, top, right, bottom in pixels, float32 [N, 4]
    scores: np.ndarray  # float32 [N]
    labels: np.ndarray  # indices, int64 [N]
    masks: np.ndarray | None  # bool [N, H, W]; None if the model gives boxes only
    classes: tuple[str, ...]


class Found(NamedTuple):
    """Where a target is in a frame."""

    box: np.ndarray  # x, y, width, height in pixels, float64 [4]
    score: float  # how sure the network is, in 0..1


def check_image(image: np.ndarray) -> np.ndarray:
    """Return an image if it is RGB uint8 [H, W, 3]."""
    if not isinstance(image, np.ndarray):
        raise UserError(
            f'an image is a numpy array, uint8 [height, width, 3] in RGB order, not a '
            f'{type(image).__name__}; read files with cv2.imread and cv2.COLOR_BGR2RGB'
        )
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    remedy = 'convert it first'
    if image.ndim == 2 or image.shape[2:] == (1,):
        remedy = 'convert grey by cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)'
    elif image.shape[2:] == (4,):
        remedy = 'leave out alpha by cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)'
    raise UserError(
        f'an image must be RGB uint8 [height, width, 3], got {image.dtype} {list(image.shape)}; '
        + remedy
    )


class Model:
    """An exported file for one task.

    Args:
        file: The file, or an open network.
        **options: ``provider``, ``threads`` and ``fallback`` of :func:`open_model`.
    """

    task = ''

    def __init__(self, file: str | Path | Network, **options: Any) -> None:
        self.network = file if isinstance(file, Network) else open_model(file, **options)
        self.metadata = self.network.metadata
        found = self.metadata['task']
        if found != self.task:
            raise ModelFileError(
                f'{self.network.path}: is for {found}, not for {self.task}; open it with '
                f'{MODELS[found].__name__} or load'
            )
        self.classes = tuple(self.metadata['classes'])

    def _compute(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return self.network(image=check_image(image)[None])


class Classifier(Model):
    """Gives an image, RGB uint8 [H, W, 3], a class."""

    task = 'classification'

    def __call__(self, image: np.ndarray) -> Classification:
        """Classify an image."""
        return Classification(self._compute(image)['scores'][0], self.classes)


class FeatureExtractor(Model):
    """Computes what the last layer of a backbone makes of an image, RGB uint8 [H, W, 3]."""

    task = 'features'

    def __call__(self, image: np.ndarray) -> Features:
        """Compute the features of an image."""
        found = self._compute(image)
        return Features(found['features'][0], found['map'][0])


class Segmentor(Model):
    """Gives each pixel of an image, RGB uint8 [H, W, 3], a class."""

    task = 'segmentation'

    def __call__(self, image: np.ndarray) -> Segmentation:
        """Segment an image."""
        return Segmentation(self._compute(image)['labels'][0], self.classes)


class Detector(Model):
    """Finds objects in an image, RGB uint8 [H, W, 3]."""

    task = 'detection'

    def __call__(self, image: np.ndarray) -> Detections:
        """Find the objects of an image."""
        found = self._compute(image)
        masks = found['masks'].astype(bool) if 'masks' in found else None
        return Detections(found['boxes'], found['scores'], found['labels'], masks, self.classes)


class Tracker(Model):
    """Follows a target from frame to frame, RGB uint8 [H, W, 3].

    ::

        tracker = Tracker('tracker.onnx')
        tracker.init(frame, (x, y, width, height))
        for frame in frames:
            box, score = tracker.track(frame)
    """

    task = 'tracking'

    def init(self, frame: np.ndarray, box: ArrayLike) -> None:
        """Take a target: x, y, width, height in pixels of the frame."""
        names = ('template_size', 'search_size', 'template_factor', 'search_factor', 'margin')
        self._target = Target(check_image(frame), box, **{n: self.metadata[n] for n in names})

    def track(self, frame: np.ndarray) -> Found:
        """Find the target in the next frame, perhaps of another size."""
        if not hasattr(self, '_target'):
            raise UserError('the tracker has no target yet: call init(frame, box) first')
        target = self._target
        search = target.search(check_image(frame))
        box, score = self.find(target.template, target.template_box, search)
        return Found(target.move(box), score)

    def find(self, template: np.ndarray, box: np.ndarray, search: np.ndarray) -> Found:
        """Find a target in a search crop, by its template and its box in pixels of that crop."""
        part = np.float32(box / self.metadata['template_size'])
        row = self.network(template=template, box=part, search=search)['found']
        return Found(row[:4].astype(np.float64), float(row[4]))


MODELS: dict[str, type[Model]] = {
    kind.task: kind for kind in (Classifier, FeatureExtractor, Segmentor, Detector, Tracker)
}
"""Classes by the task of a file."""


def load(path: str | Path, **options: Any) -> Any:
    """Open a file as what it is: a ``Classifier``, ``Detector``, ...; see :func:`open_model`."""
    network = open_model(path, **options)
    return MODELS[network.metadata['task']](network)
