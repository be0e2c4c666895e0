"""Label maps as pictures: painted over their images, with a legend of what occurs."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from .pictures import Image, grid

Color = tuple[int, int, int]


class LabelPictures:
    """The images of one split in ADE20K's layout, with their label maps and those of models.

    Args:
        root: Folder like ``ADEChallengeData2016``.
        split: 'training' or 'validation'.
    """

    def __init__(self, root: str | Path, split: str = 'validation') -> None:
        self.images = Path(root) / 'images' / split
        self.labels = Path(root) / 'annotations' / split

    def choose(self, count: int) -> list[str]:
        """Return ``count`` names of images spread evenly over the split."""
        names = sorted(path.stem for path in self.images.glob('*.jpg'))
        if len(names) <= count:
            return names
        return [names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(count)]

    def load(self, name: str) -> Image:
        """Read an image.

        Raises:
            FileNotFoundError: If it is missing or unreadable.
        """
        path = self.images / f'{name}.jpg'
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(f'cannot read the image {path}')
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def truth(self, name: str) -> np.ndarray:
        """Return the label map of an image: ids [H, W], 0 is unlabelled."""
        return read_labels(self.labels / f'{name}.png')


def read_labels(path: str | Path) -> np.ndarray:
    """Read a label map.

    Args:
        path: Grey PNG, of the data set or written by a metric with ``output_dir``.

    Returns:
        Ids [H, W].

    Raises:
        FileNotFoundError: If there is none.
    """
    with PillowImage.open(path) as file:
        return np.asarray(file)


def paint_labels(
    image: Image, labels: np.ndarray, palette: Sequence[Color], scale: float = 1.0
) -> Image:
    """Lay the colours of a label map over its image.

    Args:
        image: uint8 [H, W, 3] RGB.
        labels: Ids [H, W]; id i has ``palette[i - 1]``, and 0 leaves the image as it is.
        palette: RGB colour of each class.
        scale: Enlargement of the picture.

    Returns:
        uint8 [round(H * scale), round(W * scale), 3].
    """
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    pad_shape = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    colors = np.array([(0, 0, 0), *palette], np.float32)[labels]
    painted = (0.4 * pad_shape + 0.6 * colors).astype(np.uint8)
    return np.where(labels[..., None] > 0, painted, pad_shape)


def legend(
    labels: Sequence[np.ndarray], names: Sequence[str], palette: Sequence[Color], width: int
) -> Image:
    """Draw a strip with colour and name of every class that occurs.

    Args:
        labels: Label maps, 0 is unlabelled.
        names: Name of class 1, 2, ...
        palette: RGB colour of class 1, 2, ...
        width: Width of the strip in pixels.

    Returns:
        uint8 [H, width, 3], as many lines as needed.
    """
    ids = sorted({int(i) for ids in labels for i in np.unique(ids)} - {0})
    line, swatch, font = 22, 14, cv2.FONT_HERSHEY_SIMPLEX
    places, x, y = [], 6, 0
    for number in ids:
        (length, _), _ = cv2.getTextSize(names[number - 1], font, 0.42, 1)
        if x > 6 and x + swatch + 6 + length > width:
            x, y = 6, y + line
        places.append((number, x, y))
        x += swatch + 6 + length + 16
    strip = np.full((y + line, width, 3), 255, np.uint8)
    for number, x, y in places:
        top = y + (line - swatch) // 2
        strip[top : top + swatch, x : x + swatch] = palette[number - 1]
        origin = (x + swatch + 6, y + line - 7)
        cv2.putText(strip, names[number - 1], origin, font, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def segmentation_grid(
    pictures: LabelPictures,
    folders: Sequence[str | Path],
    chosen: Sequence[str],
    names: Sequence[str],
    palette: Sequence[Color],
    width: int = 240,
) -> Image:
    """Draw image, truth and the label maps of several models side by side, an image a row.

    Args:
        pictures: Images and truth.
        folders: Where each model's label maps are, ``<name>.png``.
        chosen: Names of the images.
        names: Names of the classes.
        palette: RGB colour of each class.
        width: Width of a picture in pixels.

    Returns:
        uint8 [H, W, 3], a legend at the bottom.
    """
    rows, shown = [], []
    for name in chosen:
        image = pictures.load(name)
        scale = width / image.shape[1]
        labels = [pictures.truth(name), *(read_labels(Path(f) / f'{name}.png') for f in folders)]
        shown += labels
        plain = paint_labels(image, np.zeros_like(labels[0]), palette, scale)
        rows.append([plain, *(paint_labels(image, ids, palette, scale) for ids in labels)])
    painted = grid(rows)
    return np.concatenate([painted, legend(shown, names, palette, painted.shape[1])])
