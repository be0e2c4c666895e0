"""Figures of LaSOT and GOT-10k against frame-by-frame loops, and every habit of the toolkits."""

import math

import numpy as np
import pytest

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from tracking.datasets import VideoSequence
from tracking.evaluation import TOOLKITS, Protocol, Truth, choose_protocol, score
from tracking.evaluation.got10k import overlaps
from tracking.evaluation.ope import frame_errors


def make(seed=0, odd=True, rounded=False):
    """Make truths with absent and boxless frames and failing predictions; rounded to thresholds."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for place in range(7):
        length = int(rng.integers(12, 60))
        path = np.array([160.0, 120]) + rng.normal(0, 4, (length, 2)).cumsum(axis=0)
        growth = np.exp(rng.normal(0, 0.05, (length, 1)).cumsum(axis=0))
        boxes = np.concatenate([path, rng.uniform(20, 60, 2) * growth], axis=1)
        predicted = boxes + rng.normal(0, 6, (length, 4)) * rng.random((length, 1))
        predicted[:, 2:] = np.abs(predicted[:, 2:]) + 1
        lost = rng.random(length) < 0.2
        predicted[lost, :2] += rng.uniform(-200, 200, (int(lost.sum()), 2))
        present = rng.random(length) > 0.15
        present[0] = True
        if odd:
            boxless = rng.random(length) < 0.1
            boxless[0] = False
            boxes[boxless, 2:] = 0
            predicted[rng.random(length) < 0.1, 2] = 0
            boxes[rng.random(length) < 0.05, 0] = -3.0
        if rounded:
            boxes, predicted = 4 * np.round(boxes / 4), 4 * np.round(predicted / 4)
        truths.append(Truth(f'cat-{place}', boxes, present, 'cat'))
        predictions.append(predicted)
    return predictions, truths


def loop(predictions, truths, exclude=False, matlab=False):
    """Judge as pytracking does on LaSOT, or as LaSOT's own toolkit: one frame, one threshold."""
    curves = [np.zeros((len(truths), size)) for size in (21, 51, 51)]
    for s, (boxes, truth) in enumerate(zip(predictions, truths, strict=True)):
        boxes = [list(box) for box in boxes[: len(truth.boxes)]]
        for i in range(1, len(boxes)):
            bad = matlab and (any(map(math.isnan, boxes[i])) or min(boxes[i][2:]) < 0)
            if bad or 0 in boxes[i][2:]:
                boxes[i] = boxes[i - 1]
        boxes[0] = list(truth.boxes[0])
        counted = 0
        for box, true, present in zip(boxes, truth.boxes, truth.present, strict=True):
            valid = bool(present and min(true if matlab else true[2:]) > 0)
            counted += valid or not exclude
            if valid:
                found = one_frame(box, true)
            elif matlab:
                found = (-1.0, -1.0, -1.0) if present else (-1.0, math.inf, math.inf)
            else:
                found = (-1.0, math.inf, -1.0 if present else math.inf)
            curves[0][s] += found[0] > np.arange(21) * 0.05
            curves[1][s] += found[1] <= np.arange(51)
            curves[2][s] += found[2] <= np.arange(51) / 100
        for rates in curves:
            rates[s] /= counted
    return curves


def one_frame(box, true):
    """Compare two boxes in inclusive pixels."""
    wide = min(box[0] + box[2] - 1, true[0] + true[2] - 1) - max(box[0], true[0]) + 1
    high = min(box[1] + box[3] - 1, true[1] + true[3] - 1) - max(box[1], true[1]) + 1
    shared = max(wide, 0) * max(high, 0)
    overlap = shared / (box[2] * box[3] + true[2] * true[3] - shared)
    centres = [[b[k] + (b[k + 2] - 1) / 2 for k in (0, 1)] for b in (box, true)]
    relative = [[c[k] / true[k + 2] for k in (0, 1)] for c in centres]
    return overlap, math.dist(*centres), math.dist(*relative)


def assert_rates(scores, expected):
    for name, rates in zip(('success', 'precision', 'norm_precision'), expected, strict=True):
        np.testing.assert_allclose(getattr(scores, name), rates, atol=1e-12, err_msg=name)


