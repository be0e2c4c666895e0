r"""Measure how much high frequency the maps of a network's layers hold.

Several networks are drawn side by side.

Example:
    python tools/analysis_tools/fourier.py --images data/toyworld/imagenet/val \
        --model configs/toyworld/mae_student.py mae.pth MAE \
        --model configs/toyworld/deit.py deit.pth DeiT
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lightvit_dense import representation as rep
from lightvit_dense.errors import run_tool
from lightvit_dense.representation import fourier
from lightvit_dense.representation.features import KINDS
from lightvit_dense.representation.fourier_plot import draw_fourier
from lightvit_dense.visualization.curves import save_png


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rep.add_models(parser)
    parser.add_argument(
        '--features',
        choices=KINDS,
        default='block',
        help="'block': outputs of the blocks as in the authors' code (default); 'norm': after the "
        "next block's norm, as for CKA",
    )
    rep.add_options(parser, 'work_dirs/fourier')
    args = parser.parse_args(argv)
    args.models = rep.models_of(parser, args)
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    args.device = rep.default_device(args.device)
    subjects = rep.load_subjects(args, args.models)
    names = rep.file_names('fourier', subjects)
    session = rep.Session(args, subjects, 'spectra of all layers')
    analyses = [fourier.FourierAnalysis() for _ in subjects]
    for batches in session.batches():
        for subject, analysis, images in zip(subjects, analyses, batches, strict=True):
            analysis.add(rep.layer_maps(subject.backbone, images, args.features))
    spectra = [analysis.spectra() for analysis in analyses]
    out, files = Path(args.out), []
    for subject, found, name, analysis in zip(subjects, spectra, names, analyses, strict=True):
        content = {
            'kind': 'fourier',
            'model': subject.to_dict([spectrum.layer for spectrum in found]),
            'features': args.features,
            **fourier.spectra_content(found),
            **session.metadata(analysis.images),
        }
        files.append(rep.write_json(out / f'{name}.json', content))
        arrays: dict[str, Any] = {
            f'layer_{s.layer}': np.array([s.frequency, s.values]) for s in found
        }
        np.savez(out / f'{name}.npz', **arrays)
        files.append(out / f'{name}.npz')
    titles = [subject.title for subject in subjects]
    save_png(draw_fourier(list(zip(titles, spectra, strict=True))), out / 'fourier.png', dpi=150)
    table = Table(title='Δ log amplitude at the highest frequency, by layer')
    for column in ('layer', *titles):
        table.add_column(column, justify='right')
    for layer in range(max(len(found) for found in spectra)):
        cells = [f'{f[layer].highest:.3f}' if layer < len(f) else '-' for f in spectra]
        table.add_row(str(layer), *cells)
    Console(width=100).print(table)
    for path in (*files, out / 'fourier.png'):
        print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
