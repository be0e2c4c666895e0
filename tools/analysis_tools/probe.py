"""Measure a frozen backbone: logistic regression and nearest neighbours.

The features of the config's training and validation images are computed once and kept; a second
call starts from the files.

Example:
    python tools/analysis_tools/probe.py configs/toyworld/deit.py work_dirs/deit/epoch_4.pth
    python tools/analysis_tools/probe.py CONFIG none --method knn --features cls mean --layer 0 6 12
"""

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from mmengine.config import Config

from lightvit_dense import apis, probing
from lightvit_dense.apis.arguments import add_cfg_options, make_parser
from lightvit_dense.apis.preflight import find_missing, raise_if_missing
from lightvit_dense.errors import UserError, run_tool, user_errors
from lightvit_dense.probing import tables
from lightvit_dense.utils.devices import check_device
from lightvit_dense.utils.progress import Display, Progress
from lightvit_dense.utils.tables import print_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('config', help='classification config: its backbone, and its train and val images')
    add('checkpoint', help="any checkpoint of the backbone, or 'none' for random weights")
    add('--method', nargs='+', choices=probing.METHODS, default=list(probing.METHODS))
    add('--features', nargs='+', choices=probing.POOLS, help='default: cls, or mean without one')
    text = 'outputs of these layers, from 1, before any norm; 0: the end, after the final norm'
    add('--layer', nargs='+', type=int, default=[0], metavar='K', help=text)
    add('--cache', default='work_dirs/features', metavar='DIR', help='default: %(default)s')
    add('--out', metavar='DIR', help='tables and JSON (default: work_dirs/probe/<config name>)')
    text = 'inverse penalty of the regression; of several the best on a held-out fifth is taken'
    add('--c', nargs='+', type=float, default=[1.0], help=text)
    add('--k', nargs='+', type=int, default=list(probing.NEIGHBOURS), help='neighbours')
    add('--temperature', type=float, default=0.07, help='of their votes (default: 0.07)')
    add('--seed', type=int, default=0, help='of random weights')
    add('--device', help='cpu or cuda (default: cuda where there is one)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error('--seed must be at least 0')
    if min([*args.c, args.temperature]) <= 0 or min(args.k) < 1:
        parser.error('--c, --temperature and --k must be positive')
    return args


def read_config(args: argparse.Namespace) -> Config:
    """Read the config and check that its images are there; its checkpoints are not needed."""
    cfg = apis.load_config(args.config, args.cfg_options)
    data = Config({key: v for key, v in cfg.items() if key.endswith('_dataloader')})
    raise_if_missing(find_missing(data, 'train'), cfg)
    return cfg


def extract_all(
    args: argparse.Namespace, model: apis.Model
) -> tuple[list[probing.Space], dict[str, probing.Part]]:
    """Return the spaces, and the features of every part of the data."""
    spaces = probing.spaces_of(model.backbone, args.features, args.layer)
    plans = probing.Plan.of_config(model.cfg)
    parts = {}
    with closing(Display()) as display:
        for number, plan in enumerate(plans, start=1):
            display.start(number, len(plans), f'features of {plan.part}')
            parts[plan.part], cached = probing.extract(
                model,
                plan,
                spaces,
                args.cache,
                on_progress=lambda done, total: display.update(Progress(done, total)),
            )
            images = len(parts[plan.part].labels)
            display.finish(f'{images} images, {"from the cache" if cached else "computed"}')
    return spaces, parts


def measure_all(
    args: argparse.Namespace, spaces: list[probing.Space], parts: dict[str, probing.Part]
) -> list[probing.Row]:
    """Fit everything that was asked for."""
    train, val = parts['train'], parts['val']
    num_classes = int(train.labels.max()) + 1
    if val.labels.max() >= num_classes:
        raise UserError(
            f'the validation images have class {val.labels.max()}, the training images no more '
            f'than {num_classes} classes; both need the same order of classes (dataset.classes)'
        )
    display = Display()
    probes = probing.Probes(
        train,
        val,
        num_classes,
        args.c,
        args.k,
        args.temperature,
        args.device,
        lambda title, done, total: display.update(Progress(done, total, note=title)),
    )
    rows = [probes.baseline()]
    jobs = [(space.name, method) for space in spaces for method in args.method]
    try:
        for number, (space, method) in enumerate(jobs, start=1):
            display.start(number, len(jobs), f'{method} on {space}')
            found = probes.measure(space, method)
            rows += found
            best = max(found, key=lambda row: row.top1)
            display.finish(f'top-1 {best.top1:.2f}% ({best.setting})')
    finally:
        display.close()
    return rows


def main() -> None:
    """Run the tool."""
    args = parse_args()
    args.device = str(check_device(args.device))
    cfg = read_config(args)
    model = apis.frozen_backbone(cfg, args.checkpoint, args.device, seed=args.seed)
    with user_errors(cfg):
        spaces, parts = extract_all(args, model)
    rows = measure_all(args, spaces, parts)
    print_table(tables.COLUMNS, [tables.cells(row) for row in rows], width=None)
    out = Path(args.out or Path('work_dirs/probe') / Path(args.config).stem)
    metadata: dict[str, Any] = {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'network': model.identity,
        'notes': model.notes,
        'images': {name: len(part.labels) for name, part in parts.items()},
        'arguments': {k: v for k, v in vars(args).items() if k not in ('config', 'checkpoint')},
    }
    for note in model.notes:
        print(f'note: {note}')
    for path in tables.write(out, rows, metadata):
        print(f'wrote {path}')


if __name__ == '__main__':
    run_tool(main)
