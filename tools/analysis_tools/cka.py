r"""Compare the layers of two networks by centred kernel alignment (CKA).

Rows of the matrix are layers of the first network, columns those of the second; layer 0 is the
patch embedding. Features are normalised patch tokens without the class token.

Example:
    python tools/analysis_tools/cka.py configs/toyworld/mae_student.py mae.pth \
        configs/toyworld/deit.py deit.pth --images data/toyworld/imagenet/val --titles MAE DeiT
"""

import argparse
from pathlib import Path

import numpy as np

from lightvit_dense.apis.analysis import Session, add_options, finish, write_results
from lightvit_dense.apis.arguments import make_parser
from lightvit_dense.errors import run_tool
from lightvit_dense.representation import cka, layer_features
from lightvit_dense.representation.plots import plot_cka
from lightvit_dense.utils.tables import print_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config of the first network')
    parser.add_argument('checkpoint', help="its checkpoint, or 'none' for random weights")
    parser.add_argument('config_b', help='config of the second network')
    parser.add_argument('checkpoint_b', help="its checkpoint, or 'none'")
    parser.add_argument('--titles', nargs=2, metavar='NAME', help='default: names of the configs')
    add_options(parser, 'work_dirs/cka')
    args = parser.parse_args(argv)
    if args.batch_size < cka.LEAST:
        parser.error(f'--batch-size {args.batch_size}: the unbiased estimator needs {cka.LEAST}')
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    titles = args.titles or [None, None]
    models = [(args.config, args.checkpoint, titles[0])]
    models += [(args.config_b, args.checkpoint_b, titles[1])]
    session = Session(args, models, 'CKA of all layers')
    measured = cka.MinibatchCKA()
    for batches in session.batches():
        pairs = zip(session.models, batches, strict=True)
        measured.add(*(layer_features(model.backbone, images) for model, images in pairs))
    matrix = measured.matrix().numpy()
    layers = enumerate(matrix.shape)
    content = {
        'kind': 'cka',
        'models': [session.describe(place, list(range(count))) for place, count in layers],
        'matrix': matrix.tolist(),
        'estimator': cka.ESTIMATOR,
        'left_out': measured.left_out,
        **session.metadata(measured.images),
    }
    out, named = Path(args.out), session.titles
    arrays = {'matrix': matrix, 'titles': np.array(named, dtype=str)}
    files = write_results(out, 'cka', content, arrays)
    rows = []
    for row, values in enumerate(matrix):
        same = f'{values[row]:.3f}' if matrix.shape[0] == matrix.shape[1] else '-'
        rows.append((row, same, values.argmax(), f'{values.max():.3f}'))
    title = f'CKA: most alike of {named[1]} for each layer of {named[0]}'
    print_table(('layer', 'same depth', 'most alike', 'CKA'), rows, title)
    if measured.left_out:
        print(f'note: the last {measured.left_out} images are too few for a batch: left out')
    finish(plot_cka(matrix, named), out / 'cka.png', files)


if __name__ == '__main__':
    run_tool(main)
