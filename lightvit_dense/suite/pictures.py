"""Pictures of what a suite's runs left, for ``pictures`` of a suite file.

Each takes the runs to show by title, the repository, the root of the data and options, and returns
captions and pictures, uint8 ``[H, W, 3]`` RGB. Images are spread evenly over a set, not selected.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from lightvit_dense import visualization
from lightvit_dense.visualization import PALETTE

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


def curves(
    runs: Runs, root: Path, data: Path, panels: Sequence[Mapping[str, Any]], xlabel: str
) -> Pictures:
    """Draw figures of all runs against a number; bars are deviations over seeds.

    Args:
        runs: All measured cells.
        root: Not used.
        data: Not used.
        panels: ``title``, ``metric``, ``scale`` and ``lines``: points ``(x, initialisation, task)``
            by label. Those without a run are left out.
        xlabel: What x is; its axis is logarithmic.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def reached(panel: Mapping[str, Any]) -> list[Any]:
        return [tuple(point) for points in panel['lines'].values() for point in points]

    there = {(run.init, run.task) for run in runs.values()}
    panels = [panel for panel in panels if any(point[1:] in there for point in reached(panel))]
    if not panels:
        return []
    figure = Figure(figsize=(4 * len(panels), 3.2), layout='constrained', dpi=110)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        for color, (label, points) in zip(PALETTE, panel['lines'].items(), strict=False):
            found = over_seeds(runs, points, panel['metric'], panel['scale'])
            if found:
                x, means, deviations = zip(*found, strict=True)
                style: dict[str, Any] = dict(color=color, marker='o', ms=4, capsize=3, label=label)
                axes.errorbar(x, means, yerr=deviations, **style)
        axes.set(title=panel['title'], xlabel=xlabel, xscale='log')
        ticks = sorted({point[0] for point in reached(panel)})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.15)
    all_axes[0].legend(frameon=False, fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [('Mean and deviation over seeds', np.asarray(canvas.buffer_rgba())[..., :3])]


def over_seeds(
    runs: Runs, points: Sequence[tuple[float, str, str]], metric: str, scale: float
) -> list[tuple[float, float, float]]:
    """Return x, mean and sample deviation of the points ``(x, initialisation, task)`` with runs."""
    found = []
    for x, init, task in points:
        chosen = [run for run in runs.values() if (run.init, run.task) == (init, task)]
        values = [run.metrics[metric] * scale for run in chosen]
        if values:
            found.append((x, mean(values), stdev(values) if len(values) > 1 else 0.0))
    return found