@pytest.mark.parametrize('exclude', [False, True])
@pytest.mark.parametrize('odd', [False, True])
@pytest.mark.parametrize('rounded', [False, True])
def test_equals_a_loop_over_frames_and_thresholds(odd, exclude, rounded):
    predictions, truths = make(0, odd, rounded)
    rules = choose_protocol('pytracking', {'exclude_invalid_frames': exclude})
    assert_rates(score(predictions, truths, rules), loop(predictions, truths, exclude))


def test_equals_a_loop_in_the_way_of_lasots_own_toolkit():
    predictions, truths = make(1)
    predictions[2][5] = np.nan
    predictions[3][7, 2] = -4
    found = score(predictions, truths, TOOLKITS['matlab'])
    assert_rates(found, loop(predictions, truths, matlab=True))


def test_figures_are_places_and_means_of_the_curves():
    predictions, truths = make(2)
    scores = score(predictions, truths)
    success, precision, norm = loop(predictions, truths)
    rates = dict(success=success, OP50=success[:, 10], OP75=success[:, 15])
    rates |= dict(precision=precision[:, 20], norm_precision=norm[:, 20], norm_precision_mean=norm)
    wanted = {name: 100 * values.mean() for name, values in rates.items()}
    assert scores.figures() == pytest.approx(wanted)
    assert scores.figures(np.array([1]))['success'] == pytest.approx(100 * success[1].mean())


def test_a_sequence_counts_alike_however_long_it_is():
    still = np.tile([10.0, 10, 20, 20], (100, 1))
    truths = [Truth(str(size), still[:size], np.ones(size, bool)) for size in (100, 10)]
    found = score([still + np.array([500, 0, 0, 0]), still[:10]], truths).figures()
    # Of the long one the first frame alone is met.
    assert found['precision'] == pytest.approx(100 * (0.01 + 1) / 2)
    # An overlap of 1 is not above the last threshold.
    assert found['success'] == pytest.approx(100 * (0.01 + 1) / 2 * 20 / 21)


def one(rules, true, predicted, present=None):
    true = np.array(true, float)
    truth = Truth('dog-1', true, np.ones(len(true), bool) if present is None else present)
    return score([np.array(predicted, float)], [truth], rules)


BOX = [10.0, 10, 20, 20]
AWAY = [200.0, 10, 20, 20]


def test_pixel_conventions_differ_by_rounding_alone():
    predictions, truths = make(3)
    inclusive = score(predictions, truths)
    continuous = score(predictions, truths, Protocol(pixels='continuous'))
    assert_rates(continuous, (inclusive.success, inclusive.precision, inclusive.norm_precision))
    a, b = (frame_errors(np.array([BOX]), np.array([AWAY]), p) for p in ('inclusive', 'continuous'))
    np.testing.assert_allclose(a, b, rtol=1e-14)


BAD = [[math.nan, 1, 2, 3], [1, 1, -2, 3], [1, math.inf, 2, 3]]
# One letter a frame: 'S' is off by 4 of 20 pixels, 'W' has no width, 'L' lies at the left border.
LETTERS = dict(B=BOX, A=AWAY, S=[BOX[0] + 4.0, *BOX[1:]], N=[math.nan] * 4, Z=[0.0] * 4)
LETTERS |= dict(W=[10.0, 10, 0, 20], L=[0.0, 10, 20, 20], E=[0.0, 0, 0, 5])
LETTERS |= {str(place): bad for place, bad in enumerate(BAD)}
PREVIOUS = dict(invalid='previous')


