"""Contact sheets of what a config's pipeline makes of its data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from rich.progress import track

from lightvit_dense.datasets.determinism import mix_seed, seeded
from lightvit_dense.errors import UserError

from .layout import Image, evenly, grid, legend, rescale, titled
from .painter import draw_label_map
from .palette import Color, class_color, class_colors
from .samples import draw_objects

SPLITS = ('train', 'val', 'test')


def browse(
    cfg: Config,
    split: str,
    count: int,
    start: int | None = None,
    draws: int = 1,
    columns: int = 4,
    side: int = 360,
    seed: int = 0,
) -> tuple[Image, list[int]]:
    """Draw a contact sheet of a config's data, as they leave the pipeline; the scope must be set.

    It shows ``count`` items of a split from ``start`` on (None spreads them over all), each drawn
    ``draws`` times, augmented anew, in a row of its own; views of an item count as ``columns``.
    ``side`` is the longer side of a picture in pixels. Returns the sheet with a legend of the
    classes below, and the places of its items in the data set.
    """
    dataset = _build_split(cfg, split)
    everything = range(len(dataset))
    if start is not None and start not in everything:
        raise UserError(f'--start {start}: the {split} data set has {len(dataset)} items')
    chosen = evenly(everything, count) if start is None else list(everything[start:][:count])
    meta = getattr(dataset, 'metainfo', None) or {}
    model = cfg.get('model') or {}
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    bgr, views = bool(preprocessor.get('bgr_to_rgb')), 1
    shown: dict[str, Color] = {}
    pictures: list[Image] = []
    for place in track([i for i in chosen for _ in range(draws)], 'Drawing', transient=True):
        with seeded(mix_seed(seed, place, len(pictures) % draws)):
            item = dataset[place]
        drawn, title, classes = _draw_item(item, meta, bgr, side)
        picture = grid([drawn]) if len(drawn) > 1 else drawn[0]
        pictures.append(titled(picture, f'{place}: {title}'))
        shown |= classes
        views = len(drawn)
    step = max(1, columns // views) if draws == 1 else draws
    sheet = grid([pictures[i : i + step] for i in range(0, len(pictures), step)], 8, 255)
    return np.concatenate([sheet, legend(list(shown.items()), sheet.shape[1])]), chosen


def _build_split(cfg: Config, split: str) -> Any:
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if not dataset:
        known = [name for name in SPLITS if cfg.get(f'{name}_dataloader')]
        raise UserError(
            f'{cfg.filename or "the config"} has no {split}_dataloader.dataset; it has the '
            f'splits {", ".join(known) or "none"}'
        )
    built = DATASETS.build(dataset)
    if not len(built):
        raise UserError(f'{split}_dataloader.dataset is empty')
    return built


def _draw_item(
    item: dict[str, Any], meta: dict[str, Any], bgr: bool, side: int
) -> tuple[list[Image], str, dict[str, Color]]:
    """Return an item's pictures, its title, and the colours of its classes."""
    inputs, sample = item['inputs'], item.get('data_samples')
    names: Sequence[str] = meta.get('classes') or ()
    images = []
    for view in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
        pixels = view.detach().cpu().float().clamp(0, 255).round().byte()
        image = pixels.permute(1, 2, 0).numpy()[..., :: -1 if bgr else 1]  # [3, H, W] -> [H, W, 3]
        images.append(np.ascontiguousarray(image[:, ::-1] if item.get('flip') else image))
    height, width = images[0].shape[:2]
    title = f'{Path(str(getattr(sample, "img_path", ""))).name}  {width} x {height}'
    scale = side / max(max(image.shape[:2]) for image in images)
    plain = [rescale(image, scale) for image in images]
    if sample is None:
        return plain, title, {}
    if 'gt_instances' in sample:
        picture, labels = draw_objects(images[0], sample.get('gt_instances'), names, scale)
        return [picture], title, {names[label]: class_color(label) for label in labels}
    if 'gt_sem_seg' in sample:
        ids = sample.get('gt_sem_seg').data[0].numpy()
        colors = class_colors(len(names), meta.get('palette'))
        painted = draw_label_map(images[0], ids, colors, names, scale)
        occurring = np.unique(ids[ids < len(names)]).tolist()
        shown = {names[label].split(',')[0]: colors[label] for label in occurring}
        return [plain[0], painted], title, shown
    if 'gt_label' in sample:
        label = int(sample.get('gt_label'))
        title += f'  {names[label] if label < len(names) else label}'
    return plain, title, {}
