"""Pictures with results over them."""

import numpy as np
import pytest

from lightvit_dense.apis.inference.results import Classification, Detections, Result, Segmentation
from lightvit_dense.visualization.painting import paint
from tests.helpers.small_dense import picture

RED, BLUE = (250, 0, 0), (0, 0, 240)


def test_objects_are_painted_where_they_are() -> None:
    pixels = picture(200, 300)
    masks = np.zeros((1, 200, 300), bool)
    masks[0, 120:160, 100:180] = True
    result = Detections(
        'x', 200, 300,
        boxes=np.array([[90, 100, 200, 170]], np.float32), scores=np.array([0.9], np.float32),
        labels=np.array([1]), names=('cup',), masks=masks,
    )  # fmt: skip
    before = pixels.copy()
    painted = paint(pixels, result, [RED, BLUE])
    np.testing.assert_array_equal(pixels, before)
    inside = np.s_[125:155, 110:170]
    expected = 0.5 * pixels[inside] + 0.5 * np.array(BLUE)
    assert np.abs(painted[inside].astype(float) - expected).max() <= 1
    assert (painted[135, 90] == BLUE).all()
    # Left, right and below nothing is changed; the name stands above the box.
    for free in (np.s_[:, :88], np.s_[:, 205:], np.s_[175:, :], np.s_[:70, :]):
        np.testing.assert_array_equal(painted[free], pixels[free])
    assert (painted[85:100, 91:150] != pixels[85:100, 91:150]).any()
    none = Detections('x', 200, 300)
    np.testing.assert_array_equal(paint(pixels, none, [RED]), pixels)


def test_regions_are_coloured_and_named() -> None:
    pixels = picture(200, 300)
    labels = np.zeros((200, 300), np.uint8)
    labels[:, 200:] = 1
    labels[0:3, 0:3] = 1  # too small for a name
    result = Segmentation('x', 200, 300, label_map=labels, names=('sky', 'sea'))
    painted = paint(pixels, result, [RED, BLUE])
    for free, color in ((np.s_[10:40, 10:190], RED), (np.s_[10:40, 210:290], BLUE)):
        expected = 0.5 * pixels[free] + 0.5 * np.array(color)
        assert np.abs(painted[free].astype(float) - expected).max() <= 1
    # Names stand on their colour in the depth of the largest region.
    assert (painted[85:115, 70:130] == RED).all(axis=2).any()
    assert (painted[85:115, 220:280] == BLUE).all(axis=2).any()


def test_classes_are_written_and_nothing_else_is_painted() -> None:
    pixels = picture(60, 200)
    result = Classification('x', 60, 200, scores=np.array([0.1, 0.9]), names=('cat', 'dog'))
    painted = paint(pixels, result, [])
    assert (painted[:30, :60] == 0).all(axis=2).any()
    np.testing.assert_array_equal(painted[:, 150:], pixels[:, 150:])
    with pytest.raises(TypeError, match='nothing is painted of a Result'):
        paint(pixels, Result('x', 60, 200), [])


@pytest.mark.parametrize('size', [(1, 1), (2, 40), (40, 2)])
def test_tiny_pictures_keep_their_size(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 9, np.uint8)
    labels = np.zeros(size, np.uint8)
    result = Segmentation('x', *size, label_map=labels, names=('a very long name',))
    assert paint(pixels, result, [RED]).shape == (*size, 3)
    box = np.array([[0, 0, size[1], size[0]]], np.float32)
    result = Detections(
        'x', *size, boxes=box, scores=np.ones(1, np.float32), labels=np.zeros(1, int),
        names=('long name',), masks=np.ones((1, *size), bool),
    )  # fmt: skip
    assert paint(pixels, result, [RED]).shape == (*size, 3)
