"""Elimination computes less and nothing else than the straight line of OSTrack, and is shown."""

import copy
import math
import re

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense.errors import UserError
from lightvit_dense.models.backbones.hiera_tokens import from_units, to_units
from lightvit_dense_runtime.crops import clip_box, crop_window
from tracking.models import JointHiera, JointVisionTransformer
from tracking.models.joint import best_candidates, center_ids
from tracking.models.joint_attention import joint_attention
from tracking.models.one_stream import box_tokens
from tracking.runtime.tracker import Tracker
from tracking.tools import track_video
from tracking.visualization import attention_picture
from tracking.visualization.attention import DROPPED, GONE

from .small_sequences import moving_target, write_folder
from .small_tracker import trained_tracker as tracker
from .small_tracker import write_tracker_files

VIT = dict(embed_dim=32, depth=5, num_heads=4)
HIERA = dict(embed_dim=8, stages=(1, 1, 4, 2), num_heads=1)
BLOCKS = (1, 2, 3)


def straight_line(blocks, first, z, x, elimination, selected, keep=0.7):
    """Run blocks in raster order from the number ``first`` on, writing down all attention.

    Takes tokens of template [B, Z, C] and search [B, X, C], the numbers of blocks that prune and
    of template tokens that rank. Returns search tokens in their order, NaN where they were pruned,
    before any norm; and for each block the softmax over all tokens, the raster numbers of the K
    search tokens [B, K], and those that it drops, a set an image.
    """
    tokens, template, told = torch.cat([z, x], 1), z.shape[1], []
    index = torch.arange(x.shape[1]).expand(len(x), -1)
    for number, block in enumerate(blocks, start=first):
        y, heads = block.norm1(tokens), block.attn.num_heads
        q, k, v = (
            part.unflatten(2, (heads, -1)).transpose(1, 2)
            for part in block.attn.qkv(y).chunk(3, dim=-1)
        )
        attention = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
        out = block.attn.proj((attention @ v).transpose(1, 2).flatten(2))
        widen = getattr(block, 'proj', None)
        tokens, before = (tokens if widen is None else widen(y)) + out, index
        if number in elimination:
            rank = attention[:, :, :template, template:][:, :, selected].mean((1, 2))
            count = math.ceil(keep * index.shape[1])
            best = rank.sort(dim=1, descending=True).indices[:, :count].sort(1).values
            rest = [row[kept] for row, kept in zip(tokens[:, template:], best, strict=True)]
            tokens = torch.cat([tokens[:, :template], torch.stack(rest)], 1)
            index = index.gather(1, best)
        dropped = [set(a) - set(b) for a, b in zip(before.tolist(), index.tolist(), strict=True)]
        told.append((attention, before, dropped))
        tokens = tokens + block.mlp(block.norm2(tokens))
    found = tokens.new_full((*x.shape[:2], tokens.shape[2]), torch.nan)
    return found.scatter(
        1, index[..., None].expand_as(tokens[:, template:]), tokens[:, template:]
    ), told


def embedded(model, template, search):
    """Return the tokens of both images in raster order as they enter the joint blocks."""
    if not hasattr(model, 'mask_unit'):
        return (
            model.patch_embed(template)[0] + model.pos_embed_z,
            model.patch_embed(search)[0] + model.pos_embed,
        )

    def early(image, table):
        x = model.patch_embed(image)
        x = to_units(x + table.reshape(1, *x.shape[1:]), 8)
        for block in model.blocks[: model.first_joint]:
            x = block(x)[0]
        side = image.shape[-1] // 32
        return from_units(x, (side, side)).flatten(1, 2)

    return early(template, model.pos_embed_z), early(search, model.pos_embed)


def joint_vit(**kwargs):
    torch.manual_seed(0)
    options = dict(template_size=32, search_size=64, patch_size=8, elimination=dict(blocks=BLOCKS))
    model = JointVisionTransformer(VIT, **{**options, **kwargs}).double().eval()
    return sharpen(model)


def joint_hiera(**kwargs):
    torch.manual_seed(0)
    options = dict(template_size=64, search_size=128, elimination=dict())
    return sharpen(JointHiera(HIERA, **{**options, **kwargs}).double().eval())


def sharpen(model):
    """Make attention far from uniform, so that ranks are no matter of rounding."""
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight.mul_(3)
            block.attn.qkv.bias.normal_()
            block.mlp.fc1.bias.normal_()
    return model


def images(model, batch=2):
    generator = torch.Generator().manual_seed(3)
    sizes = (model.template_size, model.search_size)
    return [torch.randn(batch, 3, *s, generator=generator, dtype=torch.float64) for s in sizes]


def prune(model, template, search, selected):
    """Return the map of the straight line, zero where candidates were pruned, and what it tells."""
    z, x = embedded(model, template, search)
    first = model.first_joint
    blocks = model.blocks[first:]
    tokens, told = straight_line(blocks, first, z, x, model.elimination_blocks, selected)
    there = ~tokens.isnan().any(-1, keepdim=True)
    tokens = torch.where(there, model.norm(torch.where(there, tokens, 0.0)), 0.0)
    return tokens.transpose(1, 2).unflatten(2, model.search_grid), told


