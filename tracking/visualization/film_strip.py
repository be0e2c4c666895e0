"""A sequence at a glance: frames in a row with the truth and the boxes of several trackers."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from lightvit_dense.errors import UserError
from lightvit_dense.visualization.eval_pictures import legend, titled

from ..boxes import iou
from ..datasets.sequence import VideoSequence
from .draw import TRUTH_COLOR, draw_box, tracker_color

TRUTH = 'truth'
ABSENT = 'target absent'
_FONT_SIZE, _LINE, _GAP = 13, 18, 4
_INK, _PAPER, _ALARM = (20, 20, 20), (255, 255, 255), (200, 0, 0)


def choose_frames(length: int, count: int) -> list[int]:
    """Return ``count`` frames spread evenly from the first to the last one, fewer if there are."""
    count = min(count, length)
    if count == 1:
        return [0]
    return [round(place * (length - 1) / (count - 1)) for place in range(count)]


def film_strip(
    sequence: VideoSequence,
    results: Mapping[str, np.ndarray],
    frames: int | Sequence[int] = 8,
    tile_width: int = 200,
) -> np.ndarray:
    """Draw some frames of a sequence in a row.

    Above are the sequence's name and the colours; below each frame its number and the overlap of
    each tracker with the truth, or that the target is absent.

    Args:
        sequence: Frames and truth.
        results: Boxes [T, 4] (x, y, width, height in pixels) by name of the tracker; colours go by
            place.
        frames: How many frames, spread evenly, or which.
        tile_width: Width of a frame in the picture, pixels.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        UserError: If there are fewer boxes than frames, or a frame is not in the sequence.
    """
    boxes = {name: _checked(sequence, name, found) for name, found in results.items()}
    shown = choose_frames(len(sequence), frames) if isinstance(frames, int) else list(frames)
    wrong = [index for index in shown if not 0 <= index < len(sequence)]
    if wrong or not shown:
        raise UserError(
            f'{sequence.name}: has the frames 0 to {len(sequence) - 1}, cannot draw {wrong}'
        )
    tiles = [_tile(sequence, index, boxes, tile_width) for index in shown]
    row = _row(tiles)
    entries = [(TRUTH, TRUTH_COLOR)]
    entries += [(name, tracker_color(place)) for place, name in enumerate(boxes)]
    head = titled(legend(entries, row.shape[1]), _headline(sequence))
    return np.concatenate([head, row])


def stack_strips(strips: Sequence[np.ndarray]) -> np.ndarray:
    """Pile pictures [H, W, 3] up, all at the left; the rest is white."""
    width = max(strip.shape[1] for strip in strips)
    padded = [
        np.pad(strip, ((0, _GAP), (0, width - strip.shape[1]), (0, 0)), constant_values=255)
        for strip in strips
    ]
    return np.concatenate(padded)


def _checked(sequence: VideoSequence, name: str, boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) < len(sequence):
        raise UserError(
            f'{sequence.name}: {name} has boxes of shape {list(boxes.shape)} for '
            f'{len(sequence)} frames, expected [{len(sequence)}, 4]; track the sequence again'
        )
    return boxes


def _headline(sequence: VideoSequence) -> str:
    parts = [sequence.name, f'{len(sequence)} frames', *sequence.attributes]
    return ', '.join(parts)


def _tile(
    sequence: VideoSequence, index: int, boxes: Mapping[str, np.ndarray], width: int
) -> np.ndarray:
    """Draw one frame with its caption."""
    frame = sequence.frames.read(index)
    scale = width / frame.shape[1]
    size = (width, max(1, round(frame.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile = cv2.resize(frame, size, interpolation=way)
    annotated = index < len(sequence.boxes)
    visible = annotated and bool(sequence.visible[index])
    if visible:
        draw_box(tile, sequence.boxes[index] * scale, TRUTH_COLOR)
    for place, found in enumerate(boxes.values()):
        draw_box(tile, found[index] * scale, tracker_color(place))
    words = [(f'{index}', _INK)]
    if visible:
        for place, found in enumerate(boxes.values()):
            overlap = float(iou(found[index], sequence.boxes[index]))
            words.append((f'{overlap:.2f}', tracker_color(place)))
    elif annotated:
        words.append((ABSENT, _ALARM))
        cv2.rectangle(tile, (0, 0), (size[0] - 1, size[1] - 1), _ALARM, 2)
    return np.concatenate([tile, _caption(words, width)])


def _caption(words: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> np.ndarray:
    """Write coloured words into a bar; colours are darkened to be read on white."""
    bar = PILImage.new('RGB', (width, _LINE), _PAPER)
    pen, font = ImageDraw.Draw(bar), ImageFont.load_default(size=_FONT_SIZE)
    x = 4.0
    for text, color in words:
        pen.text((x, 1), text, tuple(round(0.75 * value) for value in color), font)
        x += pen.textlength(text, font) + 9
    return np.array(bar)


def _row(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Set tiles side by side; where frames differ in height the rest is white."""
    height = max(tile.shape[0] for tile in tiles)
    padded = [
        np.pad(tile, ((0, height - tile.shape[0]), (0, _GAP), (0, 0)), constant_values=255)
        for tile in tiles
    ]
    return np.concatenate(padded, axis=1)[:, :-_GAP]
