"""Truth and prediction of any task drawn on the image they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from .pictures import Image, Instance, class_color, decode_mask, draw_instances, grid

FONT_SIZE = 13
FIELDS = ('gt_instances', 'pred_instances', 'gt_sem_seg', 'pred_sem_seg', 'pred_score')
"""What can be drawn of a sample."""
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def _font() -> Any:
    return ImageFont.load_default(size=FONT_SIZE)


def enlargement(height: int, width: int, side: int = 480) -> float:
    """Return by how much to enlarge an image so that its longer side has ``side`` pixels.

    Large images are not made smaller.
    """
    return max(1.0, side / max(height, width))


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _masks(masks: Any) -> list[np.ndarray]:
    """Return masks as bool [H, W], whatever holds them."""
    if hasattr(masks, 'to_ndarray'):  # mmdet's polygons and bitmaps
        masks = masks.to_ndarray()
    if isinstance(masks, list):  # run lengths
        return [mask for rle in masks if (mask := decode_mask(rle, *rle['size'])) is not None]
    return list(_array(masks).astype(bool))


def to_instances(
    objects: Any, names: Sequence[str], threshold: float = 0.0, limit: int = 50
) -> list[Instance]:
    """Turn boxes and masks of a sample into objects to draw, the best last, on top.

    Args:
        objects: mmengine's InstanceData or a dict: bboxes [N, 4] as (left, top, right, bottom),
            labels [N], optionally scores [N] and masks.
        names: Names of the classes.
        threshold: Least score.
        limit: Most objects.
    """
    boxes = objects['bboxes']
    boxes = _array(getattr(boxes, 'tensor', boxes)).reshape(-1, 4)
    labels = _array(objects['labels'])
    scores = _array(objects['scores']) if 'scores' in objects else None
    masks = _masks(objects['masks']) if 'masks' in objects else None
    order = np.arange(len(labels))
    if scores is not None:
        order = np.argsort(scores, kind='stable')[-limit:]
        order = order[scores[order] >= threshold]
    found = []
    for place in order:
        left, top, right, bottom = boxes[place].tolist()
        label = int(labels[place])
        found.append(
            Instance(
                names[label],
                (left, top, right - left, bottom - top),
                None if masks is None else masks[place],
                None if scores is None else float(scores[place]),
                label,
            )
        )
    return found


def draw_labels(
    image: Image,
    ids: np.ndarray,
    names: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    scale: float = 1.0,
    alpha: float = 0.6,
) -> Image:
    """Paint a label map over an image, with outlines and the names of the large regions.

    Ids beyond the classes, such as that of ignored pixels, are left unpainted.

    Args:
        image: uint8 [H, W, 3] RGB.
        ids: Integers [H, W].
        names: Names of the classes.
        palette: RGB colour of every class.
        scale: Enlargement of the picture; text keeps its size.
        alpha: Opacity of the paint.

    Returns:
        uint8 [round(H * scale), round(W * scale), 3].
    """
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    pad_shape = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    ids = cv2.resize(ids.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    known = ids < len(names)
    colors = np.array(palette or [class_color(i) for i in range(len(names))], np.float32)
    paint = colors[np.where(known, ids, 0)]
    pad_shape = np.where(known[..., None], (1 - alpha) * pad_shape + alpha * paint, pad_shape)
    pad_shape = pad_shape.round().astype(np.uint8)
    edges = np.zeros(ids.shape, bool)
    edges[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edges[1:] |= ids[1:] != ids[:-1]
    pad_shape[edges] = 255
    return _write_names(pad_shape, ids, names)


def _write_names(pad_shape: Image, ids: np.ndarray, names: Sequence[str]) -> Image:
    """Write each class's name into the middle of its largest region, if it has room."""
    picture = PILImage.fromarray(pad_shape)
    pen, font = ImageDraw.Draw(picture), _font()
    for label in np.unique(ids[ids < len(names)]).tolist():
        _, _, stats, _ = cv2.connectedComponentsWithStats((ids == label).astype(np.uint8))
        _, parts = cv2.connectedComponents((ids == label).astype(np.uint8))
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        # The point farthest from the region's border, so that the name lies within it. The
        # picture's own border counts too.
        inside = cv2.copyMakeBorder((parts == largest).astype(np.uint8), 1, 1, 1, 1, 0)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
        if depth.max() < FONT_SIZE * 0.6:
            continue
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        text = names[label].split(',')[0]
        width = pen.textlength(text, font)
        left = float(np.clip(column - width / 2, 1, max(1, pad_shape.shape[1] - width - 1)))
        top = float(np.clip(row - FONT_SIZE / 2, 0, max(0, pad_shape.shape[0] - FONT_SIZE - 2)))
        pen.text((left, top), text, _PAPER, font, stroke_width=1, stroke_fill=_INK)
    return np.array(picture)


