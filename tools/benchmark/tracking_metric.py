"""Time the one-pass evaluation at the size of LaSOT's test set, on synthetic boxes.

Example:
    python tools/benchmark/tracking_metric.py --json metric.json
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightvit_dense.errors import run_tool
from lightvit_dense.utils import environment as measure
from lightvit_dense.utils.memory import peak_resident_mb
from tracking.evaluation.collect import read_tracker
from tracking.evaluation.ope import score
from tracking.evaluation.protocol import choose_protocol
from tracking.evaluation.truth import Truth
from tracking.runtime.results import write_result


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--sequences', type=int, default=280)
    parser.add_argument('--frames', type=int, default=685_360, help='of all sequences together')
    parser.add_argument('--toolkit', default='pytracking', help='pytracking or matlab')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', metavar='FILE', help='write the figures there')
    args = parser.parse_args(argv)
    if args.sequences < 1 or args.frames < 4 * args.sequences or args.rounds < 1:
        parser.error('there must be at least a round, a sequence, and four frames a sequence')
    return args


def synthetic(sequences: int, frames: int) -> tuple[list[np.ndarray], list[Truth]]:
    """Make predictions and annotations: 70 classes, some frames absent, some boxes lost.

    Args:
        sequences: How many.
        frames: Of all together; lengths differ as much as three to one.
    """
    rng = np.random.default_rng(0)
    ends = rng.uniform(1, 3, sequences).cumsum()
    lengths = np.diff(np.round(ends / ends[-1] * frames).astype(int), prepend=0)
    predictions, truths = [], []
    for place, length in enumerate(lengths):
        corner = 200 + rng.normal(0, 3, (length, 2)).cumsum(axis=0)
        boxes = np.concatenate([corner, rng.uniform(30, 200, (length, 2))], axis=1).round()
        present = rng.random(length) > 0.05
        attributes = tuple(f'attribute {k}' for k in range(14) if (place + k) % 3)
        name = f'class{place % 70}-{place}'
        truths.append(Truth(name, boxes, present, f'class{place % 70}', attributes))
        predictions.append(boxes + rng.normal(0, 15, boxes.shape) * [1, 1, 0.5, 0.5])
        predictions[-1][:, 2:] = np.maximum(predictions[-1][:, 2:], 0)
    return predictions, truths


def timed(call: Callable[[], Any], rounds: int) -> tuple[dict[str, float], Any]:
    """Return median and interquartile range in seconds, and what the last call returned."""
    seconds, found = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - start)
    timing = measure.Timing(tuple(seconds))
    return {'seconds': timing.median, 'iqr': timing.spread}, found


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure reading, scoring, and tables."""
    rules = choose_protocol(args.toolkit)
    predictions, truths = synthetic(args.sequences, args.frames)
    before = peak_resident_mb()
    stages = {}
    stages['score'], scores = timed(lambda: score(predictions, truths, rules), args.rounds)
    after = peak_resident_mb()
    stages['tables'], _ = timed(scores.describe, args.rounds)
    with tempfile.TemporaryDirectory() as name:
        for boxes, truth in zip(predictions, truths, strict=True):
            write_result(name, truth.name, boxes)
        size = sum(path.stat().st_size for path in Path(name).iterdir())
        folder = Path(name)
        stages['read files'], _ = timed(lambda: read_tracker('x', folder, truths, rules), 1)
    return {
        'machine': measure.hardware(),
        'sequences': args.sequences,
        'frames': int(sum(len(truth.boxes) for truth in truths)),
        'toolkit': args.toolkit,
        'rounds': args.rounds,
        'stages': stages,
        'files_mb': size / 2**20,
        'peak_mb_before': before,
        'peak_mb_after_score': after,
        'figures': scores.figures(),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    result = run(args)
    print(
        f'{result["sequences"]} sequences, {result["frames"]} frames, rules of {args.toolkit}; ',
        end='',
    )
    print(f'one core of {result["machine"]["cpu"]}\n')
    print('| stage | seconds (IQR) |\n|---|---|')
    for name, stage in result['stages'].items():
        print(f'| {name} | {stage["seconds"]:.2f} ({stage["iqr"]:.2f}) |')
    added = result['peak_mb_after_score'] - result['peak_mb_before']
    print(
        f'\nScoring adds {added:.0f} MiB to the {result["peak_mb_before"]:.0f} MiB that libraries '
        f'and boxes take; the result files are {result["files_mb"]:.0f} MiB.'
    )
    if args.json:
        text = json.dumps(result, indent=2)
        Path(args.json).write_text(text + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
