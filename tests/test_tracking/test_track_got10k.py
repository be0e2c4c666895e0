"""GOT-10k's figures against a loop in the way of its toolkit."""

import numpy as np
import pytest

from lightvit_dense.errors import UserError
from tracking.evaluation import GOT10kMetric, Truth
from tracking.evaluation.got10k import clip_to_frame, overlaps
from tracking.registry import METRICS
from tracking.runtime.results import read_result

from .small_results import NAMES, predict, write_world
from .test_track_metrics import dataset_of, tracked

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


def some(seed=0):
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for place, length in enumerate((9, 30, 17)):
        boxes = np.concatenate(
            [rng.uniform(-20, 110, (length, 2)), rng.uniform(10, 50, (length, 2))], axis=1
        )
        present = rng.random(length) > 0.2
        truths.append(Truth(f's{place}', boxes, present, 'ab'[place % 2]))
        predictions.append(boxes + rng.normal(0, 5, boxes.shape) * [1, 1, 0.5, 0.5])
    return predictions, truths


def loop(predictions, truths):
    return [
        [
            toolkit_overlap(box, true)
            for box, true, present in list(zip(p, t.boxes, t.present, strict=True))[1:]
            if present
        ]
        for p, t in zip(predictions, truths, strict=True)
    ]


def test_equals_a_loop_over_frames():
    predictions, truths = some()
    found = overlaps(predictions, truths, [SIZE] * 3)
    values = loop(predictions, truths)
    for ours, theirs in zip(found.values, values, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    everything = np.concatenate(values)
    rates = dict(AO=everything, SR50=everything > 0.5, SR75=everything > 0.75)
    assert found.figures() == pytest.approx({n: 100 * v.mean() for n, v in rates.items()})
    curve = [(everything > t).mean() for t in np.linspace(0, 1, 101)]
    np.testing.assert_allclose(found.curve()[1], np.multiply(curve, 100))


def test_ways_of_averaging():
    predictions, truths = some()
    means = [np.mean(values) for values in loop(predictions, truths)]

    def average(way):
        return overlaps(predictions, truths, [SIZE] * 3, way).figures()['AO']

    assert average('sequences') == pytest.approx(100 * np.mean(means))
    by_class = [(means[0] + means[2]) / 2, means[1]]  # a, b
    assert average('classes') == pytest.approx(100 * np.mean(by_class))
    with pytest.raises(UserError, match='average'):
        average('class')


def test_repetitions_count_together():
    predictions, truths = some()
    still = [truth.boxes for truth in truths]
    both = overlaps([*predictions, *still], [*truths, *truths], [None] * 6)
    alone = [overlaps(p, truths, [None] * 3) for p in (predictions, still)]
    assert both.names == alone[0].names
    assert both.figures()['AO'] == pytest.approx(np.mean([one.figures()['AO'] for one in alone]))


def test_boxes_that_begin_outside_keep_their_size():
    boxes = np.array([[-10.0, 5, 30, 20], [100, 80, 30, 20], [200, 200, 5, 5]])
    clipped = clip_to_frame(boxes, SIZE)
    expected = [[0, 5, 30, 20], [100, 80, 20, 10], [120, 90, 0, 0]]
    np.testing.assert_array_equal(clipped, expected)


@pytest.mark.parametrize(
    ('boxes', 'present', 'message'),
    [
        (10, [True] * 9, 's0, frame 9: 10 predictions for 9'),
        (8, [True] * 9, '8 predictions for 9'),
        (9, [True, *[False] * 8], 's0: has no frame'),
    ],
)
def test_what_cannot_be_compared(boxes, present, message):
    truth = Truth('s0', np.ones((9, 4)), np.array(present))
    with pytest.raises(UserError, match=message):
        overlaps([np.ones((boxes, 4))], [truth], [None])


def test_metric_reads_the_size_of_the_frames_and_writes_submissions(tmp_path):
    boxes = write_world(tmp_path / 'data')
    dataset, predictions = dataset_of(tmp_path / 'data'), predict(boxes, 6)
    samples = [sample.to_dict() for sample in tracked(dataset, predictions)]
    metric = METRICS.build(dict(type='tracking.GOT10kMetric', out_dir=str(tmp_path)))
    metric.process(None, samples)
    truths = [Truth.of(dataset.sequence(place)) for place in range(3)]
    predicted = [predictions[name] for name in NAMES]
    # Frames are 16 pixels wide and 12 high.
    assert metric.evaluate(3) == overlaps(predicted, truths, [(12, 16)] * 3).figures()
    found = read_result(tmp_path / 'tracker' / 'cat-1' / 'cat-1_001.txt')
    np.testing.assert_allclose(found, predictions['cat-1'], atol=5.1e-5)

    plain = GOT10kMetric(clip=False)
    plain.process(None, samples)
    assert plain.evaluate(3) == overlaps(predicted, truths, [None] * 3).figures()
    silent = GOT10kMetric(out_dir=str(tmp_path), tracker_name='b', format_only=True)
    silent.process(None, samples)
    assert silent.evaluate(3) == {}
    assert (tmp_path / 'b' / 'dog-3' / 'dog-3_time.txt').is_file()
    with pytest.raises(UserError, match='out_dir'):
        GOT10kMetric(format_only=True)
