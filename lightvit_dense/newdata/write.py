"""Write the config of one's own data, and check that it builds."""

import os
import shlex
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from mmengine.registry import DATASETS

from lightvit_dense.apis.configs import load_config
from lightvit_dense.apis.preflight import find_missing, raise_if_missing
from lightvit_dense.datasets.checking.report import Report, open_image
from lightvit_dense.datasets.storage import read_file
from lightvit_dense.errors import UserError, user_errors
from lightvit_dense.utils.io import atomic_path
from lightvit_dense.utils.tables import print_table

from .files import PARTS, sizes_of
from .rules import Lengths, choose
from .start import Start, find_start
from .tasks import TASKS, Found

METRICS = {
    'classification': 'accuracy/top1',
    'detection': 'coco/bbox_mAP',
    'segmentation': 'mIoU',
    'tracking': 'IoU',
}


def write_config(args: Namespace) -> None:
    """Inspect the data and write a config for them, by the options of ``tools/new_config.py``."""
    if args.out.exists():
        raise UserError(f'{args.out} exists; remove it, or give another --out')
    start = find_start(args.init)
    base = start.base(args.task)
    found = TASKS[args.task](args)
    sizes = {part: sizes_of(paths) for part, paths in found.images.items()}
    _print_images(found, sizes)
    sides = [16 * start.patch]
    if sizes:
        sides = (sizes['train'].max(1) if found.longer else sizes['train'].min(1)).tolist()
    count = len(found.images['train']) if sizes else found.values['train_frames']
    lengths = choose(args.task, start, count, sides, args.size, args.batch_size, args.epochs)
    text = _render(args, start, base, found, lengths)
    with atomic_path(args.out) as temporary:
        config = temporary.with_suffix('.py')
        try:
            config.write_text(text, encoding='utf-8')
            _build_data(config)
        finally:
            config.unlink(missing_ok=True)
        temporary.write_text(text, encoding='utf-8')
    print(
        f'{args.out}: {base}, {f"size {lengths.size}, " if sizes else ""}{lengths.batch} images a '
        f'step, {lengths.steps} steps ({lengths.epochs} epochs)\n'
        f'Next: lightvit train {shlex.quote(str(args.out))}'
    )


def _print_images(found: Found, sizes_by_part: Mapping[str, np.ndarray]) -> None:
    """Print number and sizes of the images, and those of a sample that cannot be opened."""
    report = Report('images', '', remedy='Copy them again, or take them out')
    for part, paths in found.images.items():
        report.open_some(paths, lambda path: open_image(read_file, str(path)), f'images of {part}')
    rows = [
        (part, len(found.images[part]), *('x'.join(map(str, size.astype(int))) for size in sizes))
        for part, own in sizes_by_part.items()
        if (sizes := (own.min(0), np.median(own, 0), own.max(0)))
    ]
    if rows:
        print_table(('part', 'images', 'smallest sides', 'median', 'largest'), rows)
    for text in [*found.notes, *map(str, report.problems)]:
        print(f'note: {text}')


def _render(args: Namespace, start: Start, base: str, found: Found, lengths: Lengths) -> str:
    """Return the config's text."""
    environment = Environment(
        loader=PackageLoader('lightvit_dense.newdata'),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['q'] = repr
    by_epoch = args.task in ('classification', 'pretraining')
    length = lengths.epochs if by_epoch else lengths.steps
    interval = max(1, length // 10)
    values = dict(
        found.values,
        task=args.task,
        data=args.data,
        out=args.out.name,
        last=f'work_dirs/{args.out.stem}/{"epoch" if by_epoch else "iter"}_{length}.pth',
        base=base,
        start=start,
        arch=start.arch(args.task),
        lengths=lengths,
        by_epoch=by_epoch,
        sizes=f'{lengths.size}, {lengths.batch}, {length}, {interval}',
        workers=max(1, min(4, (os.cpu_count() or 1) - 1)),
        metric=METRICS.get(args.task),
    )
    return environment.get_template(f'{args.task}.py.j2').render(values) + '\n'


def _build_data(config: Path) -> None:
    """Build the data sets as training does: they are checked and log their statistics."""
    cfg = load_config(config, scope=True)
    raise_if_missing(find_missing(cfg), cfg)
    for part in PARTS:
        if cfg.get(f'{part}_dataloader'):
            with user_errors(cfg):
                data: Any = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
            if hasattr(data, 'check_contents'):
                data.check_contents()
            if hasattr(data, 'labels') and data.with_labels:
                counts = np.bincount(data.labels(), minlength=len(data.metainfo['classes']))
                print_table((part, 'images'), zip(data.metainfo['classes'], counts, strict=True))
