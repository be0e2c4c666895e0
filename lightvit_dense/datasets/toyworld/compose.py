"""Draw backgrounds, few photographs in many views, and put cut-outs on them, with exact masks.

An object is drawn only where it hides no other object beyond recognition: of every object at least
``SceneSpec.min_visible`` of its pixels (those outside of the image count as hidden) stay in view.
Whatever is drawn is therefore annotated, and whatever is annotated can be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .assets import Cutout, Photo, Source

MIN_PIXELS = 100
_TRIES = 12


@dataclass(frozen=True)
class SceneSpec:
    """How a scene is made up."""

    objects: tuple[int, int] = (2, 6)
    # smallest and largest object in pixels, as the root of its mask's area
    side: tuple[float, float] = (18.0, 90.0)
    large_share: float = 0.08  # share of objects a tenth to two fifths larger than that
    max_angle: float = 30.0  # largest rotation to either side in degrees
    min_visible: float = 0.4  # smallest part of any object that stays in view, in 0..1
    shadow: float = 0.5  # probability of a shadow


@dataclass(frozen=True)
class Pose:
    """A cut-out's centre (pixels), scale, angle (degrees), flip; ``stretch`` widens it first."""

    x: float
    y: float
    scale: float
    angle: float = 0.0
    flip: bool = False
    stretch: float = 1.0


@dataclass(frozen=True, eq=False)
class Layer:
    """A warped cut-out, the part inside of the image."""

    x: int  # left edge in the image, pixels
    y: int  # top edge in the image, pixels
    rgba: np.ndarray  # colour times alpha, and alpha, float32 [h, w, 4] in 0..255

    @property
    def window(self) -> tuple[slice, slice]:
        """The layer's place in the image."""
        height, width = self.rgba.shape[:2]
        return np.s_[self.y : self.y + height, self.x : self.x + width]

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """Return the object's pixels (alpha >= 0.5), bool [H, W]."""
        mask = np.zeros(size, bool)
        mask[self.window] = self.rgba[..., 3] >= 127.5
        return mask


@dataclass(frozen=True, eq=False)
class Instance:
    """An object in a scene."""

    class_name: str
    mask: np.ndarray  # pixels in view, bool [H, W]; the masks of a scene are disjoint
    amodal_mask: np.ndarray  # pixels inside of the image, hidden or not, bool [H, W]
    bbox: tuple[int, int, int, int]  # box of ``mask``: x, y, width, height in pixels
    visibility: float  # pixels in view over all pixels of the object, 0..1
    pose: Pose
    source: Source


@dataclass(frozen=True, eq=False)
class Scene:
    """An image, RGB uint8 [H, W, 3], and the objects in it, the nearest last."""

    image: np.ndarray
    instances: tuple[Instance, ...]


@dataclass(eq=False)
class _Placed:
    cutout: Cutout
    pose: Pose
    layer: Layer
    amodal: np.ndarray
    visible: np.ndarray
    area: float


