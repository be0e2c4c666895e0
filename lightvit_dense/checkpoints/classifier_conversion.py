"""From anybody's classifier to one of ours, head included, and on to a file that others load."""

import json
import os
from pathlib import Path
from typing import Any

from .classifier import load_classifier
from .classifier_forms import CLASSIFIER_FORMS
from .conversion import Inspection, backbone_config, provenance
from .errors import CheckpointError
from .heads import Head, read_head
from .loader import LoadReport


def told_pool(path: Path) -> str | None:
    """Return what the head reads if the file beside a classifier of ours says it."""
    try:
        found: Any = json.loads(path.with_suffix('.json').read_text())
    except (OSError, ValueError):
        return None
    for key in ('model', 'head', 'pool'):
        found = found.get(key) if isinstance(found, dict) else None
    return found if found in ('mean', 'cls') else None


def classifier_config(
    inspection: Inspection, head: Head, img_size: tuple[int, int] | None, pool: str | None
) -> dict[str, Any]:
    """Write the ``model`` of a config that a classifier's checkpoint fills.

    Args:
        inspection: The checkpoint.
        head: Its head.
        img_size: (height, width) in pixels; None for the checkpoint's.
        pool: 'mean' or 'cls'; None for what the file tells, else the class token where there is one
            and no norm follows the pooling.

    Raises:
        CheckpointError: If the file has no classifier, or heads or image size are unknown.
    """
    if head.classes is None:
        raise CheckpointError(
            f'{inspection.path}: has no classifier that is known here. Leave --with-head out to '
            'convert its backbone.'
        )
    reading, sizes = head.reading, inspection.sizes
    backbone = backbone_config(sizes, img_size)
    backbone['final_norm'] = reading['backbone.final_norm']
    guess = 'cls' if sizes.cls_token and not reading['head.norm'] else 'mean'
    options = dict(
        num_classes=head.classes,
        pool=pool or head.pool or guess,
        norm=reading['head.norm'],
    )
    if reading['head.batch_norm']:
        options['batch_norm'] = True
    return dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=options)


def convert_classifier(
    inspection: Inspection,
    destination: str | os.PathLike | None,
    form: str = 'ours',
    img_size: tuple[int, int] | None = None,
    lossy: bool = False,
    pool: str | None = None,
) -> tuple[LoadReport, Path | None]:
    """Load a whole classifier and write it.

    Args:
        inspection: The checkpoint, see
            :func:`~lightvit_dense.checkpoints.conversion.inspect_checkpoint`.
        destination: A .pth or .safetensors file for 'ours', .safetensors for 'timm', a folder for
            'hf'; None writes nothing.
        form: 'ours', 'timm' or 'hf'.
        img_size: (height, width) in pixels to resize the position table for.
        lossy: Whether what our classifier lacks may get lost.
        pool: As for :func:`classifier_config`.

    Returns:
        The report of the load, and the path of the metadata that was written.

    Raises:
        CheckpointError: If something does not fit, would get lost, or cannot be expressed.
    """
    from lightvit_dense.registry import MODELS

    head = read_head(inspection.opened.state, inspection.converted)
    head.pool = head.pool or told_pool(inspection.path)
    config = classifier_config(inspection, head, img_size, pool)
    try:
        model = MODELS.build(config)
    except ValueError as error:
        raise CheckpointError(f'{error}. Give other --heads, --arch, --pool or --img-size.') from (
            error
        )
    report = load_classifier(model, inspection.opened.state, verbose=False)
    report.path, report.container = str(inspection.path), inspection.opened.container
    lost = [name for name in report.dropped if 'distiller.' in name]
    if report.missing or ((report.unexpected or lost or 'dist.weight' in head.state) and not lossy):
        raise CheckpointError(
            f'{report}\n{inspection.path}: not converted, because parameters would be random '
            '(missing) or lost (unexpected, or a second head of distillation). --lossy leaves out '
            'what would be lost.'
        )
    report.notes.append(
        f'the classifier reads {"the class token" if model.head.pool == "cls" else "the mean"}'
        + ('' if pool else ' as the file tells' if head.pool else ', a guess: --pool sets it')
    )
    if destination is None:
        return report, None
    try:
        meta = provenance(inspection, report)
        return report, CLASSIFIER_FORMS[form](model.eval(), destination, meta, config)
    except ValueError as error:
        raise CheckpointError(f'{error}. Give another destination.') from error
