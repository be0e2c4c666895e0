"""Images of a config's data as an exported file takes them: uint8, at the size they have."""

import copy
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict

from ..apis.configs import prepare_scope, tested_dataset
from ..datasets.determinism import seeded
from ..errors import UserError
from ..registry import DATASETS

Arrays = dict[str, np.ndarray]


def raw_pipeline(cfg: Config) -> list[ConfigDict]:
    """Return the test pipeline without what an exported file does by itself."""
    steps = copy.deepcopy(tested_dataset(cfg)['pipeline'])
    return [step for step in steps if not step['type'].endswith(('Resize', 'CenterResizedCrop'))]


def inputs_of(item: dict[str, Any], cfg: Config) -> Arrays:
    """Return what a file takes, by name, of an item of a data set: an image or a pair of crops."""
    images = item['inputs']
    if isinstance(images, dict):  # [3, H, W] -> [H, W, 3]
        pair = {name: image.permute(1, 2, 0).numpy() for name, image in images.items()}
        return dict(pair, box=item['data_samples'].template_box.numpy())
    bgr = tested_dataset(cfg)['pipeline'][0].get('color', 'bgr') == 'bgr'
    return dict(image=(images.flip(0) if bgr else images).permute(1, 2, 0).numpy()[None])


def sample_inputs(cfg: Config, count: int, part: str = 'train') -> list[Arrays]:
    """Return inputs of an exported file, spread over the config's data of 'train' or 'val'."""
    data = copy.deepcopy((cfg.get(f'{part}_dataloader') or {}).get('dataset'))
    if data is None:
        raise UserError(f'images are needed; the config has no {part}_dataloader.dataset')
    while 'dataset' in data:  # of what repeats or mixes the images of another
        data = data['dataset']
    if 'pipeline' in data:
        data['pipeline'] = raw_pipeline(cfg)
    prepare_scope(cfg)
    dataset = DATASETS.build(data)
    with seeded(0):
        places = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
        return [inputs_of(dataset[int(place)], cfg) for place in places]
