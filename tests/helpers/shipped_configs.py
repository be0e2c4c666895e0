"""The shipped configs, and batches of what they train on, out of one photograph."""

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose

from lightvit_dense.registry import DATASETS, FUNCTIONS

ROOT = Path(__file__).parents[2]
FOUND = sorted((ROOT / 'configs').rglob('*.py'))
CONFIGS = [path for path in FOUND if not {'_base_', 'suites'} & set(path.parts)]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / 'configs'))


_read_once = cache(Config.fromfile)


def read(place: str | Path) -> Config:
    """Return a config as it stands in its file; a name is that below ``configs/``."""
    path = ROOT / f'configs/{place}.py' if isinstance(place, str) else place
    return copy.deepcopy(_read_once(path))


def load(place: str | Path) -> Config:
    """Return a config without the checkpoints that a test has not got."""
    cfg = read(place)
    drop_checkpoints(cfg.model)
    return cfg


def drop_checkpoints(node: Any) -> None:
    """Remove what names files that a test has not got."""
    if isinstance(node, dict):
        if 'checkpoint' in (node.get('init_cfg') or {'checkpoint': None}):
            node.pop('init_cfg', None)
        for value in node.values():
            drop_checkpoints(value)


def tracking_samples(cfg: Config, photograph: Path) -> list:
    """Return two pairs of crops, cut as the config says out of a video of one picture."""
    folder = photograph.parent / 'videos'
    if not folder.exists():
        (folder / 'cat').mkdir(parents=True)
        for number in range(20):
            os.link(photograph, folder / 'cat' / f'{number:08d}.jpg')
        (folder / 'cat/groundtruth.txt').write_text('130,60,150,110\n' * 20)
    dataset = cfg.train_dataloader.dataset
    dataset.sets = [dict(type='tracking.CustomSequences', data_root=str(folder))]
    dataset.ratios = [1]
    pairs = DATASETS.build(dataset)
    return [pairs[0], pairs[1]]


def batch_of(cfg: Config, photograph: Path) -> dict:
    """Return two images of a photograph, of classes 0 and 1, and of five objects."""
    if cfg.model.type == 'tracking.OneStreamTracker':
        samples = tracking_samples(cfg, photograph)
    else:
        objects = [
            dict(bbox=[x, x, x + 90, x + 60], bbox_label=0, ignore_flag=0)
            | dict(mask=[[x, x, x + 90, x, x + 90, x + 60, x, x + 60]])
            for x in range(20, 220, 40)
        ]
        given = dict(img_path=str(photograph), seg_map_path=str(photograph.with_suffix('.png')))
        given |= dict(reduce_zero_label=True, label_map=None, img_id=0, height=300, width=451)
        pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
        samples = [
            pipeline(dict(copy.deepcopy(given), gt_label=n, seg_fields=[], instances=objects))
            for n in range(2)
        ]
    collate = dict(cfg.train_dataloader.get('collate_fn', dict(type='pseudo_collate')))
    return FUNCTIONS.get(collate.pop('type'))(samples, **collate)
