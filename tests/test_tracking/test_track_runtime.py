"""The runtime tracker against a straight-line loop; videos in and out; what is refused."""

import json
import math
import shutil
import sys

import cv2
import numpy as np
import pytest
from torch import nn

from lightvit_dense.errors import UserError
from tracking.boxes import iou
from tracking.engine.sequence_loop import track_sequence
from tracking.runtime.results import read_result
from tracking.runtime.tracker import Tracker
from tracking.runtime.video import AnnotatedVideo, FrameSource, VideoError, annotate
from tracking.tools import track_video

from .small_sequences import (
    SizesOnly,
    correlation_tracker,
    moving_target,
    sequence_of,
    write_folder,
    write_video,
)
from .small_tracker import trained_tracker, write_tracker_files


class Told:
    """A network that says what it was told to, in pixels of the crop, and keeps the crops."""

    def __init__(self, answers):
        self.answers, self.crops = list(answers), []

    def set_templates(self, crops, boxes):
        (self.template,), (self.template_box,) = crops, boxes

    def find_all(self, crops):
        self.crops += crops
        return [(np.asarray(self.answers.pop(0), np.float64), 0.5)]


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
    for frame in frames[1:]:
        tracker.update(frame)
        sums = {name: sums[name] + tracker.timings.last[name] for name in sums}
    assert tracker.timings.frames == 4
    assert tracker.timings.total == pytest.approx(sums)
    assert tracker.timings.fps == pytest.approx(4 / sum(sums.values()))
    tracker.init(frames[0], boxes[0])
    assert tracker.timings.frames == 0


def test_grey_frames(monkeypatch):
    frames, boxes = moving_target(6)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    three = [np.repeat(frame[..., None], 3, axis=2) for frame in grey]
    found, *_ = track_sequence(correlation_tracker(monkeypatch), sequence_of(grey, boxes))
    same, *_ = track_sequence(correlation_tracker(monkeypatch), sequence_of(three, boxes))
    np.testing.assert_array_equal(found, same)
    assert iou(found, boxes).min() > 0.8


def test_boxes_stay_in_frames_of_any_size(monkeypatch):
    tracker, network = told_tracker(monkeypatch, [(54, 54, 20, 20)] * 3)
    tracker.init(np.full((200, 300, 3), 9, np.uint8), (250, 150, 40, 40))
    box = tracker.update(np.full((60, 80, 3), 9, np.uint8)).box
    assert (box >= 0).all()
    assert (box[:2] + box[2:] <= (80, 60)).all()
    assert network.crops[-1].any(), 'the search crop shows nothing of the smaller frame'
    for _ in range(2):
        box = tracker.update(np.full((7, 8, 3), 9, np.uint8)).box
    assert (box[:2] >= 0).all()
    assert (box[:2] + box[2:] <= (8, 7)).all()
    assert box[2:].tolist() == [7, 7]
    # A target that leaves stays by the margin.
    tracker, _ = told_tracker(monkeypatch, [(-60, 50, 30, 30)] * 8)
    tracker.init(np.zeros((100, 100, 3), np.uint8), (40, 40, 20, 20))
    boxes = np.array([tracker.update(np.zeros((100, 100, 3), np.uint8)).box for _ in range(8)])
    assert boxes[:, [0, 2]].min(axis=0).tolist() == boxes[-1, [0, 2]].tolist() == [0, 10]


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
    for sequence, message in (
        (sequence_of(frames, boxes, missing=(3,)), 'frame 3: img/00000003.jpg does not exist'),
        (sequence_of(frames, boxes * math.nan), 'frame 0: the first box.*not finite'),
        (sequence_of([], boxes), 'has no frames'),
    ):
        with pytest.raises(UserError, match=f'square-1.*{message}'):
            track_sequence(tracker, sequence)
    one, scores, _ = track_sequence(tracker, sequence_of(*moving_target(1)))
    np.testing.assert_array_equal(one, [[20, 50, 24, 20]])
    assert scores.tolist() == [1]


def test_options_reach_the_network(monkeypatch):
    given, model = [], SizesOnly()
    monkeypatch.setattr('tracking.runtime.tracker.build_network', lambda *args: given.append(args))
    Tracker(model, backend='exported', threads=2, path='file', window=False)
    assert given == [(model, 'exported', 2, 'file', False)]


