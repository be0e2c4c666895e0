"""The painters; mmdet's and mmseg's draw on the main process alone, in random colours."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw

from .fonts import typeset
from .layout import Image, rescale
from .palette import Color

_NAMED_RATIO = 0.004  # of the picture: smaller regions get no name


def draw_boxes(
    image: Image,
    boxes: np.ndarray,
    colors: Sequence[Color],
    width: int = 2,
    outline: Color | None = None,
) -> Image:
    """Draw the outlines of boxes (corners in pixels, [N, 4]), the last on top, on a copy.

    A box that is not finite or has no area is left out. ``outline`` is the colour of a further
    pixel outside of it, so that it shows on any ground.
    """
    picture = PILImage.fromarray(image)
    pen = ImageDraw.Draw(picture)
    reach = 4 * max(image.shape[:2])  # Pillow takes its time over lines that are far outside
    for box, color in zip(np.asarray(boxes, np.float64).reshape(-1, 4), colors, strict=True):
        if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
            continue
        left, top, right, bottom = np.clip(box, -reach, reach).round().astype(int).tolist()
        # Pillow takes the outermost pixels.
        right, bottom = max(left, right - 1), max(top, bottom - 1)
        if outline is not None:
            pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=outline)
        pen.rectangle((left, top, right, bottom), outline=tuple(color), width=width)
    return np.array(picture)


def draw_instances(
    image: Image,
    boxes: np.ndarray,
    colors: Sequence[Color],
    texts: Sequence[str],
    masks: Sequence[np.ndarray] | np.ndarray | None = None,
    scale: float = 1.0,
    alpha: float = 0.5,
) -> Image:
    """Draw masks [N, H, W], boxes [N, 4] as corners, then texts; ``scale`` enlarges all."""
    painted = rescale(image, scale)
    height, width = painted.shape[:2]
    for mask, color in zip(() if masks is None else masks, colors, strict=masks is not None):
        inside = cv2.resize(
            np.asarray(mask, np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        inside = inside.astype(bool)
        mixed = (1 - alpha) * painted[inside] + alpha * np.array(color)
        painted[inside] = mixed.round()
    boxes = scale * np.asarray(boxes, np.float64).reshape(-1, 4)
    painted = draw_boxes(painted, boxes, colors, width=max(1, round(max(height, width) / 400)))
    notes = [(left, top, text) for (left, top, *_), text in zip(boxes, texts, strict=True)]
    return write_texts(painted, notes, colors, above=True)


def draw_label_map(
    image: Image,
    ids: np.ndarray,
    colors: Sequence[Color],
    names: Sequence[str] = (),
    scale: float = 1.0,
    alpha: float = 0.5,
) -> Image:
    """Lay the colours of a label map [H, W] over its image; other ids stay unpainted.

    ``names`` are written into the largest regions where these have room; ``scale`` enlarges the
    picture, in which texts keep their size.
    """
    plain = rescale(image, scale)
    size = plain.shape[1], plain.shape[0]
    ids = cv2.resize(ids.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    known = (ids >= 0) & (ids < len(colors))
    paint = np.asarray(colors, np.float32)[np.where(known, ids, 0)]
    painted = np.where(known[..., None], (1 - alpha) * plain + alpha * paint, plain)
    notes, grounds = [], []
    for label in np.unique(ids[known]).tolist() if names else ():
        count, regions, stats, _ = cv2.connectedComponentsWithStats((ids == label).astype(np.uint8))
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else 0
        if stats[largest, cv2.CC_STAT_AREA] >= _NAMED_RATIO * ids.size:
            notes.append((*_deep_point(regions == largest), names[label].split(',')[0]))
            grounds.append(colors[label])
    return write_texts(painted.round().astype(np.uint8), notes, grounds)


def _deep_point(region: np.ndarray) -> tuple[float, float]:
    """Return a point (x, y) deep inside a region [H, W], the nearest to its middle."""
    inside = np.pad(region.astype(np.uint8), 1)  # the border of the picture is a side, too
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    deep = np.argwhere(depth >= 0.9 * depth.max())
    middle = np.argwhere(region).mean(0)
    y, x = deep[((deep - middle) ** 2).sum(1).argmin()]
    return float(x), float(y)


def write_texts(
    image: Image,
    notes: Sequence[tuple[float, float, str]],
    colors: Sequence[Sequence[int]],
    above: bool = False,
) -> Image:
    """Write texts around, or with ``above`` over, points (x, y) on grounds of their colours."""
    picture = PILImage.fromarray(image)
    pen = ImageDraw.Draw(picture)
    size = int(min(28, max(9, 0.022 * max(picture.size))))
    for (x, y, words), color in zip(notes, colors, strict=True):
        text, font = typeset(words, size)
        left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
        width, height = right - left + 4, bottom - top + 2
        x, y = (x, y - height) if above else (x - width / 2, y - height / 2)
        x = max(0.0, min(x, picture.width - width))
        y = max(0.0, min(y, picture.height - height))
        pen.rectangle((x, y, x + width, y + height), fill=tuple(color))
        red, green, blue = color
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
        ink = (255, 255, 255) if dark else (0, 0, 0)
        pen.multiline_text((x + 2 - left, y + 1 - top), text, fill=ink, font=font)
    return np.array(picture)