CASES = [
    # options, truth, prediction, absent frames, curve, place on it, value
    (dict(), 'BBB', 'ABB', '', 'precision', 20, 1),  # the first box is that of the truth
    (dict(first_frame='prediction'), 'BBB', 'ABB', '', 'precision', 20, 2 / 3),
    (dict(first_frame='exclude'), 'BBB', 'ABB', '', 'precision', 20, 1),
    (dict(first_frame='exclude'), 'BBB', 'ABB', '', 'frames', None, 2),
    (dict(), 'BB', 'BBB', '', 'precision', 0, 1),  # what is too much is cut off
    (dict(shorter='zeros'), 'BBBB', 'BB', '', 'success', 10, 1 / 2),
    # A box without size repeats the tracker's own one before, not the true one.
    (dict(), 'BBBBB', 'AEBEE', '', 'success', 10, 4 / 5),
    (dict(zero_size='keep'), 'BBBBB', 'AEBEE', '', 'success', 10, 2 / 5),
    *((PREVIOUS, 'BBB', f'B{bad}B', '', 'success', 10, 1) for bad in range(3)),
    (PREVIOUS, 'BBB', '0BB', '', 'success', 10, 1),  # the first one does not count anyway
    # Frames without a true box, and an absent one.
    *((who, 'BWBB', 'BBBB', '3', 'success', 0, 1 / 2) for who in ('pytracking', 'matlab')),
    ('pytracking', 'BWBB', 'BBBB', '3', 'precision', 0, 1 / 2),
    ('pytracking', 'BWBB', 'BBBB', '3', 'norm_precision', 0, 3 / 4),
    ('matlab', 'BWBB', 'BBBB', '3', 'precision', 0, 3 / 4),
    ('matlab', 'BWBB', 'BBBB', '3', 'norm_precision', 0, 3 / 4),
    (dict(boxless_norm='miss'), 'BWBB', 'BBBB', '3', 'norm_precision', 0, 1 / 2),
    (dict(), 'BWBB', 'BBBB', '3', 'overlap', None, 1),
    # To LaSOT's own toolkit a true box at the border is none.
    ('pytracking', 'BL', 'BL', '', 'success', 10, 1),
    ('matlab', 'BL', 'BL', '', 'success', 10, 1 / 2),
    ('matlab', 'BL', 'BL', '', 'precision', 0, 1),
    (dict(exclude_invalid_frames=True), 'BBBB', 'BBBB', '13', 'success', 10, 1),
    (dict(exclude_invalid_frames=True), 'BBBB', 'BBBB', '13', 'frames', None, 2),
    # A box is left as it is where the truth is no number, so that the third repeats an empty one.
    (dict(), 'BNB', 'BZZ', '', 'success', 0, 1 / 3),
    *((dict(), 'BB', 'BS', '', 'precision', at, value) for at, value in ((3, 1 / 2), (4, 1))),
    *((dict(), 'BB', 'BS', '', 'norm_precision', at, v) for at, v in ((19, 1 / 2), (21, 1))),
]


@pytest.mark.parametrize(('options', 'true', 'predicted', 'absent', 'curve', 'at', 'value'), CASES)
def test_what_toolkits_do(options, true, predicted, absent, curve, at, value):
    protocol = TOOLKITS[options] if isinstance(options, str) else Protocol(**options)
    present = np.array([str(frame) not in absent for frame in range(len(true))])
    boxes = ([LETTERS[letter] for letter in word] for word in (true, predicted))
    found = getattr(one(protocol, *boxes, present), curve)[0]
    assert (found if at is None else found[at]) == pytest.approx(value)


@pytest.mark.parametrize(
    ('options', 'true', 'predicted', 'message'),
    [
        (dict(longer='error'), 2, [BOX] * 3, 'dog-1, frame 2: 3 predictions for 2 annotated frame'),
        (dict(), 4, [BOX] * 2, '2 predictions for 4 annotated frames'),
        *((dict(), 3, [BOX, bad, BOX], r'dog-1, frame 1: .* is no box') for bad in BAD),
        (dict(invalid='previous'), 3, [BAD[0], BAD[0], BOX], r'frame 0: .* none before it'),
        (dict(exclude_invalid_frames=True), 2, [BOX] * 2, 'dog-1: has no frame'),
    ],
)
def test_predictions_that_cannot_be_judged(options, true, predicted, message):
    absent = np.zeros(true, bool) if 'no frame' in message else None
    with pytest.raises(UserError, match=message):
        one(Protocol(**options), [BOX] * true, predicted, absent)
    with pytest.raises(UserError, match='no sequence'):
        score([], [])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'first_frme': 'truth'}, "Did you mean 'first_frame'"),
        ({'first_frame': 'thruth'}, 'there are truth, prediction, exclude'),
        ({'toolkit': 'matlb'}, "Did you mean 'matlab'"),
    ],
)
def test_unknown_rules(options, message):
    with pytest.raises(UserError, match=message):
        choose_protocol(options.pop('toolkit', 'pytracking'), options)


