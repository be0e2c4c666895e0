"""Write a tracker as ONNX files, prove that ONNX Runtime finds the same boxes, and time both.

Where several cells have the same score up to rounding, as with random weights, either runtime may
take any of them: a box of any of these cells counts as the same.

``--backend onnx --path DIR`` of the other tools and ``Tracker(..., backend='onnx', path=DIR)`` run
the files.

Example:
    python -m tracking.tools.export_onnx configs/lasot/ostrack256_dmae_tiny.py CHECKPOINT.pth \
        --out exported --int8
"""

import argparse
import statistics
import sys
import timeit
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from lightvit_dense import apis
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.io import write_json

from ..deploy.export import FRAME, FRAME_INT8, TEMPLATE, export_tracker, largest_difference
from ..runtime.network import build_network
from .options import check_positive

TOLERANCE = 0.5
"""Largest allowed difference of a box in pixels of the search crop."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Export a tracker to ONNX')
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    add('--out', required=True, metavar='DIR', help='folder to write to')
    add('--int8', action='store_true', help='also write products in 8 bits')
    add('--threads', type=int, default=1, help='threads when timing (default: 1)')
    add('--repeats', type=int, default=5, help='timed calls (default: 5)')
    add('--json', metavar='FILE.json', help='write what is printed')
    return check_positive(parser, parser.parse_args(argv), 'threads', 'repeats')


def crops_of(model: Any, count: int = 4) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a template crop and search crops of noise over smooth shades."""
    rng = np.random.default_rng(0)

    def crop(side: int) -> np.ndarray:
        shade = np.linspace(0, 160, side)[:, None, None]
        return (shade + rng.integers(0, 96, (side, side, 3))).astype(np.uint8)

    return crop(model.template_size), [crop(model.search_size) for _ in range(count)]


def measure(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    """Compare the files with the model in torch, and time both."""
    names = ['plain', 'torch', 'onnx', *(['onnx-int8'] if args.int8 else [])]
    networks = {}
    for name in names:
        path = args.out if name.startswith('onnx') else None
        networks[name] = build_network(model, name, args.threads, path, window=True)
    template, crops = crops_of(model)
    quarter = model.template_size / 4
    found: dict[str, Any] = {}
    for name, network in networks.items():
        network.set_template(template, np.array([quarter, quarter, 2 * quarter, 2 * quarter]))
        difference = largest_difference(network, networks['plain'], crops)
        seconds = timeit.repeat(partial(network, crops[0]), number=1, repeat=args.repeats)
        found[name] = dict(difference_px=difference, milliseconds=1e3 * statistics.median(seconds))
    found['passed'] = found['onnx']['difference_px'] <= TOLERANCE
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status: 1 if ONNX Runtime finds other boxes."""
    args = parse_args(argv)
    model: Any = apis.build_model(args.config, args.checkpoint, 'cpu')
    if not hasattr(model, 'search_size'):
        raise UserError(
            f'{args.config} is the config of a {type(model).__name__}, which does not track; '
            'tools/deploy/export_onnx.py exports other models'
        )
    torch.set_num_threads(args.threads)
    folder = export_tracker(model, args.out, int8=args.int8)
    found = measure(args, model)
    for name in (TEMPLATE, FRAME, *([FRAME_INT8] if args.int8 else [])):
        print(f'{folder / name}: {(folder / name).stat().st_size / 2**20:.1f} MB')
    print(f'boxes off by pixels of the search crop, {args.threads} thread(s), medians:')
    for name, row in found.items():
        if isinstance(row, dict):
            print(f'  {name:9s} {row["difference_px"]:8.2g} px {row["milliseconds"]:7.1f} ms')
    if args.json:
        write_json(args.json, found)
    if not found['passed']:
        print('error: ONNX Runtime finds other boxes than torch', file=sys.stderr)
    return 0 if found['passed'] else 1


if __name__ == '__main__':
    sys.exit(run_tool(main))
