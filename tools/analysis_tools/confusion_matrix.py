"""Show which classes a detector, a segmentor or a classifier takes for which.

Reads the predictions that `tools/test.py --out` has dumped. Objects are matched greedily by IoU,
whatever their classes; the last row and column are the background: detections of nothing, and
objects that were missed.

Example:
    python tools/analysis_tools/confusion_matrix.py configs/toyworld/maskrcnn_dmae.py \
        predictions.pkl --out work_dirs/confusion
"""

import argparse

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.errors import run_tool
from lightvit_dense.evaluation import read_predictions
from lightvit_dense.evaluation.confusion import count_confusion, write_confusion
from lightvit_dense.evaluation.predictions import build_test_dataset
from lightvit_dense.utils.tables import print_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``sys.argv`` when None."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('predictions', help='what `tools/test.py --out FILE.pkl` wrote')
    add('--out', required=True, metavar='DIR', help='folder of the results')
    add('--normalize', action='store_true', help='ratios of the rows instead of counts')
    add('--score-thr', type=float, default=0.3, help='least score of a detection that counts')
    add('--iou-thr', type=float, default=0.5, help='least IoU of a match of detection and truth')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    for name in ('score_thr', 'iou_thr'):
        if not 0 <= getattr(args, name) <= 1:
            parser.error(f'--{name.replace("_", "-")} must be between 0 and 1')
    if args.iou_thr == 0:
        parser.error('--iou-thr must be above 0: boxes that do not overlap match nothing')
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    cfg = apis.load_config(args.config, args.cfg_options, scope=True)
    predictions = read_predictions(args.predictions)
    confusion = count_confusion(build_test_dataset(cfg), predictions, args.score_thr, args.iou_thr)
    source = dict(config=args.config, predictions=args.predictions)
    if confusion.unit == 'objects':
        source |= dict(score_thr=args.score_thr, iou_thr=args.iou_thr)
    files = write_confusion(confusion, args.out, args.normalize, args.config, **source)
    rows = [
        (entry['truth'], entry['prediction'], entry['count'], f'{entry["ratio"]:.1%}')
        for entry in confusion.worst(15)
    ]
    columns = ('truth', 'prediction', 'count', 'ratio of the truth')
    print_table(columns, rows, f'Most frequent confusions, in {confusion.unit}')
    right = confusion.counts.diagonal().sum() / max(1, confusion.counts.sum())
    print(f'{right:.1%} of all {confusion.unit} are on the diagonal')
    for path in files:
        print(path)


if __name__ == '__main__':
    run_tool(main)