SELECTED = {'center': [5], 'middle': [5, 6, 9, 10], 'all': list(range(16))}
SELECTED['box'] = [4, 5, 6, 8, 9, 10]
MASK = torch.zeros(2, 4, 4, dtype=torch.bool)  # of the box
MASK[:, 1:3, 0:3] = True
CASES = {f'{kind} {blocks}': (kind, blocks) for kind in SELECTED for blocks in (BLOCKS, (0, 4))}
CASES['hiera'] = ('hiera', (4, 5, 6))


@pytest.mark.parametrize(('kind', 'blocks'), CASES.values(), ids=CASES)
def test_map_gradients_and_attention_are_the_straight_lines(kind, blocks):
    if kind == 'hiera':
        model = joint_hiera()
        assert (model.first_joint, model.elimination_blocks) == (3, blocks)
    else:
        model = joint_vit(template_tokens=kind, elimination=dict(blocks=blocks))
    selected, pair = SELECTED.get(kind, [5]), images(model)
    wanted, told = prune(model, *pair, selected)
    outputs = model(*pair, MASK), wanted
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    apart = [model.embed_template(pair[0]), model.embed_search(pair[1])]
    assert torch.equal(torch.cat(apart, dim=1), model.embed_pair(*pair))
    weights = torch.linspace(-1, 1, wanted.numel(), dtype=wanted.dtype).reshape(wanted.shape)
    parameters = list(model.parameters())
    grads = [torch.autograd.grad((out * weights).sum(), parameters) for out in outputs]
    torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-8)

    with torch.no_grad():
        found = joint_attention(model, *pair, MASK)
    assert [one.block for one in found] == list(range(model.first_joint, len(model.blocks)))
    for one, (attention, index, dropped) in zip(found, told, strict=True):
        torch.testing.assert_close(one.maps.double(), attention, rtol=1e-5, atol=1e-7)
        assert torch.equal(one.search_ids, index)
        assert [set(row) for row in one.eliminated.tolist()] == dropped
        ranking = attention[:, :, selected, -index.shape[1] :].mean(2)
        torch.testing.assert_close(one.ranking.double(), ranking, rtol=1e-5, atol=1e-7)
        assert one.weights[0].flatten().nonzero().flatten().tolist() == selected
        whole = one.ranking_map().flatten(2)
        number = wanted[0, 0].numel()
        assert (whole.isnan().sum(2) == number - index.shape[1]).all()
        assert torch.equal(whole[1, 0][index[1]], one.ranking[1, 0])
    # What is eliminated is what the model leaves out of its map.
    gone = torch.cat([one.eliminated for one in found], dim=1).sort(1).values
    zero = (outputs[0] == 0).all(1).flatten(1)
    assert torch.equal(gone, zero.nonzero()[:, 1].reshape(2, -1))
    counts = [one.eliminated.shape[1] for one in found if one.block in blocks]
    assert counts == ([19, 13, 9] if len(blocks) == 3 else [19, 13])
    assert gone.shape[1] == sum(counts)


def test_the_box_in_the_order_of_units():
    model = joint_hiera(template_tokens='box')
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 2] = mask[0, 3, 0] = True
    order = to_units(torch.arange(16).reshape(1, 4, 4, 1), 2).flatten().tolist()
    wanted = [0.5 if raster in (6, 12) else 0.0 for raster in order]
    assert model.token_weights(mask)[0].tolist() == wanted
    assert joint_hiera().token_ids.tolist() == [order.index(5)]


@torch.no_grad()
def test_without_elimination_it_is_the_plain_backbone():
    model, whole = joint_vit(elimination=None), joint_vit(elimination=dict(blocks=BLOCKS, keep=1.0))
    pair = images(model)
    x = torch.cat(embedded(model, *pair), 1)
    for block in model.blocks:
        x = block(x)[0]
    wanted = model.norm(x)[:, 16:].transpose(1, 2).unflatten(2, (8, 8))
    torch.testing.assert_close(model(*pair), wanted, rtol=1e-10, atol=1e-10)
    assert torch.equal(whole(*pair), model(*pair))  # a ratio of one is none


def test_numbers_of_candidates():
    final = {3: 180, 6: 126, 9: 89}
    model = JointVisionTransformer('tiny', elimination=dict()).train()
    assert model.candidates(256) == final
    model.keep_ratio = 0.85
    assert model.candidates(256) == {3: 218, 6: 186, 9: 159}
    assert model.eval().candidates(256) == final  # always the final share
    model.train().keep_ratio = 1.0
    assert model.candidates(256) == {}
    assert JointVisionTransformer(VIT, elimination=None).candidates(256) == {}
    assert joint_vit(elimination=dict()).elimination_blocks == (1, 2, 3)
    shallow = JointVisionTransformer({**VIT, 'depth': 2}, elimination=dict())
    assert shallow.elimination_blocks == (0, 1)


