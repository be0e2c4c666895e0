"""The runtime tracker: its geometry, its steps against a straight-line loop, what it refuses."""

import math

import cv2
import numpy as np
import pytest
from PIL import Image
from torch import nn

from lightvit_dense.errors import UserError
from tracking.boxes import iou
from tracking.engine.sequence_loop import track_sequence
from tracking.runtime.tracker import Tracker

from .small_runtime import SizesOnly, correlation_tracker, moving_target, sequence_of


class Told:
    """A network that says what it was told to, in pixels of the crop, and keeps the crops."""

    def __init__(self, answers):
        self.answers, self.crops = list(answers), []

    def set_template(self, crop, box):
        self.template, self.template_box = crop, box

    def __call__(self, crop):
        self.crops.append(crop)
        return np.asarray(self.answers.pop(0), np.float64), 0.5


def told_tracker(monkeypatch, answers, **options):
    network = Told(answers)
    monkeypatch.setattr('tracking.runtime.tracker.build_network', lambda *_: network)
    return Tracker(SizesOnly(), **options), network


def test_follows_a_target_that_its_network_finds(monkeypatch):
    frames, boxes = moving_target()
    tracker, sequence = correlation_tracker(monkeypatch), sequence_of(frames, boxes)
    found, scores, seconds = track_sequence(tracker, sequence)
    np.testing.assert_array_equal(found[0], boxes[0])
    assert iou(found, boxes).min() > 0.8
    assert scores[0] == 1
    assert scores.min() > 0.8
    assert (seconds > 0).all()
    # Neither the truth after the first frame counts, nor what was followed before.
    used = correlation_tracker(monkeypatch)
    track_sequence(used, sequence_of(*moving_target(6, seed=5)))
    again, *_ = track_sequence(used, sequence_of(frames, boxes[:1]))
    np.testing.assert_array_equal(again, found)


def test_steps_against_a_straight_line_loop(monkeypatch):
    """Pad with zeros, cut, resize, map back, clip: written out, as OSTrack's inference does."""
    random = np.random.default_rng(3)
    frames = [random.integers(0, 256, (90, 110, 3)).astype(np.uint8) for _ in range(7)]
    state = np.array([70.3, 5.2, 21.7, 30.1])
    centers, sizes = random.uniform(30, 100, (6, 2)), random.uniform(5, 90, (6, 2))
    answers = np.concatenate([centers - sizes / 2, sizes], axis=1)
    tracker, network = told_tracker(monkeypatch, answers)
    tracker.init(frames[0], state)
    for step, frame in enumerate(frames[1:]):
        result = tracker.update(frame)
        x, y, w, h = state
        side = math.ceil(math.sqrt(w * h) * 4)
        left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
        padded = np.zeros((90 + 2000, 110 + 2000, 3), np.uint8)
        padded[1000:1090, 1000:1110] = frame
        crop = padded[top + 1000 : top + 1000 + side, left + 1000 : left + 1000 + side]
        crop = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_LINEAR)
        assert np.abs(network.crops[step].astype(int) - crop).max() <= 1
        x, y, w, h = answers[step] * side / 128 + [left, top, 0, 0]
        x1, y1, x2, y2 = x, y, x + w, y + h
        x1, x2 = min(max(0, x1), 110 - 10), min(max(10, x2), 110)
        y1, y2 = min(max(0, y1), 90 - 10), min(max(10, y2), 90)
        state = np.array([x1, y1, max(10, x2 - x1), max(10, y2 - y1)])
        np.testing.assert_allclose(result.box, state, atol=1e-9)
    assert network.template.shape == (64, 64, 3)
    # The template's window of twice the box has the box in its middle, half as wide.
    assert np.abs(network.template_box[:2] + network.template_box[2:] / 2 - 32).max() < 1
    assert math.sqrt(network.template_box[2:].prod()) == pytest.approx(32, rel=0.03)


def test_timings_add_up(monkeypatch):
    frames, boxes = moving_target(5)
    tracker = correlation_tracker(monkeypatch)
    tracker.init(frames[0], boxes[0])
    sums = dict(crop=0.0, network=0.0, post=0.0)
    for number, frame in enumerate(frames[1:], 1):
        tracker.update(frame)
        assert tracker.timings.frames == number
        sums = {name: sums[name] + tracker.timings.last[name] for name in sums}
    assert tracker.timings.total == pytest.approx(sums)
    assert tracker.timings.fps == pytest.approx(4 / sum(sums.values()))
    tracker.init(frames[0], boxes[0])
    assert tracker.timings.frames == 0


def test_grey_frames_and_files(monkeypatch, tmp_path):
    frames, boxes = moving_target(6)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    three = [np.repeat(frame[..., None], 3, axis=2) for frame in grey]
    found, *_ = track_sequence(correlation_tracker(monkeypatch), sequence_of(grey, boxes))
    same, *_ = track_sequence(correlation_tracker(monkeypatch), sequence_of(three, boxes))
    np.testing.assert_array_equal(found, same)
    assert iou(found, boxes).min() > 0.8
    tracker = correlation_tracker(monkeypatch)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f'{index}.png')
    tracker.init(tmp_path / '0.png', boxes[0])
    for index in range(1, 6):
        assert iou(tracker.update(str(tmp_path / f'{index}.png')).box, boxes[index]) > 0.8


