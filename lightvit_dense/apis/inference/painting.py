"""Results over pictures."""

from collections.abc import Sequence

import numpy as np

from lightvit_dense.visualization import Color, Image, draw_instances, draw_label_map, write_texts

from .results import Classification, Detections, Result, Segmentation


def draw_result(pixels: Image, result: Result, palette: Sequence[Color]) -> Image:
    """Draw what was found over a picture, uint8 [H, W, 3] RGB; the palette is by class."""
    if isinstance(result, Detections):
        order = np.arange(len(result))[::-1]  # the best are drawn last, on top
        return draw_instances(
            pixels,
            result.boxes[order],
            [palette[result.labels[place]] for place in order],
            [f'{result.names[place]} {result.scores[place]:.2f}' for place in order],
            None if result.masks is None else result.masks[order],
        )
    if isinstance(result, Segmentation):
        return draw_label_map(pixels, result.label_map, palette, result.names)
    if isinstance(result, Classification):
        text = '\n'.join(f'{name} {100 * score:.1f}%' for name, score in result.top(3))
        return write_texts(pixels, [(2, 0, text)], [(0, 0, 0)], above=True)
    raise TypeError(f'nothing is drawn of a {type(result).__name__}')
