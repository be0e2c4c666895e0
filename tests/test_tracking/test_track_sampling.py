"""Frames, windows and changes of training pairs against straight-line references."""

import math

import cv2
import numpy as np
import pytest

from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.errors import UserError
from tracking.sampling import CropSpec, Cut, FrameChoice, PairAugment
from tracking.sampling.jitter import read_spec

DRAWS = 2000


def draw_many(mode: str, max_interval: int, visible: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    choice = FrameChoice(mode, max_interval)
    with seeded(3):
        return np.array([choice.draw(visible) for _ in range(draws)])


@pytest.fixture
def gappy() -> np.ndarray:
    visible = np.random.default_rng(0).random(400) < 0.6
    visible[100:120] = False
    return visible


def test_causal_pairs_look_ahead_within_the_interval(gappy: np.ndarray):
    pairs = draw_many('causal', 30, gappy)
    assert gappy[pairs].all()
    distance = pairs[:, 1] - pairs[:, 0]
    assert distance.min() >= 1
    assert distance.max() == 30
    # where all frames are visible, every distance is as likely as any other
    distance = np.diff(draw_many('causal', 10, np.ones(5000, bool)))
    counts = np.bincount(distance[:, 0])[1:]
    assert len(counts) == 10
    assert abs(counts - DRAWS / 10).max() < 4 * math.sqrt(DRAWS / 10)


def test_the_interval_grows_until_there_is_a_frame():
    visible = np.zeros(100, bool)
    visible[[3, 60]] = True
    np.testing.assert_array_equal(draw_many('causal', 1, visible, 20), [[3, 60]] * 20)
    found = {tuple(pair) for pair in draw_many('interval', 1, visible, 50)}
    assert found == {(3, 60), (60, 3)}


@pytest.mark.parametrize('mode', ['interval', 'order'])
def test_other_pairs_look_back_half_of_the_time(mode: str, gappy: np.ndarray):
    pairs = draw_many(mode, 30, gappy)
    assert gappy[pairs].all()
    distance = pairs[:, 1] - pairs[:, 0]
    assert (distance.min(), distance.max()) == (-30, 30)
    assert (distance != 0).all()
    assert abs((distance > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(DRAWS)


def test_choices_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"Did you mean 'causal'\?"):
        FrameChoice('casual')
    with pytest.raises(UserError, match='max_interval'):
        FrameChoice(max_interval=0)
    with pytest.raises(ValueError, match='two visible frames, there are 1'):
        FrameChoice().draw(np.array([False, True]))


def test_the_shaken_box_is_that_of_the_authors():
    spec = CropSpec(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25)
    x, y, w, h = 100.0, 50.0, 40.0, 90.0
    with seeded(5):
        boxes = [spec.shake(np.array([x, y, w, h])) for _ in range(200)]
    state = np.random.RandomState(5)
    for box in boxes:
        # the same random numbers, one side after the other
        g_w, g_h = state.standard_normal(), state.standard_normal()
        u_x, u_y = state.random_sample(), state.random_sample()
        new_w, new_h = w * math.exp(0.25 * g_w), h * math.exp(0.25 * g_h)
        offset = 3.0 * math.sqrt(new_w * new_h)
        center_x = x + w / 2 + offset * (u_x - 0.5)
        center_y = y + h / 2 + offset * (u_y - 0.5)
        expected = [center_x - new_w / 2, center_y - new_h / 2, new_w, new_h]
        np.testing.assert_allclose(box, expected, rtol=1e-12)


@pytest.mark.parametrize(('shown', 'empty'), [((0, 0), False), ((17, 17), True), ((48, 16), False)])
def test_a_crop_is_empty_where_padding_covers_every_16th_pixel(shown: tuple, empty: bool):
    padding = np.ones((64, 64), bool)
    padding[shown] = False
    assert Cut(np.zeros((64, 64, 3), np.uint8), np.zeros(4), padding).is_empty is empty


def make_cut(seed: int) -> Cut:
    draw = np.random.default_rng(seed)
    image = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    padding = np.zeros((32, 32), bool)
    padding[:, :5] = True
    return Cut(image, np.array([0.25, 0.5, 0.125, 0.25]), padding)


def test_a_joint_flip_mirrors_both_crops_exactly():
    cuts = make_cut(0), make_cut(1)
    for before, after in zip(cuts, PairAugment({'flip': 1.0}, 0.0, 0.0)(cuts), strict=True):
        np.testing.assert_array_equal(after.image, before.image[:, ::-1])
        np.testing.assert_array_equal(after.padding, before.padding[:, ::-1])
        np.testing.assert_allclose(after.box, [0.625, 0.5, 0.125, 0.25], rtol=0, atol=1e-15)
    # mirrored together and one by one is not mirrored
    for before, after in zip(cuts, PairAugment({'flip': 1.0}, 0.0, 1.0)(cuts), strict=True):
        np.testing.assert_array_equal(after.image, before.image)


def test_joint_changes_happen_to_both_crops_or_none():
    """And crops flip on their own besides."""
    cuts = make_cut(0), make_cut(1)
    for own in (0.0, 0.5):
        augment = PairAugment({'gray': 0.05, 'flip': 0.5}, 0.0, own)
        with seeded(1):
            drawn = [augment(cuts) for _ in range(DRAWS)]
        flips = np.array([[cut.padding[0, -1] for cut in pair] for pair in drawn])
        grays = np.array([[np.ptp(cut.image, axis=2).max() == 0 for cut in pair] for pair in drawn])
        for found, probability in ((flips, 0.5), (grays, 0.05)):
            spread = 4 * math.sqrt(probability * (1 - probability) / DRAWS)
            assert abs(found.mean(axis=0) - probability).max() < spread
        np.testing.assert_array_equal(grays[:, 0], grays[:, 1])
        same = (flips[:, 0] == flips[:, 1]).mean()
        assert same == 1 if own == 0 else abs(same - 0.5) < 4 * 0.5 / math.sqrt(DRAWS)


def test_brightness_is_a_factor_of_each_crop():
    cuts = make_cut(0), make_cut(1)
    augment = PairAugment({}, 0.2, 0.0)
    factors = []
    with seeded(7):
        for _ in range(300):
            for before, after in zip(cuts, augment(cuts), strict=True):
                # a least-squares factor of the levels that are not clipped, then the whole crop
                level = before.image[before.image < 200].astype(float)
                factor = after.image[before.image < 200] @ level / (level @ level)
                expected = np.clip(np.floor(before.image * factor + 0.5), 0, 255)
                assert abs(after.image - expected).max() <= 1
                factors.append(factor)
    assert 0.8 <= min(factors) < 0.81
    assert 1.19 < max(factors) <= 1.2
    assert abs(np.corrcoef(factors[::2], factors[1::2])[0, 1]) < 0.25


def test_grey_is_that_of_itu_601():
    cuts = make_cut(0), make_cut(1)
    template, _ = PairAugment({'gray': 1.0}, 0.0, 0.0)(cuts)
    weights = np.array([0.299, 0.587, 0.114])
    assert abs(template.image - (cuts[0].image @ weights)[..., None]).max() <= 0.51
    assert cv2.countNonZero(template.image[..., 0] - template.image[..., 2]) == 0


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (({'grey': 0.1}, 0.2, 0.5), r"Did you mean 'gray'\?"),
        (({'flip': 1.5}, 0.2, 0.5), 'joint flip=1.5 is no probability'),
        (({}, -0.1, 0.5), 'brightness must not be negative'),
        (({}, 0.1, -0.5), 'flip=-0.5 is no probability'),
    ],
)
def test_changes_that_cannot_be_are_refused(arguments: tuple, told: str):
    with pytest.raises(UserError, match=told):
        PairAugment(*arguments)


def test_a_spec_takes_the_published_values_for_the_rest():
    published = {'size': 256, 'factor': 4.0, 'center_jitter': 3.0}
    assert read_spec('search', published, {'size': 128}) == CropSpec(128, 4.0, 3.0, 0.0)
    with pytest.raises(UserError, match=r"names 'centre_jitter', .* Did you mean 'center_jitter'"):
        read_spec('search', published, {'centre_jitter': 1.0})
    with pytest.raises(UserError, match='positive size and factor'):
        read_spec('search', published, {'factor': 0})
