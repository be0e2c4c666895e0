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
_IN_THE_FILE = ('Resize', 'CenterResizedCrop')


def raw_pipeline(cfg: Config) -> list[ConfigDict]:
    """Return the test pipeline without what an exported file does by itself."""
    steps = copy.deepcopy(tested_dataset(cfg)['pipeline'])
    return [step for step in steps if step['type'].rpartition('.')[2] not in _IN_THE_FILE]


def loads_bgr(cfg: Config) -> bool:
    """Tell whether the test pipeline loads images in the order BGR; a tracker's are RGB."""
    pipeline = tested_dataset(cfg).get('pipeline') or [dict(color='rgb')]
    return bool(pipeline[0].get('color', 'bgr') == 'bgr')


def inputs_of(item: dict[str, Any], bgr: bool) -> Arrays:
    """Return what a file takes, by name, of an item of a data set: an image or a pair of crops."""
    images = item['inputs']
    if isinstance(images, dict):  # [3, H, W] -> [H, W, 3]
        pair = {name: image.permute(1, 2, 0).numpy() for name, image in images.items()}
        return dict(pair, box=item['data_samples'].template_box.numpy())
    image = images.permute(1, 2, 0).numpy()
    return dict(image=np.ascontiguousarray(image[..., ::-1] if bgr else image)[None])


def sample_inputs(cfg: Config, count: int, part: str = 'train') -> list[Arrays]:
    """Return inputs of an exported file, spread over the config's data of 'train' or 'val'.

    Raises:
        UserError: If the config has none.
    """
    data = copy.deepcopy((cfg.get(f'{part}_dataloader') or {}).get('dataset'))
    if data is None:
        raise UserError(f'images are needed; the config has no {part}_dataloader.dataset')
    while 'dataset' in data:  # of what repeats or mixes the images of another
        data = data['dataset']
    if 'pipeline' in data:
        data['pipeline'] = raw_pipeline(cfg)
    prepare_scope(cfg)
    dataset, bgr = DATASETS.build(data), loads_bgr(cfg)
    with seeded(0):
        places = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
        return [inputs_of(dataset[int(place)], bgr) for place in places]
