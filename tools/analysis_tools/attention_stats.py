r"""Measure how far and how broadly the heads of networks look: attention distance and entropy.

Patches' attention to patches, as in Figure 5 of the papers: class token out before the softmax,
means over images and tokens, a number a head. Images come a batch at a time; memory does not grow
with their number.

Example:
    python tools/analysis_tools/attention_stats.py CONFIG CHECKPOINT --images data/imagenet/val
    python tools/analysis_tools/attention_stats.py --images DIR --out DIR \
        --model CONFIG CHECKPOINT MAE --model CONFIG CHECKPOINT D-MAE --model CONFIG none random
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lightvit_dense.apis import analysis
from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.errors import run_tool
from lightvit_dense.representation import AttentionStats, LayerStats
from lightvit_dense.representation.plots import RANGES, plot_attention
from lightvit_dense.utils.tables import print_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    analysis.add_models(parser)
    add = parser.add_argument
    add('--layers', nargs='+', type=int, metavar='K', help='from 1 (default: all)')
    text = "px from one token to the next (default: the patch size); 'authors' for the papers' 14"
    add('--px-per-token', metavar='PX', help=text)
    add('--y-range', choices=RANGES, default='auto', help="'papers': 0-150 px and 0-6 nats")
    analysis.add_options(parser, 'work_dirs/attention_stats')
    args = parser.parse_args(argv)
    args.models = analysis.models_of(parser, args)
    return args


def to_arrays(stats: Sequence[LayerStats]) -> dict[str, np.ndarray]:
    """Return layers [L], distance and entropy [L, heads], NaN where a layer has fewer heads."""
    heads = max(len(layer.distance) for layer in stats)
    arrays = {'layers': np.array([layer.layer for layer in stats])}
    for name in ('distance', 'entropy'):
        arrays[name] = np.full((len(stats), heads), np.nan)
        for row, layer in enumerate(stats):
            values = getattr(layer, name)
            arrays[name][row, : len(values)] = values
    return arrays


def print_stats(title: str, stats: Sequence[LayerStats]) -> None:
    """Print means and ranges over heads."""
    rows = []
    for layer in stats:
        cells = []
        for values in (layer.distance, layer.entropy):
            mean = sum(values) / len(values)
            cells.append(f'{mean:.2f} ({min(values):.2f} to {max(values):.2f})')
        rows.append((layer.layer, len(layer.distance), layer.tokens, *cells))
    print_table(('layer', 'heads', 'keys', 'distance, px', 'entropy, nats'), rows, title)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    session = analysis.Session(args, args.models, 'attention of all layers')
    names = analysis.file_names('attention', session.titles)
    gathered = [AttentionStats(m.backbone, args.layers, args.px_per_token) for m in session.models]
    for batches in session.batches():
        for one, images in zip(gathered, batches, strict=True):
            one.update(images)
    found = [one.result() for one in gathered]
    out = Path(args.out)
    files: list[Path] = []
    for place, (name, stats) in enumerate(zip(names, found, strict=True)):
        metadata = session.metadata(gathered[0].images) | {'size': session.sizes[place]}
        content = {
            'kind': 'attention',
            'model': session.describe(place, [layer.layer for layer in stats]),
            'layers': [asdict(layer) for layer in stats],
            'px_per_token': args.px_per_token,
            **metadata,
        }
        files += analysis.write_results(out, name, content, to_arrays(stats))
        print_stats(session.titles[place], stats)
    titled = list(zip(session.titles, found, strict=True))
    print(f'{metadata["seconds"]:.1f} s, peak memory {metadata["peak_memory_mb"]:.0f} MiB')
    analysis.finish(plot_attention(titled, args.y_range), out / 'attention.png', files)


if __name__ == '__main__':
    run_tool(main)
