"""Videos in and out: order of frames, what is refused, what the tool writes."""

import json

import numpy as np
import pytest

from lightvit_dense.errors import UserError
from tracking.boxes import iou
from tracking.runtime.results import read_result
from tracking.runtime.video import AnnotatedVideo, FrameSource, VideoError, annotate
from tracking.tools import track_video

from .small_runtime import correlation_tracker, moving_target, write_folder
from .small_sequences import write_video


def levels(count):
    return [np.full((48, 64, 3), 15 * index, np.uint8) for index in range(count)]


def test_frames_of_a_folder_in_natural_order(tmp_path):
    frames = levels(12)
    folder = write_folder(tmp_path / 'f', frames, [f'frame_{i}.png' for i in range(12)])
    (folder / 'notes.txt').write_text('no picture')
    for start in (0, 9):
        source = FrameSource(folder, start)
        assert len(source) == 12 - start
        np.testing.assert_array_equal(np.stack(list(source)), frames[start:])


def test_frames_of_a_video(tmp_path):
    path = write_video(tmp_path / 'v.avi', levels(8), 12.5)
    source = FrameSource(path, start=2)
    assert len(source) == 6
    read = np.stack(list(source)).astype(int)
    assert source.fps == pytest.approx(12.5)
    assert np.abs(read - np.stack(levels(8)[2:])).max() <= 4


def test_sources_that_are_refused(tmp_path):
    def fails(words, name, **options):
        with pytest.raises(VideoError, match=words):
            list(FrameSource(tmp_path / name, **options))

    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.txt').write_text('x')
    (tmp_path / 'bad.mp4').write_bytes(b'no video at all')
    folder = write_folder(tmp_path / 'three', levels(3))
    write_video(tmp_path / 'v.avi', levels(3))
    fails(r'gone\.mp4 does not exist', 'gone.mp4')
    fails('has no pictures', 'empty')
    fails('neither a folder of frames nor a video', 'a.txt')
    fails(r'bad\.mp4: not a video', 'bad.mp4')
    fails('starts at frame 3 of 3', 'three', start=3)
    fails('start=-1', 'three', start=-1)
    fails('starts at frame 5 of 3', 'v.avi', start=5)
    (folder / '1.png').write_bytes((folder / '1.png').read_bytes()[:40])
    frames = iter(FrameSource(folder))
    next(frames)
    with pytest.raises(VideoError, match=r'1\.png'):
        next(frames)


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
    assert (annotate(frame, np.array([20, 40, 30, 20]), '')[40, 20:50] != 60).all()


def test_videos_that_cannot_be_written(tmp_path):
    with pytest.raises(VideoError, match=r'must end in \.mp4'):
        AnnotatedVideo(tmp_path / 'a.gif', 10)
    (tmp_path / 'file').write_text('in the way')
    video = AnnotatedVideo(tmp_path / 'file' / 'a.mp4', 10)
    with pytest.raises(VideoError, match='cannot be written'):
        video.add(levels(1)[0], np.array([1, 1, 5, 5]), '')
    with pytest.raises(VideoError, match='no frame was written'):
        AnnotatedVideo(tmp_path / 'b.mp4', 10).close()


def test_following_a_folder_and_frames(monkeypatch, tmp_path):
    frames, boxes = moving_target(11)
    folder = write_folder(tmp_path / 'f', frames)
    tracker = correlation_tracker(monkeypatch)
    by_file = list(tracker.follow(folder, boxes[0]))
    by_frame = list(tracker.follow(iter(frames), boxes[0]))
    for ours, other, box in zip(by_file, by_frame, boxes, strict=True):
        np.testing.assert_array_equal(ours.box, other.box)
        assert ours.score == other.score
        assert iou(ours.box, box) > 0.8
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


def test_the_tool_refuses_before_it_writes(tool, tmp_path):
    frames, boxes = moving_target(3)
    folder, text = write_folder(tmp_path / 'f', frames), tmp_path / 'out.txt'
    with pytest.raises(UserError, match='outside of the frame of 160x120'):
        tool(folder, '--box', 500, 0, 10, 10, '--txt', text, '--out', tmp_path / 'out.mp4')
    (tmp_path / 'f' / 'file').write_text('in the way')
    with pytest.raises(UserError, match=r'a\.mp4: cannot be written'):
        tool(folder, '--box', *boxes[0], '--txt', text, '--out', tmp_path / 'f' / 'file' / 'a.mp4')
    with pytest.raises(UserError, match=r'must end in \.mp4'):
        tool(folder, '--box', *boxes[0], '--out', tmp_path / 'out.mkv')
    assert [entry.name for entry in tmp_path.iterdir()] == ['f']
