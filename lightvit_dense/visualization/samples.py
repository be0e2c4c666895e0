"""Truth and prediction of any task, drawn on the image they belong to."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask

from .layout import Image, rescale, side_by_side, titled
from .painter import draw_instances, draw_label_map
from .palette import class_color, class_colors

FIELDS = ('gt_instances', 'pred_instances', 'gt_sem_seg', 'pred_sem_seg', 'pred_score')
"""What can be drawn of a sample."""


def draw_sample(
    image: Image,
    sample: Any,
    names: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    threshold: float = 0.3,
) -> Image:
    """Draw truth (left) and prediction of a sample with some of :data:`FIELDS`.

    Small images are enlarged; ``palette`` has the RGB colours of label maps, ``threshold`` is the
    least score of a detection.
    """
    if 'pred_instances' in sample or 'gt_instances' in sample:
        return _draw_detections(image, sample, names, threshold)
    if 'pred_sem_seg' in sample or 'gt_sem_seg' in sample:
        return _draw_label_maps(image, sample, names, palette)
    score, best = sample.get('pred_score').float().max(0)
    picture = rescale(image, _enlargement(image, 320))
    picture = titled(picture, f'prediction: {names[int(best)]} ({float(score):.2f})')
    if 'gt_label' in sample:
        picture = titled(picture, f'truth: {names[int(sample.get("gt_label"))]}')
    return picture


def draw_objects(
    image: Image,
    objects: Any,
    names: Sequence[str],
    scale: float = 1.0,
    threshold: float = 0.0,
    limit: int | None = None,
) -> tuple[Image, list[int]]:
    """Draw boxes and masks of a sample, the best on top; returns labels of the drawn, too.

    ``objects`` is mmengine's InstanceData or a dict: bboxes [N, 4] as corners, labels [N],
    optionally scores [N] and masks; of more than ``limit`` the best are drawn.
    """
    boxes = objects['bboxes']
    boxes = _array(getattr(boxes, 'tensor', boxes)).reshape(-1, 4)
    labels = _array(objects['labels']).astype(int)
    order, texts = np.arange(len(labels)), [names[label] for label in labels]
    if 'scores' in objects:
        scores = _array(objects['scores'])
        texts = [f'{text} {score:.2f}' for text, score in zip(texts, scores, strict=True)]
        order = np.argsort(scores, kind='stable')[-limit if limit else 0 :]
        order = order[scores[order] >= threshold]
    masks = None
    if 'masks' in objects:
        whole = _masks(objects['masks'])
        masks = [whole[place] for place in order]
    colors, texts = [class_color(labels[i]) for i in order], [texts[i] for i in order]
    picture = draw_instances(image, boxes[order], colors, texts, masks, scale)
    return picture, labels[order].tolist()


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _masks(masks: Any) -> list[np.ndarray]:
    """Return masks as bool [H, W], whatever holds them."""
    if hasattr(masks, 'to_ndarray'):  # polygons, bitmaps and crops
        masks = masks.to_ndarray()
    if isinstance(masks, list):  # run lengths
        masks = [coco_mask.decode(rle) for rle in masks]
    return [_array(mask).astype(bool) for mask in masks]


def _enlargement(image: Image, side: int = 480) -> float:
    """Return the scale at which the longer side has ``side`` pixels; large images keep theirs."""
    return max(1.0, side / max(image.shape[:2]))


def _draw_detections(image: Image, sample: Any, names: Sequence[str], threshold: float) -> Image:
    pictures, seen, scale = {}, set[int](), _enlargement(image)
    for key, title in (('gt_instances', 'truth'), ('pred_instances', 'prediction')):
        if key in sample:
            least = threshold if key == 'pred_instances' else 0.0
            picture, labels = draw_objects(image, sample.get(key), names, scale, least, limit=50)
            bound = f' (score >= {least:g})' if least else ''
            pictures[f'{title}: {len(labels)}{bound}'] = picture
            seen |= set(labels)
    return side_by_side(pictures, [(names[label], class_color(label)) for label in sorted(seen)])


def _draw_label_maps(
    image: Image, sample: Any, names: Sequence[str], palette: Sequence[Sequence[int]] | None
) -> Image:
    colors, scale = class_colors(len(names), palette), _enlargement(image)
    # A label map may have been resized with the image.
    maps = {
        title: cv2.resize(
            _array(sample.get(key).data)[0].astype(np.int32),
            (image.shape[1], image.shape[0]),
            interpolation=cv2.INTER_NEAREST,
        )
        for key, title in (('gt_sem_seg', 'truth'), ('pred_sem_seg', 'prediction'))
        if key in sample
    }
    everything = np.concatenate([ids.ravel() for ids in maps.values()])
    known = everything[(everything >= 0) & (everything < len(names))]
    areas = np.bincount(known, minlength=len(names))
    if len(maps) == 2 and (counted := maps['truth'] < len(names)).any():
        right = (maps['truth'] == maps['prediction'])[counted].mean()
        maps[f'prediction: {right:.1%} of the labelled pixels right'] = maps.pop('prediction')
    pictures = {
        title: draw_label_map(image, ids, colors, names, scale) for title, ids in maps.items()
    }
    order = [label for label in np.argsort(-areas, kind='stable') if areas[label]]
    return side_by_side(pictures, [(names[i].split(',')[0], colors[i]) for i in order])