def levels(count):
    return [np.full((48, 64, 3), 15 * index, np.uint8) for index in range(count)]


def test_frames_of_a_folder_in_natural_order_and_of_a_video(tmp_path):
    frames = levels(12)
    folder = write_folder(tmp_path / 'f', frames, [f'frame_{i}.png' for i in range(12)])
    (folder / 'notes.txt').write_text('no picture')
    (folder / '._frame_1.png').write_bytes(b'left by a Mac')
    shutil.copytree(folder, tmp_path / 'sequence/img')
    for start, place in ((0, folder), (9, folder), (0, tmp_path / 'sequence')):
        source = FrameSource(place, start)
        assert len(source) == 12 - start
        np.testing.assert_array_equal(np.stack(list(source)), frames[start:])
    source = FrameSource(write_video(tmp_path / 'v.avi', frames, 12.5), start=2)
    assert np.abs(np.stack(list(source)).astype(int) - frames[2:]).max() <= 4
    assert (len(source), source.fps) == (10, pytest.approx(12.5))


@pytest.mark.parametrize(
    ('name', 'start', 'words'),
    [
        ('gone.mp4', 0, r'gone\.mp4 does not exist'),
        ('empty', 0, 'has no pictures.*Its folders are deep'),
        ('7', 0, 'is not a file, and camera 7 gives no frame'),
        ('a.txt', 0, 'neither a folder of frames nor a video'),
        ('bad.mp4', 0, r'bad\.mp4: not a video'),
        ('three', 3, 'starts at frame 3 of 3'),
        ('three', -1, 'start=-1'),
        ('three', 0, r'1\.png'),
        ('v.avi', 5, 'starts at frame 5 of 3'),
    ],
)
def test_sources_that_are_refused(tmp_path, monkeypatch, name, start, words):
    (tmp_path / 'empty/deep').mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.txt').write_text('x')
    (tmp_path / 'bad.mp4').write_bytes(b'no video at all')
    damaged = write_folder(tmp_path / 'three', levels(3)) / '1.png'
    damaged.write_bytes(damaged.read_bytes()[:40])
    write_video(tmp_path / 'v.avi', levels(3))
    with pytest.raises(VideoError, match=words):
        list(FrameSource(name, start))


def test_the_annotated_video_shows_the_boxes(tmp_path):
    frame = np.full((96, 128, 3), 60, np.uint8)
    video = AnnotatedVideo(tmp_path / 'new' / 'out.mp4', 10)
    for step in range(5):
        video.add(frame, np.array([20 + 10 * step, 40, 30, 20]), 'text')
    video.add(np.full((48, 64, 3), 60, np.uint8), np.array([5, 5, 10, 10]), 'small')
    assert not video.path.exists()
    video.close()
    assert [file.name for file in video.path.parent.iterdir()] == ['out.mp4']
    source = FrameSource(video.path)
    read = list(source)
    assert len(read) == 6
    assert source.fps == 10
    for step, picture in enumerate(read[:5]):
        red = picture[30:, :, 0].astype(int) - picture[30:, :, 2]
        rows, columns = np.nonzero(red > 60)
        found = columns.min(), columns.max(), rows.min() + 30, rows.max() + 30
        np.testing.assert_allclose(found, [20 + 10 * step, 49 + 10 * step, 40, 59], atol=2)
    assert (frame == 60).all()
    with pytest.raises(VideoError, match='no frame was written'):
        AnnotatedVideo(tmp_path / 'empty.mp4', 10).close()
    assert (annotate(frame, np.array([20, 40, 30, 20]), '')[40, 20:50] != 60).all()
    large = annotate(np.full((480, 640, 3), 60, np.uint8), np.array([300, 300, 20, 20]), '12  0.98')
    rows, columns = np.nonzero((large[:200] != 60).any(-1))
    assert rows.max() < 24
    assert 30 < columns.max() < 100


