"""What a tracker looks at in a frame: attention, eliminated candidates, their pictures."""

import math
import re

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.models.backbones.hiera_tokens import from_units, to_units
from tracking.boxes import clip_box
from tracking.models.joint_attention import joint_attention
from tracking.runtime.tracker import Tracker
from tracking.sampling.crops import crop_window
from tracking.tools import track_video
from tracking.visualization import attention_picture
from tracking.visualization.attention import DROPPED, GONE

from .small_runtime import moving_target
from .test_track_elimination import BLOCKS, SELECTED, images, joint_hiera, joint_vit
from .test_track_export import CONFIG
from .test_track_network import tracker


def straight_line(blocks, first, z, x, elimination, selected):
    """Run blocks in raster order as OSTrack does, writing down all attention.

    Returns:
        For each block the softmax over all tokens [B, heads, Z + K, Z + K], the raster numbers of
        the K search tokens [B, K], and the numbers that it drops, a set an image.
    """
    tokens, told = torch.cat([z, x], 1), []
    index = torch.arange(x.shape[1]).expand(len(x), -1)
    for number, block in enumerate(blocks, start=first):
        y, heads, template = block.norm1(tokens), block.attn.num_heads, z.shape[1]
        q, k, v = (
            part.unflatten(2, (heads, -1)).transpose(1, 2)
            for part in block.attn.qkv(y).chunk(3, dim=-1)
        )
        attention = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
        told.append((attention, index, [set() for _ in index]))
        out = block.attn.proj((attention @ v).transpose(1, 2).flatten(2))
        widen = getattr(block, 'proj', None)
        tokens = (tokens if widen is None else widen(y)) + out
        if number in elimination:
            rank = attention[:, :, selected, template:].mean((1, 2))
            count = math.ceil(0.7 * index.shape[1])
            best = torch.stack(
                [row.sort(descending=True).indices[:count].sort().values for row in rank]
            )
            left = torch.stack([ids[kept] for ids, kept in zip(index, best, strict=True)])
            for image, gone in enumerate(told[-1][2]):
                gone.update(set(index[image].tolist()) - set(left[image].tolist()))
            rest = [tokens[i, template:][best[i]] for i in range(len(index))]
            tokens, index = torch.cat([tokens[:, :template], torch.stack(rest)], 1), left
        tokens = tokens + block.mlp(block.norm2(tokens))
    return told


def check(model, blocks, first, z, x, selected):
    template, search = images(model)
    told = straight_line(blocks, first, z, x, model.elimination_blocks, selected)
    found = joint_attention(model, template, search)
    assert [one.block for one in found] == list(range(first, first + len(blocks)))
    for one, (attention, index, dropped) in zip(found, told, strict=True):
        torch.testing.assert_close(one.maps.double(), attention, rtol=1e-5, atol=1e-7)
        assert torch.equal(one.search_ids, index)
        assert [set(row) for row in one.eliminated.tolist()] == dropped
        ranking = attention[:, :, selected, z.shape[1] :].mean(2)
        torch.testing.assert_close(one.ranking.double(), ranking, rtol=1e-5, atol=1e-7)
        assert one.weights[0].flatten().nonzero().flatten().tolist() == selected
        whole = one.ranking_map().flatten(2)
        assert torch.equal(
            whole.isnan().sum(2), torch.full_like(whole[..., 0], 64 - index.shape[1]).long()
        )
        assert torch.equal(whole[1, 0][index[1]], one.ranking[1, 0])
    return found, model(template, search)


@torch.no_grad()
@pytest.mark.parametrize('kind', SELECTED)
def test_a_vits_attention_is_the_straight_lines(kind):
    model = joint_vit(template_tokens=kind)
    template, search = images(model)
    z = model.patch_embed(template)[0] + model.pos_embed_z
    x = model.patch_embed(search)[0] + model.pos_embed
    found, output = check(model, model.blocks, 0, z, x, SELECTED[kind])
    # What is eliminated is what the model leaves out of its map.
    gone = torch.cat([one.eliminated for one in found], dim=1).sort(1).values
    zero = (output == 0).all(1).flatten(1)
    assert torch.equal(gone, zero.nonzero()[:, 1].reshape(2, -1))
    assert [one.eliminated.shape[1] for one in found] == [0, 19, 13, 9, 0]
    assert tuple(one.block for one in found if one.eliminated.numel()) == BLOCKS


@torch.no_grad()
def test_a_hieras_attention_is_the_straight_lines():
    model = joint_hiera()
    template, search = images(model)

    def early(image, table):
        x = model.patch_embed(image)
        x = to_units(x + table.reshape(1, *x.shape[1:]), 8)
        for block in model.blocks[:3]:
            x = block(x)[0]
        side = image.shape[-1] // 32
        return from_units(x, (side, side)).flatten(1, 2)  # raster order

    z, x = early(template, model.pos_embed_z), early(search, model.pos_embed)
    check(model, model.blocks[3:], 3, z, x, [5])
    with pytest.raises(UserError, match=r'blocks \[2\]: blocks 3 to 7 attend over template and'):
        joint_attention(model, template, search, blocks=[2])


def test_the_boxes_tokens_rank_by_their_shares():
    model = joint_vit(template_tokens='box')
    template, search = images(model)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, 1:3, 0:3] = True
    (one,) = joint_attention(model, template, search, mask, blocks=[1])
    assert torch.equal(one.weights > 0, mask)
    rows = [4, 5, 6, 8, 9, 10]
    torch.testing.assert_close(one.ranking, one.maps[:, :, rows, 16:].mean(2))


@pytest.fixture
def followed():
    frames, boxes = moving_target(4)
    following = Tracker.from_model(tracker(), 'torch')
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
        Tracker.from_model(tracker()).attention(frames[0])


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
    dropped, before = (
        np.round(np.multiply(c, share)) for c, share in ((DROPPED, 0.65), (GONE, 0.85))
    )
    for column, one in ((1, first), (2, second)):
        state = np.zeros((64, 3))
        gone = np.setdiff1d(np.arange(64), one.search_ids[0])
        state[one.eliminated[0]], state[gone] = dropped, before
        np.testing.assert_allclose(cells(0, column), state, atol=1)
        assert ((cells(1, column) == GONE).all(1) == np.isin(np.arange(64), gone)).all()
    assert len(np.setdiff1d(np.arange(64), second.search_ids[0])) == first.eliminated.shape[1] > 0
    # The brightest colour is where the mean over heads is greatest.
    best = int(second.search_ids[0, second.ranking[0].mean(0).argmax()])
    assert (
        cells(1, 2).sum(1)[np.isin(np.arange(64), second.search_ids[0])].max()
        == cells(1, 2)[best].sum()
    )


@pytest.fixture
def films(tmp_path):
    frames, boxes = moving_target(5)
    (tmp_path / 'walk').mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'walk/{index}.png'), frame[..., ::-1])
    (tmp_path / 'config.py').write_text(CONFIG, encoding='utf-8')
    torch.save(dict(state_dict=tracker().state_dict(), meta={}), tmp_path / 'model.pth')
    words = [str(tmp_path / 'walk'), '--config', str(tmp_path / 'config.py')]
    words += ['--checkpoint', str(tmp_path / 'model.pth'), '--device', 'cpu']
    return [*words, '--box', *(f'{v:g}' for v in boxes[0]), '--attention', str(tmp_path / 'out')]


def test_the_tool_writes_pictures_and_numbers(films, tmp_path, capsys):
    assert track_video.main([*films, '--attention-frames', '2', '4']) == 0
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        *('000002.npz', '000002.png', '000004.npz', '000004.png')
    ]
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
