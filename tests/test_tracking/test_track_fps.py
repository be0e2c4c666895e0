"""The benchmark of frames a second, and OSTrack's way that it compares with."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense.errors import UserError
from tracking.analysis.fps import FpsRun, FpsSettings, time_ways
from tracking.analysis.fps_table import fps_markdown
from tracking.analysis.ostrack_way import OSTrackWay, cut_out
from tracking.analysis.speed_models import moving_frames, speed_tracker, video_frames
from tracking.runtime import Tracker
from tracking.sampling.crops import CropWindow

from .small_tracker import small_tracker

ARCH = dict(embed_dim=24, depth=4, num_heads=3)
SIZES = dict(arch=ARCH, patch_size=8, channels=16, template_size=64, search_size=128)
TOOL = Path(__file__).parents[2] / 'tools' / 'benchmark' / 'tracking_fps.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('tracking_fps', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def world():
    frames, box = moving_frames(12, (180, 320))
    return speed_tracker('vit-tiny', **SIZES), frames, box


@pytest.mark.parametrize('eliminate', [True, False])
def test_ostracks_way_tracks_like_the_runtime(world, eliminate):
    model, frames, box = world
    runs = [FpsRun(model, way, eliminate, 1) for way in ('ostrack', 'plain', 'torch')]
    boxes = [run.turn(frames, box)[0] for run in runs]
    assert np.abs(np.diff(boxes[0], axis=0)).max() > 0.5  # it moves
    for other in boxes[1:]:
        np.testing.assert_allclose(other, boxes[0], atol=0.05)


def test_elimination_changes_what_is_timed(world):
    model, frames, box = world
    one, other = (FpsRun(model, 'ostrack', e, 1).turn(frames, box)[0] for e in (True, False))
    assert np.abs(one - other).max() > 1e-3


def test_padding_is_laid_out_in_zeros():
    image = np.full((6, 8, 3), 200, np.uint8)
    crop = cut_out(image, CropWindow(-2, -3, 4), 4)
    want = np.zeros((4, 4, 3), np.uint8)
    want[3:, 2:] = 200
    np.testing.assert_array_equal(crop, want)
    crop = cut_out(image, CropWindow(6, 4, 4), 4)
    np.testing.assert_array_equal(crop[:, :, 0].astype(bool), np.outer([1, 1, 0, 0], [1, 1, 0, 0]))


def test_the_rows_hold_what_they_say(world):
    model, frames, box = world
    settings = FpsSettings(('ostrack', 'torch'), (True, False), threads=1, rounds=2)
    lines = []
    found = time_ways(model, frames, box, settings, lines.append)
    assert [(row['way'], row['eliminate']) for row in found['rows']] == [
        ('ostrack', True),
        ('torch', True),
        ('ostrack', False),
        ('torch', False),
    ]
    for row in found['rows']:
        assert row['fps'] == pytest.approx(1e3 / row['milliseconds'])
        assert sum(row['stages'].values()) * 1e3 == pytest.approx(row['milliseconds'], rel=0.5)
        assert row['box_error'] < 0.05
        assert row['share'] == pytest.approx(
            row['gflop'] / row['stages']['network'] / found['matmul_gflop_per_s']
        )
    theirs, ours, theirs_whole, ours_whole = (row['gflop'] for row in found['rows'])
    assert ours < theirs < theirs_whole
    assert ours < ours_whole < theirs_whole
    assert found['rows'][0]['times_first'] == 1
    assert sum('ready' in line for line in lines) == 4


def test_the_table():
    row = dict(way='ostrack', eliminate=True, fps=10.0, milliseconds=100.0, spread=2.0)
    row |= dict(stages=dict(crop=0.002, network=0.097, post=0.001), times_first=1.0)
    row |= dict(box_error=0.0, gflop=4.4, share=0.567)
    fast = dict(row, way='onnx-int8', fps=25.0, times_first=2.5, box_error=0.125)
    found = dict(rows=[row, fast], matmul_gflop_per_s=80.0, tracker='vit-tiny', threads=2)
    text = fps_markdown([found], 'a machine')
    assert '**vit-tiny, 2 threads, with candidate elimination**' in text
    assert "| OSTrack's way | 10.0 | 100.0 (2.0) |  | 2.00 | 97.00 | 1.00 | 4.40 | 57% |  |" in text
    assert '| ONNX Runtime, 8 bits | 25.0 |' in text
    assert '| 2.50x |' in text
    assert '| 0.12 |' in text


def test_the_arithmetic_of_the_full_tracker():
    """ViT-Tiny at 256 px: about 5 GFLOP a frame are said of it without elimination."""
    from tracking.analysis.fps import count_arithmetic

    model = speed_tracker('vit-tiny')
    frames, box = moving_frames(2, (180, 320))
    gflop = {}
    for way in ('ostrack', 'torch'):
        for eliminate in (True, False):
            run = FpsRun(model, way, eliminate, 1)
            run.tracker.init(frames[0], box)
            gflop[way, eliminate] = count_arithmetic(model, run) / 1e9
    assert gflop['ostrack', False] == pytest.approx(5.71, abs=0.01)
    assert gflop['ostrack', True] == pytest.approx(4.40, abs=0.01)
    assert gflop['torch', False] == pytest.approx(4.89, abs=0.01)
    assert gflop['torch', True] == pytest.approx(3.39, abs=0.01)


def test_the_tool_measures_in_one_process(tool, tmp_path):
    out = tmp_path / 'found.json'
    words = ['--tiny', '--trackers', 'hiera-tiny', '--ways', 'ostrack', 'torch', '--threads', '1']
    words += ['--frames', '6', '--rounds', '1', '--elimination', 'on', '--worker', str(out)]
    assert tool.main(words) == 0
    rows = json.loads(out.read_text(encoding='utf-8'))['rows']
    assert [row['way'] for row in rows] == ['plain', 'torch']  # OSTrack has no way for Hiera


def test_a_video_is_read_and_bad_ones_are_named(tmp_path):
    path = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for level in (0, 80, 160):
        writer.write(np.full((48, 64, 3), (level, 0, 255), np.uint8))
    writer.release()
    frames = video_frames(path, 2)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2
    assert np.abs(frames[1].mean((0, 1)) - [255, 0, 80]).max() < 8  # RGB
    with pytest.raises(UserError, match=r'nothing\.mp4'):
        video_frames(tmp_path / 'nothing.mp4', 2)


def test_what_cannot_be_timed_is_refused(world, tool, capsys):
    model, frames, box = world
    with pytest.raises(UserError, match='3 frames are too few'):
        time_ways(model, frames[:3], box, FpsSettings(('torch',)))
    with pytest.raises(UserError, match="'vit-huge' is no tracker"):
        speed_tracker('vit-huge')
    with pytest.raises(ValueError, match='MLPHead'):
        OSTrackWay(small_tracker(head=dict(type='tracking.MLPHead')))
    for words in (['--video', 'a.mp4'], ['--checkpoint', 'a.pth'], ['--threads', '0']):
        with pytest.raises(SystemExit):
            tool.parse_args(words)
    assert '--threads must be at least 1' in capsys.readouterr().err


def test_random_weights_are_the_same_each_time():
    torch.manual_seed(5)
    one, other = (speed_tracker('vit-tiny', **SIZES).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert isinstance(Tracker(speed_tracker('vit-tiny', **SIZES)), Tracker)