def test_following_a_folder_frames_and_files(monkeypatch, tmp_path):
    frames, boxes = moving_target(11)
    folder = write_folder(tmp_path / 'f', frames)
    tracker = correlation_tracker(monkeypatch)
    found = [[r.box for r in tracker.follow(way, boxes[0])] for way in (folder, iter(frames))]
    tracker.init(folder / '0.png', boxes[0])
    files = [str(folder / f'{index}.png') for index in range(1, 11)]
    found.append([boxes[0], *(tracker.update(file).box for file in files)])
    for way in found:
        np.testing.assert_array_equal(way, found[0])
    assert iou(np.array(found[0]), boxes).min() > 0.8
    with pytest.raises(VideoError, match='does not exist'):
        next(tracker.follow(tmp_path / 'gone.mp4', boxes[0]))


@pytest.fixture
def tool(monkeypatch):
    """The tool with a tracker that finds its target, whatever config it is given."""

    def run(*argv):
        tracker = correlation_tracker(monkeypatch)
        monkeypatch.setattr(track_video, 'load_config', lambda *_: None)
        monkeypatch.setattr(track_video, 'Tracker', lambda *_: tracker)
        words = ['--config', 'c.py', '--checkpoint', 'c.pth', *map(str, argv)]
        return track_video.main(words)

    return run


def test_the_tool_writes_what_it_found(tool, tmp_path, capsys):
    frames, boxes = moving_target(10)
    folder = write_folder(tmp_path / 'f', frames)
    out = {kind: tmp_path / f'found.{kind}' for kind in ('mp4', 'txt', 'json')}
    words = ('--out', out['mp4'], '--txt', out['txt'], '--json', out['json'])
    assert tool(folder, '--start', 2, '--box', *boxes[2], *words) == 0
    found = read_result(out['txt'])
    np.testing.assert_array_equal(found[0], boxes[2])
    assert iou(found, boxes[2:]).min() > 0.8
    report = json.loads(out['json'].read_text())
    np.testing.assert_array_equal([entry['box'] for entry in report['frames']], found)
    assert [entry['frame'] for entry in report['frames']] == list(range(2, 10))
    assert len(list(FrameSource(out['mp4']))) == 8
    printed = capsys.readouterr().out
    assert f'tracker: {report["fps"]:.1f} frames/s (crop ' in printed
    assert str(out['mp4']) in printed


class Camera:
    """In place of OpenCV's: frames, then the user stops."""

    def __init__(self, frames):
        self.frames = iter(frames)

    def read(self):
        try:
            return True, cv2.cvtColor(next(self.frames), cv2.COLOR_RGB2BGR)
        except StopIteration:
            raise KeyboardInterrupt from None

    def get(self, _):
        return 30.0

    def release(self):
        pass


def test_a_camera_and_a_target_that_the_mouse_selects(tool, tmp_path, monkeypatch, capsys):
    frames, boxes = moving_target(6)
    opened, shown = [], []
    monkeypatch.setattr(cv2, 'VideoCapture', lambda number: opened.append(number) or Camera(frames))
    monkeypatch.setattr(cv2, 'selectROI', lambda _, frame, **__: shown.append(frame) or boxes[0])
    monkeypatch.setattr(cv2, 'destroyWindow', lambda _: None)
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.chdir(tmp_path)
    words = ('--txt', 'a.txt', '--json', 'a.json', '--lost-below', 0.999)
    assert tool('0', '--select', *words) == 0
    assert opened == [0]
    np.testing.assert_array_equal(shown[0][..., ::-1], frames[0])
    assert iou(read_result('a.txt'), boxes).min() > 0.8
    listed = json.loads((tmp_path / 'a.json').read_text())['frames']
    assert [entry['lost'] for entry in listed] == [entry['score'] < 0.999 for entry in listed]
    lost = sum(entry['lost'] for entry in listed)
    assert f'lost in {lost} of 6 frames' in capsys.readouterr().out
    monkeypatch.setattr(cv2, 'selectROI', lambda *_, **__: (0, 0, 0, 0))
    with pytest.raises(VideoError, match='no box was drawn; draw one, or give --box'):
        tool('0', '--select')
    monkeypatch.delenv('DISPLAY')
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setattr(sys, 'platform', 'linux')
    with pytest.raises(VideoError, match='there is no display here; give --box'):
        tool('0', '--select')


