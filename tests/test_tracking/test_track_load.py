"""One position table of a checkpoint fills both of a tracker."""

from collections import OrderedDict

import pytest
import torch

from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.models.backbones import Hiera, VisionTransformer
from lightvit_dense.models.layers import resize_position
from lightvit_dense.utils.layer_depth import get_layer_id
from tracking.models import JointHiera, JointVisionTransformer

from .test_track_elimination import HIERA, VIT


def joint_vit(template_size=32, search_size=64):
    return JointVisionTransformer(VIT, template_size, search_size, patch_size=8)


@pytest.mark.parametrize(
    ('size', 'grid', 'cls_token'), [(56, (7, 7), True), ((48, 64), (6, 8), False)]
)
def test_one_table_fills_both_resized(size, grid, cls_token):
    torch.manual_seed(0)
    source = VisionTransformer(VIT, img_size=size, patch_size=8, cls_token=cls_token)
    model = joint_vit()
    report = load_backbone(model, source.state_dict(), verbose=False, source_grid=grid)
    for name, wanted in (('pos_embed', (8, 8)), ('pos_embed_z', (4, 4))):
        expected = resize_position(source.pos_embed, grid, wanted, int(cls_token))
        assert torch.equal(getattr(model, name), expected[:, int(cls_token) :])
        assert report.resized[name][1] == (1, wanted[0] * wanted[1], 32)
    assert report.missing == []
    assert report.unexpected == ['cls_token'] * cls_token
    assert report.notes == ['pos_embed_z was filled from pos_embed']
    assert torch.equal(model.blocks[3].mlp.fc2.weight, source.blocks[3].mlp.fc2.weight)


def test_hiera_tables():
    torch.manual_seed(0)
    source = Hiera(HIERA, img_size=96, q_pool=2)
    model = JointHiera(HIERA, template_size=64, search_size=128)
    report = load_backbone(model, source.state_dict(), strict=True, verbose=False)
    for name, grid in (('pos_embed', (32, 32)), ('pos_embed_z', (16, 16))):
        assert torch.equal(getattr(model, name), resize_position(source.pos_embed, (24, 24), grid))
        assert name in report.resized


def test_ones_own_tracker_is_loaded_as_it_is(tmp_path):
    torch.manual_seed(0)
    source, model = joint_vit(), joint_vit()
    path = tmp_path / 'tracker.pth'
    state = {f'backbone.{name}': value for name, value in source.state_dict().items()}
    torch.save({'state_dict': {**state, 'head.score.0.weight': torch.zeros(1)}}, path)
    report = load_backbone(model, path, strict=True, verbose=False)
    assert (report.source, report.resized) == ('full model', {})
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    plain = VisionTransformer(VIT, img_size=64, patch_size=8, cls_token=False)
    report = load_backbone(plain, source.state_dict(), strict=True, verbose=False)
    assert report.dropped == ['pos_embed_z']
    assert torch.equal(plain.pos_embed, source.pos_embed)


def test_a_tracker_of_ostrack_gives_both_tables():
    torch.manual_seed(0)
    plain = VisionTransformer(VIT, img_size=56, patch_size=8)
    state = {f'backbone.{name}': value for name, value in plain.state_dict().items()}
    search, template = torch.randn(1, 64, 32), torch.randn(1, 16, 32)
    state |= {'backbone.pos_embed_x': search, 'backbone.pos_embed_z': template}
    model = joint_vit()
    report = load_backbone(model, OrderedDict(state), verbose=False)
    assert (report.source, report.resized) == ('OSTrack', {})
    assert torch.equal(model.pos_embed, search)
    assert torch.equal(model.pos_embed_z, template)
    # For other image sizes each is resized from its own.
    larger = joint_vit(template_size=48, search_size=96)
    load_backbone(larger, OrderedDict(state), verbose=False)
    assert torch.equal(larger.pos_embed, resize_position(search, (8, 8), (12, 12)))
    assert torch.equal(larger.pos_embed_z, resize_position(template, (4, 4), (6, 6)))
    # Both sit at the bottom.
    assert get_layer_id('backbone.pos_embed_z', 12) == get_layer_id('pos_embed', 12) == 0
