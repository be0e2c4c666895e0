"""Sequences on disk and trackers of them with known faults."""

import numpy as np

from tracking.runtime.results import write_result

from .small_sequences import write_lasot_sequence

NAMES = ('cat-1', 'cat-12', 'dog-3')
FLAGS = {'cat-1': (0, 4), 'cat-12': (4,), 'dog-3': (12,)}


def path_of_box(length, seed):
    rng = np.random.default_rng(seed)
    corner = np.array([40.0, 30]) + rng.integers(-3, 4, (length, 2)).cumsum(axis=0)
    return np.concatenate([np.maximum(corner, 1), rng.integers(15, 30, (length, 2))], axis=1)


def write_world(root, attributes=True):
    """Write three sequences of LaSOT's test set; return their boxes by name."""
    boxes = {}
    for seed, name in enumerate(NAMES):
        boxes[name] = path_of_box(8 + seed, seed)
        write_lasot_sequence(root, name, boxes[name], occluded=(3,), away=(5,))
        if attributes:
            flags = ['1' if place in FLAGS[name] else '0' for place in range(14)]
            (root / 'att').mkdir(exist_ok=True)
            (root / 'att' / f'{name}.txt').write_text(','.join(flags))
    (root / 'testing_set.txt').write_text('\n'.join(NAMES))
    return boxes


def predict(boxes, noise, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: np.concatenate([b[:, :2] + rng.normal(0, noise, (len(b), 2)), b[:, 2:]], axis=1)
        for name, b in boxes.items()
    }


def write_tracker(folder, predictions, layout='lasot'):
    for name, boxes in predictions.items():
        write_result(folder, name, boxes, np.full(len(boxes), 0.05), layout)
    return folder
