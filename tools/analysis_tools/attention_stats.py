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
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lightvit_dense.errors import run_tool
from lightvit_dense.representation import session as shared
from lightvit_dense.representation.attention import AttentionStats, LayerStats
from lightvit_dense.representation.attention_plot import RANGES, plot_attention
from lightvit_dense.visualization.curves import save_png


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared.add_models(parser)
    add = parser.add_argument
    add('--layers', nargs='+', type=int, metavar='K', help='from 1 (default: all)')
    add(
        '--px-per-token',
        metavar='PX',
        help="px from one token to the next (default: the patch size); 'authors' for the 14 of the "
        "papers' code, whose patches have 16",
    )
    add('--y-range', choices=RANGES, default='auto', help="'papers': 0-150 px and 0-6 nats")
    shared.add_options(parser, 'work_dirs/attention_stats')
    args = parser.parse_args(argv)
    args.models = shared.models_of(parser, args)
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


def print_table(title: str, stats: Sequence[LayerStats]) -> None:
    """Print means and ranges over heads."""
    table = Table('layer', 'heads', 'keys', 'distance, px', 'entropy, nats', title=title)
    for layer in stats:
        cells = []
        for values in (layer.distance, layer.entropy):
            mean = sum(values) / len(values)
            cells.append(f'{mean:.2f} ({min(values):.2f} to {max(values):.2f})')
        counts = (layer.layer, len(layer.distance), layer.tokens)
        table.add_row(*map(str, counts), *cells)
    Console(width=100).print(table)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    args.device = shared.default_device(args.device)
    subjects = shared.load_subjects(args, args.models)
    names = shared.file_names('attention', subjects)
    session = shared.Session(args, subjects, 'attention of all layers')
    gathered = [AttentionStats(x.backbone, args.layers, args.px_per_token) for x in subjects]
    for batches in session.batches():
        for one, images in zip(gathered, batches, strict=True):
            one.update(images)
    found = [one.result() for one in gathered]
    out, files = Path(args.out), []
    for subject, name, stats, size in zip(subjects, names, found, session.sizes, strict=True):
        metadata = session.metadata(gathered[0].images) | {'size': size}
        content = {
            'kind': 'attention',
            'model': subject.to_dict([layer.layer for layer in stats]),
            'layers': [layer.to_dict() for layer in stats],
            'px_per_token': args.px_per_token,
            **metadata,
        }
        files.append(shared.write_json(out / f'{name}.json', content))
        np.savez(out / f'{name}.npz', allow_pickle=False, **to_arrays(stats))
        files.append(out / f'{name}.npz')
        print_table(subject.title, stats)
    titled = [(subject.title, stats) for subject, stats in zip(subjects, found, strict=True)]
    save_png(plot_attention(titled, args.y_range), out / 'attention.png', dpi=150)
    print(f'{metadata["seconds"]:.1f} s, peak memory {metadata["peak_memory_mb"]:.0f} MiB')
    for path in (*files, out / 'attention.png'):
        print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
