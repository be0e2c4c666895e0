"""Checks of data sets before hours are spent on them: what is there, missing, or damaged."""

from collections.abc import Callable
from functools import partial

from .ade20k import check_ade20k
from .coco import check_coco
from .imagenet import check_imagenet
from .report import Problem, Report, Request, Row
from .transfer import SETS, check_transfer

CHECKS: dict[str, Callable[..., Report]] = {
    'coco': check_coco,
    'ade20k': check_ade20k,
    'imagenet': check_imagenet,
    **{name: partial(check_transfer, name) for name in SETS},
}
"""A check for each name: takes a root and a request. :mod:`tracking` adds those of its sets."""

SPLITS: dict[str, tuple[str, ...]] = {
    name: ('train', 'test') if name in SETS else ('train', 'val') for name in CHECKS
}
"""Names of the splits of each."""
