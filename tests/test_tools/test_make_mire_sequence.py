import runpy
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/dataset_converters/make_mire_sequence.py'
DOTS = ((-60, -30), (60, -34), (-58, 36), (62, 30))


@pytest.fixture
def run() -> Callable[..., int]:
    def call(*arguments: object) -> int:
        tool = runpy.run_path(str(TOOL))
        return tool['run_tool'](lambda: tool['main']([str(a) for a in arguments]))

    return call


def board(x: int, y: int, spots: bool = True) -> np.ndarray:
    """Return a picture of the board with its disc at a place, and a fifth dot that is not its."""
    image = np.full((288, 384), 130, np.uint8)
    cv2.rectangle(image, (x - 90, y - 60), (x + 95, y + 62), 30, -1)
    cv2.ellipse(image, (x, y), (30, 20), 0, 0, 360, 250, -1)
    for dx, dy in DOTS if spots else ():
        cv2.ellipse(image, (x + dx, y + dy), (8, 5), 0, 0, 360, 250, -1)
    cv2.circle(image, (x - 30, y - 50), 4, 250, -1)
    return image


def test_the_box_covers_disc_and_dots(tmp_path: Path, run: Callable[..., int]) -> None:
    pictures = tmp_path / 'mire-2'
    pictures.mkdir()
    for number, image in enumerate((board(150, 120), board(160, 125), board(170, 130, False)), 1):
        cv2.imwrite(str(pictures / f'image.{number:04d}.pgm'), image)
    assert run(pictures, tmp_path / 'out') == 0
    boxes = np.loadtxt(tmp_path / 'out/groundtruth.txt', delimiter=',')
    # Ellipses of half axes 8 and 5 around the outermost dots.
    np.testing.assert_allclose(boxes[0], [82, 81, 139, 81], atol=1)
    np.testing.assert_allclose(boxes[1], boxes[0] + [10, 5, 0, 0])
    assert not boxes[2].any()
    absent = (tmp_path / 'out/absence.label').read_text().split()
    assert absent == ['0', '0', '1']
    frame = cv2.imread(str(tmp_path / 'out/img/00000002.png'), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(frame, board(160, 125))


def test_a_folder_without_pictures_is_an_error(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, tmp_path / 'out') != 0
    assert 'holds no image.*.pgm' in capsys.readouterr().err
