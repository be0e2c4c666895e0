"""Test-time augmentation from a config's own test pipeline: several sizes, mirrored and not."""

import argparse
import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from lightvit_dense.errors import UserError

SCALES = (0.75, 1.0, 1.25)
_PACKERS = dict(PackDetInputs='mmdet', PackSegInputs='mmseg')


def kind_of(transform: Mapping[str, Any]) -> str:
    """Return the name of a transform's type without its scope."""
    kind = transform.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
    return name.rpartition('.')[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a tool the options ``--tta``, ``--tta-scales`` and ``--no-flip``.

    Args:
        parser: The tool's parser.
    """
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation: several sizes, and mirrored'
    )
    parser.add_argument(
        '--tta-scales',
        nargs='+',
        type=float,
        metavar='S',
        help=f'--tta: factors of the test size (default: {" ".join(f"{s:g}" for s in SCALES)})',
    )
    parser.add_argument('--no-flip', action='store_true', help='--tta: do not mirror')


def read_arguments(args: argparse.Namespace) -> tuple[list[float] | None, bool | None] | None:
    """Return scales and flip as :func:`apply_tta` takes them; None without ``--tta``.

    Raises:
        UserError: If its options are given without it.
    """
    if not args.tta:
        if args.tta_scales or args.no_flip:
            raise UserError('--tta-scales and --no-flip are options of --tta; give it too')
        return None
    return args.tta_scales, False if args.no_flip else None


def apply_tta(
    cfg: Config, scales: Sequence[float] | None = None, flip: bool | None = None
) -> Config:
    """Make a config test with augmentation.

    ``tta_model`` and ``tta_pipeline`` of the config are used where it has them and no option asks
    for something else; what is missing is made from the test pipeline and the model's ``test_cfg``.

    Args:
        cfg: The config, changed in place: its test pipeline and ``custom_hooks``.
        scales: Factors of the size that images are tested at; 0.75, 1 and 1.25 by default.
        flip: Whether images are tested mirrored too; they are by default.

    Returns:
        The same config.

    Raises:
        UserError: If the config's test pipeline cannot be augmented.
    """
    dataset: Any = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if not dataset.get('pipeline'):
        raise UserError(
            f'{cfg.filename or "the config"} has no test_dataloader.dataset.pipeline: there is '
            'nothing to augment'
        )
    model, pipeline = tta_parts(cfg, dataset.pipeline, scales, flip)
    dataset.pipeline = pipeline
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
    """Return the wrapper of the model and the pipeline that test with augmentation.

    Args:
        cfg: The whole config.
        pipeline: Its test pipeline.
        scales: See :func:`apply_tta`.
        flip: See :func:`apply_tta`.

    Raises:
        UserError: See :func:`apply_tta`.
    """
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
    """Make a test pipeline give several views of each image.

    What stands before the resize stays; the resize is done at each scale, its result mirrored, and
    the rest follows. The first view is not mirrored.

    Args:
        pipeline: A test pipeline with a transform ``Resize``, which ends in ``PackDetInputs`` or
            ``PackSegInputs``. Without a ``Resize`` the only scale is 1.
        scales: Factors of the resize's size.
        flip: Whether each view is there mirrored, too.

    Raises:
        UserError: If the pipeline is another one, or a scale is not positive.
    """
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise UserError(f'scales of test-time augmentation are positive numbers, got {scales}')
    packer = kind_of(pipeline[-1])
    if packer not in _PACKERS:
        raise UserError(
            f'test-time augmentation is for detection and segmentation: the test pipeline ends in '
            f'{packer}, not in {" or ".join(_PACKERS)}'
        )
    at = next((i for i, step in enumerate(pipeline) if kind_of(step) == 'Resize'), None)
    if at is None:
        if tuple(scales) != (1.0,):
            raise UserError(
                'test-time augmentation at several scales needs a Resize in the test pipeline, '
                f'which has {", ".join(kind_of(step) for step in pipeline)}. Use the scale 1 only, '
                'or give the config a tta_pipeline.'
            )
        at = 0  # the loading of the image
        sizes = []
    else:
        sizes = [[_resized(pipeline[at], scale) for scale in scales]]
    scope = _PACKERS[packer]
    directions = [False, True] if flip else [False]
    mirrors = [dict(type=f'{scope}.RandomFlip', prob=float(on)) for on in directions]
    pack = dict(copy.deepcopy(pipeline[-1]))
    if pack.get('meta_keys'):
        pack['meta_keys'] = tuple(dict.fromkeys((*pack['meta_keys'], 'flip', 'flip_direction')))
    rest = [[copy.deepcopy(step)] for step in pipeline[at + 1 : -1]]
    before = list(copy.deepcopy(pipeline[: at if sizes else 1]))
    augment = dict(type='mmcv.TestTimeAug', transforms=[*sizes, mirrors, *rest, [pack]])
    return [ConfigDict(step) for step in (*before, augment)]


def _resized(step: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Return a resize to its size times a scale."""
    step = dict(copy.deepcopy(step))
    if step.get('scale') is not None:
        size = step['scale']
        size = (size, size) if isinstance(size, int) else tuple(size)
        step['scale'] = tuple(max(1, round(side * scale)) for side in size)
    else:
        factor = step['scale_factor']
        step['scale_factor'] = (
            factor * scale
            if isinstance(factor, (int, float))
            else tuple(side * scale for side in factor)
        )
    return step
