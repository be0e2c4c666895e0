"""Detections beside ground truth, drawn from a COCO annotation file and its result files."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

Image = np.ndarray  # uint8 [H, W, 3], RGB


@dataclass(frozen=True)
class Instance:
    """One object to draw.

    Attributes:
        label: Class name.
        bbox: ``(x, y, width, height)`` in pixels of the original image.
        mask: Boolean ``[H, W]`` or None.
        score: Confidence; None for ground truth.
        class_id: Chooses the colour.
    """

    label: str
    bbox: tuple[float, float, float, float]
    mask: np.ndarray | None = None
    score: float | None = None
    class_id: int = 0


def class_color(class_id: int) -> tuple[int, int, int]:
    """Return a bright RGB colour; neighbouring class ids get hues far apart."""
    hue = round(class_id * 0.618034 % 1 * 180) % 180
    hsv = np.array([[[hue, 190, 255]]], np.uint8)
    return tuple(int(v) for v in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])  # type: ignore[return-value]


def decode_mask(segmentation: object, height: int, width: int) -> np.ndarray | None:
    """Decode COCO polygons or (un)compressed RLE.

    Returns:
        Boolean ``[height, width]``, or None where there is no segmentation.
    """
    if not segmentation:
        return None
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation, dict) and isinstance(segmentation['counts'], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return coco_mask.decode(rle).astype(bool)


class CocoPictures:
    """The images of one COCO annotation file, with what is true and what was found in them.

    Args:
        annotations: COCO JSON file.
        image_dir: Folder of its images.
    """

    def __init__(self, annotations: str | Path, image_dir: str | Path) -> None:
        data = json.loads(Path(annotations).read_text(encoding='utf-8'))
        self.image_dir = Path(image_dir)
        self.images = {image['id']: image for image in data['images']}
        self.names = {category['id']: category['name'] for category in data['categories']}
        self._truth: dict[int, list[dict]] = {}
        for annotation in data['annotations']:
            self._truth.setdefault(annotation['image_id'], []).append(annotation)

    def load(self, image_id: int) -> Image:
        """Read an image.

        Raises:
            FileNotFoundError: If it is missing or unreadable.
        """
        path = self.image_dir / self.images[image_id]['file_name']
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(f'cannot read the image {path}')
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def truth(self, image_id: int) -> list[Instance]:
        """Return the annotated objects of an image."""
        return [self._instance(record, image_id) for record in self._truth.get(image_id, [])]

    def detections(
        self, results: Sequence[Mapping], image_id: int, threshold: float = 0.5, limit: int = 20
    ) -> list[Instance]:
        """Return the detections of an image from a COCO result list, lowest score first.

        Args:
            results: Records of ``*.bbox.json`` or ``*.segm.json``.
            image_id: Image.
            threshold: Smallest score to keep.
            limit: Most detections to keep.
        """
        found = [r for r in results if r['image_id'] == image_id and r['score'] >= threshold]
        found.sort(key=lambda record: record['score'])
        return [self._instance(record, image_id) for record in found[-limit:]]

    def choose(self, count: int) -> list[int]:
        """Return ``count`` image ids spread evenly over those that show at least one object."""
        ids = sorted(image_id for image_id in self._truth if image_id in self.images)
        if len(ids) <= count:
            return ids
        return [ids[round(i * (len(ids) - 1) / max(1, count - 1))] for i in range(count)]

    def _instance(self, record: Mapping, image_id: int) -> Instance:
        image = self.images[image_id]
        mask = decode_mask(record.get('segmentation'), image['height'], image['width'])
        bbox = record.get('bbox')
        if bbox is None or not len(bbox):
            bbox = _mask_bbox(mask)
        class_id = record['category_id']
        label = self.names[class_id]
        return Instance(label, tuple(bbox), mask, record.get('score'), class_id)


def _mask_bbox(mask: np.ndarray | None) -> tuple[float, float, float, float]:
    if mask is None or not mask.any():
        return 0.0, 0.0, 0.0, 0.0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = columns[0], rows[0]
    return float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)


def draw_instances(image: Image, instances: Sequence[Instance], scale: float = 1.0) -> Image:
    """Draw masks, boxes and labels on a copy of an image.

    Args:
        image: uint8 ``[H, W, 3]`` RGB.
        instances: Objects, the last drawn on top.
        scale: Enlargement of the picture; lines and text keep their size.

    Returns:
        uint8 ``[round(H * scale), round(W * scale), 3]``.
    """
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    pad_shape = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    for instance in instances:
        color = class_color(instance.class_id)
        if instance.mask is not None:
            mask = cv2.resize(instance.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            inside = mask.astype(bool)
            pad_shape[inside] = (0.55 * pad_shape[inside] + 0.45 * np.array(color)).astype(np.uint8)
        x, y, width, height = (v * scale for v in instance.bbox)
        corner, opposite = (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1)
        cv2.rectangle(pad_shape, corner, opposite, color, 1)
        _tag(pad_shape, instance, corner, color)
    return pad_shape


def _tag(pad_shape: Image, instance: Instance, corner: tuple[int, int], color: tuple) -> None:
    text = instance.label
    if instance.score is not None:
        text += f' {instance.score:.2f}'
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.33, 1)
    height += base
    # Above the box where there is room, else inside it.
    top = corner[1] - height if corner[1] >= height else corner[1]
    left = max(0, min(corner[0], pad_shape.shape[1] - width))
    pad_shape[top : top + height, left : left + width] = color
    origin = (left, top + height - base)
    cv2.putText(pad_shape, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)


def grid(rows: Sequence[Sequence[Image]], gap: int = 4, background: int = 128) -> Image:
    """Lay pictures out in rows; each is centred in a cell as large as the largest picture.

    Raises:
        ValueError: If there is no picture.
    """
    pictures = [picture for row in rows for picture in row]
    if not pictures:
        raise ValueError('a grid needs at least one picture')
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    pad_shape = np.full(shape, background, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top = i * (height + gap) + (height - picture.shape[0]) // 2
            left = j * (width + gap) + (width - picture.shape[1]) // 2
            pad_shape[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return pad_shape


def data_uri(image: Image, quality: int | None = 88) -> str:
    """Encode a picture as a ``data:`` address: JPEG of the given quality, or PNG for None."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    kind = 'png' if quality is None else 'jpeg'
    flags = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, encoded = cv2.imencode('.png' if quality is None else '.jpg', bgr, flags)
    return f'data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}'
