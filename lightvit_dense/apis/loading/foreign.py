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

HIERA_HEADS = {46: 1, 96: 1, 112: 2, 144: 2, 256: 4}
"""Heads of Hiera's first stage by its width: the papers' (46) and Meta's."""
TWELVE_HEADS = ('mae-lite', 'MoCo-v3', 'BEiT', 'BootMAE', 'MaskFeat')
"""Kinds of checkpoints whose narrow ViTs have 12 heads."""
IMAGENET: dict[str, Any] = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def normaliser(path: Path) -> dict[str, Any]:
    """Return how a file wants its images: as Hugging Face's or timm's json beside it says.

    Args:
        path: The file.

    Returns:
        ``mean`` and ``std`` of the RGB channels, of values in 0..255; ImageNet's if nothing says.
    """
    folder = path if path.is_dir() else path.parent
    kinds = (
        ('preprocessor_config.json', ('image_mean', 'image_std')),
        ('config.json', ('mean', 'std')),
    )
    for name, keys in kinds:
        try:
            told = json.loads((folder / name).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            continue
        told = told.get('pretrained_cfg', told) if isinstance(told, dict) else {}
        numbers = [_three(told.get(key)) for key in keys] if isinstance(told, dict) else [None]
        if None not in numbers:
            return dict(zip(('mean', 'std'), numbers, strict=True))
    return IMAGENET


def _three(value: Any) -> list[float] | None:
    """Bring three numbers in 0..1 to 0..255; None if it is anything else."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    good = all(isinstance(number, (int, float)) for number in value)
    return [255.0 * number for number in value] if good else None


def usual_heads(inspection: Inspection) -> int | None:
    """Tell the heads of a network by where it comes from, where that leaves no doubt.

    The authors' networks have 12 heads at widths 192 and 384, and so has MoCo-v3; BEiT, BootMAE and
    MaskFeat were published by others at larger widths only. DINO, and DeiT with its distillation
    token, have a head for 64 channels. A plain file of timm's names may be any of these.

    Args:
        inspection: The checkpoint.

    Returns:
        The heads (of Hiera's first stage); None where they are in doubt.
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
    """Tell what a file holds, its heads included.

    Args:
        path: The file.
        key: Which network to take where it has several.
        heads: The heads, if they are known better.

    Raises:
        CheckpointError: If it holds no ViT or Hiera, or its own metadata has other heads.
        UserError: If the heads or the size of its images are in doubt.
    """
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


def complete(report: LoadReport) -> None:
    """Raise if a load left parameters at random, or lost some that change what is computed.

    Args:
        report: Of the load.
    """
    lost = [name for name in report.unexpected if LOST.search(name)]
    if report.missing or lost:
        raise UserError(
            f'{report}\n{report.path}: the model would compute something else than the file was '
            "trained for. Name its config: load(..., config='CONFIG.py')"
        )


def foreign_backbone(inspection: Inspection) -> tuple[nn.Module, LoadReport]:
    """Build a backbone of the sizes of a file and load it.

    Args:
        inspection: The file.

    Returns:
        The backbone, and what was loaded.

    Raises:
        UserError: If it does not fit.
    """
    try:
        backbone = MODELS.build(backbone_config(inspection.sizes))
    except ValueError as error:
        raise UserError(f'{inspection.path}: {error}. Give load(..., heads=N)') from error
    report = load_inspected(backbone, inspection)
    complete(report)
    return backbone, report


def foreign_classifier(
    inspection: Inspection,
) -> tuple[Any, dict[str, Any], LoadReport] | None:
    """Build a classifier of the sizes of a file and load it.

    Args:
        inspection: The file.

    Returns:
        The classifier, its config, and what was loaded; None if the file has no classifier.

    Raises:
        UserError: If it does not fit.
    """
    head = read_head(inspection.opened.state, inspection.converted)
    if head.classes is None:
        return None
    head.pool = head.pool or told_pool(inspection.path)
    config = classifier_config(inspection, head, None, None)
    config['data_preprocessor'] = dict(
        type='lightvit_dense.ImagePreprocessor', **normaliser(inspection.path)
    )
    try:
        model = MODELS.build(config)
    except ValueError as error:
        raise UserError(f'{inspection.path}: {error}. Give load(..., heads=N)') from error
    report = load_classifier(model, inspection.opened.state, verbose=False, complete=True)
    report.path = str(inspection.path)
    return model, config, report
