"""What a tracker looks at in a frame: attention, eliminated candidates, their pictures."""

import re

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense.errors import UserError, run_tool
from tracking.boxes import clip_box
from tracking.models.joint_attention import joint_attention
from tracking.runtime.tracker import Tracker
from tracking.sampling.crops import crop_window
from tracking.tools import track_video
from tracking.visualization import attention_picture
from tracking.visualization.attention import DROPPED, GONE

from .small_runtime import moving_target, write_folder
from .small_tracker import trained_tracker as tracker
from .small_tracker import write_tracker_files
from .straight_line import embedded, straight_line
from .test_track_elimination import MASK, SELECTED, images, joint_hiera, joint_vit


@torch.no_grad()
@pytest.mark.parametrize('kind', [*SELECTED, 'hiera'])
def test_attention_is_the_straight_lines(kind):
    model = joint_hiera() if kind == 'hiera' else joint_vit(template_tokens=kind)
    selected = SELECTED.get(kind, [5])
    pair = images(model)
    z, x = embedded(model, *pair)
    first = model.first_joint
    _, told = straight_line(model.blocks[first:], first, z, x, model.elimination_blocks, selected)
    found = joint_attention(model, *pair, MASK)
    assert [one.block for one in found] == list(range(first, len(model.blocks)))
    for one, (attention, index, dropped) in zip(found, told, strict=True):
        torch.testing.assert_close(one.maps.double(), attention, rtol=1e-5, atol=1e-7)
        assert torch.equal(one.search_ids, index)
        assert [set(row) for row in one.eliminated.tolist()] == dropped
        ranking = attention[:, :, selected, z.shape[1] :].mean(2)
        torch.testing.assert_close(one.ranking.double(), ranking, rtol=1e-5, atol=1e-7)
        assert one.weights[0].flatten().nonzero().flatten().tolist() == selected
        whole = one.ranking_map().flatten(2)
        assert (whole.isnan().sum(2) == 64 - index.shape[1]).all()
        assert torch.equal(whole[1, 0][index[1]], one.ranking[1, 0])
    # What is eliminated is what the model leaves out of its map.
    gone = torch.cat([one.eliminated for one in found], dim=1).sort(1).values
    zero = (model(*pair, MASK) == 0).all(1).flatten(1)
    assert torch.equal(gone, zero.nonzero()[:, 1].reshape(2, -1))
    assert [one.eliminated.shape[1] for one in found] == [0, 19, 13, 9, 0]


@pytest.fixture
def followed():
    frames, boxes = moving_target(4)
    following = Tracker(tracker())
    following.init(frames[0], boxes[0])
    return following, frames, following.update(frames[1]).box


def test_a_frame_is_looked_at_as_it_is_tracked(followed):
    following, frames, last = followed
    found = following.attention(frames[2], blocks=[1, 2])
    again = following.attention(frames[2])  # nothing has moved
    assert [one.block for one in found.blocks] == [1, 2]
    assert len(again.blocks) == 4
    assert torch.equal(found.blocks[0].maps, again.blocks[1].maps)
    assert (found.template.shape, found.search.shape) == ((32, 32, 3), (64, 64, 3))
    result = following.update(frames[2])
    assert found.score == pytest.approx(result.score, abs=1e-5)
    box = clip_box(crop_window(last, 4.0).to_image(found.box, 64), (120, 160), 10.0)
    np.testing.assert_allclose(result.box, box, atol=1e-2)
    with pytest.raises(UserError, match=r'blocks \[4\]: blocks 0 to 3 attend'):
        following.attention(frames[2], blocks=[4])
    with pytest.raises(UserError, match='call init'):
        Tracker(tracker()).attention(frames[0])


def test_the_picture_shows_which_candidates_are_gone(followed):
    following, frames, _ = followed
    found = following.attention(frames[2], blocks=[1, 2])
    dark = type(found)(found.template * 0, found.search * 0, found.box, 0.5, found.blocks)
    tile, bar = 64, 21
    picture = attention_picture(dark, tile)
    assert picture.shape[1] == 3 * tile + 2 * 4

    def cells(row, column):
        top, left = row * (tile + bar + 4) + bar, column * (tile + 4)
        return picture[top : top + tile, left : left + tile][4::8, 4::8].reshape(64, 3)

    first, second = found.blocks
    dropped, before = np.round(np.multiply(DROPPED, 0.65)), np.round(np.multiply(GONE, 0.85))
    for column, one in ((1, first), (2, second)):
        state = np.zeros((64, 3))
        gone = np.setdiff1d(np.arange(64), one.search_ids[0])
        state[one.eliminated[0]], state[gone] = dropped, before
        np.testing.assert_allclose(cells(0, column), state, atol=1)
        assert ((cells(1, column) == GONE).all(1) == np.isin(np.arange(64), gone)).all()
    assert len(np.setdiff1d(np.arange(64), second.search_ids[0])) == first.eliminated.shape[1] > 0
    # The brightest colour is where the mean over heads is greatest.
    best = int(second.search_ids[0, second.ranking[0].mean(0).argmax()])
    light = cells(1, 2).sum(1)
    assert light[second.search_ids[0]].max() == light[best]


@pytest.fixture
def films(tmp_path):
    frames, boxes = moving_target(5)
    config, checkpoint = write_tracker_files(tmp_path, tracker())
    words = [str(write_folder(tmp_path / 'walk', frames)), '--config', config]
    words += ['--checkpoint', checkpoint, '--device', 'cpu']
    return [*words, '--box', *(f'{v:g}' for v in boxes[0]), '--attention', str(tmp_path / 'out')]


def test_the_tool_writes_pictures_and_numbers(films, tmp_path, capsys):
    assert track_video.main([*films, '--attention-frames', '2', '4']) == 0
    files = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert files == ['000002.npz', '000002.png', '000004.npz', '000004.png']
    assert 'out/000004.png' in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'out/000002.png')).std() > 5
    with np.load(tmp_path / 'out/000004.npz', allow_pickle=False) as arrays:
        assert arrays['blocks'].tolist() == [0, 1, 2, 3]
        gone = np.isnan(arrays['attention'])
        by = arrays['eliminated_by']
        assert gone.sum((1, 2)).tolist() == [0, 0, (by == 1).sum(), (by >= 0).sum()]
        assert arrays['box'].shape == (4,)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--attention-frames', '9'], 'the last frame of .*walk is 4; name an earlier one'),
        (['--attention-frames', '0'], 'the target is given in frame 0 and followed in those after'),
        (['--frames', '2', '--attention-frames', '2'], 'up to --frames; name one of these'),
    ],
)
def test_frames_that_cannot_be_looked_at_are_named(films, words, message, capsys):
    try:
        status = run_tool(lambda: track_video.main([*films, *words]))
    except SystemExit as ended:  # argparse
        status = ended.code
    assert status == 2
    assert re.search(message, ' '.join(capsys.readouterr().err.split()))