def warp_cutout(cutout: Cutout, pose: Pose, size: tuple[int, int]) -> Layer:
    """Warp a cut-out to its place."""
    level = min(max(0, int(np.floor(np.log2(1 / pose.scale)))), len(cutout.pyramid) - 1)
    patch = cutout.pyramid[level]
    scale = pose.scale * cutout.pyramid[0].shape[0] / patch.shape[0]
    angle = np.deg2rad(pose.angle)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[:, 0] *= -pose.stretch if pose.flip else pose.stretch
    center = np.array([(patch.shape[1] - 1) / 2, (patch.shape[0] - 1) / 2])
    move = np.array([pose.x, pose.y]) - turn @ center
    reach = np.abs(turn) @ (center + 1)
    x0, y0 = (max(0, int(np.floor(c - r))) for c, r in zip((pose.x, pose.y), reach, strict=True))
    x1 = min(size[1], int(np.ceil(pose.x + reach[0])) + 1)
    y1 = min(size[0], int(np.ceil(pose.y + reach[1])) + 1)
    if x1 <= x0 or y1 <= y0:
        return Layer(0, 0, np.zeros((0, 0, 4), np.float32))
    matrix = np.column_stack([turn, move - (x0, y0)])
    rgba = cv2.warpAffine(patch, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    return Layer(x0, y0, rgba.astype(np.float32))


def compose(
    rng: np.random.Generator, background: np.ndarray, cutouts: Sequence[Cutout], spec: SceneSpec
) -> Scene:
    """Compose a scene on a background, RGB uint8 [H, W, 3]; classes are drawn equally often."""
    placed: list[_Placed] = []
    for cutout, side in _choose(rng, cutouts, spec):
        _place(rng, cutout, side, placed, background.shape[:2], spec)
    image = background.astype(np.float32)
    for item in placed:
        if rng.random() < spec.shadow:
            _draw_shadow(rng, image, item.layer)
        clear = 1 - cv2.extractChannel(item.layer.rgba, 3) / 255
        view = image[item.layer.window]
        view *= cv2.merge([clear] * 3)
        view += _light_object(rng, item.layer.rgba)
    return Scene(_light_scene(rng, image), tuple(_instance(item) for item in placed))


def _choose(
    rng: np.random.Generator, cutouts: Sequence[Cutout], spec: SceneSpec
) -> list[tuple[Cutout, float]]:
    """Choose objects and their sides; the larger ones come first and so mostly lie behind."""
    names = list(dict.fromkeys(cutout.class_name for cutout in cutouts))
    low, high = np.log(spec.side)
    chosen = []
    for _ in range(rng.integers(spec.objects[0], spec.objects[1] + 1)):
        name = names[rng.integers(len(names))]
        same = [cutout for cutout in cutouts if cutout.class_name == name]
        cutout = same[rng.integers(len(same))]
        large = rng.random() < spec.large_share
        span = (high + 0.1, high + 0.35) if large else (low, high)
        side = float(np.exp(rng.uniform(*span)))
        chosen.append((side * np.exp(rng.normal(0, 0.3)), cutout, side))
    chosen.sort(key=lambda item: -item[0])
    return [(cutout, side) for _, cutout, side in chosen]


def _place(
    rng: np.random.Generator,
    cutout: Cutout,
    side: float,
    placed: list[_Placed],
    size: tuple[int, int],
    spec: SceneSpec,
) -> None:
    """Find room for an object and add it to ``placed``; give up where there is none."""
    limits = np.array([size[1], size[0]])
    for attempt in range(_TRIES):
        if attempt % 4 == 3:
            side = max(spec.side[0], side * 0.75)
        scale = side / np.sqrt(cutout.area)
        degrees = rng.uniform(-spec.max_angle, spec.max_angle)
        angle = np.deg2rad(degrees)
        height, width = cutout.pyramid[0].shape[:2]
        extent = np.abs(
            [[np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        ) @ [width, height]  # fmt: skip
        scale *= min(1, float((0.95 * limits / (extent * scale)).min()))
        # Some objects are cut by the border; the later tries stay inside.
        margin = extent * scale * (0.3 if attempt < _TRIES // 2 else 0.5)
        x, y = (float(v) for v in rng.uniform(margin, limits - margin))
        pose = Pose(x, y, scale, float(degrees), bool(rng.random() < 0.5))
        layer = warp_cutout(cutout, pose, size)
        mask = layer.mask(size)
        item = _Placed(cutout, pose, layer, mask, mask.copy(), cutout.area * scale**2)
        views = [(mask, item.area), *((other.visible & ~mask, other.area) for other in placed)]
        if all(seen.sum() >= max(MIN_PIXELS, spec.min_visible * area) for seen, area in views):
            for other in placed:
                other.visible &= ~item.amodal
            placed.append(item)
            return


def _draw_shadow(rng: np.random.Generator, image: np.ndarray, layer: Layer) -> None:
    """Darken ``image`` [H, W, 3] in place beside and below the object."""
    reach = 0.06 * np.sqrt(layer.rgba.size / 4) + 1
    shadow: np.ndarray = np.zeros(image.shape[:2], np.float32)
    shadow[layer.window] = layer.rgba[..., 3]
    move = np.array([[1, 0, rng.uniform(-reach, reach)], [0, 1, rng.uniform(0.3, 1) * reach]])
    shadow = cv2.warpAffine(shadow, move, shadow.shape[::-1])
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.6, reach / 2))
    shadow = 1 - np.float32(rng.uniform(0.2, 0.6) / 255) * shadow
    image *= cv2.merge([shadow] * 3)


def _light_object(rng: np.random.Generator, rgba: np.ndarray) -> np.ndarray:
    """Change brightness, tint and contrast of [h, w, 4]; return colour times alpha [h, w, 3]."""
    gains = np.exp(rng.uniform(-0.25, 0.25) + rng.uniform(-0.08, 0.08, 3))
    contrast = rng.uniform(0.75, 1.2)
    grey = 128 / 255 * (1 - contrast)
    lit = cv2.transform(rgba, np.column_stack([np.diag(gains * contrast), gains * grey]))
    return np.maximum(lit, 0, out=lit)


def light_ramp(rng: np.random.Generator, size: tuple[int, int], most: float) -> np.ndarray:
    """Light from one side, float64 [H, W]: at most so much brighter there than in the middle."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, most)
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in size)
    return 1 + (strength * np.cos(angle) * x)[None] + (strength * np.sin(angle) * y)[:, None]


def _light_scene(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light a scene from one side, expose it, blur it a little and add noise ([H, W, 3])."""
    size = image.shape[:2]
    ramp = light_ramp(rng, size, 0.35)
    light = (np.exp(rng.uniform(-0.2, 0.2)) * ramp).astype(np.float32)
    image = image * cv2.merge([light] * 3)
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    if rng.random() < 0.5:
        noise = np.float32(rng.uniform(1, 5)) * rng.standard_normal(size, np.float32)
        image += cv2.merge([noise] * 3)
    return np.clip(image, 0, 255).round().astype(np.uint8)


def _instance(item: _Placed) -> Instance:
    x, y, width, height = cv2.boundingRect(item.visible.view(np.uint8))
    return Instance(
        class_name=item.cutout.class_name,
        mask=item.visible,
        amodal_mask=item.amodal,
        bbox=(x, y, width, height),
        visibility=min(1.0, float(item.visible.sum() / item.area)),
        pose=item.pose,
        source=item.cutout.source,
    )


def make_background(
    rng: np.random.Generator, photos: Sequence[Photo], size: tuple[int, int]
) -> tuple[np.ndarray, list[Source]]:
    """Draw a view of one photograph, or of two that meet along a line; name the sources."""
    first = photos[int(rng.integers(len(photos)))]
    image = _view(rng, first.image, size)
    if rng.random() >= 0.35:
        return image.round().astype(np.uint8), [first.source]
    second = photos[int(rng.integers(len(photos)))]
    share = cv2.merge([_half_plane(rng, size)] * 3)
    image += share * (_view(rng, second.image, size) - image)
    sources = [first.source] if first is second else [first.source, second.source]
    return image.round().astype(np.uint8), sources


def _view(rng: np.random.Generator, photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A random crop of ``photo``, rotated, flipped and recoloured: float32 [H, W, 3] in 0..255."""
    height, width = size
    if rng.random() < 0.3:
        photo = photo.transpose(1, 0, 2)
    # The largest crop of the wanted shape, then a part of it.
    fit = min(photo.shape[0] / height, photo.shape[1] / width)
    fit *= rng.uniform(0.4, 1.0)
    crop_h, crop_w = max(1, int(height * fit)), max(1, int(width * fit))
    top = rng.integers(photo.shape[0] - crop_h + 1)
    left = rng.integers(photo.shape[1] - crop_w + 1)
    crop = np.ascontiguousarray(photo[top : top + crop_h, left : left + crop_w])
    way = cv2.INTER_AREA if crop_h > height else cv2.INTER_LINEAR
    view = cv2.resize(crop, (width, height), interpolation=way)
    if rng.random() < 0.5:
        view = view[:, ::-1]
    if rng.random() < 0.25:
        view = view[::-1]
    return _recolor(rng, view.astype(np.float32))


def _recolor(rng: np.random.Generator, view: np.ndarray) -> np.ndarray:
    """Change tint, contrast and brightness; grey photographs get a colour this way."""
    gains = rng.uniform(0.65, 1.25, 3)
    contrast, shift = rng.uniform(0.6, 1.15), rng.uniform(-20, 35)
    offset = view.mean() * (1 - contrast) + shift
    view = cv2.transform(view, np.column_stack([np.diag(gains * contrast), gains * offset]))
    if rng.random() < 0.2:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.5, 2.0))
    return np.clip(view, 0, 255)


def _half_plane(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A soft-edged half plane: float32 [H, W] in 0..1. Mostly level, like floor and wall."""
    height, width = size
    angle = rng.normal(np.pi / 2, 0.35) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    x = np.arange(width, dtype=np.float32) - width * rng.uniform(0.3, 0.7)
    y = np.arange(height, dtype=np.float32) - height * rng.uniform(0.35, 0.7)
    distance = np.cos(angle) * x[None] + np.sin(angle) * y[:, None]
    return np.clip(distance / rng.uniform(1, 6) + 0.5, 0, 1, dtype=np.float32)
