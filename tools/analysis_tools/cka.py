r"""Compare the layers of two networks by centred kernel alignment (CKA).

Rows of the matrix are layers of the first network, columns those of the second; layer 0 is the
patch embedding. Features are normalised patch tokens without the class token.

Example:
    python tools/analysis_tools/cka.py configs/toyworld/mae_student.py mae.pth \
        configs/toyworld/deit.py deit.pth --images data/toyworld/imagenet/val --titles MAE DeiT
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightvit_dense import representation as rep
from lightvit_dense.errors import run_tool
from lightvit_dense.representation import cka
from lightvit_dense.representation.cka_plot import write_cka


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of the first network')
    parser.add_argument('checkpoint', help="its checkpoint, or 'none' for random weights")
    parser.add_argument('config_b', help='config of the second network')
    parser.add_argument('checkpoint_b', help="its checkpoint, or 'none'")
    parser.add_argument('--titles', nargs=2, metavar='NAME', help='default: names of the configs')
    rep.add_options(parser, 'work_dirs/cka')
    args = parser.parse_args(argv)
    if args.batch_size < cka.LEAST:
        parser.error(f'--batch-size {args.batch_size}: the unbiased estimator needs {cka.LEAST}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    args.device = rep.default_device(args.device)
    titles = args.titles or [None, None]
    models = [(args.config, args.checkpoint, titles[0])]
    models += [(args.config_b, args.checkpoint_b, titles[1])]
    subjects = rep.load_subjects(args, models)
    session = rep.Session(args, subjects, 'CKA of all layers')
    measured = cka.MinibatchCKA()
    for batches in session.batches():
        features = [
            rep.layer_features(subject.backbone, images)
            for subject, images in zip(subjects, batches, strict=True)
        ]
        measured.add(*features)
    matrix = measured.matrix().numpy()
    named = [subject.title for subject in subjects]
    layers = [list(range(count)) for count in matrix.shape]
    content = {
        'kind': 'cka',
        'models': [s.to_dict(of) for s, of in zip(subjects, layers, strict=True)],
        'matrix': matrix.tolist(),
        'estimator': cka.ESTIMATOR,
        'left_out': measured.left_out,
        **session.metadata(measured.images),
    }
    files = [rep.write_json(Path(args.out) / 'cka.json', content)]
    files += write_cka(matrix, named, Path(args.out))
    table = Table(title=f'CKA: most alike of {named[1]} for each layer of {named[0]}')
    for column in ('layer', 'same depth', 'most alike', 'CKA'):
        table.add_column(column, justify='right')
    for row, values in enumerate(matrix):
        same = f'{values[row]:.3f}' if matrix.shape[0] == matrix.shape[1] else '-'
        table.add_row(str(row), same, str(values.argmax()), f'{values.max():.3f}')
    Console(width=100).print(table)
    if measured.left_out:
        print(f'note: the last {measured.left_out} images are too few for a batch: left out')
    for path in files:
        print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
