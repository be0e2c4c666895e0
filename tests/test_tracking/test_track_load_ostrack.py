"""Whole trackers with OSTrack's names, in and out."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from lightvit_dense.apis.build import build_model
from lightvit_dense.checkpoints import CheckpointError
from lightvit_dense.errors import UserError
from tracking.models.ostrack_names import from_ostrack, to_ostrack
from tracking.tools.convert_tracker import main

from .small_tracker import CONFIG, pairs, small_tracker


class TheirHead(nn.Module):
    """OSTrack's centre head, with its names and its way to call the layers."""

    def __init__(self, width, channels):
        super().__init__()
        widths = [width, channels, channels // 2, channels // 4, channels // 8]
        for branch, outputs in (('ctr', 1), ('offset', 2), ('size', 2)):
            for layer in range(1, 5):
                kernel = nn.Conv2d(widths[layer - 1], widths[layer], 3, padding=1)
                norm = nn.BatchNorm2d(widths[layer])
                block = nn.Sequential(kernel, norm, nn.ReLU())
                setattr(self, f'conv{layer}_{branch}', block)
            setattr(self, f'conv5_{branch}', nn.Conv2d(widths[4], outputs, 1))

    def forward(self, x):
        found = {}
        for branch in ('ctr', 'offset', 'size'):
            y = x
            for layer in range(1, 6):
                y = getattr(self, f'conv{layer}_{branch}')(y)
            found[branch] = y
        return (
            found['ctr'].sigmoid().clamp(1e-4, 1 - 1e-4),
            found['size'].sigmoid().clamp(1e-4, 1 - 1e-4),
            found['offset'],
        )


def their_state(head):
    """Return a whole tracker's parameters as OSTrack saves them."""
    model = small_tracker()
    state = {f'box_head.{name}': value for name, value in head.state_dict().items()}
    for name, value in model.backbone.state_dict().items():
        name = 'pos_embed_x' if name == 'pos_embed' else name
        state[f'backbone.{name}'] = torch.randn(value.shape) * 0.1
    state['backbone.pos_embed'] = torch.randn(1, 197, 32)
    state['backbone.cls_token'] = torch.randn(1, 1, 32)
    return state


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    head = TheirHead(32, 16).eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return head, their_state(head)


def test_a_file_of_ostrack_fills_a_tracker(tmp_path, theirs):
    head, state = theirs
    path = tmp_path / 'OSTrack_ep0300.pth.tar'
    torch.save({'net': state, 'epoch': 300}, path)
    model = build_model(Config.fromstring(CONFIG, '.py'), path, 'cpu')
    for name, value in model.backbone.state_dict().items():
        name = 'pos_embed_x' if name == 'pos_embed' else name
        assert torch.equal(value, state[f'backbone.{name}']), name
    data = model.data_preprocessor(pairs())
    with torch.no_grad():
        features = model.backbone(**{k: data['inputs'][k] for k in ('template', 'search')})
        for ours, wanted in zip(model(**data), head(features), strict=True):
            torch.testing.assert_close(ours, wanted)
    del state['box_head.conv3_size.0.weight']
    torch.save({'net': state}, path)
    with pytest.raises(CheckpointError, match='does not fill the model'):
        build_model(Config.fromstring(CONFIG, '.py'), path, 'cpu')


def test_there_and_back(tmp_path, capsys):
    model = small_tracker()
    ours, theirs, again = (tmp_path / f'{name}.pth' for name in ('ours', 'theirs', 'again'))
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, ours)
    assert main([str(ours), str(theirs)]) == 0
    assert "with OSTrack's names, under 'net'" in capsys.readouterr().out
    state = torch.load(theirs)['net']
    head = TheirHead(32, 16)
    head.load_state_dict(
        {n.removeprefix('box_head.'): t for n, t in state.items() if n.startswith('box_head.')}
    )
    assert tuple(state['backbone.pos_embed'].shape) == (1, 197, 32)
    assert tuple(state['backbone.pos_embed_x'].shape) == (1, 64, 32)
    assert main([str(theirs), str(again)]) == 0
    found = torch.load(again)['state_dict']
    assert set(found) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(found[name], value), name


def test_what_cannot_be_converted_is_refused(tmp_path):
    mlp = small_tracker(head=dict(type='tracking.MLPHead', channels=8)).state_dict()
    with pytest.raises(ValueError, match=r'OSTrack has no place for head\.layers\.0\.weight'):
        to_ostrack(mlp)
    path, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    torch.save({'state_dict': {'fc.weight': torch.zeros(2)}}, path)
    with pytest.raises(UserError, match=r'is no one-stream tracker.*begin with fc\.weight'):
        main([str(path), str(out)])
    out.touch()
    with pytest.raises(UserError, match='exists; give another name'):
        main([str(path), str(out)])
    assert from_ostrack({'a': 1}) == {'a': 1}
