"""Results over pictures; how they are painted is tested with the painters."""

import numpy as np
import pytest

from lightvit_dense.apis.inference.painting import draw_result
from lightvit_dense.apis.inference.results import Classification, Detections, Result, Segmentation
from lightvit_dense.visualization import draw_label_map

RED, BLUE = (250, 0, 0), (0, 0, 240)
PIXELS = np.random.default_rng(0).integers(0, 256, (100, 300, 3)).astype(np.uint8)


def test_the_best_object_is_drawn_on_top_in_the_colour_of_its_class() -> None:
    result = Detections(
        'x', 100, 300,
        boxes=np.array([[90, 40, 200, 80], [90, 40, 250, 80]], np.float32),
        scores=np.array([0.9, 0.8], np.float32),
        labels=np.array([1, 0]), names=('cup', 'cat'), masks=np.ones((2, 100, 300), bool),
    )  # fmt: skip
    drawn = draw_result(PIXELS, result, [RED, BLUE])
    assert (drawn[45:75, 90] == BLUE).all()
    assert (drawn[45:75, 249] == RED).all()
    under = 0.5 * PIXELS[90, 5] + 0.5 * np.array(RED)
    np.testing.assert_allclose(drawn[90, 5], 0.5 * under + 0.5 * np.array(BLUE), atol=1)
    np.testing.assert_array_equal(draw_result(PIXELS, Detections('x', 100, 300), [RED]), PIXELS)


def test_regions_are_coloured_and_named() -> None:
    labels = np.zeros((100, 300), np.uint8)
    labels[:, 200:] = 1
    result = Segmentation('x', 100, 300, label_map=labels, names=('sky', 'sea'))
    expected = draw_label_map(PIXELS, labels, [RED, BLUE], result.names)
    np.testing.assert_array_equal(draw_result(PIXELS, result, [RED, BLUE]), expected)


def test_classes_are_written_and_nothing_else_is_drawn() -> None:
    result = Classification('x', 100, 300, scores=np.array([0.1, 0.9]), names=('cat', 'dog'))
    painted = draw_result(PIXELS, result, [])
    assert (painted[:30, :60] == 0).all(axis=2).any()
    np.testing.assert_array_equal(painted[:, 150:], PIXELS[:, 150:])
    with pytest.raises(TypeError, match='nothing is drawn of a Result'):
        draw_result(PIXELS, Result('x', 60, 200), [])
