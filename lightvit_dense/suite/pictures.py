"""Pictures of what a suite's runs left, for ``pictures`` of a suite file.

Each takes the runs to show by title, the repository, the root of the data and options, and returns
captions and pictures, uint8 ``[H, W, 3]`` RGB. Images are spread evenly over a set, not selected.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightvit_dense import visualization

from .results import Run

Pictures = list[tuple[str, np.ndarray]]
Runs = Mapping[str, Run]


def detections(runs: Runs, root: Path, data: Path, images: str, count: int = 8) -> Pictures:
    """Draw the truth beside the detections of several models; ``images`` is a COCO folder."""
    coco = data / images
    drawn = visualization.detection_grid(
        coco / 'annotations/instances_val2017.json',
        coco / 'val2017',
        [root / run.test_folder / 'results' for run in runs.values()],
        count,
    )
    return [(f'From left to right: ground truth, {", ".join(runs)}', drawn)]


def label_maps(runs: Runs, root: Path, data: Path, images: str, count: int = 8) -> Pictures:
    """Draw the true label map beside those of several models; ``images`` is an ADE20K folder."""
    from mmseg.utils import ade_classes, ade_palette

    folders = [root / run.test_folder / 'results' for run in runs.values()]
    classes = ade_classes(), ade_palette()
    drawn = visualization.label_map_grid(data / images, folders, *classes, count)
    return [(f'From left to right: image, ground truth, {", ".join(runs)}', drawn)]


def reconstructions(runs: Runs, root: Path, data: Path, images: str, count: int = 6) -> Pictures:
    """Draw what pre-trained networks make of hidden patches of a folder's images."""
    from mmengine.config import Config
    from mmengine.runner import find_latest_checkpoint

    from lightvit_dense import apis

    chosen = visualization.evenly(sorted((data / images).glob('*.jpg')), count)
    originals = [visualization.read_image(path) for path in chosen]
    found = []
    for title, run in runs.items():
        folder = root / run.folder
        config = Config.fromfile(folder / Path(str(run.config)).name)
        model = apis.build_model(config, find_latest_checkpoint(str(folder)), device='cpu')
        words = f'{title}: original, what it sees, what it makes of it up to mean and contrast'
        found.append((words, visualization.reconstruction_grid(model, originals)))
    return found
