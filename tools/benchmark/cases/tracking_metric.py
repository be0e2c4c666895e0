"""Time the one-pass evaluation at the size of LaSOT's test set, on synthetic boxes.

Example:
    python tools/benchmark/run.py tracking_metric --json metric.json
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tracking.evaluation.collect import read_tracker
from tracking.evaluation.ope import score
from tracking.evaluation.protocol import choose_protocol
from tracking.evaluation.truth import Truth
from tracking.runtime.results import write_result

from .. import harness

OPTIONS = {
    'sequences': dict(type=harness.count, default=280, help='of 2448 frames on average'),
    'repeats': 5,
}


def synthetic(sequences: int) -> tuple[list[np.ndarray], list[Truth]]:
    """Make predictions and annotations: 70 classes, some frames absent, some boxes lost.

    Lengths differ as much as three to one; all have LaSOT's 685 360 frames if they are 280.
    """
    rng = np.random.default_rng(0)
    ends = rng.uniform(1, 3, sequences).cumsum()
    frames = 685_360 * sequences / 280
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


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure scoring and reading, on one core."""
    torch.set_num_threads(1)
    rules = choose_protocol('pytracking')
    predictions, truths = synthetic(args.sequences)
    found: dict[str, Any] = {}

    def run_score() -> None:
        found['scores'] = score(predictions, truths, rules)

    memory = harness.measure_memory({'score': run_score}, 'cpu')['score']
    scores = found['scores']
    with tempfile.TemporaryDirectory() as name:
        for boxes, truth in zip(predictions, truths, strict=True):
            write_result(name, truth.name, boxes)
        read = partial(read_tracker, 'x', Path(name), truths, rules)
        stages = harness.in_turns({'score': run_score, 'read files': read}, args.repeats)
    rows = [{'name': name, **harness.summary(seconds)} for name, seconds in stages.items()]
    columns = {'stage': '{name}', 'seconds (IQR)': harness.spread(digits=2)}
    title = f'{args.sequences} sequences, {sum(map(len, predictions))} frames'
    text = harness.table(f'{title}; scoring adds {memory["grown_mb"]:.0f} MiB', columns, rows)
    return harness.Report({'stages': rows, **memory, 'figures': scores.figures()}, text)