def test_truth_of_a_sequence():
    boxes = np.array([BOX, [0, 0, 0, 0], BOX])
    visible = np.array([True, False, False])
    gone = {'occluded': np.array([False, False, True])}
    flagged = VideoSequence('a', range(3), boxes, visible, gone=gone)
    # The flags alone tell of absence: the second frame is boxless.
    assert Truth.of(flagged).present.tolist() == [True, True, False]
    plain = VideoSequence('a', range(3), boxes, visible)
    assert Truth.of(plain).present.tolist() == [True, False, False]
    with pytest.raises(DatasetError, match='a has 1 annotated of 3 frames'):
        Truth.of(VideoSequence('a', range(3), boxes[:1], visible[:1]))


SIZE = (90, 120)


def toolkit_overlap(box, true):
    """Compare two boxes as GOT-10k's toolkit does, clipping both first."""
    clipped = []
    for x, y, w, h in (box, true):
        x, y = min(max(x, 0), SIZE[1]), min(max(y, 0), SIZE[0])
        clipped.append((x, y, min(max(w, 0), SIZE[1] - x), min(max(h, 0), SIZE[0] - y)))
    (x, y, w, h), (u, v, p, q) = clipped
    shared = max(min(x + w, u + p) - max(x, u), 0) * max(min(y + h, v + q) - max(y, v), 0)
    return shared / (w * h + p * q - shared + np.finfo(float).eps)


@pytest.fixture
def clips():
    """Predictions, truths of two classes, the toolkit's overlaps of all frames but the first."""
    rng = np.random.default_rng(0)
    truths, predictions = [], []
    for place, length in enumerate((9, 30, 17)):
        boxes = np.concatenate(
            [rng.uniform(-20, 110, (length, 2)), rng.uniform(10, 50, (length, 2))], axis=1
        )
        present = rng.random(length) > 0.2
        truths.append(Truth(f's{place}', boxes, present, 'ab'[place % 2]))
        predictions.append(boxes + rng.normal(0, 5, boxes.shape) * [1, 1, 0.5, 0.5])
    values = [
        [
            toolkit_overlap(boxes[frame], truth.boxes[frame])
            for frame in range(1, len(boxes))
            if truth.present[frame]
        ]
        for boxes, truth in zip(predictions, truths, strict=True)
    ]
    return predictions, truths, values


def test_got10k_equals_a_loop_over_frames(clips):
    predictions, truths, values = clips
    found = overlaps(predictions, truths, [SIZE] * 3)
    for ours, theirs in zip(found.values, values, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    everything = np.concatenate(values)
    rates = dict(AO=everything, SR50=everything > 0.5, SR75=everything > 0.75)
    assert found.figures() == pytest.approx({n: 100 * v.mean() for n, v in rates.items()})
    curve = [(everything > t).mean() for t in np.linspace(0, 1, 101)]
    np.testing.assert_allclose(found.curve()[1], np.multiply(curve, 100))


def test_got10ks_ways_of_averaging(clips):
    predictions, truths, values = clips
    means = [np.mean(one) for one in values]

    def average(way):
        return overlaps(predictions, truths, [SIZE] * 3, way).figures()['AO']

    assert average('sequences') == pytest.approx(100 * np.mean(means))
    by_class = [(means[0] + means[2]) / 2, means[1]]  # a, b
    assert average('classes') == pytest.approx(100 * np.mean(by_class))
    with pytest.raises(UserError, match='average'):
        average('class')
    # Repetitions count together.
    still = [truth.boxes for truth in truths]
    both = overlaps([*predictions, *still], [*truths, *truths], [None] * 6)
    alone = [overlaps(p, truths, [None] * 3) for p in (predictions, still)]
    assert both.names == alone[0].names
    assert both.figures()['AO'] == pytest.approx(np.mean([one.figures()['AO'] for one in alone]))


def test_what_cannot_be_compared():
    for boxes, present, message in (
        (10, [True] * 9, 's0, frame 9: 10 predictions for 9'),
        (8, [True] * 9, '8 predictions for 9'),
        (9, [True, *[False] * 8], 's0: has no frame'),
    ):
        truth = Truth('s0', np.ones((9, 4)), np.array(present))
        with pytest.raises(UserError, match=message):
            overlaps([np.ones((boxes, 4))], [truth], [None])