def legend(entries: Sequence[tuple[str, Sequence[int]]], width: int) -> Image:
    """Draw coloured squares with names in as many lines as they need.

    Args:
        entries: Texts and RGB colours.
        width: Width of the picture.
    """
    font, line, gap = _font(), FONT_SIZE + 6, 14
    measure = ImageDraw.Draw(PILImage.new('RGB', (1, 1)))
    places, x, y = [], 6, 3
    for text, color in entries:
        needed = round(FONT_SIZE + 4 + measure.textlength(text, font))
        if x > 6 and x + needed > width - 6:
            x, y = 6, y + line
        places.append((x, y, text, tuple(color)))
        x += needed + gap
    picture = PILImage.new('RGB', (width, y + line if entries else 0), _PAPER)
    pen = ImageDraw.Draw(picture)
    for left, top, text, color in places:
        box = (left, top + 2, left + FONT_SIZE, top + 2 + FONT_SIZE)
        pen.rectangle(box, fill=color, outline=_INK)
        pen.text((left + FONT_SIZE + 4, top), text, _INK, font)
    return np.array(picture)


def titled(picture: Image, title: str) -> Image:
    """Put a line of text above a picture; what does not fit is cut off."""
    bar = PILImage.new('RGB', (picture.shape[1], FONT_SIZE + 8), _PAPER)
    ImageDraw.Draw(bar).text((5, 2), title, _INK, _font())
    return np.concatenate([np.array(bar), picture])


def side_by_side(
    pictures: Mapping[str, Image], entries: Sequence[tuple[str, Sequence[int]]] = ()
) -> Image:
    """Set pictures with their titles in a row, with one legend below.

    Args:
        pictures: Pictures by title, of one size.
        entries: The legend's texts and RGB colours.
    """
    row = grid([[titled(picture, title) for title, picture in pictures.items()]], background=255)
    below = legend(entries, row.shape[1])
    return np.concatenate([row, below]) if below.size else row


def _detections(image: Image, sample: Any, names: Sequence[str], threshold: float) -> Image:
    scale = enlargement(*image.shape[:2])
    pictures: dict[str, Image] = {}
    seen: dict[int, str] = {}
    for key, title in (('gt_instances', 'truth'), ('pred_instances', 'prediction')):
        if key in sample:
            least = threshold if key == 'pred_instances' else 0.0
            objects = to_instances(sample.get(key), names, least)
            text = f'{title}: {len(objects)}' + (f' (score >= {least:g})' if least else '')
            pictures[text] = draw_instances(image, objects, scale)
            seen |= {one.class_id: one.label for one in objects}
    return side_by_side(pictures, [(seen[i], class_color(i)) for i in sorted(seen)])


def _label_maps(
    image: Image, sample: Any, names: Sequence[str], palette: Sequence[Sequence[int]] | None
) -> Image:
    scale = enlargement(*image.shape[:2])
    pictures: dict[str, Image] = {}
    shares: dict[int, int] = {}
    for key, title in (('gt_sem_seg', 'truth'), ('pred_sem_seg', 'prediction')):
        if key in sample:
            ids = _array(sample.get(key).data)[0]
            if ids.shape != image.shape[:2]:
                # A label map that was resized with the image.
                size = (image.shape[1], image.shape[0])
                ids = cv2.resize(ids.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
            if title == 'prediction' and 'truth' in pictures:
                truth = _array(sample.get('gt_sem_seg').data)[0]
                if truth.shape == ids.shape and (counted := truth < len(names)).any():
                    right = (truth == ids)[counted].mean()
                    title += f': {right:.1%} of the labelled pixels right'
            pictures[title] = draw_labels(image, ids, names, palette, scale)
            for label, count in enumerate(np.bincount(ids[ids < len(names)].ravel()).tolist()):
                shares[label] = shares.get(label, 0) + count
    order = sorted((i for i in shares if shares[i]), key=lambda label: -shares[label])
    colors = palette or [class_color(i) for i in range(len(names))]
    return side_by_side(pictures, [(names[i].split(',')[0], colors[i]) for i in order])


def _class_scores(image: Image, sample: Any, names: Sequence[str]) -> Image:
    scale = enlargement(image.shape[0], image.shape[1], side=320)
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    scores = sample.get('pred_score').float()
    value, best = scores.max(0)
    lines = [f'prediction: {names[int(best)]} ({float(value):.2f})']
    if 'gt_label' in sample:
        lines.insert(0, f'truth: {names[int(sample.get("gt_label"))]}')
    picture = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    for line in reversed(lines):
        picture = titled(picture, line)
    return picture


def draw_sample(
    image: Image,
    sample: Any,
    names: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    threshold: float = 0.3,
) -> Image:
    """Draw what is true and what was predicted, the truth on the left.

    Args:
        image: The image file, uint8 [H, W, 3] RGB.
        sample: mmengine's data element with some of :data:`FIELDS`, and 'gt_label' beside
            'pred_score'.
        names: Names of the classes.
        palette: RGB colours of label maps.
        threshold: Least score of a detection.

    """
    if 'pred_instances' in sample or 'gt_instances' in sample:
        return _detections(image, sample, names, threshold)
    if 'pred_sem_seg' in sample or 'gt_sem_seg' in sample:
        return _label_maps(image, sample, names, palette)
    return _class_scores(image, sample, names)
