"""Truth and results of several models side by side, read from data sets and result files."""

import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image as PILImage
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import read_text

from .layout import Image, evenly, grid, legend, read_image, rescale
from .painter import draw_instances, draw_label_map
from .palette import Color, class_color


def detection_grid(
    ann_file: str | Path,
    image_dir: str | Path,
    prefixes: Sequence[str | Path] = (),
    count: int = 8,
    width: int = 320,
    threshold: float = 0.3,
    columns: int = 1,
) -> Image:
    """Draw truth and the detections of several models side by side.

    ``prefixes`` are each model's ``outfile_prefix``; masks are drawn where there are any. Images
    are spread evenly over those that show an object; ``width`` is that of a picture in pixels.
    """
    with redirect_stdout(StringIO()):
        coco = COCO()
        coco.dataset = json.loads(read_text(ann_file))
        coco.createIndex()
    models = [_read_results(prefix) for prefix in prefixes]
    tiles = []
    for image_id in evenly(sorted(coco.imgToAnns.keys() & coco.imgs.keys()), count):
        image = read_image(Path(image_dir) / coco.imgs[image_id]['file_name'])
        scale = width / image.shape[1]
        tiles.append(_draw_records(coco, image, coco.imgToAnns[image_id], scale))
        for results in models:
            own = (entry for entry in results if entry['image_id'] == image_id)
            found = [entry for entry in own if entry['score'] >= threshold]
            tiles.append(_draw_records(coco, image, found, scale))
    if not tiles:
        raise UserError(f'{ann_file}: no image shows an object')
    step = columns * (1 + len(models))
    return grid([tiles[i : i + step] for i in range(0, len(tiles), step)])


def label_map_grid(
    root: str | Path,
    folders: Sequence[str | Path],
    names: Sequence[str],
    palette: Sequence[Color],
    count: int = 8,
    width: int = 240,
    split: str = 'validation',
) -> Image:
    """Draw image, truth and the label maps of several models side by side, with a legend.

    ``root`` has the layout of ``ADEChallengeData2016`` (0 is unlabelled, 1 the first class), and
    ``folders`` are each model's label maps, ``<name of the image>.png``, with ids as in the truth.
    """
    root, shown, rows = Path(root), set[int](), []
    for path in evenly(sorted((root / 'images' / split).glob('*.jpg')), count):
        image = read_image(path)
        scale, row = width / image.shape[1], []
        for folder in (root / 'annotations' / split, *map(Path, folders)):
            with PILImage.open(folder / f'{path.stem}.png') as file:
                ids = np.asarray(file).astype(np.int32) - 1
            shown |= set(np.unique(ids).tolist()) - {-1}
            row.append(draw_label_map(image, ids, palette, scale=scale))
        rows.append([rescale(image, scale), *row])
    sheet = grid(rows)
    entries = [(names[label].split(',')[0], palette[label]) for label in sorted(shown)]
    return np.concatenate([sheet, legend(entries, sheet.shape[1])])


@torch.no_grad()
def reconstruction_grid(
    model: Any, images: Sequence[Image], per_row: int = 2, scale: int = 2, seed: int = 0
) -> Image:
    """Hide patches of images' centres; draw original, masked image and reconstruction."""
    rows, columns = model.backbone.grid_size
    side = rows * model.backbone.patch_size
    preprocessor = model.data_preprocessor
    # The preprocessor may expect BGR and turn the channels round by itself.
    order = -1 if getattr(preprocessor, '_channel_conversion', False) else 1
    squares = [_square(image, side)[..., ::order].transpose(2, 0, 1) for image in images]
    inputs = [torch.from_numpy(np.ascontiguousarray(square)) for square in squares]
    batch = preprocessor({'inputs': inputs}, False)['inputs']
    noise = torch.rand(len(inputs), rows * columns, generator=torch.Generator().manual_seed(seed))
    pictures = model.eval().reconstruct(batch, noise.to(batch.device))
    return reconstruction_rows(pictures, per_row, scale)


def reconstruction_rows(
    pictures: Mapping[str, torch.Tensor], per_row: int = 1, scale: int = 1
) -> Image:
    """Lay out what ``reconstruct`` returns: three pictures [B, 3, H, W] in 0..255."""
    columns = [pictures[name] for name in ('original', 'masked', 'reconstruction')]
    stacked = torch.stack(columns, 1).float().clamp(0, 255).round().byte()  # [B, 3, 3, H, W]
    tiles = stacked.flatten(0, 1).permute(0, 2, 3, 1).cpu().numpy()  # [B * 3, H, W, 3]
    tiles = tiles.repeat(scale, 1).repeat(scale, 2)
    step = 3 * per_row
    return grid([list(tiles[i : i + step]) for i in range(0, len(tiles), step)], background=255)


def _read_results(prefix: str | Path) -> list[dict[str, Any]]:
    """Return a model's masks, or its boxes where there are no masks, worst first."""
    for kind in ('segm', 'bbox'):
        path = Path(f'{prefix}.{kind}.json')
        if path.is_file():
            found = json.loads(path.read_text(encoding='utf-8'))
            return sorted(found, key=lambda entry: entry['score'])
    raise UserError(f'neither {prefix}.segm.json nor {prefix}.bbox.json exists')


def _draw_records(
    coco: COCO, image: Image, records: Sequence[Mapping[str, Any]], scale: float
) -> Image:
    """Draw annotations or results of one image."""
    boxes, masks, texts = [], [], []
    for record in records:
        rle = coco.annToRLE(record) if record.get('segmentation') else None
        # Results of masks have no box of their own.
        left, top, width, height = record.get('bbox') or coco_mask.toBbox(rle)
        boxes.append((left, top, left + width, top + height))
        masks.append(np.zeros(image.shape[:2]) if rle is None else coco_mask.decode(rle))
        name = coco.cats[record['category_id']]['name']
        texts.append(f'{name} {record["score"]:.2f}' if 'score' in record else name)
    colors = [class_color(record['category_id']) for record in records]
    return draw_instances(image, np.array(boxes), colors, texts, masks, scale)


def _square(image: Image, side: int) -> Image:
    """Cut the largest centred square out of an image and resize it."""
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    interpolation = cv2.INTER_AREA if short > side else cv2.INTER_CUBIC
    crop = image[top : top + short, left : left + short]
    return cv2.resize(crop, (side, side), interpolation=interpolation)
