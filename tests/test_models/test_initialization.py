"""Initial values: those of the authors' codes by table, timm's by timm, and no outliers."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.models import VisionTransformer
from lightvit_dense.models.layers import trunc_normal_
from lightvit_dense.registry import MODELS
from tests.helpers.shipped_configs import ROOT, read

Spread = tuple[float, float]
"""Standard deviation and the largest absolute value."""


def uniform(bound: float) -> Spread:
    return bound / math.sqrt(3), bound


def xavier(rows: int, columns: int) -> Spread:
    return uniform(math.sqrt(6 / (rows + columns)))


def normal(std: float = 0.02) -> Spread:
    return std, 6 * std


CUT = 0.02 * math.sqrt(1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / math.erf(0.5**0.5)), 0.02
CONV = uniform(768**-0.5)  # torch's default: both the weight and the bias of 3*16*16 inputs
ZERO = (0.0, 0.0)
ARCH = dict(embed_dim=192, depth=3, num_heads=12)  # ViT-Tiny, of fewer blocks


def published(init: str, layer: int) -> dict[str, Spread]:
    """Return the spread of a ViT-Tiny by parameter; all others are 0, or 1 in norms."""
    if init in ('mae', 'mocov3'):
        return {
            'patch_embed.proj.weight': xavier(192, 768),
            'patch_embed.proj.bias': CONV if init == 'mae' else ZERO,
            'cls_token': normal(0.02 if init == 'mae' else 1e-6),
            'attn.qkv.weight': xavier(3 * 192, 192) if init == 'mae' else xavier(192, 192),
            'attn.proj.weight': xavier(192, 192),
            'mlp.fc1.weight': xavier(768, 192),
            'mlp.fc2.weight': xavier(192, 768),
            'pos_embed': normal(),
        }
    drawn = CUT if init == 'simmim' else normal()
    behind = drawn if init == 'timm' else tuple(x / math.sqrt(2 * layer) for x in drawn)
    return {
        **dict.fromkeys(('cls_token', 'attn.qkv.weight', 'mlp.fc1.weight', 'pos_embed'), drawn),
        **dict.fromkeys(('attn.proj.weight', 'mlp.fc2.weight'), behind),
        'patch_embed.proj.weight': CONV if init == 'timm' else drawn,
        'patch_embed.proj.bias': CONV if init == 'timm' else ZERO,
    }


def check(name: str, value: Tensor, expected: Spread) -> None:
    """Compare the moments of a parameter; a deviation of n draws scatters by 1 / sqrt(2n)."""
    std, bound = expected
    few, scatter = value.numel() < 1000, (2 * value.numel()) ** -0.5
    rel = min(0.15, max(0.015, 3 * scatter))
    assert value.std().item() == pytest.approx(std, rel=rel), name
    reach = value.abs().max().item()
    assert reach <= bound * (1 + 1e-6), name
    assert value.mean().abs().item() <= 5 * std / math.sqrt(value.numel()), name
    if 0 < bound == pytest.approx(std * math.sqrt(3)):  # uniform: reaches to its bound
        assert reach > min(0.999, 1 - 6 / value.numel()) * bound, name
    elif bound > 2 * std and not few:  # normal: reaches far beyond the bound of a uniform one
        assert reach > 2.5 * std, name


@pytest.mark.parametrize('init', ['mae', 'timm', 'beit', 'simmim', 'mocov3'])
def test_every_parameter_starts_as_in_the_authors_code(init: str) -> None:
    seen = set()
    for name, value in VisionTransformer(ARCH, init=init).named_parameters():
        block = re.match(r'blocks\.(\d+)\.(.*)', name)
        layer, short = (int(block[1]) + 1, block[2]) if block else (0, name)
        table = published(init, max(layer, 1))
        if short in table:
            seen.add(short)
            check(name, value, table[short])
        else:
            assert 'norm' in name or name.endswith('bias'), name
            assert torch.all(value == float(name.endswith('weight'))), name
    assert seen == table.keys()


def test_the_query_key_block_is_cut_from_a_whole_projection() -> None:
    block = VisionTransformer(ARCH).query_key_block()
    check('qk', block.qk.weight, xavier(3 * 192, 192))
    assert not block.qk.bias.any()


CONFIGS = {
    **{f'pretrain/{m}_vit-{size}': 'mae' for m in ('mae', 'dmae') for size in ('tiny', 'small')},
    'pretrain/d2mae_vit-tiny': 'mae',
    'pretrain/mocov3_vit-tiny': 'mocov3',
    'pretrain/simmim_vit-tiny': 'simmim',
    'pretrain/dino_vit-tiny': 'timm',
    'imagenet/deit_vit-tiny_300e': 'timm',
    'coco/maskrcnn_scratch_tiny': 'timm',
    'ade20k/semfpn_scratch_tiny': 'timm',
    'lasot/ostrack256_scratch_tiny': 'timm',
}


@pytest.mark.parametrize('name', CONFIGS)
def test_what_trains_from_nothing_starts_as_its_authors_do(name: str) -> None:
    """The recipes of fine-tuning have tests of their own."""
    model = read(name).model
    assert model.backbone.get('init', 'mae') == CONFIGS[name]
    assert model.backbone.get('init_cfg') is None


def test_normal_values_have_no_outliers_and_are_torchs_otherwise(monkeypatch) -> None:
    """Let uniform draws hit both ends of their range, as they do once in 2**24 numbers."""
    draw = Tensor.uniform_

    def uniform_(self: Tensor, low: float = 0, high: float = 1, **options: Any) -> Tensor:
        flat = draw(self, low, high, **options).view(-1)
        flat[0], flat[-1] = low, high
        return self

    monkeypatch.setattr(Tensor, 'uniform_', uniform_)
    torch.manual_seed(0)
    theirs = nn.init.trunc_normal_(torch.empty(2**20), std=0.02)
    torch.manual_seed(0)
    ours = trunc_normal_(torch.empty(2**20))
    assert theirs[[0, -1]].tolist() == [-2, 2]  # 100 deviations
    assert ours.abs().max().item() == pytest.approx(0.12)
    assert torch.equal(ours[1:-1], theirs[1:-1])


def test_nothing_draws_with_torchs_or_timms() -> None:
    sources = [p for name in ('lightvit_dense', 'tracking') for p in (ROOT / name).rglob('*.py')]
    unguarded = r'init\.trunc_normal_|timm.* import .*trunc_normal|TruncNormal|trunc_normal_init'
    found = [p.name for p in sources if re.search(unguarded, p.read_text())]
    assert found == ['initialization.py']


def test_the_head_of_hiera_starts_as_the_authors() -> None:
    """Their LayerNorm has a bias of 0.02; a bias that all classes share has no effect."""
    cfg = read('imagenet/finetune_dmae_hiera-tiny_300e')
    head = MODELS.build(
        dict(type='lightvit_dense.ClassificationHead', in_channels=368, **cfg.model.head)
    )
    head.init_weights()
    assert torch.all(head.fc_norm.weight == 1)
    assert torch.all(head.fc_norm.bias == torch.tensor(0.02))
    check('fc', head.fc.weight, normal(2e-5))
    assert not head.fc.bias.any()


TORCH = {name: uniform(inputs**-0.5) for name, inputs in {
    # pattern of names: inputs; torch counts the outputs of a transposed convolution as such
    r'backbone\.patch_embed\.proj\.(weight|bias)': 768,
    r'neck\.levels\.[01]\.0\.(weight|bias)': 96 * 4,
    r'neck\.levels\.0\.3\.(weight|bias)': 48 * 4,
    r'neck\.levels\.0\.4\.weight': 48,
    r'neck\.levels\.1\.1\.weight': 96,
    r'neck\.levels\.(2\.0|3\.1)\.weight': 192,
    r'neck\.levels\.(0\.6|1\.3|2\.2|3\.3)\.weight': 256 * 9,
}.items()}  # fmt: skip
DETECTOR = TORCH | {
    r'backbone\.pos_embed': normal(),
    r'backbone\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])\.weight': normal(),
    r'backbone\.blocks\.\d+\.attn\.rel_pos_[hw]': ZERO,
    r'rpn_head\.(rpn_conv\.[01]\.conv|rpn_cls|rpn_reg)\.weight': normal(0.01),
    r'roi_head\.\w+_head\.(shared_)?convs\.[0-3]\.conv\.weight': normal((2 / 256 / 9) ** 0.5),
    r'roi_head\.bbox_head\.shared_fcs\.0\.weight': uniform(math.sqrt(3 / (256 * 49))),
    r'roi_head\.bbox_head\.fc_cls\.weight': normal(0.01),
    r'roi_head\.bbox_head\.fc_reg\.weight': normal(0.001),
    r'roi_head\.mask_head\.upsample\.weight': normal(math.sqrt(2 / (256 * 4))),
    r'roi_head\.mask_head\.conv_logits\.weight': normal(0.001),
}
NORM = re.compile(r'.*\.(norm[12]|ln)\.|neck\.levels\.(0\.[157]|1\.[24]|2\.[13]|3\.[24])\.')


def test_every_part_of_the_coco_detector_starts_as_detectron2s() -> None:
    cfg = load_config(ROOT / 'configs/coco/maskrcnn_scratch_tiny.py')
    prepare_scope(cfg)
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    used = set()
    for name, value in detector.named_parameters():
        found = [pattern for pattern in DETECTOR if re.fullmatch(pattern, name)]
        if found:
            (pattern,) = found
            used.add(pattern)
            check(name, value, DETECTOR[pattern])
        else:
            assert name.endswith('.bias') or NORM.match(name), f'{name} has no distribution'
            assert torch.all(value == float(not name.endswith('.bias'))), name
    assert used == DETECTOR.keys()