def test_the_tool_keeps_what_it_has_when_a_frame_is_damaged(tool, tmp_path):
    frames, boxes = moving_target(6)
    folder = write_folder(tmp_path / 'f', frames)
    (folder / '4.png').write_bytes(b'')
    out, text = tmp_path / 'out.mp4', tmp_path / 'out.txt'
    with pytest.raises(UserError, match=r'4\.png'):
        tool(folder, '--box', *boxes[0], '--out', out, '--txt', text)
    assert len(list(FrameSource(out))) == len(read_result(text)) == 4
    assert tool(folder, '--box', *boxes[0], '--frames', 3, '--txt', text) == 0
    assert len(read_result(text)) == 3


def test_the_tool_refuses_before_it_writes(tool, tmp_path, capsys):
    frames, boxes = moving_target(3)
    folder, text = write_folder(tmp_path / 'f', frames), tmp_path / 'out.txt'
    (folder / 'file').write_text('in the way')
    for box, out, message in (
        ((500, 0, 10, 10), tmp_path / 'out.mp4', 'outside of the frame of 160x120'),
        (boxes[0], folder / 'file' / 'a.mp4', r'a\.part\.mp4: cannot be written'),
        (boxes[0], tmp_path / 'out.mkv', r'must end in \.mp4'),
    ):
        with pytest.raises(UserError, match=message):
            tool(folder, '--box', *box, '--txt', text, '--out', out)
    for words, told in (
        (('--out', 'a.mp4'), '--out a.mp4 would overwrite the video'),
        (('--txt', 'a', '--json', './a'), 'overwrite --txt'),
    ):
        with pytest.raises(SystemExit):
            tool('a.mp4', '--box', *boxes[0], *words)
        assert told in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ['f']


def test_several_targets_as_each_alone(tmp_path, capsys):
    frames, boxes = moving_target(6)
    frames[3] = frames[3][:80, :100]
    starts = [boxes[0], [60, 20, 30, 30], [5, 70, 40, 16]]
    tracker = Tracker(trained_tracker())
    tracker.init(frames[0], starts)
    together = [starts, *([r.box for r in tracker.update_all(frame)] for frame in frames[1:])]
    for place, start in enumerate(starts):
        alone = [result.box for result in tracker.follow(frames, start)]
        np.testing.assert_allclose([found[place] for found in together], alone, atol=1e-4)
    tracker.init(frames[0], starts)
    with pytest.raises(UserError, match='follows 3 targets: call update_all'):
        tracker.update(frames[1])
    with pytest.raises(UserError, match=r'first box.*outside of the frame'):
        tracker.init(frames[0], [boxes[0], [999, 0, 5, 5]])
    assert len(tracker.update_all(frames[1])) == 3  # what was followed before is

    # On the command line: a file and a colour for each.
    config, checkpoint = write_tracker_files(tmp_path, trained_tracker())
    folder = write_folder(tmp_path / 'f', frames)
    words = ['--config', config, '--checkpoint', checkpoint]
    for option, ending in (('out', 'mp4'), ('txt', 'txt'), ('json', 'json')):
        words += [f'--{option}', str(tmp_path / f'found.{ending}')]
    words += ['--box', *['60', '20', '30', '30'], '--box', *['5', '70', '40', '16'], str(folder)]
    assert track_video.main(['--box', '20', '50', '24', '20', *words]) == 0
    report = json.loads((tmp_path / 'found.json').read_text())
    for place, target in enumerate(report['targets']):
        written = read_result(tmp_path / f'found_{place + 1}.txt')
        np.testing.assert_array_equal([entry['box'] for entry in target['frames']], written)
        np.testing.assert_allclose(written, [f[place] for f in together], atol=1e-3)
    first = next(iter(FrameSource(tmp_path / 'found.mp4')))
    assert len({tuple(first[y, x] // 32) for x, y in ((20, 60), (60, 30), (5, 80))}) == 3
    for words, told in (
        (['--box', '1', '2', '3'], '--box: expected 4 arguments'),
        (['--box', '1', '2', '3', 'x'], "--box: invalid float value: 'x'"),
        (2 * ['--box', '1', '2', '3', '4'] + ['--attention', 'a'], 'give one --box'),
    ):
        with pytest.raises(SystemExit):
            track_video.main(['a.mp4', '--config', config, '--checkpoint', checkpoint, *words])
        assert told in capsys.readouterr().err
