"""Test-time augmentation from a config's own test pipeline: several sizes, flipped and not."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from lightvit_dense.apis.configs import name_of, tested_dataset
from lightvit_dense.errors import UserError

SCALES = (0.75, 1.0, 1.25)
_PACKERS = dict(PackDetInputs='mmdet', PackSegInputs='mmseg')


def kind_of(transform: Mapping[str, Any]) -> str:
    """Return the name of a transform's type without its scope."""
    kind = transform.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
    return name.rpartition('.')[2]


def apply_tta(
    cfg: Config, scales: Sequence[float] | None = None, flip: bool | None = None
) -> Config:
    """Make a config, changed in place, test with augmentation.

    ``tta_model`` and ``tta_pipeline`` of the config are used where it has them and no option asks
    for something else; what is missing is made from the test pipeline and the model's ``test_cfg``.

    Args:
        cfg: The config.
        scales: Factors of the size that images are tested at; 0.75, 1 and 1.25 by default.
        flip: Whether images are tested flipped too; they are by default.
    """
    dataset: Any = tested_dataset(cfg)
    if not dataset.get('pipeline'):
        raise UserError(
            f'{name_of(cfg)} has no test_dataloader.dataset.pipeline: there is nothing to augment'
        )
    model, dataset.pipeline = tta_parts(cfg, dataset.pipeline, scales, flip)
    # The hook wraps the model when its weights are loaded.
    hook = dict(type='mmengine.PrepareTTAHook', tta_cfg=model)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    return cfg


def tta_parts(
    cfg: Config,
    pipeline: Sequence[Mapping[str, Any]],
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
) -> tuple[ConfigDict, list[ConfigDict]]:
    """Return the wrapper of the model and the pipeline of :func:`apply_tta`."""
    asked = scales is not None or flip is not None
    if cfg.get('tta_pipeline') and not asked:
        views = copy.deepcopy(cfg.tta_pipeline)
    else:
        views = make_views(pipeline, SCALES if scales is None else scales, flip is not False)
    if cfg.get('tta_model'):
        return copy.deepcopy(cfg.tta_model), views
    if _PACKERS[kind_of(pipeline[-1])] == 'mmseg':
        return ConfigDict(type='lightvit_dense.SegmentationTTA'), views
    test_cfg = cfg.model.get('test_cfg') or {}
    test_cfg = test_cfg.get('rcnn') or test_cfg
    settings = dict(
        nms=test_cfg.get('nms') or dict(type='nms', iou_threshold=0.5),
        max_per_img=test_cfg.get('max_per_img', 100),
    )
    return ConfigDict(type='lightvit_dense.DetectionTTA', tta_cfg=settings), views


def make_views(
    pipeline: Sequence[Mapping[str, Any]], scales: Sequence[float], flip: bool
) -> list[ConfigDict]:
    """Make a test pipeline give views of each image, at each scale, the first not flipped."""
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise UserError(f'scales of test-time augmentation are positive numbers, got {scales}')
    *steps, pack = ({**step} for step in copy.deepcopy(list(pipeline)))
    kinds = [kind_of(step) for step in steps]
    if kind_of(pack) not in _PACKERS:
        raise UserError(
            f'test-time augmentation is for detection and segmentation: the test pipeline ends in '
            f'{kind_of(pack)}, not in {" or ".join(_PACKERS)}'
        )
    if 'Resize' in kinds:
        at = kinds.index('Resize')
        before, sizes = steps[:at], [[_resized(steps[at], scale) for scale in scales]]
    elif tuple(scales) == (1.0,):
        at, before, sizes = 0, steps[:1], []  # behind the loading of the image
    else:
        raise UserError(
            'test-time augmentation at several scales needs a Resize in the test pipeline, '
            f'which has {", ".join([*kinds, kind_of(pack)])}. Use the scale 1 only, '
            'or give the config a tta_pipeline.'
        )
    kind = f'{_PACKERS[kind_of(pack)]}.RandomFlip'
    flips = [dict(type=kind, prob=float(on)) for on in ([False, True] if flip else [False])]
    if pack.get('meta_keys'):
        pack['meta_keys'] = tuple(dict.fromkeys((*pack['meta_keys'], 'flip', 'flip_direction')))
    rest = [[step] for step in steps[at + 1 :]]
    augment = dict(type='mmcv.TestTimeAug', transforms=[*sizes, flips, *rest, [pack]])
    return [ConfigDict(step) for step in (*before, augment)]


def _resized(step: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Return a resize to its size times a scale."""
    size: Any = step.get('scale')
    factor: Any = step.get('scale_factor')
    if size is not None:
        sides = (size, size) if isinstance(size, int) else size
        return {**step, 'scale': tuple(max(1, round(side * scale)) for side in sides)}
    if isinstance(factor, (int, float)):
        return {**step, 'scale_factor': factor * scale}
    return {**step, 'scale_factor': tuple(side * scale for side in factor)}
