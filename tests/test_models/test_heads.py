"""Every part of the COCO detector starts from detectron2's distribution."""

import math
import re

import torch

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.registry import MODELS

TORCH = 'uniform, 1 / sqrt(fan in)'
START = {
    # pattern of names: (distribution, deviation or bound); biases are zero unless they are named
    r'backbone\.patch_embed\.proj\.(weight|bias)': (TORCH, 768),
    r'backbone\.pos_embed': ('normal', 0.02),
    r'backbone\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])\.weight': ('normal', 0.02),
    r'backbone\.blocks\.\d+\.attn\.rel_pos_[hw]': ('constant', 0),
    # torch counts the outputs of a transposed convolution as its inputs.
    r'neck\.levels\.[01]\.0\.(weight|bias)': (TORCH, 96 * 4),
    r'neck\.levels\.0\.3\.(weight|bias)': (TORCH, 48 * 4),
    r'neck\.levels\.0\.4\.weight': (TORCH, 48),
    r'neck\.levels\.1\.1\.weight': (TORCH, 96),
    r'neck\.levels\.(2\.0|3\.1)\.weight': (TORCH, 192),
    r'neck\.levels\.(0\.6|1\.3|2\.2|3\.3)\.weight': (TORCH, 256 * 9),
    r'rpn_head\.(rpn_conv\.[01]\.conv|rpn_cls|rpn_reg)\.weight': ('normal', 0.01),
    r'roi_head\.\w+_head\.(shared_)?convs\.[0-3]\.conv\.weight': ('normal', (2 / 256 / 9) ** 0.5),
    r'roi_head\.bbox_head\.shared_fcs\.0\.weight': ('uniform', math.sqrt(3 / (256 * 49))),
    r'roi_head\.bbox_head\.fc_cls\.weight': ('normal', 0.01),
    r'roi_head\.bbox_head\.fc_reg\.weight': ('normal', 0.001),
    r'roi_head\.mask_head\.upsample\.weight': ('normal', math.sqrt(2 / (256 * 4))),
    r'roi_head\.mask_head\.conv_logits\.weight': ('normal', 0.001),
}
NORM = re.compile(r'.*\.(norm[12]|ln)\.|neck\.levels\.(0\.[157]|1\.[24]|2\.[13]|3\.[24])\.')


def expected(name: str) -> tuple[str, float]:
    """Return how a parameter is drawn."""
    found = [start for pattern, start in START.items() if re.fullmatch(pattern, name)]
    if found:
        (start,) = found
        return ('uniform', 1 / math.sqrt(start[1])) if start[0] == TORCH else start
    if name.endswith('.bias'):
        return 'constant', 0
    assert NORM.match(name), f'{name} has no distribution'
    return 'constant', 1


def check(value: torch.Tensor, kind: str, size: float) -> str:
    """Return what is wrong with the moments of a parameter, '' if nothing.

    Moments of n draws scatter by their deviation over sqrt(n); five of those are allowed.
    """
    value = value.double()
    if kind == 'constant':
        return '' if (value == size).all() else f'is not {size}'
    deviation = size if kind == 'normal' else size / math.sqrt(3)
    scatter = 5 / math.sqrt(value.numel())
    if abs(value.mean()) > scatter * deviation:
        return f'has the mean {value.mean():.2e}'
    # The fourth moment is 3 of a normal, 1.8 of a uniform distribution.
    kurtosis = 3.0 if kind == 'normal' else 1.8
    spread = scatter * math.sqrt(kurtosis - 1)
    if abs(value.pow(2).mean() / deviation**2 - 1) > spread:
        return f'has the deviation {value.std():.2e}, not {deviation:.2e}'
    if kind == 'uniform' and value.abs().max() > size * (1 + 1e-6):
        return f'reaches {value.abs().max():.2e} beyond {size:.2e}'
    fourth = value.pow(4).mean() / deviation**4
    if value.numel() > 1000 and abs(fourth / kurtosis - 1) > 8 * scatter:
        return f'is not {kind}'
    return ''


def test_start() -> None:
    torch.manual_seed(0)
    cfg = load_config('configs/coco/maskrcnn_scratch_tiny.py')
    prepare_scope(cfg)
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    wrong, used = {}, set()
    for name, parameter in detector.named_parameters():
        if fault := check(parameter.detach(), *expected(name)):
            wrong[name] = fault
        used |= {pattern for pattern in START if re.fullmatch(pattern, name)}
    assert wrong == {}
    assert used == set(START)
