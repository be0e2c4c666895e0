"""From the maps of a head to the box in the search crop."""

import numpy as np


def check_crop(crop: np.ndarray, what: str, side: int) -> None:
    """Refuse a crop that is not RGB uint8 [side, side, 3].

    Raises:
        ValueError: If it is something else, with what it is.
    """
    if crop.dtype != np.uint8 or crop.shape != (side, side, 3):
        raise ValueError(
            f'the {what} crop must be RGB uint8 [{side}, {side}, 3], '
            f'got {crop.dtype} {list(crop.shape)}'
        )


def hann_window(rows: int, columns: int) -> np.ndarray:
    """Return the window that favours the middle of the search crop.

    As in OSTrack's code: the outer product of two windows of Hann whose zeros lie one cell outside
    of the map.

    Args:
        rows: Rows of the map.
        columns: Columns of the map.

    Returns:
        float32 [rows, columns], in 0..1.
    """
    sides = [0.5 * (1 - np.cos(2 * np.pi * np.arange(1, n + 1) / (n + 1))) for n in (rows, columns)]
    return np.outer(*sides).astype(np.float32)


def decode_maps(
    score: np.ndarray,
    size: np.ndarray,
    offset: np.ndarray,
    window: np.ndarray | None,
    crop: tuple[int, int],
) -> tuple[np.ndarray, float]:
    """Read the best box off the maps of a centre head.

    Args:
        score: [rows, columns], in 0..1.
        size: Width and height as parts of the crop [2, rows, columns].
        offset: Of the centre from the corner of its cell, x and y in cells [2, rows, columns].
        window: Multiplies the score to choose the cell [rows, columns]; ``None`` for no window.
        crop: Height and width of the search crop in pixels.

    Returns:
        The box [4] as x, y, width, height in pixels of the crop, float64, and the score of its
        cell, without the window.
    """
    rows, columns = score.shape
    height, width = crop
    weighted = score if window is None else score * window
    row, column = divmod(int(weighted.argmax()), columns)
    center_x = (column + float(offset[0, row, column])) / columns * width
    center_y = (row + float(offset[1, row, column])) / rows * height
    w, h = float(size[0, row, column]) * width, float(size[1, row, column]) * height
    return np.array([center_x - w / 2, center_y - h / 2, w, h]), float(score[row, column])
