"""Contact sheets of what a config's pipeline makes of its data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from rich.progress import track
from torch import Tensor

from lightvit_dense.datasets.determinism import mix_seed, seeded
from lightvit_dense.errors import UserError

from .eval_pictures import draw_labels, legend, titled, to_instances
from .pictures import Image, class_color, draw_instances, grid

SPLITS = ('train', 'val', 'test')


def build_split(cfg: Config, split: str) -> Any:
    """Build the data set of a split.

    Args:
        cfg: The whole config; the scope must have been set.
        split: 'train', 'val' or 'test'.

    Raises:
        UserError: If the config has no such split, or its data set is empty.
    """
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


def comes_as_bgr(cfg: Config) -> bool:
    """Tell whether the data preprocessor is handed BGR images."""
    model = cfg.get('model') or {}
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    return bool(preprocessor.get('bgr_to_rgb'))


def choose(length: int, count: int, start: int | None = None) -> list[int]:
    """Choose items: from ``start`` on, or without it spread evenly over all."""
    if start is not None:
        return list(range(start, min(length, start + count)))
    return sorted({round(place) for place in np.linspace(0, length - 1, min(count, length))})


def _to_image(tensor: Tensor, bgr: bool) -> Image:
    """Turn [3, H, W] in 0..255 into uint8 [H, W, 3], RGB."""
    array = tensor.detach().cpu().float().clamp(0, 255).round().byte()
    image = array.permute(1, 2, 0).numpy()  # [3, H, W] -> [H, W, 3]
    return np.ascontiguousarray(image[..., ::-1] if bgr else image)


class Browser:
    """Draws items of a data set as they leave the pipeline.

    Args:
        dataset: mmengine's BaseDataset.
        bgr: Whether images are BGR.
        side: Longer side in pixels that pictures get.
        seed: Seed of the random augmentations.
    """

    def __init__(self, dataset: Any, bgr: bool, side: int = 360, seed: int = 0) -> None:
        self.dataset, self.bgr, self.side, self.seed = dataset, bgr, side, seed
        meta = getattr(dataset, 'metainfo', None) or {}
        self.names: Sequence[str] = meta.get('classes') or ()
        self.palette = meta.get('palette')
        self.shown: dict[str, Sequence[int]] = {}
        self.views = 1

    def draw(self, index: int, draw: int = 0) -> Image:
        """Draw one item.

        Args:
            index: Its place in the data set.
            draw: Number of the draw of the random augmentations.
        """
        with seeded(mix_seed(self.seed, index, draw)):
            item = self.dataset[index]
        inputs, sample = item['inputs'], item.get('data_samples')
        views = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        images = [_to_image(view, self.bgr) for view in views]
        if item.get('flip'):
            images = [image[:, ::-1] for image in images]
        scale = self.side / max(max(image.shape[:2]) for image in images)
        pictures = self._annotate(images, sample, scale)
        height, width = images[0].shape[:2]
        path = Path(str(getattr(sample, 'img_path', '')))
        label = self._label(sample)
        title = f'{index}: {path.name}  {width} x {height}{label}'
        self.views = len(pictures)
        return titled(grid([pictures]) if len(pictures) > 1 else pictures[0], title)

    def _label(self, sample: Any) -> str:
        if sample is None or 'gt_label' not in sample:
            return ''
        label = int(sample.get('gt_label'))
        name = self.names[label] if label < len(self.names) else str(label)
        return f'  {name}'

    def _annotate(self, images: list[Image], sample: Any, scale: float) -> list[Image]:
        """Draw what the sample tells of the first image, or all views as they are."""
        if sample is not None and 'gt_instances' in sample:
            objects = to_instances(sample.get('gt_instances'), self.names, limit=10**6)
            self.shown |= {one.label: class_color(one.class_id) for one in objects}
            return [draw_instances(images[0], objects, scale)]
        if sample is not None and 'gt_sem_seg' in sample:
            ids = sample.get('gt_sem_seg').data[0].numpy()
            colors = self.palette or [class_color(i) for i in range(len(self.names))]
            for label in np.unique(ids[ids < len(self.names)]).tolist():
                self.shown[self.names[label].split(',')[0]] = colors[label]
            painted = draw_labels(images[0], ids, self.names, colors, scale)
            return [self._resized(images[0], scale), painted]
        return [self._resized(image, scale) for image in images]

    def _resized(self, image: Image, scale: float) -> Image:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(image), size, interpolation=kind)

    def sheet(self, indices: Sequence[int], columns: int, draws: int = 1) -> Image:
        """Draw several items onto one sheet, with a legend of the classes below.

        Args:
            indices: Their places in the data set.
            columns: Pictures in a row, the views of an item counted; with several draws each
                item has a row of its own.
            draws: How often each item is drawn, with other random augmentations.
        """
        rows = []
        work = [(index, number) for index in indices for number in range(draws)]
        pictures = [self.draw(*one) for one in track(work, 'Drawing', transient=True)]
        step = max(1, columns // self.views) if draws == 1 else draws
        for start in range(0, len(pictures), step):
            rows.append(pictures[start : start + step])
        sheet = grid(rows, gap=8, background=255)
        below = legend(list(self.shown.items()), sheet.shape[1])
        return np.concatenate([sheet, below]) if below.size else sheet


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
    """Draw a sheet of a config's data.

    Args:
        cfg: The whole config; the scope must have been set.
        split: 'train', 'val' or 'test'.
        count: How many items.
        start: The first; None to spread them over all.
        draws: How often each is drawn, with other random augmentations.
        columns: Pictures in a row.
        side: Longer side of a picture in pixels.
        seed: Seed of the augmentations.

    Returns:
        The sheet, and the places of its items in the data set.

    Raises:
        UserError: If there is no such split, or no item at ``start``.
    """
    dataset = build_split(cfg, split)
    if start is not None and not 0 <= start < len(dataset):
        raise UserError(f'--start {start}: the {split} data set has {len(dataset)} items')
    indices = choose(len(dataset), count, start)
    browser = Browser(dataset, comes_as_bgr(cfg), side, seed)
    return browser.sheet(indices, columns, draws), indices
