"""Tiny sequence sets on disk, in the layouts that their makers publish."""

from pathlib import Path

import cv2
import numpy as np


def picture(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    """An RGB picture that tells frames apart."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(seed)[..., ::-1])


def write_rows(path: Path, rows: np.ndarray, separator: str = ',') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(separator.join(f'{v:g}' for v in row) + '\n' for row in rows))


def some_boxes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 60, (count, 4)).astype(np.float64)


def write_lasot_sequence(root: Path, name: str, boxes: np.ndarray, occluded=(), away=()) -> Path:
    folder = root / name.rpartition('-')[0] / name
    for frame in range(len(boxes)):
        write_picture(folder / 'img' / f'{frame + 1:08d}.jpg', frame)
    write_rows(folder / 'groundtruth.txt', boxes)
    for file, gone in (('full_occlusion.txt', occluded), ('out_of_view.txt', away)):
        flags = ['1' if frame in gone else '0' for frame in range(len(boxes))]
        (folder / file).write_text(','.join(flags))
    return folder
