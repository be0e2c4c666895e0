"""Film strips and curves of trackers, for ``pictures`` of a suite file."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lightvit_dense import visualization
from tracking import evaluation
from tracking.datasets import LaSOT
from tracking.evaluation import plots
from tracking.runtime.results import read_result
from tracking.visualization import film_strip


def film_strips(
    runs: Mapping[str, Any], root: Path, data: Path, videos: str, count: int = 5
) -> list[tuple[str, np.ndarray]]:
    """Draw test videos with the boxes of several trackers, and their success and precision.

    ``runs`` are those of :mod:`lightvit_dense.suite.results` by title, ``videos`` the folder in
    LaSOT's layout below ``data``. Returns captions and pictures, uint8 [H, W, 3] RGB.
    """
    sequences = LaSOT(data / videos, split='test')
    boxes = {}
    for title, run in runs.items():
        folder = root / run.test_folder / 'results'
        boxes[title] = [read_result(folder / f'{name}.txt') for name in sequences.names]
    strips = [
        [film_strip(sequences[i], {title: found[i] for title, found in boxes.items()})]
        for i in visualization.evenly(range(len(sequences)), count)
    ]
    words = 'Below each frame its number and the overlap of each tracker with the truth'
    drawn = [(words, visualization.grid(strips, background=255))]
    truths = [evaluation.Truth.of(sequence) for sequence in sequences]
    scores = {title: evaluation.score(found, truths) for title, found in boxes.items()}
    for kind in ('success', 'precision'):
        buffer = io.BytesIO()
        plots.curve_plot(scores, kind).savefig(buffer, format='png', dpi=120, facecolor='white')
        picture = np.array(Image.open(buffer).convert('RGB'))
        drawn.append((f'{kind.capitalize()} of one pass', picture))
    return drawn
