"""A sequence at a glance: frames in a row with the truth and the boxes of several trackers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from lightvit_dense import visualization
from lightvit_dense.engine.hooks import PredictionVisualizationHook
from lightvit_dense.errors import UserError

from ..boxes import iou, to_corners
from ..datasets.sequence import VideoSequence
from ..registry import HOOKS

TRUTH_COLOR: visualization.Color = (255, 255, 255)
ABSENT_COLOR: visualization.Color = (200, 0, 0)
_SHADE: visualization.Color = (0, 0, 0)


def outline_targets(
    image: visualization.Image, boxes: np.ndarray, colors: Sequence[visualization.Color]
) -> visualization.Image:
    """Draw boxes [N, 4] (x, y, width, height in pixels) so that they show on any ground."""
    edges = to_corners(np.asarray(boxes, np.float64).reshape(-1, 4))
    return visualization.draw_boxes(image, edges, colors, outline=_SHADE)


def film_strip(
    sequence: VideoSequence,
    results: Mapping[str, np.ndarray],
    frames: int | Sequence[int] = 8,
    tile_width: int = 200,
) -> visualization.Image:
    """Draw some frames of a sequence in a row, under the sequence's name and the colours.

    Below each frame are its number and the overlap of each tracker with the truth, or that the
    target is absent. ``results`` are boxes [T, 4] (x, y, width, height in pixels) by tracker,
    ``frames`` how many, spread evenly, or which; ``tile_width`` is that of a frame in pixels.
    """
    boxes = {name: np.asarray(found, np.float64) for name, found in results.items()}
    for name, found in boxes.items():
        if found.ndim != 2 or found.shape[1] != 4 or len(found) < len(sequence):
            raise UserError(
                f'{sequence.name}: {name} has boxes of shape {list(found.shape)} for '
                f'{len(sequence)} frames, expected [{len(sequence)}, 4]; track the sequence again'
            )
    if isinstance(frames, int):
        frames = visualization.evenly(range(len(sequence)), frames)
    shown = list(frames)
    wrong = [index for index in shown if not 0 <= index < len(sequence)]
    if wrong or not shown:
        raise UserError(
            f'{sequence.name}: has the frames 0 to {len(sequence) - 1}, cannot draw {wrong}'
        )
    drawn = list(boxes.values())
    tiles = [_draw_frame(sequence, index, drawn, tile_width) for index in shown]
    row = visualization.grid([tiles], background=255)
    entries = [('truth', TRUTH_COLOR)]
    entries += [(name, visualization.line_color(place)) for place, name in enumerate(boxes)]
    headline = ', '.join([sequence.name, f'{len(sequence)} frames', *sequence.attributes])
    head = visualization.titled(visualization.legend(entries, row.shape[1]), headline)
    return np.concatenate([head, row])


def _draw_frame(
    sequence: VideoSequence, index: int, boxes: Sequence[np.ndarray], width: int
) -> visualization.Image:
    """Draw one frame with its caption."""
    frame = sequence.frames.read(index)
    scale = width / frame.shape[1]
    annotated = index < len(sequence.boxes)
    visible = annotated and bool(sequence.visible[index])
    colors = [visualization.line_color(place) for place in range(len(boxes))]
    drawn = [found[index] * scale for found in boxes]
    words: list[tuple[str, visualization.Color | None]] = [(f'{index}', None)]
    if visible:
        truth = sequence.boxes[index]
        overlaps = [f'{float(iou(found[index], truth)):.2f}' for found in boxes]
        words += zip(overlaps, colors, strict=True)
        drawn, colors = [truth * scale, *drawn], [TRUTH_COLOR, *colors]
    tile = outline_targets(visualization.rescale(frame, scale), np.array(drawn), colors)
    if annotated and not visible:
        words.append(('target absent', ABSENT_COLOR))
        height = tile.shape[0]
        tile = visualization.draw_boxes(tile, np.array([[0, 0, width, height]]), [ABSENT_COLOR])
    return np.concatenate([tile, visualization.legend(words, width)])


@HOOKS.register_module()
class FilmStripHook(PredictionVisualizationHook):
    """Draw every tested sequence, truth and prediction on some of its frames, into a folder.

    ``visualization_hook = dict(type='tracking.FilmStripHook')`` in a config makes it what
    ``tools/test.py --show-dir`` draws with.

    Args:
        out_dir: The folder; a picture has the name of its sequence.
        max_images: Most pictures; None for all.
        frames: Frames in a picture, spread evenly.
    """

    def __init__(self, out_dir: str, max_images: int | None = None, frames: int = 8) -> None:
        super().__init__(out_dir, max_images)
        self.frames = frames

    def draw(self, runner: Runner, sample: BaseDataElement) -> visualization.Image:
        """Return the film strip of a sample with ``sequence`` and ``boxes``."""
        if 'sequence' not in sample or 'boxes' not in sample:
            found = ', '.join(sample.all_keys()) or 'nothing'
            raise UserError(
                f'--show-dir draws whole sequences that were tracked; these have {found}'
            )
        return film_strip(sample.get('sequence'), {'prediction': sample.get('boxes')}, self.frames)

    def choose_path(self, sample: BaseDataElement) -> Path:
        """Return where the picture of a sample goes."""
        return self.out_dir / f'{sample.get("sequence").name}.png'
