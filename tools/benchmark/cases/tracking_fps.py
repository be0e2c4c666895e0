"""Measure the frames a second of a tracker on the CPU: as in OSTrack's code, torch, exported.

A frame is all that `Tracker.update` does: crop, network, choice of the box. All take turns on one
sequence of 1280x720 px, with and without candidate elimination; each number of threads has a
process of its own. The trackers have random weights, which is all that speed needs.

Example:
    python tools/benchmark/run.py tracking_fps --threads 1 2 --json fps.json
    python tools/benchmark/run.py tracking_fps --ways ostrack plain onnx-int8 openvino-int8
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from lightvit_dense.deploy import SUFFIXES, describe, export
from lightvit_dense.utils.environment import count_flops
from tracking.deploy import TrackingGraph
from tracking.runtime import Tracker
from tracking.runtime.network import build_network

from .. import harness
from ..references.ostrack import BACKBONES, OSTrackReference, build_tracker, moving_frames

STAGES = ('crop', 'network', 'post')
FRAMES = 40  # of the sequence
FILES = ('onnx', 'onnx-int8', 'openvino', 'openvino-int8')
SETTLE = 2  # frames of a turn that are not timed: caches, and threads of the one before
OPTIONS = {
    'trackers': dict(nargs='+', choices=list(BACKBONES), default=list(BACKBONES), help='which'),
    'ways': dict(
        nargs='+',
        choices=('ostrack', 'plain', 'torch', *FILES),
        default=['ostrack', 'plain', 'torch', 'onnx'],
        help='what to compare, the first with all others; OSTrack has none for Hiera, whose first '
        'is then plain (default: all)',
    ),
    'threads': dict(nargs='+', type=harness.count, default=[1, 2], help='numbers of CPU threads'),
    'repeats': 5,
}


def exported(model: Any, way: str, folder: str, eliminate: bool) -> Path:
    """Write a tracker as a file, in 8 bits with the ranges of noise."""
    to, _, precision = way.partition('-')
    weights = Path(folder, 'random.pth')
    torch.save(model.state_dict(), weights)
    graph = TrackingGraph(model, eliminate=eliminate).eval()
    about = describe(graph, weights, weights)
    noise = {name: x.numpy() for name, x in zip(graph.input_names, graph.example(), strict=True)}
    path = weights.with_suffix(SUFFIXES[to])
    return export(graph, path, to, about, precision or 'fp32', [noise] if precision else [])


class Turn:
    """One implementation on one sequence; a call tracks it once."""

    def __init__(
        self, model: Any, way: str, eliminate: bool, threads: int | None, sequence: tuple[Any, Any]
    ) -> None:
        self.way, self.eliminate, self.sequence = way, eliminate, sequence
        self.tracker: Any = OSTrackReference(model, eliminate) if way == 'ostrack' else None
        if way != 'ostrack':
            self.tracker = Tracker(model, backend='plain')
            options = dict(window=bool(model.test_cfg['window']), eliminate=eliminate)
            with TemporaryDirectory() as folder:
                file = exported(model, way, folder, eliminate) if way in FILES else None
                backend = 'exported' if file else way
                self.tracker.network = build_network(model, backend, threads, file, **options)
        self.boxes = np.empty(0)  # of the last turn [T - 1, 4]
        self.seconds: list[np.ndarray] = []  # of the STAGES, a turn each [T - 1 - SETTLE, 3]

    def __call__(self) -> None:
        """Track the sequence."""
        frames, box = self.sequence
        self.tracker.init(frames[0], box)
        boxes, seconds = [], []
        for frame in frames[1:]:
            boxes.append(self.tracker.update(frame).box)
            seconds.append([self.tracker.timings.last[stage] for stage in STAGES])
        self.boxes = np.stack(boxes)
        self.seconds.append(np.array(seconds[SETTLE:]))

    def count_flops(self) -> int:
        """Count the arithmetic of products and convolutions of a frame."""
        frames, box = self.sequence
        tracker = self.tracker
        if self.way not in ('ostrack', 'plain'):  # what torch cannot see computes the same
            tracker = Turn(tracker.model, 'torch', self.eliminate, None, self.sequence).tracker
        tracker.init(frames[0], box)
        return count_flops(lambda: tracker.update(frames[1]))


def time_turns(turns: Sequence[Turn], repeats: int) -> list[dict[str, Any]]:
    """Time implementations that take turns, and compare each with the first that eliminates alike.

    A frame's seconds are the median over all; ``speedup`` is the median over rounds of the first
    one's median frame by this one's; ``box_error`` the largest difference of an edge or side in
    pixels; ``share`` the part of the rate of a matrix product that the network reaches.
    """
    rates, gflops = [0.0], [turn.count_flops() / 1e9 for turn in turns]
    after_round = lambda: rates.append(harness.matmul_rate())  # noqa: E731
    harness.in_turns(dict(enumerate(turns)), repeats, after_round=after_round)
    rows = []
    for turn, gflop in zip(turns, gflops, strict=True):
        first = next(one for one in turns if one.eliminate == turn.eliminate)
        mine, theirs = (
            [np.median(s.sum(1)) for s in one.seconds[-repeats:]] for one in (turn, first)
        )
        frames = np.concatenate(turn.seconds[-repeats:])
        stages = dict(zip(STAGES, np.median(frames, axis=0).tolist(), strict=True))
        row: dict[str, Any] = {'way': turn.way, 'eliminate': turn.eliminate, 'stages': stages}
        row |= harness.summary(frames.sum(1).tolist())
        row |= {'fps': 1 / row['median'], 'speedup': harness.ratio(theirs, mine), 'gflop': gflop}
        row |= {'box_error': float(np.abs(turn.boxes - first.boxes).max())}
        row |= {'share': gflop / stages['network'] / max(rates)}
        rows.append(row)
    return rows


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measure one tracker with one number of threads."""
    sequence, model = moving_frames(FRAMES), build_tracker(task['tracker'])
    ways = list(dict.fromkeys(args.ways))
    if task['tracker'].startswith('hiera') and 'ostrack' in ways:
        ways = ['plain', *(way for way in ways if way not in ('ostrack', 'plain'))]
    turns = [Turn(model, way, e, task['threads'], sequence) for e in (True, False) for way in ways]
    return [{**task, **row} for row in time_turns(turns, args.repeats)]


COLUMNS: dict[str, harness.Column] = {
    'computed by': '{way}',
    'tokens': lambda row: 'some' if row['eliminate'] else 'all',
    'frames/s': '{fps:.1f}',
    'ms (IQR)': harness.spread(1e3, 1),
    'faster by': '{speedup:.2f}x',
    **{f'{n} ms': lambda row, n=n: f'{1e3 * row["stages"][n]:.2f}' for n in STAGES},
    'GFLOP': '{gflop:.2f}',
    'of the matmul rate': '{share:.0%}',
    'box off by, px': '{box_error:.2g}',
}
NOTE = (
    'Medians over all frames of all rounds, each in comparison with the first row of as many '
    'tokens. GFLOP are those of products and convolutions; their share is of the rate of a large '
    'product in the same run. Boxes are compared over the whole sequence.'
)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every tracker with every number of threads."""
    results, texts = [], []
    for tracker in args.trackers:
        for threads in args.threads:
            rows = harness.run_worker(args, tracker=tracker, threads=threads)
            texts.append(harness.table(f'{tracker}, {threads} thread(s)', COLUMNS, rows))
            results += rows
    return harness.Report(results, '\n'.join([*texts, NOTE]))
