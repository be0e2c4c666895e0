"""Checkpoints without a config: a backbone or a classifier by the shapes of what they hold."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from lightvit_dense.checkpoints import load_classifier
from lightvit_dense.checkpoints.classifier import read_head
from lightvit_dense.checkpoints.conversion import (
    Inspection,
    backbone_config,
    classifier_config,
    inspect_checkpoint,
    load_inspected,
    told_pool,
)
from lightvit_dense.checkpoints.loader import LOST, LoadReport
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.constants import IMAGENET_MEAN, IMAGENET_STD

HIERA_HEADS = {46: 1, 96: 1, 112: 2, 144: 2, 256: 4}
"""Heads of Hiera's first stage by its width: the papers' (46) and Meta's."""
TWELVE_HEADS = ('mae-lite', 'MoCo-v3', 'BEiT', 'BootMAE', 'MaskFeat')
"""Kinds of checkpoints whose narrow ViTs have 12 heads."""
_NORMALISERS = {
    'preprocessor_config.json': ('image_mean', 'image_std'),  # Hugging Face's
    'config.json': ('mean', 'std'),  # timm's
}


def normaliser(path: Path) -> dict[str, Any]:
    """Return mean and std of RGB in 0..255 as a json beside a file says, else ImageNet's."""
    folder = path if path.is_dir() else path.parent
    for name, keys in _NORMALISERS.items():
        try:
            content = json.loads((folder / name).read_text(encoding='utf-8'))
            content = content.get('pretrained_cfg', content)
            mean, std = ([255.0 * number for number in content[key]] for key in keys)
        except (OSError, ValueError, AttributeError, LookupError, TypeError):
            continue  # not there, or without them
        if len(mean) == len(std) == 3:
            return dict(mean=mean, std=std)
    return dict(mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD))


def usual_heads(inspection: Inspection) -> int | None:
    """Tell the heads (of Hiera's first stage) by where a network comes from; None if in doubt.

    The authors' networks have 12 heads at widths 192 and 384, and so has MoCo-v3; BEiT, BootMAE and
    MaskFeat were published by others at larger widths only. DINO, and DeiT with its distillation
    token, have a head for 64 channels. A plain file of timm's names may be any of these.
    """
    sizes, origin = inspection.sizes, inspection.origin or ''
    if sizes.family == 'hiera':
        return HIERA_HEADS.get(sizes.width)
    if sizes.width not in (192, 384):
        return None
    if origin.startswith(TWELVE_HEADS):
        return 12
    if origin == 'DINO' or 'dist_token' in inspection.converted.state:
        return sizes.width // 64
    return None


def inspect(path: Path, key: str | None, heads: int | None) -> Inspection:
    """Tell what a file holds, its heads included; ``key`` chooses where it has several networks."""
    inspection = inspect_checkpoint(path, key, heads=heads)
    sizes = inspection.sizes
    if sizes.heads is None:
        sizes.heads = usual_heads(inspection)
        sizes.heads_from = f'usual for {inspection.origin}'
    if sizes.grid is None:
        raise UserError(
            f'{path}: {inspection.converted.source}: has no square table of positions, so that '
            "nothing tells the size of its images. Name its config: load(..., config='CONFIG.py')"
        )
    if sizes.heads is None:
        raise UserError(
            f'{path}: {inspection.converted.source}, width {sizes.width}: the shapes do not tell '
            "the heads, and nothing beside the file does. Give load(..., heads=N): the papers' "
            'ViT-Tiny and ViT-Small and MoCo-v3 have 12; timm, DeiT and DINO width / 64; Hiera 1 '
            'in the first stage, from width 112 on 2'
        )
    return inspection


def check_complete(report: LoadReport) -> None:
    """Raise if a load left parameters at random, or lost some that change what is computed."""
    lost = [name for name in report.unexpected if LOST.search(name)]
    if report.missing or lost:
        raise UserError(
            f'{report}\n{report.path}: the model would compute something else than the file was '
            "trained for. Name its config: load(..., config='CONFIG.py')"
        )


def foreign_backbone(inspection: Inspection) -> tuple[nn.Module, LoadReport]:
    """Build a backbone of the sizes of a file and load it."""
    backbone = _build(inspection, backbone_config, inspection.sizes)
    report = load_inspected(backbone, inspection)
    check_complete(report)
    return backbone, report


def foreign_classifier(inspection: Inspection) -> tuple[Any, dict[str, Any], LoadReport] | None:
    """Build a classifier, with its config, of a file's sizes and load it; None if there is none."""
    head = read_head(inspection.opened.state, inspection.converted)
    if head.classes is None:
        return None
    head.pool = head.pool or told_pool(inspection.path)
    config = classifier_config(inspection, head, None, None)
    config['data_preprocessor'] = dict(
        type='lightvit_dense.ImagePreprocessor', **normaliser(inspection.path)
    )
    model = _build(inspection, dict, config)
    report = load_classifier(model, inspection.opened.state, verbose=False, complete=True)
    report.path = str(inspection.path)
    return model, config, report


def _build(inspection: Inspection, make_config: Any, argument: Any) -> Any:
    try:
        return MODELS.build(make_config(argument))
    except ValueError as error:
        raise UserError(f'{inspection.path}: {error}. Give load(..., heads=N)') from error
