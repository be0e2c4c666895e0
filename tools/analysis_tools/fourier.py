r"""Measure how much high frequency the maps of a network's layers hold.

Several networks are drawn side by side.

Example:
    python tools/analysis_tools/fourier.py --images data/toyworld/imagenet/val \
        --model configs/toyworld/mae_student.py mae.pth MAE \
        --model configs/toyworld/deit.py deit.pth DeiT
"""

import argparse
from pathlib import Path

import numpy as np

from lightvit_dense.apis import analysis
from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.errors import run_tool
from lightvit_dense.representation import fourier, layer_maps
from lightvit_dense.representation.features import KINDS
from lightvit_dense.representation.plots import plot_fourier
from lightvit_dense.utils.tables import print_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    analysis.add_models(parser)
    text = "'block': outputs of the blocks as in the authors' code (default); 'norm': after the "
    text += "next block's norm, as for CKA"
    parser.add_argument('--features', choices=KINDS, default='block', help=text)
    analysis.add_options(parser, 'work_dirs/fourier')
    args = parser.parse_args(argv)
    args.models = analysis.models_of(parser, args)
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    session = analysis.Session(args, args.models, 'spectra of all layers')
    names = analysis.file_names('fourier', session.titles)
    analyses = [fourier.FourierAnalysis() for _ in names]
    for batches in session.batches():
        for model, one, images in zip(session.models, analyses, batches, strict=True):
            one.add(layer_maps(model.backbone, images, args.features))
    spectra = [one.spectra() for one in analyses]
    out = Path(args.out)
    files: list[Path] = []
    for place, (found, name) in enumerate(zip(spectra, names, strict=True)):
        content = {
            'kind': 'fourier',
            'model': session.describe(place, [spectrum.layer for spectrum in found]),
            'features': args.features,
            **fourier.spectra_content(found),
            **session.metadata(analyses[place].images),
        }
        arrays = {f'layer_{s.layer}': np.array([s.frequency, s.values]) for s in found}
        files += analysis.write_results(out, name, content, arrays)
    titled = list(zip(session.titles, spectra, strict=True))
    rows = [
        (layer, *(f'{f[layer].highest:.3f}' if layer < len(f) else '-' for f in spectra))
        for layer in range(max(len(found) for found in spectra))
    ]
    title = 'Δ log amplitude at the highest frequency, by layer'
    print_table(('layer', *session.titles), rows, title)
    analysis.finish(plot_fourier(titled), out / 'fourier.png', files)


if __name__ == '__main__':
    run_tool(main)
