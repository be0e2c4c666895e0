r"""Draw film strips: the truth and the boxes of one or more trackers on frames of sequences.

Example:
    python -m tracking.tools.film_strip configs/toyworld/ostrack_dmae.py \
        results/scratch dmae=results/ostrack_dmae --out strips.png --sequences 4
"""

import argparse
import sys

from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.errors import UserError, require_known, run_tool
from lightvit_dense.visualization import evenly, grid, write_image

from ..datasets import SequenceDataset
from ..evaluation.collect import find_trackers, open_source
from ..runtime.results import find_result, read_result
from ..visualization import film_strip
from .options import add_data_options


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('source', help='config, or SET:FOLDER[:SPLIT] with SET lasot, got10k, ...')
    add('results', nargs='*', metavar='RESULTS', help="a tracker's folder, or NAME=FOLDER")
    add('--out', required=True, metavar='FILE.png', help='the picture')
    text = 'how many, spread evenly over the set, or their names (default: 4)'
    add('--sequences', nargs='+', default=['4'], metavar='N|NAME', help=text)
    add('--frames', type=int, default=8, help='frames in a strip (default: 8)')
    add('--width', type=int, default=200, help='pixels of a frame (default: 200)')
    add_data_options(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.frames < 1 or args.width < 16:
        parser.error('--frames must be at least 1 and --width at least 16')
    return args


def choose(dataset: SequenceDataset, words: list[str]) -> list[int]:
    """Return the places of the sequences that words name, or of so many, spread evenly."""
    names = list(dataset.names)
    if len(words) == 1 and words[0] not in names and words[0].lstrip('-').isdigit():
        if int(words[0]) < 1:
            raise UserError(f'--sequences {words[0]}: must be at least 1')
        return evenly(range(len(names)), int(words[0]))
    for word in words:
        require_known(word, names, '--sequences')
    return [names.index(word) for word in words]


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    dataset, _ = open_source(args.source, args.cfg_options, dict(args.data_options))
    trackers = find_trackers(args.results)
    strips = []
    for place in choose(dataset, args.sequences):
        sequence = dataset.sequence(place)
        boxes = {}
        for name, folder in trackers.items():
            file = find_result(folder, sequence.name)
            if file is None:
                raise UserError(
                    f'{folder}: has no result of {sequence.name}; run the tracker on it'
                )
            boxes[name] = read_result(file)
        strips.append(film_strip(sequence, boxes, args.frames, args.width))
    write_image(args.out, grid([[strip] for strip in strips], background=255))
    print(f'{len(strips)} sequences: {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
