"""A contact sheet of a COCO-layout folder: images with masks, boxes and names drawn on them."""

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from .classes import CLASSES, PALETTE, ToyWorldError


def contact_sheet(
    folder: str | Path, split: str = 'val', count: int = 24, columns: int = 6, side: int = 240
) -> np.ndarray:
    """Draw the first images of a split.

    Args:
        folder: COCO folder, with ``annotations`` in it.
        split: ``'train'`` or ``'val'``.
        count: Images at most.
        columns: Images in a row.
        side: Longer side of a tile in pixels.

    Returns:
        RGB uint8 [H, W, 3].
    """
    folder = Path(folder)
    data = json.loads((folder / f'annotations/instances_{split}2017.json').read_text('utf-8'))
    names = {category['id']: category['name'] for category in data['categories']}
    notes: dict[int, list[dict]] = {}
    for note in data['annotations']:
        notes.setdefault(note['image_id'], []).append(note)
    tiles = []
    for image in data['images'][:count]:
        path = folder / f'{split}2017' / image['file_name']
        pixels = cv2.imread(str(path))
        if pixels is None:
            raise ToyWorldError(f'{path} is missing or no image')
        tile = _tile(pixels[..., ::-1], notes.get(image['id'], []), names, side)
        frame = np.full((side + 6, side + 6, 3), 255, np.uint8)
        frame[3 : 3 + tile.shape[0], 3 : 3 + tile.shape[1]] = tile
        tiles.append(frame)
    if not tiles:
        raise ToyWorldError(f'{folder} has no image in {split}')
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(image: np.ndarray, notes: list[dict], names: dict[int, str], side: int) -> np.ndarray:
    """Draw annotations on an RGB image [H, W, 3]."""
    ratio = side / max(image.shape[:2])
    size = (round(image.shape[1] * ratio), round(image.shape[0] * ratio))
    tile = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC)
    for note in notes:
        name = names[note['category_id']]
        color = PALETTE[CLASSES.index(name) if name in CLASSES else 0]
        mask = cv2.resize(rle.decode(note['segmentation']), size, interpolation=cv2.INTER_NEAREST)
        edges, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, edges, -1, color, 2)
        x, y, width, height = (round(value * ratio) for value in note['bbox'])
        cv2.rectangle(tile, (x, y), (x + width - 1, y + height - 1), color, 1)
        place = (x + 1, max(10, y - 2))
        shade = (place[0] + 1, place[1] + 1)
        for point, ink in ((shade, (0, 0, 0)), (place, color)):
            cv2.putText(tile, name, point, cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink, 1, cv2.LINE_AA)
    return tile
