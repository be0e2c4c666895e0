"""Paint results over pictures."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from lightvit_dense.apis.inference.results import Classification, Detections, Result, Segmentation

Color = tuple[int, int, int]
_OPACITY = 0.5
_NAMED_SHARE = 0.004  # of the picture: smaller regions get no name


@lru_cache(maxsize=8)
def _font_file() -> str:
    """Return a font that is always there: matplotlib brings it along."""
    return font_manager.findfont('DejaVu Sans')


def _font_size(height: int, width: int) -> int:
    return int(min(28, max(9, 0.022 * max(height, width))))


def _dark(color: Sequence[int]) -> bool:
    """Whether white text is easier to read on a colour than black."""
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140


def paint(pixels: np.ndarray, result: Result, palette: Sequence[Color]) -> np.ndarray:
    """Paint what was found over a picture.

    Args:
        pixels: RGB, uint8 [H, W, 3].
        result: What was found in it.
        palette: Colour of each class.

    Returns:
        RGB, uint8 [H, W, 3].
    """
    if isinstance(result, Detections):
        return _paint_objects(pixels, result, palette)
    if isinstance(result, Segmentation):
        return _paint_regions(pixels, result, palette)
    if isinstance(result, Classification):
        text = '\n'.join(f'{name} {100 * score:.1f}%' for name, score in result.top(3))
        return _write(pixels, [(2, 2, text, (0, 0, 0))])
    raise TypeError(f'nothing is painted of a {type(result).__name__}')


def _paint_objects(pixels: np.ndarray, result: Detections, palette: Sequence[Color]) -> np.ndarray:
    if not len(result):
        return pixels.copy()
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)  # [H, W, 3] -> [3, H, W]
    # The best are painted last, on top.
    order = np.arange(len(result))[::-1]
    colors = [palette[result.labels[index]] for index in order]
    if result.masks is not None:
        masks = torch.from_numpy(result.masks[order].copy())
        image = draw_segmentation_masks(image, masks, alpha=_OPACITY, colors=colors)
    height, width = pixels.shape[:2]
    image = draw_bounding_boxes(
        image,
        torch.from_numpy(result.boxes[order].copy()),
        colors=colors,
        width=max(1, round(max(height, width) / 400)),
    )
    painted = image.permute(1, 2, 0).numpy()  # [3, H, W] -> [H, W, 3]
    notes = [
        (left, top, f'{result.names[index]} {result.scores[index]:.2f}', color)
        for index, color, (left, top) in zip(
            order, colors, result.boxes[order, :2].tolist(), strict=True
        )
    ]
    return _write(painted, notes, above=True)


def _paint_regions(
    pixels: np.ndarray, result: Segmentation, palette: Sequence[Color]
) -> np.ndarray:
    table = np.zeros((max(256, len(palette)), 3), np.uint8)
    table[: len(palette)] = palette
    colors = table[result.label_map]
    painted = cv2.addWeighted(pixels, 1 - _OPACITY, colors, _OPACITY, 0)
    notes = []
    for label in np.unique(result.label_map).tolist():
        region = (result.label_map == label).astype(np.uint8)
        count, regions, stats, _ = cv2.connectedComponentsWithStats(region)
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else 0
        if stats[largest, cv2.CC_STAT_AREA] < _NAMED_SHARE * region.size:
            continue
        x, y = _place(regions == largest)
        notes.append((x, y, result.names[label], palette[label]))
    return _write(painted, notes, centred=True)


def _place(region: np.ndarray) -> tuple[float, float]:
    """Return a point (x, y) deep inside a region [H, W], the nearest to its middle."""
    inside = np.pad(region.astype(np.uint8), 1)  # the border of the picture is a side, too
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    deep = np.argwhere(depth >= 0.9 * depth.max())
    middle = np.argwhere(region).mean(0)
    y, x = deep[((deep - middle) ** 2).sum(1).argmin()]
    return float(x), float(y)


def _write(
    pixels: np.ndarray,
    notes: Sequence[tuple[float, float, str, Color]],
    above: bool = False,
    centred: bool = False,
) -> np.ndarray:
    """Write notes (x, y, text, colour of the ground) and keep them inside the picture.

    Args:
        pixels: RGB, uint8 [H, W, 3].
        notes: What to write where.
        above: Whether a note stands on its point.
        centred: Whether its point is its centre.
    """
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(_font_file(), _font_size(image.height, image.width))
    for x, y, text, color in notes:
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font)
        width, height = right - left + 4, bottom - top + 2
        x, y = (x - width / 2, y - height / 2) if centred else (x, y - height if above else y)
        x = max(0.0, min(x, image.width - width))
        y = max(0.0, min(y, image.height - height))
        draw.rectangle((x, y, x + width, y + height), fill=tuple(color))
        ink = (255, 255, 255) if _dark(color) else (0, 0, 0)
        draw.multiline_text((x + 2 - left, y + 1 - top), text, fill=ink, font=font)
    return np.asarray(image)