@pytest.mark.parametrize(
    ('side', 'point', 'middle'),
    [(8, [27], [27, 28, 35, 36]), (12, [65], [65, 66, 77, 78]), (7, [24], [24]), (14, [90], None)],
)
def test_tokens_in_the_middle(side, point, middle):
    # OSTrack's tables: rows and columns 3 of 8, 5 of 12, 3 of 7, 6 of 14; 3-4, 5-6 and 3.
    assert center_ids((side, side)) == point
    if middle:
        assert center_ids((side, side), only_one=False) == middle


def test_tokens_of_a_box():
    boxes = torch.tensor([[0.25, 0.0, 0.5, 0.6], [0.9, 0.9, 0.01, 0.01], [-1.0, 2.0, 0.1, 0.1]])
    found = box_tokens(boxes, (4, 4))
    wanted = torch.zeros(3, 4, 4, dtype=torch.bool)
    wanted[0, 0:2, 1:3] = True  # centres at .125, .375, .625, .875
    wanted[1, 3, 3] = True  # no centre inside: the token where the box is
    wanted[2, 3, 0] = True  # outside of the crop: the nearest
    assert torch.equal(found, wanted)


def test_ranks_in_low_precision_are_those_of_single():
    torch.manual_seed(0)
    query, key = torch.randn(1, 2, 1, 8).half(), torch.randn(1, 2, 40, 8).half()
    found = best_candidates(query, key, 8, 10)
    logits = query @ key.transpose(2, 3)
    wanted = logits.float().softmax(-1)[0, :, 0, 8:].mean(0).topk(10).indices
    assert torch.equal(found[0], wanted)


@pytest.mark.parametrize('build', [joint_vit, joint_hiera])
def test_recomputing_gives_the_same_gradients(build):
    plain = build(drop_path_rate=0.3).train()
    saving = copy.deepcopy(plain)
    saving.with_cp = True
    grads = []
    for model in (plain, saving):
        torch.manual_seed(5)
        template, search = images(model)
        out = model(template, search)
        (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []
        grads.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-9)


BOX = dict(template_tokens='box')
OPEN = dict(mask_unit_attn=(False,) * 4)
SMALL, MIDDLE, LARGE = (torch.zeros(1, 3, side, side).double() for side in (32, 64, 128))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: joint_vit(elimination=dict(blocks=(5,))), 'only blocks 0..4 attend over all'),
        (lambda: joint_vit(elimination=dict(blocks=(1, 1))), 'each once'),
        (lambda: joint_vit(elimination=dict(keep=0.0)), r'keep=0.0 must be in \(0, 1\]'),
        (lambda: joint_vit(elimination=dict(ratio=0.7)), r"got also \['ratio'\]"),
        (lambda: joint_vit(template_tokens='edge'), "template_tokens='edge' is none of"),
        (lambda: joint_vit(template_size=30), r'\(30, 30\) px is not a multiple of patch 8'),
        (lambda: joint_vit(cls_token=True), 'does not take cls_token'),
        (lambda: joint_vit(layer_scale=1.0), 'does not take layer_scale'),
        (lambda: joint_vit(**BOX)(SMALL, MIDDLE), r"'box' needs template_mask \[B, 4, 4\]"),
        (lambda: joint_hiera(elimination=dict(blocks=(2,))), r'only blocks 3\.\.7 attend over all'),
        (lambda: joint_hiera(template_size=72), 'not a multiple of the mask unit of 32 px'),
        (lambda: joint_hiera(mask_unit_attn=(True,) * 4), 'the images never meet'),
        (lambda: joint_hiera()(SMALL, LARGE), 'template image is 32x32 px, .* built for 64x64 px'),
        (lambda: joint_hiera(**OPEN).embed_template(MIDDLE), 'cannot be embedded apart'),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_frame_is_looked_at_as_it_is_tracked_and_shown():
    frames, boxes = moving_target(4)
    following = Tracker(tracker())
    with pytest.raises(UserError, match='call init'):
        following.attention(frames[0])
    following.init(frames[0], boxes[0])
    last = following.update(frames[1]).box
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

    # The picture shows which candidates are gone.
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


def test_the_tool_writes_pictures_and_numbers(tmp_path, capsys):
    frames, boxes = moving_target(5)
    config, checkpoint = write_tracker_files(tmp_path, tracker())
    words = [str(write_folder(tmp_path / 'walk', frames)), '--config', config]
    words += ['--checkpoint', checkpoint, '--device', 'cpu', '--box', *map(str, boxes[0])]
    words += ['--attention', str(tmp_path / 'out'), '--attention-frames']
    assert track_video.main([*words, '2', '4']) == 0
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
    for more, message in (
        (['9'], 'the last frame of .*walk is 4; name an earlier one'),
        (['0'], 'the target is given in frame 0 and followed in those after'),
        (['2', '--frames', '2'], 'up to --frames; name one of these'),
    ):
        with pytest.raises((UserError, SystemExit)) as error:  # the latter of argparse
            track_video.main([*words, *more])
        told = f'{error.value} {capsys.readouterr().err}'
        assert re.search(message, ' '.join(told.split()))
