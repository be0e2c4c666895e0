"""Film strips: what is drawn where, the tool, and the hook of tests."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from lightvit_dense.apis.testing import _visualization_hook
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.visualization import line_color
from tracking.datasets import VideoSequence
from tracking.registry import HOOKS
from tracking.runtime.results import write_result
from tracking.structures import TrackSample
from tracking.tools import film_strip as tool
from tracking.visualization import TRUTH_COLOR, film_strip, outline_targets

from .small_runtime import ArrayFrames, write_folder

SIZE = (60, 100)
CAPTION = 22  # pixels below a frame


def make_sequence(count=5, absent=()):
    boxes = np.tile([20.0, 10, 30, 20], (count, 1))
    visible = np.ones(count, bool)
    visible[list(absent)] = False
    boxes[~visible] = 0
    attributes = ('Out-of-View',) if absent else ()
    frames = ArrayFrames([np.full((*SIZE, 3), 10 * i, np.uint8) for i in range(count)])
    return VideoSequence('cup-1', frames, boxes, visible, 'X', 'cup', attributes)


def painted(picture, color):
    """Return left, top, right, bottom of the pixels of a colour, edges."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_targets_are_outlined_on_any_ground():
    drawn = outline_targets(np.full((40, 50, 3), 128, np.uint8), [10, 5, 20, 12], [(255, 0, 0)])
    assert painted(drawn, (255, 0, 0)) == (10, 5, 30, 17)
    assert painted(drawn, (0, 0, 0)) == (9, 4, 31, 18)


def test_truth_and_trackers_have_their_places_and_colours():
    sequence = make_sequence()
    shifted = sequence.boxes + np.array([30, 15, 0, 0])
    picture = film_strip(sequence, {'a': sequence.boxes, 'b': shifted}, [3], tile_width=200)
    head = picture.shape[0] - 2 * SIZE[0] - CAPTION
    tile = picture[head : head + 2 * SIZE[0]]
    assert (tile[5, 5] == 30).all()  # frame 3, twice as large
    # The first tracker's box lies on that of the truth and hides it.
    for place, edges in enumerate(([40, 20, 100, 60], [100, 50, 160, 90])):
        np.testing.assert_allclose(painted(tile, line_color(place)), edges, atol=1)
    assert not (tile == TRUTH_COLOR).all(axis=2).any()
    for color in (TRUTH_COLOR, line_color(0), line_color(1)):
        assert (picture[:head] == color).all(axis=2).any()  # the legend


def test_absence_is_marked():
    sequence = make_sequence(absent=(2,))
    alone, gone = (film_strip(sequence, {}, [i], tile_width=200)[-CAPTION - 120 :] for i in (1, 2))
    red = (200, 0, 0)
    assert painted(gone[:120], red) == (0, 0, 200, 120)
    assert (gone[120:] == red).all(axis=2).any()
    assert not (alone == red).all(axis=2).any()
    assert not (gone[:120] == TRUTH_COLOR).all(axis=2).any()
    assert painted(alone[:120], TRUTH_COLOR) == (40, 20, 100, 60)
    # Only the first frame is annotated where the truth is kept back: nothing is said of the rest.
    kept_back = VideoSequence('x', sequence.frames, sequence.boxes[:1], sequence.visible[:1])
    assert not (film_strip(kept_back, {}, [2]) == red).all(axis=2).any()


def test_short_results_and_unknown_frames_are_errors():
    sequence = make_sequence()
    with pytest.raises(UserError, match=r'cup-1: a has boxes of shape \[4, 4\] for 5 frames'):
        film_strip(sequence, {'a': sequence.boxes[:4]})
    with pytest.raises(UserError, match=r'frames 0 to 4, cannot draw \[9\]'):
        film_strip(sequence, {}, [1, 9])


def test_hook_draws_tested_sequences_and_no_more_than_asked(tmp_path):
    config = dict(type='tracking.FilmStripHook', out_dir=str(tmp_path), max_images=1, frames=2)
    hook = HOOKS.build(config)
    samples = [TrackSample(), TrackSample()]
    for sample, name in zip(samples, ('one', 'two'), strict=True):
        sequence = replace(make_sequence(), name=name)
        sample.set_field(sequence, 'sequence')
        sample.set_field(sequence.boxes, 'boxes')
    hook.after_test_iter(SimpleNamespace(), 0, outputs=samples)
    assert [path.name for path in tmp_path.iterdir()] == ['one.png']
    picture = cv2.imread(str(tmp_path / 'one.png'))
    assert picture.shape[1] == 2 * 200 + 4
    hook = HOOKS.build({**config, 'max_images': None})
    strange = TrackSample(metainfo=dict(img_path='a'))
    with pytest.raises(UserError, match=r'draws whole sequences.*have img_path'):
        hook.after_test_iter(SimpleNamespace(), 0, outputs=[strange])


def test_a_config_names_its_hook():
    plain = dict(type='lightvit_dense.PredictionVisualizationHook', out_dir='out', max_images=3)
    assert _visualization_hook(Config(dict()), 'out', 3) == plain
    cfg = Config(dict(visualization_hook=dict(type='tracking.FilmStripHook', frames=5)))
    chosen = _visualization_hook(cfg, 'out', None)
    assert chosen == dict(type='tracking.FilmStripHook', frames=5, out_dir='out', max_images=None)


@pytest.fixture
def videos(tmp_path):
    """Two sequences of 4 frames in the layout of one's own videos, with a tracker's results."""
    for name in ('a', 'b'):
        folder = write_folder(tmp_path / 'data' / name, [np.full((40, 60, 3), 50, np.uint8)] * 4)
        (folder / 'groundtruth.txt').write_text('10,10,20,15\n' * 4)
        write_result(tmp_path / 'mine', name, np.tile([12.0, 10, 20, 15], (4, 1)))
    return tmp_path


def test_tool_draws_chosen_sequences(videos, capsys):
    out = videos / 'pictures/strips.png'
    words = [f'custom:{videos / "data"}', f'it={videos / "mine"}', '--out', str(out)]
    pictures = []
    for chosen, count in (('9', 2), ('b', 1)):
        assert tool.main([*words, '--sequences', chosen, '--frames', '3', '--width', '60']) == 0
        assert capsys.readouterr().out == f'{count} sequences: {out}\n'
        pictures.append(cv2.imread(str(out)))
    both, one = pictures
    assert both.shape == (2 * one.shape[0] + 4, one.shape[1], 3)
    assert one.shape[1] == 3 * 60 + 2 * 4
    assert (one == line_color(0)[::-1]).all(axis=2).any()


def test_tool_names_what_is_wrong(videos, capsys):
    words = [f'custom:{videos / "data"}', f'it={videos / "mine"}', '--out', str(videos / 'x.png')]
    for more, message in (
        (['--sequences', 'a', 'bb'], "--sequences names 'bb', which is unknown"),
        (['--sequences', '0'], 'must be at least 1'),
    ):
        assert run_tool(lambda more=more: tool.main([*words, *more])) == 2
        assert message in capsys.readouterr().err
    (videos / 'mine/b.txt').unlink()
    assert run_tool(lambda: tool.main(words)) == 2
    assert 'has no result of b' in capsys.readouterr().err
