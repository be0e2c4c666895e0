"""The backbone of Semantic FPN is mmsegmentation's MAE: function, gradients, loading, groups."""

import re

import pytest
import torch
from mmengine.config import Config
from mmseg.models.backbones import MAE
from scipy.interpolate import RectBivariateSpline
from torch import Tensor, nn

from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.models import VisionTransformer
from lightvit_dense.registry import MODELS
from tests.helpers.models import rates_and_decays
from tests.helpers.shipped_configs import read

TABLE = 'attn.relative_position_bias_table'
# Our names and mmsegmentation's.
NAMES = (
    (r'patch_embed\.proj\b', 'patch_embed.projection'),
    (r'\bblocks\.', 'layers.'),
    (r'\.norm([12])\.', r'.ln\1.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    (r'\.ls([12])\.gamma', r'.gamma_\1'),
)
# The authors' configuration of it.
AUTHORS = dict(img_size=(512, 512), embed_dims=192, num_heads=12, out_indices=[3, 5, 7, 11])
AUTHORS |= dict(init_values=1.0, drop_path_rate=0.1, norm_cfg=dict(type='LN', eps=1e-6))


def their_name(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def config(name: str = 'semfpn_dmae_tiny') -> Config:
    cfg = read(f'ade20k/{name}')
    cfg.model.backbone.init_cfg = None
    return cfg


def ours_and_theirs(**sizes: int) -> tuple[VisionTransformer, MAE]:
    """Return both backbones with the same random weights."""
    torch.manual_seed(0)
    ours = MODELS.build(dict(config().model.backbone, **sizes))
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.2)
    theirs = MAE(**(AUTHORS | sizes))
    copied = theirs.load_state_dict({their_name(n): t for n, t in ours.state_dict().items()}, False)
    assert copied.unexpected_keys == []
    assert all(name.endswith('relative_position_index') for name in copied.missing_keys)
    return ours, theirs


def test_outputs_and_gradients_are_mmsegs() -> None:
    ours, theirs = ours_and_theirs(img_size=80)
    for model in (ours, theirs):
        model.double().eval()
    image = torch.randn(2, 3, 80, 80, dtype=torch.double)
    found, expected = ours(image), theirs(image)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    for maps in (found, expected):
        sum(x.square().mean() for x in maps).backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    assert len(gradients) == len(list(ours.parameters()))
    for name, parameter in ours.named_parameters():
        other = gradients[their_name(name)]
        assert other.any()
        scale = other.abs().max()
        torch.testing.assert_close(parameter.grad / scale, other / scale, rtol=0, atol=1e-8)


def test_sizes_initial_values_and_drop_path_are_mmsegs() -> None:
    ours, theirs = MODELS.build(config().model.backbone), MAE(**AUTHORS)
    theirs.init_weights()
    state = theirs.state_dict()
    shapes = {their_name(n): p.shape for n, p in ours.named_parameters()}
    assert shapes == {n: p.shape for n, p in theirs.named_parameters()}
    tables = [p for n, p in ours.named_parameters() if n.endswith(TABLE)]
    assert sum(table.numel() for table in tables) == 571_968
    for name, parameter in ours.named_parameters():
        if name.endswith((TABLE, 'gamma')):
            assert torch.equal(parameter, state[their_name(name)])
            assert set(parameter.flatten().tolist()) == {float(name.endswith('gamma'))}
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in ours.blocks]
    assert rates == [layer.drop_path.drop_prob for layer in theirs.layers]


@pytest.mark.filterwarnings('ignore:DeprecationWarning')  # theirs warns of its own name
def test_groups_are_those_of_mmsegs_constructor() -> None:
    cfg = config()
    ours = MODELS.build(cfg.model)
    theirs = nn.Module()
    theirs.backbone = MAE(**AUTHORS)
    theirs.neck, theirs.decode_head = ours.neck, ours.decode_head
    wrapper = dict(
        constructor='mmseg.LayerDecayOptimizerConstructor',
        optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
        paramwise_cfg=dict(num_layers=12, layer_decay_rate=0.8),
    )
    expected = rates_and_decays(theirs, wrapper)
    found = rates_and_decays(ours, cfg.optim_wrapper)
    found = {their_name(name): values for name, values in found.items()}
    assert set(found) == set(expected) == {n for n, _ in theirs.named_parameters()}
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-12), name
    decays = {name: decay for name, (_, decay) in expected.items()}
    assert decays['backbone.pos_embed'] == decays['backbone.cls_token'] == 0.05
    assert decays[f'backbone.layers.0.{TABLE}'] == 0.05
    assert decays['backbone.layers.0.gamma_1'] == 0.0


class Interp2d:
    """scipy's former ``interp2d`` on a grid, which mmsegmentation still calls."""

    def __init__(self, x: list[float], y: list[float], z: Tensor, kind: str) -> None:
        assert kind == 'cubic'
        self.spline = RectBivariateSpline(y, x, z)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return self.spline(y, x)


@pytest.mark.parametrize('relative', [False, True], ids=['plain', 'rpe'])
def test_loading_is_mmsegs_but_for_the_biases(relative: bool, tmp_path, monkeypatch) -> None:
    """A file as the authors have it, of 14 x 14 patches; converted by names alone for mmseg."""
    arch = dict(embed_dim=192, depth=2, num_heads=12)
    source = VisionTransformer(
        arch, rel_pos=dict(kind='bias') if relative else None, final_norm=False
    ).state_dict()
    for name, tensor in source.items():
        nn.init.normal_(tensor)
        if relative and name.endswith('qkv.bias'):
            tensor[192:384] = 0  # BEiT's keys have none
    file = dict(source)
    for name in [n for n in source if relative and n.endswith('qkv.bias')]:
        query, _, value = file.pop(name).chunk(3)
        head = name.removesuffix('qkv.bias')
        file |= {f'{head}q_bias': query, f'{head}v_bias': value}
    torch.save({their_name(n): t for n, t in file.items()}, tmp_path / 'mmseg.pth')
    monkeypatch.setattr('scipy.interpolate.interp2d', Interp2d)
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'mmseg.pth'))
    theirs = MAE(**AUTHORS | dict(num_layers=2, out_indices=[0, 1]), init_cfg=init)
    theirs.init_weights()

    ours = MODELS.build(dict(config().model.backbone, arch=arch, out_indices=(0, 1)))
    report = load_backbone(ours, {f'module.model.{n}': t for n, t in file.items()}, verbose=False)
    assert (report.missing, report.unexpected) == ([], [])
    assert len(report.resized) == (3 if relative else 1)
    for name, tensor in ours.state_dict().items():
        other = theirs.state_dict()[their_name(name)]
        if relative and name.endswith('qkv.bias'):
            # mmsegmentation does not know q_bias and v_bias.
            assert not other.any()
            torch.testing.assert_close(tensor, source[name])
        else:
            torch.testing.assert_close(tensor, other, rtol=1e-5, atol=1e-5)
    if relative:
        # What the configs name for starting as the paper did.
        ours = MODELS.build(dict(config().model.backbone, arch=arch, out_indices=(0, 1)))
        report = load_backbone(ours, file, verbose=False, skip='qkv.bias')
        assert report.random == [f'blocks.{i}.attn.qkv.bias' for i in (0, 1)]
        assert not any(block.attn.qkv.bias.any() for block in ours.blocks)