def test_a_frame_of_another_size(monkeypatch):
    tracker, network = told_tracker(monkeypatch, [(54, 54, 20, 20)] * 3)
    tracker.init(np.full((200, 300, 3), 9, np.uint8), (250, 150, 40, 40))
    box = tracker.update(np.full((60, 80, 3), 9, np.uint8)).box
    assert (box >= 0).all()
    assert (box[:2] + box[2:] <= (80, 60)).all()
    assert network.crops[-1].any(), 'the search crop shows nothing of the smaller frame'
    tracker.update(np.full((7, 8, 3), 9, np.uint8))
    box = tracker.update(np.full((7, 8, 3), 9, np.uint8)).box
    assert (box[:2] >= 0).all()
    assert (box[:2] + box[2:] <= (8, 7)).all()
    assert box[2:].tolist() == [7, 7]


def test_a_target_that_leaves_stays_by_the_margin(monkeypatch):
    tracker, _ = told_tracker(monkeypatch, [(-60, 50, 30, 30)] * 8)
    tracker.init(np.zeros((100, 100, 3), np.uint8), (40, 40, 20, 20))
    boxes = [tracker.update(np.zeros((100, 100, 3), np.uint8)).box for _ in range(8)]
    assert boxes[-1][0] == 0
    assert boxes[-1][2] == 10
    assert all(box[0] >= 0 and box[2] >= 10 for box in boxes)


@pytest.mark.parametrize(
    ('box', 'why'),
    [
        ((0, 0, math.nan, 5), 'not finite'),
        ((0, 0, 5, 0), 'smaller than a pixel'),
        ((0, 0, 0.5, 20), 'smaller than a pixel'),
        ((0, 0, -5, 20), 'smaller than a pixel'),
        ((100, 0, 5, 5), 'outside of the frame of 100x80'),
        ((0, -9, 5, 9), 'outside of the frame of 100x80'),
        ((0, 0, 5), 'x, y, width, height'),
        ('box', 'x, y, width, height'),
    ],
)
def test_first_boxes_that_are_refused(monkeypatch, box, why):
    tracker = correlation_tracker(monkeypatch)
    with pytest.raises(UserError, match=f'first box.*{why}'):
        tracker.init(np.zeros((80, 100, 3), np.uint8), box)
    with pytest.raises(UserError, match='call init'):
        tracker.update(np.zeros((80, 100, 3), np.uint8))


def test_other_bad_input(monkeypatch, tmp_path):
    frames, boxes = moving_target(3)
    tracker = correlation_tracker(monkeypatch)
    (tmp_path / 'bad.jpg').write_bytes(b'no picture')
    for frame, message in (
        (frames[0].astype(np.float32), 'float32'),
        (np.zeros((4, 5, 4), np.uint8), r'shape \(4, 5, 4\)'),
        (tmp_path / 'gone.jpg', r'gone\.jpg'),
        (tmp_path / 'bad.jpg', r'bad\.jpg'),
    ):
        with pytest.raises(UserError, match=message):
            tracker.init(frame, boxes[0])
    for model, options, message in (
        (nn.Linear(1, 1), dict(), r'Linear.*does not track'),
        (SizesOnly(), dict(checkpoint='a.pth'), 'checkpoint and device go with a config'),
        (SizesOnly(), dict(margin=0), 'margin=0'),
    ):
        with pytest.raises(UserError, match=message):
            Tracker(model, **options)
    broken, _ = told_tracker(monkeypatch, [(1, 1, math.nan, 1)])
    broken.init(frames[0], boxes[0])
    with pytest.raises(UserError, match='frame 1: the weights are damaged'):
        broken.update(frames[1])


def test_sequences_that_cannot_be_followed(monkeypatch):
    frames, boxes = moving_target(5)
    tracker = correlation_tracker(monkeypatch)
    with pytest.raises(UserError, match=r'square-1, frame 3: img/00000003.jpg does not exist'):
        track_sequence(tracker, sequence_of(frames, boxes, missing=3))
    boxes[0] = math.nan
    with pytest.raises(UserError, match=r'square-1, frame 0: the first box.*not finite'):
        track_sequence(tracker, sequence_of(frames, boxes))
    with pytest.raises(UserError, match='square-1 has no frames'):
        track_sequence(tracker, sequence_of([], boxes))
    one, scores, _ = track_sequence(tracker, sequence_of(*moving_target(1)))
    np.testing.assert_array_equal(one, [[20, 50, 24, 20]])
    assert scores.tolist() == [1]


def test_options_reach_the_network(monkeypatch):
    given, model = [], SizesOnly()
    monkeypatch.setattr('tracking.runtime.tracker.build_network', lambda *args: given.append(args))
    Tracker(model, backend='onnx', threads=2, path='exported', window=False)
    assert given == [(model, 'onnx', 2, 'exported', False)]
