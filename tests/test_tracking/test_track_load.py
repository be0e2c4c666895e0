"""Checkpoints of trackers, ours and with OSTrack's names; configs and what they start from."""

import itertools
from collections import OrderedDict

import pytest
import torch
from mmengine.config import Config
from torch import nn

from lightvit_dense.apis.build import build_model
from lightvit_dense.checkpoints import CheckpointError, load_backbone
from lightvit_dense.models.backbones import Hiera, VisionTransformer
from lightvit_dense.models.layers import resize_position
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.layer_depth import get_layer_id
from tests.helpers.models import rates_and_decays
from tests.helpers.shipped_configs import read
from tracking.models import JointHiera, JointVisionTransformer

from .small_tracker import CONFIG, pairs, small_tracker
from .test_track_elimination import HIERA, VIT


def joint_vit(template_size=32, search_size=64):
    return JointVisionTransformer(VIT, template_size, search_size, patch_size=8)


@pytest.mark.parametrize(('size', 'grid', 'cls_token'), [(56, (7, 7), True), (48, (6, 6), False)])
def test_one_table_fills_both_resized(size, grid, cls_token):
    torch.manual_seed(0)
    source = VisionTransformer(VIT, img_size=size, patch_size=8, cls_token=cls_token)
    model = joint_vit()
    report = load_backbone(model, source.state_dict(), verbose=False)
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
    torch.testing.assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)
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


def their_head(width, channels):
    """OSTrack's centre head, with its names."""
    head, widths = nn.Module(), [width, *(channels // 2**i for i in range(4))]
    for branch, outputs in (('ctr', 1), ('offset', 2), ('size', 2)):
        for layer, (inside, outside) in enumerate(itertools.pairwise(widths), 1):
            kernel, norm = nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            setattr(head, f'conv{layer}_{branch}', nn.Sequential(kernel, norm, nn.ReLU()))
        setattr(head, f'conv5_{branch}', nn.Conv2d(widths[4], outputs, 1))
    return head.eval()


def their_maps(head, x):
    """Call the layers as OSTrack does: score, size and offset."""
    found = {}
    for branch in ('ctr', 'size', 'offset'):
        y = x
        for layer in range(1, 6):
            y = getattr(head, f'conv{layer}_{branch}')(y)
        found[branch] = y if branch == 'offset' else y.sigmoid().clamp(1e-4, 1 - 1e-4)
    return found.values()


def test_a_file_of_ostrack_fills_a_tracker(tmp_path):
    torch.manual_seed(0)
    head = their_head(32, 16)
    state = {f'box_head.{name}': value for name, value in head.state_dict().items()}
    shapes = {n: t.shape for n, t in small_tracker().backbone.state_dict().items()}
    shapes['pos_embed_x'] = shapes['pos_embed']
    shapes |= dict(pos_embed=(1, 197, 32), cls_token=(1, 1, 32))
    state |= {f'backbone.{name}': torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    path = tmp_path / 'OSTrack_ep0300.pth.tar'
    torch.save({'net': state, 'epoch': 300}, path)
    model = build_model(Config.fromstring(CONFIG, '.py'), path, 'cpu')
    for name, value in model.backbone.state_dict().items():
        name = 'pos_embed_x' if name == 'pos_embed' else name
        assert torch.equal(value, state[f'backbone.{name}']), name
    data = model.data_preprocessor(pairs())
    with torch.no_grad():
        features = model.backbone(**{k: data['inputs'][k] for k in ('template', 'search')})
        torch.testing.assert_close([*model(**data)], [*their_maps(head, features)])
    del state['box_head.conv3_size.0.weight']
    torch.save({'net': state}, path)
    with pytest.raises(CheckpointError, match='does not fill the model'):
        build_model(Config.fromstring(CONFIG, '.py'), path, 'cpu')


def load(name: str) -> Config:
    return read(f'lasot/ostrack256_{name}')


def test_the_recipe_of_the_papers() -> None:
    cfg = load('d2mae_tiny')
    data, model, hook = cfg.train_dataloader.dataset, cfg.model, cfg.default_hooks.elimination
    names = ['LaSOT', 'GOT10k', 'CocoSequences', 'TrackingNet']
    assert [one.type for one in data.sets] == [f'tracking.{name}' for name in names]
    # The authors' 50 px make an object invisible, which nobody asks of an image.
    assert (data.sets[1].split, data.sets[2].min_size) == ('vottrain', 0)
    assert (data.ratios, data.samples_per_epoch, data.max_interval) == ([1, 1, 1, 1], 60000, 200)
    assert data.template == dict(size=128, factor=2.0, center_jitter=0.0, scale_jitter=0.0)
    assert data.search == dict(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25)
    assert (data.joint, data.brightness) == (dict(gray=0.05, flip=0.5), 0.2)
    assert cfg.train_dataloader.batch_size * 4 == cfg.auto_scale_lr.base_batch_size == 128
    assert (model.template_factor, model.search_factor) == (2.0, 4.0)
    assert model.loss_weights == dict(score=1.0, giou=2.0, l1=5.0)
    assert model.backbone.elimination == dict(blocks=(3, 6, 9), keep=0.7)
    assert (model.backbone.template_tokens, model.backbone.drop_path_rate) == ('center', 0.1)
    assert (hook.begin, hook.end, cfg.train_cfg.max_epochs) == (20, 100, 300)
    assert (cfg.param_scheduler.milestones, cfg.param_scheduler.gamma) == ([240], 0.1)
    validation = cfg.val_dataloader.dataset
    assert (validation.samples_per_epoch, validation.sets[0].split) == (10000, 'votval')


def test_the_protocol_of_got10k() -> None:
    cfg = load('dmae_tiny_got10k')
    (only,), hook = cfg.train_dataloader.dataset.sets, cfg.default_hooks.elimination
    assert (only.type, only.split) == ('tracking.GOT10k', 'train_full')
    assert cfg.test_dataloader.dataset.sequences.type == 'tracking.GOT10k'
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler.milestones) == (100, [80])
    assert (hook.begin, hook.end) == (20, 50)


def test_learning_rates_and_sizes() -> None:
    cfg = load('scratch_tiny')
    model = MODELS.build(cfg.model)
    for name, found in rates_and_decays(model, cfg.optim_wrapper).items():
        rate = 4e-5 if name.startswith('backbone.') else 4e-4
        assert found == (pytest.approx(rate), 1e-4), name
    assert sum(p.numel() for p in model.parameters()) == 8_040_645
    assert model.eval().backbone.candidates(256) == {3: 180, 6: 126, 9: 89}
