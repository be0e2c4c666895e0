"""Elimination computes less and nothing else than the straight line of OSTrack."""

import copy
import math

import pytest
import torch

from lightvit_dense.models.backbones.hiera_tokens import to_units
from tracking.models import JointHiera, JointVisionTransformer
from tracking.models.joint import best_candidates, center_ids
from tracking.models.one_stream import box_tokens

from .straight_line import embedded, straight_line

VIT = dict(embed_dim=32, depth=5, num_heads=4)
HIERA = dict(embed_dim=8, stages=(1, 1, 4, 2), num_heads=1)
BLOCKS = (1, 2, 3)


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


def expected(model, template, search, selected):
    """Return the map of the straight line, zero where candidates were pruned."""
    z, x = embedded(model, template, search)
    first = model.first_joint
    tokens, _ = straight_line(model.blocks[first:], first, z, x, model.elimination_blocks, selected)
    there = ~tokens.isnan().any(-1, keepdim=True)
    tokens = torch.where(there, model.norm(torch.where(there, tokens, 0.0)), 0.0)
    return tokens.transpose(1, 2).unflatten(2, model.search_grid)


SELECTED = {'center': [5], 'middle': [5, 6, 9, 10], 'all': list(range(16))}
SELECTED['box'] = [4, 5, 6, 8, 9, 10]
MASK = torch.zeros(2, 4, 4, dtype=torch.bool)  # of the box
MASK[:, 1:3, 0:3] = True


@torch.no_grad()
@pytest.mark.parametrize('kind', SELECTED)
@pytest.mark.parametrize('blocks', [BLOCKS, (0, 4)])
def test_vit_equals_the_straight_line(kind, blocks):
    model = joint_vit(template_tokens=kind, elimination=dict(blocks=blocks))
    pair = images(model)
    found = model(*pair, MASK)
    wanted = expected(model, *pair, SELECTED[kind])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    kept = 64
    for _ in blocks:
        kept = math.ceil(0.7 * kept)
    assert ((found != 0).any(1).flatten(1).sum(1) == kept).all()


@torch.no_grad()
def test_hiera_equals_the_straight_line():
    model = joint_hiera()
    assert (model.first_joint, model.elimination_blocks) == (3, (4, 5, 6))
    template, search = images(model)
    found = model(template, search)
    apart = model.join(model.embed_template(template), model.embed_search(search))
    wanted = expected(model, template, search, [5])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert torch.equal(found, apart)


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
    model = JointVisionTransformer('tiny', elimination=dict())
    assert model.elimination_blocks == (3, 6, 9)
    assert model.eval().candidates(256) == {3: 180, 6: 126, 9: 89}
    assert model.train().candidates(256) == {3: 180, 6: 126, 9: 89}
    model.keep_ratio = 0.85
    assert model.candidates(256) == {3: 218, 6: 186, 9: 159}
    assert model.eval().candidates(256) == {3: 180, 6: 126, 9: 89}  # always the final share
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


def test_gradients_are_those_of_the_straight_line():
    model = joint_vit()
    pair = images(model)
    weights = torch.linspace(-1, 1, 32 * 64, dtype=torch.float64).reshape(1, 32, 8, 8)
    grads = []
    for forward in (lambda m: m(*pair), lambda m: expected(m, *pair, [5])):
        twin = copy.deepcopy(model)
        (forward(twin) * weights).sum().backward()
        grads.append([p.grad for p in twin.parameters()])
    torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ('build', 'options', 'message'),
    [
        (joint_vit, dict(elimination=dict(blocks=(5,))), 'only blocks 0..4 attend over all'),
        (joint_vit, dict(elimination=dict(blocks=(1, 1))), 'each once'),
        (joint_vit, dict(elimination=dict(keep=0.0)), r'keep=0.0 must be in \(0, 1\]'),
        (joint_vit, dict(elimination=dict(ratio=0.7)), r"got also \['ratio'\]"),
        (joint_vit, dict(template_tokens='edge'), "template_tokens='edge' is none of"),
        (joint_vit, dict(template_size=30), r'\(30, 30\) px is not a multiple of patch 8'),
        (joint_vit, dict(cls_token=True), 'does not take cls_token'),
        (joint_vit, dict(layer_scale=1.0), 'does not take layer_scale'),
        (joint_hiera, dict(elimination=dict(blocks=(2,))), r'only blocks 3\.\.7 attend over all'),
        (joint_hiera, dict(template_size=72), 'not a multiple of the mask unit of 32 px'),
        (joint_hiera, dict(mask_unit_attn=(True,) * 4), 'the images never meet'),
    ],
)
def test_what_cannot_be_is_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_images_that_cannot_be_are_refused():
    boxed = joint_vit(template_tokens='box')
    with pytest.raises(ValueError, match=r"template_tokens='box' needs template_mask \[B, 4, 4\]"):
        boxed(*images(boxed))
    with pytest.raises(ValueError, match=r'template image is 32x32 px, .* built for 64x64 px'):
        joint_hiera()(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 128, 128))
    open_early = joint_hiera(mask_unit_attn=(False,) * 4)
    with pytest.raises(ValueError, match='cannot be embedded apart'):
        open_early.embed_template(torch.zeros(1, 3, 64, 64, dtype=torch.float64))
