"""Crops against laying the padded window out whole and resizing it."""

import math
import tracemalloc

import cv2
import numpy as np
import pytest

from lightvit_dense.errors import UserError
from tracking.sampling.crops import CropWindow, DegenerateBox, crop_image, crop_window, padding_mask


def straight_crop(image: np.ndarray, window: CropWindow, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad the window with zeros in memory, pixel for pixel, then resize image and mask."""
    padded = np.zeros((window.side, window.side, 3), np.uint8)
    mask = np.ones((window.side, window.side))
    rows = np.arange(window.y, window.y + window.side)
    columns = np.arange(window.x, window.x + window.side)
    real = [
        (at >= 0) & (at < limit) for at, limit in zip((rows, columns), image.shape, strict=False)
    ]
    inside = np.ix_(*real)
    padded[inside] = image[np.ix_(rows[real[0]], columns[real[1]])]
    mask[inside] = 0
    resized = cv2.resize(padded, (out, out), interpolation=cv2.INTER_LINEAR)
    return resized, cv2.resize(mask, (out, out)).astype(bool)


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (540, 960, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def test_window_is_that_of_the_paper():
    # ceil(sqrt(30 * 50) * 4) = 155; 10 + 15 - 77.5 = -52.5 and 20 + 25 - 77.5 = -32.5 go to even
    assert crop_window([10, 20, 30, 50], 4) == CropWindow(-52, -32, 155)
    assert crop_window(np.array([0, 0, 1, 1]), 1) == CropWindow(0, 0, 1)


def test_pixels_and_mask_match_padding_in_memory(photo: np.ndarray):
    draw = np.random.default_rng(1)
    kinds = set()
    for _ in range(120):
        out = int(draw.choice([64, 128, 256]))
        size = np.exp(draw.uniform(np.log(4), np.log(500), 2))
        window = crop_window([*draw.uniform(-300, [1000, 600]), *size], float(draw.choice([2, 4])))
        crop, mask = crop_image(photo, window, out), padding_mask(window, photo.shape[:2], out)
        expected, expected_mask = straight_crop(photo, window, out)
        large = window.side**2 * 3 > 4 << 20
        assert np.abs(crop.astype(int) - expected).max() <= (1 if large else 0)
        np.testing.assert_array_equal(mask, expected_mask)
        kinds.add((large, bool(mask.all()), bool(mask.any())))
    # inside, partly and wholly outside, and both ways of padding have been drawn
    assert {(False, False, False), (False, False, True), (False, True, True)} <= kinds
    assert (True, False, True) in kinds


def test_a_large_padded_window_is_never_laid_out(photo: np.ndarray):
    window = crop_window([0, 0, 960, 540], 8)
    assert window.side**2 * 3 > 90e6
    tracemalloc.start()
    crop_image(photo, window, 256)
    padding_mask(window, photo.shape[:2], 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_grey_frames_become_three_equal_channels(photo: np.ndarray):
    grey = np.ascontiguousarray(photo[..., 0])
    for box, factor in (([300, 200, 40, 40], 4), ([5, 5, 40, 40], 4), ([0, 0, 900, 500], 4)):
        window = crop_window(box, factor)
        expected = crop_image(np.dstack([grey] * 3), window, 64)
        np.testing.assert_array_equal(crop_image(grey, window, 64), expected)
        np.testing.assert_array_equal(crop_image(grey[..., None], window, 64), expected)


def test_boxes_go_in_and_out_of_the_window():
    window = CropWindow(-20, 30, 200)
    np.testing.assert_allclose(window.to_crop([80, 130, 50, 20], 100), [50, 50, 25, 10])
    np.testing.assert_allclose(window.to_crop([-20, 30, 200, 200], 1), [0, 0, 1, 1])
    boxes = np.random.default_rng(0).uniform(-50, 500, (3, 7, 4))
    for out in (1, 100, 256):
        there = window.to_crop(boxes, out)
        assert there.shape == boxes.shape
        np.testing.assert_allclose(window.to_image(there, out), boxes, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    'box',
    [
        *([0, 0, 0, 10], [0, 0, 10, -1], [0, 0, -10, -10], [0, 0, 1e9, 1e9], [1e12, 0, 10, 10]),
        *([math.nan, 0, 10, 10], [0, 0, 10, math.nan], [0, 0, math.inf, 10]),
    ],
)
def test_degenerate_boxes_are_named(box: list[float]):
    with pytest.raises(DegenerateBox, match='no crop around the box x='):
        crop_window(box, 2.0)


@pytest.mark.parametrize(
    'frame',
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(frame: np.ndarray):
    with pytest.raises(UserError, match='a frame'):
        crop_image(frame, CropWindow(0, 0, 2), 2)
